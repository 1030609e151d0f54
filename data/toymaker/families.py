"""The twenty toys and four kinds of clutter: parametric families of parts in different materials.

A family draws its proportions and materials from a `Dice` and returns a `Toy`: about two units
tall, centred on the origin, y up, its front towards +z (fish, duck, car and plane look along +x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scl.toyshop.dice import RGB, Array, Dice

from . import sdf as s
from .materials import BROWNS, GREENS, STEELS, Material, metal, paint, plain, wood
from .sdf import Points

Range = tuple[float, float]
Solid = Callable[[Points], Array]

INK: RGB = (0.07, 0.07, 0.09)
SNOW: RGB = (0.93, 0.94, 0.97)
RED: RGB = (0.85, 0.14, 0.12)
YELLOW: RGB = (0.96, 0.78, 0.14)
ORANGE: RGB = (0.95, 0.5, 0.1)
SKY: RGB = (0.55, 0.75, 0.92)
CREAM: RGB = (0.95, 0.88, 0.72)
RUBBER: RGB = (0.1, 0.1, 0.11)


@dataclass(frozen=True)
class Part:
    """A named piece of a toy: its solid and what it is made of."""

    name: str
    solid: Solid
    material: Material


@dataclass(frozen=True)
class Toy:
    """Parts (first wins where two touch) and the poses, in degrees, that show the toy well."""

    parts: tuple[Part, ...]
    azimuth: Range = (-180.0, 180.0)
    elevation: Range = (6.0, 36.0)
    roll: Range = (-9.0, 9.0)


def toy(*parts: tuple[str, Solid, Material] | None, **pose: Range) -> Toy:
    """Put together a toy of the parts given as (name, solid, material); None leaves a part out."""
    return Toy(tuple(Part(*part) for part in parts if part), **pose)


# -- fold 0 -------------------------------------------------------------------------------------


def mug(d: Dice) -> Toy:
    """Build a cup with an ear, a painted band and something to drink."""
    low, high, half = d.between(0.5, 0.75), d.between(0.62, 0.82), d.between(0.6, 0.95)
    ear, level = half * d.between(0.5, 0.66), half * d.between(0.5, 0.75)
    band, wide, squash = d.between(-0.4, 0.2) * half, half * d.between(0.16, 0.4), d.between(0.8, 1)
    mean = (low + high) / 2

    def outer(p: Points, more: float = 0.0) -> Array:
        return s.frustum(p, low + more, high + more, half, 0.03)

    def inner(p: Points) -> Array:
        return s.frustum(s.at(p, y=0.12), low - 0.1, high - 0.1, half)

    def handle(p: Points) -> Array:
        ring = s.turn_x(s.at(p, mean), 90)
        ring = (ring[0] * squash, ring[1], ring[2])
        return s.cut(s.torus(ring, ear, 0.1), outer(p))

    def drink(p: Points) -> Array:
        return s.cylinder(s.at(p, y=level - 0.1), min(low, high) - 0.08, 0.1)

    def stripe(p: Points) -> Array:
        return s.common(s.cut(outer(p, 0.02), inner(p)), abs(p[1] - band) - wide)

    cup = paint(d, CREAM, SKY, fancy=0.35)
    return toy(
        ("cup", lambda p: s.cut(outer(p), inner(p)), cup),
        ("handle", handle, plain(d, cup.colour, often=0.3)),
        ("band", stripe, paint(d, fancy=0.7)),
        ("drink", drink, plain(d, (0.24, 0.13, 0.07), CREAM, gloss=0.8)),
        azimuth=(-75, 75) if d.chance(0.5) else (105, 255), elevation=(14, 42), roll=(-12, 12),
    )  # fmt: skip


def rocket(d: Dice) -> Toy:
    """Build a toy rocket: hull, nose cone, swept fins, portholes and an engine bell."""
    radius, count = d.between(0.3, 0.44), d.pick((3, 4, 4))
    reach, sweep, fin = d.between(0.24, 0.4), d.between(0.5, 1.1), d.between(0.2, 0.3)
    split, port = d.between(0.25, 0.5), radius * d.between(0.36, 0.5)
    phase, pointed = d.between(0, 2), d.chance(0.5)

    def skin(p: Points) -> Array:
        return s.ellipsoid(s.at(p, y=-0.2), radius, 1.22, radius)

    def nose(p: Points) -> Array:
        if pointed:
            tip = s.frustum(s.at(p, y=split + 0.38), radius * 0.92, 0.03, 0.4, 0.02)
            return s.union(tip, s.sphere(s.at(p, y=split + 0.78), 0.06))
        return s.common(skin(p), split - p[1])

    def fins(p: Points) -> Array:
        x, y, z = s.spin(p, count, phase)
        mid = radius + reach * 0.4
        y = y + 0.62 + sweep * (x - mid)
        return s.box((x - mid, y, z), reach * 0.85, fin, 0.05, 0.04) * 0.75

    def portholes(p: Points) -> Array:
        q = s.mirror(s.at(p, y=split - 0.3), "z")
        glass = s.ellipsoid(s.at(q, z=radius * 0.93), port * 0.8, port * 0.8, 0.09)
        return s.union(glass, s.torus(s.lying_z(s.at(q, z=radius * 0.95)), port, 0.045))

    return toy(
        ("hull", lambda p: s.common(skin(p), p[1] - split, -0.85 - p[1]), paint(d, SNOW)),
        ("nose", nose, plain(d, RED, often=0.4, gloss=0.6)),
        ("fins", fins, plain(d, RED, often=0.3)),
        ("window", portholes, plain(d, SKY, YELLOW, often=0.6, gloss=1.0)),
        ("engine", lambda p: s.frustum(s.at(p, y=-0.95), 0.28, 0.17, 0.14, 0.02), metal(d)),
        azimuth=(-60, 60), roll=(-35, 35), elevation=(-5, 25),
    )  # fmt: skip


def table(d: Dice) -> Toy:
    """Build a table, round or square, on four legs; sometimes with a runner or a shelf."""
    long, deep, half = d.between(0.85, 1.2), d.between(0.6, 0.85), d.between(0.5, 0.75)
    thick, leg, splay = d.between(0.05, 0.09), d.between(0.06, 0.11), d.between(0.0, 0.14)
    round_top, turned, shelf = d.chance(0.35), d.chance(0.5), d.chance(0.35)
    foot_x, foot_z = (0.62 * long, 0.62 * long) if round_top else (long - 0.14, deep - 0.14)
    runner = d.between(0.25, 0.45) * long

    def top(p: Points) -> Array:
        q = s.at(p, y=half)
        return s.cylinder(q, long, thick) if round_top else s.box(q, long, thick, deep, 0.04)

    def legs(p: Points) -> Array:
        x, y, z = s.mirror(p, "xz")
        lean = (y - half) * (splay / half) * 0.5
        q = (x - foot_x + lean, y + 0.02, z - foot_z + lean)
        return s.frustum(q, leg * 0.6, leg, half) if turned else s.box(q, leg, half, leg, 0.02)

    def frame(p: Points) -> Array:
        q = s.at(p, y=-half * 0.45) if shelf else s.at(p, y=half - thick - 0.09)
        return s.box(q, foot_x, 0.04 if shelf else 0.09, foot_z, 0.02)

    def cloth(p: Points) -> Array:
        return s.box(s.at(p, y=half + 0.015), runner, thick + 0.01, deep * 0.8, 0.02)

    spread = d.chance(0.5) and not round_top
    return toy(
        ("cloth", cloth, paint(d, fancy=0.8)) if spread else None,
        ("top", top, wood(d, 0) if d.chance(0.6) else paint(d)),
        ("legs", legs, wood(d) if d.chance(0.5) else plain(d, INK, often=0.2)),
        ("frame", frame, wood(d, 0) if d.chance(0.5) else plain(d)),
        elevation=(10, 34), roll=(-7, 7),
    )  # fmt: skip


def duck(d: Dice) -> Toy:
    """Build a bath duck: body with a perky tail, head, bill, wings and eyes."""
    fat, neck, head = d.between(0.5, 0.62), d.between(0.42, 0.6), d.between(0.34, 0.43)
    bill, droop = d.between(0.16, 0.26), d.between(-12, 12)
    fore = d.between(0.34, 0.46)

    def body(p: Points) -> Array:
        trunk = s.ellipsoid(s.at(p, y=-0.35), 0.85, fat, 0.6)
        tail = s.ellipsoid(s.turn_z(s.at(p, -0.72, 0.0), 130), 0.36, 0.16, 0.22)
        chest = s.sphere(s.at(p, fore, 0.02), 0.26)
        return s.blend(s.blend(trunk, tail, 0.25), chest, 0.3)

    def beak(p: Points) -> Array:
        q = s.turn_z(s.at(p, fore + head * 0.95, neck - 0.06), droop)
        upper = s.ellipsoid(s.at(q, 0.06, 0.03), bill, 0.07, 0.17)
        return s.blend(upper, s.ellipsoid(s.at(q, 0.02, -0.05), bill * 0.8, 0.05, 0.13), 0.03)

    def wing(p: Points) -> Array:
        q = s.turn_z(s.at(s.mirror(p, "z"), -0.15, -0.22, 0.55), -14)
        return s.blend(
            s.ellipsoid(q, 0.42, 0.24, 0.12),
            s.ellipsoid(s.turn_z(s.at(q, -0.34, 0.1), -25), 0.24, 0.1, 0.07), 0.1,
        )  # fmt: skip

    def eye(p: Points) -> Array:
        return s.sphere(s.at(s.mirror(p, "z"), fore + head * 0.55, neck + 0.12, head * 0.72), 0.085)

    skin = paint(d, YELLOW, YELLOW, SNOW, fancy=0.3)
    same = d.chance(0.5)
    return toy(
        ("eyes", eye, Material(INK, gloss=1.0)),
        ("bill", beak, plain(d, ORANGE, RED, often=0.75, gloss=0.5)),
        ("wings", wing, paint(d, skin.colour, fancy=0.4, often=0.5)),
        ("head", lambda p: s.sphere(s.at(p, fore, neck), head), skin if same else paint(d)),
        ("body", body, skin),
        azimuth=(-60, 60) if d.chance(0.5) else (120, 240), elevation=(4, 28), roll=(-8, 8),
    )  # fmt: skip


def hammer(d: Dice) -> Toy:
    """Build a claw hammer or a mallet standing on its handle."""
    shaft, thick = d.between(0.85, 1.1), d.between(0.07, 0.11)
    size, long, grip = d.between(0.16, 0.24), d.between(0.4, 0.55), d.between(0.3, 0.55)
    mallet = d.chance(0.3)

    def top(p: Points) -> Points:
        return s.at(p, y=shaft - 0.1)

    def head(p: Points) -> Array:
        if mallet:
            return s.cylinder(s.lying_x(top(p)), size * 1.5, long * 0.95, 0.05)
        block = s.box(s.at(top(p), 0.04), 0.24, size * 0.85, size * 0.8, 0.05)
        return s.blend(block, s.cylinder(s.lying_x(s.at(top(p), long * 0.6)), size * 0.6, 0.2), 0.1)

    def face(p: Points) -> Array:
        if mallet:
            q = s.at(s.mirror(top(p), "x"), long * 0.95)
            return s.cylinder(s.lying_x(q), size * 1.56, 0.08, 0.03)
        return s.cylinder(s.lying_x(s.at(top(p), long * 0.6 + 0.24)), size, 0.11, 0.03)

    def claw(p: Points) -> Array:
        q = s.mirror(top(p), "z")
        x, y, z = s.at(q, -0.2, -0.42, 0.11)
        arc = s.torus(s.turn_x((x, y, z), 90), 0.5, 0.1)
        return s.common(arc, x, 0.08 - y)

    return toy(
        ("face", face, metal(d)),
        ("head", head, wood(d, 0) if mallet and d.chance(0.5) else metal(d)),
        None if mallet else ("claw", claw, metal(d)),
        ("grip", lambda p: s.cylinder(s.at(p, y=grip - shaft - 0.05), thick * 1.45, grip, 0.06),
         paint(d, RED, INK, fancy=0.4)),
        ("handle", lambda p: s.cylinder(s.at(p, y=-0.05), thick, shaft, 0.04), wood(d)),
        azimuth=(-50, 50), elevation=(0, 30), roll=(-60, 60),
    )  # fmt: skip


# -- fold 1 -------------------------------------------------------------------------------------


def snowman(d: Dice) -> Toy:
    """Build two or three snowballs with a hat, a scarf, a carrot, coals and twigs."""
    base, mid, head = d.between(0.5, 0.64), d.between(0.38, 0.46), d.between(0.28, 0.34)
    brim, crown, lift = d.between(0.34, 0.46), d.between(0.2, 0.3), d.between(0.14, 0.3)
    reach, wave = d.between(0.75, 0.95), d.between(-0.1, 0.5)

    def balls(p: Points) -> Array:
        low = s.blend(s.sphere(s.at(p, y=-0.62), base), s.sphere(s.at(p, y=0.02), mid), 0.08)
        return s.blend(low, s.sphere(s.at(p, y=0.56), head), 0.05)

    def hat(p: Points) -> Array:
        q = s.at(p, y=0.56 + head * 0.72)
        return s.union(s.cylinder(q, brim, 0.04), s.cylinder(s.at(q, y=lift), crown, lift, 0.03))

    def scarf(p: Points) -> Array:
        ring = s.torus(s.at(p, y=0.3), head * 0.95, 0.1)
        end = s.box(s.turn_z(s.at(p, 0.16, 0.06, mid * 0.95), 12), 0.1, 0.24, 0.06)
        return s.union(ring, end)

    def nose(p: Points) -> Array:
        return s.rod(p, (0, 0.56, head * 0.9), (0.04, 0.54, head + 0.32), 0.075, 0.015)

    def coals(p: Points) -> Array:
        eyes = s.sphere(s.at(s.mirror(p, "x"), head * 0.4, 0.67, head * 0.84), 0.055)
        buttons = s.sphere(s.at(p, 0, -0.08, mid * 1.0), 0.065)
        return s.union(eyes, buttons, s.sphere(s.at(p, 0, -0.5, base * 0.99), 0.07))

    def arms(p: Points) -> Array:
        q = s.mirror(p, "x")
        arm = s.rod(q, (mid * 0.8, 0.06, 0), (reach, wave, 0.1), 0.045, 0.03)
        return s.union(arm, s.rod(q, (reach * 0.85, wave * 0.8, 0.08), (reach, 0, 0.2), 0.03))

    return toy(
        ("hat", hat, paint(d, INK, fancy=0.3)),
        ("scarf", scarf, paint(d, RED, fancy=0.8)),
        ("nose", nose, plain(d, ORANGE)),
        ("coals", coals, Material(INK)),
        ("arms", arms, wood(d)),
        ("snow", balls, paint(d, SNOW, SNOW, often=0.7, fancy=0.25)),
        azimuth=(-65, 65), elevation=(0, 26),
    )  # fmt: skip


def car(d: Dice) -> Toy:
    """Build a saloon, a van or a pick-up: body, windows, roof, wheels, hubs and lamps."""
    long, wide, tall = d.between(0.95, 1.15), d.between(0.46, 0.56), d.between(0.2, 0.28)
    wheel, kind = d.between(0.21, 0.29), d.pick(("saloon", "van", "pick-up"))
    start, end = {"saloon": (-0.6, 0.45), "van": (-0.97, 0.55), "pick-up": (-0.15, 0.6)}[kind]
    start, end = start * long, end * long
    cabin, rake = d.between(0.3, 0.42), d.between(0.3, 0.75)
    axle = long * d.between(0.56, 0.64)

    def shell(p: Points, more: float) -> Array:
        q = s.at(p, (start + end) / 2, tall)
        block = s.box(q, (end - start) / 2 + more, cabin + more, wide * 0.88 + more, 0.06)
        front = s.half_space(q, (1, rake, 0), (end - start) / 2 + more)
        back = s.half_space(q, (-1, 0.35 * rake, 0), (end - start) / 2 + more)
        return s.common(block, front, back)

    def pillars(p: Points) -> Array:
        q = s.at(p, (start + end) / 2)
        return s.common(shell(p, 0.012), s.union(tall + cabin * 0.62 - p[1], abs(q[0]) - 0.05))

    def body(p: Points) -> Array:
        hull = s.box(p, long, tall, wide, 0.1)
        arch = s.cylinder(s.lying_z(s.at(s.mirror(p, "x"), axle, -tall)), wheel * 1.18, 2.0)
        return s.cut(hull, arch)

    def wheels(p: Points, radius: float, out: float) -> Array:
        q = s.at(s.mirror(p, "xz"), axle, -tall, wide - 0.1 + out)
        return s.cylinder(s.lying_z(q), radius, 0.11, 0.03)

    def lamps(p: Points) -> Array:
        q = s.mirror(p, "z")
        front = s.ellipsoid(s.at(q, long, 0.05, wide * 0.68), 0.05, 0.09, 0.1)
        bumper = s.box(s.at(s.mirror(p, "x"), long, -tall * 0.6), 0.06, 0.05, wide * 0.9, 0.03)
        return s.union(front, bumper)

    coat = paint(d, RED, SKY, YELLOW, fancy=0.3)
    roof = coat if d.chance(0.5) else plain(d, often=0.0)
    return toy(
        ("hubs", lambda p: wheels(p, wheel * 0.5, 0.025), metal(d)),
        ("wheels", lambda p: wheels(p, wheel, 0.0), plain(d, RUBBER, often=0.85)),
        ("lamps", lamps, plain(d, CREAM, gloss=0.9)),
        ("roof", pillars, roof),
        ("windows", lambda p: shell(p, 0.0), plain(d, SKY, INK, (0.3, 0.4, 0.5), gloss=1.0)),
        ("body", body, coat),
        elevation=(8, 34), roll=(-8, 8),
    )  # fmt: skip


def umbrella(d: Dice) -> Toy:
    """Build an open umbrella: scalloped canopy, shaft, crook and ferrule."""
    wide, high, count = d.between(0.95, 1.15), d.between(0.42, 0.62), d.pick((6, 8, 8))
    hook, thick, low = d.between(0.14, 0.2), d.between(0.03, 0.045), -1.0

    def canopy(p: Points) -> Array:
        q = s.spin(p, count)
        hem = 0.2 + 0.55 * (q[2] / wide) ** 2 * count / 6
        dome = abs(s.ellipsoid(s.at(p, y=0.2), wide, high, wide)) - 0.02
        return s.common(dome, hem - p[1]) * 0.8

    def crook(p: Points) -> Array:
        arc = s.torus(s.turn_x(s.at(p, hook, low + hook), 90), hook, 0.055)
        grip = s.rod(p, (0, low + hook, 0), (0, low + hook + 0.25, 0), 0.055)
        end = s.rod(p, (2 * hook, low + hook, 0), (2 * hook, low + hook + 0.06, 0), 0.055)
        return s.union(s.common(arc, p[1] - low - hook), grip, end)

    cloth = paint(d, RED, fancy=0.0)
    pattern = d.pick(("plain", "gores", "gores", "dots", "stripes"))
    cloth = Material(cloth.colour, cloth.accent, pattern, count / 2, 1, cloth.gloss)
    return toy(
        ("canopy", canopy, cloth),
        ("crook", crook, wood(d) if d.chance(0.5) else plain(d, often=0.0)),
        ("shaft", lambda p: s.rod(p, (0, low + hook, 0), (0, 0.2 + high, 0), thick), metal(d)),
        ("ferrule", lambda p: s.rod(p, (0, 0.2 + high, 0), (0, 0.36 + high, 0), 0.06, 0.03),
         metal(d)),
        azimuth=(-75, 75), elevation=(-22, 24), roll=(-35, 35),
    )  # fmt: skip


def bottle(d: Dice) -> Toy:
    """Build a wine, milk or sauce bottle with a label, a cap and a coloured neck."""
    radius, half = d.between(0.3, 0.42), d.between(0.4, 0.55)
    neck, long = radius * d.between(0.3, 0.5), d.between(0.28, 0.5)
    slope, tall, at = d.between(0.2, 0.5), d.between(0.16, 0.3), d.between(-0.15, 0.05)
    cap = d.between(0.06, 0.11)
    bottom = -(half + long + 0.2) / 2 - 0.1
    top = bottom + 2 * half + slope + 2 * long * 0.6

    def glass(p: Points) -> Array:
        belly = s.cylinder(s.at(p, y=bottom + half), radius, half, 0.08)
        rise = s.at(p, y=bottom + 2 * half + slope / 2 - 0.08)
        shoulder = s.frustum(rise, radius, neck, slope / 2)
        throat = s.cylinder(s.at(p, y=(bottom + half + top) / 2), neck, (top - bottom - half) / 2)
        return s.blend(s.union(belly, shoulder), throat, 0.12)

    def label(p: Points) -> Array:
        return s.cylinder(s.at(p, y=bottom + half + at * half), radius + 0.012, tall, 0.01)

    def collar(p: Points) -> Array:
        return s.cylinder(s.at(p, y=top - long * 0.45), neck + 0.03, long * 0.22)

    coat = paint(d, (0.13, 0.35, 0.2), (0.35, 0.2, 0.1), SKY, fancy=0.15)
    shine = Material(coat.colour, coat.accent, coat.pattern, coat.count, coat.axis, 0.95)
    return toy(
        ("label", label, paint(d, CREAM, often=0.6, fancy=0.7)),
        ("collar", collar, paint(d, fancy=0.3)),
        ("cap", lambda p: s.cylinder(s.at(p, y=top), neck + 0.05, cap, 0.03),
         plain(d, RED, YELLOW)),
        ("glass", glass, shine),
        elevation=(2, 28), roll=(-30, 30),
    )  # fmt: skip


def house(d: Dice) -> Toy:
    """Build a cottage: walls, gabled roof, door, windows and chimney."""
    wide, deep, half = d.between(0.6, 0.8), d.between(0.55, 0.85), d.between(0.36, 0.55)
    pitch, over = d.between(0.6, 1.0), d.between(0.08, 0.16)
    side, stack = d.between(0.2, 0.4), d.between(-0.4, 0.4)
    ground = -half - 0.25
    eaves = ground + 2 * half
    ridge = eaves + pitch * wide

    def gable(p: Points, lift: float) -> Array:
        return s.half_space(s.mirror(p, "x"), (pitch, 1, 0), ridge + lift)

    def walls(p: Points) -> Array:
        q = s.at(p, y=(ground + ridge) / 2)
        return s.common(s.box(q, wide, (ridge - ground) / 2, deep, 0.01), gable(p, -0.02))

    def roof(p: Points) -> Array:
        q = s.at(p, y=(eaves + ridge) / 2)
        slab = s.common(gable(p, 0.11), -gable(p, 0.0))
        return s.common(slab, s.box(q, wide + over, pitch * wide / 2 + 0.22, deep + over))

    def door(p: Points) -> Array:
        return s.box(s.at(p, -side * 0.6, ground + 0.3, deep), 0.17, 0.3, 0.04, 0.02)

    def windows(p: Points) -> Array:
        front = s.box(s.at(p, side, ground + 0.42, deep), 0.15, 0.15, 0.035, 0.01)
        q = s.mirror(p, "xz")
        flank = s.box(s.at(q, wide, ground + 0.45, deep * 0.45), 0.035, 0.16, 0.15, 0.01)
        loft = s.cylinder(s.lying_z(s.at(s.mirror(p, "z"), 0, eaves + 0.14, deep)), 0.13, 0.035)
        return s.union(front, flank, loft)

    def chimney(p: Points) -> Array:
        q = s.at(p, wide * 0.45, ridge - 0.02, stack * deep)
        return s.union(s.box(q, 0.12, 0.3, 0.12), s.box(s.at(q, y=0.28), 0.15, 0.05, 0.15))

    rough = d.pick(("plain", "bricks", "stripes", "bricks"))
    wall = Material(d.colour(CREAM, (0.75, 0.4, 0.3)), d.colour(CREAM), rough, d.between(4, 6))
    tile = Material(d.colour(RED, BROWNS[0]), d.colour(BROWNS[2]),
                    d.pick(("plain", "stripes", "bricks")), d.between(4, 7))  # fmt: skip
    return toy(
        ("door", door, wood(d) if d.chance(0.5) else plain(d, often=0.0)),
        ("windows", windows, plain(d, SKY, CREAM, (0.2, 0.28, 0.4), gloss=0.9)),
        ("chimney", chimney, plain(d, (0.6, 0.3, 0.25), often=0.5)),
        ("roof", roof, tile),
        ("walls", walls, wall),
        azimuth=(-75, 75), elevation=(6, 34), roll=(-7, 7),
    )  # fmt: skip


# -- fold 2 -------------------------------------------------------------------------------------


def lamp(d: Dice) -> Toy:
    """Build a table lamp: shade with a trim, bulb, pole and base."""
    low, high, half = d.between(0.55, 0.78), d.between(0.22, 0.5), d.between(0.28, 0.42)
    hang, foot, thick = d.between(0.35, 0.55), d.between(0.34, 0.5), d.between(0.045, 0.08)
    vase, lit = d.chance(0.45), d.chance(0.5)
    belly, bead = d.between(0.26, 0.36), d.between(-0.4, 0.0)

    def cone(p: Points, more: float = 0.0) -> Array:
        return s.frustum(s.at(p, y=hang), low + more, high + more, half)

    def shade(p: Points) -> Array:
        return s.common(abs(cone(p)) - 0.015, abs(p[1] - hang) - half * 0.98)

    def trim(p: Points) -> Array:
        rims = abs(abs(p[1] - hang) - half * 0.94) - 0.055
        return s.common(abs(cone(p)) - 0.03, rims)

    def base(p: Points) -> Array:
        plate = s.cylinder(s.at(p, y=-0.94), foot, 0.06, 0.04)
        if vase:
            return s.blend(plate, s.ellipsoid(s.at(p, y=-0.52), belly, 0.4, belly), 0.1)
        return s.blend(plate, s.frustum(s.at(p, y=-0.8), foot * 0.6, thick, 0.12), 0.1)

    def pole(p: Points) -> Array:
        stick = s.rod(p, (0, -0.9, 0), (0, hang, 0), thick)
        return s.blend(stick, s.sphere(s.at(p, y=bead), thick * 2.1), 0.06)

    cloth = paint(d, CREAM, fancy=0.45)
    glow = d.between(0.15, 0.35) if lit else 0.0
    return toy(
        ("trim", trim, paint(d, fancy=0.2)),
        ("shade", shade, Material(cloth.colour, cloth.accent, cloth.pattern, cloth.count,
                                  cloth.axis, 0.05, glow)),
        ("bulb", lambda p: s.sphere(s.at(p, y=hang - half), 0.16), Material(CREAM, glow=0.4)),
        ("base", base, paint(d, fancy=0.4) if d.chance(0.6) else wood(d)),
        ("pole", pole, metal(d) if d.chance(0.6) else wood(d)),
        elevation=(-24, 20), roll=(-10, 10),
    )  # fmt: skip


def plane(d: Dice) -> Toy:
    """Build a propeller plane or an airliner: hull, wings, tail, cockpit and engines."""
    fat, span, chord = d.between(0.2, 0.29), d.between(0.85, 1.2), d.between(0.2, 0.3)
    sweep, rise, jet = d.between(0.05, 0.5), d.between(-0.05, 0.12), d.chance(0.5)
    fin, low = d.between(0.3, 0.45), d.between(-0.6, 0.2) * fat
    blades, turned = d.between(0.34, 0.42), d.between(0, 90)

    def hull(p: Points) -> Array:
        tube = s.rod(p, (-0.95, 0.1, 0), (0.7, 0, 0), fat * 0.42, fat)
        return s.blend(tube, s.ellipsoid(s.at(p, 0.55), 0.5, fat * 1.02, fat * 1.02), 0.1)

    def wings(p: Points) -> Array:
        x, y, z = s.mirror(s.at(p, 0.2, low), "z")
        taper = 1.0 - 0.35 * z / span
        q = ((x + sweep * z) / taper, y - rise * z, z - span / 2)
        return s.box(q, chord, 0.045, span / 2, 0.04) * 0.7

    def tail(p: Points) -> Array:
        x, y, z = s.at(p, -0.88, 0.12)
        upright = s.box((x + 0.45 * y, y - fin / 2, z), 0.17, fin / 2, 0.035, 0.03)
        flat = s.box((x + 0.35 * abs(z), y - 0.03, z), 0.15, 0.03, 0.42, 0.03)
        return s.union(upright, flat) * 0.8

    def cockpit(p: Points) -> Array:
        return s.ellipsoid(s.turn_z(s.at(p, 0.45, fat * 0.8), -8), 0.3, fat * 0.55, fat * 0.62)

    def engines(p: Points) -> Array:
        if jet:
            x, y, z = s.at(s.mirror(p, "z"), 0.3 - sweep * span * 0.42, low - 0.1, span * 0.42)
            return s.frustum(s.lying_x((x, y, z)), 0.1, 0.13, 0.2, 0.02)
        q = s.turn_x(s.at(p, 1.08), turned)
        spinner = s.ellipsoid(s.at(p, 1.03), 0.16, 0.1, 0.1)
        return s.union(spinner, s.box(q, 0.025, blades, 0.06, 0.02), s.box(q, 0.025, 0.06, blades))

    coat = paint(d, SNOW, RED, fancy=0.3)
    return toy(
        ("cockpit", cockpit, plain(d, SKY, INK, gloss=1.0)),
        ("engines", engines, metal(d) if jet else plain(d, RED, INK)),
        ("hull", hull, coat),
        ("wings", wings, paint(d, coat.colour, often=0.4, fancy=0.4)),
        ("tail", tail, plain(d, coat.colour, often=0.3)),
        elevation=(8, 52), roll=(-25, 25),
    )  # fmt: skip


def mushroom(d: Dice) -> Toy:
    """Build a toadstool: domed cap with spots, gills, stem and ring."""
    wide, high, foot = d.between(0.68, 0.95), d.between(0.4, 0.75), d.between(0.24, 0.4)
    thick, rim, size = d.between(0.18, 0.28), d.between(0.05, 0.25), d.between(0.12, 0.19)
    lean, phase, bald = d.between(-0.15, 0.15), d.between(0, 2), d.chance(0.25)

    def bend(p: Points) -> Points:
        return p[0] - lean * (p[1] + 1.0), p[1], p[2]

    def dome(p: Points, more: float = 0.0) -> Array:
        return s.ellipsoid(s.at(p, y=rim), wide + more, high + more, wide + more)

    def cap(p: Points, more: float = 0.0) -> Array:
        q = bend(p)
        return s.blend(s.common(dome(q, more), rim - q[1]),
                       s.torus(s.at(q, y=rim), wide - 0.07, 0.07 + more), 0.05)  # fmt: skip

    def spots(p: Points) -> Array:
        q = bend(p)
        low = s.spin(q, 7, phase)
        upper = s.spin(q, 4, phase + 0.4)
        balls = s.union(
            s.sphere(s.at(low, wide * 0.88, rim + high * 0.42), size),
            s.sphere(s.at(upper, wide * 0.52, rim + high * 0.83), size * 1.1),
            s.sphere(s.at(q, 0.02, rim + high), size),
        )
        return s.common(balls, dome(q, 0.035))

    def gills(p: Points) -> Array:
        return s.frustum(s.at(bend(p), y=rim - 0.06), thick, wide - 0.08, 0.07, 0.01)

    def stem(p: Points) -> Array:
        q = bend(p)
        tube = s.frustum(s.at(q, y=(rim - 1) / 2), foot * 0.9, thick, (rim + 1) / 2, 0.04)
        return s.blend(tube, s.ellipsoid(s.at(q, y=-0.88), foot, 0.14, foot), 0.2)

    def ring(p: Points) -> Array:
        mean = (thick + foot) / 2
        return s.frustum(s.at(bend(p), y=rim - 0.45), mean + 0.13, mean, 0.07, 0.02)

    skin = paint(d, RED, BROWNS[1], fancy=0.35 if bald else 0.0)
    return toy(
        None if bald else ("spots", spots, plain(d, SNOW, often=0.7)),
        ("cap", cap, skin),
        ("gills", gills, Material(d.colour(CREAM), d.colour(BROWNS[1]), "gores", 24.0)),
        ("ring", ring, plain(d, CREAM, often=0.6)),
        ("stem", stem, paint(d, CREAM, SNOW, often=0.6, fancy=0.3)),
        elevation=(-12, 30), roll=(-12, 12),
    )  # fmt: skip


def chair(d: Dice) -> Toy:
    """Build a chair: seat with a cushion, four legs, and a slatted, barred or solid back."""
    wide, tall, thick = d.between(0.46, 0.6), d.between(0.85, 1.05), d.between(0.05, 0.09)
    leg, lean, style = d.between(0.045, 0.08), d.between(0.0, 0.25), d.pick((0, 1, 2))
    level, soft, turned = d.between(-0.2, -0.05), d.chance(0.6), d.chance(0.4)
    slats, half = d.pick((2.0, 3.0)), (1.0 + level) / 2

    def legs(p: Points) -> Array:
        x, y, z = s.mirror(s.at(p, y=level - half), "xz")
        spread = 0.08 * (y / half)
        q = (x - wide + leg + 0.1 + spread, y, z - wide + leg + 0.1 + spread)
        return s.frustum(q, leg * 0.7, leg, half) if turned else s.box(q, leg, half, leg, 0.02)

    def leaning(p: Points) -> Points:
        x, y, z = s.at(p, 0, level, -wide + 0.06)
        return x, y - tall / 2, z + lean * y

    def back(p: Points) -> Array:
        x, y, z = leaning(p)
        frame = s.box((abs(x) - wide + 0.07, y, z), 0.06, tall / 2, 0.05)
        rail = s.box((x, y - tall / 2 + 0.12, z), wide, 0.12, 0.05, 0.04)
        if style == 0:
            fill = s.box((x, y - 0.08, z), wide, tall / 2 - 0.08, 0.04)
        elif style == 1:
            q = abs(abs(y + 0.06) - 0.13) if slats == 2 else abs(abs(y + 0.1) - 0.22)
            fill = s.box((x, q, z), wide - 0.05, 0.055, 0.03)
        else:
            bar = abs(abs(x) - wide * 0.3) - wide * 0.14
            fill = s.box((bar, y, z), 0.035, tall / 2, 0.03)
        return s.union(frame, rail, fill)

    def cushion(p: Points) -> Array:
        return s.box(s.at(p, y=level + thick + 0.05, z=0.03), wide * 0.9, 0.08, wide * 0.84, 0.07)

    body = wood(d) if d.chance(0.55) else plain(d, often=0.0)
    return toy(
        ("cushion", cushion, paint(d, fancy=0.7)) if soft else None,
        ("seat", lambda p: s.box(s.at(p, y=level), wide, thick, wide), paint(d, fancy=0.5)),
        ("back", back, body if d.chance(0.5) else paint(d, fancy=0.4)),
        ("legs", legs, body),
        azimuth=(-80, 80) if d.chance(0.7) else (100, 260), elevation=(8, 32), roll=(-7, 7),
    )  # fmt: skip


def fish(d: Dice) -> Toy:
    """Build a fish: banded body, face, forked tail, fins and eyes."""
    long, tall, flat = d.between(0.72, 0.9), d.between(0.4, 0.6), d.between(0.22, 0.32)
    fork, crest, rear = d.between(22, 48), d.between(0.2, 0.36), d.between(0.3, 0.42)
    back = d.between(-25, 10)

    def body(p: Points, more: float = 0.0) -> Array:
        trunk = s.ellipsoid(s.at(p, 0.15), long + more, tall + more, flat + more)
        root = s.ellipsoid(s.at(p, -0.65), 0.4, 0.17 + more, 0.11 + more)
        return s.blend(trunk, root, 0.25)

    def face(p: Points) -> Array:
        lips = s.ellipsoid(s.at(p, 0.15 + long, -0.06), 0.09, 0.1, 0.11)
        curve = 0.15 + long * 0.48 + 0.35 * p[1] * p[1] - p[0]
        return s.union(s.common(body(p, 0.012), curve), lips)

    def tail(p: Points) -> Array:
        x, y, z = s.at(p, -0.9)
        lobe = s.turn_z((x, abs(y), z), 180 - fork)
        return s.ellipsoid(s.at(lobe, rear), rear + 0.08, 0.17, 0.06)

    def fins(p: Points) -> Array:
        dorsal = s.ellipsoid(s.turn_z(s.at(p, 0.0, tall * 0.92), back), 0.42, crest, 0.055)
        belly = s.ellipsoid(s.turn_z(s.at(p, -0.1, -tall * 0.92), 35), 0.24, 0.15, 0.05)
        q = s.turn_y(s.at(s.mirror(p, "z"), 0.12, -0.12, flat * 0.95), 28)
        side = s.ellipsoid(s.at(s.turn_z(q, 18), -0.14), 0.25, 0.13, 0.05)
        return s.union(dorsal, belly, side)

    def eyes(p: Points) -> Array:
        return s.sphere(s.at(s.mirror(p, "z"), 0.15 + long * 0.62, 0.12, flat * 0.66), 0.12)

    def pupils(p: Points) -> Array:
        q = s.at(s.mirror(p, "z"), 0.17 + long * 0.64, 0.12, flat * 0.66 + 0.075)
        return s.sphere(q, 0.075)

    skin = paint(d, ORANGE, SKY, fancy=0.0)
    pattern = d.pick(("stripes", "stripes", "dots", "plain", "checks"))
    scales = Material(skin.colour, skin.accent, pattern, d.between(1.6, 3.2), 0, 0.6)
    trim = plain(d, skin.accent, often=0.4)
    return toy(
        ("pupils", pupils, Material(INK, gloss=1.0)),
        ("eyes", eyes, plain(d, SNOW, YELLOW, often=0.9, gloss=0.8)),
        ("face", face, plain(d, skin.colour, ORANGE, often=0.5)),
        ("tail", tail, trim if d.chance(0.5) else paint(d, fancy=0.3)),
        ("fins", fins, trim),
        ("body", body, scales),
        azimuth=(-50, 50) if d.chance(0.5) else (130, 230), elevation=(-15, 28), roll=(-25, 25),
    )  # fmt: skip


# -- fold 3 -------------------------------------------------------------------------------------


def fir_tree(d: Dice) -> Toy:
    """Build a fir in a pot: tiers of branches, baubles, a star and a trunk."""
    tiers, wide, shrink = d.pick((3, 3, 4)), d.between(0.6, 0.82), d.between(0.62, 0.74)
    stub, points, depth = d.between(0.28, 0.42), d.pick((7, 9, 11)), d.between(0.0, 0.07)
    size, potted, phase = d.between(0.07, 0.1), d.chance(0.45), d.between(0, 2)
    bottom, dressed = -0.95 + stub, d.chance(0.75)
    rise = (0.95 - bottom) / tiers

    def tier(p: Points, i: int) -> Array:
        q = s.at(p, y=bottom + rise * (i + 0.62))
        return s.frustum(q, wide * shrink**i, 0.05, rise * 0.66, 0.03)

    def needles(p: Points) -> Array:
        turn = np.arctan2(p[2], p[0])
        wavy = 1.0 + depth * np.cos(turn * points)
        q = (p[0] * wavy, p[1], p[2] * wavy)
        return s.union(*(tier(q, i) for i in range(tiers))) * 0.85

    def baubles(p: Points) -> Array:
        rows = (
            s.sphere(s.at(s.spin(p, 6 - i, phase + i), wide * shrink**i * 0.9,
                          bottom + rise * i + 0.02), size)
            for i in range(tiers)
        )  # fmt: skip
        return s.union(*rows)

    def star(p: Points) -> Array:
        q = s.at(p, y=1.06)
        x, y, z = s.lying_z(s.spin(s.lying_z(q), 5, 1.5708))
        return s.common(0.385 * x + 0.923 * abs(y) + 0.3 * abs(z) - 0.082, abs(z) - 0.055) * 0.9

    leaf = d.colour(*GREENS, SNOW, often=0.6)
    shadow = tuple(c * 0.7 for c in leaf)
    look, fine = d.pick(("plain", "cloudy", "stripes")), d.between(4, 7)
    foliage = Material(leaf, shadow, look, fine, 1, 0.1)
    return toy(
        ("star", star, plain(d, YELLOW, often=0.7, gloss=0.8)),
        ("baubles", baubles, plain(d, RED, YELLOW, often=0.4, gloss=1.0)) if dressed else None,
        ("pot", lambda p: s.frustum(s.at(p, y=-0.95), 0.2, 0.3, 0.17, 0.02), paint(d, RED))
        if potted else None,
        ("trunk", lambda p: s.cylinder(s.at(p, y=-0.8), 0.13, 0.3), wood(d)),
        ("needles", needles, foliage),
        elevation=(-4, 24), roll=(-8, 8),
    )  # fmt: skip


def dumbbell(d: Dice) -> Toy:
    """Build a dumbbell: knurled grip, two or four plates and collars."""
    large, small, half = d.between(0.4, 0.58), d.between(0.62, 0.85), d.between(0.09, 0.15)
    grip, thick, kind = d.between(0.3, 0.45), d.between(0.07, 0.1), d.pick(("disc", "hex", "ball"))
    out = grip + half

    def end(p: Points) -> Points:
        return s.at(s.mirror(p, "x"), out)

    def plates(p: Points) -> Array:
        q = s.lying_x(end(p))
        if kind == "disc":
            return s.cylinder(q, large, half, 0.05)
        if kind == "ball":
            return s.sphere(s.at(q, y=large * 0.4), large * 0.82)
        x, y, z = s.spin(q, 6)
        return s.box((x, y, z), large * 0.86, half * 1.5, large * 0.6, 0.04)

    def outer(p: Points) -> Array:
        far = {"disc": 2 * half, "hex": half * 1.6, "ball": large * 1.2}[kind]
        radius = large * (small if kind == "disc" else 0.45)
        return s.cylinder(s.lying_x(s.at(end(p), far * 0.95)), radius, half * 0.8, 0.03)

    def collars(p: Points) -> Array:
        q = s.at(s.mirror(p, "x"), grip - 0.05)
        nut = s.cylinder(s.lying_x(q), thick * 1.9, 0.06)
        tip = s.at(s.mirror(p, "x"), out + 3 * half if kind == "disc" else out)
        return s.union(nut, s.cylinder(s.lying_x(tip), thick * 1.1, 0.12))

    handle = Material(d.colour(*BROWNS), d.colour(INK), "stripes", d.between(4, 6), 0, 0.4)
    return toy(
        ("collars", collars, metal(d)),
        ("ends", outer, paint(d, fancy=0.2)),
        ("plates", plates, paint(d, INK, STEELS[1], fancy=0.3)),
        ("grip", lambda p: s.cylinder(s.lying_x(p), thick, grip), handle),
        azimuth=(-55, 55), elevation=(5, 38), roll=(-30, 30),
    )  # fmt: skip


def robot(d: Dice) -> Toy:
    """Build a tin robot: head, eyes, antenna, body with a panel, arms and legs."""
    wide, tall, deep = d.between(0.34, 0.48), d.between(0.32, 0.42), d.between(0.22, 0.32)
    head, brow, gap = d.between(0.24, 0.34), d.between(0.19, 0.25), d.between(0.1, 0.15)
    arm, lift, eye = d.between(0.07, 0.1), d.between(-20, 70), d.between(0.07, 0.1)
    dome, twin, boot = d.chance(0.3), d.chance(0.4), d.between(0.13, 0.18)
    top = 0.5 + brow

    def skull(p: Points) -> Array:
        q = s.at(p, y=top)
        return s.ellipsoid(q, head, brow * 1.15, deep) if dome else s.box(q, head, brow, deep, 0.05)

    def eyes(p: Points) -> Array:
        look = s.sphere(s.at(s.mirror(p, "x"), gap, top + 0.03, deep * 0.95), eye)
        return s.union(look, s.box(s.at(p, 0, top - brow * 0.55, deep), head * 0.5, 0.03, 0.02))

    def antenna(p: Points) -> Array:
        q = s.mirror(p, "x") if twin else p
        x = head * 0.6 if twin else 0.0
        stick = s.rod(q, (x, top, 0), (x * 1.3, top + brow + 0.2, 0), 0.03)
        return s.union(stick, s.sphere(s.at(q, x * 1.3, top + brow + 0.22), 0.075))

    def trunk(p: Points) -> Array:
        neck = s.cylinder(s.at(p, y=0.47), 0.1, 0.1)
        return s.union(s.box(s.at(p, y=0.4 - tall), wide, tall, deep * 1.1, 0.05), neck)

    def panel(p: Points) -> Array:
        q = s.at(p, 0, 0.47 - tall, deep * 1.1)
        plate = s.box(q, wide * 0.62, tall * 0.42, 0.035, 0.02)
        return s.union(plate, s.sphere(s.at(s.mirror(q, "x"), wide * 0.3, -tall * 0.72), 0.06))

    def arms(p: Points) -> Array:
        q = s.turn_z(s.at(s.mirror(p, "x"), wide + 0.06, 0.26), lift - 90)
        limb = s.rod(q, (0, 0, 0), (0.5, 0, 0.05), arm)
        claw = s.cut(s.sphere(s.at(q, 0.58, 0, 0.05), arm * 1.6), s.sphere(s.at(q, 0.7), arm))
        return s.union(limb, claw, s.sphere(q, arm * 1.5))

    def legs(p: Points) -> Array:
        q = s.mirror(p, "x")
        low = 0.4 - 2 * tall
        leg = s.box(s.at(q, wide * 0.52, (low - 0.9) / 2), 0.1, (low + 0.95) / 2, 0.1, 0.03)
        return s.union(leg, s.box(s.at(q, wide * 0.56, -0.92, 0.06), boot, 0.09, 0.22, 0.05))

    tin = metal(d) if d.chance(0.5) else paint(d, fancy=0.3)
    return toy(
        ("eyes", eyes, Material(d.colour(YELLOW, RED, SKY, often=0.8), gloss=1.0, glow=0.25)),
        ("antenna", antenna, plain(d, RED, often=0.5)),
        ("head", skull, tin if d.chance(0.4) else metal(d)),
        ("panel", panel, paint(d, YELLOW, fancy=0.8)),
        ("body", trunk, tin),
        ("arms", arms, metal(d) if d.chance(0.5) else plain(d, often=0.0)),
        ("legs", legs, plain(d, INK, often=0.3)),
        azimuth=(-65, 65), elevation=(0, 26), roll=(-10, 10),
    )  # fmt: skip


def ice_cream(d: Dice) -> Toy:
    """Build a cornet: waffle cone, one or two scoops, sauce, a cherry and a wafer."""
    wide, long, double = d.between(0.36, 0.46), d.between(0.5, 0.66), d.chance(0.6)
    ball, bump = d.between(0.42, 0.52), d.between(0.02, 0.05)
    rim = -1.0 + 2 * long
    low = rim + ball * 0.55
    top = low + (ball * 1.05 if double else 0.0)
    crest, stick = ball * (0.86 if double else 1.0), d.between(-35, 35)
    runny, cherry, wafer = d.chance(0.6), d.chance(0.6), d.chance(0.6)

    def scoop(p: Points, height: float, radius: float) -> Array:
        q = s.at(p, y=height)
        lumps = np.sin(q[0] * 9.0) * np.sin(q[1] * 9.0) * np.sin(q[2] * 9.0 + 1.0) * bump
        skirt = s.torus(s.at(q, y=-radius * 0.5), radius * 0.86, 0.1)
        return (s.blend(s.sphere(q, radius), skirt, 0.08) - lumps) * 0.9

    def sauce(p: Points) -> Array:
        turn = np.arctan2(p[2], p[0])
        hem = top + crest * (0.35 + 0.22 * np.cos(turn * 5.0))
        return s.common(s.sphere(s.at(p, y=top), crest + 0.055), hem - p[1]) * 0.8

    def biscuit(p: Points) -> Array:
        q = s.turn_z(s.at(p, 0.1, top + crest * 0.75, -0.12), stick)
        return s.cylinder(s.at(q, y=0.22), 0.075, 0.42, 0.02)

    crisp = Material(d.colour((0.8, 0.55, 0.3)), d.colour(BROWNS[2]), "slanted", 5.0)
    cone = Material(d.colour((0.85, 0.6, 0.3)), d.colour(BROWNS[0], often=0.8), "waffle", 4.0)
    return toy(
        ("cherry", lambda p: s.sphere(s.at(p, y=top + crest + 0.1), 0.15),
         plain(d, RED, often=0.7, gloss=1.0)) if cherry else None,
        ("wafer", biscuit, crisp) if wafer else None,
        ("sauce", sauce, plain(d, BROWNS[2], RED, often=0.6, gloss=0.9)) if runny else None,
        ("cone", lambda p: s.frustum(s.at(p, y=rim - long), 0.05, wide, long, 0.03), cone),
        ("scoop", lambda p: scoop(p, low, ball), paint(d, CREAM, (0.95, 0.6, 0.7), fancy=0.3)),
        ("second scoop", lambda p: scoop(p, top, crest), paint(d, fancy=0.3)) if double else None,
        elevation=(-6, 24), roll=(-35, 35),
    )  # fmt: skip


def flower(d: Dice) -> Toy:
    """Build a flower in a pot: petals, centre, stem, leaves."""
    count, long, fat = d.pick((5, 6, 8, 10)), d.between(0.26, 0.36), d.between(0.8, 1.1)
    heart, bow, tilt = d.between(0.15, 0.24), d.between(-0.15, 0.15), d.between(-5, 35)
    leafy, wide, phase = d.between(20, 50), d.between(0.26, 0.38), d.between(0, 1)
    width = min(fat * 3.1416 * (heart + long) / count * 0.9, long * 0.8)
    tall, cup = 0.45, d.between(-10, 25)

    def facing(p: Points) -> Points:
        return s.lying_z(s.turn_x(s.at(p, bow, tall, 0.1), -tilt))

    def petals(p: Points) -> Array:
        q = s.turn_z(s.spin(facing(p), count, phase), cup)
        return s.ellipsoid(s.at(q, heart + long * 0.7), long, 0.06, width) * 0.9

    def centre(p: Points) -> Array:
        return s.ellipsoid(s.at(facing(p), y=0.05), heart, 0.13, heart)

    def stem(p: Points) -> Array:
        low = s.rod(p, (0, -0.8, 0), (-bow * 0.4, -0.2, 0.0), 0.06)
        return s.blend(low, s.rod(p, (-bow * 0.4, -0.2, 0.0), (bow, tall, 0.05), 0.06), 0.05)

    def leaves(p: Points) -> Array:
        q = s.turn_z(s.at(s.mirror(p, "x"), 0.02, -0.42), leafy)
        return s.ellipsoid(s.at(q, 0.3), 0.34, 0.05, 0.14)

    def pot(p: Points) -> Array:
        bowl = s.frustum(s.at(p, y=-0.8), wide * 0.68, wide, 0.22, 0.02)
        rim = s.cylinder(s.at(p, y=-0.6), wide + 0.05, 0.07)
        hole = s.cylinder(s.at(p, y=-0.5), wide - 0.06, 0.1)
        return s.cut(s.union(bowl, rim), hole)

    green = plain(d, *GREENS, often=0.7)
    return toy(
        ("centre", centre, paint(d, YELLOW, BROWNS[0], fancy=0.5)),
        ("petals", petals, paint(d, RED, YELLOW, SNOW, often=0.3, fancy=0.25)),
        ("leaves", leaves, green if d.chance(0.5) else plain(d, *GREENS)),
        ("stem", stem, green),
        ("pot", pot, paint(d, (0.75, 0.4, 0.25), often=0.4)),
        azimuth=(-60, 60), elevation=(0, 28), roll=(-15, 15),
    )  # fmt: skip


# -- clutter ------------------------------------------------------------------------------------


def block(d: Dice) -> Toy:
    """Build a block."""
    a, b, c = (d.between(0.4, 1.0) for _ in range(3))
    return toy(("body", lambda p: s.box(p, a, b, c, 0.08), paint(d, fancy=0.8)), elevation=(10, 40))


def ball(d: Dice) -> Toy:
    """Build a ball."""
    return toy(("body", lambda p: s.sphere(p, 0.9), paint(d, fancy=0.8)))


def ring(d: Dice) -> Toy:
    """Build a ring for stacking or throwing."""
    wide, tube, turn = d.between(0.5, 0.9), d.between(0.14, 0.32), d.between(0, 90)
    return toy(("body", lambda p: s.torus(s.turn_x(p, turn), wide, tube), paint(d, fancy=0.7)))


def cone(d: Dice) -> Toy:
    """Build a traffic cone without its foot."""
    low, high, half = d.between(0.45, 0.8), d.between(0.02, 0.3), d.between(0.5, 1.0)
    return toy(("body", lambda p: s.frustum(p, low, high, half, 0.04), paint(d, fancy=0.7)))


#: How each toy and kind of clutter of the catalogue is drawn.
FAMILIES: dict[str, Callable[[Dice], Toy]] = {
    "mug": mug, "rocket": rocket, "table": table, "duck": duck, "hammer": hammer,
    "snowman": snowman, "car": car, "umbrella": umbrella, "bottle": bottle, "house": house,
    "lamp": lamp, "plane": plane, "mushroom": mushroom, "chair": chair, "fish": fish,
    "fir tree": fir_tree, "dumbbell": dumbbell, "robot": robot, "ice cream": ice_cream,
    "flower": flower, "block": block, "ball": ball, "ring": ring, "cone": cone,
}  # fmt: skip
