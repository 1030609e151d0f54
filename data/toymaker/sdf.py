"""Signed distances of simple solids, and the operators that join them.

Points are three float32 arrays (x, y, z) of one shape; y points up and a toy is about two units
tall. Every solid returns the distance to its surface, negative inside. Distances may be too short
(never much too long), which costs the ray marcher steps but no accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from scl.toyshop.dice import Array, lattice

Points = Sequence[Array]  # x, y, z
Vec = tuple[float, float, float]


# -- moving space (the inverse of moving the solid) ---------------------------------------------


def at(p: Points, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Points:
    """Move space so that the origin lies at (x, y, z)."""
    return p[0] - x if x else p[0], p[1] - y if y else p[1], p[2] - z if z else p[2]


def turn_x(p: Points, degrees: float) -> Points:
    """Turn space about the x axis: a solid's +y leans towards +z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return p[0], c * p[1] + s * p[2], c * p[2] - s * p[1]


def turn_y(p: Points, degrees: float) -> Points:
    """Turn space about the y axis: a solid's +z swings towards +x."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * p[0] - s * p[2], p[1], s * p[0] + c * p[2]


def turn_z(p: Points, degrees: float) -> Points:
    """Turn space about the z axis: a solid's +x leans towards +y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * p[0] + s * p[1], c * p[1] - s * p[0], p[2]


def mirror(p: Points, axes: str) -> Points:
    """Fold space at the planes through the origin across the named axes ("x", "xz", ...)."""
    return tuple(np.abs(v) if name in axes else v for name, v in zip("xyz", p, strict=True))


def spin(p: Points, count: int, phase: float = 0.0) -> Points:
    """Repeat space `count` times round the y axis, each copy along its own +x."""
    step = 2 * math.pi / count
    turn = np.arctan2(p[2], p[0])
    turn = turn - step * np.floor((turn - phase) / step + 0.5) - phase
    radius = np.sqrt(p[0] * p[0] + p[2] * p[2])
    return radius * np.cos(turn), p[1], radius * np.sin(turn)


def lying_x(p: Points) -> Points:
    """Turn space so that a solid standing along y lies along x."""
    return p[1], p[0], p[2]


def lying_z(p: Points) -> Points:
    """Turn space so that a solid standing along y lies along z (its +y is +z)."""
    return p[0], p[2], p[1]


# -- solids -------------------------------------------------------------------------------------


def sphere(p: Points, radius: float) -> Array:
    """Measure a ball at the origin."""
    return np.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) - radius


def ellipsoid(p: Points, a: float, b: float, c: float) -> Array:
    """Measure an ellipsoid with half-axes a, b, c (a first-order distance)."""
    x, y, z = p[0] / a, p[1] / b, p[2] / c
    near = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / a, y / b, z / c
    slope = np.sqrt(x * x + y * y + z * z)
    return near * (near - 1.0) / (slope + 1e-6)


def box(p: Points, a: float, b: float, c: float, edge: float = 0.03) -> Array:
    """Measure a box with half-sides a, b, c and rounded edges."""
    x, y, z = np.abs(p[0]) - (a - edge), np.abs(p[1]) - (b - edge), np.abs(p[2]) - (c - edge)
    inside = np.minimum(np.maximum(x, np.maximum(y, z)), 0.0)
    x, y, z = np.maximum(x, 0.0), np.maximum(y, 0.0), np.maximum(z, 0.0)
    return np.sqrt(x * x + y * y + z * z) + inside - edge


def cylinder(p: Points, radius: float, half: float, edge: float = 0.02) -> Array:
    """Measure a standing cylinder, `half` up and down, with rounded edges."""
    r = np.sqrt(p[0] * p[0] + p[2] * p[2]) - (radius - edge)
    y = np.abs(p[1]) - (half - edge)
    inside = np.minimum(np.maximum(r, y), 0.0)
    r, y = np.maximum(r, 0.0), np.maximum(y, 0.0)
    return np.sqrt(r * r + y * y) + inside - edge


def frustum(p: Points, low: float, high: float, half: float, edge: float = 0.0) -> Array:
    """Measure a standing cone cut off: radius `low` at -half and `high` at +half."""
    r, y = np.sqrt(p[0] * p[0] + p[2] * p[2]), p[1]
    low, high, half = low - edge, high - edge, half - edge
    cap_r = r - np.minimum(r, np.where(y < 0, np.float32(low), np.float32(high)))
    cap_y = np.abs(y) - half
    dx, dy = high - low, 2 * half
    along = np.clip(((high - r) * dx + (half - y) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    side_r, side_y = r - high + dx * along, y - half + dy * along
    sign = np.where((side_r < 0) & (cap_y < 0), np.float32(-1), np.float32(1))
    nearest = np.minimum(cap_r * cap_r + cap_y * cap_y, side_r * side_r + side_y * side_y)
    return sign * np.sqrt(nearest) - edge


def rod(p: Points, start: Vec, end: Vec, radius: float, tip: float | None = None) -> Array:
    """Measure a round-ended rod from start to end; its radius runs to `tip` if that is given."""
    d = tuple(e - s for s, e in zip(start, end, strict=True))
    x, y, z = at(p, *start)
    along = np.clip((x * d[0] + y * d[1] + z * d[2]) / sum(v * v for v in d), 0.0, 1.0)
    x, y, z = x - d[0] * along, y - d[1] * along, z - d[2] * along
    thick = radius if tip is None else radius + (tip - radius) * along
    return np.sqrt(x * x + y * y + z * z) - thick


def torus(p: Points, radius: float, tube: float) -> Array:
    """Measure a lying ring about the y axis."""
    r = np.sqrt(p[0] * p[0] + p[2] * p[2]) - radius
    return np.sqrt(r * r + p[1] * p[1]) - tube


def half_space(p: Points, normal: Vec, offset: float) -> Array:
    """Measure everything below the plane n . p = offset (the normal need not be of unit length)."""
    size = math.sqrt(sum(v * v for v in normal))
    a, b, c = (v / size for v in normal)
    return p[0] * a + p[1] * b + p[2] * c - offset / size


# -- joining solids -----------------------------------------------------------------------------


def union(*distances: Array) -> Array:
    """Join the solids."""
    return reduce(np.minimum, distances)


def common(*distances: Array) -> Array:
    """Keep what lies in all of the solids."""
    return reduce(np.maximum, distances)


def cut(solid: Array, *tools: Array) -> Array:
    """Take the tools from the solid."""
    return reduce(lambda left, tool: np.maximum(left, -tool), tools, solid)


def blend(first: Array, second: Array, width: float) -> Array:
    """Join both solids with a fillet of about `width` between them."""
    near = np.maximum(width - np.abs(first - second), 0.0) / width
    return np.minimum(first, second) - near * near * (width * 0.25)


# -- noise --------------------------------------------------------------------------------------


def noise(p: Points, salt: int = 0) -> Array:
    """Make smooth value noise in [0, 1) with features about one unit wide."""
    cells = [np.floor(v) for v in p]
    part = [v - c for v, c in zip(p, cells, strict=True)]
    fx, fy, fz = (f * f * (3.0 - 2.0 * f) for f in part)
    x, y, z = (c.astype(np.int32) for c in cells)

    def edge(dy: int, dz: int) -> Array:
        low, high = lattice(x, y + dy, z + dz, salt), lattice(x + 1, y + dy, z + dz, salt)
        return low + (high - low) * fx

    low, high = edge(0, 0), edge(0, 1)
    low = low + (edge(1, 0) - low) * fy
    high = high + (edge(1, 1) - high) * fy
    return low + (high - low) * fz
