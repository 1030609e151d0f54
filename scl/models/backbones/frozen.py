"""What every backbone is: a feature extractor that does not learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scl.method.records import Inputs

# Mean and standard deviation of ImageNet's red, green and blue, for images in 0..1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Frozen(nn.Module):
    """Parameters without gradient, batch normalisation with stored statistics."""

    inputs: Inputs = "unit"
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Buffers move with the model: a tensor made at every call would make a GPU wait for it.
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

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
        return (images - self.mean.to(images.dtype)) / self.deviation.to(images.dtype)


def under_mask(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Maps [N, c, h, w], zero outside of a mask [N, h, w]; unchanged without one."""
    return maps if mask is None else maps * mask.unsqueeze(1).to(maps.dtype)
