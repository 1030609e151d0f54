"""How an experiment of the grid is computed: its scenes' features, its training and its scores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from scl.datasets.bank import FeatureBank
from scl.datasets.folds import Split, split_classes
from scl.datasets.toyshop import ToyshopSet
from scl.evaluation.evaluate import SWAPS, Result, choose_threshold, evaluate
from scl.files import versions, write_json
from scl.method.episode import EpisodeIndex, EpisodeSampler
from scl.method.scl import SCL
from scl.models.backbones import EfficientNetLite0
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import save_weights
from scl.models.untrained import all_foreground, cosine_method
from scl.study.choices import plateau_steps, settings
from scl.study.grid import (
    CORE,
    FIVE_SHOT,
    FUSIONS,
    GUIDED,
    RESULTS,
    TRIALS,
    Budget,
    Experiment,
    Stage,
    missing,
)
from scl.study.shipped_heads import is_shipped
from scl.toyshop import CLASSES, Atlas
from scl.training.trainer import TrainConfig, train

# ------------------------------------------------------------------- worlds


@dataclass(frozen=True)
class World:
    """The features of one fold, seed and stage.

    train: items learned from; tests: new scenes, by the classes they show: "base" (those learned
    from), "validation" or "novel", as far as the stage tests them.
    """

    split: Split
    train: FeatureBank
    tests: dict[str, FeatureBank]


@lru_cache(maxsize=1)
def backbone() -> EfficientNetLite0:
    """Build the backbone that every model of this process shares; it is frozen."""
    return EfficientNetLite0()


@lru_cache(maxsize=1)
def world(fold: int, seed: int, stage: Stage, head: str, budget: Budget) -> World:
    """Compose the scenes of a fold and compute their features: the slow part, done once."""
    encoder, atlas = build_model(ModelConfig(head=head), backbone=backbone()), Atlas.load()
    split = split_classes(len(CLASSES), fold, 0 if stage == "final" else budget.held_out)

    def bank(classes, per_class: int, scenes: int, allowed=None, wrong=False) -> FeatureBank:
        toys = ToyshopSet(atlas, classes, per_class, scenes, allowed, budget.size)
        return FeatureBank(encoder, toys, wrong)

    # Seeds of scenes: training and test scenes of an experiment never share one.
    train, test, count = 2 * seed, 2 * seed + 1, budget.novel_per_class
    learned_from = bank(split.base, budget.per_class, train, split.base)
    if stage == "final":
        return World(split, learned_from, {"novel": bank(split.novel, count, test, wrong=True)})
    tests = {"validation": bank(split.validation, count, test, split.base + split.validation)}
    if stage == "plateau":
        tests["base"] = bank(split.base, count // 3, test, split.base)
        tests["novel"] = bank(split.novel, count, test)
    return World(split, learned_from, tests)


# ----------------------------------------------------------------- an experiment


def compute(
    experiment: Experiment,
    budget: Budget = Budget(),
    results: Path = RESULTS,
    heads: Path | None = None,
) -> Path:
    """Compute one experiment and write its record; an existing record is left as it is.

    heads: folder for the trained heads that are shipped; default: none is written.
    """
    path = experiment.path(results)
    if path.is_file():
        return path
    torch.set_num_threads(1)
    start = time.perf_counter()
    made = world(experiment.fold, experiment.seed, experiment.stage, experiment.head, budget)
    if experiment.stage == "tuning":
        record = tune(experiment, made, budget)
    elif experiment.stage == "plateau":
        record = climb(experiment, made, budget, results)
    else:
        record = score(experiment, made, budget, results, heads)
    what = {"cell": {"data": "toyshop", **asdict(experiment)}, "protocol": asdict(budget)}
    seconds = round(time.perf_counter() - start, 1)
    write_json(path, {**what, "versions": versions(), **record, "seconds": seconds})
    return path


def tune(experiment: Experiment, made: World, budget: Budget) -> dict:
    """Try every setting with the same steps; keep the best on the held-out base classes."""
    bank = made.tests["validation"]
    episodes, tried = _episodes(bank, 1, budget.one_shot, made.split.validation), []
    for lr, dropout in TRIALS:
        model, _, _ = _train(experiment, made, lr, dropout, budget.tuning_steps)
        miou = evaluate(model, bank, episodes)["cross"].miou
        tried.append({"lr": lr, "dropout": dropout, "validation_miou": round(miou, 4)})
    return {"tried": tried, "best": max(tried, key=lambda t: t["validation_miou"])}


def climb(experiment: Experiment, made: World, budget: Budget, results: Path) -> dict:
    """Train anew for every number of steps; mIoU on base, validation and novel classes."""
    lr, dropout = settings(experiment, results)
    count, ladder = budget.one_shot // 2, []
    for steps in budget.ladder:
        model, _, history = _train(experiment, made, lr, dropout, steps)
        rung: dict[str, object] = {"steps": steps}
        for classes in ("base", "validation", "novel"):
            bank = made.tests[classes]
            miou = evaluate(model, bank, _episodes(bank, 1, count))["cross"].miou
            rung[classes] = round(miou, 4)
        ladder.append({**rung, "loss": loss_curve(history)[-1]})
    return {"lr": lr, "dropout": dropout, "ladder": ladder}


def score(
    experiment: Experiment, made: World, budget: Budget, results: Path, heads: Path | None
) -> dict:
    """Train (or not) and score on novel classes: one shot, five shots, one of five wrong.

    Trained models are scored with swapped vectors, too: does the head listen to them at all?
    """
    model, notes = method(experiment, made, budget, results)
    bank, novel = made.tests["novel"], made.split.novel
    one = _episodes(bank, 1, budget.one_shot, novel, experiment.seed)
    five = _episodes(bank, 5, budget.five_shot, novel, experiment.seed)
    scores = {"1": summary(evaluate(model, bank, one)["cross"])}
    for name in SWAPS if experiment.variant in CORE else ():
        scores[f"1 {name}"] = summary(evaluate(model, bank, one, swap=name)["cross"])
    for name, wrong in (("5", 0), ("5-wrong", 1)) if experiment.variant in FIVE_SHOT else ():
        for fusion, result in evaluate(model, bank, five, FUSIONS, wrong).items():
            scores[f"{name} {fusion}"] = summary(result)
    if heads is not None and is_shipped(experiment):
        notes["sha256"] = save_weights(model.head, heads / f"{experiment.name}.safetensors")
    return {**notes, "novel": [bank.dataset.classes[i] for i in novel], "scores": scores}


def method(experiment: Experiment, made: World, budget: Budget, results: Path) -> tuple[SCL, dict]:
    """Make the variant ready to test, and note how it came to be."""
    if experiment.variant == "foreground":
        return all_foreground(backbone()), {}
    if experiment.variant == "cosine":
        episodes = _episodes(made.train, 1, 300, made.split.base)
        best, mious = choose_threshold(backbone(), made.train, episodes)
        return cosine_method(backbone(), best), {"threshold": best, "base_miou": mious}
    lr, dropout = settings(experiment, results)
    longer = budget.seconds_factor if experiment.variant.endswith("-seconds") else 1
    steps = round(plateau_steps(budget, results) * longer)
    model, config, history = _train(experiment, made, lr, dropout, steps)
    notes = {"model": config.to_dict(), "lr": lr, "steps": steps, "curve": loss_curve(history)}
    return model, {**notes, "training_seconds": round(history[-1]["seconds"], 1)}


def _episodes(
    bank: FeatureBank,
    shots: int,
    count: int,
    classes: Sequence[int] | None = None,
    seed: int = 0,
) -> list[EpisodeIndex]:
    return EpisodeSampler(bank.dataset, shots, classes).fixed(count, seed)


def _train(
    experiment: Experiment, made: World, lr: float, dropout: float, steps: int
) -> tuple[SCL, ModelConfig, list[dict[str, float]]]:
    config = ModelConfig(head=experiment.head, dropout=dropout, guidance=GUIDED[experiment.variant])
    model = build_model(config, experiment.seed, backbone())
    sampler = EpisodeSampler(made.train.dataset, 1, made.split.base)
    plan = TrainConfig(steps=steps, lr=lr, seed=experiment.seed)
    return model, config, train(model, made.train, sampler, plan, "cpu", progress=False)


def loss_curve(history: Sequence[dict[str, float]], points: int = 25) -> list[dict[str, float]]:
    """Average losses over `points` equal stretches of training; "step" is a stretch's end."""
    ends = np.linspace(0, len(history), min(points, len(history)) + 1).astype(int)
    names = [name for name in history[0] if name != "seconds"]
    return [
        {"step": int(end)}
        | {n: round(float(np.mean([h[n] for h in history[start:end]])), 4) for n in names}
        for start, end in zip(ends[:-1], ends[1:], strict=True)
    ]


