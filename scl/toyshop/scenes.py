"""Scenes: a target among other toys on a textured floor, with exact masks.

A scene is laid out in units of the picture's side, and visibility is judged at one fixed
resolution, so a scene has the same layout at every size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from .atlas import Atlas
from .backdrop import backdrop
from .catalogue import CLASSES, CLUTTER, PARTS
from .dice import Array, Dice, lattice

LEAST_SIZE = 32  # pixels
_JUDGED = 96  # side at which visibility is judged, in pixels
# Stricter than the promised 35 % of the target and 3 % of the picture: sizes differ a little.
_TARGET_SEEN, _TARGET_AREA = (0.42, 0.95), 0.036
_OTHER_SEEN, _OTHER_AREA = 0.25, 0.012


@dataclass(frozen=True)
class Scene:
    """A picture and its exact masks.

    image: uint8 (H, W, 3); objects: uint8 (H, W), 0 background and clutter, 1 the target, 2 and up
    the distractors, visible pixels only; classes: class of object 1, 2, ...; parts: uint8 (H, W),
    j + 1 on the target's part j (names in `part_names`), set exactly where objects == 1; views: the
    (class, view) pairs of target and distractors.
    """

    image: Array
    objects: Array
    classes: tuple[str, ...]
    parts: Array
    part_names: tuple[str, ...]
    views: frozenset[tuple[str, int]]

    @property
    def mask(self) -> Array:
        """The target: uint8 (H, W) of 0 and 1."""
        return (self.objects == 1).astype(np.uint8)


@dataclass(frozen=True)
class _Item:
    """A toy in a layout: its box (left, foot, width, height) in units of the picture's side."""

    cls: str
    view: int
    label: int
    left: float
    foot: float
    width: float
    height: float
    flip: bool


@dataclass(frozen=True)
class _Layout:
    """Items from back to front, the wall's lower edge, and where the light comes from."""

    items: tuple[_Item, ...]
    edge: float
    lit: int


def compose(
    atlas: Atlas,
    seed: int,
    cls: str,
    index: int,
    allowed: Iterable[str] = CLASSES,
    size: int = 128,
) -> Scene:
    """Compose scene `index` of a class: the target and one to three toys of others in `allowed`.

    Decided by the arguments alone; `size` (pixels, at least 32) sets only the resolution. Scenes
    of a class with different index modulo the number of views show different views of the target.
    """
    others = _checked(cls, index, allowed, size)
    layout = _lay_out(atlas, seed, cls, index, others)
    dice = Dice("paint", seed, cls, index)
    picture = backdrop(dice, size, layout.edge)
    sprites = [_sprite(atlas, item, size) for item in layout.items]
    for item, (rgba, _) in zip(layout.items, sprites, strict=True):
        _cast_shadow(picture, item, rgba[..., 3], layout, size)
    objects, parts = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    for item, (rgba, part) in zip(layout.items, sprites, strict=True):
        _paste(picture, objects, parts, item, rgba, part)
    cast = sorted((item for item in layout.items if item.label), key=lambda item: item.label)
    return Scene(
        _developed(dice, picture),
        objects,
        tuple(item.cls for item in cast),
        parts,
        PARTS[cls],
        frozenset((item.cls, item.view) for item in cast),
    )


def _checked(cls: str, index: int, allowed: Iterable[str], size: int) -> list[str]:
    """List the classes that distractors may have, in order; ValueError on bad arguments."""
    allowed = {allowed} if isinstance(allowed, str) else set(allowed)
    unknown = sorted({cls, *allowed} - set(CLASSES))
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}; known: {', '.join(CLASSES)}")
    if index < 0:
        raise ValueError(f"scene index {index} is negative; scenes count from 0")
    if size < LEAST_SIZE:
        raise ValueError(f"size {size} is too small for a scene; the least is {LEAST_SIZE}")
    others = [name for name in CLASSES if name in allowed and name != cls]
    if not others:
        raise ValueError(f"allowed holds no class besides the target {cls!r}: no distractors left")
    return others


# -- layout -------------------------------------------------------------------------------------


def _item(atlas: Atlas, cls: str, view: int, label: int, span: float, lit: int) -> _Item:
    """Make an item whose longer side is `span`, not yet placed."""
    height, width = atlas.shape(cls, view)
    longest = max(height, width)
    flip = atlas.lit(cls, view) != lit
    return _Item(cls, view, label, 0.0, 0.0, span * width / longest, span * height / longest, flip)


