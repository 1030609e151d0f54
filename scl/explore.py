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
from scl.rules import Rules
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


def recall_by_part(
    scenes: ToyshopSet, cosines: Tensor, cuts: Sequence[Cut]
) -> dict[str, dict[str, float]]:
    """Class to (part to share of its pixels that lie in cells above the picture's own cut)."""
    found: dict[str, dict[str, list[int]]] = {}
    for index, (cosine, cut) in enumerate(zip(cosines, cuts, strict=True)):
        scene = scenes.scene(index)
        above = grow((cosine > cut.threshold).numpy(), scene.parts.shape)
        parts = found.setdefault(scene.classes[0], {})
        for number, name in enumerate(scene.part_names, 1):
            pixels = scene.parts == number
            hit, area = parts.setdefault(name, [0, 0])
            parts[name] = [hit + int((pixels & above).sum()), area + int(pixels.sum())]
    return {
        name: {part: hit / area for part, (hit, area) in parts.items() if area}
        for name, parts in found.items()
    }


@torch.no_grad()
def first_probability(model: SCL, bank: FeatureBank, items: Sequence[int]) -> np.ndarray:
    """P_s1 of Eq. 3, foreground: [len(items), h, w] in 0..1."""
    index = torch.as_tensor(list(items), device=bank.masks.device)
    maps, masks = take_maps(bank.maps, index), bank.masks[index]
    features = model.head.reduce(maps.mid, "support")
    guide = model.self_guide(features, shrink_mask(masks, features.shape[-2:], Rules()))
    return guide.first.logits.softmax(dim=1)[:, 1].cpu().numpy()
