"""Frozen features, computed once and kept: the backbone never sees an image twice."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes, image_tensor
from scl.method.records import Maps

Batch = Episodes  # until scl/training imports that


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
        batch: int = 16,
        progress: bool = False,
    ):
        self.dataset = dataset
        items = [dataset[i] for i in range(len(dataset.labels))]
        self.masks = torch.from_numpy(np.stack([mask for _, mask in items])).to(device)
        self.maps = _encode(model, [im for im, _ in items], self.masks, batch, progress)
        self.wrong_masks = self.wrong_maps = None
        if wrong:
            masks = np.stack([dataset.wrong_mask(i) for i in range(len(items))])
            self.wrong_masks = torch.from_numpy(masks).to(device)
            self.wrong_maps = self.maps
            if self.maps.masked is not None:
                self.wrong_maps = _encode(
                    model, [im for im, _ in items], self.wrong_masks, batch, progress
                )

    def to(self, device: torch.device | str) -> FeatureBank:
        """A copy on another device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device) if hasattr(value, "to") else value)
        return moved

    def batch(self, episodes: Sequence[EpisodeIndex], wrong: int = 0) -> Episodes:
        """Gather episodes; the first `wrong` supports of each show the wrong object."""
        device = self.masks.device
        supports = torch.tensor([e.supports for e in episodes], device=device)
        queries = torch.tensor([e.query for e in episodes], device=device)
        maps, masks = take_maps(self.maps, supports), self.masks[supports]
        if wrong:
            if self.wrong_masks is None or wrong > supports.shape[1]:
                raise ValueError(
                    f"{wrong} wrong supports of {supports.shape[1]}: build the bank with "
                    "wrong=True, and spoil at most K"
                )
            masks[:, :wrong] = self.wrong_masks[supports[:, :wrong]]
            if maps.masked is not None:
                maps.masked[:, :wrong] = self.wrong_maps.masked[supports[:, :wrong]]
        labels = torch.tensor([e.label for e in episodes])
        query = take_maps(self.maps, queries)._replace(masked=None)
        return Episodes(maps, masks, query, self.masks[queries], labels)


def take_maps(maps: Maps, index: Tensor) -> Maps:
    """The maps of the items at `index`, whose shape becomes the leading dimensions."""
    return maps.apply(lambda m: m[index])


def _encode(
    model: Method, images: Sequence[np.ndarray], masks: Tensor, batch: int, progress: bool
) -> Maps:
    """Encode all images, a batch at a time."""
    parts = []
    starts = range(0, len(images), batch)
    for start in tqdm(starts, desc="features", disable=not progress, leave=False):
        chunk = torch.stack([image_tensor(im) for im in images[start : start + batch]])
        parts.append(model.encode(chunk.to(masks.device), masks[start : start + batch]))
    columns = zip(*parts, strict=True)
    return Maps(*(None if c[0] is None else torch.cat(c).contiguous() for c in columns))
