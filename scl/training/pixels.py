"""Images kept decoded, and episodes cut from them: what training on images reads.

Two ways to the same batches: a PixelBank holds every image in memory, in RAM or on the GPU; an
episode_loader decodes images when they are needed, in processes of its own. Given the same
episodes, generators and side, both make the same Episodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from scl.datasets.fit import shrink
from scl.device import send
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.vectors import IGNORE
from scl.training.augment import NONE, AugmentConfig, Foreground, Transform, apply, draw, each
from scl.training.stream import TrainingEpisodes

GIB = 2**30

# Of the memory that is free, so much may be taken without asking.
SHARE = 0.5


def join(batches: Sequence[Episodes]) -> Episodes:
    """Several batches as one."""
    return Episodes(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


# ------------------------------------------------------------------- reading items


class Item(NamedTuple):
    """One item of a data set: image [h, w, 3] uint8 and mask [h, w] uint8 with 0, 1, 255."""

    image: np.ndarray
    mask: np.ndarray


def load_item(dataset: Dataset, index: int, side: int) -> Item:
    """Decode an item, and shrink it if its longer side has more than `side` pixels.

    An object never gets lost by shrinking: the last of it stays as one pixel.
    """
    image, mask = dataset[index]
    if image.dtype != np.uint8 or image.shape != (*mask.shape, 3) or mask.dtype != np.uint8:
        raise ValueError(
            f"item {index}: image {image.shape} of {image.dtype}, mask {mask.shape} of "
            f"{mask.dtype}: expected H x W x 3 and H x W, both uint8"
        )
    strange = mask[(mask > 1) & (mask != IGNORE)]
    if len(strange):
        raise ValueError(
            f"item {index}: the mask holds {strange[0]}: expected 0, 1 and {IGNORE} alone; a "
            "grey-level mask needs '(mask > 127)' first"
        )
    return Item(*shrink(image, mask, side))


def _canvas(pixels: np.ndarray, side: int, fill: int) -> np.ndarray:
    """[h, w] or [h, w, 3] at the top left of [side, side] or [3, side, side]."""
    canvas = np.full((*pixels.shape[2:], side, side), fill, np.uint8)
    canvas[..., : pixels.shape[0], : pixels.shape[1]] = np.moveaxis(pixels, (0, 1), (-2, -1))
    return canvas


# ------------------------------------------------------------------------- memory


def memory_gib(dataset: Dataset, side: int) -> float:
    """GiB that a PixelBank of a data set takes; nothing is loaded.

    Images are counted once where `dataset.sources` names one photograph for several items.
    """
    count = len(dataset.labels)
    images = len({_source(dataset, i) for i in range(count)})
    return (3 * images + count) * side**2 / GIB


def _source(dataset: Dataset, index: int) -> object:
    """What items that may show the same image have in common: the one photograph behind them."""
    names = dataset.sources(index)
    return names if len(names) == 1 else index


def free_gib(device: torch.device) -> float:
    """GiB that are free on a device; where nobody knows, infinity."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) * 1024 / GIB
    except (OSError, StopIteration):  # not Linux: all memory there is
        if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
            return float("inf")
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB


# --------------------------------------------------------------------------- bank


class PixelBank:
    """Every image of a data set decoded once and kept, with the mask of every item.

    side: pixels a side of the canvas that an image lies on, top left, shrunk if it is larger.
    device: where batches are made; home: where images are kept (None: there too), from where those
    of each batch are sent.

    Items that name the same one photograph as their source share its image if they do decode to
    the same pixels, which a transform of the data set may prevent; otherwise each keeps its own.
    images: [M, 3, S, S] uint8; masks: [items, S, S] uint8, 255 outside of the image; slots:
    [items], which image an item shows; sizes: [items, 2], height and width within the canvas.
    """

    def __init__(
        self,
        dataset: Dataset,
        side: int,
        device: torch.device | str = "cpu",
        home: torch.device | None = None,
        progress: bool = True,
    ):
        self.device, self.side = torch.device(device), side
        images, masks, self.slots = _decode(dataset, side, progress)
        self.sizes = np.array([mask.shape for mask in masks])
        self.foregrounds = [Foreground.of(mask) for mask in masks]
        self.images = _canvases(images, side, 0, home or self.device)
        self.masks = _canvases(masks, side, IGNORE, home or self.device)

    def episodes(
        self,
        episodes: Sequence[EpisodeIndex],
        config: AugmentConfig = NONE,
        generator: np.random.Generator | Sequence[np.random.Generator] | None = None,
        query_config: AugmentConfig | None = None,
    ) -> Episodes:
        """Episodes of one K as a batch on the bank's device, augmented.

        generator: one for each episode, on which alone its augmentation depends, or one for all in
        turn; None where the configurations leave nothing to chance. query_config: what may happen
        to queries (None: the same as to supports).
        """
        if len({len(e.supports) for e in episodes}) != 1:
            raise ValueError(
                f"{len(episodes)} episodes with {sorted({len(e.supports) for e in episodes})} "
                "supports: expected at least one episode, and as many supports in each"
            )
        configs = config, query_config or config
        generators = each(_given(generator, configs), len(episodes))
        chosen = np.array([_items(episode) for episode in episodes])
        transforms = []
        for items, own in zip(chosen, generators, strict=True):
            objects = [self.foregrounds[i] for i in items]
            transforms += _draw_episode(configs, self.sizes[items], objects, own)
        flat = chosen.ravel()
        images, masks = self._take(self.images, self.slots[flat]), self._take(self.masks, flat)
        labels = torch.tensor([episode.label for episode in episodes])
        return _batch(images, masks, self.sizes[flat], transforms, labels)

    def _take(self, kept: Tensor, index: np.ndarray) -> Tensor:
        """Rows of what is kept, on the bank's device."""
        return send(kept[send(index, kept.device)], self.device)


