"""Cross-guided fusion of K supports: Eq. 15-17. Nothing here has a parameter to train."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from scl.method.vectors import IGNORE
from scl.method.words import words_checked


@words_checked
def pair_iou(
    predicted: Tensor, mask: Tensor, iou: Literal["foreground", "mean"] = "foreground"
) -> Tensor:
    """IOU(., .) of Eq. 16.

    predicted: [..., H, W] with 0 or 1; mask: the same shape with 0, 1, 255 (ignored).
    iou: of the foreground, or the mean of foreground and background.
    Returns [...] in 0..1. An empty union (nothing predicted where nothing is) counts as 0.
    """
    valid = mask != IGNORE
    found, truth = (predicted == 1) & valid, (mask == 1) & valid

    def ratio(a: Tensor, b: Tensor) -> Tensor:
        union = (a | b).sum(dim=(-2, -1))
        return (a & b).sum(dim=(-2, -1)) / union.clamp(min=1)

    foreground = ratio(found, truth)
    if iou == "foreground":
        return foreground
    return (foreground + ratio(~found & valid, ~truth & valid)) / 2


def confidence(mutual: Tensor, *, own_score: bool = True) -> Tensor:
    """Eq. 16: how well support k segments all K supports.

    mutual: [B, K, K], mutual[b, k, i] = IOU of support i predicted under support k.
    Returns U, [B, K] in 0..1. With own_score=False the term i = k is left out (K > 1).
    """
    shots = mutual.shape[-1]
    if own_score or shots == 1:
        return mutual.mean(dim=-1)
    others = 1 - torch.eye(shots, device=mutual.device, dtype=mutual.dtype)
    return (mutual * others).sum(dim=-1) / (shots - 1)


@words_checked
def fuse_logits(
    logits: Tensor,
    scores: Tensor,
    fused: Literal["logits", "probabilities"] = "logits",
    divisor: float | None = None,
    no_score: Literal["average", "zero"] = "average",
) -> Tensor:
    """Eq. 17 before its softmax: the average of the score maps, better supports counting more.

    logits: [B, K, 2, H, W] score maps of G; scores: [B, K], U of Eq. 16, or ones for the plain
    average. Returns [B, 2, H, W]. When every score is zero no support is better than another, and
    the plain average is taken (no_score). fused="probabilities" averages probabilities, weighted
    to sum to one, and returns their log. divisor: in place of K (for K > 1).
    """
    if no_score == "average":
        none = scores.sum(dim=1, keepdim=True) <= 0
        scores = torch.where(none, torch.ones_like(scores), scores)
    scores = scores[..., None, None, None]
    if fused == "probabilities":
        weights = scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return (weights * logits.softmax(dim=2)).sum(dim=1).clamp(min=1e-12).log()
    shots = logits.shape[1]
    return (scores * logits).sum(dim=1) / (shots if divisor is None or shots == 1 else divisor)


def fuse(logits: Tensor, scores: Tensor) -> Tensor:
    """Eq. 17: the prediction of all supports together, probabilities [B, 2, H, W] in 0..1.

    logits: [B, K, 2, H, W]; scores: [B, K]; see fuse_logits.
    """
    return fuse_logits(logits, scores).softmax(dim=1)
