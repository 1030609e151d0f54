"""python -m scl train: started, killed, resumed, shared by two processes."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scl.__main__ import main
from scl.datasets.registry import open_data
from scl.device import Workers
from scl.method.episode import EpisodeSampler
from scl.models.checkpoint import training_notes
from scl.training.launch import episode_miou, feed_of, keep, score_of, with_steps
from scl.training.recipe import SHIPPED, read_recipe
from scl.training.run import resumed
from scl.training.stream import TrainingEpisodes
from tests.helpers.kill_training import ROOT, paint_photos, trial

TINY = [
    "data.name=folder",
    "data.side=64",
    "data.workers=0",
    "train.batch=4",
    "run.log_every=1",
    "run.select=last",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "photos"
    paint_photos(root)
    return root


def arguments(photos, out, *changes, steps=6) -> list[str]:
    flags = ["--config", "toyshop-small", "--root", str(photos), "--steps", str(steps)]
    return ["train", *flags, "--out", str(out), "--device", "cpu", "--set", *TINY, *changes]


def test_three_kills_change_nothing(tmp_path):
    same, killed = trial(3, 1, tmp_path)
    assert same and len(killed) == 3


def test_a_run_leaves_checkpoints_a_log_and_what_it_was_asked(photos, tmp_path, capsys):
    out = tmp_path / "run"
    changes = ["data.held_out=1", "run.validate_every=3", "run.validate_episodes=4"]
    changes += ["run.select=validation"]
    assert main(arguments(photos, out, *changes)) == 0
    assert "best mIoU" in capsys.readouterr().out
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["step"] for r in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [bool(r["miou"]) for r in rows] == [False, False, True] * 2
    assert all((out / f"{name}.safetensors").is_file() for name in ("best", "last", "state"))
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 0, "a finished run"


def test_another_run_does_not_fit_into_the_folder(photos, tmp_path, capsys):
    assert main(arguments(photos, tmp_path, steps=1)) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(arguments(photos, tmp_path, steps=2)) == 1
    assert "--resume" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--config", "nothing"], "pascal-scl-pfenet"),
        (["--set", "data.name=folder"], "--root"),
        (["--fold", "7"], "fold=7"),
        (["--set", "data.name=voc"], "pascal"),
        (["--set", "data.augment=mixup"], "canet"),
        (["--set", "data.name=pascal"], "nowhere"),
        (["--device", "tpu"], "tpu"),
        (["--resume", "nowhere"], "no run"),
    ],
)
def test_what_cannot_be_done_is_one_line(changed, said, tmp_path, capsys):
    given = ["--config", "toyshop-small", "--out", str(tmp_path / "run"), "--steps", "1"]
    if changed[0] == "--resume":
        given = []
    if "data.name=pascal" in changed:
        changed = [*changed, "--root", "nowhere"]
    assert main(["train", *given, *changed]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("scl: ") and said in error[0]


def test_selecting_on_novel_classes_is_said_aloud(photos, tmp_path, capsys):
    changes = ["run.select=novel", "run.validate_every=1", "run.validate_episodes=2"]
    assert main(arguments(photos, tmp_path / "run", *changes, steps=1)) == 0
    assert "warning" in capsys.readouterr().err


def test_the_command_follows_the_paper_or_the_released_code(photos, tmp_path, capsys):
    """A small recipe of one's own with both forms; the folder of the run says which it was."""
    text = (SHIPPED / "toyshop-small.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text + '\n[released.model]\nrules = "released_canet"\ninit = "normal"\n')
    for place, (given, said) in enumerate([("", "paper"), ("paper",) * 2, ("released",) * 2]):
        out = tmp_path / f"run{place}"
        words = arguments(photos, out, steps=1)
        words[words.index("--config") + 1] = str(own)
        assert main([*words, *(["--as", given] if given else [])]) == 0
        assert json.loads((out / "recipe.json").read_text())["as"] == said
        assert training_notes(out / "last")["as"] == said
        statistics = "batch" if said == "released" else "frozen"
        assert resumed(out).model.rules.statistics == statistics
    assert main([*arguments(photos, tmp_path / "one", steps=1), "--as", "released"]) == 1
    assert "leave out --as" in capsys.readouterr().err and not (tmp_path / "one").exists()


def test_the_shipped_recipes_are_listed(capsys):
    assert main(["train", "--list"]) == 0
    assert "pascal-scl-pfenet" in capsys.readouterr().out


def feed(photos, keep: str, among: Workers | None = None, **data):
    changes = [f"data.{name}={value}" for name, value in data.items()]
    plan = read_recipe("toyshop-small", [*TINY, f"data.root={str(photos)!r}", *changes])
    plan = replace(plan, data=replace(plan.data, keep=keep, augment="pfenet"))
    dataset = open_data(plan.data, "train")
    episodes = TrainingEpisodes(EpisodeSampler(dataset), 0)
    return feed_of(dataset, plan, episodes, among or Workers(), torch.device("cpu"))


def test_kept_and_decoded_images_train_alike(photos):
    kept, decoded = feed(photos, "memory")(2), feed(photos, "loader")(2)
    helped = feed(photos, "loader", workers=2)(2)
    for _ in range(3):
        batches = [next(kept), next(decoded), next(helped)]
        for one, *others in zip(*batches, strict=True):
            assert all(torch.equal(one, other) for other in others)
    assert batches[0].query.shape == (4, 3, 64, 64)


def test_two_processes_take_the_same_episodes_as_one(photos):
    whole = next(feed(photos, "memory")(3))
    halves = [next(feed(photos, "memory", Workers(rank, 2))(3)) for rank in range(2)]
    for one, parts in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts))