def _decode(
    dataset: Dataset, side: int, progress: bool
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """All different images, the mask of every item, and which image [items] each item shows."""
    images: list[np.ndarray] = []
    masks, slots = [], []
    seen: dict[object, list[int]] = {}
    every = range(len(dataset.labels))
    for index in tqdm(every, desc="images", disable=not progress, leave=False):
        image, mask = load_item(dataset, index, side)
        alike = seen.setdefault(_source(dataset, index), [])
        slot = next((s for s in alike if np.array_equal(images[s], image)), len(images))
        if slot == len(images):
            images.append(image)
            alike.append(slot)
        masks.append(mask)
        slots.append(slot)
    return images, masks, np.array(slots)


def _canvases(arrays: list, side: int, fill: int, device: torch.device) -> Tensor:
    """Arrays on canvases of one size; the list is emptied, so that nothing is kept twice."""
    shape = (len(arrays), *arrays[0].shape[2:], side, side)
    kept = torch.empty(shape, dtype=torch.uint8, device=device)
    for place in range(len(arrays)):
        kept[place] = torch.from_numpy(_canvas(arrays[place], side, fill))
        arrays[place] = None
    return kept


# ------------------------------------------------------------------------- loader


class EpisodeImages(torch.utils.data.Dataset):
    """Episodes by their place, decoded when asked for: one is Episodes with B = 1.

    episodes: what gives the EpisodeIndex of a place (a list, or TrainingEpisodes);
    side: of the canvas, as in PixelBank (whose `side` makes the same batches); augmenter: the
    generator of a place; None where the configurations leave nothing to chance.
    """

    def __init__(
        self,
        dataset: Dataset,
        episodes: Sequence[EpisodeIndex] | TrainingEpisodes,
        side: int,
        config: AugmentConfig = NONE,
        augmenter: Callable[[int], np.random.Generator] | None = None,
        query_config: AugmentConfig | None = None,
    ):
        self.dataset, self.episodes, self.side = dataset, episodes, side
        self.configs, self.augmenter = (config, query_config or config), augmenter
        _given(augmenter, self.configs)

    def __getitem__(self, place: int) -> Episodes:
        episode = self.episodes[place]
        items = [load_item(self.dataset, i, self.side) for i in _items(episode)]
        sizes = np.array([item.mask.shape for item in items])
        generator = self.augmenter(place) if self.augmenter else _given(None, self.configs)
        objects = [Foreground.of(item.mask) for item in items]
        transforms = _draw_episode(self.configs, sizes, objects, generator)
        images = np.stack([_canvas(item.image, self.side, 0) for item in items])
        masks = np.stack([_canvas(item.mask, self.side, IGNORE) for item in items])
        pixels = torch.from_numpy(images), torch.from_numpy(masks)
        return _batch(*pixels, sizes, transforms, torch.tensor([episode.label]))


def episode_loader(
    images: EpisodeImages, batches: Iterable[list[int]], workers: int = 0, pin: bool = False
) -> DataLoader:
    """Episodes on the CPU, one for each of `batches`, which hold the places of episodes.

    workers: processes that decode and augment (0: this one); pin: into memory from which
    Episodes.to a CUDA device need not wait.
    """
    return DataLoader(
        images,
        batch_sampler=batches,
        collate_fn=join,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # or starting it would draw from the global one
    )


# ----------------------------------------------------------------- shared by both


def _items(episode: EpisodeIndex) -> list[int]:
    """The items of an episode, supports first."""
    return [*episode.supports, episode.query]


def _given(generator, configs: Sequence[AugmentConfig]):
    """The generator, or one that decides nothing where there is none and nothing to decide."""
    if generator is None and any(config.random for config in configs):
        raise ValueError(
            "this augmentation needs random numbers: pass a numpy generator for each episode"
        )
    return np.random.default_rng(0) if generator is None else generator


def _draw_episode(
    configs: tuple[AugmentConfig, AugmentConfig],
    sizes: np.ndarray,
    objects: Sequence[Foreground],
    generator: np.random.Generator,
) -> list[Transform]:
    """Draw for the supports of an episode, in their order, then for its query."""
    own = [configs[0]] * (len(objects) - 1) + [configs[1]]
    return [
        draw(config, int(height), int(width), foreground, generator)
        for config, (height, width), foreground in zip(own, sizes, objects, strict=True)
    ]


def _batch(
    images: Tensor,
    masks: Tensor,
    sizes: np.ndarray,
    transforms: Sequence[Transform],
    labels: Tensor,
) -> Episodes:
    """Samples of B episodes, [B * (K + 1), ...], augmented and told apart."""
    pictures, marks = apply(images, masks, sizes, transforms)
    pictures, marks = (x.unflatten(0, (len(labels), -1)) for x in (pictures, marks))
    labels = send(labels, images.device)
    return Episodes(pictures[:, :-1], marks[:, :-1], pictures[:, -1], marks[:, -1], labels)
