"""A run in a folder: it goes on where it stopped, bit by bit, and says what it did."""

import csv
import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scl.device import Workers
from scl.method.episode import EpisodeSampler, load_episodes
from scl.method.rules import PRESETS, Rules
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import load_checkpoint, training_notes
from scl.training.launch import AUGMENTS
from scl.training.recipe import READINGS, Recipe, RunConfig, TestConfig, read_recipe, recipes
from scl.training.run import LOG, RECIPE, STATE, Run, resumed, start
from scl.training.stream import TrainingEpisodes
from scl.training.trainer import TrainConfig, Trainer
from tests.helpers.models import TinyBackbone
from tests.training.test_trainer import Squares

MODEL = ModelConfig(head="pfenet", d=8, dropout=0.5)
STEPS = 12


def recipe(**changes) -> Recipe:
    run = RunConfig(seed=3, save_every=4, log_every=1)
    train = TrainConfig(STEPS, 3, lr=3e-2)
    return replace(Recipe(MODEL, train=train, run=run), **changes)


class Power(Exception):
    """It is cut."""


def batches(stop: int | None = None, batch: int = 3):
    """Batches of coloured squares from any step on; the power is cut at `stop`."""
    data = Squares()
    episodes = TrainingEpisodes(EpisodeSampler(data), 3)

    def from_step(first: int):
        for step in range(first, STEPS):
            if step == stop:
                raise Power
            yield load_episodes(data, [episodes[batch * step + i] for i in range(batch)])

    return from_step


def run_in(folder, plan: Recipe, stop: int | None = None, **more) -> Run:
    model = build_model(plan.model, plan.run.seed, TinyBackbone())
    return Run(plan, folder, batches(stop), device="cpu", model=model, **more)


def rows(folder) -> list[dict]:
    with (folder / LOG).open() as file:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(file)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run = run_in(folder, recipe())
    run.train(progress=False)
    return run.model.head.state_dict(), rows(folder)


@pytest.mark.parametrize("cuts", [(0,), (3,), (4,), (11,), (2, 5, 5, 9)])
def test_a_run_that_was_cut_ends_with_the_same_bits(undisturbed, tmp_path, cuts):
    start(tmp_path, recipe())
    for stop in cuts:
        with pytest.raises(Power):
            run_in(tmp_path, resumed(tmp_path), stop).train(progress=False)
    run = run_in(tmp_path, resumed(tmp_path))
    run.train(progress=False)
    weights, log = undisturbed
    assert all(torch.equal(weights[n], v) for n, v in run.model.head.state_dict().items())
    assert rows(tmp_path) == log and len(log) == STEPS
    loaded = load_checkpoint(tmp_path / "last", backbone=TinyBackbone())
    assert all(torch.equal(weights[n], v) for n, v in loaded.head.state_dict().items())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["one-cycle", "poly", "constant"])
def test_the_state_holds_optimiser_and_schedule(optimiser, schedule):
    config = TrainConfig(STEPS, 3, 1e-2, optimiser=optimiser, schedule=schedule)
    whole = Trainer(build_model(MODEL, 0, TinyBackbone()), config, "cpu")
    half = Trainer(build_model(MODEL, 0, TinyBackbone()), config, "cpu")
    for step, batch in enumerate(batches()(0)):
        torch.manual_seed(step)
        whole.step(batch)
        if step == 5:
            tensors, values = half.state()
            values = json.loads(json.dumps(values))
            half = Trainer(build_model(MODEL, 1, TinyBackbone()), config, "cpu")
            half.load_state({n: v.clone() for n, v in tensors.items()}, values)
        torch.manual_seed(step)
        half.step(batch)
        assert half.schedule.get_last_lr() == whole.schedule.get_last_lr()
    ours, theirs = (t.model.head.state_dict() for t in (half, whole))
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_batch_statistics_are_part_of_the_state():
    rules = replace(MODEL.rules, statistics="batch")
    config = ModelConfig("canet", d=8, rules=rules, backbone="vgg16_bn")
    trainer = Trainer(build_model(config), TrainConfig(2, 3), "cpu")
    before = {n: v.clone() for n, v in trainer.state()[0].items() if n.startswith("backbone.")}
    trainer.step(next(batches()(0)))
    after = trainer.state()[0]
    assert before and any(not torch.equal(v, after[n]) for n, v in before.items())
    fresh = Trainer(build_model(config), TrainConfig(2, 3), "cpu")
    fresh.load_state(*trainer.state())
    assert all(torch.equal(v, after[n]) for n, v in fresh.state()[0].items())


