"""The paper's evaluation: episodes that can be replayed, exact counts, interrupted and shared."""

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from scl.__main__ import main
from scl.datasets.fit import Fit
from scl.datasets.folder import ClassFolder
from scl.device import check_precision
from scl.evaluation import protocol
from scl.evaluation.counts import CountFile, difference
from scl.evaluation.episode_list import item_name, read_episodes, write_episodes
from scl.evaluation.evaluate import Result
from scl.evaluation.intervals import score_with_interval
from scl.evaluation.protocol import ProtocolConfig, draw_episodes, evaluate_protocol
from scl.evaluation.record import all_foreground_counts, in_percent, summary
from scl.method.episode import EpisodeSampler
from scl.method.metric import count_pixels, fb_iou, mean_iou
from scl.method.rules import RELEASED_PFENET, Rules
from scl.models.build import ModelConfig, build_model, full_size
from scl.models.checkpoint import (
    load_checkpoint,
    open_model,
    random_backbone,
    save_checkpoint,
    weights_digest,
)
from scl.study.grid import RESULTS
from scl.study.shipped_heads import shipped_model
from tests.helpers.models import tiny_model
from tests.helpers.trees import class_folders, coco_tree, fss_tree, pascal_tree
from tests.oracles.golden import released_state

torch.set_num_threads(1)

SMALL = ProtocolConfig(episodes=12, seeds=(0, 3), fit=Fit(64))


class Blocks:
    """Photographs of coloured blocks in differing sizes, with a rim that nobody knows."""

    classes = ("amber", "blue", "coral", "dun")

    def __init__(self, labels=(1, 3), per_class=7, root="/photos", seed=0, pause=0.0):
        self.labels = [label for label in labels for _ in range(per_class)]
        self.root, self.seed, self.pause = root, seed, pause

    def sources(self, index):
        return frozenset((f"{self.root}/{self.classes[self.labels[index]]}/{index}.jpg",))

    def __getitem__(self, index):
        time.sleep(self.pause)
        rng = np.random.default_rng((self.seed, index))
        height, width = 40 + 8 * (index % 3), 72 - 8 * (index % 2)
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        mask = np.zeros((height, width), np.uint8)
        top, left = rng.integers(0, 12, 2)
        mask[top : top + 26, left : left + 30] = 255
        mask[top + 1 : top + 25, left + 1 : left + 29] = 1
        image[mask == 1] = 60 * self.labels[index] + rng.integers(0, 20)
        return image, mask


def without_times(record):
    return {k: v for k, v in record.items() if k != "seconds"}


def evaluated(tmp_path=None, name="out.json", config=SMALL, **options):
    """The record of a tiny model on blocks."""
    out = None if tmp_path is None else tmp_path / name
    settings = {"device": "cpu", "progress": False, **options}
    return evaluate_protocol(tiny_model(), Blocks(), config, out, **settings)


# -------------------------------------------------------------------- what is counted


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@pytest.mark.parametrize("method", ["exact", "released", "native"])
def test_the_counts_are_those_of_a_plain_loop(head, method):
    config = ProtocolConfig(6, (4,), shots=2, fusion="average", fit=Fit(64, method))
    model, data = tiny_model(head), Blocks()
    record = evaluate_protocol(model, data, config, device="cpu", progress=False)
    episodes, rows = EpisodeSampler(data, 2).fixed(6, 4), []
    for e in episodes:
        supports = [config.fit.to_network(*data[i]) for i in e.supports]
        support = model.condition([i for i, _ in supports], [m for _, m in supports])
        image, truth = data[e.query]
        done = model.segment(support, config.fit.to_network(image)[0][None], "average")
        scores = config.fit.logits_back(done.fused_logits[0], truth.shape)
        predicted = (scores[1] > scores[0]).long()
        rows.append(count_pixels(predicted[None], torch.from_numpy(truth)[None])[0].tolist())
    labels = [e.label for e in episodes]
    assert [row[1:5] for row in record["seeds"]["4"]["episodes"]] == rows
    assert record["miou"] == round(mean_iou(np.array(rows), labels), 5)
    assert record["fb_iou"] == round(fb_iou(np.array(rows)), 5)


