"""Toyshop-5^i: twenty classes of ray-marched toys in four folds, with exact masks.

May import nothing of the package. `Atlas.load()` reads the stored views, `compose` makes scenes of
them; `toymaker`, the program in data/ that made the views, is imported when one must be rendered.
"""

from .atlas import Atlas, default_folder
from .catalogue import CLASSES, CLUTTER, PARTS, SEED, VERSION, View
from .scenes import Scene, compose

__all__ = [
    "CLASSES", "CLUTTER", "PARTS", "SEED", "VERSION", "Atlas", "Scene", "View", "compose",
    "default_folder",
]  # fmt: skip
