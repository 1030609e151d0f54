"""The trainable half: Feature Processing Modules (FPM) and decoder, in two styles.

A head reduces the backbone's maps to d channels and predicts score maps for an image under n
vectors, either as a support (FPM_s, Eq. 3 and 9) or as a query (FPM_q, Eq. 12). Both passes share
one decoder. Only the query's FPM receives the *hint*: CANet's previous prediction, or PFENet's
prior. Full-size systems are other parameters of the same classes.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.vectors import concat_vectors

Role = Literal["support", "query"]


class Prediction(NamedTuple):
    """What a decoder returns.

    logits: [N, 2, h, w], background and foreground, before the softmax.
    pyramid: the enriched maps of each scale, [N, d, h, w] each (PFENet; else empty).
    inner: the score maps of each scale's own classifier (PFENet while training; else empty).
    """

    logits: Tensor
    pyramid: tuple[Tensor, ...] = ()
    inner: tuple[Tensor, ...] = ()


class Head(Protocol):
    """What SCL needs of a head.

    hint: "history" (query receives the previous probabilities, [N, 2, h, w]) or
    "prior" (query receives PFENet's prior, [N, 1, h, w]).
    """

    n: int
    hint: Literal["history", "prior"]

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        """Mid-level maps [N, c, h, w] to features [N, d, h, w]."""

    def support(
        self, features: Tensor, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        """D(FPM_s(.)) of Eq. 3 and 9: features [N, d, h, w] under vectors [N, n, d]."""

    def query(self, features: Tensor, vectors: Tensor, hint: Tensor) -> Prediction:
        """D(FPM_q(.)) of Eq. 12."""


class Conv(nn.Sequential):
    """Convolution that keeps the size, an optional GroupNorm, an optional ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        *,
        dilation: int = 1,
        norm: bool = True,
        relu: bool = True,
        bias: bool = True,
    ):
        padding = dilation * (kernel // 2)
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, kernel, padding=padding, dilation=dilation, bias=bias)
        ]
        if norm:
            layers.append(nn.GroupNorm(math.gcd(4, c_out), c_out))
        if relu:
            layers.append(nn.ReLU())
        super().__init__(*layers)


