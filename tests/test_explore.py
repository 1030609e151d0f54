"""What the chapters measure, against slow versions and cases known by hand."""

import pytest
import torch

from scl.explore import best_cut, one_of_each_class, own_cosine, several_cosines


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


def test_more_vectors_than_cells_are_no_harm():
    features, mask = torch.rand(3, 2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert several_cosines(features, mask, 5)[0, 0] == pytest.approx(1)


def test_one_of_each_class_keeps_the_order():
    class Set:
        labels = [4, 4, 2, 2, 9]

    assert one_of_each_class(Set, [1, 0, 3, 2, 4], 2) == [1, 3]
    assert one_of_each_class(Set, [1, 0, 3, 2, 4], 9) == [1, 3, 4]