def test_images_are_kept_where_they_fit(photos, monkeypatch):
    data = replace(read_recipe("toyshop-small", TINY).data, root=str(photos))
    dataset, cpu = open_data(data, "train"), torch.device("cpu")
    assert keep(dataset, data, 64, cpu, False) is None
    assert keep(dataset, replace(data, keep="memory"), 64, cpu, False).side == 64
    monkeypatch.setattr("scl.training.pixels.free_gib", lambda device: 1e-9)
    with pytest.raises(ValueError, match="episode_loader"):
        keep(dataset, replace(data, keep="memory"), 64, cpu, False)
    with pytest.raises(ValueError, match="'loader'"):
        keep(dataset, replace(data, keep="disk"), 64, cpu, False)


def test_two_processes_learn_what_one_learns(photos, tmp_path):
    """Gradients are averaged: with no ignored pixel, the same up to rounding; scores are equal."""
    rates = ["train.optimiser=sgd", "train.lr=0.01", "train.schedule=constant"]
    changes = [*rates, "data.held_out=1", "run.validate_every=6", "run.validate_episodes=7"]
    changes += ["run.select=validation"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, extra in (("one", []), ("two", several)):
        command = [sys.executable, *extra, "-m", "scl", *arguments(photos, tmp_path / name)]
        done = subprocess.run([*command, *changes], cwd=ROOT, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for key in one:
        assert torch.allclose(one[key], two[key], rtol=1e-3, atol=1e-5), key
    logs = [(tmp_path / n / "log.csv").read_text().splitlines() for n in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 7 and logs[0][-1].split(",")[-1]
    assert logs[0][-1].split(",")[-1] == logs[1][-1].split(",")[-1]


def test_epochs_decide_the_steps():
    plan = read_recipe("pascal-scl-pfenet")
    assert with_steps(plan, 5953).train.steps == 200 * 1489
    assert with_steps(read_recipe("pascal-scl-pfenet", ["train.steps=7"]), 5953).train.steps == 7


def test_the_score_is_that_of_the_novel_classes_where_they_select(photos):
    changes = [*TINY, f"data.root={str(photos)!r}", "run.validate_every=1"]
    plan = read_recipe("toyshop-small", [*changes, "run.select=novel", "run.validate_episodes=3"])
    assert score_of(read_recipe("toyshop-small", ["run.select=last"]), Workers()) is None
    score = score_of(plan, Workers())
    from scl.models.untrained import all_foreground
    from tests.helpers.models import TinyBackbone

    model = all_foreground(TinyBackbone())
    share = score(model)
    assert 0 < share < 0.5
    dataset = open_data(plan.data, "novel")
    episodes = EpisodeSampler(dataset).fixed(3, plan.run.seed)
    expected = np.sum([(dataset[e.query][1] == 1).sum() for e in episodes]) / (3 * 64 * 64)
    assert share == pytest.approx(expected)
    assert episode_miou(model, dataset, episodes, Workers()) == pytest.approx(expected)
    assert Path(photos).is_dir()


def test_a_refused_start_leaves_the_folder_free(photos, tmp_path, capsys):
    """A folder has no validation images: the advised change must work at once."""
    out = tmp_path / "run"
    assert main(arguments(photos, out, "run.select=validation", steps=1)) == 1
    assert "held_out" in capsys.readouterr().err
    assert main(arguments(photos, out, "run.select=last", steps=1)) == 0


def test_resume_refuses_what_it_would_not_hear(photos, tmp_path, capsys):
    assert main(arguments(photos, tmp_path / "run", steps=1)) == 0
    for extra in (
        ["--set", "train.lr=1"],
        ["--steps", "9"],
        ["--fold", "1"],
        ["--as", "paper"],
        ["--out", "x"],
    ):
        assert main(["train", "--resume", str(tmp_path / "run"), *extra]) == 1
        assert "leave out" in capsys.readouterr().err


def test_an_empty_folder_is_no_data_set(tmp_path, capsys):
    assert main(["data", "verify", "--data", "folder", "--root", str(tmp_path)]) == 1
    assert "no class folder" in capsys.readouterr().out


def test_a_folder_is_no_checkpoint(tmp_path, capsys):
    given = ["--checkpoint", str(tmp_path), "--data", "toyshop", "--fold", "0"]
    assert main(["evaluate", *given]) == 1
    assert "best" in capsys.readouterr().err
