"""What predict writes: how files are called, which of them it may replace, a table of all."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from scl.datasets.fit import shrink
from scl.evaluation.overlay import PREDICTED, overlay
from scl.files import Write

LARGEST_OVERLAY = 1600  # pixels of its longer side: a view, not a measurement
SIGNATURE = "scl predict"  # stands in what predict wrote, so that it replaces nothing else
TABLE = "predictions.csv"
FIRST_COLUMNS = ("query", "share", "presence", "mask", "note")


class Names(NamedTuple):
    """The files of one query: its mask, a view of it, and the chance of every pixel."""

    mask: Path
    view: Path
    chance: Path


def name_outputs(queries: Sequence[Path], out: Path) -> dict[Path, Names]:
    """Name a mask, an overlay and a map of chances in `out` after each query, which counts once.

    Queries of one name are told apart by their folders, or else by their endings.
    """
    given = {Path(os.path.abspath(query)): Path(query) for query in queries}
    stems = {path: path.stem for path in given}
    for depth in range(2, max((len(path.parts) for path in given), default=0)):
        for group in _clashing(stems):
            # Files of one folder meet however many of its parents are named.
            if depth == 2 or len({path.parent for path in group}) > 1:
                stems |= {p: "-".join((*p.parts[-depth:-1], p.stem)) for p in group}
    for path in sum(_clashing(stems), []):
        stems[path] += path.suffix.replace(".", "-")
    while clashing := sum(_clashing(stems), []):
        stems |= {path: f"{stems[path]}-{number}" for number, path in enumerate(clashing, 1)}
    return {
        given[path]: Names(
            out / f"{stem}-found.png", out / f"{stem}-overlay.jpg", out / f"{stem}-probability.png"
        )
        for path, stem in stems.items()
    }


def name_supports(images: Sequence[Path], out: Path) -> list[Path]:
    """Name a view of each support, as it was read."""
    return [out / f"support-{place}-{path.stem}.jpg" for place, path in enumerate(images, 1)]


def _clashing(stems: Mapping[Path, str]) -> list[list[Path]]:
    """Group the paths whose names would meet; some file systems do not tell A from a."""
    count = Counter(stem.casefold() for stem in stems.values())
    return [
        [path for path, stem in stems.items() if stem.casefold() == name]
        for name, times in count.items()
        if times > 1
    ]


# --------------------------------------------------------------------- what is replaced


def check_outputs(outputs: Iterable[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Raise where a file would be overwritten that should not."""
    outputs, read = list(outputs), {os.path.realpath(path) for path in inputs}
    for path in outputs:
        if os.path.realpath(path) in read:
            raise ValueError(f"{path} is read here, and would be overwritten: choose another --out")
    there = [path for path in outputs if path.exists()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise ValueError(f"{there[0]}{more} exists: pass --overwrite, or choose another --out")
    foreign = [path for path in there if not written_here(path)]
    if foreign:
        raise ValueError(
            f"{foreign[0]} was not written by predict, or was changed since: --overwrite replaces "
            "only what predict wrote; rename it, or choose another --out"
        )


def written_here(path: Path) -> bool:
    """Say whether predict wrote a file, and nobody has changed its pixels since."""
    try:
        if path.suffix == ".csv":
            return path.read_text(encoding="utf-8").startswith(",".join(FIRST_COLUMNS))
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.format == "JPEG":
                return image.info.get("comment") == SIGNATURE.encode()
            return SIGNATURE in image.info and image.info[SIGNATURE] == _digest(image)
    except (OSError, ValueError, UnidentifiedImageError):
        return False


def _digest(image: Image.Image) -> str:
    return sha256(np.array(image).tobytes()).hexdigest()


# ----------------------------------------------------------------------- what is written


def mask_file(found: np.ndarray) -> Write:
    """Make what writes a mask [H, W], white (255) on black."""
    return _png(Image.fromarray(found.astype(np.uint8) * 255))


def chance_file(chance: np.ndarray) -> Write:
    """Make what writes the chance of the object [H, W], 0..1, as a grey PNG of 16 bits."""
    return _png(Image.fromarray((chance.clip(0, 1) * 65535).round().astype(np.uint16)))


def _png(picture: Image.Image) -> Write:
    """Make what writes a PNG with the checksum of its pixels."""
    info = PngInfo()
    info.add_text(SIGNATURE, _digest(picture))
    return lambda path: picture.save(path, "PNG", pnginfo=info)


def view_file(image: np.ndarray, mask: np.ndarray, colour: str = PREDICTED) -> Write:
    """Make what writes a view of a mask [H, W] on its image [H, W, 3] uint8: to look at."""
    small, region = shrink(image, mask.astype(np.uint8), LARGEST_OVERLAY)
    tinted = Image.fromarray(overlay(small, {colour: region}))
    return lambda path: tinted.save(path, "JPEG", quality=88, comment=SIGNATURE)


def table_file(rows: Sequence[Sequence[object]], supports: int) -> Write:
    """Make what writes a CSV: a query a row, then of each support its own IOU and its score."""
    numbers = range(1, supports + 1)
    columns = [*FIRST_COLUMNS, *(f"own_iou_{k}" for k in numbers), *(f"score_{k}" for k in numbers)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return lambda path: path.write_text(text.getvalue(), encoding="utf-8")
