"""Scores with their intervals: of one method, of a difference, of a sample, and in words.

Every interval is a bootstrap of 1000 draws, and the draws are always the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from scl.evaluation.evaluate import Result
from scl.method.metric import interval, resample, verdict, weighted_miou

Bar = tuple[float, float, float]  # value, low, high


def score_with_interval(result: Result) -> Bar:
    """Compute mIoU in percent and its 95 % interval over episodes."""
    draws = resample(len(result.labels), np.random.default_rng(0))
    low, high = interval(weighted_miou(result.counts, result.labels, draws))
    return 100 * result.miou, 100 * low, 100 * high


def gain_with_interval(a: Result, b: Result) -> Bar:
    """Subtract the mIoU of b from that of a over the same episodes, in percent."""
    draws = resample(len(a.labels), np.random.default_rng(0))
    boot = [weighted_miou(r.counts, r.labels, draws) for r in (a, b)]
    low, high = interval(boot[0] - boot[1])
    return 100 * (a.miou - b.miou), 100 * low, 100 * high


def mean_with_interval(values: Sequence[float], seed: int = 0) -> Bar:
    """Average a sample; its interval comes from drawing the sample again."""
    sample = np.asarray(values, float)
    return (float(sample.mean()), *interval(_means(sample, np.random.default_rng(seed))))


def gap_with_interval(a: Sequence[float], b: Sequence[float]) -> Bar:
    """Subtract the mean of b from that of a, two samples that are not paired."""
    generator, samples = np.random.default_rng(0), [np.asarray(x, float) for x in (a, b)]
    first, second = (_means(sample, generator) for sample in samples)
    return (float(samples[0].mean() - samples[1].mean()), *interval(first - second))


def _means(sample: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Average 1000 draws of a sample, with replacement: [1000]."""
    return sample[generator.integers(len(sample), size=(1000, len(sample)))].mean(axis=1)


def widen(bar: Bar, noise: float, level: float = 1.96) -> Bar:
    """Make an interval over episodes wide enough for another seed, too.

    noise: standard deviation over seeds (scl.study.scores.seed_noise).
    """
    value, low, high = bar
    ends = (math.hypot(value - low, level * noise), math.hypot(high - value, level * noise))
    return value, value - ends[0], value + ends[1]


def in_words(name: str, value: float, low: float, high: float) -> str:
    """Say a difference, its interval, and whether it shows."""
    return conclude(name, (value, low, high), "higher", "lower")


def conclude(
    name: str, gap: Bar, higher: str, lower: str, unclear: str = "no difference shown"
) -> str:
    """Say a difference and the sentence that its interval allows."""
    value, low, high = gap
    said = {"higher": higher, "lower": lower}.get(verdict(low, high), unclear)
    # Its sign tells what "0.0" hides; the verdict takes the end for zero.
    beside = [end for end in (low, high) if end and round(end, 1) == 0]
    note = f" ({beside[0]:+.2f} counts as zero)" if beside and low * high > 0 else ""
    return f"{name} {value:+.1f} [{end_of(low)}, {end_of(high)}]{note}\nverdict: {said}"


def end_of(value: float) -> str:
    """Print an interval's end with one digit, or two where one would show only zeros."""
    return f"{value:+.2f}" if value and not round(value, 1) else f"{value:+.1f}"


def table_of(results: Mapping[str, Result]) -> dict[str, Bar]:
    """Score results by name, with intervals, as scl.course.draw.whiskers takes them."""
    return {name: score_with_interval(result) for name, result in results.items()}
