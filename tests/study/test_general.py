"""The general model: its batches, its judge, and what is shipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scl.datasets.fit import Fit
from scl.datasets.kept import KeptCells
from scl.method.episode import EpisodeSampler
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.models.general import FOLDER, general_record, load_general
from scl.models.prototypes import Prototypes
from scl.study import general
from scl.study.general import Wild, joined, judge, learned_presence, with_presence
from scl.study.side_by_side import drawn_batches
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages


def test_wild_items_are_the_same_each_time_and_keep_their_object():
    wild, tame = Wild(Blocks()), Blocks()
    for item in range(18):
        (image, mask), (again, other) = wild[item], wild[item]
        assert np.array_equal(image, again) and np.array_equal(mask, other)
        assert image.shape == tame[item][0].shape and image.dtype == np.uint8
        assert (mask == 1).any() and set(np.unique(mask)) <= {0, 1, 255}
    assert any(not np.array_equal(wild[i][0], tame[i][0]) for i in range(18))


def test_joined_batches_hold_all_episodes(tmp_path):
    bank = KeptCells(Prototypes(Stages(), "cosine"), Blocks(), Fit(64, "whole"), tmp_path)
    parts = [next(drawn_batches(bank, n, seed)) for seed, n in enumerate((3, 2))]
    both = joined(parts)
    assert len(both.labels) == len(both.query_masks) == 5
    assert torch.equal(both.query.mid[3:], parts[1].query.mid)


def test_the_judge_counts_empty_masks(tmp_path):
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=4, width=6)).eval()
    found = judge(model, Blocks(), tmp_path, 8, shots=2)
    tried = found["absent"]
    assert tried["0.00"]["miou"] == pytest.approx(found["1"]["miou"], abs=1e-5)
    shares = [row["empty"] for row in tried.values()]
    assert shares == sorted(shares)  # a higher bar empties more
    assert tried["0.00"]["gain_interval"] == [0, 0]
    for row in tried.values():
        low, high = row["empty_interval"]
        assert low <= row["empty"] <= high
    assert {"2 cross", "2 vectors", "2 average", "2-wrong cross"} <= set(found)


def test_presence_is_learned_and_put_beside_heads_that_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(general, "SHOWN", 10)
    monkeypatch.setattr(general, "CONFIG", SimilarityConfig(features=4, width=6))
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), general.CONFIG).eval()
    presence, least = learned_presence(model, [Blocks()], tmp_path)
    whole = with_presence(model.head.state_dict(), presence, Stages())
    episode = EpisodeSampler(Blocks(), 1).fixed(1, 3)
    batch = KeptCells(model, Blocks(), Fit(64, "whole"), tmp_path).batch(episode)
    before, after = (
        m.segment(m.condition(batch.support, batch.support_masks), batch.query)
        for m in (model, whole)
    )
    assert torch.equal(before.logits, after.logits) and torch.equal(before.presence, after.likeness)
    torch.testing.assert_close(after.presence, presence(after.signals))
    assert 0 <= least <= 1


def test_the_shipped_model_is_small_and_loads():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4 * 2**20
    model, record = load_general(), general_record()
    assert all(value.isfinite().all() for value in model.head.state_dict().values())
    assert not model.training and record["side"] == 320
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "VOC" in card and "licen" in card.lower()


def test_a_missing_model_is_told(tmp_path):
    with pytest.raises(ValueError, match="python -m scl general"):
        load_general(tmp_path)
