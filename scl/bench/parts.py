"""What the bench measures, a function a part; each adds rows of plain values as it gets them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scl.bench.clock import count_waits, forget_peak, peak_gib, rate, trace
from scl.bench.plain import plain_episode
from scl.datasets.bank import FeatureBank
from scl.datasets.fit import Letterbox
from scl.datasets.pascal import Pascal5i
from scl.datasets.registry import Keep
from scl.datasets.toyshop import ToyshopSet
from scl.device import Precision, Workers, autocast, tuned
from scl.evaluation.evaluate import Result, evaluate
from scl.evaluation.intervals import score_with_interval
from scl.evaluation.protocol import ready
from scl.method.episode import Episodes, EpisodeSampler
from scl.method.rules import RELEASED_PFENET, SELF_GUIDED
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model, full_size
from scl.study.choices import plateau_steps, settings
from scl.study.compute import backbone, world
from scl.study.grid import RESULTS, Budget, Experiment
from scl.study.shipped_heads import shipped_model
from scl.toyshop import Atlas
from scl.training.launch import feed_of
from scl.training.recipe import Recipe, read_recipe
from scl.training.stream import TrainingEpisodes
from scl.training.trainer import TrainConfig, Trainer, train


@dataclass(frozen=True)
class Sizes:
    """How large everything is, and for how long it is timed.

    side: pixels of an image; d: width of the heads; batches: episodes a training step; queries:
    episodes used at once; pictures: in the made-up data set; seconds: of timing a row; episodes:
    of a comparison; steps: of the course's grid (None: as stored), of the run that is killed, and
    on PASCAL; voc: pixels of its images.
    """

    side: int = 473
    d: int = 256
    batches: tuple[int, ...] = (4, 16)
    queries: tuple[int, ...] = (1, 8)
    pictures: int = 64
    seconds: float = 2.0
    episodes: int = 200
    steps: int | None = None
    killed: int = 120
    voc_steps: int = 1000
    voc: int = 320


REHEARSAL = Sizes(49, 8, (2,), (1,), 8, 0.01, 6, 4, 12, 4, 64)


@dataclass(frozen=True)
class Bench:
    """Where to measure, how large, and `add`, which keeps a row; pascal: PASCAL's folder."""

    device: torch.device
    sizes: Sizes
    add: Callable[[dict[str, object]], None]
    pascal: Path | None = None


# ----------------------------------------------------------------- same answers


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Let float32 products keep 10 bits of their factors, or all 23."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def same_answers(bench: Bench) -> None:
    """Compare with the released models' numbers, and bfloat16 with float32 on novel toys."""
    for on in (False, True):
        with tf32(on):
            bench.add({"compared": "released numbers", "tf32": on, **golden_errors(bench.device)})
    for head in ("canet", "pfenet"):
        bench.add({"compared": "bfloat16 with float32", "head": head, **halves(bench, head)})


@torch.no_grad()
def golden_errors(device: torch.device) -> dict[str, object]:
    """The largest error of SCL (PFENet), one shot, by array, as a part of its largest value."""
    try:
        from tests.oracles import golden
        from tests.oracles.test_golden import loaded
    except ImportError as error:
        remedy = "run in the root of the repository, after python3 tasks.py install --dev"
        return {"skipped": f"{error}: {remedy}"}
    model = loaded("scl_pfenet_1shot_resnet50").to(device)
    theirs = golden.arrays("scl_pfenet_1shot")
    size = (2, 97, 97)
    images, masks = golden.image("support0", *size), golden.label("support0_label", *size, True)
    support = model.condition(images[:, None].to(device), masks[:, None].to(device))
    done = model.segment(support, golden.image("query", *size).to(device))
    found = {
        "v_s": support.guide.v_s[..., None, None],
        "v_pri": support.vectors[:, 0, 0, :, None, None],
        "v_aux": support.vectors[:, 0, 1, :, None, None],
        "out_logits": done.logits[:, 0],
    }
    errors = {}
    for name, ours in found.items():
        truth = torch.from_numpy(np.asarray(theirs[name], np.float32))
        errors[name] = float((ours.cpu() - truth).abs().max() / truth.abs().max())
    return {name: float(f"{value:.2g}") for name, value in errors.items()}


