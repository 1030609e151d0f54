"""The runner writes a cell once, and the tables read what it wrote."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_task, tiny_model

from scl import experiments, tables
from scl.__main__ import main
from scl.evaluate import swap_vectors
from scl.experiments import Cell, Protocol, grid, kept_model, missing, run_cell

TINY = Protocol(
    ladder=(2, 3),
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
    for stage in ("tuning", "plateau"):
        run_cell(Cell("toyshop", "canet", "scl", 0, 0, stage), TINY, results, progress=False)
    for variant in ("foreground", "cosine", "scl", "aux"):
        cell = Cell("toyshop", "canet", variant, 0, 0)
        run_cell(cell, TINY, results, progress=False, kept=results / "heads")
    return results


def test_a_cell_records_what_it_was_made_with(stored):
    record = json.loads(Cell("toyshop", "canet", "scl", 0, 0).path(stored).read_text())
    assert record["protocol"]["tuning_steps"] == 3 and record["versions"]["torch"]
    assert record["model"]["guidance"]["vectors"] == ["pri", "aux"]
    assert set(record["scores"]) == {
        *("1", "1 v_s", "1 shuffled", "1 zero"),
        *(f"5{w} {f}" for w in ("", "-wrong") for f in ("average", "vectors", "cross")),
    }
    one = record["scores"]["1"]
    assert len(one["episodes"]) == 20 and len(one["per_class"]) <= 5
    tuned = json.loads(Cell("toyshop", "canet", "scl", 0, 0, "tuning").path(stored).read_text())
    assert len(tuned["tried"]) == len(experiments.TRIALS) and tuned["best"] in tuned["tried"]


def test_steps_are_the_fewest_that_come_close_to_the_best(stored):
    """The rule, read from the stored ladder, whatever the novel column says."""
    cell = Cell("toyshop", "canet", "scl", 0, 0)
    rungs = experiments.plateau_curves(results=stored)
    assert [r["steps"] for r in rungs] == [2, 3]
    assert {"base", "validation", "novel", "variant", "fold"} <= set(rungs[0])
    record = json.loads(Cell("toyshop", "canet", "scl", 0, 0, "plateau").path(stored).read_text())
    for scores, expected in (((0.3, 0.305), 2), ((0.3, 0.33), 3), ((0.33, 0.3), 2)):
        for rung, score in zip(record["ladder"], scores, strict=True):
            rung.update(validation=score, novel=1 - score)
        path = stored / "altered" / "plateau" / f"{cell.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        assert experiments.plateau_steps(cell, TINY, stored / "altered") == expected
    # A slower learner decides, whatever the other one would have been content with.
    record["ladder"][0]["validation"], record["ladder"][1]["validation"] = 0.2, 0.4
    slow = replace(cell, variant="v_s")
    (stored / "altered" / "plateau" / f"{slow.name}.json").write_text(json.dumps(record))
    assert experiments.plateau_steps(cell, TINY, stored / "altered") == 3
    with pytest.raises(ValueError, match="no plateau cell"):
        experiments.plateau_steps(cell, TINY, stored / "empty")


def test_loss_curves_average_over_equal_stretches():
    history = [{"q": float(i), "seconds": 1.0 * i} for i in range(10)]
    curve = experiments.loss_curve(history, points=5)
    assert curve == [{"step": 2 * i + 2, "q": 2 * i + 0.5} for i in range(5)]


def test_ablations_take_the_settings_of_scl(stored):
    cells = [Cell("toyshop", "canet", v, 0, 0) for v in ("scl", "aux", "all", "scl-none")]
    assert len({experiments.settings(cell, stored) for cell in cells}) == 1


def test_heads_are_kept_and_read_again(stored):
    kept = stored / "heads"
    assert {p.stem for p in kept.iterdir()} == {f"toyshop-canet-{v}-f0-s0" for v in ("scl", "aux")}
    model = kept_model("aux", 0, backbone=experiments.backbone(), results=stored, kept=kept)
    assert model.guidance.vectors == ("aux",) and not model.training
    with pytest.raises(ValueError, match="no head of toyshop-canet-cosine-f0-s0 is kept"):
        kept_model("cosine", 0, results=stored, kept=kept)
    with pytest.raises(ValueError, match="no head of toyshop-canet-all-f0-s0 is kept"):
        kept_model("all", 0, results=stored, kept=kept)
    path = kept / "toyshop-canet-aux-f0-s0.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="differs from its record"):
        kept_model("aux", 0, backbone=experiments.backbone(), results=stored, kept=kept)


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
    assert len(cells) == 4 * 3 + 4 * 2 + 4 * 3 * 12 and len(left) == len(cells) - 6
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
    with pytest.raises(ValueError, match="stage 'last'"):
        Cell("toyshop", "canet", "scl", 0, 0, "last")


def test_the_grid_has_the_rows_of_the_papers_ablations():
    trained = {row.variant for rows in tables.PAPER_TABLES.values() for row in rows}
    assert trained <= set(experiments.GUIDED) and len(trained) == 9
    assert len(trained | {"v_s-seconds"}) == len(experiments.GUIDED)
    assert {c.variant for c in grid("toyshop", "pfenet")} == {"v_s", "v_s+L1", "scl"}


def test_tables_say_how_much_is_there(stored, capsys):
    assert main(["table", "--results", str(stored)]) == 0
    text = capsys.readouterr().out
    assert "4 of 144 runs" in text and "cosine to v_s, no training" in text
    assert "not run yet" in text and "nan" not in text


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
        assert any(word in line for word in ("**higher", "**lower", "**no difference shown"))


def test_the_command_line_answers_errors_of_files_in_one_line(tmp_path, capsys):
    assert main(["table", "--fill", str(tmp_path / "nowhere" / "README.md")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_seed_noise_is_the_spread_within_folds(tmp_path):
    for fold, mious in enumerate(((0.30, 0.34), (0.50, 0.54))):
        for seed, miou in enumerate(mious):
            path = Cell("toyshop", "canet", "scl", fold, seed).path(tmp_path)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"scores": {"1": {"miou": miou}}}))
    assert tables.seed_noise(results=tmp_path) == pytest.approx(2 * 2**0.5)
    assert tables.seed_noise(results=tmp_path / "none") == 0
