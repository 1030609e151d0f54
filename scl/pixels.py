"""Training images: decoded anew by a loader's workers, or once and kept where training happens.

Both ways give the same batches. Kept images are uint8 on square canvases, in memory or on the GPU,
and are augmented there in one go, so that no step waits for a decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm

from scl.augment import AugmentConfig, Foreground, Transform, apply, draw, send
from scl.episode import Dataset
from scl.photos import shrunk
from scl.stream import TrainingEpisodes
from scl.train import Images

GIB = 2**30
# A kept data set takes at most this part of what is free: training needs the rest.
PART = 0.6


class Steps(TorchDataset):
    """The batches of a training by their step; images are decoded and augmented when asked for.

    configs: what happens to supports and to queries; batch: episodes a step; places: those of
    them that this process takes; side: S, pixels of the canvas; larger images are shrunk to it.
    """

    def __init__(
        self,
        dataset: Dataset,
        episodes: TrainingEpisodes,
        configs: tuple[AugmentConfig, AugmentConfig],
        batch: int,
        places: Sequence[int],
        side: int,
    ):
        self.dataset, self.episodes, self.configs = dataset, episodes, configs
        self.batch, self.places, self.side = batch, places, side

    def items(self, step: int) -> list[tuple[int, AugmentConfig, np.random.Generator]]:
        """Support and query of every episode of a step, with what augments them."""
        found = []
        for place in (step * self.batch + p for p in self.places):
            episode, generator = self.episodes[place], self.episodes.augmenter(place)
            pair = (episode.supports[0], episode.query)
            found += [(item, c, generator) for item, c in zip(pair, self.configs, strict=True)]
        return found

    def __getitem__(self, step: int) -> Images:
        """The one-shot episodes of a step."""
        wanted = self.items(step)
        images = torch.zeros(len(wanted), 3, self.side, self.side, dtype=torch.uint8)
        masks = torch.zeros(len(wanted), self.side, self.side, dtype=torch.uint8)
        sizes, transforms = [], []
        for place, (item, config, generator) in enumerate(wanted):
            image, mask = shrunk(*self.dataset[item], self.side)
            sizes.append(_lay(images[place], masks[place], image, mask))
            transforms.append(draw(config, *mask.shape, Foreground.of(mask), generator))
        return as_episodes(*apply(images, masks, torch.tensor(sizes), transforms))

    def loader(self, steps: range, workers: int = 0, pin: bool = False) -> Iterator[Images]:
        """Batches of these steps in order, made by worker processes ahead of time."""
        return iter(DataLoader(self, None, sampler=steps, num_workers=workers, pin_memory=pin))


def _lay(canvas: Tensor, labels: Tensor, image: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """Put an image and its mask at the top left of their canvases; returns their size."""
    height, width = mask.shape
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    canvas[:, :height, :width] = pixels.to(canvas.device)
    labels[:height, :width] = torch.from_numpy(np.array(mask)).to(labels.device)
    return height, width


def as_episodes(images: Tensor, masks: Tensor) -> Images:
    """[2B, ...], support and query by turns, as B episodes."""
    return Images(images[::2], masks[::2], images[1::2], masks[1::2])


class PixelBank:
    """Every image of a data set, decoded once and kept as uint8.

    side: S, pixels of the canvas; larger images are shrunk to fit. device: where they are kept.
    images: [M, 3, S, S]; image_of: [items], the image of each item (items of two classes may
    share one); masks: [items, S, S] with 0, 1, 255; sizes: [items, 2], height and width in pixels.
    """

    def __init__(
        self,
        dataset: Dataset,
        side: int,
        device: torch.device | str = "cpu",
        progress: bool = True,
    ):
        count, slots = len(dataset.labels), slots_of(dataset)
        self.images = torch.zeros(len(set(slots)), 3, side, side, dtype=torch.uint8, device=device)
        self.masks = torch.zeros(count, side, side, dtype=torch.uint8, device=device)
        self.image_of = torch.tensor(slots, device=device)
        self.sizes = torch.zeros(count, 2, dtype=torch.int64)
        self.foregrounds: list[Foreground] = []
        seen: set[int] = set()
        for item in tqdm(range(count), desc="decoding", disable=not progress, leave=False):
            image, mask = shrunk(*dataset[item], side)
            canvas = torch.zeros_like(self.images[0])
            self.sizes[item] = torch.tensor(_lay(canvas, self.masks[item], image, mask))
            if slots[item] in seen and not torch.equal(self.images[slots[item]], canvas):
                raise ValueError(
                    f"item {item} shows its image otherwise than an earlier item of the same "
                    "file: a transform that differs by item cannot be kept; use keep='loader'"
                )
            seen.add(slots[item])
            self.images[slots[item]] = canvas
            self.foregrounds.append(Foreground.of(mask))

    def batch(self, steps: Steps, step: int) -> Images:
        """The one-shot episodes of a step, the same as Steps gives."""
        wanted = steps.items(step)
        transforms = [self._draw(*one) for one in wanted]
        items = torch.tensor([item for item, _, _ in wanted])
        place = send(items, self.masks.device)
        images = self.images[self.image_of[place]]
        return as_episodes(*apply(images, self.masks[place], self.sizes[items], transforms))

    def _draw(self, item: int, config: AugmentConfig, generator) -> Transform:
        height, width = self.sizes[item].tolist()
        return draw(config, height, width, self.foregrounds[item], generator)


def slots_of(dataset: Dataset) -> list[int]:
    """For each item the number of its image: items of one and the same file share it."""
    numbers: dict[object, int] = {}
    slots = []
    for item in range(len(dataset.labels)):
        sources = dataset.sources(item)
        # A scene made of several sources is its own image.
        key = next(iter(sources)) if len(sources) == 1 else ("item", item)
        slots.append(numbers.setdefault(key, len(numbers)))
    return slots


def memory_gib(dataset: Dataset, side: int) -> float:
    """What a PixelBank of this canvas takes, in GiB."""
    slots = slots_of(dataset)
    return (3 * len(set(slots)) + len(slots)) * side**2 / GIB


def free_gib(device: torch.device) -> float:
    """Memory that is free on a device (of the CPU: in the machine), in GiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    except (ValueError, OSError, AttributeError):  # not every system says
        return 0.0


def place_for(dataset: Dataset, side: int, keep: str, device: torch.device) -> torch.device | None:
    """Where to keep the images of a data set; None: nowhere, a loader decodes them.

    keep: "device", "memory" or "loader"; "auto" takes the GPU or else the memory, if they fit and
    training is on a GPU, and the loader on the CPU.
    """
    places = {"device": [device], "memory": [torch.device("cpu")], "loader": []}
    if keep != "auto" and keep not in places:
        raise ValueError(f"keep={keep!r}: expected 'auto', {', '.join(map(repr, places))}")
    if keep == "auto":
        wanted = [device, torch.device("cpu")] if device.type == "cuda" else []
    else:
        wanted = places[keep]
    needed = memory_gib(dataset, side) if wanted else 0.0
    for place in wanted:
        if needed <= PART * free_gib(place):
            return place
    if wanted and keep != "auto":
        raise ValueError(
            f"keep={keep!r}: the images take {needed:.1f} GiB, and {free_gib(wanted[0]):.1f} GiB "
            f"are free, of which {PART:.0%} may be used: lower data.canvas, or use keep='loader'"
        )
    return None
