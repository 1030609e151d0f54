"""The one line that opens a chapter's world, against the parts it is made of."""

import pytest
import torch

from scl.course import world
from scl.datasets import FeatureBank, split_classes
from scl.toyshop import CLASSES


def test_a_world_is_its_parts():
    made = world(fold=1, scenes=2, seed=1001, device="cpu")
    split = split_classes(len(CLASSES), 1)
    assert made.names() == [CLASSES[i] for i in split.novel]
    assert made.names("base") == [CLASSES[i] for i in split.base]
    assert made.novel.seed != made.base.seed
    bank = made.bank()
    assert bank is made.bank(), "features are computed once"
    model = made.trained("scl")
    assert model.backbone is made.backbone
    alone = FeatureBank(model, made.novel, device="cpu")
    assert torch.equal(alone.maps.mid, bank.maps.mid)
    episode = made.episodes(3, shots=1)[2]
    assert made.novel.labels[episode.query] == episode.label


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="split='train': expected 'novel' or 'base'"):
        world(scenes=1, device="cpu").bank("train")
