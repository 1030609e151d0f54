"""Scores with their intervals: of one method, of a difference, of a sample, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from scl.evaluation.evaluate import Result
from scl.method.metric import interval, resample, verdict, weighted_miou


def score_with_interval(result: Result, seed: int = 0) -> tuple[float, float, float]:
    """Compute mIoU in percent and its 95 % interval over episodes (value, low, high)."""
    draws = resample(len(result.labels), np.random.default_rng(seed))
    low, high = interval(weighted_miou(result.counts, result.labels, draws))
    return 100 * result.miou, 100 * low, 100 * high


def gain_with_interval(a: Result, b: Result, seed: int = 0) -> tuple[float, float, float]:
    """Subtract the mIoU of b from that of a over the same episodes, in percent, with interval."""
    draws = resample(len(a.labels), np.random.default_rng(seed))
    boot = [weighted_miou(r.counts, r.labels, draws) for r in (a, b)]
    low, high = interval(boot[0] - boot[1])
    return 100 * (a.miou - b.miou), 100 * low, 100 * high


def mean_with_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Average a sample; its 95 % interval comes from drawing the sample again (bootstrap)."""
    sample = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(len(sample), size=(1000, len(sample)))
    return (float(sample.mean()), *interval(sample[draws].mean(axis=1)))


def gap_with_interval(
    a: Sequence[float], b: Sequence[float], seed: int = 0
) -> tuple[float, float, float]:
    """Subtract the means of two samples, unpaired, with the 95 % bootstrap interval."""
    generator, drawn = np.random.default_rng(seed), []
    first, second = np.asarray(a, float), np.asarray(b, float)
    for sample in (first, second):
        draws = generator.integers(len(sample), size=(1000, len(sample)))
        drawn.append(sample[draws].mean(axis=1))
    return (float(first.mean() - second.mean()), *interval(drawn[0] - drawn[1]))


def widen(
    bar: tuple[float, float, float], noise: float, level: float = 1.96
) -> tuple[float, float, float]:
    """Make an interval over episodes wide enough for another seed, too.

    bar: (value, low, high); noise: standard deviation over seeds (scl.study.tables.seed_noise).
    """
    value, low, high = bar
    return (
        value,
        value - math.hypot(value - low, level * noise),
        value + math.hypot(high - value, level * noise),
    )


def in_words(name: str, value: float, low: float, high: float) -> str:
    """Say a difference, its interval, and whether it shows."""
    return conclude(name, (value, low, high), "higher", "lower")


def conclude(
    name: str,
    gap: tuple[float, float, float],
    higher: str,
    lower: str,
    unclear: str = "no difference shown",
) -> str:
    """Say a difference (value, low, high), and the sentence that its interval allows."""
    value, low, high = gap
    said = {"higher": higher, "lower": lower}.get(verdict(low, high), unclear)
    return f"{name} {value:+.1f} [{low:+.1f}, {high:+.1f}]\nverdict: {said}"


def table_of(results: Mapping[str, Result], seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Score results by name, with intervals, as scl.course.draw.whiskers takes them."""
    return {name: score_with_interval(result, seed) for name, result in results.items()}
