"""Measurements the chapters make: what vectors find, who learns from a loss, which fusion helps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.bank import Batch, FeatureBank, take_maps
from scl.datasets import ToyshopSet
from scl.draw import grow
from scl.episode import EpisodeIndex
from scl.evaluate import Result
from scl.fusion import confidence, fuse, pair_iou
from scl.losses import likelier
from scl.metric import count_pixels, interval, resample, verdict, weighted_miou
from scl.model import SCL, SelfGuide, Support
from scl.rules import Rules
from scl.spoil import spoil_mask
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
    """Class to (part to what the shrunk masks [N, h, w] keep of it, and `found` of that).

    found: [N, h, w] bool, the cells that some method takes for the object.
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
    """How deep each cell lies in its object: 1 at the rim, 2 behind it, ...; 0 outside.

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
    """Share in 0..1 of the object's cells that were found, at the rim and deeper."""
    depth = depth_in_object(masks).clamp(max=deepest)
    names = ["at the rim", *(f"{d} cells in" for d in range(2, deepest)), f"{deepest} or more"]
    chosen = {name: found[depth == d] for d, name in enumerate(names, 1)}
    return {name: float(cells.float().mean()) for name, cells in chosen.items() if len(cells)}


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between vectors [..., d]: 0 for one direction, 90 for nothing in common."""
    return torch.rad2deg(F.cosine_similarity(a, b, dim=-1).clamp(-1, 1).acos())


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


def seen_and_unseen(
    features: Tensor, mask: Tensor, count: int, generator: torch.Generator
) -> tuple[float, float]:
    """IoU by `count` vectors of an object: on the cells they were made from, and on others.

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
    """Objects [N, h, w] split at random into regions of `first` [N] cells and the rest."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(mask == 0, 2).flatten(1)
    ranks = order.argsort(dim=1).argsort(dim=1).reshape(mask.shape)
    chosen = mask * (ranks < first[:, None, None])
    return chosen, mask - chosen


class Guided(NamedTuple):
    """N supports through a model's self-guidance (Eq. 1-6).

    features: [N, d, h, w]; mask: [N, h, w], shrunk; guide: see scl.model.SelfGuide.
    """

    features: Tensor
    mask: Tensor
    guide: SelfGuide

    @property
    def probability(self) -> np.ndarray:
        """P_s1 of Eq. 3, foreground: [N, h, w] in 0..1."""
        return self.guide.first.logits.softmax(dim=1)[:, 1].cpu().numpy()


@torch.no_grad()
def guide_supports(model: SCL, bank: FeatureBank, items: Sequence[int]) -> Guided:
    """Self-guidance of the items of a bank, each as a support of its own."""
    index = torch.as_tensor(list(items), device=bank.masks.device)
    features = model.head.reduce(take_maps(bank.maps, index).mid, "support")
    mask = shrink_mask(bank.masks[index], features.shape[-2:], model.rules)
    return Guided(features, mask, model.self_guide(features, mask, first_pass=True))


def first_probability(model: SCL, bank: FeatureBank, items: Sequence[int]) -> np.ndarray:
    """P_s1 of Eq. 3, foreground: [len(items), h, w] in 0..1."""
    return guide_supports(model, bank, items).probability


def one_of_each_class(dataset: ToyshopSet, items: Sequence[int], count: int) -> list[int]:
    """The first item of each class among `items`, `count` classes at most."""
    first: dict[int, int] = {}
    for item in items:
        first.setdefault(dataset.labels[item], item)
    return list(first.values())[:count]


# ------------------------------------------------------------- scores with intervals


def score_with_interval(result: Result, seed: int = 0) -> tuple[float, float, float]:
    """mIoU in percent and its 95 % interval over episodes (value, low, high)."""
    draws = resample(len(result.labels), np.random.default_rng(seed))
    low, high = interval(weighted_miou(result.counts, result.labels, draws))
    return 100 * result.miou, 100 * low, 100 * high


def gain_with_interval(a: Result, b: Result, seed: int = 0) -> tuple[float, float, float]:
    """mIoU of a minus that of b over the same episodes, in percent, with its interval."""
    draws = resample(len(a.labels), np.random.default_rng(seed))
    boot = [weighted_miou(r.counts, r.labels, draws) for r in (a, b)]
    low, high = interval(boot[0] - boot[1])
    return 100 * (a.miou - b.miou), 100 * low, 100 * high


def mean_with_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean of a sample, and its 95 % interval by drawing the sample again (bootstrap)."""
    sample = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(len(sample), size=(1000, len(sample)))
    return (float(sample.mean()), *interval(sample[draws].mean(axis=1)))


def gap_with_interval(
    a: Sequence[float], b: Sequence[float], seed: int = 0
) -> tuple[float, float, float]:
    """Mean of one sample minus that of another, unpaired, with its 95 % bootstrap interval."""
    generator, drawn = np.random.default_rng(seed), []
    first, second = np.asarray(a, float), np.asarray(b, float)
    for sample in (first, second):
        draws = generator.integers(len(sample), size=(1000, len(sample)))
        drawn.append(sample[draws].mean(axis=1))
    return (float(first.mean() - second.mean()), *interval(drawn[0] - drawn[1]))


