"""From an image of any size to what a network takes, and score maps back to its own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method.episode import image_tensor
from scl.method.vectors import IGNORE
from scl.models.backbones.frozen import DEVIATION, MEAN

Method = Literal["exact", "released", "native"]
METHODS: tuple[str, ...] = get_args(Method)
BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Fit:
    """How an image is brought to a network, and score maps are brought back.

    side: S, pixels a side of the square that the network sees; method: one of

    "exact"     The longer side gets S pixels, both sides are rounded, and the rest of the square,
                at the bottom and right, has ImageNet's mean colour and the label 255. Back: the
                padding is cut off the score maps, which are resized to the original size. What was
                somewhere comes back there, to less than half a pixel.
    "released"  As the released PFENet tests. Both sides are rounded down to a multiple of 8, and
                the rest of the square is black. Back: the whole square is resized to longer x
                longer pixels, as if the image had filled it, and cut to the original size. So the
                mask comes back smaller: by 1 pixel at the far end of the longer side and up to 3 of
                the shorter one at 500 x 375, up to 9 at other shapes of 500 pixels.
    "native"    Nothing is resized, and side is not used (released CANet's test). Images then
                differ in size, so supports go to the model as a list.
    """

    side: int = 473
    method: Method = "exact"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {METHODS}")
        if self.side < 8:
            raise ValueError(f"side={self.side!r}: expected at least 8 pixels, such as 473")

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in the square of an image of size (H, W)."""
        if self.method == "native":
            return size
        longer = max(size)
        if self.method == "exact":
            return tuple(max(1, round(x * self.side / longer)) for x in size)
        return tuple(max(8, x * self.side // longer // 8 * 8) for x in size)

    def to_network(
        self, image: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """An image, H x W x 3 uint8, and its mask, H x W with 0, 1, 255, as a network takes them.

        Returns [3, S, S] float in 0..1 and [S, S] uint8 (None without a mask); [3, H, W] and
        [H, W] with method "native".
        """
        if mask is not None and mask.shape != image.shape[:2]:
            raise ValueError(f"image {image.shape[:2]} and mask {mask.shape} differ in size")
        pixels = image_tensor(np.array(image))  # pictures as they are read cannot be written to
        labels = None if mask is None else torch.from_numpy(np.array(mask, np.uint8))
        if self.method == "native":
            return pixels, labels
        size, exact = self.inner(image.shape[:2]), self.method == "exact"
        # The released code shrinks without a filter, as OpenCV's linear interpolation does.
        pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=exact)[0].clamp(0, 1)
        colour = torch.tensor(MEAN if exact else BLACK).reshape(3, 1, 1)
        square = colour.repeat(1, self.side, self.side)
        square[:, : size[0], : size[1]] = pixels
        if labels is None:
            return square, None
        known = torch.full((self.side, self.side), IGNORE, dtype=torch.uint8)
        known[: size[0], : size[1]] = _resized(labels, size, exact)
        return square, known

    def logits_back(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Score maps [2, S, S] to [2, H, W] float, at an image's original size (H, W)."""
        size = tuple(size)
        expected = size if self.method == "native" else (self.side, self.side)
        if logits.dim() != 3 or tuple(logits.shape[-2:]) != expected:
            raise ValueError(
                f"score maps have shape {tuple(logits.shape)}: expected [2, {expected[0]}, "
                f"{expected[1]}], as an image of {size[0]} x {size[1]} gives with {self}"
            )
        if self.method == "native":
            return logits.float()
        maps, (height, width) = logits.float()[None], self.inner(size)
        if self.method == "exact":
            return F.interpolate(maps[..., :height, :width], size, mode="bilinear")[0]
        longer = (max(size), max(size))
        maps = F.interpolate(maps, longer, mode="bilinear", align_corners=True)
        return maps[0, :, : size[0], : size[1]]


def _resized(mask: Tensor, size: tuple[int, int], exact: bool) -> Tensor:
    """A mask [H, W] at another size, by its nearest pixels; an object never disappears.

    Nearest to a pixel's centre, or to its upper left corner, as in the released code (OpenCV).
    """
    mode = "nearest-exact" if exact else "nearest"
    small = F.interpolate(mask[None, None], size, mode=mode)[0, 0]
    places = (mask == 1).nonzero()
    if len(places) and not (small == 1).any():
        y, x = places[len(places) // 2].tolist()
        small[y * size[0] // mask.shape[0], x * size[1] // mask.shape[1]] = 1
    return small


def as_taken(images: Tensor, backbone: object) -> Tensor:
    """Images [..., 3, H, W] in 0..1 as a backbone takes them: normalised, if it says so."""
    if getattr(backbone, "inputs", "unit") == "unit":
        return images
    mean, deviation = (
        torch.tensor(x, dtype=images.dtype, device=images.device).reshape(3, 1, 1)
        for x in (MEAN, DEVIATION)
    )
    return (images - mean) / deviation
