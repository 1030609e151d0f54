"""The cross-entropies of Eq. 7, 10 and 13, which are one function."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from scl.method.vectors import IGNORE, shrink_mask
from scl.method.words import words_checked


@words_checked
def resize_logits(
    logits: Tensor, size: tuple[int, ...], enlarge: Literal["aligned", "centres"] = "aligned"
) -> Tensor:
    """Resize score maps [..., 2, h, w] to [..., 2, H, W] float32, bilinear; enlarge: see Rules."""
    corners, flat = enlarge == "aligned", logits.float().flatten(0, -4)
    resized = F.interpolate(flat, size, mode="bilinear", align_corners=corners)
    return resized.unflatten(0, logits.shape[:-3])


def likelier(scores: Tensor) -> Tensor:
    """Take the argmax of Eq. 4 and 15: of scores [..., 2, H, W] a mask [..., H, W] of 0 and 1.

    A tie is background, as for argmax. Comparing the two is many times quicker on a CPU.
    """
    background, foreground = scores.unbind(dim=-3)
    return (foreground > background).long()


@words_checked
def segmentation_loss(
    logits: Tensor, mask: Tensor, loss_size: Literal["feature", "image"] = "feature"
) -> Tensor:
    """Eq. 7, 10 and 13: cross-entropy, averaged over the pixels whose label is known.

    logits: [N, 2, h, w]; mask: [N, H, W] with 0, 1, 255 (ignored). Returns a scalar.
    loss_size says where the two meet: at "image" size (the logits are enlarged) or at "feature"
    size (the mask is shrunk; a cell most of which is ignored stays ignored).
    """
    if loss_size == "image":
        logits, target = resize_logits(logits, mask.shape[-2:]), mask.long()
    else:
        target = _shrink_labels(mask, logits.shape[-2:])
    known = (target != IGNORE).sum().clamp(min=1)
    # Summed and divided by hand: the library's mean over no pixel at all would be NaN.
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum") / known


def _shrink_labels(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """Shrink labels [N, H, W] to [N, h, w] with 0, 1 and 255."""
    h, w = size
    unknown = F.adaptive_avg_pool2d((mask == IGNORE).float().unsqueeze(1), (h, w)).squeeze(1) > 0.5
    labels = shrink_mask(mask, size).long()
    return labels.masked_fill(unknown & (labels == 0), IGNORE)