def test_poly_and_clipping_do_what_they_are_named_after():
    config = TrainConfig(STEPS, 3, 0.1, optimiser="sgd", schedule="poly", clip=1e-3)
    trainer = Trainer(build_model(MODEL, 0, TinyBackbone()), config, "cpu")
    for step, batch in enumerate(batches()(0)):
        rate = trainer.optimiser.param_groups[0]["lr"]
        assert rate == pytest.approx(0.1 * (1 - step / STEPS) ** 0.9)
        trainer.step(batch)
        squares = [p.grad.square().sum() for p in trainer.model.head.parameters()]
        assert math.sqrt(sum(squares)) <= 1.001e-3


def test_the_best_checkpoint_is_that_of_the_best_score(tmp_path):
    scores = iter([0.2, 0.6, 0.4])
    kept = []

    def score(model):
        assert not model.training
        kept.append({n: v.clone() for n, v in model.head.state_dict().items()})
        return next(scores)

    run = replace(recipe().run, validate_every=4)
    done = run_in(tmp_path, recipe(run=run), score=score).train(progress=False)
    assert (done.best, done.best_step) == (0.6, 8)
    best = load_checkpoint(tmp_path / "best", backbone=TinyBackbone()).head.state_dict()
    assert all(torch.equal(best[n], v) for n, v in kept[1].items())
    assert [r["miou"] for r in rows(tmp_path) if r["miou"]] == ["0.2", "0.6", "0.4"]


def test_a_folder_holds_one_run(tmp_path):
    start(tmp_path, recipe())
    with pytest.raises(ValueError, match="--resume"):
        start(tmp_path, recipe())
    assert resumed(tmp_path) == recipe()
    with pytest.raises(ValueError, match="no run"):
        resumed(tmp_path / "elsewhere")


@pytest.mark.parametrize("harm", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[8:]])
def test_a_harmed_state_is_refused(tmp_path, harm):
    run_in(tmp_path, recipe()).train(progress=False)
    path = tmp_path / STATE
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(ValueError, match="state of this run"):
        run_in(tmp_path, recipe()).train(progress=False)


def test_a_row_cut_in_half_is_dropped(tmp_path, undisturbed):
    with pytest.raises(Power):
        run_in(tmp_path, recipe(), 6).train(progress=False)
    path = tmp_path / LOG
    path.write_text(path.read_text()[:-9])
    run_in(tmp_path, recipe()).train(progress=False)
    assert rows(tmp_path) == undisturbed[1]


def test_tensorboard_gets_the_rows_of_the_log_where_it_is_installed(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append(("begin", purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, step))

        def close(self):
            told.append(("end", None))

    plan = recipe(run=replace(recipe().run, tensorboard=True))
    name = "torch.utils.tensorboard"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(SummaryWriter=Writer))
    run_in(tmp_path / "a", plan).train(progress=False)
    assert told[0] == ("begin", 1) and told[-1] == ("end", None)
    assert [step for name, step in told if name == "total"] == list(range(1, STEPS + 1))
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match="log.csv"):
        run_in(tmp_path / "b", plan).train(progress=False)


# ------------------------------------------------------------------ recipes


@pytest.mark.parametrize("name", recipes())
def test_every_shipped_recipe_is_read_and_comes_back(name):
    plan = read_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert plan.data.fold == 0 and plan.run.seed == 0


def test_the_papers_settings():
    """Section 5.1: d = 256, batch 4, 200 epochs, learning rate and weight decay of each."""
    for name, rate, decay in (("scl-pfenet", 2.5e-3, 1e-4), ("scl-canet", 2.5e-4, 5e-4)):
        plan = read_recipe(f"pascal-{name}")
        assert (plan.model.d, plan.train.batch, plan.run.epochs) == (256, 4, 200)
        assert (plan.train.lr, plan.train.weight_decay) == (rate, decay)
        inner = 1.0 if name == "scl-pfenet" else 0.0  # PFENet's own weight: the baseline's settings
        assert plan.model.rules == Rules(auxiliary_loss=inner)


BOTH = [name for name in recipes() if not name.startswith("toyshop")]


@pytest.mark.parametrize("name", BOTH)
def test_a_recipe_is_followed_as_the_paper_or_as_released(name):
    paper, released = (read_recipe(name, reading=reading) for reading in ("paper", "released"))
    assert read_recipe(name) == paper and (paper.reading, released.reading) == READINGS
    head = name.rpartition("-")[2]
    assert released.model.rules == PRESETS[f"released_{head}"]
    assert released.model.rules.statistics == "batch" != paper.model.rules.statistics
    assert released.train.lr == pytest.approx((80 if "coco" in name else 10) * paper.train.lr)
    assert replace(released.train, lr=1, batch=1) == replace(paper.train, lr=1, batch=1)
    assert released.test.fusion == paper.test.fusion and released.run.select == "novel"
    scored = (paper.test.resize, released.test.resize)
    assert scored == (("native", "native") if head == "canet" else ("exact", "released"))


