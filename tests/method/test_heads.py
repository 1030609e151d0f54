"""The wiring of the heads: shapes, what is shared, what only the query receives."""

import pytest
import torch

from scl.method.heads import CANetHead
from scl.method.pfenet import PFENetHead
from scl.models.build import ModelConfig, build_model
from tests.helpers.models import TinyBackbone


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", [(6, 6), (5, 9), (1, 4)])
@pytest.mark.parametrize("build", [CANetHead, PFENetHead])
def test_score_maps_have_the_size_of_the_features(build, n, norm, size):
    head = build(10, n=n, d=8, norm=norm).eval()
    mid = torch.randn(2, 10, *size)
    vectors, hint = torch.randn(2, n, 8), torch.rand(2, head.hint_channels, 3, 3)
    for role in ("support", "query"):
        features = head.reduce(mid, role)
        assert features.shape == (2, 8, *size)
    assert head.support(features, vectors).logits.shape == (2, 2, *size)
    assert head.query(features, vectors, hint).logits.shape == (2, 2, *size)


@pytest.mark.parametrize("build", [CANetHead, PFENetHead])
def test_only_the_first_fpm_differs_between_support_and_query(build):
    """All parameters are reached by both passes, but those of the FPMs and reductions."""
    head = build(10, n=2, d=8).train()
    hint = torch.rand(2, head.hint_channels, 6, 6)
    reached = {}
    for role in ("support", "query"):
        head.zero_grad(set_to_none=True)
        features = head.reduce(torch.randn(2, 10, 6, 6), role)
        vectors = torch.randn(2, 2, 8)
        out = (
            head.support(features, vectors)
            if role == "support"
            else head.query(features, vectors, hint)
        )
        (out.logits.sum() + sum(x.sum() for x in out.inner)).backward()
        reached[role] = {n for n, p in head.named_parameters() if p.grad is not None}
    own = reached["support"] ^ reached["query"]
    assert own and all(
        name.split(".")[0]
        in ("query_branch", "support_branch", "query_merge", "support_merge", "reducers")
        for name in own
    )


def test_full_size_is_the_same_class_with_other_parameters():
    head = CANetHead(1536, n=2, d=256, rates=(6, 12, 18), reduce_kernel=3, norm=False)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes["reducer.0.weight"] == (256, 1536, 3, 3)
    assert shapes["compare.0.weight"] == (256, 768, 3, 3)
    assert shapes["query_branch.1.0.weight"] == (256, 258, 3, 3)
    assert shapes["aspp.merge.0.weight"] == (256, 1280, 1, 1)
    head = PFENetHead(1536, n=2, d=256, scales=(60, 30, 15, 8), norm=False)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes["query_merge.0.0.weight"] == (256, 769, 1, 1)
    assert shapes["support_merge.0.0.weight"] == (256, 768, 1, 1)
    assert shapes["gather.0.weight"] == (256, 1024, 1, 1)
    assert head._sizes((60, 60)) == [(60, 60), (30, 30), (15, 15), (8, 8)]


def test_the_inner_classifiers_run_only_in_training():
    head = PFENetHead(10, n=1, d=8)
    features, vectors = torch.randn(1, 8, 6, 6), torch.randn(1, 1, 8)
    assert len(head.train().support(features, vectors).inner) == 4
    assert head.eval().support(features, vectors).inner == ()


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    config, backbone = ModelConfig(), TinyBackbone()
    a, b, c = (build_model(config, seed, backbone) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.head.classify.weight, b.head.classify.weight)
    assert not torch.equal(a.head.classify.weight, c.head.classify.weight)


@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_a_head_may_begin_as_released(head):
    """N(0, 0.01) for the weights of all convolutions, by the seed; biases as PyTorch draws them."""
    config, backbone = ModelConfig(head, d=32, init="normal"), TinyBackbone()
    before = torch.get_rng_state()
    a, b, c = (build_model(config, seed, backbone).head.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    weights = [name for name in a if a[name].ndim == 4]
    assert not any(torch.equal(a[name], c[name]) for name in weights)
    drawn = torch.cat([a[name].flatten() for name in weights])
    assert abs(drawn.mean()) < 1e-3 and drawn.std() == pytest.approx(0.01, rel=0.02)
    usual = build_model(ModelConfig(head, d=32), 1, backbone).head.state_dict()
    assert all(torch.equal(a[name], usual[name]) for name in a if a[name].ndim < 4)


def test_a_configuration_survives_json_and_refuses_unknown_names():
    config = ModelConfig(head="pfenet", d=16, dropout=0.5)
    assert ModelConfig.from_dict(config.to_dict()) == config
    older = config.to_dict()
    del older["init"]
    assert ModelConfig.from_dict(older) == config
    with pytest.raises(ValueError, match="dropouts"):
        ModelConfig.from_dict({"dropouts": 0.5})
    with pytest.raises(ValueError, match="head='unet'"):
        ModelConfig(head="unet")
