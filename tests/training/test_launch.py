"""python -m scl train: started, killed, resumed, shared by two processes."""

import csv
import hashlib
import itertools
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scl.__main__ import main
from scl.datasets.registry import DataConfig, open_data
from scl.device import Workers, one_core_free
from scl.method.episode import EpisodeSampler
from scl.method.records import Maps
from scl.models.backbones import build_backbone
from scl.models.build import build_model
from scl.models.checkpoint import load_checkpoint, training_notes
from scl.toyshop import compose
from scl.training.launch import episode_miou, feed_of, keep, score_of, with_steps
from scl.training.pixels import free_gib
from scl.training.recipe import SHIPPED, read_recipe
from scl.training.run import Run, resumed, saved_step, start
from scl.training.stream import TrainingEpisodes
from scl.training.trainer import Trainer
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
        (["--set", "data.keep=features", "data.augment=pfenet"], "data.keep='auto'"),
        (["--set", "data.keep=features", "model.rules=released_canet"], "data.keep='auto'"),
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


@pytest.mark.parametrize("stores", ["true", "false"])
def test_a_run_on_a_backbones_own_file_goes_on_with_no_other(photos, tmp_path, capsys, stores):
    """VGG is the smallest; the file replaces the recipe's named weights."""
    own = tmp_path / "own.toml"
    text = (SHIPPED / "toyshop-small.toml").read_text()
    own.write_text(text.replace('"efficientnet_lite0"', '"vgg16_bn"\nweights = "IMAGENET1K_V1"'))
    file, state = tmp_path / "vgg.pth", build_backbone("vgg16_bn").state_dict()
    torch.save({key.replace("stem", "layer0"): v + 0.01 for key, v in state.items()}, file)
    out = tmp_path / "run"
    changes = [f"model.backbone_weights={file}", f"run.store_backbone={stores}"]
    words = arguments(photos, out, *changes, steps=1)
    words[words.index("--config") + 1] = str(own)
    assert main(words) == 0
    asked = json.loads((out / "recipe.json").read_text())["model"]
    assert asked["weights"] is None and asked["backbone_weights"] == str(file)
    assert asked["backbone_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 0
    torch.save(state, file)
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 1
    assert "vgg.pth has the SHA-256" in capsys.readouterr().err.splitlines()[-1]
    if stores == "true":
        file.unlink()
        first = load_checkpoint(out / "last").backbone.stem[0].weight
        assert torch.equal(first, state["stem.0.weight"] + 0.01)
    else:
        given = ["--checkpoint", str(out / "last"), "--data", "toyshop", "--fold", "0"]
        assert main(["evaluate", *given]) == 1
        assert f"from vgg.pth (SHA-256 {asked['backbone_sha256']})" in capsys.readouterr().err


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
    with pytest.raises(ValueError, match="'loader'"):
        keep(dataset, replace(data, keep="disk"), 64, cpu, False)


class Counted:
    """Twelve items of as many photographs, which nobody may decode."""

    labels = [0] * 12

    def sources(self, index):
        return frozenset((index,))

    def __getitem__(self, index):
        raise AssertionError("decoded")


@pytest.mark.parametrize(
    ("keep_what", "gpu", "memory", "home"),
    [  # 10 GiB are needed, and half of what is free may be taken
        ("device", 30, 0, "cuda"),
        ("device", 8, 40, "cpu"),
        ("memory", 30, 40, "cpu"),
        ("auto", 8, 40, "cpu"),
        ("auto", 8, 8, "loader"),
        ("device", 8, 8, "4.00 GiB on cuda and 4.00 GiB on cpu: .*'loader'"),
        ("memory", 30, 8, "for 4.00 GiB on cpu: lower data.canvas"),
    ],
)
def test_what_does_not_fit_on_the_gpu_stays_in_memory(monkeypatch, keep_what, gpu, memory, home):
    """Where there is room is known before anything is decoded; a warning says where it lies."""
    cuda = torch.device("cuda")
    free = {"cuda": gpu, "cpu": memory}
    monkeypatch.setattr("scl.training.launch.free_gib", lambda device: free[device.type])
    monkeypatch.setattr("scl.training.launch.PixelBank", lambda *given: given)
    data, side = DataConfig(keep=keep_what), round((10 * 2**30 / 48) ** 0.5)
    if "GiB" in home:
        with pytest.raises(ValueError, match=f"need 10.00 GiB, and there is room .*{home}"):
            keep(Counted(), data, side, cuda, False)
        return
    moved = keep_what != "memory" and home == "cpu"
    with pytest.warns(UserWarning, match="too many for cuda") if moved else nullcontext():
        bank = keep(Counted(), data, side, cuda, False)
    assert bank is None if home == "loader" else bank[3].type == home


def test_the_free_memory_is_known():
    assert 0 < free_gib(torch.device("cpu")) < float("inf")


def fed(photos, keep: str, *changes: str):
    """A recipe that augments nothing, and the feed and the model of its run."""
    plan = read_recipe("toyshop-small", [*TINY, f"data.root={str(photos)!r}", *changes])
    plan = replace(plan, data=replace(plan.data, keep=keep))
    dataset, model = open_data(plan.data, "train"), build_model(plan.model, 0)
    episodes, cpu = TrainingEpisodes(EpisodeSampler(dataset), 0, "class"), torch.device("cpu")
    return plan, model, feed_of(dataset, plan, episodes, Workers(), cpu, False, model)


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_kept_features_teach_what_images_teach(photos, head):
    """Padding, too, which is no whole grey level: the network sees 72 x 72 pixels."""
    steps, losses = 3, {}
    changes = ["data.side=72", "data.canvas=48", f"model.head={head}", "model.dropout=0.5"]
    for keep_what in ("loader", "features", "auto"):
        plan, model, batches = fed(photos, keep_what, *changes)
        trainer = Trainer(model, plan.train, "cpu")
        taken = []
        for _, batch in zip(range(steps), batches(0), strict=False):
            assert isinstance(batch.query, torch.Tensor if keep_what == "loader" else Maps)
            torch.manual_seed(0)  # of drop-out
            taken.append(trainer.step(batch)["total"].item())
        losses[keep_what] = taken
    assert losses["features"] == pytest.approx(losses["loader"], rel=1e-4)
    assert losses["features"] == losses["auto"]


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_validation_on_kept_features_scores_what_images_score(photos, head, monkeypatch):
    changes = ["run.select=novel", "run.validate_episodes=9", f"model.head={head}"]
    plan = read_recipe("toyshop-small", [*TINY, f"data.root={str(photos)!r}", *changes])
    model, encoded, found = build_model(plan.model, 0), [], {}
    mid = model.backbone.mid
    monkeypatch.setattr(model.backbone, "mid", lambda x: encoded.append(len(x)) or mid(x))
    for kept in ("loader", "auto", "features"):
        score = score_of(replace(plan, data=replace(plan.data, keep=kept)), Workers())
        encoded.clear()
        first, once = score(model), sum(encoded)
        encoded.clear()
        assert score(model) == first
        assert sum(encoded) == (once if kept == "loader" else 0)
        found[kept] = first
    assert found["auto"] == found["features"]
    assert found["features"] == pytest.approx(found["loader"], abs=1e-3)
    # Two processes read each its own, and score the same together.
    halves = [score_of(plan, Workers(rank, 2)) for rank in range(2)]
    monkeypatch.setattr("scl.training.launch.gathered", lambda counts, device: counts)
    monkeypatch.setattr("scl.training.launch.mean_iou", lambda counts, labels: counts)
    counts = sum(half(model) for half in halves)
    assert np.array_equal(counts, score_of(plan, Workers())(model))


@pytest.mark.parametrize(
    "changes", [["data.augment=pfenet"], ["data.keep=loader"], ["model.rules=released_canet"], None]
)
def test_validation_encodes_again_where_features_are_not_kept(photos, changes, monkeypatch):
    """What training does not keep, validation does not; nor what has no room (None)."""
    if changes is None:
        monkeypatch.setattr("scl.training.launch.free_gib", lambda device: 1e-9)
    more = [*(changes or []), "run.select=novel", "run.validate_episodes=2"]
    plan = read_recipe("toyshop-small", [*TINY, f"data.root={str(photos)!r}", *more])
    score, model, calls = score_of(plan, Workers()), build_model(plan.model, 0), []
    mid = model.backbone.mid
    monkeypatch.setattr(model.backbone, "mid", lambda x: calls.append(1) or mid(x))
    score(model)
    calls.clear()
    score(model)
    assert calls


def test_features_are_kept_where_they_stay_the_same_and_fit(photos, monkeypatch):
    def chosen(keep_what: str, *changes: str):
        return type(next(fed(photos, keep_what, *changes)[2](0)).query)

    assert chosen("auto") is Maps
    for changes in (["data.augment=pfenet"], ["model.rules=released_canet"], ["train.steps=1"]):
        assert chosen("auto", *changes) is torch.Tensor
    assert chosen("features", "train.steps=1") is Maps, "fewer than there are, but asked for"
    monkeypatch.setattr("scl.training.launch.free_gib", lambda device: 1e-9)
    assert chosen("auto") is torch.Tensor
    with pytest.raises(ValueError, match="there is room for 0.00 GiB"):
        chosen("features")


def test_a_resumed_run_on_features_ends_in_the_same_bits(photos, tmp_path):
    flags = ["data.keep=features", "model.dropout=0.5", "run.save_every=2"]
    assert main(arguments(photos, tmp_path / "whole", *flags)) == 0
    plan, _, batches = fed(photos, "features", *flags, "train.steps=6")
    cut = Run(plan, tmp_path / "cut", batches, device="cpu")
    start(tmp_path / "cut", plan)

    def dies(first: int):
        yield from itertools.islice(batches(first), 3)
        raise KeyboardInterrupt

    cut.batches = dies
    with pytest.raises(KeyboardInterrupt):
        cut.train(progress=False)
    assert saved_step(tmp_path / "cut") == 2
    assert main(["train", "--resume", str(tmp_path / "cut"), "--device", "cpu"]) == 0
    whole, again = (load_file(tmp_path / n / "last.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_scenes_are_composed_once(monkeypatch):
    """By the looking up of sources, before features or a loader's processes read them."""
    composed = []

    def counted(*given):
        composed.append(given[2:4])
        return compose(*given)

    monkeypatch.setattr("scl.datasets.toyshop.compose", counted)
    monkeypatch.setattr("scl.datasets.toyshop.PER_CLASS", 3)
    plan = read_recipe("toyshop-small", ["data.side=64", "train.batch=4", "train.steps=6"])
    dataset, model = open_data(plan.data, "train"), build_model(plan.model, 0)
    episodes = TrainingEpisodes(EpisodeSampler(dataset), 0, "class")
    cpu = torch.device("cpu")
    batches = feed_of(dataset, plan, episodes, Workers(), cpu, False, model)
    assert len(list(batches(0))) == 6 and len(list(batches(4))) == 2
    assert len(composed) == len(set(composed)) == 3 * 15


def test_a_run_shows_what_it_does_before_its_first_step(photos, tmp_path, capsys):
    assert main(arguments(photos, tmp_path / "run", steps=3)) == 0
    shown = capsys.readouterr().err
    assert shown.index("images") < shown.index("features")


def test_training_leaves_a_core_to_others_unless_told(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with one_core_free():
        pass
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with one_core_free():
        pass
    assert chosen == [7, 8, 8, 8]


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