def widen(
    bar: tuple[float, float, float], noise: float, level: float = 1.96
) -> tuple[float, float, float]:
    """An interval over episodes, made wide enough for another seed, too.

    bar: (value, low, high); noise: standard deviation over seeds (scl.tables.seed_noise).
    """
    value, low, high = bar
    return (
        value,
        value - math.hypot(value - low, level * noise),
        value + math.hypot(high - value, level * noise),
    )


def in_words(name: str, value: float, low: float, high: float) -> str:
    """One line: the value, its interval, and what it allows to say about a difference."""
    return f"{name} {value:+.1f} [{low:+.1f}, {high:+.1f}]\nverdict: {verdict(low, high)}"


# ------------------------------------------------------------- who learns from a loss


def gradient_norms(model: SCL, batch: Batch) -> dict[str, dict[str, float]]:
    """Loss to (part of the head to the length of the gradient that the loss sends it)."""
    model.train()
    losses = model.losses(
        batch.support.flat(), batch.support_masks.flatten(0, 1), batch.query, batch.query_masks
    )
    model.eval()
    parts = {n: list(p.parameters()) for n, p in model.head.named_children()}
    parts = {name: parameters for name, parameters in parts.items() if parameters}
    return {
        loss: {name: _length(losses[loss], p) for name, p in parts.items()}
        for loss in ("s1", "s2", "q")
        if loss in losses
    }


def _length(loss: Tensor, inputs: Sequence[Tensor]) -> float:
    grads = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in grads if g is not None) ** 0.5)


def gradient_maps(model: SCL, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
    """Loss to how hard it pulls at each cell of F_s and F_q of the first episode: two [h, w].

    The pull is the length of the gradient in a cell. CANet-style head.
    """
    kept: list[Tensor] = []
    hook = model.head.dropout.register_forward_hook(lambda *call: kept.append(call[2]))
    losses = model.losses(
        batch.support.flat(), batch.support_masks.flatten(0, 1), batch.query, batch.query_masks
    )
    hook.remove()

    def pull(loss: Tensor, features: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)
        return torch.zeros(features.shape[-2:]) if grad is None else grad[0].norm(dim=0).cpu()

    return {n: tuple(pull(losses[n], f) for f in kept[:2]) for n in ("s1", "s2", "q")}


# ------------------------------------------------------------- ways to use K supports


@torch.no_grad()
def fuse_every_way(model: SCL, batch: Batch) -> tuple[dict[str, Result], Support]:
    """K supports used in seven ways; the last one looks at the query's truth.

    Returns a Result by name, and the support set that was read.
    """
    size, truth = tuple(batch.query_masks.shape[-2:]), batch.query_masks
    support = model.condition(batch.support, batch.support_masks)
    logits = model.segment(support, batch.query, "average", size).logits
    alone = likelier(logits)
    others = confidence(support.mutual, Rules(own_score=False))
    best = pair_iou(alone, truth.unsqueeze(1).expand_as(alone)).argmax(dim=1)
    rows = torch.arange(len(truth))

    def weighted(scores: Tensor) -> Tensor:
        return likelier(fuse(logits, scores, model.rules))

    masks = {
        "one support": alone[:, -1],
        "the best-scored support": alone[rows, support.scores.argmax(dim=1)],
        "averaging predictions": weighted(torch.ones_like(support.scores)),
        "cross-guided (Eq. 17)": weighted(support.scores),
        "leave-one-out scores": weighted(others),
        "averaging vectors": model.segment(support, batch.query, "vectors", size).mask,
        "the best support (oracle)": alone[rows, best],
    }
    counts = {name: count_pixels(mask, truth).cpu().numpy() for name, mask in masks.items()}
    return {name: Result(c, batch.labels.numpy()) for name, c in counts.items()}, support


def table_of(results: Mapping[str, Result], seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Name to mIoU with its interval, as scl.draw.whiskers takes it."""
    return {name: score_with_interval(result, seed) for name, result in results.items()}


def spoiled_batch(
    dataset: ToyshopSet,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    kind: str,
    generator: np.random.Generator,
) -> Batch:
    """Episodes whose first support has a spoiled mask; kind: see scl.spoil. No prior (CANet)."""
    batch = bank.batch(episodes)
    masks = batch.support_masks.clone()
    for row, episode in enumerate(episodes):
        item = episode.supports[0]
        other = dataset.wrong_mask(item) if kind == "wrong object" else None
        spoiled = spoil_mask(dataset[item][1], kind, other, generator)
        masks[row, 0] = torch.from_numpy(spoiled)
    return batch._replace(support_masks=masks)


def lowest_share(scores: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """In how many percent of B episodes the first of K scores [B, K] is the lowest; interval.

    A tie is not the lowest.
    """
    lowest = (scores[:, 0] < scores[:, 1:].amin(dim=1)).cpu().numpy()
    draws = resample(len(lowest), np.random.default_rng(seed)) @ lowest / len(lowest)
    low, high = interval(draws)
    return 100 * lowest.mean(), 100 * low, 100 * high
