"""A small ray marcher: one view of a toy as colours, coverage and part numbers.

Rays are marched three times: cones on a coarse grid find where the toy is, finer cones frame it,
and thin rays through the pixels start where the cones stopped. Pixels on an edge are then drawn
again from four samples each. Only rays still under way are computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scl.toyshop.catalogue import PARTS, SEED, View
from scl.toyshop.dice import Array, Dice

from .families import FAMILIES, Part, Toy
from .materials import albedo
from .sdf import Points, turn_x, turn_y, turn_z

EYE = 6.5  # distance of the camera from the toy's centre, in units
REACH = 1.75  # every toy lies within this radius
COARSE, FRAMING = 36, 72  # grid sides of the two framing passes
CONE_STEPS, RAY_STEPS = 20, 28
TOUCH = 0.12  # a thin ray hits when this close, in pixels
GRAZE = 4.0  # a ray out of steps hits when this many times as far away
SUBSAMPLES = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))  # in pixels


@dataclass(frozen=True)
class _Shot:
    """A toy, how it is turned (degrees), and the light's direction in camera space."""

    toy: Toy
    ids: tuple[int, ...]
    turn: tuple[float, float, float]
    light: tuple[float, float, float]
    power: float


def _shot(cls: str, view: int, seed: int) -> _Shot:
    """Draw all that is random about a view; it does not depend on the picture's size."""
    if cls not in FAMILIES:
        raise ValueError(f"unknown class {cls!r}; known: {', '.join(FAMILIES)}")
    if view < 0:
        raise ValueError(f"view {view} is negative; views count from 0")
    dice = Dice("toyshop", seed, cls, view)
    toy = FAMILIES[cls](dice)
    turn = (dice.between(*toy.azimuth), dice.between(*toy.elevation), dice.between(*toy.roll))
    side = dice.pick((-1, 1)) * math.radians(dice.between(20, 60))
    height = math.radians(dice.between(30, 62))
    flat = math.cos(height)
    light = (math.sin(side) * flat, math.sin(height), math.cos(side) * flat)
    ids = tuple(PARTS[cls].index(part.name) + 1 for part in toy.parts)
    return _Shot(toy, ids, turn, light, dice.between(0.8, 1.1))


# -- geometry -----------------------------------------------------------------------------------


def _to_toy(shot: _Shot, p: Sequence) -> Points:
    """Turn camera axes (right, up, towards the eye) to the toy's own axes."""
    azimuth, elevation, roll = shot.turn
    return turn_y(turn_x(turn_z(p, roll), elevation), azimuth)


def _nearest(toy: Toy, p: Points) -> Array:
    """Measure the distance to the toy, float32 (N,)."""
    found = toy.parts[0].solid(p)
    for part in toy.parts[1:]:
        found = np.minimum(found, part.solid(p))
    return found


def _rays(shot: _Shot, u: Array, v: Array) -> tuple[Points, Points]:
    """Find the eye and unit directions in toy axes, through points (u, v) of the plane z = 0."""
    length = np.sqrt(u * u + v * v + np.float32(EYE * EYE))
    ahead = _to_toy(shot, (u / length, v / length, np.float32(-EYE) / length))
    zero = np.zeros(1, np.float32)
    return _to_toy(shot, (zero, zero, zero + np.float32(EYE))), ahead


def _march(toy: Toy, eye: Points, ahead: Points, start: Array, close: float,
           steps: int) -> Array:  # fmt: skip
    """March along rays until `close` to a surface: the distance to the toy, or infinity."""
    depth = start.copy()
    alive = np.flatnonzero(np.isfinite(start))
    ray = [a[alive] for a in ahead]
    t = depth[alive]
    for _ in range(steps):
        gap = _nearest(toy, tuple(e + t * a for e, a in zip(eye, ray, strict=True)))
        hit, gone = gap < close, t > EYE + REACH
        depth[alive[hit]] = t[hit]
        depth[alive[gone & ~hit]] = np.inf
        keep = np.flatnonzero(~(hit | gone))
        t = t[keep] + gap[keep] * np.float32(0.92)
        alive, ray, gap = alive[keep], [a[keep] for a in ray], gap[keep]
        if not len(alive):
            return depth
    depth[alive] = np.where(gap < GRAZE * close, t, np.float32(np.inf))
    return depth


