"""Self-guidance and cross-guidance: the whole model against a slow reading of the equations."""

import copy

import pytest
import torch

from scl.method.fusion import pair_iou
from scl.method.losses import likelier, resize_logits, segmentation_loss
from scl.method.rules import Guidance, Rules
from scl.method.scl import Maps
from scl.method.vectors import masked_gap, shrink_mask, split_regions
from tests.helpers.models import GUIDANCES, maps_of, random_task, tiny_model


def slow_g(model, image, mask, query):
    """G(I_q | I_s): one support, one query, equation by equation; logits at feature size."""
    m = model.encode(image[None], mask[None])
    small = shrink_mask(mask[None], m.mid.shape[-2:])
    f_s = model.head.reduce(m.mid, "support")
    v_s = masked_gap(f_s, small)  # Eq. 1
    vectors = [v_s]
    if model.guidance.splits:
        twice = torch.stack([v_s] * model.head.n, dim=1)
        predicted = model.head.support(f_s, twice).logits.argmax(dim=1)  # Eq. 2-4
        found, lost = split_regions(small, predicted)
        regions = {"s": small, "pri": found, "aux": lost}
        by_name = {n: masked_gap(f_s, r) if r.any() else v_s for n, r in regions.items()}
        vectors = [by_name[name] for name in model.guidance.vectors]  # Eq. 5-6
    q = model.encode(query[None])
    f_q = model.head.reduce(q.mid, "query")
    hint = torch.zeros(1, 2, *f_q.shape[-2:])
    if model.head.needs_high:
        from scl.method.pfenet import prior_mask

        hint = prior_mask(q.high, m.masked, small)
    return model.head.query(f_q, torch.stack(vectors, dim=1), hint).logits  # Eq. 11-12


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@pytest.mark.parametrize("guidance", ["v_s", "aux", "all", "scl"])
@pytest.mark.parametrize("k", [1, 3])
@torch.no_grad()
def test_condition_and_segment_are_eq_1_to_17_done_slowly(head, guidance, k):
    model = tiny_model(head, GUIDANCES[guidance])
    images, masks, query, _ = random_task(b=2, k=k)
    result = model.segment(model.condition(images, masks), query)
    size = tuple(query.shape[-2:])
    for b in range(2):
        logits = [
            resize_logits(slow_g(model, images[b, j], masks[b, j], query[b]), size)
            for j in range(k)
        ]
        assert torch.allclose(result.logits[b], torch.cat(logits), atol=2e-5)
        total = 0
        for j in range(k):
            ious = []
            for i in range(k):
                seen = resize_logits(slow_g(model, images[b, j], masks[b, j], images[b, i]), size)
                ious.append(float(pair_iou(seen.argmax(dim=1)[0], masks[b, i])))  # Eq. 15
            score = sum(ious) / k if k > 1 else 1.0  # Eq. 16
            assert result.scores[b, j].item() == pytest.approx(score, abs=2e-3)
            total = total + result.scores[b, j] * logits[j]
        expected = (total / k).softmax(dim=1)[0] if result.scores[b].sum() > 0 else None
        if expected is not None:
            assert torch.allclose(result.fused[b], expected, atol=2e-5)  # Eq. 17


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@torch.no_grad()
def test_one_shot_gives_the_single_shot_mask_whatever_the_fusion(head):
    model = tiny_model(head)
    images, masks, query, _ = random_task(k=1)
    support = model.condition(images, masks)
    results = [model.segment(support, query, fusion) for fusion in ("cross", "average", "vectors")]
    for result in results:
        assert torch.equal(result.mask, result.logits[:, 0].argmax(dim=1))
        assert torch.allclose(result.fused, results[0].fused)


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@torch.no_grad()
def test_fusion_ignores_support_order_and_changes_no_parameter(head):
    model = tiny_model(head)
    before = copy.deepcopy(model.state_dict())
    images, masks, query, _ = random_task(k=4)
    order = torch.tensor([2, 0, 3, 1])
    for fusion in ("cross", "average", "vectors"):
        a = model.segment(model.condition(images, masks), query, fusion).fused
        b = model.segment(model.condition(images[:, order], masks[:, order]), query, fusion).fused
        assert torch.allclose(a, b, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@torch.no_grad()
def test_one_support_set_serves_any_number_of_queries(head):
    model = tiny_model(head)
    images, masks, query, _ = random_task(b=3, k=2)
    once = model.condition(images[:1], masks[:1])
    many = model.segment(once, query)
    for i in range(3):
        alone = model.segment(once, query[i : i + 1])
        assert torch.allclose(many.fused[i], alone.fused[0], atol=1e-5)
    with pytest.raises(ValueError, match="2 queries for 3 support sets"):
        model.segment(model.condition(images, masks), query[:2])


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@pytest.mark.parametrize("guidance", list(GUIDANCES))
def test_losses_are_the_equations_and_sum_to_eq_14(head, guidance):
    model = tiny_model(head, GUIDANCES[guidance]).train()
    images, masks, query, query_masks = random_task(k=1)
    support, support_masks = maps_of(model, images, masks)
    losses = model.losses(support, support_masks, model.encode(query), query_masks)
    g = model.guidance
    on = {"q": True, "total": True, "s1": g.loss_s1, "s2": g.loss_s2}
    assert set(losses) == {name for name, switched in on.items() if switched}
    parts = [value for name, value in losses.items() if name != "total"]
    assert torch.allclose(losses["total"], sum(parts))
    small = shrink_mask(support_masks, support.mid.shape[-2:])
    f_s = model.head.reduce(support.mid, "support")
    if g.loss_s1:
        v = masked_gap(f_s, small).unsqueeze(1).expand(-1, model.head.n, -1)
        slow = segmentation_loss(model.head.support(f_s, v).logits, support_masks)
        assert torch.allclose(losses["s1"], slow)
    if g.loss_s2:
        guide = model.self_guide(f_s, small)
        slow = segmentation_loss(model.head.support(f_s, guide.vectors).logits, support_masks)
        assert torch.allclose(losses["s2"], slow)


@pytest.mark.parametrize("guidance", ["v_s+L1", "scl"])
def test_losses_can_be_measured_in_evaluation_mode(guidance):
    model = tiny_model("canet", GUIDANCES[guidance]).eval()
    images, masks, query, query_masks = random_task(k=1)
    support, support_masks = maps_of(model, images, masks)
    assert "s1" in model.losses(support, support_masks, model.encode(query), query_masks)


def test_likelier_is_argmax_ties_included():
    scores = torch.randint(0, 3, (4, 3, 2, 5, 6), generator=torch.Generator().manual_seed(0))
    assert torch.equal(likelier(scores.float()), scores.argmax(dim=2))


@pytest.mark.parametrize("loss_size", ["feature", "image"])
def test_segmentation_loss_is_the_loop_over_known_pixels(loss_size):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 4, 5, generator=g)
    mask = torch.randint(0, 2, (1, 4, 5), generator=g)
    mask[0, 0, :3] = 255
    total, known = 0.0, 0
    p = logits.softmax(dim=1)
    for y in range(4):
        for x in range(5):
            if mask[0, y, x] != 255:
                total, known = total - float(p[0, mask[0, y, x], y, x].log()), known + 1
    loss = segmentation_loss(logits, mask, loss_size)
    assert loss.item() == pytest.approx(total / known, abs=1e-5)
    assert segmentation_loss(logits, torch.full_like(mask, 255), loss_size).item() == 0


