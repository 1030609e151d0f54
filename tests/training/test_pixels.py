"""Decoded images in memory and the loader: the same batches, each image once, nothing lost."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from scl.method.checks import check_support
from scl.method.episode import EpisodeIndex, EpisodeSampler, image_tensor
from scl.training.augment import CANET, CANET_QUERY, NONE, PFENET
from scl.training.pixels import (
    EpisodeImages,
    PixelBank,
    episode_loader,
    load_item,
    memory_gib,
)

SMALL = replace(PFENET, size=32)
PAIR = replace(CANET, size=32), replace(CANET_QUERY, size=32)
LARGEST = 59  # of the pictures below, so that on such a canvas none is shrunk


class Pictures:
    """Two classes of six items of different sizes; item 11 - i shows the image of item i.

    tiny: objects of one pixel in a corner; varied: a transform that makes each item differ.
    """

    classes = ("a", "b")
    labels = [0] * 6 + [1] * 6

    def __init__(self, tiny=False, varied=False):
        self.tiny, self.varied = tiny, varied

    def __len__(self):
        return 12

    def sources(self, index):
        return frozenset((f"photo {min(index, 11 - index)}",))

    def __getitem__(self, index):
        g = np.random.default_rng(min(index, 11 - index))
        height, width = g.integers(30, 60, 2)
        image = g.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if self.varied:
            image[0, 0] = index
        mask = np.zeros((height, width), np.uint8)
        y, x = g.integers(2, 12, 2) + 6 * (index // 6)
        if self.tiny:
            mask[-1, -1] = 1
        else:
            mask[y : y + 12, x : x + 12] = 1
            mask[y, :3] = 255
        return image, mask


class Same:
    """Three items of 32 x 32 without a shared source."""

    classes, labels = ("a",), [0, 0, 0]

    def sources(self, index):
        return frozenset((index, "paint"))

    def __getitem__(self, index):
        g = np.random.default_rng(index)
        mask = np.zeros((32, 32), np.uint8)
        mask[index : index + 9, 3:20] = 1
        return g.integers(0, 256, (32, 32, 3), dtype=np.uint8), mask


def generator(seed, place):
    return np.random.default_rng((seed, place))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def bank():
    return PixelBank(Pictures(), LARGEST, progress=False)


@pytest.fixture(scope="module")
def episodes():
    return EpisodeSampler(Pictures(), 2).fixed(6, 0)


def test_each_image_is_kept_once_with_the_mask_of_every_item(bank):
    data = Pictures()
    assert bank.images.shape == (6, 3, bank.side, bank.side) and len(bank.masks) == 12
    assert bank.side == LARGEST >= max(max(data[i][1].shape) for i in range(12))
    for i in range(12):
        (image, mask), (h, w) = data[i], bank.sizes[i]
        assert (h, w) == mask.shape
        kept = bank.images[bank.slots[i]]
        assert np.array_equal(kept[:, :h, :w].permute(1, 2, 0), image)
        assert np.array_equal(bank.masks[i, :h, :w], mask)
        assert (bank.masks[i, h:] == 255).all() and (bank.masks[i, :, w:] == 255).all()
    taken = bank.images.nbytes + bank.masks.nbytes
    assert taken / 2**30 == pytest.approx(memory_gib(data, bank.side))


def test_images_that_decode_differently_are_not_shared():
    bank = PixelBank(Pictures(varied=True), LARGEST, progress=False)
    assert len(bank.images) == 12 and bank.slots.tolist() == list(range(12))
    assert bank.images[:, 0, 0, 0].tolist() == list(range(12))


def test_large_images_are_shrunk_to_the_canvas():
    data = Pictures()
    bank = PixelBank(data, side=24, progress=False)
    assert bank.images.shape[-2:] == (24, 24) and bank.sizes.max() == 24
    for i in range(12):
        (image, mask), (h, w) = data[i], bank.sizes[i].tolist()
        assert abs(h / w - mask.shape[0] / mask.shape[1]) < 0.05
        small = Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR)
        assert np.array_equal(bank.images[bank.slots[i], :, :h, :w].permute(1, 2, 0), small)
        marks = Image.fromarray(mask).resize((w, h), Image.Resampling.NEAREST)
        assert np.array_equal(bank.masks[i, :h, :w], marks)


def test_an_object_does_not_get_lost_by_shrinking():
    for i in range(6):
        item = load_item(Pictures(tiny=True), i, 9)
        assert item.mask[-1, -1] == 1 and (item.mask == 1).sum() == 1


def test_without_augmentation_a_batch_holds_the_items_themselves():
    data, config = Same(), replace(NONE, size=32)
    batch = PixelBank(data, LARGEST, progress=False).episodes(
        [EpisodeIndex(2, (0, 1), 0), EpisodeIndex(1, (2, 0), 0)], config
    )
    assert batch.support.shape == (2, 2, 3, 32, 32) and batch.labels.tolist() == [0, 0]
    for b, (query, supports) in enumerate([(2, (0, 1)), (1, (2, 0))]):
        for k, i in enumerate(supports):
            assert torch.equal(batch.support[b, k], image_tensor(data[i][0]))
            assert torch.equal(batch.support_masks[b, k], torch.from_numpy(data[i][1]))
        assert torch.equal(batch.query[b], image_tensor(data[query][0]))
        assert torch.equal(batch.query_masks[b], torch.from_numpy(data[query][1]))
    assert batch.to("cpu").query_masks.dtype == torch.uint8


def test_the_augmentation_of_an_episode_depends_on_its_own_generator_alone(bank, episodes):
    whole = bank.episodes(episodes, SMALL, [generator(0, i) for i in range(6)])
    back = bank.episodes(episodes[::-1], SMALL, [generator(0, i) for i in range(6)][::-1])
    assert equal(whole, (x.flip(0) for x in back))
    alone = bank.episodes(episodes[3:4], SMALL, generator(0, 3))
    assert equal((x[3:4] for x in whole), alone)
    others = bank.episodes(episodes, SMALL, [generator(1, i) for i in range(6)])
    assert not torch.equal(whole.support, others.support)
    assert torch.equal(whole.labels, torch.tensor([e.label for e in episodes]))


def test_supports_and_queries_may_be_augmented_differently(bank, episodes):
    first, again = (
        bank.episodes(episodes, PAIR[0], [generator(s, i) for i in range(6)], PAIR[1])
        for s in (0, 1)
    )
    assert torch.equal(first.query, again.query)
    assert not torch.equal(first.support, again.support)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("side", [LARGEST, 25])
def test_the_loader_makes_the_batches_of_the_bank(episodes, workers, side):
    bank = PixelBank(Pictures(), side, progress=False)
    draws = partial(generator, 5)
    places = [[0, 1, 2], [5, 4], [3]]
    for config, query in ((SMALL, None), PAIR):
        images = EpisodeImages(Pictures(), episodes, bank.side, config, draws, query)
        before = torch.get_rng_state()
        batches = list(episode_loader(images, places, workers))
        assert torch.equal(before, torch.get_rng_state())
        assert len(batches) == 3
        for batch, these in zip(batches, places, strict=True):
            chosen = [episodes[i] for i in these]
            assert equal(batch, bank.episodes(chosen, config, [draws(i) for i in these], query))


def test_every_support_shows_its_object_after_any_crop():
    data = Pictures(tiny=True)
    bank, sampler = PixelBank(data, LARGEST, progress=False), EpisodeSampler(data, 2)
    for config in (replace(SMALL, size=16), replace(CANET, size=16), replace(NONE, size=16)):
        batch = bank.episodes(sampler.fixed(40, 0), config, generator(0, 0))
        check_support(batch.support, batch.support_masks)
        assert (batch.query_masks == 1).any(dim=2).any(dim=1).all()


def test_a_default_crop_has_the_side_of_the_recipes(bank):
    assert bank.episodes([EpisodeIndex(0, (1,), 0)]).query.shape[-1] == 473


def test_what_is_missing_is_named(bank, episodes):
    with pytest.raises(ValueError, match="pass a numpy generator for each episode"):
        bank.episodes(episodes, SMALL)
    with pytest.raises(ValueError, match="pass a numpy generator"):
        EpisodeImages(Pictures(), episodes, 64, SMALL)
    with pytest.raises(ValueError, match="1 generators for 6: expected one for each"):
        bank.episodes(episodes, SMALL, [generator(0, 0)])
    with pytest.raises(ValueError, match=r"2 episodes with \[1, 2\] supports"):
        bank.episodes([EpisodeIndex(0, (1,), 0), EpisodeIndex(0, (1, 2), 0)])
    with pytest.raises(ValueError, match=r"0 episodes with \[\]"):
        bank.episodes([])

    class Grey(Same):
        def __getitem__(self, index):
            return np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)

    class Levels(Same):
        def __getitem__(self, index):
            return np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 127, np.uint8)

    with pytest.raises(ValueError, match=r"item 0: image \(8, 8\) of uint8, mask"):
        PixelBank(Grey(), LARGEST, progress=False)
    with pytest.raises(ValueError, match="item 0: the mask holds 127: expected 0, 1 and 255"):
        PixelBank(Levels(), LARGEST, progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("home", ["cuda", "cpu"])
def test_a_bank_on_cuda_makes_the_batches_of_the_cpu(bank, episodes, home):
    draws = [[generator(0, i) for i in range(6)] for _ in range(2)]
    here = bank.episodes(episodes, SMALL, draws[0])
    moved = PixelBank(Pictures(), LARGEST, "cuda", torch.device(home), progress=False)
    there = moved.episodes(episodes, SMALL, draws[1])
    assert there.query.is_cuda and moved.images.is_cuda == (home == "cuda")
    assert torch.equal(here.support_masks, there.support_masks.cpu())
    assert (here.support - there.support.cpu()).abs().max() <= 1.01 / 255