def _grid(window: tuple[float, float, float], nx: int, ny: int) -> tuple[Array, Array]:
    """List pixel centres of a window (left, top, pixel side): flat float32 u and v, row by row."""
    left, top, pixel = window
    u = np.float32(left) + (np.arange(nx, dtype=np.float32) + 0.5) * np.float32(pixel)
    v = np.float32(top) - (np.arange(ny, dtype=np.float32) + 0.5) * np.float32(pixel)
    return np.tile(u, ny), np.repeat(v, nx)


@dataclass(frozen=True)
class _Frame:
    """A window (left, top, pixel side) and the distances its cones stopped at, (rows, columns)."""

    window: tuple[float, float, float]
    depth: Array

    def start(self, u: Array, v: Array) -> Array:
        """Look up where rays through (u, v) may start; infinity where the cones met nothing."""
        left, top, pixel = self.window
        rows, columns = self.depth.shape
        x = np.clip(((u - np.float32(left)) / np.float32(pixel)).astype(np.int32), 0, columns - 1)
        y = np.clip(((np.float32(top) - v) / np.float32(pixel)).astype(np.int32), 0, rows - 1)
        return self.depth[y, x]

    def box(self) -> tuple[float, float, float, float]:
        """Box in what the cones met: left, top, width and height."""
        met = np.isfinite(self.depth)
        rows, columns = np.flatnonzero(met.any(1)), np.flatnonzero(met.any(0))
        left, top, pixel = self.window
        return (
            left + columns[0] * pixel, top - rows[0] * pixel,
            (columns[-1] - columns[0] + 1) * pixel, (rows[-1] - rows[0] + 1) * pixel,
        )  # fmt: skip


def _cones(shot: _Shot, window: tuple[float, float, float], nx: int, ny: int,
           before: _Frame | None) -> _Frame:  # fmt: skip
    """March one cone through each cell of a window."""
    u, v = _grid(window, nx, ny)
    eye, ahead = _rays(shot, u, v)
    start = before.start(u, v) if before else np.full(len(u), EYE - REACH, np.float32)
    depth = _march(shot.toy, eye, ahead, start, window[2] * 0.75, CONE_STEPS)
    return _Frame(window, (depth - np.float32(window[2])).reshape(ny, nx))


def _framed(shot: _Shot) -> _Frame:
    """March cones over a window that fits the toy closely; its longer side has FRAMING cells."""
    whole = _cones(shot, (-REACH, REACH, 2 * REACH / COARSE), COARSE, COARSE, None)
    left, top, width, height = whole.box()
    pixel = max(width, height) / FRAMING
    nx, ny = math.ceil(width / pixel - 1e-6), math.ceil(height / pixel - 1e-6)
    return _cones(shot, (left, top, pixel), nx, ny, whole)


# -- shading ------------------------------------------------------------------------------------


def _hit(toy: Toy, which: Array) -> Iterator[tuple[Part, Array]]:
    """List each part that rays ended on, and the indices of those rays."""
    for j, part in enumerate(toy.parts):
        mine = np.flatnonzero(which == j)
        if len(mine):
            yield part, mine


