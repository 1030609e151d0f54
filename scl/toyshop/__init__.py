"""Toyshop-5^i: twenty classes of ray-marched toys in four folds, with exact masks.

`Atlas.load()` reads the stored views, `compose` makes scenes of them.
Classes are known by their place in `CLASSES`; which fold holds them out is up to `datasets.folds`.
"""

from .atlas import Atlas, Comparison, agreement, compare, default_folder, rebuild
from .families import CLASSES, CLUTTER, PARTS
from .render import SEED, VERSION, View, render_view
from .scenes import Scene, compose

__all__ = [
    "CLASSES", "CLUTTER", "PARTS", "SEED", "VERSION", "Atlas", "Comparison", "Scene", "View",
    "agreement", "compare", "compose", "default_folder",
    "rebuild", "render_view",
]  # fmt: skip
