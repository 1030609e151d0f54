"""The settings of the paper's systems as one table: the paper, the released code, ours by default.

What a recipe holds is read from the recipes, in both their readings; what no recipe holds (which
episodes, how images are resized, what is counted) is said in words. The rows are settings.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from scl.datasets import items
from scl.evaluation.protocol import ProtocolConfig
from scl.study.paper_tables import ROWS_OF_RECIPES
from scl.study.tables import markdown
from scl.training.launch import AUGMENTS
from scl.training.recipe import Reading, Recipe, read_recipe

HEADER = ["setting", "paper", "released code", "ours by default", "where it is read"]

# What some of the recipes have in common.
GROUPS: dict[str, Callable[[str], bool]] = {
    "PFENet": lambda name: name.endswith("pfenet"),
    "CANet": lambda name: name.endswith("canet"),
    "PASCAL": lambda name: name.startswith("pascal"),
    "COCO": lambda name: name.startswith("coco"),
    "PFENet, PASCAL": lambda name: name.startswith("pascal") and name.endswith("pfenet"),
    "SCL": lambda name: "scl" in name,
    "PFENet alone": lambda name: name in ("pascal-pfenet", "coco-pfenet"),
    "CANet alone": lambda name: name == "pascal-canet",
    "SCL (CANet)": lambda name: name == "pascal-scl-canet",
}


class Setting(NamedTuple):
    """A row: its name, where it is read (module:name), and the cells of its three columns.

    place: of the value, SECTION.NAME of a recipe, "augment.NAME" of what its data.augment names,
    "protocol.NAME" of an evaluation's defaults, or "items.NAME" of its module; "{}" in a cell is
    that value, in the paper's reading, the released one, and by default. of: only recipes of this
    group have it.
    """

    name: str
    read: str
    place: str = ""
    paper: str = "{}"
    released: str = "{}"
    ours: str = "{}"
    of: str = ""


_ROWS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
SETTINGS = tuple(Setting(**row) for row in _ROWS)


def settings_table() -> str:
    """Tabulate every setting: what the paper says, what was released, what is done by default."""
    return markdown(HEADER, [_row(setting) for setting in SETTINGS])


def _row(setting: Setting) -> list[str]:
    columns: tuple[tuple[str, Reading | None], ...] = (
        (setting.paper, "paper"),
        (setting.released, "released"),
        (setting.ours, None),
    )
    cells = [_cell(setting, text, reading) for text, reading in columns]
    module, _, name = setting.read.partition(":")
    return [setting.name, *cells, f"`{name}` of [{module}]({_file(module)})"]


def _file(module: str) -> str:
    """Where a module lies, as seen from docs/; a package is its folder."""
    found = find_spec(module)
    package = found is not None and found.submodule_search_locations is not None
    return f"../{module.replace('.', '/')}" + ("" if package else ".py")


def _cell(setting: Setting, text: str, reading: Reading | None) -> str:
    """Write a column's text, with the value of every group of recipes that share one."""
    if "{}" not in text:
        return text
    among = [name for name in ROWS_OF_RECIPES if not setting.of or GROUPS[setting.of](name)]
    found: dict[str, set[str]] = {}
    for name in among:
        found.setdefault(_value(_read(name, reading), setting.place), set()).add(name)
    if len(found) == 1:
        return text.format(*found)
    parts = (f"{_group(names, among)}: {value}" for value, names in found.items())
    return text.format("; ".join(parts))


def _group(names: set[str], among: list[str]) -> str:
    for group, holds in GROUPS.items():
        if {name for name in among if holds(name)} == names:
            return group
    return ", ".join(f"`{name}`" for name in sorted(names))


@cache
def _read(name: str, reading: Reading | None) -> Recipe:
    return read_recipe(name, reading=reading)


def _value(recipe: Recipe, place: str) -> str:
    """Write the value at SECTION.NAME; what differs between supports and queries, says both."""
    section, _, path = place.partition(".")
    if section == "augment":
        support, query = (_word(attrgetter(path)(a)) for a in AUGMENTS[recipe.data.augment])
        return support if support == query else f"{support} (supports), {query} (queries)"
    others: dict[str, Any] = {"protocol": ProtocolConfig(), "items": items}
    return _word(attrgetter(path)(others.get(section) or getattr(recipe, section)))


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"`{value}`" if isinstance(value, str) else str(value)
