"""The finder: fit and predict on small drawn pictures, and kind words for what does not fit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import scl
from scl.datasets.fit import Fit
from scl.evaluation.finder import Finder
from scl.evaluation.trust import surest
from scl.method.contracts import Method
from scl.method.fusion import pair_iou
from scl.method.records import Segmentation, Support
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from tests.helpers.models import Stages, TinyBackbone, random_task, tiny_model

torch.set_num_threads(1)

RED, BLUE, GREY = (220, 30, 40), (40, 60, 210), (90, 100, 110)


class Colours(Method):
    """A method that knows a thing by the mean colour of all its supports."""

    def __init__(self):
        super().__init__()
        self.backbone = TinyBackbone()
        self.backbone.inputs = "unit"

    def condition(self, images, masks):
        pixels = torch.cat([x[:, m == 1] for x, m in zip(images, masks, strict=True)], dim=1)
        one = pixels.mean(dim=1)[None, None, None]
        return Support.unscored(one.expand(1, len(images), 1, 3))

    def segment(self, support, query, fusion="cross", size=None):
        distance = (query - support.vectors[:, 0, 0, :, None, None]).norm(dim=1)
        logits = 20 * torch.stack([distance - 0.2, 0.2 - distance], dim=1)
        return Segmentation(support.scores, support.mutual, logits[:, None], logits)


def drawn(colour=RED, size=(120, 80), box=(30, 20, 75, 60)):
    """A block of a colour on grey [H, W, 3], and its mask [H, W] of true and false."""
    picture, mask = Image.new("RGB", size, GREY), Image.new("L", size, 0)
    picture.paste(colour, box)
    mask.paste(255, box)
    return np.asarray(picture), np.asarray(mask) > 0


@pytest.fixture
def finder():
    return Finder(Colours(), Fit(64, "whole"), device="cpu")


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def test_the_package_offers_it():
    assert scl.Finder is Finder


@pytest.mark.parametrize("size", [(120, 80), (50, 90), (300, 301)])
def test_a_thing_is_found_at_the_photographs_own_size(finder, size):
    finder.fit(*drawn())
    image, truth = drawn(size=size, box=(5, 10, 40, 48))
    found = finder.find(image)
    assert found.mask.shape == truth.shape and found.mask.dtype == bool
    assert iou(found.mask, truth) > 0.85
    assert found.share == found.mask.mean()
    assert found.probability.shape == truth.shape
    assert 0 <= found.probability.min() and found.probability.max() <= 1
    assert np.array_equal(found.mask, found.probability > 0.5)


def test_one_and_several_given_as_files_arrays_or_anything_that_goes_through_them(finder, tmp_path):
    image, mask = drawn()
    path, marks = tmp_path / "mug.png", tmp_path / "mug-mask.png"
    Image.fromarray(image).save(path)
    Image.fromarray(mask).save(marks)
    once = finder.fit(image, mask).find(image).mask
    for photos, masks in (
        (path, marks),
        (str(path), str(marks)),
        ([path], [marks]),
        (path, mask),
        ([image], [mask.astype(np.uint8)]),
        (path, SimpleNamespace(mask=mask.astype(np.uint8))),
    ):
        assert np.array_equal(finder.fit(photos, masks).find(path).mask, once)
    (alone,) = finder.predict(path)
    for several in ([path, image], (path, image), tmp_path.glob("mug.*"), map(str, [path])):
        assert all(np.array_equal(f.mask, alone.mask) for f in finder.predict(several))
    assert finder.predict([]) == []


def test_fit_replaces_and_add_adds(finder):
    (red, mask), (blue, _) = drawn(), drawn(BLUE)
    assert len(finder.fit(red, mask).supports) == 1
    assert finder.find(red).mask.any() and not finder.find(blue).mask.any()
    assert len(finder.add(blue, mask).supports) == 2
    assert len(finder.trust.own) == len(finder.trust.scores) == 2
    assert len(finder.fit(blue, mask).supports) == 1
    assert finder.find(blue).mask.any() and not finder.find(red).mask.any()
    assert len(finder.fit([red, blue], [mask, mask]).supports) == 2
    assert len(Finder(Colours(), device="cpu").add(red, mask).supports) == 1


def test_what_a_finder_cannot_read_leaves_it_as_it_was(finder):
    image, mask = drawn()
    finder.fit(image, mask)
    before = finder.find(image).mask
    with pytest.raises(ValueError, match="marks nothing"):
        finder.add(image, mask & False)
    assert len(finder.supports) == 1 and np.array_equal(finder.find(image).mask, before)


def test_below_its_least_presence_a_mask_is_empty(finder):
    finder.fit(*drawn())
    there, gone = finder.find(drawn()[0]), finder.find(drawn(BLUE)[0])
    assert there.presence > 0.9 > 0.1 > gone.presence
    assert there.presence == surest(there.probability)
    finder.least = there.presence + 1e-6
    assert not finder.find(drawn()[0]).mask.any()
    assert np.array_equal(finder.find(drawn()[0]).probability, there.probability)
    finder.least = there.presence
    assert np.array_equal(finder.find(drawn()[0]).mask, there.mask)


def test_a_mask_beside_the_thing_is_not_found_again_in_its_own_picture(finder):
    image, mask = drawn()
    assert finder.fit(image, mask).trust.own[0] > 0.9
    assert finder.fit(image, np.roll(mask, 25, axis=1)).trust.own[0] < 0.5


def test_of_similarity_maps_trust_is_what_the_method_measured():
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=0, width=8))
    finder = Finder(model, Fit(64, "whole"), device="cpu")
    finder.fit([drawn()[0], drawn(size=(90, 90))[0]], [drawn()[1], drawn(size=(90, 90))[1]])
    brought = [finder.framing.to_network(*s) for s in finder.supports]
    read = model.condition([i for i, _ in brought], [m for _, m in brought])
    assert finder.trust.own == pytest.approx(read.own[0].tolist())
    assert finder.trust.scores == pytest.approx(read.scores[0].tolist())
    assert finder.least == 0


@pytest.mark.parametrize("fusion", ["cross", "average", "vectors"])
def test_scl_gives_what_it_gives_without_a_finder(fusion):
    model = tiny_model()
    images, masks, query, _ = random_task(1, 3, (48, 56))
    as_bytes = [(255 * x).round().byte().permute(1, 2, 0).numpy() for x in (*images[0], query[0])]
    finder = Finder(model, Fit(64, "native"), fusion, device="cpu")
    found = finder.fit(as_bytes[:3], [m.numpy() for m in masks[0]]).find(as_bytes[3])
    floats = torch.stack([torch.from_numpy(a).permute(2, 0, 1) / 255 for a in as_bytes])
    support = model.condition(floats[None, :3], masks)
    done = model.segment(support, floats[None, 3], fusion)
    assert np.allclose(found.probability, done.fused[0, 1].numpy(), atol=1e-5)
    assert np.array_equal(found.mask, done.mask[0].bool().numpy())
    assert finder.trust.scores == pytest.approx(support.scores[0].tolist())


# ------------------------------------------------------------------ kind errors


@pytest.mark.parametrize(
    ("photos", "masks", "words"),
    [
        ([], [], "0 photographs and 0 masks: expected one mask for each"),
        (["a", "b"], ["c"], "2 photographs and 1 masks"),
        ("nowhere.jpg", np.ones((4, 4)), "nowhere.jpg is missing"),
        (drawn()[0], "mask.png", "mask.png belongs to no file: give photograph and mask both"),
        (drawn()[0], np.ones((5, 7), bool), "a mask of 7 x 5 pixels for a photograph of 120 x 80"),
        (drawn()[0], drawn()[1] * 200, r"values such as \[200\].* mask > 127"),
        (drawn()[0], drawn()[0], r"a mask of shape \(80, 120, 3\)"),
        (drawn()[0], drawn()[1] * np.uint8(255), "255 means 'not sure'; give mask == 255"),
        (drawn()[0], drawn()[1] * 0, "the mask marks nothing: paint the thing first"),
        (drawn()[0] / 255, drawn()[1], r"shape \(80, 120, 3\) and float64: expected a path"),
        (drawn()[0][..., 0], drawn()[1], r"shape \(80, 120\) and uint8"),
        (drawn()[0][None], drawn()[1], "give several as a list"),
        (Image.fromarray(drawn()[0]), drawn()[1], "a photograph of kind Image: expected a path"),
        (drawn()[0][:0], drawn()[1][:0], r"shape \(0, 120, 3\)"),
    ],
)
def test_what_does_not_fit_is_named_with_a_remedy(finder, photos, masks, words):
    with pytest.raises(ValueError, match=words):
        finder.fit(photos, masks)
    assert not finder.supports


def test_nothing_is_looked_for_before_something_was_shown(finder):
    for act in (lambda: finder.find(drawn()[0]), lambda: finder.trust):
        with pytest.raises(ValueError, match="call fit"):
            act()


def test_what_is_not_sure_counts_for_nothing(finder):
    image, mask = drawn()
    labels = mask.astype(np.uint8)
    labels[:, :50] = 255
    assert set(np.unique(finder.fit(image, labels).supports[0].mask)) == {0, 1, 255}
    assert float(pair_iou(torch.from_numpy(finder.find(image).mask)[None],
                          torch.from_numpy(mask)[None])) > 0.9  # fmt: skip
