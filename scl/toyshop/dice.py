"""Repeatable draws, the same on every machine and with every version of Python and NumPy."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Array = np.ndarray
T = TypeVar("T")
RGB = Sequence[float]  # red, green, blue in [0, 1]


class Dice:
    """Draws made from `random.Random.random` alone, the one stream Python promises to keep.

    The key (any values with a stable `str`) decides every draw that follows.
    """

    def __init__(self, *key: object) -> None:
        self._draw = random.Random("/".join(str(part) for part in key)).random

    def between(self, low: float, high: float) -> float:
        """Draw a float evenly from [low, high)."""
        return low + (high - low) * self._draw()

    def below(self, count: int) -> int:
        """Draw a whole number in 0 .. count - 1."""
        return int(self._draw() * count)

    def chance(self, probability: float) -> bool:
        """Answer True with the given probability, in [0, 1]."""
        return self._draw() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of the options, evenly."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Put the options in a random order (the argument is left alone)."""
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]

    def colour(self, *typical: RGB, often: float = 0.4) -> RGB:
        """Draw a colour in [0, 1]: now and then a typical one (varied a little), else any hue."""
        if typical and self.chance(often):
            near = self.pick(typical)
            gain = self.between(0.85, 1.1)
            return tuple(min(1.0, max(0.02, c * gain + self.between(-0.05, 0.05))) for c in near)
        if self.chance(0.15):
            grey = self.between(0.2, 0.95)
            return tuple(grey + self.between(-0.03, 0.03) for _ in range(3))
        hue, saturation, value = self._draw(), self.between(0.35, 0.9), self.between(0.45, 0.95)
        return colorsys.hsv_to_rgb(hue, saturation, value)


def lattice(x: Array, y: Array, z: Array, salt: int = 0) -> Array:
    """Hash whole-number positions (int32 arrays) to uniform values in [0, 1).

    Integers only: a hash of sines would turn a last-bit difference into another picture.
    """
    h = x.astype(np.uint32) * np.uint32(0x8DA6B343) ^ y.astype(np.uint32) * np.uint32(0xD8163841)
    h ^= z.astype(np.uint32) * np.uint32(0xCB1AB31F) + np.uint32(salt * 0x9E3779B1 & 0xFFFFFFFF)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