def _dot(a: Points, b: Points) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _normals(toy: Toy, which: Array, p: Points) -> Points:
    """Find unit normals by differences at the corners of a tetrahedron, each part on its own."""
    out = np.zeros((3, len(which)), np.float32)
    step = np.float32(1.5e-3)
    for part, mine in _hit(toy, which):
        x, y, z = (v[mine] for v in p)
        for sx, sy, sz in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            gap = part.solid((x + sx * step, y + sy * step, z + sz * step))
            out[:, mine] += np.array([[sx], [sy], [sz]], np.float32) * gap
    out /= np.sqrt((out * out).sum(0)) + np.float32(1e-9)
    return out[0], out[1], out[2]


def _along(p: Points, d: Points, t: float | Array) -> Points:
    return tuple(a + b * t for a, b in zip(p, d, strict=True))


def _occlusion(toy: Toy, p: Points, n: Points) -> Array:
    """Find how open the space above a point is: the share of ambient light, in [0, 1]."""
    closed: Array | float = 0.0
    for reach, weight in ((0.05, 3.2), (0.14, 1.5), (0.32, 0.75)):
        closed = closed + (reach - _nearest(toy, _along(p, n, reach))) * weight
    return np.clip(1.0 - closed, 0.15, 1.0)


def _shadow(toy: Toy, p: Points, n: Points, light: Points, facing: Array) -> Array:
    """Find the share of the key light that arrives, in [0, 1], with soft edges."""
    share = np.ones(len(facing), np.float32)
    lit = np.flatnonzero(facing > 0)
    q = _along(tuple(v[lit] for v in p), tuple(v[lit] for v in n), 0.02)
    open_, t = np.ones(len(lit), np.float32), np.full(len(lit), 0.03, np.float32)
    for _ in range(8):
        gap = _nearest(toy, _along(q, light, t))
        open_ = np.minimum(open_, gap * (9.0 / t) + 0.1)
        t = t + np.clip(gap, 0.05, 0.35)
    share[lit] = np.clip(open_, 0.0, 1.0)
    return share


def _colours(shot: _Shot, eye: Points, ahead: Points, t: Array) -> tuple[Array, Array]:
    """Find colours float32 (N, 3) in [0, 1] and part indices (N,) where rays end at distances t."""
    toy = shot.toy
    p = _along(eye, ahead, t)
    which = np.argmin(np.stack([part.solid(p) for part in toy.parts]), 0)
    n = _normals(toy, which, p)
    light = _to_toy(shot, shot.light)
    up = _to_toy(shot, (0.0, 1.0, 0.0))
    facing = _dot(n, light)
    key = np.maximum(facing, 0.0) * _shadow(toy, p, n, light, facing)
    sky = 0.5 + 0.5 * _dot(n, up)
    view = -_dot(n, ahead)
    ambient = (0.16 + 0.3 * sky + 0.08 * np.maximum(view, 0)) * _occlusion(toy, p, n)
    half = [a - b for a, b in zip(light, ahead, strict=True)]
    gleam = np.maximum(_dot(n, half) / np.sqrt(_dot(half, half)), 0)
    for _ in range(5):  # to the 32nd power by squaring, which rounds alike everywhere
        gleam = gleam * gleam
    gleam = gleam * key
    return _surface(toy, which, p, key * shot.power, ambient, gleam), which


def _surface(toy: Toy, which: Array, p: Points, key: Array, ambient: Array, gleam: Array) -> Array:
    """Multiply light and material; squares and roots stand for the screen's gamma."""
    out = np.zeros((len(which), 3), np.float32)
    warm = np.array([1.0, 0.96, 0.88], np.float32)
    cool = np.array([0.92, 0.97, 1.06], np.float32)
    for part, mine in _hit(toy, which):
        m = part.material
        tint = albedo(m, tuple(v[mine] for v in p)) ** 2
        lamp = key[mine, None] * warm + ambient[mine, None] * cool + np.float32(m.glow)
        shine = gleam[mine, None] * np.float32(0.6 * m.gloss)
        out[mine] = tint * lamp * np.float32(1.05) + shine
    return np.sqrt(np.clip(out, 0.0, 1.0))


# -- pictures -----------------------------------------------------------------------------------


