"""What crosses the wire: a rectangle of a mask as runs, and the reduced picture to paint on."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from scl.method.checks import LABELS

LONGEST = 1600  # pixels of the longer side of the picture that is sent; the mask is full size

Box = tuple[int, int, int, int]  # left, top, width, height


def to_runs(mask: np.ndarray) -> bytes:
    """Write labels [H, W] as runs, row after row: length * 4 + place in LABELS, uint32 each."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(starts, append=flat.size)
    codes = np.searchsorted(LABELS, flat[starts])
    return (lengths * 4 + codes).astype("<u4").tobytes()


def from_runs(data: bytes, height: int, width: int) -> np.ndarray:
    """Read the labels [height, width] uint8 of what `to_runs`, or the browser, has written."""
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes of runs: expected four for each")
    runs = np.frombuffer(data, "<u4")
    lengths, codes = runs >> 2, runs & 3
    total = int(lengths.sum(dtype=np.int64))
    if total != height * width or (codes >= len(LABELS)).any():
        raise ValueError(
            f"runs of {total} pixels and codes up to {codes.max(initial=0)}: expected "
            f"{height} x {width} pixels and codes below {len(LABELS)}"
        )
    return np.repeat(np.array(LABELS, np.uint8)[codes], lengths).reshape(height, width)


def put_patch(mask: np.ndarray, place: Box, data: bytes) -> None:
    """Put what was painted in a rectangle into a mask [H, W]; one that does not fit is refused."""
    left, top, width, height = place
    if not (0 <= left < left + width <= mask.shape[1] and 0 <= top < top + height <= len(mask)):
        raise ValueError(f"a change at {place}: expected it inside {mask.shape[1]} x {len(mask)}")
    mask[top : top + height, left : left + width] = from_runs(data, height, width)


def reduced(photo: np.ndarray, longest: int = LONGEST) -> np.ndarray:
    """Bring a photograph [H, W, 3] to a size quick to send and sharp enough to paint on."""
    image = Image.fromarray(photo)
    image.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(image)


def to_jpeg(picture: np.ndarray) -> bytes:
    """Encode a picture [H, W, 3] uint8 for the browser."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