def summary(result: Result) -> dict:
    """mIoU, FB-IoU, IoU per class, and [class, intersection, union] of every episode."""
    rows = np.column_stack([result.labels, result.counts[:, :2]])
    return {
        "miou": round(result.miou, 5),
        "fb_iou": round(result.fb_iou, 5),
        "per_class": {str(c): round(v, 5) for c, v in result.per_class.items()},
        "episodes": rows.astype(int).tolist(),
    }


# -------------------------------------------------------------- many experiments


def compute_all(
    experiments: Sequence[Experiment], jobs: int, results: Path = RESULTS
) -> list[Experiment]:
    """Compute the missing ones in `jobs` processes of one thread; returns those that failed.

    Experiments that share features go to one process together, stage after stage.
    """
    failed: list[Experiment] = []
    for stage in get_args(Stage):
        groups: dict[tuple, list[Experiment]] = {}
        staged = [each for each in experiments if each.stage == stage]
        for each in missing(staged, results):
            groups.setdefault((each.head, each.seed, each.fold), []).append(each)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda group: _run_process(group, results), groups.values()))
        failed += missing(staged, results)
    return failed


def _run_process(group: Sequence[Experiment], results: Path) -> None:
    """Call the command a scheduler would call, for the experiments of one fold and seed."""
    first = group[0]
    command = [sys.executable, "-m", "scl", "run", "--head", first.head, "--stage", first.stage]
    command += ["--fold", str(first.fold), "--seed", str(first.seed), "--results", str(results)]
    command += ["--variant", *(each.variant for each in group)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
