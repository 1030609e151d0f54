"""The table of settings: no cell empty, values from the recipes, every row is read somewhere."""

import re
from dataclasses import fields

import pytest

from scl.datasets.registry import resolve
from scl.study.pages import fill
from scl.study.paper_tables import ROWS_OF_RECIPES
from scl.study.settings import GROUPS, HEADER, SETTINGS, settings_table
from scl.training.augment import AugmentConfig
from scl.training.launch import AUGMENTS
from scl.training.recipe import SECTIONS, read_recipe

ROWS = {
    row[0]: dict(zip(HEADER, row, strict=True))
    for row in (
        [cell.strip() for cell in line[1:-1].split("|")]
        for line in settings_table().splitlines()[2:]
    )
}


def test_no_cell_is_empty():
    assert len(ROWS) == len(SETTINGS)
    for row in ROWS.values():
        assert all(row.values()), row
        assert not any("None" in cell or "{" in cell for cell in row.values()), row


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_each_setting_is_read_where_the_table_says(setting):
    module, _, path = setting.read.partition(":")
    first, *rest = path.split(".")
    owner = resolve(f"{module}:{first}")
    for name in rest:
        owner = getattr(owner, name)
    assert callable(owner)


def test_values_are_those_of_the_recipes():
    rate = ROWS["learning rate"]
    assert rate["paper"] == "CANet: 0.00025; PFENet: 0.0025 (Section 5.1)"
    assert rate["released code"] == "CANet: 0.0025; PFENet, PASCAL: 0.025; COCO: 0.2"
    assert rate["ours by default"] == "CANet: 0.00025; PFENet: 0.0025"
    assert ROWS["drop-out of the history"]["released code"] == "CANet alone: 0.7; SCL: 0.9"
    assert ROWS["scaled by"]["released code"].endswith("COCO: 0.8, 1.25")
    assert ROWS["the checkpoint is chosen by"]["released code"] == "`novel`"


def _plain(values: dict, place: str = "") -> dict:
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _plain(value, f"{place}{name}.")
        else:
            found[place + name] = value
    return found


def test_whatever_the_readings_differ_in_has_a_row():
    """Rules have a table of their own; here stand those that training and resizing follow."""
    places = {setting.place for setting in SETTINGS}
    for name in ROWS_OF_RECIPES:
        paper, released = (read_recipe(name, reading=r) for r in ("paper", "released"))
        one, other = _plain(paper.to_dict()), _plain(released.to_dict())
        differ = {place for place in one if one[place] != other[place]}
        assert {p for p in differ if not p.startswith("model.rules.")} - places <= {
            "as",
            "data.augment",  # its values have rows
        }
        pairs = zip(AUGMENTS[paper.data.augment], AUGMENTS[released.data.augment], strict=True)
        for a, b in pairs:
            for field in fields(AugmentConfig):
                same = getattr(a, field.name) == getattr(b, field.name)
                assert same or field.name == "size" or f"augment.{field.name}" in places


def test_every_place_is_a_place():
    known = {*SECTIONS, "augment", "protocol", "items", ""}
    assert {setting.place.partition(".")[0] for setting in SETTINGS} <= known
    assert {setting.of for setting in SETTINGS} <= {*GROUPS, ""}


def test_a_page_gets_the_table():
    page = fill("<!-- table settings -->\n<!-- end -->")
    assert re.search(r"\| learning rate \|.*make_optimiser", page)
