"""How one cell is computed: its features, the settings it takes, its training and its scores."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scl.datasets.bank import FeatureBank
from scl.datasets.folds import Split, split_classes
from scl.datasets.toyshop import ToyshopSet
from scl.evaluation.evaluate import SWAPS, Result, choose_threshold, evaluate
from scl.files import versions, write_json
from scl.method.episode import EpisodeSampler
from scl.method.scl import SCL
from scl.models.backbones import EfficientNetLite0
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import save_weights
from scl.models.untrained import all_foreground, cosine_method
from scl.study.grid import (
    CORE,
    FIVE_SHOT,
    FUSIONS,
    GUIDED,
    RESULTS,
    TRIALS,
    Cell,
    Protocol,
    Stage,
    grid,
)
from scl.study.kept import is_kept
from scl.toyshop import CLASSES, Atlas
from scl.training.trainer import TrainConfig, train

# ------------------------------------------------------------------- worlds


@dataclass(frozen=True)
class World:
    """The features of one fold and seed.

    train, test: items learned from and items tested on; seen, novel: new scenes of the classes
    learned from, and novel ones, both only where a plateau is looked for.
    """

    train: FeatureBank
    test: FeatureBank
    split: Split
    seen: FeatureBank | None = None
    novel: FeatureBank | None = None


@lru_cache(maxsize=1)
def backbone() -> EfficientNetLite0:
    """Shared by every model of this process; it is frozen."""
    return EfficientNetLite0()


@lru_cache(maxsize=1)
def world(fold: int, seed: int, stage: Stage, head: str, protocol: Protocol) -> World:
    """Compose the scenes of a fold and compute their features (the slow part, kept)."""
    encoder = build_model(ModelConfig(head=head), backbone=backbone())
    held_out = 0 if stage == "final" else protocol.held_out
    split, atlas = split_classes(len(CLASSES), fold, held_out), Atlas.load()

    def bank_of(classes, per_class: int, scenes: int, allowed, wrong: bool = False) -> FeatureBank:
        made = ToyshopSet(atlas, classes, per_class, scenes, allowed, protocol.size)
        return FeatureBank(encoder, made, wrong)

    # Seeds of scenes: training and test scenes of a run never share one.
    train = bank_of(split.base, protocol.per_class, 2 * seed, split.base)
    known, count = split.base + split.validation, protocol.novel_per_class
    if stage == "final":
        return World(train, bank_of(split.novel, count, 2 * seed + 1, None, wrong=True), split)
    test = bank_of(split.validation, count, 2 * seed + 1, known)
    if stage == "tuning":
        return World(train, test, split)
    seen = bank_of(split.base, count // 3, 2 * seed + 1, split.base)
    return World(train, test, split, seen, bank_of(split.novel, count, 2 * seed + 1, None))


# ------------------------------------------------------ settings of a cell


def guidance_config(cell: Cell, dropout: float) -> ModelConfig:
    """The model of a trained variant."""
    return ModelConfig(head=cell.head, dropout=dropout, guidance=GUIDED[cell.variant])


def settings(cell: Cell, results: Path = RESULTS) -> tuple[float, float]:
    """(peak learning rate, dropout) that the tuning cell of this fold chose.

    "v_s", "v_s+L1" and "scl" were tuned each by itself; the ablations of "scl" take its settings,
    so that a row differs from it by what it is named after and nothing else.
    """
    variant = cell.variant.removesuffix("-seconds")
    variant = variant if variant in CORE else "scl"
    source = Cell(cell.data, cell.head, variant, cell.fold, 0, "tuning").path(results)
    if not source.is_file():
        raise ValueError(f"{source.name} is missing: run the tuning cells first (--stage tuning)")
    best = json.loads(source.read_text())["best"]
    return best["lr"], best["dropout"]


def plateau_curves(data: str = "toyshop", results: Path = RESULTS) -> list[dict]:
    """Every stored rung: {"variant", "fold", "steps", "base", "validation", "novel"}, mIoU."""
    cells = [c for c in grid(data) if c.stage == "plateau" and c.path(results).is_file()]
    return [
        {"variant": cell.variant, "fold": cell.fold, **rung}
        for cell in cells
        for rung in json.loads(cell.path(results).read_text())["ladder"]
    ]


def plateau_by_variant(
    protocol: Protocol = Protocol(),
    data: str = "toyshop",
    results: Path = RESULTS,
) -> dict[str, int]:
    """Variant with a ladder to the fewest steps that come within `slack` of its own best.

    Judged by the mIoU on validation classes, mean over folds.
    """
    rungs = plateau_curves(data, results)

    def fewest(variant: str) -> int:
        own = [r for r in rungs if r["variant"] == variant]
        means = {
            steps: np.mean([r["validation"] for r in own if r["steps"] == steps])
            for steps in protocol.ladder
        }
        return min(s for s, m in means.items() if m >= max(means.values()) - protocol.slack)

    return {variant: fewest(variant) for variant in sorted({r["variant"] for r in rungs})}


def plateau_steps(cell: Cell, protocol: Protocol, results: Path = RESULTS) -> int:
    """Steps of every final cell: enough for the slowest learner to be on its plateau.

    The most of plateau_by_variant, so all rows train equally long and none is cut short. The
    PFENet-style head takes the steps of the CANet-style one.
    """
    fewest = plateau_by_variant(protocol, cell.data, results)
    if not fewest:
        raise ValueError("no plateau cell is stored: run those first (--stage plateau)")
    return max(fewest.values())


# -------------------------------------------------------------------- a cell


def run_cell(
    cell: Cell,
    protocol: Protocol = Protocol(),
    results: Path = RESULTS,
    progress: bool = True,
    kept: Path | None = None,
) -> Path:
    """Compute one cell and write its record; an existing record is left as it is.

    kept: folder for the trained heads of seed 0; default: none is kept.
    """
    path = cell.path(results)
    if path.is_file():
        return path
    torch.set_num_threads(1)
    start = time.perf_counter()
    made = world(cell.fold, cell.seed, cell.stage, cell.head, protocol)
    work = {"tuning": tune, "plateau": climb, "final": score}[cell.stage]
    record = work(cell, made, protocol, results, progress, kept)
    head = {"cell": asdict(cell), "protocol": asdict(protocol), "versions": versions()}
    write_json(path, {**head, **record, "seconds": round(time.perf_counter() - start, 1)})
    return path


def tune(
    cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool, kept: Path | None
) -> dict:
    """Try every setting with the same steps; keep the best on the held-out base classes."""
    episodes = _episodes(made.test, 1, protocol.one_shot, made.split.validation)
    tried = []
    for lr, dropout in TRIALS:
        config = guidance_config(cell, dropout)
        model, _ = _train(cell, made, config, lr, protocol.tuning_steps, progress)
        miou = evaluate(model, made.test, episodes)["cross"].miou
        tried.append({"lr": lr, "dropout": dropout, "validation_miou": round(miou, 4)})
    return {"tried": tried, "best": max(tried, key=lambda t: t["validation_miou"])}


def climb(
    cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool, kept: Path | None
) -> dict:
    """Train anew for every number of steps; mIoU on base, validation and novel classes."""
    lr, dropout = settings(cell, results)
    tests = {"base": made.seen, "validation": made.test, "novel": made.novel}
    count, ladder = protocol.one_shot // 2, []
    for steps in protocol.ladder:
        config = guidance_config(cell, dropout)
        model, history = _train(cell, made, config, lr, steps, progress)
        rung = {
            name: round(evaluate(model, bank, _episodes(bank, 1, count))["cross"].miou, 4)
            for name, bank in tests.items()
        }
        ladder.append({"steps": steps, **rung, "loss": loss_curve(history)[-1]})
    return {"lr": lr, "dropout": dropout, "ladder": ladder}


def _episodes(bank: FeatureBank, shots: int, count: int, classes=None, seed: int = 0) -> list:
    return EpisodeSampler(bank.dataset, shots, classes).fixed(count, seed)


def _train(
    cell: Cell,
    made: World,
    config: ModelConfig,
    lr: float,
    steps: int,
    progress: bool,
) -> tuple[SCL, list[dict[str, float]]]:
    model = build_model(config, cell.seed, backbone())
    sampler = EpisodeSampler(made.train.dataset, 1, made.split.base)
    plan = TrainConfig(steps=steps, lr=lr, seed=cell.seed)
    return model, train(model, made.train, sampler, plan, "cpu", progress)


def loss_curve(history: Sequence[dict[str, float]], points: int = 25) -> list[dict[str, float]]:
    """Losses averaged over `points` equal stretches of training; "step" is a stretch's end."""
    ends = np.linspace(0, len(history), min(points, len(history)) + 1).astype(int)
    names = [name for name in history[0] if name != "seconds"]
    return [
        {"step": int(end)}
        | {n: round(float(np.mean([h[n] for h in history[start:end]])), 4) for n in names}
        for start, end in zip(ends[:-1], ends[1:], strict=True)
    ]


