"""Photographs and masks: read kindly, brought to a network, and back to their own size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from scl.datasets.files import reading
from scl.datasets.fit import Fit, Size
from scl.datasets.masks import ReadMask, read_mask
from scl.datasets.pictures import Frame, frame_of, opened
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


def read_photo(
    path: str | Path,
    mask: str | Path | None = None,
    size: int = 256,
    label: str | None = None,
    invert: bool = False,
) -> Photo:
    """Read a photograph, and its mask if there is one; label, invert: see scl.datasets.masks."""
    fit = Fit(size)
    if mask is None:
        image, marks = read_image(path), None
    else:
        image, read = read_pair(path, mask, PARTNER, label, invert)
        marks = read.mask
    pixels, labels = fit.to_network(image, marks)
    return Photo(pixels, None if mask is None else labels, image.shape[:2], fit)


def read_image(path: str | Path, remedy: str = PARTNER) -> np.ndarray:
    """Read a photograph, upright as its camera says: H x W x 3 uint8."""
    return _read_seen(Path(path), remedy)[0]


def read_pair(
    path: str | Path,
    mask_path: str | Path,
    remedy: str = PARTNER,
    label: str | None = None,
    invert: bool = False,
    strict: bool = True,
) -> tuple[np.ndarray, ReadMask]:
    """Read a photograph [H, W, 3] and its mask; see read_mask.

    strict: refuse a mask that has the shape of a mistake, unless label or invert says how it is
    meant; otherwise its `doubt` says so.
    """
    image, frame = _read_seen(Path(path), remedy)
    read = read_mask(Path(mask_path), Path(path), image, frame, label, invert, remedy)
    if strict and read.doubt and label is None and not invert:
        raise ValueError(f"{mask_path} {read.doubt}")
    return image, read


def read_published(path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a pair of a benchmark, whose masks [H, W] are plain: above 127 is the object, 1."""
    image, frame = _read_seen(path, PARTNER)
    with reading(mask_path, "a PNG", PARTNER), opened(mask_path, ("PNG",)) as picture:
        grey = np.array(ImageOps.exif_transpose(picture).convert("L"))
    if grey.shape != image.shape[:2]:
        raise ValueError(
            f"{mask_path} is {grey.shape[1]} x {grey.shape[0]} and its image {image.shape[1]} x "
            f"{image.shape[0]} pixels: a mask has the size of its image"
        )
    if grey.max() <= 127:
        raise ValueError(f"{mask_path} shows no object (no pixel above 127): {PARTNER}")
    return image, (grey > 127).astype(np.uint8)


def _read_seen(path: Path, remedy: str) -> tuple[np.ndarray, Frame]:
    """Read a photograph, upright, and how it was stored."""
    # Cameras store the picture as the sensor saw it, and how to turn it in EXIF.
    with reading(path, "a picture", remedy), opened(path) as image:
        frame = frame_of(image)
        # Each step copies, and a large picture fills the memory: none where there is no need.
        seen = ImageOps.exif_transpose(image) if frame.turn > 1 else image
        seen = _eight_bits(seen)
        return np.array(seen if seen.mode == "RGB" else seen.convert("RGB")), frame


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep greys (of microscopes and scanners) to 8 bits, which Pillow would cut off at 255.

    Twelve bits are usual in files of sixteen, so values below 4096 count as such; fractions count
    as shares of white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    grey = np.array(image, dtype=np.float64)
    if not np.isfinite(grey).all() or grey.min() < 0 or grey.max() >= 2**16:
        raise ValueError(
            f"its values are {grey.min():g} to {grey.max():g}, expected 0 to {2**16 - 1}"
        )
    depths = (1, *(2**bits - 1 for bits in (8, 12, 16)))
    white = next(depth for depth in depths[image.mode != "F" :] if grey.max() <= depth)
    return Image.fromarray((255 * grey / white).round().astype(np.uint8))