def _target(atlas: Atlas, dice: Dice, seed: int, cls: str, index: int, edge: float,
            lit: int) -> _Item:  # fmt: skip
    """Put the target in its place: any view in turn, never too small to learn from."""
    order = Dice("order", seed, cls).shuffled(range(atlas.count(cls)))
    view = order[index % len(order)]
    item = _item(atlas, cls, view, 1, dice.between(0.38, 0.81), lit)
    share = float((atlas.view(cls, view).alpha >= 128).mean()) * item.width * item.height
    span = max(item.width, item.height)
    grown = min(0.81, span * max(1.0, (0.075 / share) ** 0.5))
    item = _item(atlas, cls, view, 1, grown, lit)
    return _placed(dice, item, edge, dice.between(-0.08, 0.0))


def _placed(dice: Dice, item: _Item, edge: float, out: float) -> _Item:
    """Put the item on the floor: inside, or up to `-out` beyond the picture's border."""
    least = max(edge + 0.07, item.height + out)
    foot = dice.between(least, max(least + 0.02, 1.0 - out * 0.7))
    return replace(item, left=dice.between(out, 1.0 - out - item.width), foot=foot)


def _lay_out(atlas: Atlas, seed: int, cls: str, index: int, others: list[str]) -> _Layout:
    stage = Dice("stage", seed, cls, index)
    edge, lit = stage.between(0.34, 0.62), stage.pick((-1, 1))
    items = [_target(atlas, stage, seed, cls, index, edge, lit)]
    least = stage.between(*_TARGET_SEEN)  # some scenes are easy, some hide much of the target
    cast = Dice("cast", seed, cls, index, "|".join(others))
    names = cast.shuffled(others)[: cast.pick((1, 2, 2, 3))]
    for label, name in enumerate(names, 2):
        items = _joined(atlas, cast, items, name, label, edge, lit, least)
    for _ in range(cast.below(4)):
        items = _joined(atlas, cast, items, cast.pick(CLUTTER), 0, edge, lit, least)
    return _Layout(tuple(items), edge, lit)


def _joined(atlas: Atlas, dice: Dice, items: list[_Item], cls: str, label: int, edge: float,
            lit: int, least: float) -> list[_Item]:  # fmt: skip
    """Add one more toy where everything stays visible; unchanged if there is no room."""
    view = dice.below(atlas.count(cls))
    low, high = (0.36, 0.75) if label else (0.1, 0.26)
    first = label == 2  # every scene has a distractor: try long, then smaller and less choosy
    for attempt in range(400 if first else 12):
        late = attempt >= 40
        span = dice.between(low, max(low, high * 0.97**attempt)) * (0.6 if late else 1.0)
        item = _placed(dice, _item(atlas, cls, view, label, span, lit), edge, -0.1)
        # Farther things stand higher in the picture and are painted first.
        tried = sorted([*items, item], key=lambda each: each.foot)
        if _all_seen(atlas, tried, _TARGET_SEEN[0] if late else least):
            return tried
    return items


def _all_seen(atlas: Atlas, items: list[_Item], least: float) -> bool:
    """Does every labelled item show enough of itself, judged on a small grid?"""
    front = np.zeros((_JUDGED, _JUDGED), np.uint8)
    whole = {}
    for place, item in enumerate(items, 1):
        alpha, box = _silhouette(atlas, item), _box(item, _JUDGED)
        whole[place] = int(alpha.sum())
        (rows, columns), (inner_rows, inner_columns) = _clipped(box, _JUDGED)
        front[rows, columns][alpha[inner_rows, inner_columns]] = place
    seen = np.bincount(front.ravel(), minlength=len(items) + 1)
    for place, item in enumerate(items, 1):
        if item.label:
            share, area = seen[place] / max(1, whole[place]), seen[place] / _JUDGED**2
            target = item.label == 1
            wanted = (least, _TARGET_AREA) if target else (_OTHER_SEEN, _OTHER_AREA)
            if share < wanted[0] or area < wanted[1]:
                return False
    return True


def _silhouette(atlas: Atlas, item: _Item) -> Array:
    """Draw the item's silhouette at the judging resolution: bool, nearest pixels."""
    alpha = atlas.view(item.cls, item.view).alpha
    _, _, width, height = _box(item, _JUDGED)
    rows = np.arange(height) * alpha.shape[0] // height
    columns = np.arange(width) * alpha.shape[1] // width
    columns = columns[::-1] if item.flip else columns
    return alpha[rows[:, None], columns] >= 128


def _box(item: _Item, size: int) -> tuple[int, int, int, int]:
    """Round to left, top, width and height in pixels."""
    width, height = max(1, round(item.width * size)), max(1, round(item.height * size))
    return round(item.left * size), round(item.foot * size) - height, width, height


def _clipped(box: tuple[int, int, int, int], size: int) -> tuple:
    """Find the slices of the picture and of the sprite where a box lies inside the picture."""
    left, top, width, height = box
    x0, x1 = max(0, left), min(size, left + width)
    y0, y1 = max(0, top), min(size, top + height)
    x1, y1 = max(x0, x1), max(y0, y1)
    outer = slice(y0, y1), slice(x0, x1)
    return outer, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


