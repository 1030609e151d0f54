"""A closer look: where it looks, what it keeps, and when it leaves all as it was."""

from __future__ import annotations

import numpy as np
import torch

from scl.datasets.fit import Fit
from scl.evaluation.closer import around, bring_support, extent, look_closer, places
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.models.prototypes import Prototypes
from tests.helpers.models import Stages

SIZE = (480, 640)
IMAGE = np.zeros((*SIZE, 3), np.uint8)


def glance():
    """Scores of a picture that shows two things, each of which looks like the object from afar."""
    scores = np.full(SIZE, -2.0, np.float32)
    scores[100:140, 100:140] = 1
    scores[300:340, 500:540] = 2
    return scores


def closely(image):
    """What a closer look tells: the left one is the object, and has another outline."""
    left = image[..., 0].max() == 1
    return np.full(image.shape[:2], 3.0 if left else 4.0, np.float32), 0.9 if left else 0.3


def test_places_are_regions_from_the_highest_on():
    found = places(glance())
    assert found == [(slice(300, 340), slice(500, 540)), (slice(100, 140), slice(100, 140))]
    nothing = glance() - 10
    assert places(nothing) == found[:1], "without a region, the peak"


def test_a_cut_out_is_a_square_with_room_inside_of_its_picture():
    for top, left in ((0, 0), (100, 100), (470, 630)):
        place = slice(top, top + 10), slice(left, left + 10)
        for step, side in ((1, 32), (1, 100)):
            rows, columns = around(place, step, SIZE, side)
            span = max(640 // 4, side)
            assert rows.stop - rows.start == columns.stop - columns.start == span
            assert 0 <= rows.start <= top and top + 10 <= rows.stop <= SIZE[0]
            assert 0 <= columns.start <= left and left + 10 <= columns.stop <= SIZE[1]


def test_what_is_less_like_the_object_closely_is_none():
    image = IMAGE.copy()
    image[100:140, 100:140] = 1
    scores = look_closer(glance(), 0.5, closely, image, 64)
    assert (scores[100:140, 100:140] == 3).all(), "taken from the closer look"
    assert (scores[300:340, 500:540] == -2).all(), "found at a glance, and lost"
    assert set(np.unique(scores)) == {-2.0, 3.0}


def test_scores_stay_where_no_place_shows_more_of_the_object():
    assert np.array_equal(look_closer(glance(), 0.95, closely, IMAGE, 64), glance())


def test_pictures_that_were_seen_well_get_no_second_look():
    def never(image):
        raise AssertionError("looked again")

    assert np.array_equal(look_closer(glance(), 0.1, never, IMAGE, 321), glance())
    large = np.ones(SIZE, np.float32)  # the object fills the picture: nothing would be closer
    assert np.array_equal(look_closer(large.copy(), 0.1, never, IMAGE, 64), large)


def test_a_small_object_is_shown_with_what_is_around_it():
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=4, width=6))
    small, fit = np.zeros(SIZE, np.uint8), Fit(64, "whole")
    small[200:230, 300:320] = 1
    _, mask = bring_support(model, fit, IMAGE, small)
    assert mask.shape == (64, 64) and 0.01 < (mask == 1).float().mean() < 0.06
    for other, marks in ((Prototypes(Stages(), "cosine"), small), (model, np.ones(SIZE, np.uint8))):
        image, kept = bring_support(other, fit, IMAGE, marks)
        plain = fit.to_network(IMAGE, marks)
        assert torch.equal(image, plain[0]) and torch.equal(kept, plain[1])


def test_the_extent_of_a_region_is_its_rows_and_columns():
    region = np.zeros((9, 9), bool)
    region[2:5, 3] = region[4, 3:8] = True
    assert extent(region) == (slice(2, 5), slice(3, 8))
