"""Presence: what it sees, and that it learns the order in which to empty masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scl.method.presence import (
    PresenceHead,
    found_of,
    limit_that_empties,
    logit_signals,
    separation,
    stage_cosines,
)


def test_logits_are_described_where_the_picture_is():
    logits = torch.tensor([[[2.0, -1.0], [0.5, 9.0]]])
    there = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    z = np.array([2.0, -1.0, 0.5])
    p = 1 / (1 + np.exp(-z))
    inside = (z * p)[[0, 2]].sum() / p[[0, 2]].sum()
    expected = [2.0, 2.0, inside, p.mean(), z.mean(), z.std(), 2 / 3]
    assert logit_signals(logits, there)[0].numpy() == pytest.approx(np.array(expected), abs=1e-5)


def test_where_nothing_was_found_all_cells_count():
    chance = torch.tensor([[[0.9, 0.2]], [[0.4, 0.2]]])
    assert torch.equal(found_of(chance), torch.tensor([[[0.9, 0.0]], [[0.4, 0.2]]]))


def test_cosines_are_of_each_stage_by_itself():
    one, other = torch.tensor([[1.0, 0, 3, 0]]), torch.tensor([[2.0, 0, 0, 5]])
    assert stage_cosines(one, other, (2, 2)).tolist() == [[1.0, 0.0]]


def test_presence_is_the_expected_overlap_over_the_chance_of_absence():
    # Two kinds of pictures: 60 and 20 show it, at an overlap of 0.9 and 0.3; 20 and 60 do not.
    kind = torch.tensor([0.0] * 80 + [1.0] * 80)[:, None]
    shown = torch.tensor(([True] * 60 + [False] * 20) + ([True] * 20 + [False] * 60))
    overlaps = torch.where(shown, torch.where(kind[:, 0] == 0, 0.9, 0.3), 0.0)
    head = PresenceHead(1)
    head.learn(kind, overlaps, shown, decay=0.0)
    likely, unlikely = (head(torch.tensor([[k]])).item() for k in (0.0, 1.0))
    lost = 60 * 0.9 + 20 * 0.3
    assert likely / (1 - likely) == pytest.approx((60 * 0.9 / lost) / (20 / 80), rel=1e-3)
    assert unlikely / (1 - unlikely) == pytest.approx((20 * 0.3 / lost) / (60 / 80), rel=1e-3)


def test_a_limit_empties_the_share_asked_for():
    assert limit_that_empties(np.linspace(0, 1, 101).tolist(), 0.8) == pytest.approx(0.8)


def test_separation_is_the_area_under_the_roc():
    assert separation([0.9, 0.5], [0.5, 0.1]) == pytest.approx(3.5 / 4)
