"""A method that is not SCL, in one place: what evaluates and predicts needs no change."""

import numpy as np
import pytest
import torch
from PIL import Image

from scl.datasets.bank import FeatureBank
from scl.datasets.fit import Fit
from scl.evaluation.evaluate import evaluate
from scl.evaluation.predict import predict_files
from scl.evaluation.protocol import ProtocolConfig, evaluate_protocol
from scl.method.contracts import Method
from scl.method.episode import EpisodeSampler
from scl.method.losses import resize_logits
from scl.method.records import Segmentation, Support
from scl.method.vectors import masked_gap, shrink_mask
from tests.helpers.models import TinyBackbone, random_task


class Prototypes(Method):
    """Two averages of all supports, object and rest: a cell belongs to the nearer one (PANet)."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def condition(self, images, masks):
        pairs = []
        for maps, mask in self.read_supports(images, masks):
            shots, mid = mask.shape[:2], maps.mid.flatten(0, 1)
            inside = shrink_mask(mask.flatten(0, 1), mid.shape[-2:])
            pair = [masked_gap(mid, 1 - inside), masked_gap(mid, inside)]
            pairs.append(torch.stack(pair, dim=1).unflatten(0, shots))
        return Support.unscored(torch.cat(pairs, dim=1))

    def segment(self, support, query, fusion="cross", size=None):
        maps, size = self.read_query(query, size)
        scores, mutual, vectors = support.for_queries(len(maps.mid))
        apart = maps.mid.unsqueeze(1) - vectors.mean(dim=1)[..., None, None]
        logits = resize_logits(-apart.square().sum(dim=2), size)
        return Segmentation(scores, mutual, logits.unsqueeze(1), logits)


class Blocks:
    """Bright blocks on dark ground, two classes of eight images."""

    classes = ("wide", "tall")
    labels = [i // 8 for i in range(16)]

    def sources(self, index):
        return frozenset((f"{index}.png",))

    def __getitem__(self, index):
        g = np.random.default_rng(index)
        size = (48, 56 + 8 * (index % 2))
        image, mask = g.integers(0, 60, (*size, 3), np.uint8), np.zeros(size, np.uint8)
        y, x = g.integers(0, 16, 2)
        mask[y : y + 24, x : x + 24] = 1
        image[mask == 1] += 150
        return image, mask


class OneSize(Blocks):
    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return image[:, :56], mask[:, :56]


@pytest.fixture
def method():
    return Prototypes(TinyBackbone()).eval()


@pytest.mark.parametrize("shots", [1, 3])
def test_it_is_evaluated_on_kept_features(method, shots):
    bank = FeatureBank(method, OneSize())
    episodes = EpisodeSampler(OneSize(), shots).fixed(12, 0)
    assert evaluate(method, bank, episodes)["cross"].miou > 0.6


def test_it_is_evaluated_by_the_papers_protocol(method, tmp_path):
    config = ProtocolConfig(episodes=6, seeds=(0, 1), shots=2, fit=Fit(64))
    out = tmp_path / "record.json"
    record = evaluate_protocol(method, Blocks(), config, out, "cpu", progress=False)
    assert record["miou"] > 0.5 and record["evaluated"]["model"]["backbone"]["kind"]
    assert evaluate_protocol(method, Blocks(), config, out, "cpu", progress=False) == record


def test_it_finds_objects_in_somebodys_own_photographs(method, tmp_path):
    for index in range(3):
        image, mask = Blocks()[index]
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        Image.fromarray(mask * 255).save(tmp_path / f"{index}-mask.png")
    pairs = [(tmp_path / f"{i}.png", tmp_path / f"{i}-mask.png") for i in range(2)]
    queries = [tmp_path / "2.png"]
    found = predict_files(
        method, pairs, queries, tmp_path / "out", Fit(64), device="cpu", progress=False
    )
    assert not found.failed and found.scores == [1, 1] and found.odd is None
    mask = np.asarray(Image.open(found.done[0].mask)) > 0
    truth = Blocks()[2][1] == 1
    assert (mask & truth).sum() / (mask | truth).sum() > 0.5


def test_bad_supports_are_refused_in_the_same_words(method):
    with pytest.raises(ValueError, match="shows no object"):
        method.condition(torch.rand(1, 1, 3, 32, 32), torch.zeros(1, 1, 32, 32))


def test_what_only_scl_keeps_of_its_supports_is_said_to_be_missing(method):
    bank = FeatureBank(method, OneSize())
    episodes = EpisodeSampler(OneSize()).fixed(2, 0)
    with pytest.raises(ValueError, match="this method keeps their vectors alone; expected SCL"):
        evaluate(method, bank, episodes, swap="v_s")


def test_what_does_not_learn_says_so(method):
    with pytest.raises(NotImplementedError, match="Prototypes does not learn"):
        method.trainable()


def test_a_query_that_does_not_fit_is_refused_for_every_method():
    model = Prototypes(TinyBackbone())
    images, masks, query, _ = random_task(1, 1)
    support = model.condition(images, masks)
    with pytest.raises(ValueError, match="query images hold NaN"):
        model.segment(support, query / 0)
    maps = model.encode(query)
    assert model.segment(support, maps).mask.shape[-2:] == maps.mid.shape[-2:]
