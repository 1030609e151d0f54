"""Eq. 1, 2, 5, 6 against slow loops and properties."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from scl.method.pfenet import prior_mask
from scl.method.rules import Guidance, Rules
from scl.method.vectors import (
    concat_vectors,
    cosine_map,
    guiding_vectors,
    masked_gap,
    shrink_mask,
    split_regions,
)


def random_case(seed, n=2, d=3, h=5, w=7, soft=False):
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, h, w, generator=g)
    mask = torch.rand(n, h, w, generator=g)
    predicted = (torch.rand(n, h, w, generator=g) > 0.5).long()
    return features, mask if soft else (mask > 0.5).float(), predicted


def loop_gap(features, mask, epsilon=0.0):
    """Eq. 1 as it is written."""
    n, d, h, w = features.shape
    out = torch.zeros(n, d)
    for b in range(n):
        total, area = torch.zeros(d), 0.0
        for y in range(h):
            for x in range(w):
                total = total + features[b, :, y, x] * mask[b, y, x]
                area += float(mask[b, y, x])
        if area + epsilon > 0:
            out[b] = total / (area + epsilon)
    return out


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.0005])
def test_masked_gap_is_the_double_loop(soft, epsilon):
    features, mask, _ = random_case(1, soft=soft)
    expected = loop_gap(features, mask, epsilon)
    assert torch.allclose(masked_gap(features, mask, epsilon), expected, atol=1e-6)


def test_masked_gap_of_a_full_mask_is_the_mean():
    features, mask, _ = random_case(2)
    full = masked_gap(features, torch.ones_like(mask))
    assert torch.allclose(full, features.mean(dim=(2, 3)), atol=1e-6)


def test_masked_gap_of_an_empty_mask_is_zero_and_passes_a_finite_gradient():
    features, mask, _ = random_case(3)
    features.requires_grad_()
    pooled = masked_gap(features, torch.zeros_like(mask))
    assert (pooled == 0).all()
    pooled.sum().backward()
    assert torch.isfinite(features.grad).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(9, 60), st.integers(9, 60)).filter(
        lambda s: s[0] % 8 != 1 and s[1] % 8 != 1
    ),
    resize=st.sampled_from(["binary", "bilinear"]),
)
def test_found_and_lost_partition_the_foreground(seed, size, resize):
    """At sizes that are not 8k+1, where a resized mask would have soft borders."""
    g = torch.Generator().manual_seed(seed)
    h, w = (-(-side // 8) for side in size)
    full = (torch.rand(2, *size, generator=g) > 0.4).long()
    full[:, size[0] // 2 :] = 0
    mask = shrink_mask(full, (h, w), resize)
    predicted = (torch.rand(2, h, w, generator=g) > 0.5).long()
    features = torch.randn(2, 4, h, w, generator=g)
    found, lost = split_regions(mask, predicted)
    assert torch.equal(found + lost, mask)
    assert (found * lost == 0).all()
    v_s = masked_gap(features, mask)
    v_pri, v_aux = guiding_vectors(features, v_s, found, lost).unbind(1)
    a, b = found.sum(dim=(1, 2)), lost.sum(dim=(1, 2))
    weighted = (a[:, None] * v_pri + b[:, None] * v_aux) / (a + b)[:, None]
    assert torch.allclose(weighted, v_s, atol=1e-5)


def test_released_regions_lose_or_move_fractional_cells():
    mask = torch.tensor([[[0.0, 0.5, 0.5, 1.0, 1.0]]])
    predicted = torch.tensor([[[1, 1, 0, 1, 0]]])
    found, lost = split_regions(mask, predicted, "exact")
    assert found.tolist() == [[[0, 0, 0, 1, 0]]] and lost.tolist() == [[[0, 0, 0, 0, 1]]]
    found, lost = split_regions(mask, predicted, "truncated")
    assert found.tolist() == [[[0, 0, 0, 1, 0]]] and lost.tolist() == [[[0, 1, 0, 0, 1]]]


@pytest.mark.parametrize("empty", ["zero", "initial"])
def test_policy_for_an_empty_region(empty):
    features, mask, _ = random_case(4)
    v_s = masked_gap(features, mask)
    nothing = torch.zeros_like(mask)
    v_pri, v_aux = guiding_vectors(features, v_s, nothing, mask, empty=empty).unbind(1)
    assert torch.allclose(v_aux, v_s)
    assert torch.allclose(v_pri, v_s if empty == "initial" else torch.zeros_like(v_s))


def test_guidance_chooses_vectors_in_order():
    features, mask, predicted = random_case(5)
    v_s = masked_gap(features, mask)
    found, lost = split_regions(mask, predicted)
    rows = guiding_vectors(features, v_s, found, lost, ("s", "aux", "pri"))
    for row, region in zip(rows.unbind(1), (mask, lost, found), strict=True):
        assert torch.allclose(row, loop_gap(features, region), atol=1e-6)


def test_shrunk_mask_takes_the_majority_and_never_loses_an_object():
    mask = torch.zeros(3, 20, 20, dtype=torch.long)
    mask[0, :10, :10] = 1  # three whole cells of 8 pixels would not fit: majority decides
    mask[1, 3, :] = 1  # thinner than half a cell
    mask[2] = 255  # nobody knows: not an object
    small = shrink_mask(mask, (3, 3))
    assert small[0].sum() > 0 and set(small.unique().tolist()) <= {0.0, 1.0}
    assert small[1].sum() > 0
    assert small[2].sum() == 0


def test_bilinear_shrinking_at_8k_plus_1_is_exact_sampling():
    mask = (torch.rand(1, 33, 33, generator=torch.Generator().manual_seed(0)) > 0.5).long()
    assert torch.allclose(
        shrink_mask(mask, (5, 5), "bilinear"), mask[:, ::8, ::8].float(), atol=1e-5
    )


def test_concat_vectors_is_the_loop():
    features, _, _ = random_case(6)
    vectors, extra = torch.randn(2, 2, 3), torch.randn(2, 1, 5, 7)
    out = concat_vectors(features, vectors, extra)
    assert out.shape == (2, 3 + 2 * 3 + 1, 5, 7)
    for b, y, x in ((0, 0, 0), (1, 4, 6), (0, 2, 3)):
        cell = torch.cat([features[b, :, y, x], vectors[b, 0], vectors[b, 1], extra[b, :, y, x]])
        assert torch.equal(out[b, :, y, x], cell)


def test_cosine_map_is_the_loop():
    features, mask, _ = random_case(7)
    v = masked_gap(features, mask)
    out = cosine_map(features, v)
    a, b = features[1, :, 2, 3], v[1]
    assert out[1, 2, 3] == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-6)


def test_prior_mask_is_the_loop():
    g = torch.Generator().manual_seed(8)
    query, support = torch.randn(1, 6, 3, 4, generator=g), torch.randn(1, 6, 2, 5, generator=g)
    mask = (torch.rand(1, 2, 5, generator=g) > 0.4).float()
    best = torch.zeros(3, 4)
    for y in range(3):
        for x in range(4):
            q, values = query[0, :, y, x], []
            for i in range(2):
                for j in range(5):
                    s = support[0, :, i, j] * mask[0, i, j]
                    values.append(q @ s / (q.norm() * s.norm() + 1e-7))
            best[y, x] = max(values)
    expected = (best - best.min()) / (best.max() - best.min() + 1e-7)
    assert torch.allclose(prior_mask(query, support, mask)[0, 0], expected, atol=1e-6)


def test_rules_name_what_is_wrong():
    with pytest.raises(ValueError, match="mask_resize='nearest'.*binary"):
        Rules(mask_resize="nearest")
    with pytest.raises(ValueError, match="'prime'"):
        Guidance(vectors=("prime",))
    with pytest.raises(ValueError, match="epsilon"):
        Rules(epsilon=-1)


def test_equations_name_a_word_they_do_not_know():
    mask = torch.ones(1, 8, 8)
    with pytest.raises(ValueError, match="mask_resize='nearest': expected one of .*binary"):
        shrink_mask(mask, (2, 2), "nearest")
    with pytest.raises(ValueError, match=r"regions=Rules\(.*: expected one of .*'exact'"):
        split_regions(mask, mask, Rules())
