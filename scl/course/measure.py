"""Measure what a vector finds, how a model guides its supports, and whom a loss teaches.

Shapes: N images, d channels, h x w cells, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.datasets.bank import FeatureBank, take_maps
from scl.datasets.toyshop import ToyshopSet
from scl.evaluation.overlay import grow
from scl.method.episode import Episodes
from scl.method.records import Prediction
from scl.method.scl import SCL, SelfGuide
from scl.method.vectors import cosine_map, masked_gap, shrink_mask
from scl.method.words import expect
from scl.training.trainer import EpisodeLosses


class Cut(NamedTuple):
    """A threshold on a map, and the IoU of what lies above it."""

    threshold: float
    iou: float


def own_cosine(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Compare every cell with the average of its own object (Eq. 1), by cosine: Figure 1.

    features: [N, d, h, w]; masks: [N, H, W]. Returns cosines [N, h, w] in -1..1 and the shrunk
    masks [N, h, w].
    """
    mask = shrink_mask(masks, features.shape[-2:])
    return cosine_map(features, masked_gap(features, mask)), mask


def best_cut(cosine: Tensor, mask: Tensor) -> Cut:
    """The threshold on a map whose upper side has the best IoU with a mask of the same shape.

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
    scenes: ToyshopSet, masks: Tensor, found: Tensor
) -> dict[str, dict[str, PartRecall]]:
    """Count, for each class and part, what shrunk masks keep of it and what is found of that.

    masks: [N, h, w], shrunk; found: [N, h, w] bool, the cells that some method takes for the
    object. Returns {class: {part: PartRecall}}.
    """
    totals: dict[str, dict[str, np.ndarray]] = {}
    for index, (mask, cells) in enumerate(zip(masks, found, strict=True)):
        scene = scenes.scene(index)
        kept = grow(mask.numpy() == 1, scene.parts.shape)
        seen = kept & grow(cells.numpy(), scene.parts.shape)
        parts = totals.setdefault(scene.classes[0], {})
        for number, name in enumerate(scene.part_names, 1):
            part = scene.parts == number
            counts = [int((part & region).sum()) for region in (part, kept, seen)]
            parts[name] = parts.get(name, 0) + np.array(counts)
    return {
        name: {p: PartRecall(k / n, f / k) for p, (n, k, f) in parts.items() if k}
        for name, parts in totals.items()
    }


def depth_in_object(mask: Tensor) -> Tensor:
    """Count how deep each cell lies in its object: 1 at the rim, 2 behind it, ...; 0 outside.

    mask: [N, h, w] with 0 or 1. The picture's edge is no rim: the object may go on there. An object
    that fills the picture has no rim and counts as deep as the picture is wide.
    """
    depth, left = torch.zeros_like(mask), mask.clone()
    for _ in range(max(mask.shape[1:])):
        depth += left
        outside = F.max_pool2d(1 - left.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
        left = left * (1 - outside)
    return depth


def share_by_depth(masks: Tensor, found: Tensor, deepest: int = 3) -> dict[str, float]:
    """Measure the share in 0..1 of the object's cells that were found, at the rim and deeper."""
    depth = depth_in_object(masks).clamp(max=deepest)
    names = ["at the rim", *(f"{d} cells in" for d in range(2, deepest)), f"{deepest} or more"]
    chosen = {name: found[depth == d] for d, name in enumerate(names, 1)}
    return {name: float(cells.float().mean()) for name, cells in chosen.items() if len(cells)}


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Measure degrees between vectors [..., d]: 0 for one direction, 90 for nothing in common."""
    return torch.rad2deg(F.cosine_similarity(a, b, dim=-1).clamp(-1, 1).acos())


def part_centres(features: Tensor, mask: Tensor, count: int, rounds: int = 10) -> Tensor:
    """Group an object's cells by k-means on the sphere, from the cells farthest apart.

    features: [d, h, w]; mask: [h, w]. Returns the groups' means, of length 1: [n, d], n <= count.
    """
    cells = F.normalize(features.flatten(1).T, dim=1)
    own = cells[mask.flatten() == 1]
    centres = own[:1]
    while len(centres) < min(count, len(own)):
        farthest = (own @ centres.T).amax(dim=1).argmin()
        centres = torch.cat([centres, own[farthest : farthest + 1]])
    for _ in range(rounds):
        group = (own @ centres.T).argmax(dim=1)
        means = [own[group == g].mean(dim=0) for g in range(len(centres)) if (group == g).any()]
        centres = F.normalize(torch.stack(means), dim=1)
    return centres


def several_cosines(features: Tensor, mask: Tensor, count: int, rounds: int = 10) -> Tensor:
    """Compare every cell with `count` vectors of one object: the control for Figure 1.

    features: [d, h, w]; mask: [h, w]. Returns [h, w], each cell's best cosine to part_centres.
    """
    cells = F.normalize(features.flatten(1).T, dim=1)
    centres = part_centres(features, mask, count, rounds)
    return (cells @ centres.T).amax(dim=1).reshape(mask.shape)


def seen_and_unseen(
    features: Tensor, mask: Tensor, count: int, generator: torch.Generator
) -> tuple[float, float]:
    """Measure the IoU by `count` vectors on the cells they were made from, and on others.

    features: [d, h, w]; mask: [h, w]. For the second figure the vectors are made from a random
    half of the object's cells, and scored on the picture without that half. The two differ in
    what they count, so each compares numbers of vectors, not one with the other.
    """
    seen = best_cut(several_cosines(features, mask, count), mask).iou
    half = mask * (torch.rand(mask.shape, generator=generator) > 0.5)
    if not 0 < half.sum() < mask.sum():
        return seen, float("nan")
    left = half == 0
    unseen = best_cut(several_cosines(features, half, count)[left], mask[left]).iou
    return seen, unseen


def random_split(mask: Tensor, first: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split objects [N, h, w] at random into regions of `first` [N] cells and the rest."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(mask == 0, 2).flatten(1)
    ranks = order.argsort(dim=1).argsort(dim=1).reshape(mask.shape)
    chosen = mask * (ranks < first[:, None, None])
    return chosen, mask - chosen


class Guided(NamedTuple):
    """N supports through a model's self-guidance (Eq. 1-6).

    features: [N, d, h, w]; mask: [N, h, w], shrunk; guide: see scl.method.scl.SelfGuide.
    """

    features: Tensor
    mask: Tensor
    guide: SelfGuide

    @property
    def probability(self) -> np.ndarray:
        """P_s1 of Eq. 3, foreground: [N, h, w] in 0..1."""
        return expect(Prediction, self.guide.first).logits.softmax(dim=1)[:, 1].cpu().numpy()


@torch.no_grad()
def guide_supports(model: SCL, bank: FeatureBank, items: Sequence[int]) -> Guided:
    """Let a model guide itself on items of a bank, each as a support of its own."""
    index = torch.as_tensor(list(items), device=bank.masks.device)
    features = model.head.reduce(take_maps(bank.maps, index).mid, "support")
    mask = model.shrink(bank.masks[index], features)
    return Guided(features, mask, model.self_guide(features, mask, first_pass=True))


def first_probability(model: SCL, bank: FeatureBank, items: Sequence[int]) -> np.ndarray:
    """Predict each support under its own v_s, P_s1 of Eq. 3: [len(items), h, w] in 0..1."""
    return guide_supports(model, bank, items).probability


def one_of_each_class(dataset: ToyshopSet, items: Sequence[int], count: int) -> list[int]:
    """Pick the first item of each class among `items`, `count` classes at most."""
    first: dict[int, int] = {}
    for item in items:
        first.setdefault(dataset.labels[item], item)
    return list(first.values())[:count]


def success_median_failure(scores: Sequence[float] | np.ndarray) -> dict[str, int]:
    """Choose by rule what to show: the places of the 90th, 50th and 10th percentile of scores."""
    order = np.asarray(scores).argsort(kind="stable")
    ranks = {"success": 0.9, "median": 0.5, "failure": 0.1}
    return {name: int(order[round(share * (len(order) - 1))]) for name, share in ranks.items()}


def gradient_norms(model: SCL, batch: Episodes) -> dict[str, dict[str, float]]:
    """Measure, {loss: {part of the head: length}}, the gradient that a loss sends to a part."""
    model.train()
    losses = EpisodeLosses(model)(batch)
    model.eval()
    parts = {n: list(p.parameters()) for n, p in model.head.named_children()}
    return {
        loss: {name: _length(losses[loss], p) for name, p in parts.items() if p}
        for loss in ("s1", "s2", "q")
        if loss in losses
    }


def _length(loss: Tensor, inputs: Sequence[Tensor]) -> float:
    grads = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in grads if g is not None) ** 0.5)


def gradient_maps(model: SCL, batch: Episodes) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure how hard each loss pulls at each cell of F_s and F_q of the first episode.

    The pull is the length of the gradient in a cell, two maps [h, w]. CANet-style head.
    """
    kept: list[Tensor] = []
    dropout = model.head.get_submodule("dropout")
    hook = dropout.register_forward_hook(lambda *call: kept.append(call[2]))
    losses = EpisodeLosses(model)(batch)
    hook.remove()

    def pull(loss: Tensor, features: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)
        return torch.zeros(features.shape[-2:]) if grad is None else grad[0].norm(dim=0).cpu()

    return {n: (pull(losses[n], kept[0]), pull(losses[n], kept[1])) for n in ("s1", "s2", "q")}
