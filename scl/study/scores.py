"""The stored scores of one setting, over folds and seeds: read, averaged, and how far they spread.

A setting is one of the keys under "scores" in a record: "1", "1 zero", "5 cross", "5-wrong cross".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from scl.study.grid import RESULTS, SEEDS, UNTRAINED, Experiment, grid

# (fold, seed) -> {"miou", "fb_iou", "episodes", ...}
Scores = dict[tuple[int, int], dict]


def final_experiments(head: str = "canet") -> Iterator[Experiment]:
    """List the experiments that tables read."""
    return (experiment for experiment in grid(head) if experiment.stage == "final")


def stored(head: str = "canet", results: Path = RESULTS) -> str:
    """Say how much of a grid is there."""
    done = [experiment.path(results).is_file() for experiment in final_experiments(head)]
    return f"{sum(done)} of {len(done)} runs"


@lru_cache(maxsize=512)
def _read(path: Path, modified: int) -> dict:
    return json.loads(path.read_text())["scores"]


def read_scores(
    variant: str, setting: str = "1", head: str = "canet", results: Path = RESULTS
) -> Scores:
    """Read a variant's scores in a setting, of every (fold, seed) that is stored."""
    found: Scores = {}
    # Methods without a head are stored once.
    for experiment in final_experiments("canet" if variant in UNTRAINED else head):
        path = experiment.path(results)
        if experiment.variant == variant and path.is_file():
            scores = _read(path, path.stat().st_mtime_ns)
            if setting in scores:
                found[experiment.fold, experiment.seed] = scores[setting]
    return found


def by_fold(scores: Scores, name: str = "miou") -> dict[int, list[float]]:
    """Gather one measure fold by fold: a value for each seed."""
    found: dict[int, list[float]] = {}
    for fold, seed in sorted(scores):
        found.setdefault(fold, []).append(scores[fold, seed][name])
    return found


def mean_score(scores: Scores, name: str = "miou") -> float:
    """Average over folds the means over seeds, in 0..1; NaN where nothing is stored."""
    means = [np.mean(values) for values in by_fold(scores, name).values()]
    return float(np.mean(means)) if means else float("nan")


def seed_spread(scores: Scores, name: str = "miou") -> float:
    """Measure the standard deviation over seeds of the mean over folds, of seeds with all folds."""
    folds = len(by_fold(scores))
    by_seed = [[s[name] for (_, seed), s in scores.items() if seed == each] for each in SEEDS]
    means = [np.mean(values) for values in by_seed if values and len(values) == folds]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def seed_noise(variant: str = "scl", head: str = "canet", results: Path = RESULTS) -> float:
    """Measure how far one seed's mIoU lies from another's: standard deviation, in points.

    Within folds, over the stored seeds (initial weights and scenes); 0 with a single seed.
    """
    folds = by_fold(read_scores(variant, head=head, results=results)).values()
    variances = [np.var(mious, ddof=1) for mious in folds if len(mious) > 1]
    return 100 * float(np.mean(variances)) ** 0.5 if variances else 0.0
