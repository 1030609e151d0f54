"""The explorers: controls only change a picture, and the picture is its static twin's."""

import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scl.course.draw import to_bytes
from scl.course.explorers.finding import finding_explorer, finding_figure, finding_look
from scl.course.explorers.found_lost import (
    found_lost_explorer,
    found_lost_query_figure,
    look,
)
from scl.course.explorers.fusion import LEFT_OUT, fusion_explorer, fusion_figure, fusion_look
from scl.course.explorers.losses import loss_explorer, loss_figure, read_stored, spread
from scl.course.notebooks import Outcome, run_notebook
from scl.course.spoil import SPOILS, spoil_mask
from scl.course.widgets import message_figure
from scl.datasets.fit import Fit
from scl.evaluation.finder import Finder
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.study.grid import GUIDED, Experiment
from tests.helpers.models import Stages, texts
from tests.helpers.notebooks import notebook_of

RUNS, AT_ONCE, RUN_SECONDS = 20, 2, 600  # so long that only one that hangs is stopped


def write_results(folder: Path) -> Path:
    """A few cells as the runner stores them: v_s and scl of fold 0, and of fold 1 one seed."""
    rng = np.random.default_rng(0)
    for variant, names in (("v_s", ("q",)), ("scl", ("q", "s1", "s2"))):
        for fold, seed in ((0, 0), (0, 1), (0, 2), (1, 0)):
            curve = [
                {"step": 20 * i, **{n: float(rng.uniform(0.1, 0.7)) for n in names}, "total": 1.0}
                for i in range(1, 6)
            ]
            put(folder, Experiment("canet", variant, fold, seed), {"curve": curve})
        ladder = [
            {"steps": s, "base": 0.2 + s / 1000, "validation": 0.3, "novel": 0.3 - s / 1000}
            for s in (25, 50, 100)
        ]
        put(folder, Experiment("canet", variant, 0, 0, "plateau"), {"ladder": ladder})
    # Cells of an earlier form, without curves or without steps in them.
    put(folder, Experiment("canet", "pri", 0, 0), {"scores": {}})
    put(folder, Experiment("canet", "aux", 0, 0), {"curve": [{"q": 0.5, "seconds": 1}]})
    return folder


def put(folder: Path, experiment: Experiment, record: dict) -> None:
    path = experiment.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def boxes(world, results):
    toys, made, banks, guides, one, three = world
    return {
        "found/lost": found_lost_explorer(guides, toys, banks["canet"], one),
        "fusion": fusion_explorer(made["canet"], toys, banks["canet"], three),
        "loss": loss_explorer(results),
        "finding": finding_explorer(similar(), toys, three.supports, three.query),
    }


def similar():
    """A finder on an untrained model of similarity maps, the same every time."""
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=0, width=8))
    return Finder(model, Fit(64, "whole"), device="cpu")


def twin(world, results, name: str, values: dict):
    """The static figure for the values of an explorer's controls."""
    toys, made, banks, guides, one, three = world
    if name == "loss":
        return loss_figure(read_stored(results), **values)
    if name == "finding":
        kinds = tuple(values.values())
        return finding_figure(finding_look(similar(), toys, three.supports, three.query, kinds))
    if name == "fusion":
        kinds = tuple(values.values())
        return fusion_figure(fusion_look(made["canet"], toys, banks["canet"], three, kinds))
    of_class = [e for e in one if toys.classes[e.label] == values["label"]]
    episode, guide = of_class[values["episode"] - 1], guides[values["guide"]]
    return found_lost_query_figure(look(guide, toys, banks["canet"], episode, values["threshold"]))


def options(control) -> list:
    """The values a control offers, without their names."""
    return [v[1] if isinstance(v, tuple) else v for v in control.options]


# ------------------------------------------------------------------- spoiling

blobs = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))).filter(np.any)


