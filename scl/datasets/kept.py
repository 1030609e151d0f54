"""Features of whole photographs, computed once: a file for each, shared by all that need them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, keep_object
from scl.datasets.items import ItemSet
from scl.files import write_atomically
from scl.method.contracts import Method
from scl.method.episode import EpisodeIndex, Episodes
from scl.method.records import Maps
from scl.method.vectors import IGNORE
from PIL import Image

MARKS = 4  # pixels of a kept mask are those of the network's image, 4 x 4 in one


class KeptCells:
    """What a method's `encode` makes of the pictures of a data set, half precision, and the masks.

    model: whose backbone is frozen; dataset: of photographs; fit: with method "whole"; folder: where
    the files are; one that is there already is taken. A file is named after its picture's path, size
    and date, the kind of backbone and the fit. Items of one picture share it.
    """

    def __init__(
        self, model: Method, dataset: ItemSet, fit: Fit, folder: Path, progress: bool = False
    ):
        self.dataset, self.fit = dataset, fit
        self.files, self.masks = [], []
        for item in tqdm(range(len(dataset.labels)), "features", disable=not progress, leave=False):
            file = folder / f"{self._key(model, item)}.npy"
            if not file.exists():
                image = fit.to_network(dataset[item][0])[0]
                cells = model.encode(image[None]).mid[0].half().numpy()
                write_atomically(file, lambda path, cells=cells: _save(path, cells))
            self.files.append(file)
            self.masks.append(self._small(item))

    def _key(self, model: Method, item: int) -> str:
        (source,) = self.dataset.sources(item)
        known = os.stat(source)
        backbone = model.backbone
        what = source, known.st_size, known.st_mtime_ns, type(backbone).__name__, self.fit
        return hashlib.sha256(repr((*what, getattr(backbone, "widths", ()))).encode()).hexdigest()[:24]

    def truth(self, item: int) -> np.ndarray:
        """Read an item's mask at the photograph's own size."""
        return self.dataset.mask(self.dataset.keys[item], self.dataset.labels[item])

    def _small(self, item: int) -> Tensor:
        mask = self.truth(item)
        size = tuple(x // MARKS for x in self.fit.inner(mask.shape))
        small = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
        return torch.from_numpy(keep_object(mask, np.array(small)))

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

        mirror: flips half of all pictures; wrong: how many supports of each have a mask that was
        painted for another picture.
        """
        items = [i for e in episodes for i in e.supports]
        maps, masks = self._laid(items, mirror)
        shape = len(episodes), len(episodes[0].supports)
        masks = masks.unflatten(0, shape)
        for place, episode in enumerate(episodes if wrong else ()):
            for k in range(wrong):
                masks[place, k] = self._foreign(episode.supports[k], masks[place, k])
        queries, query_masks = self._laid([e.query for e in episodes], mirror)
        labels = torch.tensor([e.label for e in episodes])
        support = Maps(maps.unflatten(0, shape))
        return Episodes(support, masks, Maps(queries), query_masks, labels)

    def _laid(
        self, items: Sequence[int], mirror: np.random.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Lay pictures of several shapes on one grid: [N, C, h, w] and masks [N, H, W]."""
        cells, masks = [self.cells(i) for i in items], [self.masks[i] for i in items]
        if mirror is not None:
            turn = mirror.random(len(items)) < 0.5
            cells = [c.flip(-1) if t else c for c, t in zip(cells, turn, strict=True)]
            masks = [m.flip(-1) if t else m for m, t in zip(masks, turn, strict=True)]
        h, w = (max(c.shape[axis] for c in cells) for axis in (1, 2))
        stride = masks[0].shape[0] // cells[0].shape[1]
        whole = cells[0].new_zeros(len(items), len(cells[0]), h, w)
        known = torch.full((len(items), h * stride, w * stride), IGNORE, dtype=torch.uint8)
        for place, (c, m) in enumerate(zip(cells, masks, strict=True)):
            whole[place, :, : c.shape[1], : c.shape[2]] = c
            known[place, : m.shape[0], : m.shape[1]] = m
        return whole, known

    def _foreign(self, item: int, laid: Tensor) -> Tensor:
        """Lay the mask of another picture, of another class, over an item's picture."""
        labels = np.asarray(self.dataset.labels)
        others = np.flatnonzero(labels != labels[item])
        other = self.masks[int(others[np.random.default_rng(item).integers(len(others))])]
        height, width = self.masks[item].shape
        resized = Image.fromarray(other.numpy()).resize((width, height), Image.Resampling.NEAREST)
        mask = torch.full_like(laid, IGNORE)
        mask[:height, :width] = torch.from_numpy(keep_object(other.numpy(), np.array(resized)))
        return mask


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
