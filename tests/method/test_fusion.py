"""Eq. 16 and 17 against loops, and what they promise."""

import pytest
import torch

from scl.method.fusion import confidence, fuse, fuse_logits, pair_iou


def test_pair_iou_counts_pixels_and_ignores_255():
    predicted = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1]])
    mask = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 255]])
    # by hand: foreground 2 of 4 pixels; background 3 of 5; the ignored pixel counts nowhere
    assert pair_iou(predicted, mask).item() == pytest.approx(2 / 4)
    mean = pair_iou(predicted, mask, "mean").item()
    assert mean == pytest.approx((2 / 4 + 3 / 5) / 2)


def test_pair_iou_of_two_empty_masks_is_zero():
    nothing = torch.zeros(3, 4, dtype=torch.long)
    assert pair_iou(nothing, nothing) == 0


def test_confidence_is_the_loop_over_supports():
    mutual = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    scores = confidence(mutual)
    others = confidence(mutual, own_score=False)
    for b in range(2):
        for k in range(5):
            row = [mutual[b, k, i].item() for i in range(5)]
            assert scores[b, k].item() == pytest.approx(sum(row) / 5)
            assert others[b, k].item() == pytest.approx((sum(row) - row[k]) / 4)


def case(k=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, k, 2, 6, 7, generator=g), torch.rand(2, k, generator=g)


def test_fuse_is_the_loop_of_eq_17():
    logits, scores = case()
    total = torch.zeros(2, 2, 6, 7)
    for b in range(2):
        for k in range(5):
            total[b] += scores[b, k] * logits[b, k]
    assert torch.allclose(fuse(logits, scores), (total / 5).softmax(dim=1), atol=1e-6)
    released = fuse_logits(logits[:, :3], scores[:, :3], divisor=5.0).softmax(dim=1)
    by_k = fuse(logits[:, :3], scores[:, :3])
    assert torch.equal(released.argmax(1), by_k.argmax(1)) and not torch.allclose(released, by_k)


@pytest.mark.parametrize("fused", ["logits", "probabilities"])
def test_fusion_ignores_the_order_of_supports(fused):
    logits, scores = case()
    order = torch.tensor([3, 0, 4, 1, 2])
    a = fuse_logits(logits, scores, fused).softmax(dim=1)
    b = fuse_logits(logits[:, order], scores[:, order], fused).softmax(dim=1)
    assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(a.sum(dim=1), torch.ones(2, 6, 7))


@pytest.mark.parametrize("fused", ["logits", "probabilities"])
def test_one_shot_gives_the_single_shot_mask(fused):
    logits, scores = case(k=1)
    mask = fuse_logits(logits, scores, fused).argmax(dim=1)
    assert torch.equal(mask, logits[:, 0].argmax(dim=1))


@pytest.mark.parametrize("fused", ["logits", "probabilities"])
def test_all_zero_scores_fall_back_to_the_average(fused):
    logits, scores = case()
    zero = scores.clone()
    zero[0] = 0
    weights = (zero, torch.ones_like(scores), scores)
    fallback, plain, own = (fuse_logits(logits, w, fused).softmax(dim=1) for w in weights)
    assert torch.allclose(fallback[0], plain[0])
    assert torch.allclose(fallback[1], own[1])