def test_iou_is_counted_at_original_size():
    record, data = evaluated(), Blocks()
    for seed in SMALL.seeds:
        episodes = EpisodeSampler(data).fixed(SMALL.episodes, seed)
        for e, row in zip(episodes, record["seeds"][str(seed)]["episodes"], strict=True):
            mask = data[e.query][1]
            label, _, union, background, _, truth = row
            assert (label, truth) == (e.label, (mask == 1).sum())
            assert union + background == (mask != 255).sum()


def test_the_record_says_the_scores_their_spread_and_interval():
    record = evaluated()
    seeds = [record["seeds"][str(seed)] for seed in SMALL.seeds]
    mious = [seed["miou"] for seed in seeds]
    assert record["miou"] == pytest.approx(np.mean(mious), abs=1e-5)
    assert record["spread"] == pytest.approx(np.std(mious, ddof=1), abs=2e-5)
    assert record["interval"][0] <= record["miou"] <= record["interval"][1]
    assert list(record["per_class"]) == ["blue", "dun"]
    assert record["miou"] == pytest.approx(np.mean(list(record["per_class"].values())), abs=1e-4)
    rows = np.array(seeds[0]["episodes"])
    _, low, high = score_with_interval(Result(rows[:, 1:5], rows[:, 0]))
    assert seeds[0]["interval"] == [round(low / 100, 5), round(high / 100, 5)]
    assert seeds[0]["spread"] is None
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert record["evaluated"]["protocol"]["episodes"] == 12 and record["device"] == "cpu"
    text = in_percent(record)
    assert "2 seeds x 12 episodes, K = 1" in text and "everything is foreground: mIoU" in text
    assert f"mIoU    {100 * record['miou']:.1f} ±" in text and "blue" in text


def test_the_baseline_calls_every_pixel_the_object():
    record, data = evaluated(), Blocks()
    counts, labels = [], []
    for seed in SMALL.seeds:
        for e in EpisodeSampler(data).fixed(SMALL.episodes, seed):
            mask = torch.from_numpy(data[e.query][1])[None]
            counts.append(count_pixels(torch.ones_like(mask), mask)[0].tolist())
            labels.append(e.label)
    rows = np.concatenate([np.array(s["episodes"])[:, 1:] for s in record["seeds"].values()])
    assert all_foreground_counts(rows).tolist() == counts
    halves = [Result(np.array(counts[i : i + 12]), np.array(labels[i : i + 12])) for i in (0, 12)]
    assert record["everything_is_foreground"] == summary(halves)


def test_the_bar_shows_the_running_miou(capsys):
    record = evaluated(config=replace(SMALL, seeds=(3,)), progress=True)
    shown = capsys.readouterr().err
    assert "episodes: 100%" in shown and "12/12" in shown
    assert f"mIoU {100 * record['miou']:.1f}" in shown


@pytest.mark.parametrize("method", ["exact", "native"])
def test_batches_and_threads_change_nothing_but_rounding(method):
    config = replace(SMALL, shots=2, fit=Fit(64, method))
    plain = evaluated(config=config, workers=0)
    for batch, workers in ((5, 0), (24, 3), (1, 2)):
        other = evaluated(config=config, batch=batch, workers=workers)
        assert other["miou"] == pytest.approx(plain["miou"], abs=2e-3)
        for seed in ("0", "3"):
            rows = [np.array(r["seeds"][seed]["episodes"]) for r in (plain, other)]
            assert np.abs(rows[0] - rows[1]).max() <= 4  # pixels on a knife's edge


def test_half_precision_moves_the_scores_a_little_at_most(monkeypatch):
    plain = evaluated()
    half = torch.autocast("cpu", torch.bfloat16)
    monkeypatch.setattr(protocol, "autocast", lambda *anything: half)
    assert evaluated()["miou"] == pytest.approx(plain["miou"], abs=0.03)