def _edges(colour: Array, part: Array) -> Array:
    """Mark pixels that differ from a neighbour in part or clearly in colour: bool (H, W)."""
    edge = np.zeros(part.shape, bool)
    for axis in (0, 1):
        a = np.swapaxes(part, 0, axis)
        c = np.swapaxes(colour, 0, axis)
        e = np.swapaxes(edge, 0, axis)
        jump = (a[1:] != a[:-1]) | (np.abs(c[1:] - c[:-1]).max(-1) > 0.16)
        e[1:] |= jump
        e[:-1] |= jump
    return edge


def _sample(shot: _Shot, frame: _Frame, pixel: float, u: Array,
            v: Array) -> tuple[Array, Array]:  # fmt: skip
    """Find colours (N, 3) and part ids (N,) (0 for a miss) seen through the points (u, v)."""
    eye, ahead = _rays(shot, u, v)
    t = _march(shot.toy, eye, ahead, frame.start(u, v), pixel * TOUCH, RAY_STEPS)
    hit = np.flatnonzero(np.isfinite(t))
    colour, ids = np.zeros((len(u), 3), np.float32), np.zeros(len(u), np.uint8)
    found, which = _colours(shot, eye, tuple(a[hit] for a in ahead), t[hit])
    colour[hit] = found
    ids[hit] = np.array(shot.ids, np.uint8)[which]
    return colour, ids


def _smooth(shot: _Shot, frame: _Frame, window: tuple[float, float, float], colour: Array,
            ids: Array) -> Array:  # fmt: skip
    """Redraw edge pixels of `colour` and `ids` in place from four samples; returns coverage."""
    alpha = np.where(ids > 0, np.float32(1), np.float32(0))
    rows, columns = np.nonzero(_edges(colour, ids))
    left, top, pixel = (np.float32(v) for v in window)
    u, v = left + (columns + np.float32(0.5)) * pixel, top - (rows + np.float32(0.5)) * pixel
    shifts = np.array(SUBSAMPLES, np.float32) * pixel
    u, v = (np.concatenate([w + s for s in shifts[:, i]]) for i, w in enumerate((u, v)))
    seen, part = _sample(shot, frame, window[2], u.astype(np.float32), v.astype(np.float32))
    seen, part = seen.reshape(4, -1, 3), part.reshape(4, -1)
    hits = (part > 0).sum(0)
    alpha[rows, columns] = hits / np.float32(4)
    colour[rows, columns] = seen.sum(0) / np.maximum(hits, 1)[:, None]
    votes = (part[:, None] == part[None]).sum(1) * (part > 0)
    ids[rows, columns] = np.where(hits >= 2, part[votes.argmax(0), np.arange(len(rows))], 0)
    return alpha


def render_view(cls: str, view: int, seed: int = SEED, size: int = 96) -> View:
    """Render a view of a class (or a clutter family) with its longer side `size` pixels.

    What is seen depends on (cls, view, seed) only; `size` sets the resolution.
    """
    if size < 8:
        raise ValueError(f"size {size} is too small for a view; the least is 8")
    shot = _shot(cls, view, seed)
    frame = _framed(shot)
    left, top, width, height = frame.box()
    pixel = max(width, height) / size
    nx, ny = (max(1, math.ceil(side / pixel - 1e-6)) for side in (width, height))
    window = (left, top, pixel)
    colour, ids = _sample(shot, frame, pixel, *_grid(window, nx, ny))
    colour, ids = colour.reshape(ny, nx, 3), ids.reshape(ny, nx)
    alpha = _smooth(shot, frame, window, colour, ids)
    rgb = np.round(colour * 255).astype(np.uint8) * (alpha > 0)[..., None].astype(np.uint8)
    coverage = np.round(alpha * 255).astype(np.uint8)
    return View(rgb, coverage, ids, 1 if shot.light[0] > 0 else -1)
