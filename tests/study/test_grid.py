"""Which experiments there are to run, and what the tables read from those that were."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scl.__main__ import main
from scl.evaluation.evaluate import swap_vectors
from scl.study import tables
from scl.study.differences import paired_difference
from scl.study.grid import GUIDED, SEEDS, Budget, Experiment, grid, missing
from scl.study.paper_tables import paper_reading
from scl.study.published import ABLATIONS
from scl.study.scores import Scores, seed_noise
from tests.helpers.models import random_task, tiny_model


@pytest.mark.parametrize("swap", ["v_s", "shuffled", "zero", "exchanged"])
def test_swapped_vectors_are_what_their_name_says(swap):
    model = tiny_model()
    images, masks, _, _ = random_task(b=4, k=1)
    support = model.condition(images, masks)
    vectors, labels = support.vectors, torch.tensor([3, 3, 5, 3])
    swapped = swap_vectors(support, labels, swap).vectors
    expected = {
        "v_s": support.guide.v_s[:, None, None].expand_as(vectors),
        "shuffled": vectors[[2, 2, 3, 2]],
        "zero": torch.zeros_like(vectors),
        "exchanged": vectors[:, :, [1, 0]],
    }
    assert torch.equal(swapped, expected[swap])
    with pytest.raises(ValueError, match="swap='noise'"):
        swap_vectors(support, labels, "noise")


def test_missing_names_what_is_left(stored, capsys):
    experiments = list(grid())
    left = missing(experiments, stored)
    assert len(experiments) == 4 * 3 + 4 * 2 + 4 * 3 * 12 and len(left) == len(experiments) - 6
    assert main(["run", "--list", "--results", str(stored)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(left)


def test_training_and_test_scenes_never_share_a_seed():
    seeds = [2 * s for s in SEEDS] + [2 * s + 1 for s in SEEDS]
    assert len(set(seeds)) == len(seeds)


def test_unknown_experiments_are_named():
    with pytest.raises(ValueError, match="variant 'sgm'"):
        Experiment("canet", "sgm", 0, 0)
    with pytest.raises(ValueError, match="head 'unet'"):
        Experiment("unet", "scl", 0, 0)
    with pytest.raises(ValueError, match="stage 'last'"):
        Experiment("canet", "scl", 0, 0, "last")


def test_the_grid_has_the_rows_of_the_papers_ablations():
    trained = {row.variant for rows in ABLATIONS.values() for row in rows}
    assert trained <= set(GUIDED) and len(trained) == 9
    assert len(trained | {"v_s-seconds"}) == len(GUIDED)
    assert {e.variant for e in grid("pfenet")} == {"v_s", "v_s+L1", "scl"}


def test_tables_say_how_much_is_there(stored, capsys):
    assert main(["table", "--results", str(stored)]) == 0
    text = capsys.readouterr().out
    assert "4 of 144 runs" in text and "cosine to v_s, no training" in text
    assert "not run yet" in text and "nan" not in text


def runs(gain: float, seeds=3, seed=0) -> Scores:
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
    difference = paired_difference(runs(0.03), runs(0.0))
    assert difference.mean == pytest.approx(0.03)
    assert (difference.low, difference.high) == pytest.approx((0.03, 0.03))
    assert difference.verdict == "higher" and difference.runs == 12


def test_an_interval_over_unpaired_noise_covers_zero():
    difference = paired_difference(runs(0.0, seed=0), runs(0.0, seed=1))
    assert difference.low < 0 < difference.high
    assert difference.verdict == "no difference shown"


def test_different_episodes_are_refused():
    other = runs(0.0)
    other[0, 0]["episodes"][0][0] = 4
    with pytest.raises(ValueError, match="different episodes"):
        paired_difference(runs(0.0), other)
    with pytest.raises(ValueError, match="run the missing experiments"):
        paired_difference({}, other)


def test_budget_of_the_stored_tables_meets_its_promise():
    budget = Budget()
    assert budget.one_shot >= 500 and budget.five_shot >= 200 and budget.held_out == 3
    assert replace(budget, tuning_steps=1) != budget


def test_reading_says_no_more_than_the_intervals_allow(stored):
    text = tables.reading(results=stored)
    lines = text.splitlines()
    assert len(lines) == 1 + 6  # SCL against the cosine, and six lines about five shots
    for line in lines:
        assert any(word in line for word in ("**higher", "**lower", "**no difference shown"))


def test_the_command_line_answers_errors_of_files_in_one_line(tmp_path, capsys):
    assert main(["table", "--fill", str(tmp_path / "nowhere" / "README.md")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_seed_noise_is_the_spread_within_folds(tmp_path):
    for fold, mious in enumerate(((0.30, 0.34), (0.50, 0.54))):
        for seed, miou in enumerate(mious):
            path = Experiment("canet", "scl", fold, seed).path(tmp_path)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"scores": {"1": {"miou": miou}}}))
    assert seed_noise(results=tmp_path) == pytest.approx(2 * 2**0.5)
    assert seed_noise(results=tmp_path / "none") == 0


def test_intervals_over_runs_are_students(tmp_path):
    """Four folds of three seeds: half the width is t of 8 degrees times the standard error."""
    a, b = runs(0.0, seed=0), runs(0.0, seed=0)
    rng = np.random.default_rng(0)
    gaps = {key: float(rng.normal(0.02, 0.01)) for key in a}
    for key, gap in gaps.items():
        a[key] = {**a[key], "miou": b[key]["miou"] + gap}
    found = paired_difference(a, b)
    table = np.array([[gaps[fold, seed] for seed in range(3)] for fold in range(4)])
    error = (table.var(axis=1, ddof=1).mean() / 12) ** 0.5
    assert found.mean == pytest.approx(table.mean()) and found.seeds
    assert found.high - found.mean == pytest.approx(2.3060041 * error)


def test_a_single_seed_is_said_to_be_one():
    one, other = ({k: r for k, r in runs(0.0, seed=s).items() if k[1] == 0} for s in (0, 1))
    found = paired_difference(one, other)
    assert not found.seeds and str(found).endswith(", one seed")
    assert found.verdict.endswith("(one seed)") and found.low < found.mean < found.high
    more = {**one, (0, 1): runs(0.0, seed=0)[0, 1]}, {**other, (0, 1): runs(0.0, seed=1)[0, 1]}
    assert paired_difference(*more) == found, "a second seed of one fold says nothing of the others"


def test_readings_name_every_row_once():
    for name, rows in ABLATIONS.items():
        text = paper_reading(name)
        assert all(text.count(row.name) >= 1 for row in rows), name


def test_only_the_reference_itself_has_a_dash():
    """Guided by v_s alone, "v_s in every place" is the same head: a difference, and it is none."""
    own, same, *_ = tables.swap_table("v_s").splitlines()[2:]
    assert own.endswith("| - |") and same.endswith("| +0.0 [+0.0, +0.0] |")
