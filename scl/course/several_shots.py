"""Ways to use K supports, compared on the same episodes, some of them with a spoiled mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scl.course.spoil import spoil_mask
from scl.datasets.bank import FeatureBank
from scl.datasets.toyshop import ToyshopSet
from scl.evaluation.evaluate import Result
from scl.method.episode import EpisodeIndex, Episodes
from scl.method.fusion import confidence, pair_iou
from scl.method.losses import likelier
from scl.method.metric import count_pixels, interval, resample
from scl.method.scl import SCL, Support


@torch.no_grad()
def fuse_every_way(model: SCL, batch: Episodes) -> tuple[dict[str, Result], Support]:
    """K supports used in seven ways; the last one looks at the query's truth.

    Returns a Result by name, and the support set that was read.
    """
    size, truth = tuple(batch.query_masks.shape[-2:]), batch.query_masks
    support = model.condition(batch.support, batch.support_masks)
    logits = model.segment(support, batch.query, "average", size).logits
    alone = likelier(logits)
    others = confidence(support.mutual, own_score=False)
    best = pair_iou(alone, truth.unsqueeze(1).expand_as(alone)).argmax(dim=1)
    rows = torch.arange(len(truth))

    def weighted(scores: Tensor) -> Tensor:
        return likelier(model.fuse(logits, scores))

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


def spoiled_batch(
    dataset: ToyshopSet,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    kind: str,
    generator: np.random.Generator,
) -> Episodes:
    """Episodes whose first support has a spoiled mask; kind: see `spoil`. No prior (CANet)."""
    batch = bank.batch(episodes)
    masks = batch.support_masks.clone()
    for row, episode in enumerate(episodes):
        item = episode.supports[0]
        other = dataset.wrong_mask(item) if kind == "wrong object" else None
        spoiled = spoil_mask(dataset[item][1], kind, other, generator)
        masks[row, 0] = torch.from_numpy(spoiled)
    return batch._replace(support_masks=masks)


def is_lowest(scores: Tensor) -> Tensor:
    """In which of B episodes the first of K scores [B, K] is the lowest; a tie is not. [B] bool."""
    return scores[:, 0] < scores[:, 1:].amin(dim=1)


def lowest_share(scores: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """In how many percent of B episodes the first of K scores [B, K] is the lowest; interval."""
    lowest = is_lowest(scores).cpu().numpy()
    draws = resample(len(lowest), np.random.default_rng(seed)) @ lowest / len(lowest)
    low, high = interval(draws)
    return 100 * lowest.mean(), 100 * low, 100 * high
