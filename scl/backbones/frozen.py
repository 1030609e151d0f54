"""What every backbone is: a feature extractor that does not learn."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Inputs = Literal["unit", "normalised"]

# Mean and standard deviation of ImageNet's red, green and blue, for images in 0..1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


class Frozen(nn.Module):
    """Parameters without gradient, batch normalisation with stored statistics."""

    inputs: Inputs = "unit"

    def freeze(self) -> Frozen:
        """No gradients, evaluation mode."""
        return self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation mode."""
        return super().train(False)

    def batch_statistics(self, on: bool) -> None:
        """Normalise by the statistics of each batch, which also changes the stored ones.

        So does the released code, whose frozen backbone is left in training mode.
        """
        nn.Module.train(self, on)

    def normalise(self, images: Tensor) -> Tensor:
        """Images in 0..1 to ImageNet's mean 0 and deviation 1; "normalised" ones as they are."""
        if self.inputs == "normalised":
            return images
        mean, deviation = (
            torch.tensor(x, dtype=images.dtype, device=images.device).reshape(1, 3, 1, 1)
            for x in (MEAN, DEVIATION)
        )
        return (images - mean) / deviation


def under_mask(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Maps [N, c, h, w], zero outside of a mask [N, h, w]; unchanged without one."""
    return maps if mask is None else maps * mask.unsqueeze(1).to(maps.dtype)