class ResidualBranch(nn.Sequential):
    """CANet's residual branch: ReLU, 3 x 3, ReLU, 3 x 3. The caller adds the input."""

    def __init__(self, c_in: int, d: int, norm: bool):
        super().__init__(
            nn.ReLU(), Conv(c_in, d, 3, norm=norm), Conv(d, d, 3, norm=norm, relu=False)
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the whole image, the cell, and three widening rings."""

    def __init__(self, d: int, rates: tuple[int, ...], norm: bool):
        super().__init__()
        self.whole = Conv(d, d, norm=norm)
        self.cell = Conv(d, d, norm=norm)
        self.rings = nn.ModuleList(Conv(d, d, 3, dilation=r, norm=norm) for r in rates)
        self.merge = Conv((2 + len(rates)) * d, d, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.merge(torch.cat([whole, self.cell(x), *(ring(x) for ring in self.rings)], 1))


class CANetHead(nn.Module):
    """CANet's dense comparison, residual blocks and ASPP, with SCL's single-scale support FPM.

    Source: Zhang et al., CVPR 2019; Fig. 5 and Section 5.1 of the paper.

    in_channels: channels of the mid-level maps; n: number of guiding vectors; d: width (256 in
    the paper); rates: dilations of the ASPP (6, 12, 18 for maps of 60 x 60); reduce_kernel: 3 in
    CANet (dilated by 2), 1 is lighter; norm: GroupNorm after each convolution (none in CANet,
    but at this width training without it can stay at "all background"); dropout: of whole
    channels, behind the reduction (0.5 in CANet and PFENet); support_fpm: build the support's own
    first layers (FPM_s), which a baseline that never predicts a support does without.
    """

    hint: Literal["history", "prior"] = "history"

    def __init__(
        self,
        in_channels: int,
        n: int = 2,
        d: int = 32,
        rates: tuple[int, ...] = (2, 4, 6),
        reduce_kernel: int = 1,
        norm: bool = True,
        dropout: float = 0.0,
        support_fpm: bool = True,
    ):
        super().__init__()
        self.n = n
        self.reducer = Conv(in_channels, d, reduce_kernel, dilation=2, norm=norm)
        self.dropout = nn.Dropout2d(dropout)
        self.compare = Conv((1 + n) * d, d, 3, dilation=2, norm=norm)
        self.query_branch = ResidualBranch(d + 2, d, norm)
        self.support_branch = ResidualBranch(d, d, norm) if support_fpm else None
        self.branches = nn.ModuleList(ResidualBranch(d, d, norm) for _ in range(2))
        self.aspp = ASPP(d, rates, norm)
        self.classify = nn.Conv2d(d, 2, 1)

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return self.dropout(self.reducer(mid))

    def support(
        self, features: Tensor, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        _needs(self.support_branch)
        x = self.compare(concat_vectors(features, vectors))
        return self._decode(x + self.support_branch(x))

    def query(self, features: Tensor, vectors: Tensor, hint: Tensor) -> Prediction:
        x = self.compare(concat_vectors(features, vectors))
        hint = F.interpolate(hint, x.shape[-2:], mode="bilinear", align_corners=True)
        return self._decode(x + self.query_branch(torch.cat([x, hint.to(x.dtype)], dim=1)))

    def _decode(self, x: Tensor) -> Prediction:
        for branch in self.branches:
            x = x + branch(x)
        return Prediction(self.classify(self.aspp(x)))


class Classifier(nn.Sequential):
    """PFENet's classifier: 3 x 3, ReLU, dropout of whole channels, 1 x 1 to two score maps."""

    def __init__(self, d: int, norm: bool, dropout: float = 0.0):
        super().__init__(Conv(d, d, 3, norm=norm, bias=False), nn.Conv2d(d, 2, 1))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return self[1](F.dropout2d(self[0](x), self.dropout, self.training))


class PFENetHead(nn.Module):
    """PFENet's feature enrichment at several scales, with SCL's multi-scale support FPM.

    Source: Tian et al., TPAMI 2020; Section 5.1 of the paper.

    scales: cells of each scale (whole numbers) or multiples of the map's size (floats; rounded
    up). The query's merges also receive the prior; the support's do not. All else is shared.
    in_channels, n, d, norm, dropout, support_fpm: as for CANetHead. inner: give every scale its
    own classifier, for the auxiliary losses; without those they would never learn.
    classifier_dropout: within the classifiers (0.1 in PFENet).
    """

    hint: Literal["history", "prior"] = "prior"

    def __init__(
        self,
        in_channels: int,
        n: int = 2,
        d: int = 32,
        scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125),
        norm: bool = True,
        dropout: float = 0.0,
        inner: bool = True,
        support_fpm: bool = True,
        classifier_dropout: float = 0.0,
    ):
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales={scales!r}: expected one or more numbers above 0")
        self.dropout = nn.Dropout2d(dropout)
        self.n, self.scales = n, tuple(scales)
        several = range(len(self.scales))
        two = [Conv(d, d, 3, norm=norm, bias=False) for _ in range(2)]
        self.reducers = nn.ModuleDict(
            {role: Conv(in_channels, d, norm=norm, bias=False) for role in ("support", "query")}
        )
        self.query_merge = nn.ModuleList(
            Conv((1 + n) * d + 1, d, norm=norm, bias=False) for _ in several
        )
        self.support_merge = nn.ModuleList(
            Conv((1 + n) * d, d, norm=norm, bias=False) for _ in several if support_fpm
        )
        self.alpha = nn.ModuleList(Conv(2 * d, d, norm=norm, bias=False) for _ in several[1:])
        self.beta = nn.ModuleList(
            nn.Sequential(*(Conv(d, d, 3, norm=norm, bias=False) for _ in range(2)))
            for _ in several
        )
        self.inner = nn.ModuleList(
            Classifier(d, norm, classifier_dropout) for _ in several if inner
        )
        self.gather = Conv(len(self.scales) * d, d, norm=norm, bias=False)
        self.refine = nn.Sequential(*two)
        self.classify = Classifier(d, norm, classifier_dropout)

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return self.dropout(self.reducers[role](mid))

    def support(
        self, features: Tensor, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        _needs(self.support_merge)
        return self._decode(features, vectors, self.support_merge, None, pyramid)

    def query(self, features: Tensor, vectors: Tensor, hint: Tensor) -> Prediction:
        return self._decode(features, vectors, self.query_merge, hint, ())

    def _sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Cells of each scale for a map of this size."""

        def cells(scale: float, side: int) -> int:
            whole = isinstance(scale, Integral)
            return int(scale) if whole else max(1, math.ceil(scale * side))

        return [tuple(cells(scale, side) for side in size) for scale in self.scales]

    def _decode(
        self,
        features: Tensor,
        vectors: Tensor,
        merges: nn.ModuleList,
        prior: Tensor | None,
        above: tuple[Tensor, ...],
    ) -> Prediction:
        """From fine to coarse; each scale is enriched by the one before it.

        above: another pass's pyramid to be read instead of this one's own (released code).
        """
        full, own, inner = features.shape[-2:], [], []
        for index, size in enumerate(self._sizes(full)):
            maps = () if prior is None else (_resize(prior, size).to(features.dtype),)
            x = merges[index](concat_vectors(F.adaptive_avg_pool2d(features, size), vectors, *maps))
            if index > 0:
                before = (above or own)[index - 1]
                x = x + self.alpha[index - 1](torch.cat([x, _resize(before, size)], dim=1))
            x = x + self.beta[index](x)
            if self.training and self.inner:
                inner.append(self.inner[index](x))
            own.append(_resize(x, full))
        x = self.gather(torch.cat(own, dim=1))
        x = x + self.refine(x)
        return Prediction(self.classify(x), tuple(own), tuple(inner))


def _needs(support_fpm: nn.Sequential | nn.ModuleList | None) -> None:
    if not support_fpm:
        raise ValueError(
            "this head was built without the support's FPM: pass support_fpm=True, or let the "
            "mutual predictions of K supports come from the whole model (rule mutual='model')"
        )


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
