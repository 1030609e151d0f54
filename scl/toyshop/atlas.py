"""The stored views, read and checked.

An atlas is a folder with `toyshop.json` and, for every class and clutter family, two sheets: the
colours with coverage (lossless WebP) and the part numbers (PNG). The index holds the place of
every view and the SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from .catalogue import PARTS, VERSION, View

INDEX = "toyshop.json"
FORMAT = 1
SCALE = 104  # longest side of a stored view, in pixels
_REMEDY = "python -m scl atlas --out FOLDER renders it again (about a minute)"

Place = tuple[int, int, int, int, int]  # x, y, width, height, lit


def default_folder() -> Path:
    """Find the atlas folder: the environment's SCL_DATA, else data/ beside the package."""
    named = os.environ.get("SCL_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "data"


def maker() -> ModuleType:
    """Import toymaker, the program in data/: not before it is needed, for most never render."""
    try:
        return import_module("toymaker")
    except ModuleNotFoundError:
        raise ValueError(
            "toymaker, which renders toys, is not installed: python3 tasks.py install adds it"
        ) from None


@lru_cache(maxsize=256)
def _rendered(cls: str, view: int, seed: int, size: int) -> View:
    return maker().render_view(cls, view, seed, size)


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

    def count(self, cls: str) -> int:
        """Count the stored views of a class (or clutter family)."""
        return len(self._known(cls))

    def shape(self, cls: str, view: int) -> tuple[int, int]:
        """Look up height and width of a stored view, in pixels."""
        x, y, width, height, lit = self._place(cls, view)
        return height, width

    def lit(self, cls: str, view: int) -> int:
        """Look up where a view's light comes from: -1 left, +1 right."""
        return self._place(cls, view)[4]

    def view(self, cls: str, view: int, size: int | None = None) -> View:
        """Cut out a view at the atlas's scale, or render it anew, its longer side `size` pixels."""
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


def sheet_names(cls: str) -> tuple[str, str]:
    """Name the files of a class's colour and part sheets."""
    slug = cls.replace(" ", "-")
    return f"{slug}.webp", f"{slug}-parts.png"


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        found = (index["format"], index["version"])
        complete = all(set(sheet_names(cls)) <= set(index["files"]) for cls in PARTS)
        complete = complete and set(PARTS) <= set(index["classes"])
    except FileNotFoundError:
        raise ValueError(f"no atlas: {path} is missing; {_REMEDY}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an atlas index ({error}); {_REMEDY}") from error
    if found != (FORMAT, VERSION) or not complete:
        raise ValueError(f"{path} was written by another version of the toyshop; {_REMEDY}")
    return index


def _checked(path: Path, want: dict) -> bytes:
    """Read a file's bytes if they are those the index names."""
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
    """Read a class's sheets: uint8 (H, W, 4) colours with coverage, uint8 (H, W) part numbers."""
    colour, parts = (Image.open(io.BytesIO(held[name])) for name in sheet_names(cls))
    return np.array(colour.convert("RGBA")), np.array(parts)
