"""What the chapters measure, against slow versions and cases known by hand."""

import numpy as np
import pytest
import torch
from helpers import maps_of, random_task, tiny_model

from scl.bank import Batch
from scl.evaluate import Result
from scl.explore import (
    angle,
    best_cut,
    depth_in_object,
    fuse_every_way,
    gain_with_interval,
    gradient_maps,
    gradient_norms,
    in_words,
    lowest_share,
    one_of_each_class,
    own_cosine,
    score_with_interval,
    several_cosines,
    share_by_depth,
    widen,
)
from scl.model import Maps


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


def one_shot_batch(model, b=4):
    images, masks, query, query_masks = random_task(b=b, k=1)
    support = Maps(*(None if m is None else m[:, None] for m in maps_of(model, images, masks)[0]))
    labels = torch.arange(b)
    return Batch(support, masks, model.encode(query), query_masks, labels)


def test_no_gradient_crosses_the_argmax():
    model = tiny_model(norm=False)
    norms = gradient_norms(model, one_shot_batch(model))
    assert norms["q"]["support_branch"] == 0 and norms["q"]["query_branch"] > 0
    for loss in ("s1", "s2"):
        assert norms[loss]["query_branch"] == 0 and norms[loss]["support_branch"] > 0
    assert all(row["reducer"] > 0 and row["aspp"] > 0 for row in norms.values())
    assert not model.training


def test_the_query_pulls_at_the_support_through_its_mask_alone():
    model = tiny_model(norm=False)
    batch = one_shot_batch(model)
    maps = gradient_maps(model, batch)
    from scl.vectors import shrink_mask

    outside = shrink_mask(batch.support_masks[:, 0], maps["q"][0].shape)[0] == 0
    assert maps["q"][0][outside].abs().max() == 0 and maps["q"][0].max() > 0
    assert maps["s1"][0][outside].max() > 0 and maps["s1"][1].max() == 0


def test_every_way_of_fusing_is_bounded_by_what_it_fuses():
    model = tiny_model()
    images, masks, query, query_masks = random_task(b=3, k=4)
    flat = model.encode(images.flatten(0, 1), masks.flatten(0, 1))
    support = Maps(*(None if m is None else m.unflatten(0, (3, 4)) for m in flat))
    batch = Batch(support, masks, model.encode(query), query_masks, torch.arange(3))
    results, read = fuse_every_way(model, batch)
    assert read.scores.shape == (3, 4) and len(results) == 7
    iou = {n: r.counts[:, 0] / np.maximum(r.counts[:, 1], 1) for n, r in results.items()}
    for way in ("one support", "the best-scored support"):
        assert (iou["the best support (oracle)"] >= iou[way] - 1e-9).all()
    size = query_masks.shape[-2:]
    for fusion, way in (("cross", "cross-guided (Eq. 17)"), ("average", "averaging predictions")):
        mask = model.segment(read, batch.query, fusion, size).mask
        hits = ((mask == 1) & (query_masks == 1)).flatten(1).sum(1)
        assert results[way].counts[:, 0].tolist() == hits.tolist()


def test_intervals_hold_their_value_and_say_no_more_than_they_allow():
    rng = np.random.default_rng(0)
    unions = np.full(200, 100)
    hits = rng.integers(20, 60, 200)
    labels = np.arange(200) % 5

    def result(inter):
        rest = np.zeros(200, int)
        return Result(np.stack([inter, unions, rest, rest], axis=1), labels)

    value, low, high = score_with_interval(result(hits))
    assert low < value < high and value == pytest.approx(hits.mean())
    assert gain_with_interval(result(hits + 3), result(hits)) == pytest.approx((3, 3, 3))
    assert in_words("a", 1.0, 0.5, 1.5) == "a +1.0 [+0.5, +1.5]\nverdict: higher"
    assert in_words("a", 1.0, -0.5, 1.5).endswith("no difference shown")


def test_the_share_of_lowest_scores():
    scores = torch.tensor([[0.1, 0.5], [0.6, 0.5], [0.2, 0.9], [0.1, 0.3]])
    value, low, high = lowest_share(scores)
    assert value == 75 and low < 75 < high <= 100


def test_widening_keeps_the_value_and_never_narrows():
    bar = (30.0, 28.0, 33.0)
    assert widen(bar, 0.0) == pytest.approx(bar)
    value, low, high = widen(bar, 2.0)
    assert value == 30 and 30 - low == pytest.approx((4 + 3.92**2) ** 0.5) and high > 33
