"""The convolutions of a head, of which two take a sum apart to do a part of it once.

A convolution is linear: what a part of its input adds can be computed by itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.words import expect


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

    @property
    def conv(self) -> nn.Conv2d:
        """Return the convolution itself."""
        return expect(nn.Conv2d, self[0])

    def finish(self, x: Tensor) -> Tensor:
        """Do what comes behind the convolution."""
        for layer in [*self][1:]:
            x = layer(x)
        return x


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
        self._padding = expect(tuple, self.conv.padding)

    def share(self, features: Tensor) -> Tensor:
        """Convolve features [N, d, h, w] by their part of the kernel, to [N, d_out, h, w]."""
        return self._convolve(features, 0, self.conv.bias)

    def forward(self, input: Tensor, vectors: Tensor | None = None, *maps: Tensor) -> Tensor:
        """Add the parts of vectors [N, n, d] and of maps [N, c, h, w] to what `share` returns.

        Without vectors, the input is all of it side by side (concat_vectors): the same, slower.
        """
        if vectors is None:
            return super().forward(input)
        x = input + self._spread(vectors.flatten(1).to(input.dtype), input)
        if maps:
            x = x + self._convolve(torch.cat(maps, dim=1), 2)
        return self.finish(x)

    def _convolve(self, maps: Tensor, part: int, bias: Tensor | None = None) -> Tensor:
        conv, kernel = self.conv, self.conv.weight.split(self.parts, dim=1)[part]
        return F.conv2d(maps, kernel, bias, 1, self._padding, conv.dilation)

    def _spread(self, vectors: Tensor, like: Tensor) -> Tensor:
        """Convolve copies of vectors [N, n d] in every cell; a single cell where all are alike."""
        conv, kernel = self.conv, self.conv.weight.split(self.parts, dim=1)[1]
        taps = torch.einsum("ocyx,nc->noyx", kernel, vectors)
        if conv.kernel_size == (1, 1):
            return taps
        # Which cells each tap of the kernel meets: beyond the border there is no copy.
        (h, w), window = like.shape[-2:], (conv.kernel_size, conv.dilation, self._padding)
        there = F.unfold(like.new_ones(1, 1, h, w), *window)
        return (taps.flatten(2) @ there[0].to(taps.dtype)).unflatten(2, (h, w))


class Gather(Conv):
    """A 1 x 1 convolution over maps that are enlarged and laid side by side.

    It weighs channels and enlarging weighs cells, so either may come first: the small maps do.
    """

    def forward(self, input: Tensor | Sequence[Tensor], size: tuple[int, ...] = ()) -> Tensor:
        """Join maps [N, d, ., .] of any sizes to [N, d_out, h, w]; size: (h, w).

        The input may also be all maps side by side, enlarged already: the same, slower.
        """
        if isinstance(input, Tensor):
            return super().forward(input)
        parts = zip(input, self.conv.weight.chunk(len(input), dim=1), strict=True)
        x = functools.reduce(torch.add, (resized(F.conv2d(m, w), size) for m, w in parts))
        return self.finish(x)


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps to a size, corners aligned."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)
