"""Ways to get a support mask wrong, to see what cross-guided fusion makes of it."""

from __future__ import annotations

import numpy as np

SPOILS = ("clean", "shifted", "eroded", "wrong object", "random box")


def spoil_mask(
    mask: np.ndarray, kind: str, other: np.ndarray | None, generator: np.random.Generator
) -> np.ndarray:
    """A mask as a careless hand would have painted it: H x W uint8 with 0 and 1, never empty.

    mask: H x W with 1 on the object; kind: one of SPOILS ("clean" gives the mask as it is);
    other: the mask of another object in the picture, for "wrong object"; None if there is none.
    """
    if kind not in SPOILS:
        raise ValueError(f"kind={kind!r}: expected one of {SPOILS}")
    inside = np.asarray(mask) == 1
    if not inside.any():
        raise ValueError("the mask shows no object (no pixel is 1): nothing to spoil")
    if kind == "clean":
        return np.array(mask, dtype=np.uint8)
    if kind == "wrong object":
        return _wrong_object(other)
    work = {"shifted": _shifted, "eroded": _eroded, "random box": _random_box}[kind]
    return work(inside, generator).astype(np.uint8)


def _wrong_object(other: np.ndarray | None) -> np.ndarray:
    if other is None or not (np.asarray(other) == 1).any():
        raise ValueError("kind='wrong object': the picture shows no object but its target")
    return (np.asarray(other) == 1).astype(np.uint8)


def _shifted(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Moved by a third of the object's larger side, or as far as the picture has room.

    The generator chooses among the directions (up, down, left, right) that have the room.
    """
    (top, bottom), (left, right) = ((np.flatnonzero(inside.any(axis=a))[[0, -1]]) for a in (1, 0))
    step = max(1, round(max(bottom - top + 1, right - left + 1) / 3))
    height, width = inside.shape
    room = np.array([top, height - 1 - bottom, left, width - 1 - right]).clip(max=step)
    way = int(generator.choice(np.flatnonzero(room == room.max())))
    # What wraps around is empty: no direction goes farther than its room.
    return np.roll(inside, (-1, 1)[way % 2] * room[way], axis=way // 2)


def _eroded(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The third of the object's pixels that lies deepest, as repeated erosion would leave it."""
    depth, core = np.zeros(inside.shape), inside
    while core.any():
        depth += core
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    places = np.argwhere(inside)
    deepest = np.argwhere(depth == depth.max()).mean(axis=0)
    # Equally deep pixels, as on a thin object, go by their distance from the deepest ones.
    far = np.linalg.norm(places - deepest, axis=1)
    order = np.lexsort((far, -depth[inside]))
    kept = places[order[: max(1, round(len(places) / 3))]]
    out = np.zeros_like(inside)
    out[kept[:, 0], kept[:, 1]] = True
    return out


def _random_box(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A box of about the object's area, somewhere, up to twice as wide as high or the reverse."""
    (height, width), area = inside.shape, int(inside.sum())
    tall = round(np.sqrt(area * 2 ** generator.uniform(-1, 1)))
    tall = int(np.clip(tall, -(-area // width), height))
    wide = int(np.clip(round(area / tall), 1, width))
    top, left = (int(generator.integers(n + 1)) for n in (height - tall, width - wide))
    out = np.zeros_like(inside)
    out[top : top + tall, left : left + wide] = True
    return out
