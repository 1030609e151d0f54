"""What vectors find, against slow versions and cases known by hand."""

import numpy as np
import pytest
import torch

from scl.course.measure import (
    angle,
    best_cut,
    depth_in_object,
    one_of_each_class,
    own_cosine,
    part_centres,
    random_split,
    seen_and_unseen,
    several_cosines,
    share_by_depth,
    success_median_failure,
)


def test_the_best_cut_is_the_best_of_all_thresholds():
    g = torch.Generator().manual_seed(0)
    cosine, mask = torch.rand(6, 7, generator=g), (torch.rand(6, 7, generator=g) > 0.6).float()
    cut = best_cut(cosine, mask)

    def iou(threshold):
        above = cosine > threshold
        return float((above & (mask == 1)).sum() / (above | (mask == 1)).sum().clamp(min=1))

    assert cut.iou == pytest.approx(max(iou(t) for t in [-1.0, *cosine.flatten().tolist()]))
    assert iou(cut.threshold) == pytest.approx(cut.iou)


def test_two_kinds_of_cells_need_two_vectors():
    """Half the object points north, half east; the ground points between them: an average fails."""
    features = torch.zeros(2, 4, 4)
    features[:, :2] = 0.7
    features[0, 2:, :2] = features[1, 2:, 2:] = 1
    mask = torch.zeros(4, 4)
    mask[2:] = 1
    full_size = mask.repeat_interleave(8, 0).repeat_interleave(8, 1).long()
    one, shrunk = own_cosine(features[None], full_size[None])
    assert torch.equal(shrunk[0], mask)
    assert best_cut(one[0], mask).iou < 0.6
    assert best_cut(several_cosines(features, mask, 2), mask).iou == 1
    again = several_cosines(features, mask, 1)
    assert torch.allclose(again, one[0], atol=1e-6)


def test_the_centres_of_two_kinds_of_cells_are_the_two_kinds():
    features, mask = torch.zeros(2, 2, 2), torch.ones(2, 2)
    features[0, 0], features[1, 1] = 3, 5
    centres = part_centres(features, mask, 2)
    assert torch.allclose(centres, torch.eye(2))
    assert len(part_centres(features, mask, 9)) <= 4


def test_more_vectors_than_cells_are_no_harm():
    features, mask = torch.rand(3, 2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert several_cosines(features, mask, 5)[0, 0] == pytest.approx(1)


def test_what_is_shown_is_chosen_by_rank():
    scores = np.random.default_rng(0).permutation(101) / 100
    shown = success_median_failure(scores)
    assert {name: scores[place] for name, place in shown.items()} == {
        "success": 0.9, "median": 0.5, "failure": 0.1
    }  # fmt: skip
    assert success_median_failure([0.3]) == {"success": 0, "median": 0, "failure": 0}


def test_one_of_each_class_keeps_the_order():
    class Set:
        labels = [4, 4, 2, 2, 9]

    assert one_of_each_class(Set, [1, 0, 3, 2, 4], 2) == [1, 3]
    assert one_of_each_class(Set, [1, 0, 3, 2, 4], 9) == [1, 3, 4]


def test_depth_counts_the_steps_to_the_outside():
    mask = torch.zeros(1, 7, 7)
    mask[0, 1:6, 1:6] = 1
    depth = depth_in_object(mask)[0]
    assert depth[3, 3] == 3 and depth[2, 3] == 2 and depth[1, 1] == 1 and depth[0, 0] == 0
    whole = torch.ones(1, 3, 3)
    whole[0, 0, 0] = 0
    assert depth_in_object(whole)[0].tolist() == [[0, 1, 2], [1, 1, 2], [2, 2, 2]]


def test_shares_by_depth_are_of_the_objects_cells():
    mask = torch.zeros(1, 7, 7)
    mask[0, 1:6, 1:6] = 1
    found = torch.zeros(1, 7, 7, dtype=torch.bool)
    found[0, 2:5, 2:5] = True
    assert share_by_depth(mask, found) == {"at the rim": 0, "2 cells in": 1, "3 or more": 1}


def test_angles_are_in_degrees():
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 3.0]])
    assert angle(a, b).tolist() == pytest.approx([90, 45], abs=0.05)


def test_more_vectors_win_on_their_own_cells_only():
    """Noise has no groups: vectors made for it are of no use on cells they have not seen."""
    g = torch.Generator().manual_seed(0)
    mask = torch.zeros(12, 12)
    mask[3:9, 3:9] = 1
    one, many = [], []
    for _ in range(12):
        features = torch.randn(8, 12, 12, generator=g)
        one.append(seen_and_unseen(features, mask, 1, g))
        many.append(seen_and_unseen(features, mask, 12, g))
    one, many = torch.tensor(one).mean(dim=0), torch.tensor(many).mean(dim=0)
    assert many[0] > one[0] + 0.2 and abs(many[1] - one[1]) < 0.1


def test_a_random_split_has_the_asked_number_of_cells():
    g = torch.Generator().manual_seed(0)
    mask = (torch.rand(5, 6, 7, generator=g) > 0.4).float()
    first = torch.tensor([0.0, 3.0, 5.0, 1.0, 2.0])
    chosen, rest = random_split(mask, first, g)
    assert torch.equal(chosen + rest, mask) and torch.equal(chosen.sum(dim=(1, 2)), first)


def test_an_object_without_an_outside_ends_the_count():
    assert depth_in_object(torch.ones(1, 4, 5)).max() == 5
