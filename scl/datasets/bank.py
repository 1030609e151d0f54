"""Frozen features, computed once and kept: the backbone never sees an image twice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.device import send
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes, image_tensor
from scl.method.records import Maps

BATCH = 16  # images that go through the backbone together


class FeatureBank:
    """The maps and masks of every item of a data set.

    Maps that depend on the mask (the support side of PFENet's prior) belong to (image, class),
    which is what an item is. With wrong=True a second copy of the masks is kept that shows
    another object, to spoil supports with (the data set must know `wrong_mask`).
    """

    def __init__(
        self,
        model: Method,
        dataset: Dataset,
        wrong: bool = False,
        device: torch.device | str = "cpu",
        progress: bool = False,
    ):
        self.dataset = dataset
        items = [dataset[i] for i in range(len(dataset.labels))]
        self.masks = torch.from_numpy(np.stack([mask for _, mask in items])).to(device)
        self.maps = _encode(model, [im for im, _ in items], self.masks, progress)
        self.wrong_masks: Tensor | None = None
        self.wrong_maps: Maps | None = None
        if wrong:
            spoiled: Any = dataset  # only some data sets know another object
            masks = np.stack([spoiled.wrong_mask(i) for i in range(len(items))])
            self.wrong_masks = torch.from_numpy(masks).to(device)
            self.wrong_maps = self.maps
            if self.maps.masked is not None:
                self.wrong_maps = _encode(
                    model, [im for im, _ in items], self.wrong_masks, progress
                )

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


def _encode(model: Method, images: Sequence[np.ndarray], masks: Tensor, progress: bool) -> Maps:
    """Encode all images, a batch at a time."""
    parts = []
    starts = range(0, len(images), BATCH)
    for start in tqdm(starts, desc="features", disable=not progress, leave=False):
        chunk = torch.stack([image_tensor(im) for im in images[start : start + BATCH]])
        parts.append(model.encode(chunk.to(masks.device), masks[start : start + BATCH]))
    mid, *others = zip(*parts, strict=True)
    joined = (None if c[0] is None else torch.cat(c).contiguous() for c in others)
    return Maps(torch.cat(mid).contiguous(), *joined)
