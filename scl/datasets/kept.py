"""Features of whole pictures, computed once: a file for each, shared by all that need them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, Size, keep_object
from scl.files import write_atomically
from scl.method.contracts import Backbone, Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.records import Maps
from scl.method.vectors import IGNORE, shrink_mask

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
        self.deep: Backbone | None = None
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

    def with_high(self, backbone: Backbone) -> KeptCells:
        """Give the same pictures with the high-level maps that PFENet's prior compares.

        backbone: the one that the kept mid-level maps are of.
        """
        other = copy.copy(self)
        other.deep = backbone
        return other

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
        shown = [
            (i, self._foreign(i) if k < wrong else self.masks[i])
            for e in episodes
            for k, i in enumerate(e.supports)
        ]
        support, masks = self._laid(shown, mirror)
        asked = [(e.query, self.masks[e.query]) for e in episodes]
        query, query_masks = self._laid(asked, mirror, supports=False)
        for place, episode in enumerate(episodes):
            if self.dataset.labels[episode.query] != episode.label:
                query_masks[place][query_masks[place] == 1] = 0
        labels = torch.tensor([e.label for e in episodes])
        support, masks = support.shaped(shape), masks.unflatten(0, shape)
        return Episodes(support, masks, query, query_masks, labels)

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
        self,
        shown: Sequence[tuple[int, Tensor]],
        mirror: np.random.Generator | None,
        supports: bool = True,
    ) -> tuple[Maps, Tensor]:
        """Lay pictures of several shapes, each with a mask, on one grid: [N, C, h, w], [N, H, W].

        supports: add the high-level maps under the masks, where any are wanted.
        """
        cells, masks = [self.cells(i) for i, _ in shown], [mask for _, mask in shown]
        width = len(cells[0])
        if self.deep is not None:
            more = [self._high(self.deep, i, m if supports else None) for i, m in shown]
            cells = [torch.cat(both) for both in zip(cells, more, strict=True)]
        if mirror is not None:
            turned = mirror.random(len(shown)) < 0.5
            cells = [c.flip(-1) if t else c for c, t in zip(cells, turned, strict=True)]
            masks = [m.flip(-1) if t else m for m, t in zip(masks, turned, strict=True)]
        side = max(max(c.shape[1:]) for c in cells) if mirror is not None else 0
        h, w = (max(side, *(c.shape[axis] for c in cells)) for axis in (1, 2))
        marks = masks[0].shape[0] // cells[0].shape[1]  # pixels of a mask a cell
        whole = cells[0].new_zeros(len(shown), len(cells[0]), h, w)
        known = torch.full((len(shown), h * marks, w * marks), IGNORE, dtype=torch.uint8)
        for place, (c, m) in enumerate(zip(cells, masks, strict=True)):
            whole[place, :, : c.shape[1], : c.shape[2]] = c
            known[place, : m.shape[0], : m.shape[1]] = m
        if self.deep is None:
            return Maps(whole), known
        high, *masked = whole[:, width:].chunk(2 if supports else 1, dim=1)
        return Maps(whole[:, :width], high, *masked), known

    @torch.no_grad()
    def _high(self, backbone: Backbone, item: int, mask: Tensor | None) -> Tensor:
        """Read or make the high-level maps of a picture, and with a mask those under it, too."""
        kept, maps = self.files[item], []
        for each in (None,) if mask is None else (None, mask):
            what = b"" if each is None else each.numpy().tobytes()
            file = kept.with_name(f"{kept.stem}-{hashlib.sha256(what).hexdigest()[:12]}.npy")
            if not file.exists():
                mid = self.cells(item)[None]
                small = None if each is None else shrink_mask(each[None], mid.shape[-2:])
                made = backbone.high(mid, small)[0].half().numpy()
                write_atomically(file, partial(_save, array=made))
            maps.append(torch.from_numpy(np.load(file).astype(np.float32)))
        return torch.cat(maps)

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
