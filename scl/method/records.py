"""What flows through a method: maps of images, predictions, a support set, a segmentation.

B episodes, K shots, n guiding vectors, d channels, h x w cells, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from scl.method.losses import likelier

# What `condition` is given: all in one, or support by support.
Images: TypeAlias = "Tensor | Maps | Sequence[Tensor]"
Masks: TypeAlias = "Tensor | Sequence[Tensor]"
Fusion = Literal["cross", "average", "vectors"]
Inputs = Literal["unit", "normalised"]


class Maps(NamedTuple):
    """Frozen features of some images; leading dimensions are [N] or [B, K].

    mid: [..., c, h, w]; high: high-level maps of the whole image; masked: those of the image
    under its mask, which only a support has. high and masked are None where no prior is used.
    """

    mid: Tensor
    high: Tensor | None = None
    masked: Tensor | None = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> Maps:
        """Do the same to all maps that are there."""
        high, masked = (None if m is None else function(m) for m in self[1:])
        return Maps(function(self.mid), high, masked)

    @classmethod
    def joined(cls, parts: Sequence[Maps]) -> Maps:
        """Lay the maps of several sets of images in one row."""
        mid, *others = zip(*parts, strict=True)
        high, masked = (None if some[0] is None else torch.cat(some) for some in others)
        return cls(torch.cat(mid), high, masked)

    def flat(self) -> Maps:
        """Lay episodes and shots in one row: [B, K, ...] to [B K, ...]."""
        return self.apply(lambda m: m.flatten(0, 1))

    def shaped(self, leading: Sequence[int]) -> Maps:
        """Undo `flat`: [B K, ...] to [B, K, ...]; leading: (B, K)."""
        return self.apply(lambda m: m.unflatten(0, tuple(leading)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Maps:
        """Copy the maps to another device."""
        return self.apply(lambda m: m.to(device, non_blocking=non_blocking))


class Prediction(NamedTuple):
    """What a decoder returns.

    logits: [N, 2, h, w], background and foreground, before the softmax.
    pyramid: the enriched maps of each scale, [N, d, h, w] each (PFENet; else empty).
    inner: the score maps of each scale's own classifier (PFENet while training; else empty).
    """

    logits: Tensor
    pyramid: tuple[Tensor, ...] = ()
    inner: tuple[Tensor, ...] = ()


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


class SupportGroup(NamedTuple):
    """Supports of one size, read by Eq. 1-6.

    features: [B, K, d, h, w]; mask: [B, K, h, w], shrunk; guide: SelfGuide of the B K supports;
    maps: their frozen features.
    """

    features: Tensor
    mask: Tensor
    guide: SelfGuide
    maps: Maps

    @property
    def vectors(self) -> Tensor:
        """Return the guiding vectors, [B, K, n, d]."""
        return self.guide.vectors.unflatten(0, self.mask.shape[:2])


@dataclass(frozen=True)
class Support:
    """A support set, read once; segmenting queries needs no more.

    vectors: [B, K, n, d], which guide; mutual: [B, K, K], mutual[b, k, i] = IOU of support i
    predicted under support k (Eq. 15-16); scores: [B, K], U of Eq. 16; both are 1 where nothing
    was compared, as for K = 1. groups: what was read of the supports, those of one size together
    (or each alone, if they differ). A method that needs more of its supports adds to this class.
    """

    vectors: Tensor
    mutual: Tensor
    scores: Tensor
    groups: tuple[SupportGroup, ...] = ()

    @classmethod
    def unscored(cls, vectors: Tensor, groups: Sequence[SupportGroup] = ()) -> Support:
        """Make a set of supports that nobody has compared yet."""
        b, k = vectors.shape[:2]
        ones = torch.ones(b, k, device=vectors.device)  # single precision, autocast or not
        return cls(vectors, ones.unsqueeze(2).expand(-1, -1, k), ones, tuple(groups))

    def for_queries(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give scores, mutual and vectors for each of B queries: one set for all, or one each."""
        if len(self.vectors) not in (1, count):
            raise ValueError(
                f"{count} queries for {len(self.vectors)} support sets: expected as many queries "
                "as support sets, or one support set for all queries"
            )
        scores, mutual, vectors = (
            x.expand(count, *x.shape[1:]) for x in (self.scores, self.mutual, self.vectors)
        )
        return scores, mutual, vectors

    @property
    def group(self) -> SupportGroup:
        """Return all supports, where they are of one size."""
        if not self.groups:
            kept = "0 groups of supports: this method keeps their vectors alone"
            raise ValueError(f"{kept}; expected SCL")
        if len(self.groups) != 1:
            differ = f"{len(self.groups)} groups of supports, which differ in size"
            raise ValueError(f"{differ}: look at each of `support.groups`")
        return self.groups[0]

    @property
    def features(self) -> Tensor:
        """Return F_s of supports of one size, [B, K, d, h, w]."""
        return self.group.features

    @property
    def mask(self) -> Tensor:
        """Return M_s of supports of one size, shrunk, [B, K, h, w]."""
        return self.group.mask

    @property
    def guide(self) -> SelfGuide:
        """Return what self-guidance found in the B K supports of one size."""
        return self.group.guide


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
        """Take the softmax of Eq. 17: probabilities [B, 2, H, W]."""
        return self.fused_logits.softmax(dim=1)

    @property
    def mask(self) -> Tensor:
        """Predict a mask, [B, H, W] with 0 or 1."""
        return likelier(self.fused_logits)
