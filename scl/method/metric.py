"""mIoU and FB-IoU as the paper accumulates them, a table per class, and bootstrap intervals.

Counts are whole pixels per episode, [E, 4]: intersection and union of the foreground, then of the
background. Everything else is a sum of them, so totals are exact however work was shared out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scl.method.vectors import IGNORE


def count_pixels(predicted: Tensor, mask: Tensor) -> Tensor:
    """Count intersections and unions of E predictions.

    predicted: [E, H, W] with 0, 1; mask: [E, H, W] with 0, 1, 255 (left out everywhere).
    Returns [E, 4] int64: foreground intersection, union, background intersection, union.
    """
    if predicted.shape != mask.shape:
        raise ValueError(
            f"prediction {tuple(predicted.shape)} and mask {tuple(mask.shape)} differ in shape"
        )
    valid = mask != IGNORE
    found, truth = (predicted == 1) & valid, (mask == 1) & valid
    pairs = (found & truth, found | truth, valid & ~(found | truth), valid & ~(found & truth))
    return torch.stack([pair.flatten(1).sum(dim=1) for pair in pairs], dim=1)


def class_iou(counts: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Score classes by IoU in 0..1: summed intersections over summed unions of its episodes."""
    counts, labels = np.asarray(counts), np.asarray(labels)
    result = {}
    for label in np.unique(labels):
        intersection, union = counts[labels == label, :2].sum(axis=0)
        result[int(label)] = float(intersection / union) if union else 0.0
    return result


def mean_iou(counts: np.ndarray, labels: np.ndarray) -> float:
    """Average class_iou over the classes: mIoU in 0..1."""
    if len(counts) == 0:
        raise ValueError("no episode to score: expected at least one")
    return float(np.mean(list(class_iou(counts, labels).values())))


def fb_iou(counts: np.ndarray) -> float:
    """Average foreground and background, each pooled over all episodes: FB-IoU in 0..1."""
    if len(counts) == 0:
        raise ValueError("no episode to score: expected at least one")
    f_inter, f_union, b_inter, b_union = np.asarray(counts).sum(axis=0)
    return float((f_inter / max(f_union, 1) + b_inter / max(b_union, 1)) / 2)


def resample(episodes: int, generator: np.random.Generator, draws: int = 1000) -> np.ndarray:
    """Draw bootstrap weights [draws, episodes]: how often each is drawn, with replacement."""
    return generator.multinomial(episodes, np.full(episodes, 1 / episodes), size=draws)


def weighted_miou(counts: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score every draw by mIoU, [draws] in 0..1. Two methods under the same weights are paired.

    A class of which a draw holds no episode is left out of that draw's mean.
    """
    counts, labels = np.asarray(counts), np.asarray(labels)
    # As floats, because numpy multiplies whole numbers slowly; these are exact up to 2^53.
    weights = np.asarray(weights, float)
    member = labels[:, None] == np.unique(labels)[None]
    intersection = weights @ (member * counts[:, :1])
    union = weights @ (member * counts[:, 1:2])
    ratio = np.where(union > 0, intersection / np.maximum(union, 1), np.nan)
    return np.nanmean(ratio, axis=1)


def verdict(low: float, high: float) -> str:
    """Say what an interval of a difference, in percent, allows; ends count as printed."""
    low, high = round(low, 1), round(high, 1)
    return "higher" if low > 0 else "lower" if high < 0 else "no difference shown"


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Find the percentile interval of bootstrap draws."""
    tail = 50 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
