"""Walls and floors: procedural textures for the scenes.

A texture is drawn over plane coordinates in units of the picture's side, so that a scene looks the
same at every size. All are float32 arrays of the shape of their coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .dice import RGB, Array, Dice, lattice

Pattern = Callable[[Array, Array, int], Array]


def grain(u: Array, v: Array, salt: int) -> Array:
    """Make smooth noise in [0, 1) over the plane, features about one unit wide."""
    x, y = np.floor(u), np.floor(v)
    fx, fy = u - x, v - y
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    x, y = x.astype(np.int32), y.astype(np.int32)
    z = np.zeros(1, np.int32)
    low, high = lattice(x, y, z, salt), lattice(x, y + 1, z, salt)
    low = low + (lattice(x + 1, y, z, salt) - low) * fx
    high = high + (lattice(x + 1, y + 1, z, salt) - high) * fx
    return low + (high - low) * fy


def _near(value: Array, width: float) -> Array:
    """Give 1 where `value` is within `width` of a whole number, falling softly to 0."""
    away = np.abs(value - np.floor(value + 0.5))
    return np.clip((width - away) / (0.4 * width) + 0.5, 0.0, 1.0)


def _tone(u: Array, v: Array, salt: int) -> Array:
    """Draw one random tone in [0, 1) for each unit cell."""
    x, y = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    return lattice(x, y, np.zeros(1, np.int32), salt)


def _tiles(u: Array, v: Array, salt: int) -> Array:
    joints = np.maximum(_near(u, 0.05), _near(v, 0.05))
    return np.maximum(0.35 * _tone(u, v, salt), joints)


def _planks(u: Array, v: Array, salt: int) -> Array:
    u = u * 0.3 + 0.37 * np.floor(v)
    fibres = grain(u * 6.0, v * 9.0, salt)
    joints = np.maximum(_near(v, 0.05), _near(u, 0.012))
    return np.maximum(0.45 * _tone(u, v, salt) + 0.3 * fibres, joints)


def _bricks(u: Array, v: Array, salt: int) -> Array:
    v = v * 1.6
    u = u * 0.8 + 0.5 * (np.floor(v) % 2)
    return np.maximum(0.5 * _tone(u, v, salt), np.maximum(_near(u, 0.05), _near(v, 0.09)))


def _stripes(u: Array, v: Array, salt: int) -> Array:
    wave = np.abs((u - np.floor(u)) * 4 - 2) - 1
    return np.clip(wave * 6 + 0.5, 0, 1)


def _checks(u: Array, v: Array, salt: int) -> Array:
    a, b = (np.abs((w - np.floor(w)) * 4 - 2) - 1 for w in (u * 0.5, v * 0.5))
    return np.clip(a * b * 16 + 0.5, 0, 1)


def _spots(u: Array, v: Array, salt: int) -> Array:
    u = u + 0.5 * (np.floor(v) % 2)
    x, y = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    return np.clip((0.07 - x * x - y * y) * 25 + 0.5, 0, 1)


def _clouds(u: Array, v: Array, salt: int) -> Array:
    return 0.6 * grain(u, v, salt) + 0.3 * grain(u * 2, v * 2, salt + 1) + 0.1 * _tone(u, v, salt)


def _pile(u: Array, v: Array, salt: int) -> Array:
    return 0.5 * grain(u * 0.7, v * 0.7, salt) + 0.5 * grain(u * 7, v * 7, salt + 1)


WALLS: dict[str, Pattern] = {
    "tiles": _tiles, "bricks": _bricks, "stripes": _stripes, "checks": _checks, "spots": _spots,
    "clouds": _clouds,
}  # fmt: skip
FLOORS: dict[str, Pattern] = {
    "tiles": _tiles, "planks": _planks, "checks": _checks, "carpet": _pile, "clouds": _clouds,
    "stripes": _stripes,
}  # fmt: skip


def _pair(dice: Dice) -> tuple[RGB, RGB]:
    """Draw two colours of a surface: mostly calm, of any brightness, sometimes strongly apart."""
    base, other = dice.colour(), dice.colour()
    calm, apart, light = dice.between(0.1, 0.55), dice.between(0.12, 0.55), dice.between(0.65, 1.45)
    grey = sum(base) / 3
    base = tuple(min(1.0, (grey + (c - grey) * calm) * light) for c in base)
    return base, tuple(b + (o - b) * apart for b, o in zip(base, other, strict=True))


def _coat(dice: Dice, patterns: dict[str, Pattern], u: Array, v: Array, fine: float) -> Array:
    """Paint colours (..., 3) of one random surface; `fine` is about how many repeats fit a unit."""
    pattern, angle = patterns[dice.pick(tuple(patterns))], math.radians(dice.between(-35, 35))
    if dice.chance(0.5):
        angle = 0.0
    count, salt, wear = fine * dice.between(0.6, 1.6), dice.below(1 << 20), dice.between(0, 0.12)
    base, other = (np.array(c, np.float32) for c in _pair(dice))
    c, s = math.cos(angle) * count, math.sin(angle) * count
    u, v = u * c + v * s + dice.between(0, 9), v * c - u * s + dice.between(0, 9)
    mix = pattern(u, v, salt)[..., None]
    stain = 1 + wear * (grain(u * 0.6, v * 0.6, salt + 7)[..., None] - 0.5)
    return (base + (other - base) * mix) * stain


def backdrop(dice: Dice, size: int, edge: float) -> Array:
    """Paint a wall above `edge` (share of the height), a floor below: float32 (size, size, 3)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size)
    row = min(size - 1, max(1, round(edge * size)))
    out = np.empty((size, size, 3), np.float32)
    u, v = np.meshgrid(line, line[:row])
    out[:row] = _coat(dice, WALLS, u, v, 6.0)
    out[:row] *= (dice.between(0.75, 1.0) + dice.between(-0.3, 0.3) * (u - 0.5))[..., None]
    eye = edge - dice.between(0.15, 0.35)
    u, v = np.meshgrid(line - 0.5, line[row:])
    depth = (1.0 - eye) / (v - eye)
    out[row:] = _coat(dice, FLOORS, u * depth, depth * 1.2, 4.0)
    out[row:] *= (0.85 + 0.2 * (v - edge) / (1 - edge))[..., None]
    skirting, tall = dice.colour(), dice.between(0.012, 0.03)
    if dice.chance(0.4):
        board = np.clip((tall - np.abs(line - edge + tall)) * size + 0.5, 0, 1)[:row, None, None]
        out[:row] += (np.array(skirting, np.float32) * np.float32(0.8) - out[:row]) * board
    return np.clip(out, 0.0, 1.0)
