"""Look closer: what is small in a large picture has few of the pixels that a network sees.

The first look at a whole picture finds places. Each is looked at again, cut out with what is around
it. A place that is much less like the object when it is seen closely is not the object. How much
that helps is in results/general-small.json (`python -m scl general --small`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from scl.datasets.fit import Fit, Size
from scl.datasets.tones import near
from scl.method.contracts import Method
from scl.method.similarity import SimilaritySCL

Place = tuple[slice, slice]  # rows and columns
Look = Callable[[np.ndarray], tuple[np.ndarray, float]]  # an image to its scores and likeness

MOST = 3  # places that are looked at again
ROOM, LEAST = 2, 4  # a cut-out has twice the place's longer side, and a fourth of the picture's
LIKE = 0.85  # of the likeness of the likest place: one of less is not the object
SMALL = 0.06  # of a picture: a support's object that covers less is cut out
ENOUGH = 0.12  # of a picture: where the first look finds more, it was seen well enough


def look_closer(
    scores: np.ndarray, likeness: float, look: Look, image: np.ndarray, side: int
) -> np.ndarray:
    """Correct the scores [H, W] of an image by looks at places in it; above 0 is the object.

    likeness: of the whole image to the object; where no place is more like it, the scores stay.
    look: scores what is cut out, at its own size, and tells its likeness; side: pixels that the
    network sees. Pictures of less than twice as many were seen well enough.
    """
    if (scores > 0).mean() > ENOUGH:
        return scores
    size, seen = scores.shape, list[tuple[float, Place, np.ndarray]]()
    step = max(size) // side
    for place in places(scores[::step, ::step]) if step > 1 else []:
        window = around(place, step, size, side)
        if scores[window].size <= scores.size / 2:
            closely, there = look(image[window])
            seen.append((there, window, closely))
    likest = max((there for there, *_ in seen), default=0.0)
    for there, window, closely in sorted(seen, key=lambda s: s[0]) if likest > likeness else []:
        scores[window] = closely if there >= LIKE * likest else -np.abs(scores[window])
    return scores


def places(scores: np.ndarray) -> list[Place]:
    """Find where scores [h, w] are above 0, region by region from the highest on; or their peak."""
    left, found = scores > min(0, scores.max() - 1e-6), list[Place]()
    while left.any() and len(found) < MOST:
        here = np.zeros_like(left)
        here[np.unravel_index(np.where(left, scores, -np.inf).argmax(), left.shape)] = True
        while (grown := near(here, 1) & left).sum() > here.sum():
            here = grown
        left &= ~here
        found.append(extent(here))
    return found


def extent(region: np.ndarray) -> Place:
    """Give the rows and the columns of a region [H, W]."""
    lines = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(int(some[0]), int(some[-1]) + 1) for some in lines)
    return rows, columns


def around(place: Place, step: int, size: Size, side: int) -> Place:
    """Cut out of a picture of `size` a square with room around a place on its grid of `step`."""
    wanted = max(ROOM * step * max(s.stop - s.start for s in place), max(size) // LEAST, side)
    window = []
    for line, most in zip(place, size, strict=True):
        span = min(wanted, most)
        start = min(max(0, (line.start + line.stop) * step // 2 - span // 2), most - span)
        window.append(slice(start, start + span))
    return window[0], window[1]


def bring_support(
    model: Method, fit: Fit, image: np.ndarray, mask: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Bring a support to the network: of a large picture with a small object, what is around it.

    Only for models on similarity maps, with which that was measured.
    """
    inside, large = mask == 1, max(mask.shape) >= 2 * fit.side
    if large and isinstance(model, SimilaritySCL) and 0 < inside.mean() < SMALL:
        window = around(extent(inside), 1, mask.shape, fit.side)
        image, mask = image[window], mask[window]
    return fit.to_network(image, mask)
