"""The trainable half: Feature Processing Modules (FPM) and decoder, in the style of CANet.

A head reduces the backbone's maps to d channels and predicts score maps for an image under n
vectors, either as a support (FPM_s, Eq. 3 and 9) or as a query (FPM_q, Eq. 12). Both passes share
one decoder. Only the query's FPM receives the *hint*: CANet's previous prediction, or PFENet's
prior (pfenet.py). Full-size systems are other parameters of the same classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.contracts import Features, Head, Role, Shared, built
from scl.method.layers import Conv, Merge
from scl.method.records import Prediction


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

    def compared(self, features: Features, vectors: Tensor, role: Role) -> Tensor:
        """Merge features, or what `share` made of them, with vectors [N, n, d]: [N, d, h, w]."""
        shared = self.share(features, role) if isinstance(features, Tensor) else features
        return self.compare(*shared, vectors)

    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        branch = built(self.support_branch)
        x = self.compared(features, vectors, "support")
        return self._decode(x + branch(x))

    def query(self, features: Features, vectors: Tensor, hint: Tensor) -> Prediction:
        x = self.compared(features, vectors, "query")
        hint = F.interpolate(hint, x.shape[-2:], mode="bilinear", align_corners=True)
        return self._decode(x + self.query_branch(torch.cat([x, hint.to(x.dtype)], dim=1)))

    def _decode(self, x: Tensor) -> Prediction:
        for branch in self.branches:
            x = x + branch(x)
        return Prediction(self.classify(self.aspp(x)))
