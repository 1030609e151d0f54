"""The runner writes a cell once, and the tables read what it wrote."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scl import experiments, tables
from scl.__main__ import main
from scl.experiments import Cell, Protocol, grid, missing, run_cell

TINY = Protocol(
    steps=3,
    tuning_steps=3,
    per_class=4,
    novel_per_class=8,
    one_shot=20,
    five_shot=6,
    held_out=3,
    size=64,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A handful of tiny cells of one fold."""
    results = tmp_path_factory.mktemp("results")
    run_cell(Cell("toyshop", "canet", "scl", 0, 0, stage="tuning"), TINY, results, progress=False)
    for variant in ("foreground", "cosine", "scl"):
        run_cell(Cell("toyshop", "canet", variant, 0, 0), TINY, results, progress=False)
    return results


def test_a_cell_records_what_it_was_made_with(stored):
    record = json.loads(Cell("toyshop", "canet", "scl", 0, 0).path(stored).read_text())
    assert record["protocol"]["steps"] == 3 and record["versions"]["torch"]
    assert record["model"]["guidance"]["vectors"] == ["pri", "aux"]
    assert set(record["scores"]) == {
        "1",
        *(f"5{w} {f}" for w in ("", "-wrong") for f in ("average", "vectors", "cross")),
    }
    one = record["scores"]["1"]
    assert len(one["episodes"]) == 20 and len(one["per_class"]) <= 5
    tuned = json.loads(Cell("toyshop", "canet", "scl", 0, 0, "tuning").path(stored).read_text())
    assert len(tuned["tried"]) == len(experiments.TRIALS) and tuned["best"] in tuned["tried"]


def test_a_device_record_names_the_device_and_its_interval(stored):
    record = json.loads(experiments.device_record("cpu", TINY, stored).read_text())
    low, high = record["interval"]
    assert record["device"] == "one CPU thread" and record["steps_per_second"] > 0
    assert low <= record["novel_miou"] <= high


def test_variants_are_scored_on_the_same_episodes(stored):
    rows = []
    for variant in ("foreground", "cosine", "scl"):
        record = json.loads(Cell("toyshop", "canet", variant, 0, 0).path(stored).read_text())
        rows.append([e[0] for e in record["scores"]["1"]["episodes"]])
    assert rows[0] == rows[1] == rows[2]


def test_a_stored_cell_is_not_computed_again(stored, monkeypatch):
    monkeypatch.setattr(experiments, "world", None)
    cell = Cell("toyshop", "canet", "cosine", 0, 0)
    assert run_cell(cell, TINY, stored) == cell.path(stored)


def test_missing_names_what_is_left(stored, capsys):
    cells = list(grid())
    left = missing(cells, stored)
    assert len(cells) == 4 * 3 + 4 * 3 * 6 and len(left) == len(cells) - 4
    assert main(["run", "--list", "--results", str(stored)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(left)


def test_a_trained_cell_asks_for_its_tuning(tmp_path):
    with pytest.raises(ValueError, match="run the tuning cells first"):
        experiments.settings(Cell("toyshop", "canet", "v_s", 0, 0), tmp_path)


def test_training_and_test_scenes_never_share_a_seed():
    seeds = [2 * s for s in experiments.SEEDS] + [2 * s + 1 for s in experiments.SEEDS]
    assert len(set(seeds)) == len(seeds)


def test_unknown_cells_are_named():
    with pytest.raises(ValueError, match="variant 'sgm'"):
        Cell("toyshop", "canet", "sgm", 0, 0)
    with pytest.raises(ValueError, match="data 'coco'"):
        Cell("coco", "canet", "scl", 0, 0)


def test_tables_say_how_much_is_there(stored, capsys):
    assert main(["table", "--results", str(stored)]) == 0
    text = capsys.readouterr().out
    assert "3 of 72 cells" in text and "cosine to v_s, no training" in text


def runs(gain: float, seeds=3, seed=0) -> tables.Runs:
    """Fake runs whose foreground intersection is `gain` above a common, noisy one."""
    made = {}
    for fold in range(4):
        for s in range(seeds):
            rng = np.random.default_rng((seed, fold, s))
            hits = rng.integers(20, 60, 100) + round(100 * gain)
            labels = np.arange(100) % 5
            rows = np.stack([labels, hits, np.full(100, 100)], axis=1)
            miou = float(np.mean([hits[labels == c].mean() / 100 for c in range(5)]))
            made[fold, s] = {"miou": miou, "fb_iou": miou, "episodes": rows.tolist()}
    return made


def test_a_paired_difference_cancels_the_noise_of_episodes():
    difference = tables.paired_difference(runs(0.03), runs(0.0))
    assert difference.mean == pytest.approx(0.03)
    assert (difference.low, difference.high) == pytest.approx((0.03, 0.03))
    assert difference.verdict == "higher" and difference.cells == 12


def test_an_interval_over_unpaired_noise_covers_zero():
    difference = tables.paired_difference(runs(0.0, seed=0), runs(0.0, seed=1))
    assert difference.low < 0 < difference.high
    assert difference.verdict == "no difference shown"


def test_different_episodes_are_refused():
    other = runs(0.0)
    other[0, 0]["episodes"][0][0] = 4
    with pytest.raises(ValueError, match="different episodes"):
        tables.paired_difference(runs(0.0), other)
    with pytest.raises(ValueError, match="run the missing cells"):
        tables.paired_difference({}, other)


def test_photos_without_a_folder_are_explained(tmp_path, capsys):
    arguments = ["run", "--data", "photos", "--variant", "cosine", "--fold", "0", "--seed", "0"]
    assert main([*arguments, "--results", str(tmp_path), "--root", str(tmp_path / "none")]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_protocol_of_the_stored_tables_meets_its_promise():
    protocol = Protocol()
    assert protocol.one_shot >= 500 and protocol.five_shot >= 200 and protocol.held_out == 3
    assert replace(protocol, steps=1) != protocol


def test_reading_says_no_more_than_the_intervals_allow(stored):
    text = tables.reading(results=stored)
    lines = text.splitlines()
    assert len(lines) == 1 + 6  # SCL against the cosine, and six lines about five shots
    for line in lines:
        assert any(word in line for word in ("**higher**", "**lower**", "**no difference shown**"))


def test_the_command_line_answers_errors_of_files_in_one_line(tmp_path, capsys):
    assert main(["table", "--fill", str(tmp_path / "nowhere" / "README.md")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
