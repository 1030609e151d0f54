"""An experiment is computed once, and records what it was made with."""

import json
from dataclasses import replace

import pytest

from scl.study import choices, compute
from scl.study.grid import TRIALS, Experiment
from tests.helpers.models import TINY


def test_an_experiment_records_what_it_was_made_with(stored):
    record = json.loads(Experiment("canet", "scl", 0, 0).path(stored).read_text())
    assert record["protocol"]["tuning_steps"] == 3 and record["versions"]["torch"]
    assert record["model"]["guidance"]["vectors"] == ["pri", "aux"]
    assert set(record["scores"]) == {
        *("1", "1 v_s", "1 shuffled", "1 zero"),
        *(f"5{w} {f}" for w in ("", "-wrong") for f in ("average", "vectors", "cross")),
    }
    one = record["scores"]["1"]
    assert len(one["episodes"]) == 20 and len(one["per_class"]) <= 5
    tuned = json.loads(Experiment("canet", "scl", 0, 0, "tuning").path(stored).read_text())
    assert len(tuned["tried"]) == len(TRIALS) and tuned["best"] in tuned["tried"]


def test_steps_are_the_fewest_that_come_close_to_the_best(stored):
    """The rule, read from the stored ladder, whatever the novel column says."""
    experiment = Experiment("canet", "scl", 0, 0)
    rungs = choices.plateau_curves(stored)
    assert [r["steps"] for r in rungs] == [2, 3]
    assert {"base", "validation", "novel", "variant", "fold"} <= set(rungs[0])
    record = json.loads(Experiment("canet", "scl", 0, 0, "plateau").path(stored).read_text())
    for scores, expected in (((0.3, 0.305), 2), ((0.3, 0.33), 3), ((0.33, 0.3), 2)):
        for rung, score in zip(record["ladder"], scores, strict=True):
            rung.update(validation=score, novel=1 - score)
        path = stored / "altered" / "plateau" / f"{experiment.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        assert choices.plateau_steps(TINY, stored / "altered") == expected
    # A slower learner decides, whatever the other one would have been content with.
    record["ladder"][0]["validation"], record["ladder"][1]["validation"] = 0.2, 0.4
    slow = replace(experiment, variant="v_s")
    (stored / "altered" / "plateau" / f"{slow.name}.json").write_text(json.dumps(record))
    assert choices.plateau_steps(TINY, stored / "altered") == 3
    with pytest.raises(ValueError, match="no plateau experiment"):
        choices.plateau_steps(TINY, stored / "empty")


def test_loss_curves_average_over_equal_stretches():
    history = [{"q": float(i), "seconds": 1.0 * i} for i in range(10)]
    curve = compute.loss_curve(history, points=5)
    assert curve == [{"step": 2 * i + 2, "q": 2 * i + 0.5} for i in range(5)]


def test_ablations_take_the_settings_of_scl(stored):
    experiments = [Experiment("canet", v, 0, 0) for v in ("scl", "aux", "all", "scl-none")]
    assert len({choices.settings(experiment, stored) for experiment in experiments}) == 1


def test_variants_are_scored_on_the_same_episodes(stored):
    rows = []
    for variant in ("foreground", "cosine", "scl"):
        record = json.loads(Experiment("canet", variant, 0, 0).path(stored).read_text())
        rows.append([e[0] for e in record["scores"]["1"]["episodes"]])
    assert rows[0] == rows[1] == rows[2]


def test_a_stored_experiment_is_not_computed_again(stored, monkeypatch):
    monkeypatch.setattr(compute, "world", None)
    experiment = Experiment("canet", "cosine", 0, 0)
    assert compute.compute(experiment, TINY, stored) == experiment.path(stored)


def test_a_trained_experiment_asks_for_its_tuning(tmp_path):
    with pytest.raises(ValueError, match="run the tuning stage first"):
        choices.settings(Experiment("canet", "v_s", 0, 0), tmp_path)
