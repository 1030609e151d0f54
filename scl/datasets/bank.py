"""Frozen features, computed once and kept: the backbone never sees an image twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.device import send
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes, image_tensor
from scl.method.records import Maps
from scl.method.words import expect

BATCH = 16  # images that go through the backbone together

# How an item becomes an image [3, H, W] in 0..1 and its mask [H, W].
Read: TypeAlias = "Callable[[int], tuple[Tensor, Tensor]]"


class FeatureBank:
    """The maps and masks of every item of a data set.

    Maps that depend on the mask (the support side of PFENet's prior) belong to (image, class),
    which is what an item is. With wrong=True a second copy of the masks is kept that shows
    another object, to spoil supports with (the data set must know `wrong_mask`). read: see Read;
    all images of one size (None: as the data set has them).
    """

    def __init__(
        self,
        model: Method,
        dataset: Dataset,
        wrong: bool = False,
        device: torch.device | str = "cpu",
        progress: bool = False,
        read: Read | None = None,
    ):
        self.dataset, count = dataset, len(dataset.labels)
        read = read or reader_of(dataset)
        self.maps, self.masks = _encode(model, read, count, device, progress)
        self.wrong_masks: Tensor | None = None
        self.wrong_maps: Maps | None = None
        if wrong:
            spoiled: Any = dataset  # only some data sets know another object
            masks = torch.from_numpy(np.stack([spoiled.wrong_mask(i) for i in range(count)]))
            self.wrong_masks, self.wrong_maps = masks.to(device), self.maps
            if self.maps.masked is not None:
                wrongly = _repainted(read, masks)
                self.wrong_maps, _ = _encode(model, wrongly, count, device, progress)

    def to(self, device: torch.device | str) -> FeatureBank:
        """Copy to another device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if hasattr(value, "to") else value)
        return moved

    def batch(self, episodes: Sequence[EpisodeIndex], wrong: int = 0) -> Episodes:
        """Gather episodes; the first `wrong` supports of each show the wrong object."""
        device = self.masks.device
        supports = send(torch.tensor([e.supports for e in episodes]), device)
        queries = send(torch.tensor([e.query for e in episodes]), device)
        maps, masks = take_maps(self.maps, supports), self.masks[supports]
        if wrong:
            if self.wrong_masks is None or wrong > supports.shape[1]:
                raise ValueError(
                    f"{wrong} wrong supports of {supports.shape[1]}: build the bank with "
                    "wrong=True, and spoil at most K"
                )
            masks[:, :wrong] = self.wrong_masks[supports[:, :wrong]]
            if maps.masked is not None and self.wrong_maps and self.wrong_maps.masked is not None:
                maps.masked[:, :wrong] = self.wrong_maps.masked[supports[:, :wrong]]
        labels = torch.tensor([e.label for e in episodes])
        query = take_maps(self.maps, queries)._replace(masked=None)
        return Episodes(maps, masks, query, self.masks[queries], labels)


def take_maps(maps: Maps, index: Tensor) -> Maps:
    """Take the maps of the items at `index`, whose shape becomes the leading dimensions."""
    return maps.apply(lambda m: m[index])


def features_gib(model: Method, read: Read, count: int, device: torch.device) -> float:
    """Say how many GiB a bank of `count` items takes; only the first is encoded."""
    maps, masks = _encode(model, read, 1, device, progress=False)
    return count * sum(x.nbytes for x in (*maps, masks) if x is not None) / 2**30


def reader_of(dataset: Dataset) -> Read:
    """Read items as a data set has them."""

    def read(index: int) -> tuple[Tensor, Tensor]:
        image, mask = dataset[index]
        return image_tensor(image), torch.tensor(mask)

    return read


def _repainted(read: Read, masks: Tensor) -> Read:
    """Read the same images with other masks."""
    return lambda index: (read(index)[0], masks[index])


def _encode(
    model: Method, read: Read, count: int, device: torch.device | str, progress: bool
) -> tuple[Maps, Tensor]:
    """Encode items, a batch at a time; neither images nor maps are ever there twice."""
    kept: list[Tensor | None] = []
    for start in tqdm(range(0, count, BATCH), "features", disable=not progress, leave=False):
        items = [read(i) for i in range(start, min(start + BATCH, count))]
        images, masks = (torch.stack(x).to(device) for x in zip(*items, strict=True))
        new = [*model.encode(images, masks), masks]
        kept = kept or [None if x is None else x.new_empty(count, *x.shape[1:]) for x in new]
        for whole, part in zip(kept, new, strict=True):
            if whole is not None and part is not None:
                whole[start : start + BATCH] = part
    mid, high, masked, marks = kept
    return Maps(expect(Tensor, mid), high, masked), expect(Tensor, marks)
