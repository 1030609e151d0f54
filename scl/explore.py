"""Measurements the chapters make: what an average finds of its own object, and of which part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scl.bank import FeatureBank, take_maps
from scl.datasets import ToyshopSet
from scl.draw import grow
from scl.model import SCL
from scl.vectors import cosine_map, masked_gap, shrink_mask


class Cut(NamedTuple):
    """A threshold on a map, and the IoU of what lies above it."""

    threshold: float
    iou: float


def own_cosine(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Figure 1: the cosine of every cell to the average of its own object (Eq. 1).

    features: [N, d, h, w]; masks: [N, H, W]. Returns cosines [N, h, w] in -1..1 and the shrunk
    masks [N, h, w].
    """
    mask = shrink_mask(masks, features.shape[-2:])
    return cosine_map(features, masked_gap(features, mask)), mask


def best_cut(cosine: Tensor, mask: Tensor) -> Cut:
    """The threshold on a map [h, w] whose upper side has the best IoU with a mask [h, w].

    It is chosen by looking at the truth: an upper bound, not a method.
    """
    values, order = cosine.flatten().sort(descending=True)
    inside = mask.flatten()[order].cumsum(dim=0)
    taken = torch.arange(1, len(values) + 1)
    iou = inside / (taken + mask.sum() - inside)
    best = int(iou.argmax())
    below = values[best + 1] if best + 1 < len(values) else values[best] - 1
    return Cut(float((values[best] + below) / 2), float(iou[best]))


class PartRecall(NamedTuple):
    """Shares in 0..1 of a part's pixels.

    kept: those that lie in cells of the shrunk mask; found: of the kept ones, those in cells
    above the picture's own cut.
    """

    kept: float
    found: float


def recall_by_part(
    scenes: ToyshopSet, masks: Tensor, cosines: Tensor, cuts: Sequence[Cut]
) -> dict[str, dict[str, PartRecall]]:
    """Class to (part to what the shrunk masks [N, h, w] keep of it, and the average finds)."""
    totals: dict[str, dict[str, np.ndarray]] = {}
    for index, (mask, cosine, cut) in enumerate(zip(masks, cosines, cuts, strict=True)):
        scene = scenes.scene(index)
        kept = grow(mask.numpy() == 1, scene.parts.shape)
        found = kept & grow((cosine > cut.threshold).numpy(), scene.parts.shape)
        parts = totals.setdefault(scene.classes[0], {})
        for number, name in enumerate(scene.part_names, 1):
            part = scene.parts == number
            counts = [int((part & region).sum()) for region in (part, kept, found)]
            parts[name] = parts.get(name, 0) + np.array(counts)
    return {
        name: {p: PartRecall(k / n, f / k) for p, (n, k, f) in parts.items() if k}
        for name, parts in totals.items()
    }


def several_cosines(features: Tensor, mask: Tensor, count: int, rounds: int = 10) -> Tensor:
    """The control for Figure 1: `count` vectors of one object in place of their average.

    features: [d, h, w]; mask: [h, w]. The object's cells are grouped by k-means on the sphere,
    from the cells farthest apart. Returns [h, w], each cell's best cosine to the groups' means.
    """
    cells = torch.nn.functional.normalize(features.flatten(1).T, dim=1)
    own = cells[mask.flatten() == 1]
    centres = own[:1]
    while len(centres) < min(count, len(own)):
        farthest = (own @ centres.T).amax(dim=1).argmin()
        centres = torch.cat([centres, own[farthest : farthest + 1]])
    for _ in range(rounds):
        group = (own @ centres.T).argmax(dim=1)
        means = [own[group == g].mean(dim=0) for g in range(len(centres)) if (group == g).any()]
        centres = torch.nn.functional.normalize(torch.stack(means), dim=1)
    return (cells @ centres.T).amax(dim=1).reshape(mask.shape)


@torch.no_grad()
def first_probability(model: SCL, bank: FeatureBank, items: Sequence[int]) -> np.ndarray:
    """P_s1 of Eq. 3, foreground: [len(items), h, w] in 0..1."""
    index = torch.as_tensor(list(items), device=bank.masks.device)
    maps, masks = take_maps(bank.maps, index), bank.masks[index]
    features = model.head.reduce(maps.mid, "support")
    mask = shrink_mask(masks, features.shape[-2:], model.rules)
    guide = model.self_guide(features, mask, first_pass=True)
    return guide.first.logits.softmax(dim=1)[:, 1].cpu().numpy()


def one_of_each_class(dataset: ToyshopSet, items: Sequence[int], count: int) -> list[int]:
    """The first item of each class among `items`, `count` classes at most."""
    first: dict[int, int] = {}
    for item in items:
        first.setdefault(dataset.labels[item], item)
    return list(first.values())[:count]