def method(
    cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool
) -> tuple[SCL, dict]:
    """The variant, ready to test, and what to record about how it came to be."""
    if cell.variant == "foreground":
        return all_foreground(backbone()), {}
    if cell.variant == "cosine":
        episodes = _episodes(made.train, 1, 300, made.split.base)
        best, mious = choose_threshold(backbone(), made.train, episodes)
        return cosine_method(backbone(), best), {"threshold": best, "base_miou": mious}
    lr, dropout = settings(cell, results)
    longer = protocol.seconds_factor if cell.variant.endswith("-seconds") else 1
    steps = round(plateau_steps(cell, protocol, results) * longer)
    config = guidance_config(cell, dropout)
    model, history = _train(cell, made, config, lr, steps, progress)
    notes = {"model": config.to_dict(), "lr": lr, "steps": steps, "curve": loss_curve(history)}
    return model, {**notes, "training_seconds": round(history[-1]["seconds"], 1)}


def score(
    cell: Cell, made: World, protocol: Protocol, results: Path, progress: bool, kept: Path | None
) -> dict:
    """Train (or not) and score on novel classes: one shot, five shots, one of five wrong.

    Trained models are scored with swapped vectors, too: does the head listen to them at all?
    """
    model, notes = method(cell, made, protocol, results, progress)
    bank, novel = made.test, made.split.novel
    one = _episodes(bank, 1, protocol.one_shot, novel, cell.seed)
    five = _episodes(bank, 5, protocol.five_shot, novel, cell.seed)
    scores = {"1": _summary(evaluate(model, bank, one)["cross"])}
    for name in SWAPS if cell.variant in CORE else ():
        scores[f"1 {name}"] = _summary(evaluate(model, bank, one, swap=name)["cross"])
    for name, wrong in (("5", 0), ("5-wrong", 1)):
        if cell.variant not in FIVE_SHOT:
            continue
        for fusion, result in evaluate(model, bank, five, FUSIONS, wrong).items():
            scores[f"{name} {fusion}"] = _summary(result)
    if kept is not None and is_kept(cell):
        notes["sha256"] = save_weights(model.head, kept / f"{cell.name}.safetensors")
    return {**notes, "novel": [bank.dataset.classes[i] for i in novel], "scores": scores}


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
