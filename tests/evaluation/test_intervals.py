"""Scores with intervals, against cases known by hand."""

import numpy as np
import pytest

from scl.evaluation.evaluate import Result
from scl.evaluation.intervals import (
    conclude,
    gain_with_interval,
    gap_with_interval,
    in_words,
    mean_with_interval,
    score_with_interval,
    widen,
)


def test_intervals_hold_their_value_and_say_no_more_than_they_allow():
    rng = np.random.default_rng(0)
    unions = np.full(200, 100)
    hits = rng.integers(20, 60, 200)
    labels = np.arange(200) % 5

    def result(inter):
        rest = np.zeros(200, int)
        return Result(np.stack([inter, unions, rest, rest], axis=1), labels)

    value, low, high = score_with_interval(result(hits))
    assert low < value < high and value == pytest.approx(hits.mean())
    assert gain_with_interval(result(hits + 3), result(hits)) == pytest.approx((3, 3, 3))
    assert in_words("a", 1.0, 0.5, 1.5) == "a +1.0 [+0.5, +1.5]\nverdict: higher"
    assert in_words("a", 1.0, -0.5, 1.5).endswith("no difference shown")


def test_widening_keeps_the_value_and_never_narrows():
    bar = (30.0, 28.0, 33.0)
    assert widen(bar, 0.0) == pytest.approx(bar)
    value, low, high = widen(bar, 2.0)
    assert value == 30 and 30 - low == pytest.approx((4 + 3.92**2) ** 0.5) and high > 33


def test_a_conclusion_is_the_sentence_that_the_interval_allows():
    gaps = ((1, 0.2, 2), (-1, -2, -0.2), (1, -0.2, 2))
    said = [conclude("a", gap, "more", "less").splitlines()[1] for gap in gaps]
    assert said == ["verdict: more", "verdict: less", "verdict: no difference shown"]
    # An end that rounds to 0.0 does not exclude zero; it is printed with its second digit.
    shown = conclude("a", (1, 0.04, 2), "more", "less", "unclear")
    assert shown == "a +1.0 [+0.04, +2.0] (+0.04 counts as zero)\nverdict: unclear"
    below = conclude("a", (-1, -2, -0.04), "more", "less", "unclear")
    assert below == "a -1.0 [-2.0, -0.04] (-0.04 counts as zero)\nverdict: unclear"
    over = conclude("a", (1, -0.04, 2), "more", "less", "unclear")
    assert over == "a +1.0 [-0.04, +2.0]\nverdict: unclear"


def test_means_and_gaps_hold_their_value():
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, 80), rng.normal(3, 1, 40)
    value, low, high = mean_with_interval(a)
    assert low < value < high and value == pytest.approx(a.mean())
    # About two standard errors to either side.
    assert high - low == pytest.approx(4 * a.std() / 80**0.5, rel=0.2)
    value, low, high = gap_with_interval(a, b)
    assert 0 < low < value < high and value == pytest.approx(a.mean() - b.mean())