def test_images_are_normalised_for_a_backbone_that_wants_them_so():
    config = full_size("canet", "vgg16_bn", d=4, stride=16, zooms=(1.0,), iterations=1)
    few = ProtocolConfig(2, (0,), fit=Fit(48))
    records = []
    for inputs in ("unit", "normalised"):
        model = build_model(replace(config, inputs=inputs))
        records.append(evaluate_protocol(model, Blocks(), few, device="cpu", progress=False))
    assert records[0]["seeds"] == records[1]["seeds"]


# ------------------------------------------------------------------------- episodes


def test_an_episode_depends_on_its_seed_and_place_alone():
    data = Blocks()
    many = draw_episodes(data, ProtocolConfig(20, (0, 1, 2)))
    few = draw_episodes(data, ProtocolConfig(7, (2,)))
    assert few[2] == many[2][:7] and many[0] != many[1]
    assert all(e.query not in e.supports for e in many[0])


def test_written_episodes_come_back_also_where_the_data_lie_elsewhere(tmp_path):
    data = Blocks()
    drawn = draw_episodes(data, replace(SMALL, shots=3))
    path = write_episodes(tmp_path / "deep" / "episodes.json", data, drawn)
    assert read_episodes(path, Blocks(root="D:/elsewhere")) == drawn
    record = json.loads(path.read_text())
    assert record["items"] == 14
    first = record["episodes"][0]
    assert first["query"][1] == item_name(data, first["query"][0])
    replayed = evaluated(config=replace(SMALL, shots=3), episodes=read_episodes(path, data))
    assert replayed == {**evaluated(config=replace(SMALL, shots=3)), "seconds": replayed["seconds"]}


def test_a_file_of_another_listing_is_refused_by_its_first_difference(tmp_path):
    path = write_episodes(tmp_path / "e.json", Blocks(), draw_episodes(Blocks(), SMALL))
    row = json.loads(path.read_text())["episodes"][0]
    place, name = row["query"]

    class Renamed(Blocks):
        def sources(self, index):
            return frozenset(("x.jpg",)) if index == place else super().sources(index)

    with pytest.raises(ValueError, match=rf"episode 0 has {name} of class.*place {place}.*x\.jpg"):
        read_episodes(path, Renamed())
    with pytest.raises(ValueError, match="episode 0 has .* data set none of that class"):
        read_episodes(path, Blocks(per_class=2 if place > 3 else 1))
    with pytest.raises(ValueError, match="episode 0 is of class 'blue'|none of that class"):
        read_episodes(path, Blocks(labels=(0, 2)))


def broken_files():
    row = '{"seed": 0, "class": "blue", "query": [0, "0.jpg"], "supports": [[1, "1.jpg"]]}'
    start, end = '{"items": 14, "episodes": [', "]}"
    cut = row.replace(', "supports": [[1, "1.jpg"]]', "")
    yield "", "is no list of episodes"
    yield "[]", "is no list of episodes"
    yield start + row, "is no list of episodes"
    yield start + cut + end, "is no list of episodes .*supports"
    yield start + end, "expected as many in all"
    yield start + row.replace("[1, ", "[0, ").replace("1.jpg", "0.jpg") + end, "image twice"
    yield start + row.replace("[1, ", '["1", ') + end, "is no list of episodes"
    yield start + row.replace("blue", "mauve") + end, "class 'mauve', which this data set has not"
    yield start + row.replace("[1, ", "[-13, ") + end, "at place -13"
    yield start + f"{row}, {row.replace(': 0', ': 1', 1)}, {row}{end}", "expected as many in all"


@pytest.mark.parametrize(("text", "complaint"), list(broken_files()))
def test_a_broken_list_of_episodes_is_refused(tmp_path, text, complaint):
    path = tmp_path / "episodes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_episodes(path, Blocks())