@pytest.mark.parametrize("name", ["coco-pfenet", "coco-scl-pfenet"])
def test_coco_as_released(name):
    paper, released = (read_recipe(name, reading=reading) for reading in READINGS)
    for plan, side, scale in ((paper, 473, (0.9, 1.1)), (released, 641, (0.8, 1.25))):
        assert plan.data.side == side
        assert [a.scale for a in AUGMENTS[plan.data.augment]] == [scale, scale]
    assert (released.train.batch, released.train.lr, released.run.epochs) == (32, 0.2, 50)


def test_canet_as_released():
    for name, dropout, epochs in (("canet", 0.7, 200), ("scl-canet", 0.9, 150)):
        paper, released = (read_recipe(f"pascal-{name}", reading=r) for r in READINGS)
        assert (paper.model.history_dropout, paper.model.init) == (0.7, "torch")
        assert (released.model.history_dropout, released.model.init) == (dropout, "normal")
        assert (paper.data.order, released.data.order) == ("image", "pair")
        assert (paper.run.epochs, released.run.epochs) == (200, epochs)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("reading", READINGS)
def test_pfenets_intermediate_supervision_is_trained(name, reading):
    plan = read_recipe(name, reading=reading)
    model = build_model(replace(plan.model, weights=None, backbone="efficientnet_lite0"))
    inner = getattr(model.head, "inner", ())
    assert len(inner) == (4 if name.endswith("pfenet") else 0)
    assert plan.model.rules.auxiliary_loss == (1.0 if len(inner) else 0.0)


@pytest.mark.parametrize(
    ("recipe", "fusion"),
    [("pascal-pfenet", "vectors"), ("coco-pfenet", "vectors"), ("pascal-canet", "average")]
    + [(name, "cross") for name in BOTH if "scl" in name],
)
def test_each_recipe_has_its_own_fusion(recipe, fusion):
    assert read_recipe(recipe).test.fusion == fusion


@pytest.mark.parametrize("name", [name for name in recipes() if not name.startswith("toyshop")])
def test_each_recipe_has_the_walk_of_its_script(name):
    assert read_recipe(name).test.walk == "uniform"
    released = "released" if name.endswith("pfenet") else "released-pairs"
    assert read_recipe(name, reading="released").test.walk == released


def test_a_recipe_with_one_form_is_not_as_released():
    assert read_recipe("toyshop-small").reading is None
    assert read_recipe("toyshop-small", reading="paper").reading is None
    with pytest.raises(ValueError, match="leave out --as"):
        read_recipe("toyshop-small", reading="released")


def test_changes_come_after_the_reading(tmp_path):
    plan = read_recipe("pascal-scl-canet", ["train.lr=0.5", "train.steps=9"], "released")
    assert (plan.train.lr, plan.train.steps, plan.run.epochs) == (0.5, 9, None)
    path = tmp_path / "mine.toml"
    path.write_text("[run]\nepochs = 3\n[released.train]\nsteps = 5\n")
    plan = read_recipe(path, reading="released")
    assert (plan.name, plan.train.steps, plan.run.epochs) == ("mine", 5, None)
    assert read_recipe(path).run.epochs == 3
    path.write_text("[released.tarin]\nsteps = 5\n")
    with pytest.raises(ValueError, match="tarin"):
        read_recipe(path)


def test_rules_are_a_preset_or_what_differs_from_one():
    plan = read_recipe("pascal-scl-pfenet", ["model.rules={preset='released_canet', epsilon=0.1}"])
    assert plan.model.rules == replace(PRESETS["released_canet"], epsilon=0.1)
    plan = read_recipe("pascal-scl-pfenet", ["model.rules={epsilon=0.1}"])
    assert plan.model.rules == Rules(epsilon=0.1)


def test_run_and_checkpoint_say_how_the_recipe_was_followed(tmp_path):
    plan = recipe(name="pascal-pfenet", reading="released", test=TestConfig("vectors"))
    start(tmp_path, plan)
    stored = json.loads((tmp_path / RECIPE).read_text())
    assert (stored["recipe"], stored["as"]) == ("pascal-pfenet", "released")
    assert resumed(tmp_path) == plan
    run_in(tmp_path, plan).train(progress=False)
    notes = training_notes(tmp_path / "last")
    said = {"recipe": "pascal-pfenet", "as": "released", "fusion": "vectors", "side": 473}
    assert notes == said | {"resize": "exact", "walk": "uniform"}


