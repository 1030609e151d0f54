"""Render the atlas of views again, and compare two atlases."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scl.toyshop.atlas import FORMAT, INDEX, SCALE, Atlas, Place, sheet_names
from scl.toyshop.catalogue import CLUTTER, PARTS, SEED, VERSION, View

from .render import render_view

VIEWS, CLUTTER_VIEWS = 64, 12
_WIDTH = 1040  # of a sheet, in pixels
# Okabe and Ito's colours: the part sheets can be looked at as they are.
_PALETTE = (
    0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 0, 114, 178, 213, 94, 0,
    204, 121, 167,
)  # fmt: skip


# -- writing ------------------------------------------------------------------------------------


def _placed(views: list[View]) -> tuple[tuple[Place, ...], int]:
    """Lay out shelves: a place for every view in order, and the sheet's height."""
    places, x, y, shelf = [], 0, 0, 0
    for view in views:
        height, width = view.alpha.shape
        if x + width > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places.append((x, y, width, height, view.lit))
        x, shelf = x + width, max(shelf, height)
    return tuple(places), y + shelf


def _encode(views: list[View]) -> tuple[tuple[Place, ...], bytes, bytes]:
    """Pack the views: their places, and the two sheets as WebP and PNG bytes."""
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
    most = dict.fromkeys(CLUTTER, CLUTTER_VIEWS)
    tasks = [(cls, min(views, most.get(cls, views)), seed, scale) for cls in PARTS]
    files: dict[str, bytes] = {}
    classes = {}
    for done, (cls, places, webp, png) in enumerate(_results(tasks, processes), 1):
        files.update(zip(sheet_names(cls), (webp, png), strict=True))
        classes[cls] = {"parts": PARTS[cls], "views": places}
        if progress:
            print(f"{done:2d}/{len(tasks)} {cls}", file=sys.stderr, flush=True)
    sums = {
        name: {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()}
        for name, held in files.items()
    }
    index: dict[str, object] = {"format": FORMAT, "version": VERSION, "seed": seed, "scale": scale}
    index |= {"files": sums, "classes": classes}
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


def agreement(one: View, two: View) -> tuple[int, int, float]:
    """Count pixels within one grey level, pixels covered by either view, and the masks' IoU."""
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
