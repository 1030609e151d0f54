"""Score a method on a list of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from scl.datasets.bank import FeatureBank
from scl.device import Precision, autocast
from scl.method.contracts import Backbone, Method
from scl.method.episode import EpisodeIndex
from scl.method.metric import class_iou, count_pixels, fb_iou, mean_iou
from scl.method.records import Fusion, Support
from scl.models.untrained import cosine_method


class Result(NamedTuple):
    """counts: [E, 4] int64 (see scl.method.metric), in the order of the episodes; labels: [E]."""

    counts: np.ndarray
    labels: np.ndarray

    @property
    def miou(self) -> float:
        """Compute mIoU in 0..1."""
        return mean_iou(self.counts, self.labels)

    @property
    def fb_iou(self) -> float:
        """Compute FB-IoU in 0..1."""
        return fb_iou(self.counts)

    @property
    def per_class(self) -> dict[int, float]:
        """Compute IoU in 0..1 by class index."""
        return class_iou(self.counts, self.labels)


# Stand-ins for an episode's own vectors, to ask whether the head listens to them.
SWAPS = ("v_s", "shuffled", "zero")


def swap_vectors(support: Support, labels: torch.Tensor, swap: str) -> Support:
    """Give supports other guiding vectors; labels: [B], class of each episode.

    "v_s": the plain average in every place; "shuffled": those of the next episode that shows
    another class (its own where the batch has no other); "zero": nothing at all; "exchanged": the
    same vectors in the opposite order.
    """
    vectors = support.vectors
    if swap == "v_s":
        assert support.guide, "the supports of a bank have one size"
        # [B K, d] to [B, K, 1, d], one copy for each of the n places
        plain = support.guide.v_s.unflatten(0, vectors.shape[:2]).unsqueeze(2)
        return replace(support, vectors=plain.expand_as(vectors).to(vectors.dtype))
    if swap == "zero":
        return replace(support, vectors=torch.zeros_like(vectors))
    if swap == "exchanged":
        return replace(support, vectors=vectors.flip(2))
    if swap != "shuffled":
        raise ValueError(f"swap={swap!r}: expected one of {(*SWAPS, 'exchanged')}")
    count = len(labels)
    others = [
        next((j % count for j in range(i + 1, i + count) if labels[j % count] != label), i)
        for i, label in enumerate(labels)
    ]
    return replace(support, vectors=vectors[others])


@torch.inference_mode()
def evaluate(
    model: Method,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    fusions: Sequence[Fusion] = ("cross",),
    wrong: int = 0,
    batch: int = 10,
    swap: str | None = None,
    precision: Precision = "auto",
) -> dict[str, Result]:
    """Segment every query once per way of fusing; the supports are read once for all of them.

    wrong: how many supports of each episode show the wrong object; swap: see swap_vectors;
    precision: see scl.device.autocast.
    Returns a Result by fusion. The model's own device and mode are kept.
    """
    was_training, device = model.training, bank.masks.device
    model.eval()
    counts: dict[str, list[torch.Tensor]] = {fusion: [] for fusion in fusions}
    for start in range(0, len(episodes), batch):
        b = bank.batch(episodes[start : start + batch], wrong)
        height, width = b.query_masks.shape[-2:]
        with autocast(device, precision):
            support = model.condition(b.support, b.support_masks)
            if swap is not None:
                support = swap_vectors(support, b.labels, swap)
            for fusion in fusions:
                done = model.segment(support, b.query, fusion, (height, width))
                counts[fusion].append(count_pixels(done.mask, b.query_masks))
    model.train(was_training)
    labels = np.array([e.label for e in episodes])
    return {name: Result(torch.cat(c).cpu().numpy(), labels) for name, c in counts.items()}


THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(11))


def choose_threshold(
    backbone: Backbone,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
) -> tuple[float, dict[float, float]]:
    """Find the threshold with the best mIoU on these episodes (of base classes), and all mIoUs."""
    mious = {
        t: evaluate(cosine_method(backbone, t), bank, episodes, batch=50)["cross"].miou
        for t in THRESHOLDS
    }
    return max(mious, key=lambda t: mious[t]), mious