def test_a_run_of_an_older_version_is_read(tmp_path):
    plan = recipe()
    start(tmp_path, plan)
    stored = json.loads((tmp_path / RECIPE).read_text())
    for name in ("recipe", "as", "test"):
        del stored[name]
    for name in ("init", "backbone_weights", "backbone_sha256"):
        del stored["model"][name]
    del stored["run"]["store_backbone"]
    (tmp_path / RECIPE).write_text(json.dumps(stored))
    assert resumed(tmp_path) == plan and plan.reading is None
    (tmp_path / RECIPE).write_text(json.dumps({**stored, "as": "told"}))
    with pytest.raises(ValueError, match="as='told'"):
        resumed(tmp_path)


def test_a_file_of_weights_replaces_the_named_ones():
    changes = ["model.backbone=resnet50_pfenet", "model.backbone_weights=init/resnet50_v2.pth"]
    plan = read_recipe("pascal-scl-pfenet", changes, "released")
    assert plan.model.weights is None and plan.model.backbone == "resnet50_pfenet"
    assert plan.model.backbone_weights == "init/resnet50_v2.pth"
    assert Recipe.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(ValueError, match="expected one of them"):
        read_recipe("pascal-scl-pfenet", [*changes, "model.weights=IMAGENET1K_V1"])


def test_changes_override_a_recipe():
    plan = read_recipe(
        "pascal-pfenet", ["train.lr=0.1", "data.root=here", "model.rules=released_pfenet"]
    )
    assert (plan.train.lr, plan.data.root, plan.model.rules.epsilon) == (0.1, "here", 0.0005)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.lrr=1", "no 'lrr'"),
        ("lr=1", "SECTION.NAME=VALUE"),
        ("trian.lr=1", "SECTION.NAME=VALUE"),
        ("train.lr=high", "train"),
        ("model.method=sgm", "'scl'"),
        ("model.rules=mine", "'paper'"),
        ("model.depth=50", "depth"),
        ("run.select=best", "'validation'"),
        ("run.validate_every=0", "at least 1"),
        ("train.schedule=cosine", "one-cycle"),
        ("test.fusion=sum", "'vectors'"),
        ("model.init=zero", "'normal'"),
        ("model.rules={preset='mine'}", "'paper'"),
        ("model.rules={epsilom=0.1}", "epsilom"),
        ("model.rules=5", "'paper'"),
        ("model.rules=[5]", "'paper'"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        read_recipe("pascal-pfenet", [change])


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[model\n")
    with pytest.raises(ValueError, match="no TOML"):
        read_recipe(path)
    with pytest.raises(ValueError, match="pascal-scl-pfenet"):
        read_recipe("nothing")


# ----------------------------------------------------------------- episodes


@pytest.mark.parametrize("order", ["image", "class", "pair"])
def test_an_episode_depends_on_seed_and_place_alone(order):
    sampler = EpisodeSampler(Squares())
    one, other = (TrainingEpisodes(sampler, 5, order) for _ in range(2))
    forward = [one[place] for place in range(70)]
    assert forward == [other[place] for place in reversed(range(70))][::-1]
    assert forward != [TrainingEpisodes(sampler, 6, order)[place] for place in range(70)]


def test_an_epoch_queries_every_image_once():
    episodes = TrainingEpisodes(EpisodeSampler(Squares()), 0)
    for epoch in range(3):
        places = range(30 * epoch, 30 * (epoch + 1))
        assert sorted(episodes[p].query for p in places) == list(range(30))


class TwoInOne(Squares):
    """Squares where every image shows two classes: items 2 i and 2 i + 1 are of image i."""

    def sources(self, index):
        return frozenset((index // 2,))


def test_an_epoch_counts_images_or_pairs():
    sampler = EpisodeSampler(TwoInOne())
    assert TrainingEpisodes(sampler, 0, "image").epoch_length == 15
    episodes = TrainingEpisodes(sampler, 0, "pair")
    assert episodes.epoch_length == 30
    for epoch in range(2):
        places = range(30 * epoch, 30 * (epoch + 1))
        assert sorted(episodes[p].query for p in places) == list(range(30))


def test_workers_share_a_batch():
    shares = [list(Workers(rank, 3).share(6)) for rank in range(3)]
    assert np.concatenate(shares).tolist() == list(range(6))
    with pytest.raises(ValueError, match="multiple of 3"):
        Workers(0, 3).share(4)
