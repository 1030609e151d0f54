"""The one way to change the size of an image and its mask, and to bring score maps back.

Everything that resizes comes here: the protocol, `predict` and its overlays, the images that
training keeps, the episodes that choose its checkpoint, photographs in a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scl.method.episode import image_tensor
from scl.method.vectors import IGNORE
from scl.models.backbones.frozen import DEVIATION, MEAN

Size = tuple[int, int]  # height and width
Colour = tuple[float, float, float]
Method = Literal["exact", "released", "native", "whole"]
METHODS: tuple[str, ...] = get_args(Method)
BLACK: Colour = (0.0, 0.0, 0.0)


def resize(image: np.ndarray, mask: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Bring an image [H, W, 3] and its mask [H, W], both uint8, to another size (h, w).

    The image is filtered, as Pillow does; the mask takes the nearest pixels, see keep_object.
    """
    turned = size[::-1]  # Pillow says width first
    small = Image.fromarray(image).resize(turned, Image.Resampling.BILINEAR)
    marks = Image.fromarray(mask).resize(turned, Image.Resampling.NEAREST)
    return np.array(small), keep_object(mask, np.array(marks))


def keep_object(mask: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Mark one pixel of a resized mask [h, w] where the object of [H, W] fell between pixels."""
    if (mask == 1).any() and not (small == 1).any():
        places = np.argwhere(mask == 1)
        place = (places[len(places) // 2] + 0.5) / mask.shape * small.shape
        small[tuple(place.astype(int))] = 1
    return small


def longest(size: Size, side: int) -> Size:
    """Height and width when the longer of the two becomes `side` pixels; both are rounded."""
    height, width = (max(1, round(x * side / max(size))) for x in size)
    return height, width


def shrink(image: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize image and mask if their longer side has more than `side` pixels."""
    size = mask.shape
    return (image, mask) if max(size) <= side else resize(image, mask, longest(size, side))


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
    "whole"     The longer side gets S pixels, both sides are rounded to multiples of 8, and nothing
                is padded: for methods that read every cell of a picture. Images differ in size.
    """

    side: int = 473
    method: Method = "exact"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {METHODS}")
        if self.side < 8:
            raise ValueError(f"side={self.side!r}: expected at least 8 pixels, such as 473")

    def inner(self, size: Size) -> Size:
        """Height and width in the square of an image of size (H, W)."""
        if self.method == "native":
            return size
        if self.method == "exact":
            return longest(size, self.side)
        if self.method == "whole":
            height, width = (max(8, round(x * self.side / max(size) / 8) * 8) for x in size)
            return height, width
        height, width = (max(8, x * self.side // max(size) // 8 * 8) for x in size)
        return height, width

    def to_network(
        self, image: np.ndarray, mask: np.ndarray | None = None, padding: Colour | None = None
    ) -> tuple[Tensor, Tensor]:
        """Bring an image [H, W, 3] uint8 and its mask [H, W] with 0, 1, 255 to the network's size.

        padding: another colour than the method's own. Returns [3, S, S] float in 0..1 and [S, S]
        uint8 (0 inside without a mask); [3, h, w] and [h, w] with methods "native" and "whole".
        """
        mask = np.zeros(image.shape[:2]) if mask is None else mask
        mask = np.asarray(mask, np.uint8)
        if mask.shape != image.shape[:2]:
            raise ValueError(f"image {image.shape[:2]} and mask {mask.shape} differ in size")
        exact, size = self.method == "exact", self.inner(mask.shape)
        if self.method in ("exact", "whole"):
            image, mask = resize(image, mask, size)
        # Copied, because pictures as they are read cannot be written to.
        pixels, labels = image_tensor(np.array(image)), torch.from_numpy(np.array(mask))
        if self.method in ("native", "whole"):
            return pixels, labels
        if not exact:  # without a filter and from corners, as OpenCV resizes in the released code
            pixels = F.interpolate(pixels[None], size, mode="bilinear")[0]
            small = F.interpolate(labels[None, None], size, mode="nearest")[0, 0]
            labels = torch.from_numpy(keep_object(mask, small.numpy()))
        colour = torch.tensor(padding or (MEAN if exact else BLACK))
        square = colour.reshape(3, 1, 1).repeat(1, self.side, self.side)  # [3] to [3, S, S]
        known = torch.full((self.side, self.side), IGNORE, dtype=torch.uint8)
        square[:, : size[0], : size[1]], known[: size[0], : size[1]] = pixels, labels
        return square, known

    def logits_back(self, logits: Tensor, size: Size) -> Tensor:
        """Bring score maps [2, S, S] to [2, H, W] float, at an image's original size (H, W).

        One map, such as the difference of the two, comes back alike.
        """
        height, width = size
        framed = self.method in ("exact", "released")
        expected = (self.side, self.side) if framed else self.inner(size)
        if logits.dim() != 3 or tuple(logits.shape[-2:]) != expected:
            raise ValueError(
                f"score maps have shape {tuple(logits.shape)}: expected [2, {expected[0]}, "
                f"{expected[1]}], as an image of {height} x {width} gives with {self}"
            )
        if self.method == "native":
            return logits.float()
        maps = logits.float()[None]
        if self.method == "whole":
            return F.interpolate(maps, (height, width), mode="bilinear")[0]
        if self.method == "exact":
            inner = self.inner((height, width))
            maps = maps[..., : inner[0], : inner[1]]
            return F.interpolate(maps, (height, width), mode="bilinear")[0]
        longer = (max(size), max(size))
        maps = F.interpolate(maps, longer, mode="bilinear", align_corners=True)
        return maps[0, :, :height, :width]


@dataclass(frozen=True)
class Letterbox:
    """A transform: image and mask as Fit(size) brings them to a network, as pixels again.

    The padding is rounded to a grey level. Episodes of several supports need images of one size.
    """

    size: int
    padding: Colour = MEAN

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = Fit(self.size).to_network(image, mask, self.padding)
        levels = (255 * pixels).round().byte().permute(1, 2, 0)  # [3, S, S] to [S, S, 3]
        return levels.contiguous().numpy(), labels.numpy()


def as_taken(images: Tensor, backbone: object) -> Tensor:
    """Normalise images [..., 3, H, W] in 0..1 for a backbone that takes them so."""
    if getattr(backbone, "inputs", "unit") == "unit":
        return images
    mean, deviation = (
        torch.tensor(x, dtype=images.dtype, device=images.device).reshape(3, 1, 1)
        for x in (MEAN, DEVIATION)
    )
    return (images - mean) / deviation
