"""Photographs and painted masks: read kindly, brought to a square, and back to their own size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from scl.method.episode import image_tensor
from scl.method.vectors import IGNORE


@dataclass(frozen=True)
class Photo:
    """A photograph as a model takes it.

    image: [3, S, S] in 0..1, the longer side S pixels, padded at the bottom and right;
    mask: [S, S] with 0, 1 and 255 (padding), or None; width, height: of the file, in pixels.
    """

    image: Tensor
    mask: Tensor | None
    width: int
    height: int

    def restore(self, mask: Tensor) -> Image.Image:
        """A mask [S, S] with 0 and 1, brought to the photograph's own size: black and white."""
        width, height = _fit(self.width, self.height, self.image.shape[-1])
        picture = Image.fromarray((mask[:height, :width] == 1).cpu().numpy().astype(np.uint8) * 255)
        return picture.resize((self.width, self.height), Image.Resampling.NEAREST)


def read_photo(path: str | Path, mask: str | Path | None = None, size: int = 256) -> Photo:
    """Read a photograph, and the mask painted on it if there is one (white is the object)."""
    image = open_image(path, "RGB")
    labels = None if mask is None else open_mask(mask, image.size)
    pixels, squared = square(image, labels, size)
    tensor = None if labels is None else torch.from_numpy(squared)
    return Photo(image_tensor(pixels), tensor, *image.size)


def open_image(path: str | Path, mode: str) -> Image.Image:
    """Open an image upright; a missing, truncated or foreign file is named."""
    try:
        with Image.open(path) as image:
            # Cameras store the picture as the sensor saw it, and how to turn it in EXIF.
            return ImageOps.exif_transpose(image).convert(mode)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: restore it, or remove its partner") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read ({error}): replace or remove it") from None


def open_mask(path: str | Path, size: tuple[int, int]) -> Image.Image:
    """Open a mask, grey; it must have the image's (width, height) and white for the object."""
    mask = open_image(path, "L")
    if mask.size != size:
        raise ValueError(
            f"{path} is {mask.size[0]} x {mask.size[1]} and its image {size[0]} x {size[1]} "
            "pixels: a mask has the size of its image"
        )
    brightest = mask.getextrema()[1]
    if 0 < brightest <= 127:
        raise ValueError(
            f"{path} has no pixel above 127 (the brightest is {brightest}): paint the object "
            "white (255) on black"
        )
    return mask


def _fit(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height when the longer side has `size` pixels."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def square(
    image: Image.Image, mask: Image.Image | None, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image [S, S, 3] uint8 and labels [S, S] uint8; padding is black and ignored (255)."""
    width, height = _fit(*image.size, size)
    pixels = np.zeros((size, size, 3), np.uint8)
    labels = np.full((size, size), IGNORE, np.uint8)
    pixels[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    if mask is not None:
        small = mask.resize((width, height), Image.Resampling.NEAREST)
        labels[:height, :width] = np.asarray(small) > 127
    return pixels, labels
