"""What the parts of a toy are made of: two colours, a pattern in space, and a gloss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scl.toyshop.dice import RGB, Array, Dice

from .sdf import Points, noise

BROWNS: tuple[RGB, ...] = ((0.55, 0.34, 0.18), (0.72, 0.5, 0.29), (0.36, 0.22, 0.13))
STEELS: tuple[RGB, ...] = ((0.62, 0.64, 0.68), (0.42, 0.44, 0.48), (0.75, 0.68, 0.45))
GREENS: tuple[RGB, ...] = ((0.16, 0.42, 0.18), (0.3, 0.55, 0.22), (0.12, 0.36, 0.28))


@dataclass(frozen=True)
class Material:
    """A surface: colours in [0, 1], a pattern `count` repeats to the unit, gloss in [0, 1]."""

    colour: RGB
    accent: RGB = (1.0, 1.0, 1.0)
    pattern: str = "plain"
    count: float = 4.0
    axis: int = 1
    gloss: float = 0.3
    glow: float = 0.0


def _soft(value: Array, width: float) -> Array:
    """Step at zero, softened over `width`, in [0, 1]."""
    t = np.clip(value / width + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _wave(value: Array) -> Array:
    """Swing in [-1, 1], a triangle of period one: cheaper and more repeatable than a sine."""
    return np.abs((value - np.floor(value)) * 4.0 - 2.0) - 1.0


def _stripes(m: Material, p: Points) -> Array:
    return _soft(_wave(p[m.axis] * m.count), 0.2)


def _slanted(m: Material, p: Points) -> Array:
    return _soft(_wave((p[0] + p[1] + p[2]) * (m.count * 0.6)), 0.2)


def _checks(m: Material, p: Points) -> Array:
    x, y, z = (_wave(v * (m.count * 0.5) + 0.23) for v in p)
    return _soft(x * y * z, 0.1)


def _dots(m: Material, p: Points) -> Array:
    away = [v * (m.count * 0.7) + 0.37 for v in p]
    x, y, z = (v - np.floor(v) - 0.5 for v in away)
    return _soft(0.17 - (x * x + y * y + z * z), 0.06)


def _gores(m: Material, p: Points) -> Array:
    turn = np.arctan2(p[2], p[0]) / (2 * math.pi)
    return _soft(_wave(turn * m.count), 0.15)


def _wood(m: Material, p: Points) -> Array:
    warp = noise(tuple(v * (0.8 if i == m.axis else 4.0) for i, v in enumerate(p)), 5)
    across = p[(m.axis + 1) % 3] + 0.6 * p[(m.axis + 2) % 3]
    return 0.5 + 0.5 * _wave(across * m.count + warp * 1.8)


def _cloudy(m: Material, p: Points) -> Array:
    return _soft(noise(tuple(v * m.count for v in p), 9) - 0.5, 0.5)


def _bricks(m: Material, p: Points) -> Array:
    row = np.floor(p[1] * m.count)
    joint = _wave(p[1] * m.count)
    side = _wave((p[0] + p[2]) * (m.count * 0.5) + row * 0.5)
    return _soft(np.maximum(joint, side) - 0.72, 0.2)


def _waffle(m: Material, p: Points) -> Array:
    turn = np.arctan2(p[2], p[0]) * (4 / math.pi)
    return _soft(np.maximum(_wave(turn + p[1] * 3.0), _wave(turn - p[1] * 3.0)) - 0.55, 0.3)


PATTERNS: dict[str, Callable[[Material, Points], Array]] = {
    "stripes": _stripes, "slanted": _slanted, "checks": _checks, "dots": _dots, "gores": _gores,
    "wood": _wood, "cloudy": _cloudy, "bricks": _bricks, "waffle": _waffle,
}  # fmt: skip


def albedo(material: Material, p: Points) -> Array:
    """Look up colours float32 (N, 3) in [0, 1] of the material at the points."""
    base = np.array(material.colour, np.float32)
    if material.pattern == "plain":
        return np.broadcast_to(base, (len(p[0]), 3))
    mix = PATTERNS[material.pattern](material, p).astype(np.float32)[:, None]
    return base + (np.array(material.accent, np.float32) - base) * mix


def paint(dice: Dice, *typical: RGB, often: float = 0.4, fancy: float = 0.5) -> Material:
    """Mix a coat of paint: any hue or a typical colour, patterned with probability `fancy`."""
    pattern = dice.pick(("stripes", "slanted", "dots", "checks", "cloudy"))
    pattern = pattern if dice.chance(fancy) else "plain"
    return Material(
        dice.colour(*typical, often=often), dice.colour(), pattern, dice.between(2.2, 4.5),
        dice.pick((0, 1, 1, 2)), dice.between(0.05, 0.7),
    )  # fmt: skip


def wood(dice: Dice, axis: int = 1) -> Material:
    """Choose wood, its grain along an axis (0, 1, 2), now and then stained in a strong colour."""
    colour = dice.colour(*BROWNS, often=0.75)
    dark = tuple(c * dice.between(0.55, 0.75) for c in colour)
    return Material(colour, dark, "wood", dice.between(3.0, 5.0), axis, dice.between(0.05, 0.3))


def metal(dice: Dice) -> Material:
    """Choose bare or tinted metal: shiny."""
    return Material(dice.colour(*STEELS, often=0.75), gloss=dice.between(0.7, 1.0))


def plain(dice: Dice, *typical: RGB, often: float = 0.8, gloss: float = 0.3) -> Material:
    """Choose a single colour, mostly the typical one."""
    return Material(dice.colour(*typical, often=often), gloss=gloss)
