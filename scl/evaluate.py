"""Score a method on a list of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from scl.bank import FeatureBank
from scl.device import autocast
from scl.episode import EpisodeIndex
from scl.metric import class_iou, count_pixels, fb_iou, mean_iou
from scl.model import SCL, Fusion


class Result(NamedTuple):
    """counts: [E, 4] int64 (see scl.metric), in the order of the episodes; labels: [E]."""

    counts: np.ndarray
    labels: np.ndarray

    @property
    def miou(self) -> float:
        """mIoU in 0..1."""
        return mean_iou(self.counts, self.labels)

    @property
    def fb_iou(self) -> float:
        """FB-IoU in 0..1."""
        return fb_iou(self.counts)

    @property
    def per_class(self) -> dict[int, float]:
        """IoU in 0..1 by class index."""
        return class_iou(self.counts, self.labels)


@torch.inference_mode()
def evaluate(
    model: SCL,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    fusions: Sequence[Fusion] = ("cross",),
    wrong: int = 0,
    batch: int = 10,
    progress: bool = False,
) -> dict[str, Result]:
    """Segment every query once per way of fusing; the supports are read once for all of them.

    wrong: how many supports of each episode show the wrong object.
    Returns a Result by fusion. The model's own device and mode are kept.
    """
    was_training, device = model.training, bank.masks.device
    model.eval()
    counts: dict[str, list[torch.Tensor]] = {fusion: [] for fusion in fusions}
    starts = range(0, len(episodes), batch)
    for start in tqdm(starts, desc="episodes", disable=not progress, leave=False):
        b = bank.batch(episodes[start : start + batch], wrong)
        with autocast(device):
            support = model.condition(b.support, b.support_masks)
            for fusion in fusions:
                done = model.segment(support, b.query, fusion, tuple(b.query_masks.shape[-2:]))
                counts[fusion].append(count_pixels(done.mask, b.query_masks).cpu())
    model.train(was_training)
    labels = np.array([e.label for e in episodes])
    return {name: Result(torch.cat(c).numpy(), labels) for name, c in counts.items()}