def test_a_missing_list_of_episodes_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.json cannot be read"):
        read_episodes(tmp_path / "none.json", Blocks())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"config": ProtocolConfig(12, (0,))}, r"episodes of the seeds \(0, 3\)"),
        ({"config": ProtocolConfig(9, (0, 3))}, "12 episodes of .1. shots: expected 9 of 1"),
        ({"config": ProtocolConfig(12, (0, 3), 2)}, "expected 12 of 2"),
        ({"batch": 0}, "batch=0"),
        ({"shard": (2, 2)}, "expected .rank, world."),
        ({"shard": (0, 2)}, "without `out`"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        evaluated(episodes=draw_episodes(Blocks(), SMALL), **options)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"episodes": 0}, "episodes=0"),
        ({"shots": 0}, "shots=0"),
        ({"seeds": ()}, "seeds=()"),
        ({"seeds": (1, 1)}, "each once"),
        ({"fusion": "best"}, "fusion='best'"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        ProtocolConfig(**values)


# ------------------------------------------------------------- interrupted, continued


class Cut(Blocks):
    """Blocks whose reading fails at the n-th time, as Ctrl-C does."""

    def __init__(self, after, error=KeyboardInterrupt):
        super().__init__()
        self.left, self.error = after, error

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().__getitem__(index)


def cut_short(tmp_path, after, **options):
    with pytest.raises(KeyboardInterrupt) as stop:
        evaluate_protocol(
            tiny_model(), Cut(after), SMALL, tmp_path / "out.json", "cpu", False, **options
        )
    return str(stop.value)


# The class is part of what a partial file is compared with.
Cut.__name__ = "Blocks"


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    said = cut_short(tmp_path, 11, workers=0)
    part = tmp_path / "out.json.part"
    assert said.startswith("interrupted after 5 of 24 episodes") and str(part) in said
    assert len(part.read_text().splitlines()) == 6 and not (tmp_path / "out.json").exists()
    record = evaluated(tmp_path)
    assert without_times(record) == without_times(evaluated())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json"]
    assert json.loads((tmp_path / "out.json").read_text()) == record


@pytest.mark.parametrize("batch", [1, 5])
def test_a_half_written_row_is_counted_again(tmp_path, batch):
    whole = evaluated(batch=batch)
    cut_short(tmp_path, 31, workers=0, batch=batch)
    part = tmp_path / "out.json.part"
    data = part.read_bytes()
    for cut in (1, 5, len(data.splitlines()[-1]), 70, len(data) - 3):
        part.write_bytes(data[:-cut])
        assert without_times(evaluated(tmp_path, batch=batch)) == without_times(whole)
        (tmp_path / "out.json").unlink()
    # After a power cut a file may end in zeros that were never written.
    part.write_bytes(data + bytes(40) + b"\n[0, 1, 1, 1, 1, 1]\n")
    assert without_times(evaluated(tmp_path, batch=batch)) == without_times(whole)


def test_killed_before_the_record_was_written_it_only_writes_it(tmp_path, monkeypatch):
    def killed(*args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "write_json", killed)
        with pytest.raises(SystemExit):
            evaluated(tmp_path)
    assert rows_in(tmp_path / "out.json.part") == 24
    monkeypatch.setattr(protocol, "count_episodes", killed)
    record = evaluated(tmp_path)
    monkeypatch.undo()
    assert without_times(record) == without_times(evaluated())


def test_a_finished_record_is_returned_as_it_is(tmp_path):
    record = evaluated(tmp_path)
    before = (tmp_path / "out.json").stat().st_mtime_ns
    assert evaluated(tmp_path) == record
    assert (tmp_path / "out.json").stat().st_mtime_ns == before


OTHERS = {
    "config": ({"config": replace(SMALL, fusion="average")}, "protocol.fusion was 'cross'"),
    "side": ({"config": replace(SMALL, fit=Fit(72))}, "protocol.fit.side was 64 and is now 72"),
    "model": ({"model": tiny_model(seed=1)}, "weights was"),
    "rules": ({"model": tiny_model(rules=Rules(own_score=False))}, "rules.own_score was True"),
    "data": ({"dataset": Blocks(per_class=8)}, "data.items was 14 and is now 16"),
    "images": ({"dataset": Blocks(labels=(0, 3))}, "episodes was"),
}


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("finished", [False, True])
def test_the_file_of_another_evaluation_is_refused(tmp_path, change, finished):
    if finished:
        evaluated(tmp_path)
    else:
        cut_short(tmp_path, 9, workers=0)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    other, complaint = OTHERS[change]
    settings = {"model": tiny_model(), "dataset": Blocks(), "config": SMALL, **other}
    with pytest.raises(ValueError, match=complaint):
        evaluate_protocol(**settings, out=tmp_path / "out.json", device="cpu", progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("text", ["{}", "no", '{"evaluated": 3}', "[1]"])
def test_a_foreign_file_is_never_overwritten(tmp_path, text):
    for name in ("out.json", "out.json.part"):
        path = tmp_path / name
        path.write_text(text + "\n")
        with pytest.raises(ValueError, match="choose another --out"):
            evaluated(tmp_path)
        assert path.read_text() == text + "\n"
        path.unlink()


def test_differences_are_named_by_their_place():
    assert difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None
    assert difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b was 1 and is now 2"
    assert difference({}, {"c": 0}) == "c was None and is now 0"


LONGER = replace(SMALL, episodes=50, shots=5)


def run_slowly(out):
    """In a process of its own, to be killed."""
    torch.set_num_threads(1)
    evaluate_protocol(tiny_model(), Blocks(pause=0.002), LONGER, out, "cpu", False)


def rows_in(part):
    return part.read_bytes().count(b"\n") - 1 if part.exists() else 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_again_and_again_it_ends_with_the_same_record(tmp_path):
    out, part, rng = tmp_path / "out.json", tmp_path / "out.json.part", random.Random(0)
    context, moments = multiprocessing.get_context("fork"), []
    for wanted in (0, 1, 0, 4, 9, 0, 2, 13):  # more rows than before, then a moment later
        process = context.Process(target=run_slowly, args=(out,))
        process.start()
        wanted += rows_in(part)
        while rows_in(part) < wanted and process.is_alive():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL and not out.exists()
        moments.append(rows_in(part))
    assert moments == sorted(moments) and 20 < moments[-1] < 100
    whole = evaluated(config=LONGER)
    assert without_times(evaluated(tmp_path, config=LONGER)) == without_times(whole)


# --------------------------------------------------------------------------- shared


def test_processes_that_share_meet_in_their_files(tmp_path):
    whole = evaluated()
    assert evaluated(tmp_path, shard=(0, 3)) is None
    assert evaluated(tmp_path, shard=(2, 3)) is None
    assert len(list(tmp_path.iterdir())) == 2
    record = evaluated(tmp_path, shard=(1, 3))
    assert without_times(record) == without_times(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_another_number_of_processes_goes_on_from_the_same_files(tmp_path):
    evaluated(tmp_path, shard=(1, 2))
    evaluated(tmp_path, shard=(0, 5))
    part = tmp_path / "out.json.part"
    cut = Cut(9)
    with pytest.raises(KeyboardInterrupt, match="after 1. of 24"):
        evaluate_protocol(tiny_model(), cut, SMALL, tmp_path / "out.json", "cpu", False, workers=0)
    assert len(part.read_text().splitlines()) > 15
    assert without_times(evaluated(tmp_path)) == without_times(evaluated())
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_only_files_of_this_record_are_parts(tmp_path):
    for name in ("out.json.part", "out.json.part-1-of-2", "out.json.parts", "xout.json.part"):
        (tmp_path / name).write_text("{}\n")
    found = CountFile(tmp_path / "out.json", {}, (0, 1)).parts()
    assert [p.name for p in found] == ["out.json.part", "out.json.part-1-of-2"]


WORKER = """
import sys, torch
torch.set_num_threads(1)
from scl.device import torchrun
from scl.evaluation.protocol import evaluate_protocol
from tests.helpers.models import tiny_model
from tests.evaluation.test_protocol import SMALL, Blocks
with torchrun("cpu"):
    record = evaluate_protocol(tiny_model(), Blocks(), SMALL, sys.argv[1], "cpu", False)
    assert record["seeds"]
"""


def two_processes(arguments, folder):
    """The same program twice, as torchrun starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **address, "WORLD_SIZE": "2", "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [(p.communicate(timeout=100)[1], p.returncode) for p in started]


def test_two_processes_give_the_totals_of_one(tmp_path, request):
    for errors, code in two_processes(
        ["-c", WORKER, tmp_path / "two.json"], request.config.rootpath
    ):
        assert code == 0, errors
    assert [p.name for p in tmp_path.iterdir()] == ["two.json"]
    record = json.loads((tmp_path / "two.json").read_text())
    assert without_times(record) == without_times(evaluated())


# --------------------------------------------------------------------- checkpoints


def random_config(**changes):
    return full_size("canet", "resnet50", **{"d": 8, "zooms": (1.0,), **changes})


def test_a_backbone_without_weights_is_built_again_from_the_seed(tmp_path):
    model = build_model(random_config(), seed=7)
    path = save_checkpoint(model, random_config(), tmp_path / "random", seed=7)
    loaded = load_checkpoint(path)
    assert weights_digest(loaded) == weights_digest(model)
    assert weights_digest(build_model(random_config(), 0).backbone) != weights_digest(
        model.backbone
    )


def test_statistics_that_training_changed_are_stored(tmp_path):
    config = replace(random_config(), rules=RELEASED_PFENET)
    model = build_model(config).train()
    model.backbone.mid(torch.rand(2, 3, 33, 33))
    model.eval()
    path = save_checkpoint(model, config, tmp_path / "batch", seed=0)
    assert weights_digest(load_checkpoint(path)) == weights_digest(model)
    fresh = build_model(config)
    assert weights_digest(fresh.head) == weights_digest(model.head)
    assert weights_digest(fresh) != weights_digest(model)


def test_a_random_backbone_is_known(tmp_path):
    model = build_model(random_config(), seed=7)
    path = save_checkpoint(model, random_config(), tmp_path / "random", seed=7)
    assert random_backbone(path) == random_backbone(tmp_path / "random") == "resnet50"
    own = save_checkpoint(build_model(ModelConfig(d=4)), ModelConfig(d=4), tmp_path / "own", 0)
    torch.save({}, tmp_path / "released.pth")
    assert random_backbone(own) is None and random_backbone(tmp_path / "released.pth") is None


def test_either_kind_of_checkpoint_opens(tmp_path):
    config = ModelConfig(d=4)
    model = build_model(config, 2)
    path = save_checkpoint(model, config, tmp_path / "own", seed=2)
    for name in ("own", "own.safetensors", "own.json"):
        assert weights_digest(open_model(tmp_path / name)) == weights_digest(model)
    assert path.is_file()
    small = build_model(full_size("pfenet", "vgg16_bn", rules=RELEASED_PFENET, d=8, stride=16))
    torch.save(released_state(small, "pfenet", "s9:"), tmp_path / "released.pth")
    opened = open_model(tmp_path / "released.pth")
    assert opened.rules == RELEASED_PFENET and opened.backbone.inputs == "unit"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("none.pth", "none.pth is missing"),
        ("none.safetensors", "none.json is no checkpoint record"),
    ],
)
def test_a_missing_checkpoint_is_named(tmp_path, name, complaint):
    with pytest.raises(ValueError, match=complaint):
        open_model(tmp_path / name)


# --------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A checkpoint of a small head that never trained."""
    config = ModelConfig(d=8)
    path = tmp_path_factory.mktemp("heads") / "head"
    return save_checkpoint(build_model(config, 3), config, path, seed=3, side=64)


@pytest.fixture(scope="module")
def cups(tmp_path_factory):
    return class_folders(tmp_path_factory.mktemp("photos"), ("cup", "mug", "pan", "pot"), pairs=5)


def evaluation(head, root, out, *more):
    """The words of a short evaluation."""
    few = ["--episodes", "6", "--seeds", "2", "--device", "cpu", "--data", "folder"]
    return ["evaluate", "--checkpoint", head, "--root", root, "--out", out, *few, *more]


def run(*words):
    return main([str(word) for word in words])


def record_of(path):
    return without_times(json.loads(path.read_text()))


def test_evaluate_writes_the_record_and_prints_it(head, cups, tmp_path, capsys):
    assert run(*evaluation(head, cups, tmp_path / "a.json", "--shots", 2)) == 0
    printed, record = capsys.readouterr().out, record_of(tmp_path / "a.json")
    assert in_percent(record) in printed and f"written to {tmp_path / 'a.json'}" in printed
    assert set(record["per_class"]) <= {"cup", "mug", "pan", "pot"}
    plan = record["evaluated"]["protocol"]
    assert plan["fit"] == {"side": 64, "method": "exact"}  # the side it was trained at
    assert (plan["shots"], plan["seeds"]) == (2, [0, 1])


def test_evaluate_fuses_as_the_recipe_of_the_checkpoint_says(head, cups, tmp_path):
    config, few = ModelConfig(d=8), ["--shots", 2, "--episodes", 2, "--seeds", 1]
    noted = tmp_path / "noted"
    save_checkpoint(build_model(config, 3), config, noted, 3, side=64, notes={"fusion": "vectors"})

    def fused(checkpoint, name, *more):
        assert run(*evaluation(checkpoint, cups, tmp_path / name, *few, *more)) == 0
        return record_of(tmp_path / name)["evaluated"]["protocol"]["fusion"]

    assert fused(noted, "a.json") == "vectors"
    assert fused(noted, "b.json", "--fusion", "average") == "average"
    assert fused(head, "c.json") == "cross"  # a record that says nothing of it


def test_evaluate_replays_what_it_wrote_down(head, cups, tmp_path, capsys):
    listed, first, again = (tmp_path / name for name in ("e.json", "a.json", "b.json"))
    assert run(*evaluation(head, cups, first, "--write-episodes", listed)) == 0
    base = ["evaluate", "--checkpoint", head, "--root", cups, "--data", "folder", "--device", "cpu"]
    base += ["--episodes-file", listed]
    assert run(*base, "--out", again) == 0
    assert record_of(first) == record_of(again)
    assert run(*base, "--shots", 2, "--out", tmp_path / "c.json") == 1
    assert "expected 6 of 2" in capsys.readouterr().err
    assert run(*base, "--fold", 1, "--out", tmp_path / "d.json") == 1
    assert "episode 0" in capsys.readouterr().err


def test_without_out_the_record_is_named_after_what_is_evaluated(head, cups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = evaluation(head, cups, "x", "--fold", 2, "--resize", "native")
    del words[words.index("--out") : words.index("--out") + 2]
    assert run(*words) == 0
    assert list(record_of(tmp_path / "head-folder-f2-novel-k1.json")["per_class"]) == ["pan"]


TREES = {
    "pascal": (pascal_tree, ["--fold", "0"], 5),
    "coco": (coco_tree, ["--fold", "0"], 20),
    "fss": (fss_tree, [], 2),
}


@pytest.mark.parametrize("data", TREES)
def test_evaluate_reads_the_benchmarks(data, head, tmp_path):
    build, more, classes = TREES[data]
    words = evaluation(head, build(tmp_path / "tree"), tmp_path / "out.json", *more)
    words[words.index("folder")] = data
    assert run(*words, "--episodes", 30) == 0
    assert 2 <= len(record_of(tmp_path / "out.json")["per_class"]) <= classes


def test_evaluate_gives_the_scores_of_the_stored_tables(tmp_path):
    cell = json.loads((RESULTS / "cells" / "toyshop-canet-scl-f2-s0.json").read_text())
    config = ModelConfig.from_dict(cell["model"])
    head = save_checkpoint(shipped_model("scl", 2), config, tmp_path / "kept", seed=0, side=128)
    words = evaluation(head, "none", tmp_path / "out.json", "--fold", 2)
    words[words.index("folder")] = "toyshop"
    assert run(*words, "--episodes", 8, "--seeds", 1) == 0
    rows = np.array(record_of(tmp_path / "out.json")["seeds"]["0"]["episodes"])
    stored = np.array(cell["scores"]["1"]["episodes"][:8])
    assert np.array_equal(rows[:, 0], stored[:, 0])
    # The kept heads are stored in half precision.
    assert np.abs(rows[:, 1:3] - stored[:, 1:]).max() < 30


def test_evaluate_interrupted_says_how_to_go_on(head, cups, tmp_path, monkeypatch, capsys):
    read, left = ClassFolder.__getitem__, iter(range(9))

    def interrupted(self, index):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return read(self, index)

    words = evaluation(head, cups, tmp_path / "a.json", "--workers", 0)
    monkeypatch.setattr(ClassFolder, "__getitem__", interrupted)
    assert run(*words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("scl: interrupted after 4 of 12 episodes") and "a.json.part" in said
    monkeypatch.setattr(ClassFolder, "__getitem__", read)
    assert run(*words) == 0
    assert run(*evaluation(head, cups, tmp_path / "b.json")) == 0
    assert record_of(tmp_path / "a.json") == record_of(tmp_path / "b.json")


def test_evaluate_interrupted_at_the_start_says_so(head, cups, tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(protocol, "draw_episodes", interrupted)
    assert run(*evaluation(head, cups, tmp_path / "a.json")) == 130
    assert capsys.readouterr().err == "scl: interrupted before the first episode\n"


def test_a_command_of_many_shots_killed_goes_on(head, cups, tmp_path):
    """The real command, in a process, with kill -9."""
    words = evaluation(head, cups, tmp_path / "a.json", "--shots", 4, "--episodes", 30)
    command = [sys.executable, "-m", "scl", *map(str, words)]
    settings = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stderr": subprocess.DEVNULL}
    process, part = subprocess.Popen(command, **settings), tmp_path / "a.json.part"
    while rows_in(part) < 5 and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert 5 <= rows_in(part) < 60 and not (tmp_path / "a.json").exists()
    assert run(*words) == 0
    words[words.index(tmp_path / "a.json")] = tmp_path / "b.json"
    assert run(*words) == 0
    assert record_of(tmp_path / "a.json") == record_of(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--data pascal", "--data pascal needs --fold"),
        ("--data toyshop", "--data toyshop needs --fold"),
        ("--data coco --fold 0", "name its folder by --root"),
        ("--data folder", "--data folder needs --root"),
        ("--data folder --root nowhere", "nowhere is no folder"),
        ("--data toyshop --fold 4", "fold=4"),
        ("--data toyshop --fold 0 --held-out 15", "held_out=15"),
        ("--data toyshop --fold 0 --shots 0", "shots=0"),
        ("--data toyshop --fold 0 --episodes 0", "episodes=0"),
        ("--data toyshop --fold 0 --seeds 0", "seeds="),
        ("--data toyshop --fold 0 --side 4", "side=4"),
    ],
)
def test_evaluate_refuses_in_one_line(head, words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "--checkpoint", head, *words.split()) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and complaint in said[0], said
    assert not list(tmp_path.iterdir())


def test_a_random_backbone_is_warned_of(cups, tmp_path, capsys):
    path = save_checkpoint(build_model(random_config()), random_config(), tmp_path / "r", seed=0)
    assert run(*evaluation(path, cups, tmp_path / "a.json", "--episodes", 1, "--side", 64)) == 0
    assert "(resnet50) has random weights" in capsys.readouterr().err


def test_the_record_says_in_which_precision_it_was_made(tmp_path):
    records = [
        evaluate_protocol(
            tiny_model(),
            Blocks(),
            replace(SMALL, precision=precision),
            tmp_path / f"{precision}.json",
            "cpu",
            False,
        )
        for precision in ("float32", "bfloat16", "auto")
    ]
    said = [record["evaluated"]["precision"] for record in records]
    assert said == ["float32", "bfloat16 autocast", "float32"]
    assert all("precision" not in record["evaluated"]["protocol"] for record in records)
    assert records[0]["seeds"] == records[2]["seeds"]


def test_bfloat16_that_a_gpu_only_emulates_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an older GPU")
    with pytest.raises(ValueError, match="an older GPU only emulates it; take 'float32'"):
        check_precision(torch.device("cuda"), "bfloat16")
    check_precision(torch.device("cuda"), "float32")
    check_precision(torch.device("cpu"), "bfloat16")
