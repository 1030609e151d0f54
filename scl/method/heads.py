"""The trainable half: Feature Processing Modules (FPM) and decoder, in the style of CANet.

A head reduces the backbone's maps to d channels and predicts score maps for an image under n
vectors, either as a support (FPM_s, Eq. 3 and 9) or as a query (FPM_q, Eq. 12). Both passes share
one decoder. Only the query's FPM receives the *hint*: CANet's previous prediction, or PFENet's
prior (pfenet.py). Full-size systems are other parameters of the same classes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.contracts import Features, Head, Role, Shared, built
from scl.method.records import Prediction


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


class Merge(Conv):
    """Eq. 2, 8 and 11 and the convolution behind them, without laying the copies out.

    A convolution is linear, so its result is a sum: what the d channels of features add, which is
    the same under all vectors (`share`, once an image); what the copies of the vectors add, which
    is the same in every cell, but for those where the kernel reaches beyond the border; and what
    further maps add.
    """

    def __init__(self, d: int, n: int, d_out: int, kernel: int = 1, maps: int = 0, **options: Any):
        super().__init__((1 + n) * d + maps, d_out, kernel, **options)
        self.parts = d, n * d, maps

    def share(self, features: Tensor) -> Tensor:
        """Convolve features [N, d, h, w] by their part of the kernel, to [N, d_out, h, w]."""
        return self._convolve(features, 0, self[0].bias)

    def forward(self, shared: Tensor, vectors: Tensor, *maps: Tensor) -> Tensor:
        """Add the parts of vectors [N, n, d] and of maps [N, c, h, w] to what `share` returns."""
        x = shared + self._spread(vectors.flatten(1).to(shared.dtype), shared)
        if maps:
            x = x + self._convolve(torch.cat(maps, dim=1), 2)
        for layer in [*self][1:]:
            x = layer(x)
        return x

    def _convolve(self, maps: Tensor, part: int, bias: Tensor | None = None) -> Tensor:
        conv, kernel = self[0], self[0].weight.split(self.parts, dim=1)[part]
        return F.conv2d(maps, kernel, bias, 1, conv.padding, conv.dilation)

    def _spread(self, vectors: Tensor, like: Tensor) -> Tensor:
        """Convolve copies of vectors [N, n d] in every cell; a single cell where all are alike."""
        conv, kernel = self[0], self[0].weight.split(self.parts, dim=1)[1]
        taps = torch.einsum("ocyx,nc->noyx", kernel, vectors)
        if conv.kernel_size == (1, 1):
            return taps
        # Which cells each tap of the kernel meets: beyond the border there is no copy.
        h, w = like.shape[-2:]
        there = F.unfold(like.new_ones(1, 1, h, w), conv.kernel_size, conv.dilation, conv.padding)
        return (taps.flatten(2) @ there[0].to(taps.dtype)).unflatten(2, (h, w))


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


class CANetHead(Head):
    """CANet's dense comparison, residual blocks and ASPP, with SCL's single-scale support FPM.

    Source: Zhang et al., CVPR 2019; Fig. 5 and Section 5.1 of the paper.

    in_channels: channels of the mid-level maps; n: number of guiding vectors; d: width (256 in
    the paper); rates: dilations of the ASPP (6, 12, 18 for maps of 60 x 60); reduce_kernel: 3 in
    CANet (dilated by 2), 1 is lighter; norm: GroupNorm after each convolution (none in CANet,
    but at this width training without it can stay at "all background"); dropout: of whole
    channels, behind the reduction (0.5 in CANet and PFENet); support_fpm: build the support's own
    first layers (FPM_s), which a baseline that never predicts a support does without.
    """

    hint_channels, refines = 2, True  # the previous prediction, background and foreground

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
        self.compare = Merge(d, n, d, 3, dilation=2, norm=norm)
        self.query_branch = ResidualBranch(d + 2, d, norm)
        self.support_branch = ResidualBranch(d, d, norm) if support_fpm else None
        self.branches = nn.ModuleList(ResidualBranch(d, d, norm) for _ in range(2))
        self.aspp = ASPP(d, rates, norm)
        self.classify = nn.Conv2d(d, 2, 1)

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return self.dropout(self.reducer(mid))

    def share(self, features: Tensor, role: Role) -> Shared:
        return (self.compare.share(features),)

    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        branch = built(self.support_branch)
        x = self.compare(*self.shared(features, "support"), vectors)
        return self._decode(x + branch(x))

    def query(self, features: Features, vectors: Tensor, hint: Tensor) -> Prediction:
        x = self.compare(*self.shared(features, "query"), vectors)
        hint = F.interpolate(hint, x.shape[-2:], mode="bilinear", align_corners=True)
        return self._decode(x + self.query_branch(torch.cat([x, hint.to(x.dtype)], dim=1)))

    def _decode(self, x: Tensor) -> Prediction:
        for branch in self.branches:
            x = x + branch(x)
        return Prediction(self.classify(self.aspp(x)))
