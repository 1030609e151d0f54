"""Toyshop-5^i: twenty classes of ray-marched toys in four folds, with exact masks.

May import nothing of the package. `Atlas.load()` reads the stored views, `compose` makes scenes of
them; the renderer (render, families, materials, sdf) is imported when a view has to be rendered.
"""

from typing import Any

from .atlas import Atlas, default_folder
from .catalogue import CLASSES, CLUTTER, PARTS, SEED, VERSION, View
from .scenes import Scene, compose

_RENDERS = {
    **dict.fromkeys(("Comparison", "agreement", "compare", "rebuild"), "remake"),
    "render_view": "render",
}
__all__ = [
    "CLASSES", "CLUTTER", "PARTS", "SEED", "VERSION", "Atlas", "Scene", "View", "compose",
    "default_folder", *_RENDERS,
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _RENDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_RENDERS[name]}"), name)