@given(blobs, st.sampled_from(SPOILS), st.integers(0, 5))
def test_a_spoiled_mask_is_a_mask_and_never_empty(mask, kind, seed):
    before, other = mask.copy(), np.ones(mask.shape)
    out = spoil_mask(mask, kind, other, np.random.default_rng(seed))
    assert out.dtype == np.uint8 and out.shape == mask.shape and set(np.unique(out)) <= {0, 1}
    assert out.any() and np.array_equal(mask, before)
    assert np.array_equal(out, spoil_mask(mask, kind, other, np.random.default_rng(seed)))


@given(blobs, st.integers(0, 5))
def test_shrunk_keeps_a_third_and_a_box_keeps_the_area(mask, seed):
    area = mask.sum()
    small = spoil_mask(mask, "eroded", None, np.random.default_rng(seed))
    assert small.sum() == max(1, round(area / 3)) and not (small & ~mask).any()
    box = spoil_mask(mask, "random box", None, np.random.default_rng(seed))
    rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
    assert box.sum() == len(rows) * len(columns) == np.ptp(rows[[0, -1]] + [0, 1]) * len(columns)
    assert abs(int(box.sum()) - int(area)) <= len(rows) / 2


@given(blobs, st.integers(0, 5), st.integers(8, 12))
def test_shifted_is_the_same_shape_a_third_of_its_side_away(mask, seed, margin):
    wide = np.pad(mask, margin)
    moved = spoil_mask(wide, "shifted", None, np.random.default_rng(seed))
    where, there = np.argwhere(wide), np.argwhere(moved)
    step = max(1, round((np.ptp(where, axis=0).max() + 1) / 3))
    shift = there[0] - where[0]
    assert np.array_equal(there - where, np.broadcast_to(shift, where.shape))
    assert sorted(np.abs(shift)) == [0, step]
    tight = spoil_mask(mask, "shifted", None, np.random.default_rng(seed))
    assert tight.sum() == mask.sum(), "nothing may leave the picture"


def test_erosion_keeps_the_middle():
    disc = np.hypot(*(np.indices((41, 41)) - 20)) < 15
    small = spoil_mask(disc, "eroded", None, np.random.default_rng(0))
    assert small[20, 20] and np.abs(np.argwhere(small) - 20).max() <= 11


def test_what_cannot_be_spoiled_says_why():
    mask, rng = np.eye(4, dtype=np.uint8), np.random.default_rng(0)
    with pytest.raises(ValueError, match="no object but its target"):
        spoil_mask(mask, "wrong object", None, rng)
    with pytest.raises(ValueError, match="expected one of"):
        spoil_mask(mask, "blurred", None, rng)
    with pytest.raises(ValueError, match="shows no object"):
        spoil_mask(mask * 0, "eroded", None, rng)
    assert spoil_mask(mask, "wrong object", 1 - mask, rng).sum() == 12


# -------------------------------------------------------------- what is shown


def test_stored_curves_are_drawn_as_they_are_stored(results):
    stored = read_stored(results)
    assert len(stored.curves) == 8 and set(stored.ladders) == {("v_s", 0), ("scl", 0)}
    left, right = loss_figure(stored, "scl", 0, "all").axes
    means = [line for line in left.lines if line.get_linewidth() > 1]
    assert [line.get_linestyle() for line in means] == ["-", "--", ":"] and len(left.lines) == 12
    mean = np.mean([[r["s1"] for r in stored.curves["scl", 0, s]] for s in range(3)], axis=0)
    assert np.allclose(means[1].get_ydata(), mean)
    assert np.allclose(right.lines[0].get_ydata(), [22.5, 25, 30])
    assert [t.get_text() for t in right.get_xticklabels()] == ["25", "50", "100"]


@pytest.mark.parametrize("variant", GUIDED)
@pytest.mark.parametrize("fold,seed", [(0, 0), (1, "all"), (3, "all")])
def test_missing_cells_are_said_to_be_missing(results, variant, fold, seed):
    figure = loss_figure(read_stored(results), variant, fold, seed)
    has_curve = variant in ("v_s", "scl") and fold < 2
    assert texts(figure).count("not run yet") == (not has_curve) + (fold > 0)


