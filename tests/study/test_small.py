"""Small things in large rooms: as large as asked for, and found both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.study import small
from scl.toyshop.dice import Dice
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_thing_covers_its_share_of_a_room(share):
    room = small.furnished(Blocks(), 3, share, Dice(0))
    again = small.furnished(Blocks(), 3, share, Dice(0))
    assert np.array_equal(room.image, again.image) and np.array_equal(room.mask, again.mask)
    assert room.image.shape == (small.SIDE, small.SIDE, 3)
    assert (room.mask == 1).mean() == pytest.approx(share, rel=0.1)


def test_both_ways_are_measured(monkeypatch):
    monkeypatch.setattr(small, "SHARES", (0.02,))
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=4, width=6)).eval()
    (found,) = small.measure(model, Blocks(), 1).values()
    names = {f"{a} {b}" for a in ("ordinary", "alike") for b in ("glance", "closer")}
    assert set(found) == names | {f"{name} cpu_seconds" for name in names}
    assert all(0 <= found[name] <= 1 for name in names)