def halves(bench: Bench, head: str) -> dict[str, object]:
    """mIoU of a stored head in both precisions, in percent, and how far their masks agree."""
    model = ready(shipped_model("scl", 2, head), bench.device)
    novel = range(10, 15)
    toys = ToyshopSet(Atlas.load(), tuple(novel), 8 if bench.sizes.steps else 50, seed=1)
    episodes = EpisodeSampler(toys).fixed(bench.sizes.episodes, 0)
    banks: dict[Precision, FeatureBank] = {}
    both: tuple[Precision, ...] = "float32", "bfloat16"
    results = []
    for precision in both:
        with tf32(False), autocast(bench.device, precision):
            banks[precision] = FeatureBank(model, toys, device=bench.device)
            found = evaluate(model, banks[precision], episodes, precision=precision)
        results.append(found["cross"])
    full, half = results
    moved = np.abs(full.counts - half.counts).sum() / full.counts.sum()
    return {
        "float32_miou": round(100 * full.miou, 2),
        "bfloat16_miou": round(100 * half.miou, 2),
        "pixels_alike": round(100 * agreement(model, banks, episodes), 3),
        "counts_moved": round(100 * float(moved), 3),
        "episodes": len(episodes),
    }


@torch.no_grad()
def agreement(model: SCL, banks: dict[Precision, FeatureBank], episodes: list) -> float:
    """The share of pixels that both precisions call the same."""
    same = []
    for start in range(0, len(episodes), 10):
        masks = []
        for precision, bank in banks.items():
            b = bank.batch(episodes[start : start + 10])
            with tf32(False), autocast(bank.masks.device, precision):
                support = model.condition(b.support, b.support_masks)
                size = tuple(b.query_masks.shape[-2:])
                masks.append(model.segment(support, b.query, "cross", size).mask)
        same.append((masks[0] == masks[1]).float().mean(dim=(1, 2)))
    return float(torch.cat(same).mean())


# --------------------------------------------------------------------- training


class MadeUp:
    """Pictures of noise with a box to find, as JPEG in memory, so that a loader has work to do."""

    classes = ("a", "b", "c", "d")

    def __init__(self, count: int):
        self.labels = [i % 4 for i in range(count)]
        self.files = []
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 256, (47, 63, 3), np.uint8)
            file = io.BytesIO()
            Image.fromarray(noise).resize((500, 375)).save(file, "JPEG")
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.labels)

    def sources(self, index: int) -> frozenset:
        """Every picture stands alone."""
        return frozenset((index,))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        mask = np.zeros((375, 500), np.uint8)
        top, left = np.random.default_rng(index).integers(0, 180, 2)
        mask[top : top + 150, left : left + 200] = 1
        return np.asarray(Image.open(io.BytesIO(self.files[index]))), mask


def recipe_of(name: str, bench: Bench, batch: int) -> Recipe:
    """The paper's recipe at these sizes, with random weights: nothing is fetched."""
    plan = read_recipe(name)
    return replace(
        plan,
        model=replace(plan.model, weights=None, d=bench.sizes.d),
        data=replace(plan.data, side=bench.sizes.side),
        train=replace(plan.train, batch=batch, steps=10**6),
    )


# How a step is taken: its numbers, whether with channels last, whether as a CUDA graph. The last
# is what `scl train` does on CUDA.
MODES: dict[str, tuple[Precision, bool, bool]] = {
    "float32, as released": ("float32", False, False),
    "bfloat16": ("bfloat16", False, False),
    "bfloat16, channels last": ("bfloat16", True, False),
    "bfloat16, channels last, CUDA graph": ("bfloat16", True, True),
}


