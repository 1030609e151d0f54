"""Kept images and images decoded anew give the same batches; what does not fit is not kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scl.augment import CANET, CANET_QUERY, NONE, PFENET
from scl.episode import EpisodeSampler
from scl.pixels import PixelBank, Steps, free_gib, memory_gib, place_for, slots_of
from scl.stream import TrainingEpisodes


class Oblongs:
    """Twelve images of several sizes; every third shows two classes, so two items."""

    classes = ("red", "green", "blue")

    def __init__(self):
        self.pairs = [(i, i % 3) for i in range(12)] + [(i, 2) for i in (0, 3, 6, 9)]
        self.labels = [label for _, label in self.pairs]

    def sources(self, index):
        return frozenset((self.pairs[index][0],))

    def __getitem__(self, index):
        image, label = self.pairs[index]
        rng = np.random.default_rng(image)
        h, w = (int(x) for x in rng.integers(40, 80, 2))
        pixels = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
        mask = np.zeros((h, w), np.uint8)
        mask[5 + 9 * label : 14 + 9 * label, 8:30] = 1
        mask[:3] = 255
        return pixels, mask


DATA = Oblongs()
CONFIGS = {
    "pfenet": (replace(PFENET, size=57), replace(PFENET, size=57)),
    "canet": (replace(CANET, size=41), replace(CANET_QUERY, size=41)),
    "none": (replace(NONE, size=64), replace(NONE, size=64)),
}


def steps(name: str = "pfenet", places=range(4)) -> Steps:
    episodes = TrainingEpisodes(EpisodeSampler(DATA), 1)
    return Steps(DATA, episodes, CONFIGS[name], 4, places, 80)


@pytest.fixture(scope="module")
def bank():
    return PixelBank(DATA, 80, progress=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_kept_images_give_the_batches_of_the_loader(bank, name):
    plan = steps(name)
    for step in range(6):
        kept, decoded = bank.batch(plan, step), plan[step]
        for a, b in zip(kept, decoded, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert torch.equal(a, b)


def test_workers_change_nothing():
    plan = steps()
    alone, helped = (list(plan.loader(range(3, 7), workers)) for workers in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(alone[0].query, plan[3].query)


def test_a_batch_holds_images_and_labels_as_training_wants_them(bank):
    batch = bank.batch(steps(), 0)
    assert batch.support.shape == batch.query.shape == (4, 3, 57, 57)
    assert 0 <= batch.query.min() and batch.query.max() <= 1
    assert set(batch.query_masks.unique().tolist()) <= {0, 1, 255}
    assert all((m == 1).any() for m in (*batch.support_masks, *batch.query_masks))


def test_processes_share_a_batch(bank):
    whole = bank.batch(steps(), 2)
    parts = [bank.batch(steps(places=p), 2) for p in (range(2), range(2, 4))]
    for one, halves in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(halves))


def test_items_of_one_image_share_it(bank):
    assert slots_of(DATA) == [*range(12), 0, 3, 6, 9]
    assert len(bank.images) == 12 and len(bank.masks) == 16
    assert memory_gib(DATA, 80) == pytest.approx((3 * 12 + 16) * 80 * 80 / 2**30)
    kept = bank.images.numel() + bank.masks.numel()
    assert memory_gib(DATA, 80) * 2**30 == pytest.approx(kept)


def test_a_large_image_is_shrunk_to_the_canvas():
    small = PixelBank(DATA, 48, progress=False)
    for item, (height, width) in enumerate(small.sizes.tolist()):
        h, w = DATA[item][1].shape
        assert max(height, width) <= 48
        assert height / width == pytest.approx(h / w, rel=0.05)
        assert set(small.masks[item].unique().tolist()) <= {0, 1, 255}


def test_a_transform_that_differs_by_item_is_refused():
    class Odd(Oblongs):
        def __getitem__(self, index):
            image, mask = super().__getitem__(index)
            return (255 - image if index > 11 else image), mask

    with pytest.raises(ValueError, match="loader"):
        PixelBank(Odd(), 80, progress=False)


def test_where_images_are_kept(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    free = {"cpu": 1.0, "cuda": 1.0}
    monkeypatch.setattr("scl.pixels.free_gib", lambda device: free[device.type])
    assert place_for(DATA, 80, "auto", cpu) is None
    assert place_for(DATA, 80, "auto", gpu) == gpu
    assert place_for(DATA, 80, "memory", gpu) == cpu
    assert place_for(DATA, 80, "loader", gpu) is None
    free["cuda"] = 1e-6
    assert place_for(DATA, 80, "auto", gpu) == cpu
    free["cpu"] = 1e-6
    assert place_for(DATA, 80, "auto", gpu) is None
    with pytest.raises(ValueError, match="loader"):
        place_for(DATA, 80, "device", gpu)
    with pytest.raises(ValueError, match="'memory'"):
        place_for(DATA, 80, "disk", gpu)


def test_free_memory_is_known_or_none():
    assert free_gib(torch.device("cpu")) >= 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_device_gives_the_same_batches(bank):
    there = PixelBank(DATA, 80, "cuda", progress=False)
    for a, b in zip(bank.batch(steps(), 1), there.batch(steps(), 1), strict=True):
        assert torch.equal(a, b.cpu())
