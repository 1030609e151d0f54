"""Strokes of known geometry on the painter's canvas, and whether a mask is such a stroke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Point = tuple[float, float]


class Canvas:
    """A canvas that shows a whole photograph, centred, as large as it goes."""

    def __init__(
        self, page: Any, locator: Any, size: tuple[int, int], view: Sequence[float] | None = None
    ):
        self.page, self.locator, self.size, self.view = page, locator, size, view

    def place(self, wanted: Point) -> tuple[Point, Point]:
        """Where a place of the photograph is in the window, on a whole pixel, and what lies there.

        Whole, as a mouse reports them: for a large photograph the nearest is some pixels away.
        """
        frame = self.locator.bounding_box()
        zoom = min(frame["width"] / self.size[0], frame["height"] / self.size[1])
        left, top = (
            (frame[name] - zoom * size) / 2
            for name, size in zip(("width", "height"), self.size, strict=True)
        )
        if self.view:
            zoom, left, top = self.view
        start = frame["x"] + left, frame["y"] + top
        place = tuple(float(round(s + zoom * w)) for s, w in zip(start, wanted, strict=True))
        there = tuple((p - s) / zoom for p, s in zip(place, start, strict=True))
        return place, there

    def drag(self, wanted: Sequence[Point]) -> list[Point]:
        """Draw with the mouse through places of the photograph; returns where it really went."""
        places, path = zip(*(self.place(p) for p in wanted), strict=True)
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()
        return list(path)

    def click(self, wanted: Point) -> Point:
        place, there = self.place(wanted)
        self.page.mouse.click(*place)
        return there


def distance(shape: tuple[int, int], path: Sequence[Point]) -> np.ndarray:
    """How far the middle of each pixel [H, W] is from a path of straight pieces."""
    rows, columns = (np.indices(shape) + 0.5).astype(np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    for (x, y), (x1, y1) in zip(path, path[1:], strict=False):
        along = np.array([x1 - x, y1 - y])
        squared = max(float(along @ along), 1e-9)
        share = ((columns - x) * along[0] + (rows - y) * along[1]) / squared
        share = share.clip(0, 1)
        piece = np.hypot(columns - x - share * along[0], rows - y - share * along[1])
        nearest = np.minimum(nearest, piece)
    return nearest


def is_stroke(mask: np.ndarray, path: Sequence[Point], radius: float, within: float) -> bool:
    """Whether a mask [H, W] is what a brush paints along a path, with an edge `within` pixels."""
    away = distance(mask.shape, path)
    return bool(
        mask.any() and mask[away < radius - within].all() and (away[mask] < radius + within).all()
    )
