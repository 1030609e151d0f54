"""One runner for every stored table.

A cell is (data, head, variant, fold, seed). Running a cell writes one JSON and does nothing if it
is there already, so any scheduler can take the missing ones (`python -m scl run --list`).

Settings are chosen once per fold and variant on base classes held out for it ("tuning" cells);
final cells train on all base classes. One thing novel classes did choose: the steps of the Toyshop
cells went from 500 to 1000, for every variant alike, after cells of two folds had been looked at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scl.backbones import EfficientNetLite0
from scl.bank import FeatureBank
from scl.baselines import all_foreground, choose_threshold, cosine_method
from scl.build import ModelConfig, build_model
from scl.checkpoint import versions, write_json
from scl.datasets import FolderDataset, ToyshopSet
from scl.device import pick_device
from scl.episode import Dataset, EpisodeSampler
from scl.evaluate import Result, evaluate
from scl.folds import FOLDS, Split, split_classes
from scl.metric import interval, resample, weighted_miou
from scl.model import SCL
from scl.rules import SELF_GUIDED, V_S, V_S_L1, Guidance
from scl.toyshop import CLASSES, Atlas
from scl.train import TrainConfig, train

RESULTS = Path(__file__).resolve().parents[1] / "results"
SEEDS = (0, 1, 2)
FUSIONS = ("average", "vectors", "cross")

# The variants of the table. The last one trains for as many seconds as "scl", not as many steps.
GUIDED: dict[str, Guidance] = {
    "v_s": V_S,
    "v_s+L1": V_S_L1,
    "scl": SELF_GUIDED,
    "v_s-seconds": V_S,
}
UNTRAINED = ("foreground", "cosine")
VARIANTS = UNTRAINED + tuple(GUIDED)
FIVE_SHOT = ("cosine", "scl")  # those that are also scored with five supports

# What tuning tries for each variant, with the same budget: (peak learning rate, dropout).
TRIALS = ((3e-3, 0.0), (1e-2, 0.0), (1e-2, 0.3))


@dataclass(frozen=True)
class Protocol:
    """How much is trained and tested in a cell.

    steps: of training; tuning_steps: of every trial of tuning; seconds_factor: how many steps of
    "v_s" take the time of one of "scl" (measured on one thread);
    per_class, novel_per_class: scenes; one_shot, five_shot: novel episodes; held_out: base
    classes set aside while tuning; size: pixels a side.
    """

    steps: int = 1000
    tuning_steps: int = 500
    seconds_factor: float = 2.3
    per_class: int = 60
    novel_per_class: int = 50
    one_shot: int = 500
    five_shot: int = 200
    held_out: int = 3
    size: int = 128


# The photographs are few, six classes to train on: learning is over sooner.
PROTOCOLS = {
    "toyshop": Protocol(),
    "photos": Protocol(steps=300, tuning_steps=300, held_out=2),
}


@dataclass(frozen=True)
class Cell:
    """One entry of a table. tuning: held-out base classes stand in for the novel ones."""

    data: str
    head: str
    variant: str
    fold: int
    seed: int
    tuning: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r}: expected one of {VARIANTS}")
        if self.data not in PROTOCOLS:
            raise ValueError(f"data {self.data!r}: expected one of {tuple(PROTOCOLS)}")

    @property
    def command(self) -> str:
        """What a scheduler calls to compute this cell (tuning cells first)."""
        line = f"python -m scl run --data {self.data} --head {self.head} --fold {self.fold}"
        return f"{line} --seed {self.seed} --variant {self.variant}" + " --tuning" * self.tuning

    def path(self, results: Path = RESULTS) -> Path:
        """Where the record of this cell is kept."""
        kind = "tuning" if self.tuning else "cells"
        name = f"{self.data}-{self.head}-{self.variant}-f{self.fold}-s{self.seed}.json"
        return results / kind / name


def grid(data: str = "toyshop", head: str = "canet") -> Iterator[Cell]:
    """The cells of the main table; tuning first, because the others read it."""
    for fold in range(FOLDS):
        for variant in ("v_s", "v_s+L1", "scl"):
            yield Cell(data, head, variant, fold, 0, tuning=True)
    for seed in SEEDS:
        for fold in range(FOLDS):
            for variant in VARIANTS:
                yield Cell(data, head, variant, fold, seed)


def missing(cells: Sequence[Cell], results: Path = RESULTS) -> list[Cell]:
    """Those without a record."""
    return [cell for cell in cells if not cell.path(results).is_file()]


# ------------------------------------------------------------------- worlds


@dataclass(frozen=True)
class World:
    """The features of one fold and seed: training items, test items, and their classes."""

    train_set: Dataset
    test_set: Dataset
    train_bank: FeatureBank
    test_bank: FeatureBank
    split: Split


@lru_cache(maxsize=1)
def backbone() -> EfficientNetLite0:
    """Shared by every model of this process; it is frozen."""
    return EfficientNetLite0()


@lru_cache(maxsize=1)
def world(
    data: str, fold: int, seed: int, tuning: bool, prior: bool, protocol: Protocol, root: str | None
) -> World:
    """Compose or read the images of a fold and compute their features (the slow part, kept)."""
    encoder = build_model(ModelConfig(head="pfenet" if prior else "canet"), backbone=backbone())
    held_out = protocol.held_out if tuning else 0
    if data == "photos":
        photos = FolderDataset(root or "", protocol.size)
        split = split_classes(len(photos.classes), fold, held_out)
        bank = FeatureBank(encoder, photos)
        return World(photos, photos, bank, bank, split)
    split, atlas = split_classes(len(CLASSES), fold, held_out), Atlas.load()
    tested = split.validation if tuning else split.novel
    # Seeds of scenes: training and test scenes of a run never share one.
    base = ToyshopSet(atlas, split.base, protocol.per_class, 2 * seed, split.base, protocol.size)
    test = ToyshopSet(
        atlas,
        tested,
        protocol.novel_per_class,
        2 * seed + 1,
        split.base + split.validation if tuning else None,
        protocol.size,
    )
    return World(
        base, test, FeatureBank(encoder, base), FeatureBank(encoder, test, wrong=True), split
    )


# -------------------------------------------------------------------- a cell


def guidance_config(cell: Cell, dropout: float) -> ModelConfig:
    """The model of a trained variant."""
    return ModelConfig(head=cell.head, dropout=dropout, guidance=GUIDED[cell.variant])


def settings(cell: Cell, results: Path = RESULTS) -> tuple[float, float]:
    """(peak learning rate, dropout) that the tuning cell of this fold and variant chose."""
    variant = cell.variant.removesuffix("-seconds")
    source = Cell(cell.data, cell.head, variant, cell.fold, 0, tuning=True).path(results)
    if not source.is_file():
        raise ValueError(f"{source.name} is missing: run the tuning cells first (run --tuning)")
    best = json.loads(source.read_text())["best"]
    return best["lr"], best["dropout"]


def run_cell(
    cell: Cell,
    protocol: Protocol | None = None,
    results: Path = RESULTS,
    root: str | None = None,
    progress: bool = True,
) -> Path:
    """Compute one cell and write its record; an existing record is left as it is."""
    path, protocol = cell.path(results), protocol or PROTOCOLS[cell.data]
    if path.is_file():
        return path
    torch.set_num_threads(1)
    start = time.perf_counter()
    made = world(
        cell.data, cell.fold, cell.seed, cell.tuning, cell.head == "pfenet", protocol, root
    )
    record = (
        tune(cell, made, protocol, progress)
        if cell.tuning
        else score(cell, made, protocol, results, progress)
    )
    head = {"cell": asdict(cell), "protocol": asdict(protocol), "versions": versions()}
    write_json(path, {**head, **record, "seconds": round(time.perf_counter() - start, 1)})
    return path


def tune(cell: Cell, made: World, protocol: Protocol, progress: bool) -> dict:
    """Try every setting with the same steps; keep the best on the held-out base classes."""
    episodes = EpisodeSampler(made.test_set, 1, made.split.validation).fixed(protocol.one_shot, 0)
    tried = []
    for lr, dropout in TRIALS:
        config = guidance_config(cell, dropout)
        model, _ = _train(cell, made, config, lr, protocol.tuning_steps, progress)
        miou = evaluate(model, made.test_bank, episodes)["cross"].miou
        tried.append({"lr": lr, "dropout": dropout, "validation_miou": round(miou, 4)})
    return {"tried": tried, "best": max(tried, key=lambda t: t["validation_miou"])}


def _train(
    cell: Cell,
    made: World,
    config: ModelConfig,
    lr: float,
    steps: int,
    progress: bool,
    device: str = "cpu",
) -> tuple[SCL, list[dict[str, float]]]:
    model = build_model(config, cell.seed, backbone())
    sampler = EpisodeSampler(made.train_set, 1, made.split.base)
    plan = TrainConfig(steps=steps, lr=lr, seed=cell.seed)
    return model, train(model, made.train_bank.to(device), sampler, plan, device, progress)


def method(
    cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool
) -> tuple[SCL, dict]:
    """The variant, ready to test, and what to record about how it came to be."""
    if cell.variant == "foreground":
        return all_foreground(backbone()), {}
    if cell.variant == "cosine":
        episodes = EpisodeSampler(made.train_set, 1, made.split.base).fixed(300, 0)
        best, mious = choose_threshold(backbone(), made.train_bank, episodes)
        return cosine_method(backbone(), best), {"threshold": best, "base_miou": mious}
    lr, dropout = settings(cell, results)
    longer = protocol.seconds_factor if cell.variant.endswith("-seconds") else 1
    config = guidance_config(cell, dropout)
    model, history = _train(cell, made, config, lr, round(protocol.steps * longer), progress)
    every = max(1, len(history) // 20)
    curve = [{k: round(v, 4) for k, v in h.items()} for h in history[every - 1 :: every]]
    return model, {"model": config.to_dict(), "lr": lr, "steps": len(history), "curve": curve}


def score(cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool) -> dict:
    """Train (or not) and score on novel classes: one shot, five shots, one of five wrong."""
    model, notes = method(cell, made, protocol, results, progress)
    bank, novel = made.test_bank, made.split.novel
    one = EpisodeSampler(made.test_set, 1, novel).fixed(protocol.one_shot, cell.seed)
    five = EpisodeSampler(made.test_set, 5, novel).fixed(protocol.five_shot, cell.seed)
    scores = {"1": _summary(evaluate(model, bank, one)["cross"])}
    for name, wrong in (("5", 0), ("5-wrong", 1)):
        if cell.variant not in FIVE_SHOT or (wrong and bank.wrong_masks is None):
            continue
        for fusion, result in evaluate(model, bank, five, FUSIONS, wrong).items():
            scores[f"{name} {fusion}"] = _summary(result)
    classes = [made.test_set.classes[i] for i in novel]
    return {**notes, "novel": classes, "scores": scores}


def _summary(result: Result) -> dict:
    """mIoU, FB-IoU, IoU per class, and [class, intersection, union] of every episode."""
    rows = [
        [int(c), int(i), int(u)]
        for c, (i, u) in zip(result.labels, result.counts[:, :2], strict=True)
    ]
    return {
        "miou": round(result.miou, 5),
        "fb_iou": round(result.fb_iou, 5),
        "per_class": {str(c): round(v, 5) for c, v in result.per_class.items()},
        "episodes": rows,
    }


def device_record(device: str, protocol: Protocol = Protocol(), results: Path = RESULTS) -> Path:
    """Train and test the same cell (SCL, fold 0, seed 0) on a device, and write how it went.

    The record holds steps per second and the novel mIoU with its 95 % interval over episodes, to
    lay beside the CPU's.
    """
    cell, chosen = Cell("toyshop", "canet", "scl", 0, 0), pick_device(device)
    made = world(cell.data, cell.fold, cell.seed, False, False, protocol, None)
    config = guidance_config(cell, settings(cell, results)[1])
    lr = settings(cell, results)[0]
    model, history = _train(cell, made, config, lr, protocol.steps, True, chosen.type)
    episodes = EpisodeSampler(made.test_set, 1, made.split.novel).fixed(protocol.one_shot, 0)
    result = evaluate(model, made.test_bank.to(chosen), episodes)["cross"]
    draws = resample(len(episodes), np.random.default_rng(0))
    low, high = interval(weighted_miou(result.counts, result.labels, draws))
    is_cuda = chosen.type == "cuda"
    record = {
        "device": torch.cuda.get_device_name() if is_cuda else "one CPU thread",
        "precision": "bfloat16 autocast, channels-last" if is_cuda else "float32",
        "steps_per_second": round(len(history) / history[-1]["seconds"], 2),
        "novel_miou": round(result.miou, 4),
        "interval": [round(low, 4), round(high, 4)],
        "protocol": asdict(protocol),
        "versions": versions(),
    }
    path = results / "devices" / f"{record['device'].replace(' ', '-')}.json"
    write_json(path, record)
    return path


# ------------------------------------------------------------------ many cells


def run_all(
    cells: Sequence[Cell], jobs: int, results: Path = RESULTS, root: str | None = None
) -> list[Cell]:
    """Run the missing cells in `jobs` processes of one thread each; returns those that failed.

    Cells that share features go to one process together, tuning first.
    """
    failed: list[Cell] = []
    for tuning in (True, False):
        groups: dict[tuple, list[Cell]] = {}
        for cell in missing([c for c in cells if c.tuning == tuning], results):
            groups.setdefault((cell.data, cell.head, cell.fold, cell.seed), []).append(cell)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda group: _run_process(group, results, root), groups.values()))
        failed += missing([c for c in cells if c.tuning == tuning], results)
    return failed


def _run_process(group: Sequence[Cell], results: Path, root: str | None) -> None:
    """The same command a scheduler would call, for the cells of one fold and seed."""
    first = group[0]
    command = [sys.executable, "-m", "scl", "run", "--data", first.data, "--head", first.head]
    command += ["--fold", str(first.fold), "--seed", str(first.seed), "--results", str(results)]
    command += ["--tuning"] if first.tuning else []
    command += ["--root", root] if root else []
    command += ["--variant", *(cell.variant for cell in group)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
