"""The contact sheet: scenes of every class with their masks below, one column a fold.

python docs/figures/contact_sheet.py results/figures/toyshop.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scl.datasets.folds import FOLDS, fold_of
from scl.evaluation.overlay import BLUE, GREY, ORANGE, overlay
from scl.files import write_atomically
from scl.toyshop import CLASSES, Atlas, compose

_GAP, _LABEL = 10, 20


def _block(atlas: Atlas, cls: str, seed: int, count: int, size: int) -> Image.Image:
    """One class: `count` scenes in a row, masks below, the name above."""
    block = Image.new("RGB", (count * size, _LABEL + 2 * size), "white")
    pen, font = ImageDraw.Draw(block), ImageFont.load_default(14)
    pen.text((1, 1), cls, BLUE, font)
    fold = fold_of(CLASSES.index(cls), len(CLASSES))
    pen.text((count * size - 1, 1), f"fold {fold}", GREY, font, "ra")
    for i in range(count):
        # Composed larger and reduced: the sheet shows the masks' outlines, not their pixels.
        scene = compose(atlas, seed, cls, i, size=max(size, 128))
        for row, picture in enumerate((scene.image, overlay(scene.image, {ORANGE: scene.mask}))):
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
    rows = len(CLASSES) // FOLDS
    sheet = Image.new("RGB", (FOLDS * wide + _GAP, rows * tall + _GAP), "white")
    for i, block in enumerate(blocks):
        fold, row = divmod(i, rows)
        sheet.paste(block, (_GAP + fold * wide, _GAP + row * tall))
    return sheet


if __name__ == "__main__":
    picture = contact_sheet(Atlas.load())
    write_atomically(Path(sys.argv[1]), lambda path: picture.save(path, "JPEG", quality=88))
