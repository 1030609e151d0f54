"""What the toyshop holds: the names of toys, clutter and parts, and what a picture of one is.

Here and not beside the renderer, which only those import who render.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dice import Array

#: The renderer's version: raise it whenever pictures change, so that old atlases are told apart.
VERSION = 1
#: The seed of the atlas in data/.
SEED = 2021

CLUTTER = ("block", "ball", "ring", "cone")

#: Part names of every class, clutter too; part j of a class has id j + 1 in its pictures.
PARTS: dict[str, tuple[str, ...]] = {
    "mug": ("cup", "handle", "band", "drink"),
    "rocket": ("hull", "nose", "fins", "window", "engine"),
    "table": ("top", "legs", "frame", "cloth"),
    "duck": ("body", "head", "wings", "bill", "eyes"),
    "hammer": ("head", "face", "claw", "handle", "grip"),
    "snowman": ("snow", "hat", "scarf", "nose", "coals", "arms"),
    "car": ("body", "roof", "windows", "wheels", "hubs", "lamps"),
    "umbrella": ("canopy", "shaft", "crook", "ferrule"),
    "bottle": ("glass", "label", "collar", "cap"),
    "house": ("walls", "roof", "door", "windows", "chimney"),
    "lamp": ("shade", "trim", "bulb", "pole", "base"),
    "plane": ("hull", "wings", "tail", "cockpit", "engines"),
    "mushroom": ("cap", "spots", "gills", "ring", "stem"),
    "chair": ("seat", "cushion", "back", "legs"),
    "fish": ("body", "face", "tail", "fins", "eyes", "pupils"),
    "fir tree": ("needles", "trunk", "baubles", "star", "pot"),
    "dumbbell": ("grip", "plates", "ends", "collars"),
    "robot": ("head", "eyes", "antenna", "body", "panel", "arms", "legs"),
    "ice cream": ("cone", "scoop", "second scoop", "sauce", "cherry", "wafer"),
    "flower": ("petals", "centre", "stem", "leaves", "pot"),
    **dict.fromkeys(CLUTTER, ("body",)),
}

#: The twenty classes in order: fold i holds out CLASSES 5i .. 5i + 4.
CLASSES = tuple(name for name in PARTS if name not in CLUTTER)


@dataclass(frozen=True)
class View:
    """One picture of one toy.

    rgb: uint8 (H, W, 3), zero where nothing is covered; alpha: uint8 (H, W), share of the pixel
    covered; parts: uint8 (H, W), 0 for none and j + 1 for part j, set exactly where alpha >= 128;
    lit: -1 if the light comes from the left, +1 from the right.
    """

    rgb: Array
    alpha: Array
    parts: Array
    lit: int
