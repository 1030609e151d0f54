"""Episodes and their sampler."""

import numpy as np
import pytest
import torch

from scl.method.episode import Episodes, EpisodeSampler, check_episodes, load_episodes
from scl.method.records import Maps
from tests.helpers.models import random_task


class Fake:
    """Three classes of twelve items; item i shares its material with item i ^ 1."""

    classes = ("a", "b", "c")
    labels = [i // 12 for i in range(36)]

    def sources(self, index):
        return frozenset((index // 2,))

    def __getitem__(self, index):
        image = np.full((8, 9, 3), index, np.uint8)
        mask = np.zeros((8, 9), np.uint8)
        mask[2:5, 3:6] = 1
        return image, mask


@pytest.mark.parametrize("shots", [1, 5])
def test_supports_are_distinct_of_the_class_and_share_nothing_with_the_query(shots):
    data = Fake()
    sampler = EpisodeSampler(data, shots)
    for episode in sampler.fixed(200, seed=0):
        assert len(set(episode.supports)) == shots and episode.query not in episode.supports
        assert {data.labels[i] for i in (*episode.supports, episode.query)} == {episode.label}
        assert all(not data.sources(i) & data.sources(episode.query) for i in episode.supports)


def test_every_class_and_item_is_drawn():
    episodes = EpisodeSampler(Fake(), 1).fixed(600, seed=1)
    assert {e.query for e in episodes} == set(range(36))
    counts = np.bincount([e.label for e in episodes])
    assert counts.min() > 150


def test_an_episode_depends_on_seed_and_place_alone():
    sampler = EpisodeSampler(Fake(), 2)
    long = sampler.fixed(20, seed=3)
    assert sampler.fixed(5, seed=3) == long[:5]
    assert sampler.fixed(5, seed=4) != long[:5]


def test_classes_can_be_chosen():
    labels = {e.label for e in EpisodeSampler(Fake(), 1, labels=(0, 2)).fixed(50, seed=0)}
    assert labels == {0, 2}


def test_too_few_images_are_named_with_the_class():
    with pytest.raises(ValueError, match="'a' has 12 images: .* 12 supports .* needs 13"):
        EpisodeSampler(Fake(), 12)
    with pytest.raises(ValueError, match="only 10 of 11 other images"):
        EpisodeSampler(Fake(), 11).fixed(1, 0)
    with pytest.raises(ValueError, match="K = 0"):
        EpisodeSampler(Fake(), 0)


def test_loaded_episodes_have_the_documented_shapes():
    data = Fake()
    episodes = load_episodes(data, EpisodeSampler(data, 3).fixed(2, 0))
    assert episodes.support.shape == (2, 3, 3, 8, 9)
    assert episodes.support_masks.shape == (2, 3, 8, 9)
    assert episodes.query.shape == (2, 3, 8, 9) and episodes.query_masks.shape == (2, 8, 9)
    assert 0 <= episodes.query.min() and episodes.query.max() <= 1
    assert episodes.labels.tolist() == [e.label for e in EpisodeSampler(data, 3).fixed(2, 0)]


def test_bad_episodes_are_refused():
    images, masks = torch.rand(1, 1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    query, label = torch.rand(1, 3, 8, 8), torch.tensor([0])
    with pytest.raises(ValueError, match="shows no object"):
        check_episodes(Episodes(images, masks, query, masks[0], label))
    masks[0, 0, 2, 2] = 1
    with pytest.raises(ValueError, match="query image 8 x 8 and mask 8 x 7 differ"):
        check_episodes(Episodes(images, masks, query, masks[0, ..., :7], label))
    with pytest.raises(ValueError, match="query mask holds the value 3"):
        check_episodes(Episodes(images, masks, query, masks[0] * 3, label))


@pytest.mark.parametrize("kind", ["images", "maps", "list"])
def test_every_form_of_supports_moves_and_loses_its_k(kind):
    images, masks, query, truth = random_task(b=2, k=1)
    support = {"images": images, "maps": Maps(images), "list": (images[:, 0],)}[kind]
    support_masks = (masks[:, 0],) if kind == "list" else masks
    episodes = Episodes(support, support_masks, query, truth, torch.arange(2)).to("cpu")
    alone = episodes.one_shot()
    found = alone.support.mid if kind == "maps" else alone.support
    assert torch.equal(found, images[:, 0]) and torch.equal(alone.support_masks, masks[:, 0])
    assert alone[2:] == episodes[2:]
    images, masks, query, truth = random_task(b=2, k=2)
    with pytest.raises(ValueError, match="2 supports: expected one"):
        Episodes(images, masks, query, truth, torch.arange(2)).one_shot()
