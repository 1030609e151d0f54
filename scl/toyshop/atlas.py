"""The stored views: read, check, render again, compare.

An atlas is a folder with `toyshop.json` and, for every class and clutter family, two sheets: the
colours with coverage (lossless WebP) and the part numbers (PNG). The index holds the place of
every view and the SHA-256 of every file.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .families import CLASSES, CLUTTER, PARTS
from .render import SEED, VERSION, View, render_view

INDEX = "toyshop.json"
FORMAT = 1
SCALE = 104  # longest side of a stored view, in pixels
VIEWS, CLUTTER_VIEWS = 64, 12
_WIDTH = 1040  # of a sheet, in pixels
_REMEDY = "python -m scl atlas --out FOLDER renders it again (about a minute)"
# Okabe and Ito's colours: the part sheets can be looked at as they are.
_PALETTE = (
    0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 0, 114, 178, 213, 94, 0,
    204, 121, 167,
)  # fmt: skip

Place = tuple[int, int, int, int, int]  # x, y, width, height, lit


def default_folder() -> Path:
    """The atlas folder: the environment's SCL_DATA, else data/ beside the package."""
    named = os.environ.get("SCL_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "data"


@functools.lru_cache(maxsize=256)
def _rendered(cls: str, view: int, seed: int, size: int) -> View:
    return render_view(cls, view, seed, size)


@dataclass
class Atlas:
    """The stored views of the twenty classes and the clutter families."""

    folder: Path
    seed: int
    scale: int
    places: dict[str, tuple[Place, ...]]
    _bytes: dict[str, bytes] = field(repr=False)
    _sheets: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Atlas:
        """Read and check an atlas (see `default_folder`); ValueError on a damaged one."""
        folder = Path(path) if path is not None else default_folder()
        index = _read_index(folder)
        held = {name: _checked(folder / name, want) for name, want in index["files"].items()}
        places = {
            name: tuple(tuple(place) for place in entry["views"])
            for name, entry in index["classes"].items()
        }
        return cls(folder, index["seed"], index["scale"], places, held)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the checked sheets in the folder."""
        return tuple(self._bytes)

    def count(self, cls: str) -> int:
        """How many views of a class (or clutter family) are stored."""
        return len(self._known(cls))

    def shape(self, cls: str, view: int) -> tuple[int, int]:
        """Height and width of a stored view, in pixels."""
        x, y, width, height, lit = self._place(cls, view)
        return height, width

    def lit(self, cls: str, view: int) -> int:
        """Where a view's light comes from: -1 left, +1 right."""
        return self._place(cls, view)[4]

    def view(self, cls: str, view: int, size: int | None = None) -> View:
        """A view at the atlas's scale, or rendered anew with its longer side `size` pixels."""
        x, y, width, height, lit = self._place(cls, view)
        if size is not None and size != self.scale:
            return _rendered(cls, view, self.seed, size)
        if cls not in self._sheets:
            self._sheets[cls] = _decode(self._bytes, cls)
        colour, parts = (sheet[y : y + height, x : x + width] for sheet in self._sheets[cls])
        return View(colour[..., :3], colour[..., 3], parts, lit)

    def _known(self, cls: str) -> tuple[Place, ...]:
        if cls not in self.places:
            raise ValueError(f"unknown class {cls!r}; known: {', '.join(self.places)}")
        return self.places[cls]

    def _place(self, cls: str, view: int) -> Place:
        places = self._known(cls)
        if not 0 <= view < len(places):
            raise ValueError(f"{cls} has views 0 .. {len(places) - 1}, not {view}")
        return places[view]


# -- reading ------------------------------------------------------------------------------------


def _names(cls: str) -> tuple[str, str]:
    """File names of a class's colour and part sheets."""
    slug = cls.replace(" ", "-")
    return f"{slug}.webp", f"{slug}-parts.png"


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        found = (index["format"], index["version"])
        complete = all(set(_names(cls)) <= set(index["files"]) for cls in (*CLASSES, *CLUTTER))
        complete = complete and {*CLASSES, *CLUTTER} <= set(index["classes"])
    except FileNotFoundError:
        raise ValueError(f"no atlas: {path} is missing; {_REMEDY}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an atlas index ({error}); {_REMEDY}") from error
    if found != (FORMAT, VERSION) or not complete:
        raise ValueError(f"{path} was written by another version of the toyshop; {_REMEDY}")
    return index


def _checked(path: Path, want: dict) -> bytes:
    """A file's bytes if they are those the index names."""
    try:
        held = path.read_bytes()
    except OSError:
        raise ValueError(f"atlas file {path} is missing or unreadable; {_REMEDY}") from None
    if len(held) != want["bytes"]:
        sizes = f"{len(held)} bytes instead of {want['bytes']}"
        raise ValueError(f"atlas file {path} is damaged ({sizes}); {_REMEDY}")
    if hashlib.sha256(held).hexdigest() != want["sha256"]:
        raise ValueError(f"atlas file {path} was altered (its SHA-256 differs); {_REMEDY}")
    return held


def _decode(held: dict[str, bytes], cls: str) -> tuple[np.ndarray, np.ndarray]:
    """A class's sheets: uint8 (H, W, 4) colours with coverage, uint8 (H, W) part numbers."""
    colour, parts = (Image.open(io.BytesIO(held[name])) for name in _names(cls))
    return np.array(colour.convert("RGBA")), np.array(parts)


# -- writing ------------------------------------------------------------------------------------


def _placed(views: list[View]) -> tuple[tuple[Place, ...], int]:
    """Shelves: a place for every view in order, and the sheet's height."""
    places, x, y, shelf = [], 0, 0, 0
    for view in views:
        height, width = view.alpha.shape
        if x + width > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places.append((x, y, width, height, view.lit))
        x, shelf = x + width, max(shelf, height)
    return tuple(places), y + shelf


def _encode(views: list[View]) -> tuple[tuple[Place, ...], bytes, bytes]:
    """Places of the views, and the two sheets as WebP and PNG bytes."""
    places, height = _placed(views)
    colour = np.zeros((height, _WIDTH, 4), np.uint8)
    parts = np.zeros((height, _WIDTH), np.uint8)
    for view, (x, y, w, h, _) in zip(views, places, strict=True):
        colour[y : y + h, x : x + w] = np.dstack([view.rgb, view.alpha])
        parts[y : y + h, x : x + w] = view.parts
    webp, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(colour).save(webp, "WEBP", lossless=True, quality=75, method=3, exact=True)
    image = Image.fromarray(parts)
    image.putpalette(_PALETTE)
    image.save(png, "PNG", optimize=True)
    return places, webp.getvalue(), png.getvalue()


def _built(task: tuple[str, int, int, int]) -> tuple[str, tuple[Place, ...], bytes, bytes]:
    cls, count, seed, scale = task
    return cls, *_encode([render_view(cls, view, seed, scale) for view in range(count)])


def _results(tasks: list[tuple[str, int, int, int]], processes: int) -> Iterator[tuple]:
    if processes == 1:
        yield from map(_built, tasks)
        return
    # Spawned, not forked: the caller may hold threads (a notebook kernel does).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_built, tasks)


def rebuild(
    out: str | Path,
    processes: int = 2,
    progress: bool = True,
    overwrite: bool = False,
    views: int = VIEWS,
    seed: int = SEED,
    scale: int = SCALE,
) -> Path:
    """Render the whole atlas into the folder `out` and return the folder.

    Files are written under temporary names and renamed at the end. Files that are there already
    and differ stay, with a FileExistsError, unless `overwrite` is set.
    """
    if processes < 1 or views < 1:
        raise ValueError(f"processes and views must be positive, not {processes} and {views}")
    tasks = [(cls, views, seed, scale) for cls in CLASSES]
    tasks += [(cls, min(views, CLUTTER_VIEWS), seed, scale) for cls in CLUTTER]
    files, classes = {}, {}
    for done, (cls, places, webp, png) in enumerate(_results(tasks, processes), 1):
        files.update(zip(_names(cls), (webp, png), strict=True))
        classes[cls] = {"parts": PARTS[cls], "views": places}
        if progress:
            print(f"{done:2d}/{len(tasks)} {cls}", file=sys.stderr, flush=True)
    index = {"format": FORMAT, "version": VERSION, "seed": seed, "scale": scale}
    index["files"] = {
        name: {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()}
        for name, held in files.items()
    }
    index["classes"] = classes
    text = json.dumps(index, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    _write(Path(out), {**files, INDEX: text.encode()}, overwrite)
    return Path(out)


def _write(out: Path, files: dict[str, bytes], overwrite: bool) -> None:
    """Put the files into the folder: all temporary names first, the index renamed last."""
    out.mkdir(parents=True, exist_ok=True)
    old = {name for name in files if (out / name).exists()}
    if not overwrite and (changed := [n for n in old if (out / n).read_bytes() != files[n]]):
        raise FileExistsError(
            f"{out / min(changed)} exists and differs; choose another folder or overwrite=True"
        )
    for name, held in files.items():
        (out / f"{name}.part").write_bytes(held)
    for name in files:
        (out / f"{name}.part").replace(out / name)


# -- comparing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Share of covered pixels within one grey level, and the worst mask IoU of any view."""

    close: float
    worst_iou: float

    @property
    def same(self) -> bool:
        """Whether two atlases count as the same on different machines."""
        return self.close >= 0.999 and self.worst_iou >= 0.999


def agreement(one: View, two: View) -> tuple[int, int, float]:
    """Pixels within one grey level, pixels covered by either view, and the masks' IoU."""
    if one.alpha.shape != two.alpha.shape:
        return 0, int((one.alpha > 0).sum()), 0.0
    covered = (one.alpha > 0) | (two.alpha > 0)
    away = np.abs(one.rgb.astype(int) - two.rgb).max(-1)
    away = np.maximum(away, np.abs(one.alpha.astype(int) - two.alpha))
    first, second = one.alpha >= 128, two.alpha >= 128
    iou = (first & second).sum() / max(1, (first | second).sum())
    return int((covered & (away <= 1)).sum()), int(covered.sum()), float(iou)


def compare(one: Atlas, two: Atlas) -> Comparison:
    """Compare two atlases view by view; ValueError if they do not hold the same views."""
    counts = [{cls: a.count(cls) for cls in a.places} for a in (one, two)]
    if counts[0] != counts[1] or one.scale != two.scale:
        raise ValueError("the atlases differ in their classes, number of views or scale")
    close, total, worst = 0, 0, 1.0
    for cls, count in counts[0].items():
        for view in range(count):
            near, covered, iou = agreement(one.view(cls, view), two.view(cls, view))
            close, total, worst = close + near, total + covered, min(worst, iou)
    return Comparison(close / max(1, total), worst)
