"""What the stored tuning and plateau experiments chose: learning rate, dropout, number of steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scl.study.grid import CORE, RESULTS, Budget, Experiment, grid


def settings(experiment: Experiment, results: Path = RESULTS) -> tuple[float, float]:
    """Read the (peak learning rate, dropout) that the tuning experiment of this fold chose.

    "v_s", "v_s+L1" and "scl" were tuned each by itself; the ablations of "scl" take its settings,
    so that a row differs from it by what it is named after and nothing else.
    """
    variant = experiment.variant.removesuffix("-seconds")
    variant = variant if variant in CORE else "scl"
    source = Experiment(experiment.head, variant, experiment.fold, 0, "tuning").path(results)
    if not source.is_file():
        raise ValueError(f"{source.name} is missing: run the tuning stage first (--stage tuning)")
    best = json.loads(source.read_text())["best"]
    return best["lr"], best["dropout"]


def plateau_curves(results: Path = RESULTS) -> list[dict]:
    """Read every rung: {"variant", "fold", "steps", "base", "validation", "novel"}, mIoU."""
    experiments = [e for e in grid() if e.stage == "plateau" and e.path(results).is_file()]
    return [
        {"variant": experiment.variant, "fold": experiment.fold, **rung}
        for experiment in experiments
        for rung in json.loads(experiment.path(results).read_text())["ladder"]
    ]


def plateau_by_variant(budget: Budget = Budget(), results: Path = RESULTS) -> dict[str, int]:
    """Find, for each variant with a ladder, the fewest steps within `slack` of its own best.

    Judged by the mIoU on validation classes, mean over folds.
    """
    rungs, found = plateau_curves(results), dict[str, int]()
    for variant in sorted({r["variant"] for r in rungs}):
        own = [r for r in rungs if r["variant"] == variant]
        means = {
            steps: float(np.mean([r["validation"] for r in own if r["steps"] == steps]))
            for steps in budget.ladder
        }
        found[variant] = fewest(means, budget.slack)
    return found


def fewest(means: Mapping[int, float], slack: float) -> int:
    """Choose the fewest steps whose mean mIoU is at most `slack` below the best."""
    return min(steps for steps, mean in means.items() if mean >= max(means.values()) - slack)


def plateau_steps(budget: Budget, results: Path = RESULTS) -> int:
    """Choose the steps of every final experiment: enough for the slowest learner's plateau.

    The most of plateau_by_variant, so all rows train equally long and none is cut short.
    """
    fewest = plateau_by_variant(budget, results)
    if not fewest:
        raise ValueError("no plateau experiment is stored: run those first (--stage plateau)")
    return max(fewest.values())
