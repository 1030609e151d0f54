"""Features of whole pictures, computed once: a file for each, shared by all that need them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, Size, keep_object
from scl.files import write_atomically
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.records import Maps
from scl.method.vectors import IGNORE

MARKS = 4  # a kept mask has one pixel where the network's image has 4 x 4


class KeptCells:
    """What a method's `encode` makes of the pictures of a data set, and the masks of its items.

    model: its backbone is frozen; fit: with method "whole"; folder: where the files are, named
    after the pixels, the backbone and the fit, in half precision: one that is there is taken.
    truths: keep masks at the pictures' own sizes, too, to count against.
    """

    def __init__(
        self,
        model: Method,
        dataset: Dataset,
        fit: Fit,
        folder: Path,
        truths: bool = False,
        progress: bool = False,
    ):
        self.dataset, self.masks = dataset, list[Tensor]()
        self.files, self.truths = list[Path](), list[np.ndarray]()
        known: dict[frozenset, Path] = {}
        items = range(len(dataset.labels))
        for item in tqdm(items, "features", disable=not progress, leave=False):
            image, mask = dataset[item]
            source = dataset.sources(item)
            if source not in known:
                known[source] = _encoded(model, fit, image, folder)
            self.files.append(known[source])
            self.masks.append(_small(mask, fit.inner(image.shape[:2])))
            if truths:
                self.truths.append(mask)

    def cells(self, item: int) -> Tensor:
        """Read the features of an item's picture, [C, h, w]."""
        return torch.from_numpy(np.load(self.files[item]).astype(np.float32))

    def batch(
        self,
        episodes: Sequence[EpisodeIndex],
        mirror: np.random.Generator | None = None,
        wrong: int = 0,
    ) -> Episodes:
        """Gather episodes; pictures of other shapes are filled up with cells that are none.

        A query that is not an item of the episode's class shows nothing of it, see `without`.
        mirror: turns half of all pictures round; wrong: how many supports of each episode have a
        mask that was painted for a picture of another class.
        """
        shape = len(episodes), len(episodes[0].supports)
        maps, masks = self._laid([i for e in episodes for i in e.supports], mirror)
        masks = masks.unflatten(0, shape)
        for place, episode in enumerate(episodes if wrong else ()):
            for k, item in enumerate(episode.supports[:wrong]):
                mask = self._foreign(item)
                masks[place, k, : mask.shape[0], : mask.shape[1]] = mask
        queries, query_masks = self._laid([e.query for e in episodes], mirror)
        for place, episode in enumerate(episodes):
            if self.dataset.labels[episode.query] != episode.label:
                query_masks[place][query_masks[place] == 1] = 0
        labels = torch.tensor([e.label for e in episodes])
        return Episodes(Maps(maps.unflatten(0, shape)), masks, Maps(queries), query_masks, labels)

    def without(self, episode: EpisodeIndex, generator: np.random.Generator) -> EpisodeIndex:
        """Draw another query for an episode: a picture that has no item of its class."""
        labels = self.dataset.labels
        shown = {self.files[i] for i, label in enumerate(labels) if label == episode.label}
        free = [i for i, file in enumerate(self.files) if file not in shown]
        return episode._replace(query=int(generator.choice(free)))

    def truth(self, episode: EpisodeIndex) -> np.ndarray:
        """Return the mask of an episode's query, at its picture's own size."""
        mask = self.truths[episode.query]
        present = self.dataset.labels[episode.query] == episode.label
        return mask if present else np.where(mask == 1, 0, mask).astype(np.uint8)

    def _laid(
        self, items: Sequence[int], mirror: np.random.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Lay pictures of several shapes on one grid: [N, C, h, w] and masks [N, H, W]."""
        cells, masks = [self.cells(i) for i in items], [self.masks[i] for i in items]
        if mirror is not None:
            turned = mirror.random(len(items)) < 0.5
            cells = [c.flip(-1) if t else c for c, t in zip(cells, turned, strict=True)]
            masks = [m.flip(-1) if t else m for m, t in zip(masks, turned, strict=True)]
        side = max(max(c.shape[1:]) for c in cells) if mirror is not None else 0
        h, w = (max(side, *(c.shape[axis] for c in cells)) for axis in (1, 2))
        marks = masks[0].shape[0] // cells[0].shape[1]  # pixels of a mask a cell
        whole = cells[0].new_zeros(len(items), len(cells[0]), h, w)
        known = torch.full((len(items), h * marks, w * marks), IGNORE, dtype=torch.uint8)
        for place, (c, m) in enumerate(zip(cells, masks, strict=True)):
            whole[place, :, : c.shape[1], : c.shape[2]] = c
            known[place, : m.shape[0], : m.shape[1]] = m
        return whole, known

    def _foreign(self, item: int) -> Tensor:
        """Bring the mask of an item of another class to this item's size."""
        labels = np.asarray(self.dataset.labels)
        others = np.flatnonzero(labels != labels[item])
        other = self.masks[int(np.random.default_rng(item).choice(others))].numpy()
        height, width = self.masks[item].shape
        return torch.from_numpy(_resized(other, (height, width)))


def _encoded(model: Method, fit: Fit, image: np.ndarray, folder: Path) -> Path:
    """Find or make the file of a picture [H, W, 3]."""
    widths = getattr(model.backbone, "widths", ())
    what = type(model).__name__, type(model.backbone).__name__, widths, fit, image.shape
    name = hashlib.sha256(repr(what).encode() + image.tobytes()).hexdigest()[:24]
    file = folder / f"{name}.npy"
    if not file.exists():
        cells = model.encode(fit.to_network(image)[0][None]).mid[0].half().numpy()
        write_atomically(file, lambda path: _save(path, cells))
    return file


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # by a name that ends otherwise, numpy.save would add to it
        np.save(file, array)


def _small(mask: np.ndarray, size: Size) -> Tensor:
    """Shrink a mask to what is kept of it; size: of the network's image."""
    return torch.from_numpy(_resized(mask, (size[0] // MARKS, size[1] // MARKS)))


def _resized(mask: np.ndarray, size: Size) -> np.ndarray:
    """Take the nearest pixels of a mask; an object never disappears."""
    small = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
    return keep_object(mask, np.array(small))
