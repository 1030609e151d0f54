"""The heads on similarity maps, against slow loops and what must not change anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scl.method.records import Maps
from scl.method.similarity import (
    SimilarityConfig,
    SimilaritySCL,
    averages,
    cell_maps,
    centred,
    in_picture,
    inside_and_edge,
    single_cells,
    sure_regions,
    two_clusters,
    unit_stages,
    vector_maps,
)
from scl.method.vectors import masked_gap
from tests.helpers.models import WIDTHS, Stages


def features(n: int = 2, h: int = 6, w: int = 5) -> torch.Tensor:
    raw = torch.randn(n, sum(WIDTHS), h, w, generator=torch.Generator().manual_seed(n))
    return unit_stages(centred(raw), WIDTHS)


def a_mask(n: int = 2, h: int = 6, w: int = 5) -> torch.Tensor:
    return torch.rand(n, h, w, generator=torch.Generator().manual_seed(7)).round()


def model(seed: int = 0, **chosen) -> SimilaritySCL:
    torch.manual_seed(seed)
    made = SimilaritySCL(Stages(), SimilarityConfig(**{"features": 4, "width": 6, **chosen}))
    for module in made.modules():  # statistics that are not those of a new layer
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return made.eval()


def an_episode(shots: int = 1, side: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(shots)
    images = torch.rand(1, shots, 3, side, side, generator=generator)
    masks = torch.zeros(1, shots, side, side, dtype=torch.uint8)
    masks[..., 16:48, 16:48] = 1
    return images, masks, torch.rand(1, 3, side, side, generator=generator)


def test_averages_are_masked_gap_of_each_region():
    cells, regions = features(), [a_mask(), torch.rand(2, 6, 5), torch.zeros(2, 6, 5)]
    expected = torch.stack([masked_gap(cells, region) for region in regions], dim=1)
    torch.testing.assert_close(averages(cells, regions), expected)


def test_vector_maps_are_cosines_stage_by_stage():
    cells, vectors = features(), torch.randn(2, 3, sum(WIDTHS))
    found = vector_maps(cells, vectors, WIDTHS).unflatten(1, (3, len(WIDTHS)))
    parts = zip(cells.split(WIDTHS, 1), vectors.split(WIDTHS, 2), strict=True)
    for stage, (part, some) in enumerate(parts):
        for k in range(3):
            slow = F.cosine_similarity(part, some[:, k, :, None, None], dim=1)
            torch.testing.assert_close(found[:, k, stage], slow)


def test_cell_maps_match_a_loop_over_cells():
    query, support, mask = features(1), features(3)[2:], a_mask(1)
    found = cell_maps(query, single_cells(support, mask, WIDTHS), WIDTHS)[0].unflatten(0, (-1, 3))
    inside = mask[0].flatten() >= 0.5
    parts = zip(query[0].split(WIDTHS, 0), support[0].split(WIDTHS, 0), strict=True)
    for stage, (q, s) in enumerate(parts):
        for y, x in np.ndindex(6, 5):
            cosines = torch.tensor([float(q[:, y, x] @ cell) for cell in s.flatten(1).T])
            share = (10 * cosines).softmax(dim=0)[inside].sum()
            slow = torch.stack([cosines[inside].max(), cosines[~inside].max(), share])
            torch.testing.assert_close(found[stage, :, y, x], slow, atol=1e-5, rtol=1e-5)


def test_a_thin_object_still_has_a_nearest_cell():
    mask = torch.zeros(1, 6, 5)
    mask[0, 2, 2] = 0.04
    maps = cell_maps(features(1), single_cells(features(1), mask, WIDTHS), WIDTHS)
    assert maps.isfinite().all() and maps[0, 0, 2, 2] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("split", [inside_and_edge, lambda m: two_clusters(features(), m)])
def test_a_split_shares_out_the_object(split):
    mask = a_mask()
    one, other = split(mask)
    torch.testing.assert_close(one + other, mask)
    assert (one * other == 0).all()


def test_two_clusters_find_two_kinds_of_cells():
    cells = torch.zeros(1, 4, 2, 3)
    cells[0, 0, :, :2], cells[0, 1, :, 2] = 1, 1
    first, second = two_clusters(cells, torch.ones(1, 2, 3))
    assert first[0].tolist() == [[1, 1, 0]] * 2 and second[0].tolist() == [[0, 0, 1]] * 2


def test_sure_regions_are_the_ends_of_what_occurs():
    chance = torch.tensor([[[0.1, 0.5, 0.9, 0.0]]])
    there = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    sure, rest = sure_regions(chance, there)
    torch.testing.assert_close(sure, torch.tensor([[[0, 0, 0.9, 0]]]))
    torch.testing.assert_close(rest, torch.tensor([[[0.9, 0, 0, 0]]]))


@pytest.mark.parametrize("split", ["none", "found-lost", "inside-edge", "k-means"])
def test_every_configuration_learns_and_segments(split):
    learner, (images, masks, query) = model(split=split).train(), an_episode()
    maps, shown = learner.encode(images[0]), learner.encode(query)
    losses = learner.losses(maps, masks[0], shown, masks[0])
    losses["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.head.parameters())
    learner.eval()
    found = learner.segment(learner.condition(images, masks), query)
    assert found.mask.shape == (1, 64, 64) and found.fused.isfinite().all()


def test_cells_outside_of_a_picture_change_nothing():
    one, (images, masks, query) = model(), an_episode()
    maps, shown = one.encode(images[0]), one.encode(query)
    plain = one.segment(one.condition(Maps(maps.mid[None]), masks), shown)
    wide = F.pad(maps.mid[None], (0, 3, 0, 2))
    marks = F.pad(masks, (0, 24, 0, 16), value=255)
    padded = one.segment(one.condition(Maps(wide), marks), Maps(F.pad(shown.mid, (0, 2, 0, 3))))
    torch.testing.assert_close(padded.logits[..., :8, :8], plain.logits, atol=1e-4, rtol=1e-4)
    assert in_picture(wide[0]).sum() == 64


@pytest.mark.parametrize("fusion", ["cross", "vectors", "average"])
def test_a_support_shown_twice_is_as_good_as_once(fusion):
    one, (images, masks, query) = model(), an_episode()
    single = one.segment(one.condition(images, masks), query, fusion)
    twice = one.condition(images.expand(-1, 2, -1, -1, -1), masks.expand(-1, 2, -1, -1))
    both = one.segment(twice, query, fusion)
    torch.testing.assert_close(both.fused_logits, single.fused_logits, atol=1e-4, rtol=1e-4)


def test_supports_may_differ_in_size_and_serve_many_queries():
    one, (images, masks, query) = model(), an_episode(2)
    some = [images[:, 0], images[:, 1, :, :48]]
    support = one.condition(some, [masks[:, 0], masks[:, 1, :48]])
    found = one.segment(support, query.expand(3, -1, -1, -1))
    assert found.mask.shape == (3, 64, 64) and support.scores.shape == (1, 2)
    torch.testing.assert_close(found.fused_logits[:1], one.segment(support, query).fused_logits)


def test_what_was_compared_already_is_taken():
    one, (images, masks, query) = model(), an_episode()
    maps, shown = one.encode(images[0]), one.encode(query)
    known = shown._replace(high=one.compare(maps, masks[0], shown))
    support = one.condition(images, masks)
    torch.testing.assert_close(
        one.segment(support, known).logits, one.segment(support, shown).logits
    )


def test_found_and_lost_need_self_guidance():
    with pytest.raises(ValueError, match="nothing would be found"):
        SimilarityConfig(self_guide=False)
    with pytest.raises(ValueError, match="expected one of"):
        SimilarityConfig(split="halves")  # type: ignore[arg-type]