# -- painting -----------------------------------------------------------------------------------


def _grown(parts: Array) -> Array:
    """Spread part numbers into the uncovered pixels around them, so that resizing finds one."""
    out = parts.copy()
    for axis in (0, 1, 0, 1, 0, 1):
        for shift in (1, -1):
            out = np.where(out == 0, np.roll(out, shift, axis), out)
    return out


def _sprite(atlas: Atlas, item: _Item, size: int) -> tuple[Array, Array]:
    """Draw an item as in the picture: colours and coverage uint8 (h, w, 4), parts uint8 (h, w)."""
    _, _, width, height = _box(item, size)
    longest = max(width, height)
    # Never blown up: beyond the atlas's scale the view is rendered at the size needed.
    view = atlas.view(item.cls, item.view, longest if longest > atlas.scale else None)
    image = Image.fromarray(np.dstack([view.rgb, view.alpha]))
    rgba = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    parts = np.zeros((height, width), np.uint8)
    if item.label == 1:
        grown = Image.fromarray(_grown(view.parts))
        parts = np.asarray(grown.resize((width, height), Image.Resampling.NEAREST))
        parts = np.where(rgba[..., 3] >= 128, parts, 0).astype(np.uint8)
    return (rgba[:, ::-1], parts[:, ::-1]) if item.flip else (rgba, parts)


def _cast_shadow(picture: Array, item: _Item, alpha: Array, layout: _Layout, size: int) -> None:
    """Darken the floor where the toy stands and, as a slanted flat copy, away from the light."""
    left, top, width, height = _box(item, size)
    flat = max(2, round(height * 0.3))
    lean = -layout.lit * 0.55
    pad = round(0.06 * size) + 2
    reach = round(abs(lean) * height) + pad
    canvas = Image.new("L", (width + 2 * reach, flat + 2 * pad))
    squashed = Image.fromarray(np.ascontiguousarray(alpha)).resize((width, flat))
    canvas.paste(squashed, (reach, pad))
    shear = lean * height / flat
    slanted = canvas.transform(
        canvas.size, Image.Transform.AFFINE, (1, shear, -shear * (pad + flat), 0, 1, 0),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    slanted = slanted.filter(ImageFilter.GaussianBlur(0.012 * size))
    close = canvas.resize((canvas.width, flat // 3 + 2 * pad))
    close = close.filter(ImageFilter.GaussianBlur(0.008 * size))
    foot = top + height
    _darken(picture, slanted, left - reach, foot - flat - pad, 0.42)
    _darken(picture, close, left - reach, foot - close.height + pad + 1, 0.3)


def _darken(picture: Array, shade: Image.Image, left: int, top: int, depth: float) -> None:
    """Multiply the picture by a shadow (255 is full shadow, taking away the share `depth`)."""
    size = len(picture)
    outer, inner = _clipped((left, top, shade.width, shade.height), size)
    share = np.asarray(shade, np.float32)[inner] * np.float32(depth / 255)
    picture[outer] *= (1 - share)[..., None]


def _paste(picture: Array, objects: Array, parts: Array, item: _Item, rgba: Array,
           part: Array) -> None:  # fmt: skip
    """Put a sprite on top of the picture and its masks, in place."""
    outer, inner = _clipped(_box(item, len(picture)), len(picture))
    sprite = rgba[inner]
    rgb, cover = np.split(sprite.astype(np.float32) / np.float32(255), [3], -1)
    picture[outer] += (rgb - picture[outer]) * cover
    solid = sprite[..., 3] >= 128
    objects[outer][solid] = item.label
    parts[outer][solid] = part[inner][solid]


def _developed(dice: Dice, picture: Array) -> Array:
    """Play the camera's part: brightness, tint, contrast, vignette and a little noise; uint8."""
    size = len(picture)
    gain, contrast, dusk = dice.between(0.86, 1.14), dice.between(0.88, 1.14), dice.between(0, 0.5)
    tint = [gain * dice.between(0.94, 1.06) for _ in range(3)]
    noise, salt = dice.between(0.008, 0.035), dice.below(1 << 20)
    line = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size) - 0.5
    corner = (line * line)[:, None] + line * line
    out = picture * np.array(tint, np.float32) * (1 - dusk * corner)[..., None]
    out = (out - 0.45) * contrast + 0.45
    x = np.arange(3 * size, dtype=np.int32)
    y = np.arange(size, dtype=np.int32)[:, None]
    speck = lattice(x, y, np.zeros(1, np.int32), salt) + lattice(x, y, np.ones(1, np.int32), salt)
    out = out + (speck - 1).reshape(size, size, 3) * np.float32(noise)
    return np.round(np.clip(out, 0, 1) * 255).astype(np.uint8)
