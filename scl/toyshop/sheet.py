"""The contact sheet: scenes of every class with their masks below, one column a fold."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .atlas import Atlas
from .families import CLASSES
from .scenes import Scene, compose

_BLUE = (0, 114, 178)
_ORANGE = (230, 159, 0)
_GAP, _LABEL = 10, 20


def tinted(scene: Scene) -> np.ndarray:
    """The scene dimmed to grey with the target in orange, outlined: uint8 (H, W, 3)."""
    grey = scene.image.astype(np.float32).mean(-1, keepdims=True)
    mask = scene.mask.astype(bool)
    tone = np.array(_ORANGE, np.float32) * (0.45 + 0.55 * grey / 255) * 0.75 + grey * 0.25
    out = np.where(mask[..., None], tone, grey * 0.35)
    wide = np.pad(mask, 1, mode="edge")
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    out[mask & ~inner] = (255, 255, 255)
    return np.round(out).astype(np.uint8)


def _block(atlas: Atlas, cls: str, seed: int, count: int, size: int) -> Image.Image:
    """One class: `count` scenes in a row, masks below, the name above."""
    block = Image.new("RGB", (count * size, _LABEL + 2 * size), "white")
    fold, font = CLASSES.index(cls) // 5, ImageFont.load_default(14)
    name = f"{CLASSES.index(cls) + 1}  {cls}"
    ImageDraw.Draw(block).text((1, 1), name, _BLUE, font)
    ImageDraw.Draw(block).text((count * size - 1, 1), f"fold {fold}", (110,) * 3, font, "ra")
    for i in range(count):
        # Composed larger and reduced: the sheet shows the masks' outlines, not their pixels.
        scene = compose(atlas, seed, cls, i, size=max(size, 128))
        for row, picture in enumerate((scene.image, tinted(scene))):
            small = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
            block.paste(small, (i * size, _LABEL + row * size))
    return block


def contact_sheet(atlas: Atlas, seed: int = 0, per_class: int = 4, size: int = 96) -> Image.Image:
    """Scenes of the twenty classes with their target masks below.

    Folds run from left to right, classes from top to bottom; `size` is a scene's side in pixels.
    With the defaults the sheet is 1586 pixels wide.
    """
    if per_class < 1 or size < 16:
        raise ValueError(f"per_class {per_class} and size {size}: at least 1 and 16 are needed")
    blocks = [_block(atlas, cls, seed, per_class, size) for cls in CLASSES]
    wide, tall = blocks[0].width + _GAP, blocks[0].height + _GAP
    sheet = Image.new("RGB", (4 * wide + _GAP, 5 * tall + _GAP), "white")
    for i, block in enumerate(blocks):
        fold, row = divmod(i, 5)
        sheet.paste(block, (_GAP + fold * wide, _GAP + row * tall))
    return sheet