def test_the_loss_at_feature_size_shrinks_the_mask_and_at_image_size_enlarges_the_logits():
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(2, 21, 30, dtype=torch.long)
    mask[:, 4:15, 5:20] = 1
    small, big = shrink_mask(mask, (3, 4)).long(), resize_logits(logits, (21, 30))
    cross_entropy = torch.nn.functional.cross_entropy
    at_feature = segmentation_loss(logits, mask, "feature")
    at_image = segmentation_loss(logits, mask, "image")
    assert torch.allclose(at_feature, cross_entropy(logits, small))
    assert torch.allclose(at_image, cross_entropy(big, mask))


def test_argmax_passes_no_gradient_and_the_pooled_features_do():
    """The query loss reaches the features through v_pri and v_aux, never through P_s1."""
    model = tiny_model("canet", Guidance(loss_s1=False, loss_s2=False), norm=False).train()
    images, masks, query, query_masks = random_task(k=1)
    support, support_masks = maps_of(model, images, masks)
    losses = model.losses(support, support_masks, model.encode(query), query_masks)
    losses["total"].backward()
    # The support's own branch was used for Eq. 3 alone, so only argmax could have reached it.
    assert all(p.grad is None for p in model.head.support_branch.parameters())
    features = torch.randn(1, 8, 6, 7, requires_grad=True)
    small = shrink_mask(masks[:1, 0], (6, 7))
    model.self_guide(features, small).vectors.sum().backward()
    inside = features.grad.abs().sum(dim=1) > 0
    assert torch.equal(inside, small > 0)


def test_v_s_only_never_runs_the_support_pass(monkeypatch):
    model = tiny_model("canet", GUIDANCES["v_s"]).train()

    def fail(*args):
        raise AssertionError("the support pass ran")

    monkeypatch.setattr(model.head, "support", fail)
    images, masks, query, query_masks = random_task(k=1)
    support, support_masks = maps_of(model, images, masks)
    model.losses(support, support_masks, model.encode(query), query_masks)


@torch.no_grad()
def test_refinement_feeds_the_previous_prediction_back():
    images, masks, query, _ = random_task(k=1)
    model = tiny_model("canet", iterations=2)
    support = model.condition(images, masks)
    twice = model.segment(support, query).logits
    model.iterations = 1
    once = model.segment(support, query)
    maps = model.encode(query)
    features = model.head.reduce(maps.mid, "query")
    zero = torch.zeros(2, 2, *features.shape[-2:])
    vectors = support.vectors[:, 0]
    history = model.head.query(features, vectors, zero).logits.softmax(dim=1)
    slow = model.head.query(features, vectors, history).logits
    assert torch.allclose(twice[:, 0], resize_logits(slow, (44, 52)), atol=1e-5)
    assert not torch.allclose(twice, once.logits)