def test_nothing_stored_is_no_error(tmp_path):
    assert texts(loss_figure(read_stored(tmp_path))).count("not run yet") == 2


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5), st.floats(0.01, 3))
def test_names_at_line_ends_stay_apart(values, gap):
    values = sorted(values)
    places = spread(values, gap)
    assert (np.diff(places) >= gap - 1e-9).all()
    if (np.diff(values) >= gap).all():
        assert np.allclose(places, values)


# -------------------------------------------------------------------- widgets


@pytest.mark.parametrize("name", ["found/lost", "fusion", "loss", "finding"])
def test_every_control_changes_the_picture_into_its_twins(boxes, world, results, name):
    box = boxes[name]
    for control in box.controls.values():
        before, start = box.picture.value, control.index
        control.index = 0 if start else 1
        values = {n: c.value for n, c in box.controls.items()}
        assert box.picture.value == to_bytes(twin(world, results, name, values)) != before
        control.index = start
        assert box.picture.value == before


@pytest.mark.parametrize("name", ["found/lost", "fusion", "loss", "finding"])
def test_controls_are_named_rest_before_they_report_and_can_be_called(boxes, name):
    box = boxes[name]
    for control in box.controls.values():
        assert control.description and getattr(control, "continuous_update", False) is False
    # An Image with a tooltip is a JavaScript error in JupyterLab (ipywidgets 8.1).
    assert inspect.isfunction(box.react) and box.picture.tooltip is None
    before, first = box.picture.value, next(iter(box.controls.values()))
    other = next(value for value in options(first) if value != first.value)
    box.react({"new": other, "owner": first})
    assert box.picture.value != before
    box.react({"new": first.value})
    assert box.picture.value == before


def test_what_cannot_be_drawn_is_said_in_the_pictures_place(boxes):
    box = boxes["fusion"]
    start = box.picture.value
    for control in box.controls.values():
        control.value = LEFT_OUT
    words = "Every support is left out, so nothing guides: put at least one back."
    assert box.picture.value == to_bytes(message_figure(words))
    for control in box.controls.values():
        control.value = "clean"
    assert box.picture.value == start


def test_an_explorer_of_nothing_is_refused(world):
    toys, _, banks, guides, one, _ = world
    with pytest.raises(ValueError, match="expected one of each"):
        found_lost_explorer(guides, toys, banks["canet"], [])


# ----------------------------------------------------------------- in a notebook

CELLS = (
    """
RESULTS = "?"
""",
    """
from scl.course import found_lost_explorer, fusion_explorer, loss_explorer
from scl.datasets import FeatureBank, ToyshopSet
from scl.method import EpisodeSampler
from scl.models import EfficientNetLite0, ModelConfig, build_model, cosine_guides
from scl.toyshop import Atlas

backbone = EfficientNetLite0()
toys = ToyshopSet(Atlas.load(), (10, 13), 3, seed=1, size=64)
model = build_model(ModelConfig(d=8), 0, backbone)
bank = FeatureBank(model, toys)
episodes, pair = EpisodeSampler(toys, 1).fixed(6, 0), EpisodeSampler(toys, 2).fixed(1, 0)[0]
""",
    """
guides = {"untrained head": model, **cosine_guides(backbone)}
first = found_lost_explorer(guides, toys, bank, episodes)
first
""",
    """
second = fusion_explorer(model, toys, bank, pair)
second
""",
    """
third = loss_explorer(RESULTS)
third
""",
    """
for box in (first, second, third):
    control, before = list(box.controls.values())[-1], box.picture.value
    control.index = 1
    assert box.picture.value != before
print("three widgets, each moved once")
""",
)


@pytest.mark.notebook
@pytest.mark.slow
def test_the_widgets_never_hang_a_headless_run(tmp_path, results):
    path = tmp_path / "widgets.ipynb"
    path.write_text(json.dumps(notebook_of(CELLS)))

    def run(number: int) -> Outcome:
        out = tmp_path / str(number)
        given = [("RESULTS", str(results))]
        return run_notebook(path, out, given, RUN_SECONDS)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for outcome in pool.map(run, range(RUNS)):
            assert outcome.ok, outcome.error
            assert outcome.headline == "three widgets, each moved once"
