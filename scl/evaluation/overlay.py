"""Tint and outline regions of a photograph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F",
)  # fmt: skip
FOUND, LOST, TRUTH, PREDICTED = BLUE, ORANGE, GREEN, PURPLE
DIMMED = 0.4  # brightness of white outside a region
TINT = 0.6  # share of the colour inside one


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def grow(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a map [h, w] to [H, W] without smoothing, so that cells stay visible."""
    rows = (np.arange(size[0]) * cells.shape[0]) // size[0]
    columns = (np.arange(size[1]) * cells.shape[1]) // size[1]
    return np.asarray(cells)[rows][:, columns]


def overlay(image: np.ndarray, regions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Tint and outline regions of an image; the rest turns to dim grey.

    image: H x W x 3 uint8; regions: colour ("#RRGGBB") to a boolean mask of any size.
    Returns H x W x 3 uint8.
    """
    # The root lifts what is dark already, so that it steps back without being hidden.
    grey = 255 * DIMMED * (image.mean(axis=2, keepdims=True) / 255) ** 0.5
    out = np.broadcast_to(grey, image.shape).copy()
    for colour, region in regions.items():
        inside = grow(np.asarray(region) == 1, image.shape[:2])
        out[inside] = (1 - TINT) * image[inside] + TINT * rgb(colour)
        out[edge_of(inside)] = rgb(colour) * 0.5 + 127
    return out.clip(0, 255).astype(np.uint8)


def edge_of(inside: np.ndarray) -> np.ndarray:
    """Find the pixels of a region that touch what is outside it."""
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
