"""Kept features: computed once, laid on one grid, with masks that follow."""

from __future__ import annotations

import numpy as np
import torch

from scl.datasets.fit import Fit
from scl.datasets.kept import MARKS, KeptCells
from scl.method.episode import EpisodeIndex, EpisodeSampler
from scl.method.similarity import in_picture
from scl.models.prototypes import Prototypes
from scl.models.untrained import all_foreground
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages, TinyBackbone

FIT = Fit(64, "whole")


def kept(folder, truths: bool = True) -> KeptCells:
    return KeptCells(Prototypes(Stages(), "cosine"), Blocks(), FIT, folder, truths)


def test_a_picture_is_encoded_once_and_kept(tmp_path):
    first = kept(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == len({Blocks().sources(i) for i in range(18)})
    second = kept(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    encoder = Prototypes(Stages(), "cosine")
    for item in range(18):
        fresh = encoder.encode(FIT.to_network(Blocks()[item][0])[0][None]).mid[0]
        assert torch.equal(second.cells(item), fresh.half().float())
        assert torch.equal(first.masks[item], second.masks[item])


def test_another_fit_has_files_of_its_own(tmp_path):
    kept(tmp_path)
    count = len(list(tmp_path.iterdir()))
    KeptCells(Prototypes(Stages(), "cosine"), Blocks(), Fit(32, "whole"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * count


def test_pictures_of_several_shapes_lie_on_one_grid(tmp_path):
    bank = kept(tmp_path)
    episodes = [EpisodeIndex(1, (2, 4), 0), EpisodeIndex(7, (8, 10), 1)]
    batch = bank.batch(episodes)
    assert batch.support.mid.shape[:2] == (2, 2) and batch.support_masks.shape[:2] == (2, 2)
    for place, episode in enumerate(episodes):
        cells = bank.cells(episode.query)
        laid = batch.query.mid[place]
        assert torch.equal(laid[:, : cells.shape[1], : cells.shape[2]], cells)
        assert in_picture(laid[None]).sum() == cells.shape[1] * cells.shape[2]
        assert (batch.query_masks[place] != 255).sum() == bank.masks[episode.query].numel()


def test_a_mirrored_batch_holds_the_same_object(tmp_path):
    bank = kept(tmp_path)
    episodes = EpisodeSampler(bank.dataset).fixed(6, 0)
    plain, turned = bank.batch(episodes), bank.batch(episodes, np.random.default_rng(0))
    assert turned.query.mid.shape[-2:] == (8, 8)  # a square, so that batches can be joined
    for one, other in zip(plain.query_masks, turned.query_masks, strict=True):
        assert (one == 1).sum() == (other == 1).sum()
    ratio = 8 // MARKS
    for place, episode in enumerate(episodes):
        mask, (h, w) = turned.query_masks[place], bank.cells(episode.query).shape[1:]
        known = mask[: h * ratio, : w * ratio]
        straight = torch.equal(known, bank.masks[episode.query])
        back = known if straight else known.flip(-1)
        assert torch.equal(back, bank.masks[episode.query])
        own = turned.query.mid[place][:, :h, :w]
        assert torch.equal(own if straight else own.flip(-1), bank.cells(episode.query))


def test_high_level_maps_are_made_once_and_follow_the_mask(tmp_path):
    backbone = TinyBackbone()
    plain = KeptCells(all_foreground(backbone), Blocks(), FIT, tmp_path)
    before, episode = set(tmp_path.iterdir()), EpisodeSampler(Blocks(), 2).fixed(1, 3)[0]
    bank = plain.with_high(backbone)
    batch, wrong = bank.batch([episode]), bank.batch([episode], wrong=1)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before < set(files) and plain.batch([episode]).query.high is None
    again = plain.with_high(backbone).batch([episode])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert torch.equal(again.support.masked, batch.support.masked)
    assert batch.query.masked is None and batch.query.high.shape[1] == 5
    assert not torch.equal(wrong.support.masked[0, 0], batch.support.masked[0, 0])
    assert torch.equal(wrong.support.masked[0, 1], batch.support.masked[0, 1])
    item = episode.query
    made = backbone.high(plain.cells(item)[None])[0].half().float()
    assert torch.equal(batch.query.high[0], made)


def test_a_query_without_the_object_has_an_empty_mask(tmp_path):
    bank, generator = kept(tmp_path), np.random.default_rng(0)
    for episode in EpisodeSampler(bank.dataset).fixed(20, 1):
        free = bank.without(episode, generator)
        shown = {bank.dataset.sources(i) for i in range(18) if bank.dataset.labels[i] == free.label}
        assert bank.dataset.sources(free.query) not in shown
        assert not (bank.batch([free]).query_masks == 1).any()
        assert not bank.truth(free).any() and bank.truth(episode).any()


def test_a_wrong_support_has_a_mask_of_another_class(tmp_path):
    bank = kept(tmp_path)
    episode = EpisodeSampler(bank.dataset, 2).fixed(1, 3)[0]
    right, wrong = bank.batch([episode]), bank.batch([episode], wrong=1)
    assert not torch.equal(right.support_masks[0, 0], wrong.support_masks[0, 0])
    assert torch.equal(right.support_masks[0, 1], wrong.support_masks[0, 1])
    assert (wrong.support_masks[0, 0] == 1).any()