@torch.no_grad()
def test_released_rules_change_what_they_name():
    images, masks, query, _ = random_task(k=3)
    for head in ("canet", "pfenet"):
        paper = tiny_model(head)
        support = paper.condition(images, masks)
        for rule in (
            {"mutual": "support"},
            {"iou": "mean"},
            {"own_score": False},
            {"epsilon": 0.5},
        ):
            other = tiny_model(head, rules=Rules(**rule)).condition(images, masks)
            assert not torch.allclose(support.scores, other.scores), rule
    first = tiny_model("pfenet", rules=Rules(second_pyramid="first"))
    maps, small = maps_of(first, images, masks)
    f = first.head.reduce(maps.mid, "support")
    guide = first.self_guide(f, shrink_mask(small, f.shape[-2:]))
    own = tiny_model("pfenet").second_pass(f, guide.vectors, guide.first).logits
    assert not torch.allclose(first.second_pass(f, guide.vectors, guide.first).logits, own)


def test_auxiliary_loss_adds_the_inner_classifiers():
    images, masks, query, query_masks = random_task(k=1)
    totals = []
    for weight in (0.0, 1.0):
        model = tiny_model("pfenet", rules=Rules(auxiliary_loss=weight)).train()
        support, support_masks = maps_of(model, images, masks)
        losses = model.losses(support, support_masks, model.encode(query), query_masks)
        totals.append((losses["total"] - losses["q"] - losses["s1"] - losses["s2"]).item())
    assert totals[0] == pytest.approx(0, abs=1e-5) and totals[1] > 0.5


@pytest.mark.parametrize("head", ["canet", "pfenet"])
@pytest.mark.parametrize("size", [(41, 41), (48, 48), (37, 90), (64, 33)])
@torch.no_grad()
def test_any_size_comes_back_at_its_own_size(head, size):
    model = tiny_model(head)
    images, masks, query, _ = random_task(b=1, k=2, size=size)
    result = model.segment(model.condition(images, masks), query)
    assert result.fused.shape == (1, 2, *size) and torch.isfinite(result.fused).all()


@torch.no_grad()
def test_maps_and_images_give_the_same():
    model = tiny_model("pfenet")
    images, masks, query, _ = random_task(k=2)
    flat = model.encode(images.flatten(0, 1), masks.flatten(0, 1))
    maps = Maps(*(m.unflatten(0, (2, 2)) for m in flat))
    a = model.segment(model.condition(images, masks), query).fused
    b = model.segment(model.condition(maps, masks), model.encode(query), size=(44, 52)).fused
    assert torch.equal(a, b)


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_half_precision_stays_close_to_single(head):
    """What CUDA does in training and use, on the CPU's own bfloat16."""
    model = tiny_model(head)
    images, masks, query, query_masks = random_task(k=2)
    plain = model.segment(model.condition(images, masks), query)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.segment(model.condition(images, masks), query)
        model.train()
        support, support_masks = maps_of(model, images, masks)
        losses = model.losses(support, support_masks, model.encode(query), query_masks)
    assert half.fused.dtype == torch.float32
    assert (half.fused - plain.fused).abs().mean() < 0.02
    losses["total"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_bad_input_is_named_with_a_remedy():
    model = tiny_model()
    images, masks, query, _ = random_task(k=2)
    bad = {
        "no object": (images, torch.zeros_like(masks)),
        "no pixel is 1": (images, torch.full_like(masks, 255)),
        "differ in size": (images[..., :40], masks),
        "K = 0": (images[:, :0], masks[:, :0]),
        "one mask for each image": (images[:, :1], masks),
        "the value 7": (images, masks * 7),
        r"expected \[B, K, H, W\]": (images, masks[0]),
        r"expected \[B, K, 3, H, W\]": (images[:, :, :1], masks),
        "grey levels 0..255 need": (images * 255, masks),
        "uint8 with values": ((images * 255).byte(), masks),
    }
    for message, (wrong_images, wrong_masks) in bad.items():
        with pytest.raises(ValueError, match=message):
            model.condition(wrong_images, wrong_masks)
    with pytest.raises(ValueError, match=r"query images have shape \(3, 44, 52\)"):
        model.segment(model.condition(images, masks), query[0])
    with pytest.raises(ValueError, match="fusion='median'"):
        model.segment(model.condition(images, masks), query, fusion="median")
    with pytest.raises(ValueError, match="head takes 2 vectors"):
        type(model)(model.backbone, model.head, GUIDANCES["v_s"])


def test_supports_of_several_sizes_are_looked_at_group_by_group():
    images, masks, _, _ = random_task(b=1, k=2)
    support = tiny_model().condition(
        [images[0, 0], images[0, 1, :, :40]], [masks[0, 0], masks[0, 1, :40]]
    )
    assert [g.features.shape[:2] for g in support.groups] == [(1, 1), (1, 1)]
    assert torch.equal(support.groups[1].vectors, support.vectors[:, 1:])
    for name in ("features", "mask", "guide"):
        with pytest.raises(ValueError, match="2 groups .* differ in size: look at each"):
            getattr(support, name)
