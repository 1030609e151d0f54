"""Toyshop-5^i: twenty classes of ray-marched toys in four folds, with exact masks.

`Atlas.load()` reads the stored views, `compose` makes scenes of them, `contact_sheet` shows them.
Class ids are 1 .. 20 in the order of `CLASSES`; fold i holds out `fold_classes(i)`.
"""

from .atlas import Atlas, Comparison, agreement, compare, default_folder, rebuild
from .families import CLASSES, CLUTTER, PARTS
from .render import SEED, VERSION, View, render_view
from .scenes import Scene, compose
from .sheet import contact_sheet, tinted

__all__ = [
    "CLASSES", "CLUTTER", "PARTS", "SEED", "VERSION", "Atlas", "Comparison", "Scene", "View",
    "agreement", "compare", "compose", "contact_sheet", "default_folder", "fold_classes",
    "rebuild", "render_view", "tinted",
]  # fmt: skip


def fold_classes(fold: int) -> tuple[str, ...]:
    """The five classes held out by a fold (0 .. 3)."""
    if fold not in range(4):
        raise ValueError(f"fold {fold} is not one of 0, 1, 2, 3")
    return CLASSES[5 * fold : 5 * fold + 5]
