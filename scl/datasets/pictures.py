"""Pictures beside their masks, and masks whose pixels are class numbers (VOC's and SBD's)."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scl.datasets.files import optional, reading
from scl.method.vectors import IGNORE

ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held
TURNED = range(2, 9)  # its values that ask for turning or mirroring
COMPRESSED, HEADER = 15, 128  # of MATLAB's format: the type of an element, the bytes before it


@contextmanager
def opened(path: Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """Open a picture of a sensible size; no file (a pipe, say) is refused."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of an attack at half the size from which on it refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=formats)
            if image.format == "PNG":  # decoding alone skips the checksums of the pixels
                with image:
                    image.verify()
                image = Image.open(path, formats=("PNG",))
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ValueError(f"it has more than {most:g} million pixels; make it smaller") from None
    except UnidentifiedImageError:
        heic = path.suffix.lower() in (".heic", ".heif")
        kind = (
            "HEIC, which is not read here: export it as JPEG"
            if heic
            else "of no known format, or broken"
        )
        raise ValueError(f"it is {kind}") from None
    with image:
        yield image


@dataclass(frozen=True)
class Frame:
    """How a picture lies: its size (width, height) as stored, and the turn that EXIF asks for."""

    size: tuple[int, int]
    turn: int = 1

    @property
    def seen(self) -> tuple[int, int]:
        """Give the size (width, height) that it has when it is shown as EXIF says."""
        return self.size[::-1] if self.turn >= 5 else self.size

    def undecided(self, mask: Frame) -> bool:
        """Say whether a mask of another turn has the size of this picture as stored and as seen."""
        return self.turn != mask.turn and self.size == mask.size and self.seen == mask.seen


def frame_of(image: Image.Image) -> Frame:
    """Look at how an opened picture, whose pixels are not read yet, lies."""
    turn = image.getexif().get(ORIENTATION, 1)
    turn = turn if turn in TURNED else 1
    stored = image.size
    if image.format == "TIFF" and turn >= 5:  # Pillow turns these itself
        stored = stored[::-1]
    return Frame(stored, turn)


def open_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read a photograph, H x W x 3 uint8, lying as its mask does, whose `size` is (width, height).

    EXIF may ask for a stored picture to be turned, and a mask may have been painted on either. The
    sizes decide which; where they cannot (a square, a half turn) the picture is refused.
    """
    with reading(path, "a picture"), opened(path, ("JPEG", "PNG")) as image:
        frame = frame_of(image)
        if size not in (frame.size, frame.seen):
            raise ValueError(
                f"{path} is {image.size[0]} x {image.size[1]} and its mask {size[0]} x "
                f"{size[1]} pixels: expected one size; restore both from their archives"
            )
        if frame.undecided(Frame(size)):
            raise ValueError(
                f"{path} says in EXIF that it is to be turned (orientation {frame.turn}), and its "
                "size does not tell whether its mask is: turn it as the mask lies, and save "
                "it without that tag"
            )
        turned = image if size == frame.size else ImageOps.exif_transpose(image)
        return np.array(turned.convert("RGB"))


def intact_png(path: Path) -> bytes:
    """Read the bytes of a PNG whose checksums all hold (decoding alone skips those of pixels)."""
    with reading(path, "a PNG"):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()
    return data


def read_label_map(path: Path) -> np.ndarray:
    """Read class numbers H x W uint8 (0 background, 1..20, 255 border) of a PNG or SBD's .mat."""
    matlab = optional("scipy.io", "SciPy") if path.suffix == ".mat" else None
    with reading(path, "a label map"):
        labels = _sbd_labels(path, matlab.loadmat) if matlab else _png_labels(path)
    strange = labels[(labels > 20) & (labels != IGNORE)]
    if len(strange):
        raise ValueError(
            f"{path} holds the value {strange[0]}: expected 0 to 20 and {IGNORE}; an instance map "
            "or a picture has taken its place"
        )
    return labels


def _png_labels(path: Path) -> np.ndarray:
    """Read the palette's indices (VOC), or grey levels where they are the indices (as in Aug)."""
    data = intact_png(path)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        # Byte 24 is the depth: Pillow stretches fewer than 8 bits of grey, and leaves a palette be.
        if image.mode == "P" or (image.mode == "L" and data[24] == 8):
            return np.array(image)
        raise ValueError(
            f"{path} is a PNG of mode {image.mode}: expected a palette (P) or 8-bit grey (L) whose "
            "values are class numbers; a mask saved as colours has lost them"
        )


def _sbd_labels(path: Path, loadmat: Callable) -> np.ndarray:
    """Read GTcls.Segmentation of SBD."""
    data = path.read_bytes()
    _check_mat(path, data)
    labels = loadmat(io.BytesIO(data))["GTcls"]["Segmentation"][0, 0]
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise ValueError(
            f"{path} holds labels {labels.shape} of {labels.dtype}: expected H x W uint8"
        )
    return labels


def _check_mat(path: Path, data: bytes) -> None:
    """Raise unless the file is whole: SciPy reads a broken one wrongly, or crashes the process.

    A MATLAB 5 file is a header and elements; compressed ones, as in SBD, end with a checksum
    (Adler-32). An element that is not compressed has none, so it is refused.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[HEADER - 2 : HEADER])
    place = HEADER
    while order and place < len(data):
        kind, size = struct.unpack(order + "II", data[place : place + 8])
        if kind != COMPRESSED:
            raise ValueError(
                f"{path} holds an element of type {kind}: expected compressed ones (15), which "
                "carry a checksum; take the file from SBD's archive, or save it compressed"
            )
        stream = zlib.decompressobj()
        stream.decompress(data[place + 8 : place + 8 + size])
        if not stream.eof or stream.unused_data:
            raise ValueError("its compressed data are cut or followed by others")
        place += 8 + size
    if order is None or place != len(data) or place == HEADER:
        raise ValueError("no MATLAB 5 file of whole elements")
