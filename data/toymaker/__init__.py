"""The program that made the views in data/: it renders toys, and writes or compares whole atlases.

May import `scl.toyshop` alone, which in turn imports it when a view has to be rendered.
"""

from .remake import Comparison, agreement, compare, rebuild
from .render import render_view

__all__ = ["Comparison", "agreement", "compare", "rebuild", "render_view"]
