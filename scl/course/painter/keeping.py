"""Keep a painted mask as a PNG beside its photograph, never over a file of somebody else's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scl.datasets.files import reading
from scl.files import write_atomically
from scl.method.checks import LABELS
from scl.method.vectors import IGNORE

WRITER = "painter of the SCL course"  # stands in the file, and tells it from everybody else's
AWAY = "move it away, or choose another name with paint(photo, path=...)"
# As people see it: other black, object white, "not sure" a grey that reads as "not the object"
# where only grey levels are looked at. The values themselves are 0, 1 and 255, as in VOC's masks.
GREYS = {0: 0, 1: 255, IGNORE: 119}


def painted_path(photo: Path) -> Path:
    """Name the mask painted on a photograph: mug-painted.png for mug.jpg."""
    return photo.with_name(f"{photo.stem}-painted.png")


def fingerprint(photo: np.ndarray) -> str:
    """Sum up the pixels of a photograph, so that a mask is never put on another one."""
    digest = hashlib.blake2b(photo.tobytes(), digest_size=8)
    return f"{photo.shape[1]} x {photo.shape[0]} {digest.hexdigest()}"


class MaskFile:
    """The file of one photograph's mask. It knows what it has last seen there."""

    def __init__(self, path: Path, photo: np.ndarray) -> None:
        if path.suffix.lower() != ".png":
            raise ValueError(f"{path}: a painted mask is a PNG; give it a name that ends in .png")
        self.path, self.size, self.mark = path, photo.shape[:2], fingerprint(photo)
        self.seen = self._state()

    def _state(self) -> tuple[int, int] | None:
        """Tell one state of the file from another; None where there is no file."""
        if not self.path.exists():
            return None
        status = self.path.stat()
        return status.st_mtime_ns, status.st_size

    def read(self) -> np.ndarray:
        """Read the labels [H, W] painted before; an empty mask where there is no file yet."""
        self.seen = self._state()
        if self.seen is None:
            return np.zeros(self.size, np.uint8)
        with reading(self.path, "a painted mask", AWAY):
            with Image.open(self.path, formats=("PNG",)) as image:
                image.verify()  # decoding alone skips the checksums of pixels
            with Image.open(self.path, formats=("PNG",)) as image:
                self._check(image.info)
                labels = np.array(image)
                strange = [v for v, n in enumerate(image.histogram()) if n and v not in LABELS]
        if labels.shape != self.size or strange:
            raise ValueError(
                f"{self.path} is {labels.shape} with values {strange or list(LABELS)}: expected "
                f"{self.size} and {LABELS}; some program has changed it: {AWAY}"
            )
        return labels

    def _check(self, info: dict) -> None:
        """Refuse a file that the painter did not write, or wrote for another photograph."""
        if info.get("Software") != WRITER:
            raise ValueError(f"{self.path} was not written by the painter: {AWAY}")
        if info.get("Photograph") != self.mark:
            raise ValueError(f"{self.path} was painted on another photograph: {AWAY}")

    def write(self, mask: np.ndarray) -> None:
        """Keep labels [H, W]; refused where the file is another than this painter has seen."""
        if self._state() not in (None, self.seen):
            raise ValueError(
                f"{self.path} has been changed by something else: {AWAY}; or run this cell again "
                "to go on from what is there"
            )
        image, info = Image.fromarray(mask), PngInfo()
        image.putpalette([level for i in range(256) for level in 3 * [GREYS.get(i, 0)]])
        info.add_text("Software", WRITER)
        info.add_text("Photograph", self.mark)
        # The lightest compression: a mask is flat, and it is kept after every stroke.
        write_atomically(self.path, lambda p: image.save(p, "PNG", compress_level=1, pnginfo=info))
        self.seen = self._state()