def training(bench: Bench) -> None:
    """Time training steps: the bare model on one batch in every mode, then with real batches."""
    for name in ("pascal-scl-pfenet", "pascal-pfenet"):
        for batch in bench.sizes.batches:
            plan = recipe_of(name, bench, batch)
            for mode in MODES:
                bare_step(bench, plan, name, mode)
            if "scl" in name or batch == 4:
                real_steps(bench, plan, name, "device")
                real_steps(bench, plan, name, "loader")


def trainer_of(bench: Bench, plan: Recipe, mode: str) -> Trainer:
    """A trainer of a new model; on the CPU every mode but float32 means bfloat16."""
    precision, last, graph = MODES[mode]
    model = build_model(plan.model, 0)
    trainer = Trainer(model, replace(plan.train, precision=precision), bench.device, graph)
    if not last:
        model.to(memory_format=torch.contiguous_format)
    return trainer


def bare_step(bench: Bench, plan: Recipe, name: str, mode: str) -> None:
    """Time steps on one fixed batch: the limit of what training can reach."""
    forget_peak(bench.device)
    trainer, side = trainer_of(bench, plan, mode), bench.sizes.side
    images = torch.rand(plan.train.batch, 3, side, side, device=bench.device)
    masks = torch.zeros(plan.train.batch, side, side, dtype=torch.uint8, device=bench.device)
    masks[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    labels = torch.zeros(plan.train.batch)
    batch = Episodes(images[:, None], masks[:, None], images.flip(0), masks.flip(0), labels)
    speed = rate(lambda: trainer.step(batch), bench.device, bench.sizes.seconds, 5)
    row = {"recipe": name, "batch": plan.train.batch, "data": "one fixed batch", "mode": mode}
    bench.add({**row, "steps_per_second": round(speed, 2), "peak_gib": peak_gib(bench.device)})


def real_steps(bench: Bench, plan: Recipe, name: str, source: Keep) -> None:
    """Time steps as `scl train` takes them, on images kept on the device or through the loader."""
    forget_peak(bench.device)
    mode = list(MODES)[-1]
    workers = min(8, os.cpu_count() or 1) if bench.sizes.steps is None else 0
    plan = replace(plan, data=replace(plan.data, keep=source, workers=workers))
    made = MadeUp(bench.sizes.pictures)
    episodes = TrainingEpisodes(EpisodeSampler(made), 0)
    trainer = trainer_of(bench, plan, mode)
    batches = feed_of(made, plan, episodes, Workers(), bench.device)(0)

    def step() -> None:
        trainer.step(next(batches).to(bench.device))

    speed = rate(step, bench.device, bench.sizes.seconds, 8)
    row = {"recipe": name, "batch": plan.train.batch, "data": source, "mode": mode}
    row |= {"steps_per_second": round(speed, 2), "peak_gib": peak_gib(bench.device)}
    bench.add(row)
    if source == "device":
        waits = count_waits(step, bench.device, 20)
        bench.add({**row, "waits_in_20_steps": waits, "trace": trace(step, bench.device, 10)})


# -------------------------------------------------------------------- using it


@torch.inference_mode()
def using(bench: Bench) -> None:
    """Time five-shot episodes of SCL (PFENet), the plain reading beside ours."""
    config = full_size("pfenet", "resnet50_pfenet", SELF_GUIDED, RELEASED_PFENET, d=bench.sizes.d)
    side, device = bench.sizes.side, bench.device
    for batch in bench.sizes.queries:
        images = torch.rand(batch, 5, 3, side, side, device=device)
        masks = torch.zeros(batch, 5, side, side, dtype=torch.uint8, device=device)
        masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1
        model = build_model(config, 0).to(device)

        def plain(model: SCL = model, images=images, masks=masks) -> torch.Tensor:
            each = [plain_episode(model, i, m, i[0]) for i, m in zip(images, masks, strict=True)]
            return torch.stack(each)

        def ours(model: SCL = model, images=images, masks=masks) -> torch.Tensor:
            return model.segment(model.condition(images, masks), images[:, 0]).fused_logits

        row: dict[str, object] = {"batch": batch, "shots": 5}
        with tf32(False):
            a, b = plain(), ours()
            row["largest_difference"] = float(f"{(a - b).abs().max() / a.abs().max():.2g}")
        if batch == bench.sizes.queries[0]:  # one after the other: a batch makes no difference
            row["plain, float32"] = episodes_a_second(bench, plain, batch, "float32")
            row["plain, bfloat16"] = episodes_a_second(bench, plain, batch, "bfloat16")
        forget_peak(device)
        model = ready(model, device)
        row["ours, bfloat16"] = episodes_a_second(bench, ours, batch, "bfloat16")
        row |= {"peak_gib": peak_gib(device), **shares(bench, model, images, masks)}
        bench.add(row)


def episodes_a_second(bench: Bench, work: Callable, batch: int, precision: Precision) -> float:
    """Episodes a second in a precision."""

    def timed() -> None:
        with tuned(bench.device), autocast(bench.device, precision):
            work()

    return round(batch * rate(timed, bench.device, bench.sizes.seconds, 2), 3)


def shares(bench: Bench, model: SCL, images: torch.Tensor, masks: torch.Tensor) -> dict:
    """The encoder alone, episodes a second; a further query; waits between query batches."""
    flat, marks = images.flatten(0, 1), masks.flatten(0, 1)

    def encode() -> None:
        model.encode(flat, marks, high=False)
        model.encode(images[:, 0])

    with autocast(bench.device, "bfloat16"):
        support = model.condition(images, masks)

    def segment() -> None:
        model.segment(support, images[:, 0])

    batch = len(images)
    found: dict[str, float | None] = {
        "encoder alone": episodes_a_second(bench, encode, batch, "bfloat16"),
        "further queries": episodes_a_second(bench, segment, batch, "bfloat16"),
    }
    with autocast(bench.device, "bfloat16"):
        found["waits_in_5_query_batches"] = count_waits(segment, bench.device, 5)
    return found


# ------------------------------------------------------------------------ resume


def resuming(bench: Bench) -> None:
    """Kill a training and go on with it: the loss curve beside that of one never killed."""
    steps = bench.sizes.killed
    words = ["--steps", str(steps), "--fold", "0", "--seed", "0"]
    small = bench.sizes.steps is not None
    change = [f"run.save_every={steps // 4}", "run.log_every=4", "run.select=last"]
    change += ["data.side=64", "train.batch=2", "model.d=4"] if small else []
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        start = ["--config", "toyshop-small", *words, "--set", *change, "--out"]
        beside = scl_train(bench, *start, str(whole))
        process = scl_train(bench, *start, str(killed))
        while process.poll() is None and not (killed / "state.safetensors").is_file():
            time.sleep(0.01)
        os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.communicate()
        end_well(scl_train(bench, "--resume", str(killed)))
        end_well(beside)
        curves = [loss_curve(path / "log.csv") for path in (whole, killed)]
    shared = sorted(set(curves[0]) & set(curves[1]))
    apart = max(abs(curves[0][s] - curves[1][s]) / curves[0][s] for s in shared)
    last = [round(curve[steps], 5) for curve in curves]
    bench.add({"steps": steps, "last_losses": last, "largest_relative_gap": float(f"{apart:.2g}")})


def scl_train(bench: Bench, *words: str) -> subprocess.Popen:
    """Start `scl train` as a process of its own."""
    command = [sys.executable, "-m", "scl", "train", "--device", bench.device.type, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def end_well(process: subprocess.Popen) -> None:
    """Wait for a process; raise with its last words if it failed."""
    said = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode:
        raise ValueError(f"scl train failed: {said.splitlines()[-1:]}")


def loss_curve(path: Path) -> dict[int, float]:
    """Step to loss, from the log of a run."""
    with path.open(encoding="utf-8") as file:
        return {int(row["step"]): float(row["total"]) for row in csv.DictReader(file)}


# ------------------------------------------------------------- the course's grid


def course_grid(bench: Bench) -> None:
    """Train the stored table's SCL (fold 0, seed 0) here: seconds, and mIoU beside the stored."""
    experiment, budget = Experiment("canet", "scl", 0, 0), Budget()
    if bench.sizes.steps:
        budget = Budget(per_class=6, novel_per_class=6, one_shot=bench.sizes.episodes)
    start = time.perf_counter()
    made = world(0, 0, "final", "canet", budget)
    features = time.perf_counter() - start
    lr, dropout = settings(experiment)
    config = ModelConfig(dropout=dropout, guidance=SELF_GUIDED)
    sampler = EpisodeSampler(made.train.dataset, 1, made.split.base)
    plan = TrainConfig(bench.sizes.steps or plateau_steps(budget), lr=lr)
    kept, novel = made.train.to(bench.device), made.tests["novel"]
    first = build_model(config, 0, backbone())
    train(first, kept, sampler, replace(plan, steps=5), bench.device, progress=False)  # prepare
    model = build_model(config, 0, backbone())
    start = time.perf_counter()
    history = train(model, kept, sampler, plan, bench.device, progress=False)
    seconds = time.perf_counter() - start
    episodes = EpisodeSampler(novel.dataset, 1, made.split.novel).fixed(budget.one_shot, 0)
    result = evaluate(model, novel.to(bench.device), episodes)["cross"]
    spent = {"seconds": round(seconds, 1), "seconds_of_features": round(features, 1)}
    found = {**percent("miou", result), **stored_score(experiment)}
    bench.add({"steps": len(history), **spent, **found})


def percent(name: str, result: Result) -> dict[str, object]:
    """The mIoU of a result in percent, with its 95 % interval over episodes."""
    value, low, high = (round(float(x), 1) for x in score_with_interval(result))
    return {name: value, "interval": [low, high]}


def stored_score(experiment: Experiment) -> dict[str, object]:
    """What the stored table has for the experiment."""
    path = experiment.path(RESULTS)
    if not path.is_file():
        return {"stored": None}
    score = json.loads(path.read_text(encoding="utf-8"))["scores"]["1"]
    rows = np.array(score["episodes"])
    counts = np.concatenate([rows[:, 1:], np.zeros((len(rows), 2), int)], axis=1)
    found = percent("stored_miou", Result(counts, rows[:, 0]))
    return {"stored_miou": found["stored_miou"], "stored_interval": found["interval"]}


# ------------------------------------------------------------------------ PASCAL


def pascal(bench: Bench) -> None:
    """Train SCL on PASCAL's validation part, fold 0, EfficientNet-Lite0, and test novel classes."""
    if bench.pascal is None or not bench.pascal.is_dir():
        bench.add({"skipped": "PASCAL VOC 2012 is not at hand: name its folder by --pascal"})
        return
    fit, start = Letterbox(bench.sizes.voc), time.perf_counter()
    config = ModelConfig(d=32, dropout=0.3, rates=(2, 4, 6))
    model = build_model(config, 0).to(bench.device)
    sets = [
        Pascal5i(bench.pascal, 0, split, transform=fit, protocol="val-only")
        for split in ("train", "novel")
    ]
    banks = [FeatureBank(model, each, device=bench.device) for each in sets]
    features = time.perf_counter() - start
    plan = TrainConfig(bench.sizes.voc_steps, lr=6e-3)
    start = time.perf_counter()
    train(model, banks[0], EpisodeSampler(sets[0]), plan, bench.device, progress=False)
    seconds = time.perf_counter() - start
    episodes = EpisodeSampler(sets[1]).fixed(min(3 * bench.sizes.episodes, 600), 0)
    result = evaluate(model, banks[1], episodes)["cross"]
    spent = {"seconds_of_features": round(features, 1), "seconds": round(seconds, 1)}
    found = {**percent("miou", result), "fb_iou": round(100 * result.fb_iou, 1)}
    bench.add({"fold": 0, "steps": plan.steps, **spent, **found, "episodes": len(episodes)})
