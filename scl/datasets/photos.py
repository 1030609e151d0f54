"""Photographs and painted masks: read kindly, brought to a network, and back to their own size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from scl.datasets.files import reading
from scl.datasets.fit import Fit, Size
from scl.method.losses import likelier

PARTNER = "restore it, or remove its partner"


@dataclass(frozen=True)
class Photo:
    """A photograph as a model takes it.

    image: [3, S, S] in 0..1; mask: [S, S] with 0, 1 and 255 (padding), or None; size: height and
    width of the file, upright; fit: how it was brought to S x S pixels.
    """

    image: Tensor
    mask: Tensor | None
    size: Size
    fit: Fit

    def restore(self, logits: Tensor) -> Image.Image:
        """Draw what score maps [2, S, S] find, at the photograph's own size: white on black."""
        found = likelier(self.fit.logits_back(logits, self.size))
        return Image.fromarray(found.cpu().numpy().astype(np.uint8) * 255)


def read_photo(path: str | Path, mask: str | Path | None = None, size: int = 256) -> Photo:
    """Read a photograph, and the mask painted on it if there is one (white is the object)."""
    fit = Fit(size)
    image, marks = read_image(path), None if mask is None else read_pair(path, mask)[1]
    pixels, labels = fit.to_network(image, marks)
    return Photo(pixels, None if mask is None else labels, image.shape[:2], fit)


def read_image(path: str | Path, mode: str = "RGB", remedy: str = PARTNER) -> np.ndarray:
    """Read a picture, upright as its camera says: H x W x 3 uint8, or H x W with mode "L"."""
    # Cameras store the picture as the sensor saw it, and how to turn it in EXIF.
    with reading(Path(path), "a picture", remedy), Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert(mode))


def read_pair(
    path: str | Path, mask_path: str | Path, remedy: str = PARTNER
) -> tuple[np.ndarray, np.ndarray]:
    """Read a photograph [H, W, 3] and the mask painted on it, [H, W] uint8 with 0 and 1."""
    image, grey = read_image(path, "RGB", remedy), read_image(mask_path, "L", remedy)
    if grey.shape != image.shape[:2]:
        raise ValueError(
            f"{mask_path} is {grey.shape[1]} x {grey.shape[0]} and its image {image.shape[1]} x "
            f"{image.shape[0]} pixels: a mask has the size of its image"
        )
    if 0 < grey.max() <= 127:
        raise ValueError(
            f"{mask_path} has no pixel above 127 (the brightest is {grey.max()}): paint the object "
            "white (255) on black"
        )
    if not grey.any():
        raise ValueError(
            f"{mask_path} shows no object: paint it white (255) on black, or remove both files"
        )
    return image, (grey > 127).astype(np.uint8)
