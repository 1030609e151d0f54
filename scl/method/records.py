"""What flows through the model: maps of images, what guides, a support set, a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from scl.method.heads import Prediction
from scl.method.losses import likelier


class Maps(NamedTuple):
    """Frozen features of some images; leading dimensions are [N] or [B, K].

    mid: [..., c, h, w]; high: high-level maps of the whole image; masked: those of the image
    under its mask, which only a support has. high and masked are None where no prior is used.
    """

    mid: Tensor
    high: Tensor | None = None
    masked: Tensor | None = None

    def flat(self) -> Maps:
        """[B, K, ...] to [B K, ...]."""
        return Maps(*(None if m is None else m.flatten(0, 1) for m in self))

    def to(self, device: torch.device | str) -> Maps:
        """The same maps on another device."""
        return Maps(*(None if m is None else m.to(device) for m in self))


class SelfGuide(NamedTuple):
    """What self-guidance finds in N supports (Eq. 1-6).

    v_s: [N, d]; first: the first support prediction, None where nothing needs it;
    found, lost: [N, h, w], the regions of Eq. 5 and 6; vectors: [N, n, d], those that guide.
    """

    v_s: Tensor
    first: Prediction | None
    found: Tensor
    lost: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class Support:
    """A support set, read once.

    features: [B, K, d, h, w]; mask: [B, K, h, w], shrunk; guide: SelfGuide of the B K supports;
    vectors: [B, K, n, d]; maps: their frozen features; mutual: [B, K, K], mutual[b, k, i] = IOU
    of support i predicted under support k (Eq. 15-16); scores: [B, K], U of Eq. 16.
    For K = 1 there is nothing to compare: mutual and scores are 1.
    parts: for supports that differ in size, K sets of one support each; features, mask, guide and
    maps, which cannot be stacked then, are None.
    """

    features: Tensor | None
    mask: Tensor | None
    guide: SelfGuide | None
    vectors: Tensor
    maps: Maps | None
    mutual: Tensor
    scores: Tensor
    parts: tuple[Support, ...] = ()

    @property
    def groups(self) -> tuple[Support, ...]:
        """Sets of supports of one size that together are this one."""
        return self.parts or (self,)


def join(parts: Sequence[Support]) -> Support:
    """Supports of differing sizes, [B, 1] each, as one set [B, K]; nothing is scored yet."""
    if len(parts) == 1:
        return parts[0]
    vectors = torch.cat([part.vectors for part in parts], dim=1)
    scores = torch.cat([part.scores for part in parts], dim=1)
    mutual = scores.unsqueeze(2).expand(-1, -1, len(parts))
    return Support(None, None, None, vectors, None, mutual, scores, tuple(parts))


@dataclass(frozen=True)
class Segmentation:
    """What `segment` returns.

    scores: [B, K], U of Eq. 16; mutual: [B, K, K]; logits: [B, K, 2, H, W], one score map per
    support (one in all with fusion="vectors"); fused_logits: [B, 2, H, W], their average, which
    the released code returns.
    """

    scores: Tensor
    mutual: Tensor
    logits: Tensor
    fused_logits: Tensor

    @property
    def fused(self) -> Tensor:
        """Eq. 17: probabilities [B, 2, H, W]."""
        return self.fused_logits.softmax(dim=1)

    @property
    def mask(self) -> Tensor:
        """The predicted mask, [B, H, W] with 0 or 1."""
        return likelier(self.fused_logits)


Inputs = Literal["unit", "normalised"]


class Backbone(Protocol):
    """What a method needs of a feature extractor.

    mid_channels: of the mid-level maps; stride: pixels a cell; inputs: "unit" (images in 0..1) or
    "normalised" (mean and deviation of ImageNet already taken out, as the released code feeds).
    """

    mid_channels: int
    stride: int
    inputs: Inputs

    def mid(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] to mid-level maps [N, mid_channels, h, w]."""

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mid-level maps, under a mask [N, h, w] if given, to high-level maps [N, c, h, w]."""
