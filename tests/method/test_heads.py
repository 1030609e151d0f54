"""The wiring of the heads: shapes, what is shared, what only the query receives."""

import pytest
import torch

from scl.method.contracts import CHUNK, in_chunks
from scl.method.heads import CANetHead
from scl.method.layers import Conv, Gather, Merge
from scl.method.pfenet import PFENetHead
from scl.method.vectors import concat_vectors
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


@pytest.mark.parametrize("kernel, dilation", [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", [(6, 9), (1, 4), (3, 3)])
def test_merging_by_parts_is_the_convolution_of_what_is_laid_side_by_side(
    kernel, dilation, norm, size
):
    """Also at the border, where the kernel meets no copy of a vector."""
    torch.manual_seed(0)
    merge = Merge(5, 2, 8, kernel, maps=3, dilation=dilation, norm=norm).double()
    features, vectors = torch.randn(4, 5, *size).double(), torch.randn(4, 2, 5).double()
    extra = torch.randn(4, 1, *size).double(), torch.randn(4, 2, *size).double()
    slow = merge(concat_vectors(features, vectors, *extra))
    torch.testing.assert_close(merge(merge.share(features), vectors, *extra), slow)
    inputs = merge[0].in_channels
    plain = Conv(inputs, 8, kernel, dilation=dilation, norm=norm)
    assert {n: p.shape for n, p in plain.named_parameters()} == {
        n: p.shape for n, p in merge.named_parameters()
    }, "old checkpoints fit"


def test_joining_small_maps_is_the_convolution_of_enlarged_ones():
    torch.manual_seed(0)
    gather = Gather(3 * 4, 6, norm=True, bias=False).double()
    maps = [torch.randn(2, 4, *size).double() for size in ((7, 9), (4, 5), (1, 2))]
    enlarge = {"mode": "bilinear", "align_corners": True}
    large = [torch.nn.functional.interpolate(m, (7, 9), **enlarge) for m in maps]
    slow = gather(torch.cat(large, dim=1))
    torch.testing.assert_close(gather(maps, (7, 9)), slow)


@pytest.mark.parametrize("build", [CANetHead, PFENetHead])
def test_what_is_shared_serves_under_any_vectors(build):
    head = build(10, n=2, d=8).eval()
    features, hint = torch.randn(3, 8, 6, 6), torch.rand(3, head.hint_channels, 6, 6)
    shared = {role: head.share(features, role) for role in ("support", "query")}
    for _ in range(2):
        vectors = torch.randn(3, 2, 8)
        one, other = (head.support(x, vectors).logits for x in (features, shared["support"]))
        torch.testing.assert_close(one, other)
        one, other = (head.query(x, vectors, hint).logits for x in (features, shared["query"]))
        torch.testing.assert_close(one, other)


def test_chunks_are_all_of_it_and_no_larger_than_they_may_be():
    maps, seen = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, CHUNK // 2048, 32, 32), []

    def work(features, some):
        one = features if isinstance(features, torch.Tensor) else features[1]
        seen.append(some)
        return one[:, 0, 0, 0]

    for features in (maps, (maps, maps)):
        assert in_chunks(work, features, 5).tolist() == [0, 1, 2, 3, 4]
    assert seen == [slice(0, 2), slice(2, 4), slice(4, 6)] * 2
