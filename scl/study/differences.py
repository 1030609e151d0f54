"""Differences in mIoU between two methods on the same episodes, with their intervals.

The interval is Student's t over the runs: differences are paired by episode within a run, their
spread over seeds is pooled over the folds (three seeds in four folds leave 8 degrees of freedom),
and folds are fixed, for there are only these four. It holds the doubt of seeds and of episodes.
Where a fold has a single seed, the others' tell too little of what a seed moves: the first of each
fold is compared, only the episodes can be drawn again (a bootstrap), and the difference says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scl.evaluation.intervals import end_of
from scl.method.metric import interval, resample, verdict, weighted_miou
from scl.study.grid import RESULTS
from scl.study.scores import Scores, read_scores


@dataclass(frozen=True)
class Difference:
    """mIoU of one method minus another's over the same episodes, in 0..1.

    low, high: 95 % interval; runs: how many (fold, seed) both have; seeds: whether the interval
    holds the doubt of seeds, too.
    """

    mean: float
    low: float
    high: float
    runs: int
    seeds: bool = True

    def __str__(self) -> str:
        return self.figures if self.seeds else f"{self.figures}, one seed"

    @property
    def figures(self) -> str:
        """The difference and its interval, in points."""
        return f"{100 * self.mean:+.1f} [{end_of(100 * self.low)}, {end_of(100 * self.high)}]"

    @property
    def verdict(self) -> str:
        """What may be said: "higher", "lower", or that no difference shows."""
        said = verdict(100 * self.low, 100 * self.high)
        return said if self.seeds else f"{said} (one seed)"


def difference(
    a: str, b: str, a_setting: str = "1", b_setting: str = "1", results: Path = RESULTS
) -> Difference:
    """Compare two stored variants (CANet-style head), for a sentence of a chapter."""
    first = read_scores(a, a_setting, results=results)
    return paired_difference(first, read_scores(b, b_setting, results=results))


def paired_difference(a: Scores, b: Scores) -> Difference:
    """Compute a minus b over the (fold, seed) that both have, with a 95 % interval."""
    shared = sorted(set(a) & set(b))
    if not shared:
        raise ValueError("no (fold, seed) is stored for both methods: run the missing experiments")
    seeds = [fold for fold, _ in shared]
    if min(map(seeds.count, seeds)) == 1:
        shared = sorted({fold: (fold, seed) for fold, seed in reversed(shared)}.values())
    gaps: dict[int, list[float]] = {}
    for fold, seed in shared:
        one, other = a[fold, seed], b[fold, seed]
        if not np.array_equal(_episodes(one)[0], _episodes(other)[0]):
            raise ValueError(f"fold and seed {fold, seed}: the two methods saw different episodes")
        gaps.setdefault(fold, []).append(one["miou"] - other["miou"])
    mean = float(np.mean([np.mean(values) for values in gaps.values()]))
    if len(shared) == len(gaps):
        low, high = _over_episodes(a, b, shared)
        return Difference(mean, low, high, len(shared), seeds=False)
    half = _half_width(list(gaps.values()))
    return Difference(mean, mean - half, mean + half, len(shared))


def _half_width(gaps: list[list[float]]) -> float:
    """t times the standard error of the mean over folds of means over seeds."""
    from scipy.stats import t  # here, for scipy.stats is slow to import

    freedom = sum(len(fold) - 1 for fold in gaps)
    squares = sum(float(np.sum((np.array(fold) - np.mean(fold)) ** 2)) for fold in gaps)
    variance = squares / freedom * sum(1 / len(fold) for fold in gaps) / len(gaps) ** 2
    return float(t.ppf(0.975, freedom)) * variance**0.5


def _over_episodes(a: Scores, b: Scores, shared: list[tuple[int, int]]) -> tuple[float, float]:
    """Draw the episodes of each run again, the same for both methods."""
    drawn = []
    for key in shared:
        (labels, counts), (_, other) = _episodes(a[key]), _episodes(b[key])
        weights = resample(len(labels), np.random.default_rng(key))
        drawn.append(weighted_miou(counts, labels, weights) - weighted_miou(other, labels, weights))
    return interval(np.mean(drawn, axis=0))


def _episodes(run: dict) -> tuple[np.ndarray, np.ndarray]:
    """Labels [E], and intersections with unions [E, 2]."""
    rows = np.array(run["episodes"])
    return rows[:, 0], rows[:, 1:]
