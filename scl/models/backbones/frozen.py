"""What every backbone is: a feature extractor that does not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scl.method.records import Inputs
from scl.models.backbones.weights import CLASSIFIERS, pick, read_file, unwrapped

# Mean and standard deviation of ImageNet's red, green and blue, for images in 0..1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Frozen(nn.Module):
    """Parameters without gradient, batch normalisation with stored statistics.

    weights_sha256: of the file that its weights are from, if they are from one.
    """

    inputs: Inputs = "unit"
    weights_sha256: str | None = None
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

    def fill(self, path: str | Path, sha256: str | None = None) -> None:
        """Take the weights of a file: of torch.save, with tensors only, or safetensors.

        sha256: refuse a file that has another.
        """
        path = Path(path)
        held, found = read_file(path, "a file of ImageNet weights")
        if sha256 not in (None, found):
            raise ValueError(f"{path} has the SHA-256 {found}, expected {sha256}: it is another")
        try:
            state = unwrapped(held)
            self.take(pick(state, self.shapes_in_file(), self.names_in_file, self.left_out()))
        except ValueError as error:
            raise ValueError(
                f"{path} does not fit this backbone: {error}; take the ImageNet weights of the "
                "same form and depth, or another backbone"
            ) from None
        self.weights_sha256 = found

    def shapes_in_file(self) -> dict[str, torch.Size]:
        """Name the weights that a file must have, with their shapes."""
        return {name: value.shape for name, value in self.state_dict().items()}

    def names_in_file(self, ours: str) -> Sequence[str]:
        """List the names that one of those weights may have in a file."""
        return (ours,)

    def left_out(self) -> Sequence[str]:
        """List the beginnings of names that a file may have and nobody reads."""
        return CLASSIFIERS

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Become a network with the weights of a file."""
        self.load_state_dict(dict(weights), strict=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Images in 0..1 to ImageNet's mean 0 and deviation 1; "normalised" ones as they are."""
        if self.inputs == "normalised":
            return images
        return (images - self.mean.to(images.dtype)) / self.deviation.to(images.dtype)


def under_mask(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Maps [N, c, h, w], zero outside of a mask [N, h, w]; unchanged without one."""
    return maps if mask is None else maps * mask.unsqueeze(1).to(maps.dtype)
