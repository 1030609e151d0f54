"""The two-colour world: one average fails there, two vectors do not, and it says so truly."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scl.course
from scl.course.twocolours import (
    FIRST_CUT,
    ONE_COLOUR,
    TWO_COLOURS,
    Colours,
    TwoColours,
    by_average,
    by_two,
    middle_cosines,
    two_colours,
    two_colours_figure,
    what_we_saw,
)
from scl.method.fusion import pair_iou
from tests.helpers.models import texts

numbers = st.tuples(st.floats(0.1, 1.2), st.floats(0.1, 1.2))
somewhere = st.builds(Colours, numbers, numbers, numbers)


def best_iou(view):
    """The best IoU over all thresholds, each tried."""
    ious = [pair_iou(view.similarity >= t, view.world.mask[0]) for t in view.similarity.unique()]
    return max(ious).item()


def test_one_average_fails_and_two_vectors_find_every_cell():
    world = two_colours()
    one, two = by_average(world), by_two(world)
    near = middle_cosines(one)
    assert near["wallpaper"] > near["shade"] > near["foot"]
    wanted = {"shade": 2 / math.sqrt(5), "foot": 1 / math.sqrt(5), "wallpaper": 3 / math.sqrt(10)}
    assert near == pytest.approx(wanted, abs=0.01)
    assert one.cut.iou == 0.375 == world.mask.mean() and two.cut.iou == 1
    assert by_average(two_colours(ONE_COLOUR)).cut.iou == 1


@given(somewhere, st.floats(0.3, 0.99))
def test_the_cut_is_the_best_of_all_and_the_vectors_are_averages_by_hand(colours, first_cut):
    world = two_colours(colours)
    one, two = by_average(world), by_two(world, first_cut)
    for view in (one, two):
        assert view.cut.iou == pytest.approx(best_iou(view))
        assert best_iou(view) >= 0.375, "everything is always a choice"
    cells = world.features[0].flatten(1).T.numpy()
    lamp, lost = world.mask.flatten().numpy() == 1, two.lost.flatten().numpy() == 1
    v_s = cells[lamp].mean(axis=0)
    assert np.allclose(one.vectors["v_s"], v_s)
    for name, region in (("v_pri", lamp & ~lost), ("v_aux", lost)):
        assert np.allclose(two.vectors[name], cells[region].mean(axis=0) if region.any() else v_s)


def test_a_lamp_of_one_colour_loses_nothing_and_v_s_stands_in():
    view = by_two(two_colours(ONE_COLOUR))
    assert view.lost.sum() == 0 and torch.equal(view.vectors["v_pri"], view.vectors["v_aux"])


@pytest.mark.parametrize(
    "colours,words",
    [
        (TWO_COLOURS, "than to either part of the lamp"),
        (ONE_COLOUR, "to both parts of the lamp than to the wallpaper"),
        (Colours(foot=(0.5, 0.87)), "nearer to the wallpaper than to the foot"),
    ],
)
def test_what_we_saw_follows_from_the_numbers(colours, words):
    view = by_average(two_colours(colours))
    said = what_we_saw(view)
    assert words in said and f"IoU {view.cut.iou:.3f}." in said
    for value in middle_cosines(view).values():
        assert f"{value:.2f}" in said


def test_the_figure_says_its_numbers_and_marks_what_was_lost():
    view = by_two(two_colours())
    figure = two_colours_figure("two vectors", view)
    said = texts(figure)
    assert {"two vectors", "v_pri", "v_aux", "best threshold: IoU 1.000"} <= set(said)
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert sum(len(line.get_xdata()) for line in hollow) == view.lost.sum() == 8


def test_the_control_stands_for_its_view_and_brings_a_still():
    control = TwoColours(ONE_COLOUR)
    assert control.view.cut.iou == 1 and list(control.view.vectors) == ["v_s"]
    control.colours = {"shade": [1, 0], "foot": [0, 1], "wallpaper": [0.5, 0.5]}
    assert control.view.cut.iou == 0.375
    control.vectors = 2
    assert control.view.cut.iou == 1 and control.first_cut == FIRST_CUT
    bundle, told = control._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["image/jpeg"]
    assert "IoU 1.000" in told["image/jpeg"]["alt"]
    json.dumps(bundle)
    with pytest.raises(ValueError, match=r"vectors=3: expected 1 \(v_s\) or 2"):
        TwoColours(vectors=3)
    assert scl.course.TwoColours is TwoColours
