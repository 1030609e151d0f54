"""Every backbone under both heads: shapes, types, what learns; oracles; what is refused, and how.

Backbones are the real ones, with random weights; heads are those of `full_size`, 8 channels wide.
"""

import math
import os
import urllib.request
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from scl.method.rules import PAPER, PRESETS, RELEASED_CANET, RELEASED_PFENET, V_S, Rules
from scl.method.scl import SCL, Maps
from scl.models.backbones import BACKBONES, ResNet, build_backbone, vgg
from scl.models.backbones.weights import torchvision_state
from scl.models.build import ModelConfig, build_model, full_size
from tests.helpers.models import TinyBackbone, random_task, tiny_model

torch.set_num_threads(1)

SIZE = (18, 29)  # not square, and neither side is 8k + 1
SYSTEMS = [*((name, 8) for name in BACKBONES), ("vgg16_bn", 16)]
HEADS = ("canet", "pfenet")
RELEASED = {"canet": RELEASED_CANET, "pfenet": RELEASED_PFENET}
half = partial(torch.autocast, "cpu", torch.bfloat16)
on_both_heads = pytest.mark.parametrize("head", HEADS)


def system_name(system: tuple[str, int]) -> str:
    return f"{system[0]}@{system[1]}"


@pytest.fixture(scope="module", params=SYSTEMS, ids=system_name)
def backbone(request):
    """One backbone for all tests that ask for it; pytest keeps one at a time."""
    return build_backbone(*request.param)


@pytest.fixture(scope="module")
def small_vgg():
    """The cheapest of the released backbones."""
    return build_backbone("vgg16_bn", 16)


def model_on(backbone, head: str, rules: Rules = PAPER, **changes) -> SCL:
    """A full-size configuration, but for 8 channels and a single zoom."""
    config = full_size(head, rules=rules, **{"d": 8, "zooms": (1.0,), **changes})
    return build_model(config, backbone=backbone)


def cells(backbone, side: int) -> int:
    """Cells of the mid-level map; CANet's pooling rounds up and so may add one."""
    if isinstance(backbone, ResNet) and getattr(backbone.stem[-1], "ceil_mode", False):
        pooled = math.ceil((math.ceil(side / 2) - 1) / 2) + 1
        return math.ceil(pooled / 2)
    return math.ceil(side / backbone.stride)


def statistics_of(backbone) -> dict[str, torch.Tensor]:
    """What a backbone stores besides its weights."""
    weights = dict(backbone.named_parameters())
    return {name: v for name, v in backbone.state_dict().items() if name not in weights}


def buffers(backbone) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in statistics_of(backbone).items()}


def changed(backbone, before: dict[str, torch.Tensor]) -> list[str]:
    return [n for n, value in statistics_of(backbone).items() if not torch.equal(value, before[n])]


def check_use(model: SCL, b: int, k: int, device: str = "cpu", precision=nullcontext) -> None:
    """Condition and segment, then look at every shape, type and range."""
    images, masks, query, _ = (x.to(device) for x in random_task(b, k, SIZE))
    query = query.contiguous(memory_format=torch.channels_last)
    with precision():
        support = model.condition(images, masks)
        done = model.segment(support, query)
    shapes = {
        "logits": (b, k, 2, *SIZE),
        "fused_logits": (b, 2, *SIZE),
        "fused": (b, 2, *SIZE),
        "scores": (b, k),
        "mutual": (b, k, k),
    }
    for name, shape in shapes.items():
        value = getattr(done, name)
        assert (value.shape, value.dtype) == (shape, torch.float32), name
        assert torch.isfinite(value).all() and value.device.type == device, name
    assert support.vectors.shape == (b, k, 2, 8) and torch.isfinite(support.vectors).all()
    assert torch.allclose(done.fused.sum(dim=1), torch.ones_like(done.fused[:, 0]), atol=1e-5)
    assert all(0 <= x.min() and x.max() <= 1 for x in (done.fused, done.mutual, done.scores))
    assert torch.allclose(done.scores, done.mutual.mean(dim=2), atol=1e-6)
    assert (done.mutual == 1).all() or k > 1
    assert set(done.mask.unique().tolist()) <= {0, 1}


def check_training_step(model: SCL, b: int, device: str = "cpu", precision=nullcontext) -> None:
    """Losses are finite; gradients are in the head, and all of it; the backbone is untouched."""
    images, masks, query, truth = (x.to(device) for x in random_task(b, 1, SIZE))
    before = buffers(model.backbone)
    model.train()
    with precision():
        maps = model.encode(images[:, 0], masks[:, 0])
        losses = model.losses(maps, masks[:, 0], model.encode(query), truth)
    assert set(losses) == {"q", "s1", "s2", "total"}
    assert all(x.dtype == torch.float32 and torch.isfinite(x) for x in losses.values())
    losses["total"].backward()
    gradients = {name: p.grad for name, p in model.head.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    assert not model.backbone.training and not changed(model.backbone, before)


# ------------------------------------------------------------------ everything under both heads


@on_both_heads
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("precision", [nullcontext, half], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("b", [1, 4])
def test_condition_and_segment(backbone, head, k, precision, b):
    check_use(model_on(backbone, head, iterations=2), b, k, precision=precision)


@on_both_heads
@pytest.mark.parametrize("b, precision", [(1, half), (4, nullcontext)], ids=["1-bf16", "4-float32"])
def test_a_training_step_reaches_the_head_alone(backbone, head, b, precision):
    rules = replace(RELEASED[head], statistics="frozen")
    check_training_step(model_on(backbone, head, rules), b, precision=precision)


def test_batch_statistics_move_in_training_and_rest_in_use(backbone):
    """The released code leaves the frozen backbone in training mode."""
    state = buffers(backbone)
    model = model_on(backbone, "pfenet", Rules(statistics="batch"))
    images = random_task(2, 1, SIZE)[2]
    try:
        model.train().encode(images)
        assert set(changed(backbone, state)) == set(state)  # none for EfficientNet-Lite0
        after = buffers(model.eval().backbone)
        model.encode(images)
        assert not changed(backbone, after) and not backbone.training
        assert not any(p.requires_grad for p in backbone.parameters())
    finally:
        backbone.load_state_dict(state, strict=False)


@torch.no_grad()
def test_maps_have_the_described_cells_and_channels(backbone):
    for size in ((8, 8), (9, 16), (17, 23), (33, 40)):
        if min(size) < backbone.stride:
            continue
        mid = backbone.mid(torch.rand(1, 3, *size))
        expected = tuple(cells(backbone, side) for side in size)
        assert mid.shape == (1, backbone.mid_channels, *expected) and mid.dtype == torch.float32
        high = backbone.high(mid)
        assert high.shape[-2:] == expected
        assert torch.equal(high, backbone.high(mid, torch.ones(1, *expected)))
        assert not torch.equal(high, backbone.high(mid, torch.zeros(1, *expected)))


# EfficientNet-Lite0, the first, has its own scale.
@pytest.mark.parametrize("backbone", SYSTEMS[1:], indirect=True, ids=system_name)
def test_normalised_images_and_images_in_0_to_1_give_the_same_maps(backbone, monkeypatch):
    """Mean and deviation are taken out by the backbone, or by hand."""
    images = random_task(1, 1, SIZE)[2]
    by_hand = images.clone()
    for c, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        by_hand[:, c] = (images[:, c] - mean) / deviation
    unit = backbone.mid(images)
    monkeypatch.setattr(backbone, "inputs", "normalised")
    assert torch.allclose(backbone.mid(by_hand), unit, rtol=1e-4, atol=1e-4 * unit.abs().max())
    assert torch.equal(backbone.normalise(by_hand), by_hand)


@on_both_heads
def test_a_channels_last_model_gives_the_same(small_vgg, head):
    images, masks, query, _ = random_task(2, 3, SIZE)
    model = model_on(small_vgg, head)
    plain = model.segment(model.condition(images, masks), query)
    try:
        model.to(memory_format=torch.channels_last)
        query = query.contiguous(memory_format=torch.channels_last)
        other = model.segment(model.condition(images, masks), query)
    finally:
        small_vgg.to(memory_format=torch.contiguous_format)
    assert torch.allclose(plain.fused, other.fused, atol=1e-3)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
half_cuda = partial(torch.autocast, "cuda", torch.bfloat16)


@cuda
@on_both_heads
@pytest.mark.parametrize("name, stride", SYSTEMS)
def test_on_cuda_in_both_precisions_and_channels_last(head, name, stride):
    rules = replace(RELEASED[head], statistics="frozen")
    model = model_on(build_backbone(name, stride), head, rules, iterations=2).to("cuda")
    for last in (False, True):
        if last:
            model.to(memory_format=torch.channels_last)
        for precision in (nullcontext, half_cuda):
            for b, k in ((1, 1), (4, 5)):
                check_use(model.eval(), b, k, "cuda", precision)
            model.zero_grad(set_to_none=True)
            check_training_step(model, 4, "cuda", precision)


@cuda
@on_both_heads
def test_cuda_agrees_with_the_cpu(head):
    images, masks, query, _ = random_task(2, 3, SIZE)
    model = model_on(build_backbone("vgg16_bn"), head)
    here = model.segment(model.condition(images, masks), query)
    model.to("cuda")
    there = model.segment(model.condition(images.cuda(), masks.cuda()), query.cuda())
    assert (there.fused.cpu() - here.fused).abs().mean() < 1e-2


@on_both_heads
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_takes_images_of_its_own(head, dtype):
    images, masks, query, _ = random_task(1, 3, SIZE)
    model = model_on(TinyBackbone(), head).to(dtype)
    done = model.segment(model.condition(images.to(dtype), masks), query.to(dtype))
    assert done.fused.dtype == torch.float32 and torch.isfinite(done.fused).all()


# ------------------------------------------------------------------------- oracles: torchvision


def torchvision_resnet() -> models.ResNet:
    """ResNet-50 as torchvision builds it, with statistics that are not those of a fresh one."""
    torch.manual_seed(0)
    net = models.resnet50()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.5)
            module.weight.data.uniform_(0.3, 0.7)
    return net.eval()


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-5 * b.abs().max())


@torch.no_grad()
def test_dilated_resnet_has_the_cells_of_torchvisions_between_others(monkeypatch):
    """Layer3 at every second cell and layer4 at every fourth, exactly, the border included."""
    plain = torchvision_resnet()
    asked = []
    monkeypatch.setattr(
        "scl.models.backbones.resnet.torchvision_state",
        lambda *names: asked.append(names) or plain.state_dict(),
    )
    net = ResNet(50, weights="IMAGENET1K_V2", inputs="normalised")
    assert asked == [("resnet50", "IMAGENET1K_V2")]
    images = torch.randn(1, 3, 43, 70, generator=torch.Generator().manual_seed(1))
    x = plain.maxpool(plain.relu(plain.bn1(plain.conv1(images))))
    second = plain.layer2(plain.layer1(x))
    third = plain.layer3(second)
    mid = net.mid(images)
    assert close(mid[:, :512], second)
    assert close(mid[:, 512:, ::2, ::2], third)
    assert close(net.high(mid)[..., ::4, ::4], plain.layer4(third))


def torchvision_vgg(ceil_mode: bool, net: vgg.VGG16) -> nn.Sequential:
    """torchvision's own features (no classifier is allocated) with our weights."""
    with torch.device("meta"):
        features = models.vgg16_bn().features
    features = features.to_empty(device="cpu").eval()
    starts = {name: start for name, (start, _) in vgg.LAYERS.items()}
    state = {}
    for key, value in net.state_dict().items():
        layer, place, kind = key.split(".")
        state[f"{starts[layer] + int(place)}.{kind}"] = value
    features.load_state_dict(state)
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = ceil_mode
    return features


@pytest.mark.parametrize("size, ceil_mode", [((32, 48), False), ((32, 48), True), ((45, 70), True)])
@torch.no_grad()
def test_vgg_at_stride_16_is_torchvisions(small_vgg, size, ceil_mode):
    """With pooling that rounds up; where sides are multiples of 16 that makes no difference."""
    features = torchvision_vgg(ceil_mode, small_vgg)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    x = small_vgg.normalise(images)
    third = features[:34](x)
    second = F.interpolate(features[:24](x), third.shape[-2:], mode="bilinear", align_corners=True)
    mid = small_vgg.mid(images)
    assert close(mid, torch.cat([second, third], dim=1))
    assert close(small_vgg.high(mid), features[:43](x))


@pytest.mark.parametrize("size", [(32, 48), (45, 70), (49, 33)])
@torch.no_grad()
def test_vgg_at_stride_8_has_the_cells_of_stride_16_between_others(small_vgg, size):
    dense = build_backbone("vgg16_bn", 8)
    dense.load_state_dict(small_vgg.state_dict())
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    fine, coarse = dense.mid(images), small_vgg.mid(images)
    assert fine.shape[-2:] == tuple(-(-side // 8) for side in size)
    assert close(fine[:, -512:, ::2, ::2], coarse[:, -512:])
    assert close(dense.high(fine)[..., ::2, ::2], small_vgg.high(coarse))


# ---------------------------------------------------------------------- ImageNet weights by name


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """torch's cache in an empty folder, and no network; returns the folder of checkpoints."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def refuse(*args, **kwargs):
        raise URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_are_read_from_torchs_cache_without_network(offline):
    state = {"conv1.weight": torch.randn(2, 3)}
    torch.save(state, offline / "resnet50-0676ba61.pth")
    found = torchvision_state("resnet50", "IMAGENET1K_V1")
    assert torch.equal(found["conv1.weight"], state["conv1.weight"])


def test_weights_that_cannot_be_fetched_name_the_file_to_put_there(offline):
    with pytest.raises(ValueError, match="V2 of resnet101.*no network.*resnet101-cd907fc2.pth"):
        torchvision_state("resnet101", "IMAGENET1K_V2")


def test_weights_are_checked_and_nothing_but_tensors_is_unpickled(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url",
        lambda url, **options: seen.update(options, url=url) or {},
    )
    assert torchvision_state("vgg16_bn", "IMAGENET1K_V1") == {}
    assert seen["weights_only"] is True and seen["check_hash"] is True
    assert seen["url"].endswith("vgg16_bn-6c64b313.pth")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_cached_file_with_code_in_it_is_not_run(offline, tmp_path):
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, offline / "resnet50-0676ba61.pth")
    with pytest.raises(ValueError, match="Weights only load failed"):
        torchvision_state("resnet50", "IMAGENET1K_V1")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["resnet50", "resnet50_canet", "vgg16_bn"])
def test_unknown_weights_are_refused_with_the_known_names(name):
    with pytest.raises(ValueError, match="weights='IMAGENET' of .*knows.*IMAGENET1K_V1"):
        build_backbone(name, weights="IMAGENET")


def test_weights_that_do_not_fit_a_form_are_refused():
    with pytest.raises(ValueError, match="'IMAGENET1K_V1'.*none for PFENet's deep stem.*'torchvis"):
        build_backbone("resnet101_pfenet", weights="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="weights='V1'.*has its own weights"):
        build_backbone("efficientnet_lite0", weights="V1")


def test_vgg_takes_the_convolutions_of_torchvisions_state(monkeypatch, small_vgg):
    """And leaves its classifier, which is nine tenths of the file."""
    features = torchvision_vgg(False, small_vgg).state_dict()
    state = {f"features.{key}": value for key, value in features.items()}
    state["classifier.0.weight"] = torch.zeros(2)
    monkeypatch.setattr("scl.models.backbones.vgg.torchvision_state", lambda *names: state)
    net = build_backbone("vgg16_bn", 16, weights="IMAGENET1K_V1")
    pairs = zip(net.state_dict().values(), small_vgg.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# --------------------------------------------------------------------- what runs, and how often


class Counter:
    """How many images each part of a model has been given, call by call."""

    def __init__(self, parts: dict[str, nn.Module]):
        self.calls: dict[str, list[int]] = {name: [] for name in parts}
        for name, part in parts.items():
            part.register_forward_hook(
                lambda module, inputs, output, name=name: self.calls[name].append(len(inputs[0]))
            )

    def take(self) -> dict[str, list[int]]:
        """The calls since the last time, parts that ran only."""
        taken = {name: list(calls) for name, calls in self.calls.items() if calls}
        for calls in self.calls.values():
            calls.clear()
        return taken


def support_parts(head) -> dict[str, nn.Module]:
    if head.refines:
        return {"support": head.support_branch}
    return {"support": head.support_merge[0], "reduction": head.reducers["support"]}


@on_both_heads
@pytest.mark.parametrize("mutual", ["model", "support"])
def test_a_support_set_is_read_once(head, mutual):
    """Three queries later the backbone has seen each image once, and no support pass has run."""
    backbone = build_backbone("vgg16_bn", 16)
    model = model_on(backbone, head, Rules(mutual=mutual), iterations=1)
    images, masks, query, _ = random_task(1, 4, SIZE)
    parts = {"backbone": backbone.stem, "layer4": backbone.layer4, **support_parts(model.head)}
    counter = Counter(parts)
    support = model.condition(images, masks)
    read = counter.take()
    # First passes of 4 supports; among each other by the support branch, 4 more under each.
    assert read["backbone"] == [4]
    assert read["support"] == ([4] if mutual == "model" else [4] * 5)
    # Under their masks; and whole, where they are queries to one another.
    deep = {"canet": None, "pfenet": [4, 4] if mutual == "model" else [4]}[head]
    assert read.get("layer4") == deep
    for _ in range(3):
        model.segment(support, query)
    used = counter.take()
    assert used == {"backbone": [1] * 3} | ({} if deep is None else {"layer4": [1] * 3})


def test_a_lone_support_is_never_seen_as_a_query(small_vgg):
    """Nothing is to be compared: its fifth block runs under the mask, and not on the whole."""
    model = model_on(small_vgg, "pfenet")
    counter = Counter({"layer4": small_vgg.layer4, "support": model.head.support_merge[0]})
    model.condition(*random_task(1, 1, SIZE)[:2])
    assert counter.take() == {"layer4": [1], "support": [1]}


@on_both_heads
def test_one_support_set_serves_a_batch_of_queries(small_vgg, head):
    """With the released rules, refinement and zooms: nothing mixes within the batch."""
    rules = RELEASED[head]
    model = model_on(small_vgg, head, rules, iterations=3, zooms=(0.7, 1.0, 1.3))
    if head == "pfenet":
        model.zooms = (1.0,)
    images, masks, query, _ = random_task(3, 2, (33, 47))
    support = model.condition(images[:1], masks[:1])
    many = model.segment(support, query)
    assert many.scores.shape == (3, 2) and many.mutual.shape == (3, 2, 2)
    for i in range(3):
        alone = model.segment(support, query[i : i + 1])
        assert torch.allclose(many.logits[i], alone.logits[0], rtol=1e-4, atol=1e-4)
        assert torch.equal(many.scores[i], alone.scores[0])


@on_both_heads
def test_supports_of_several_sizes_give_what_each_gives_alone(small_vgg, head):
    """Vectors and score maps; and each mutual IOU is that of the pair alone."""
    model = model_on(small_vgg, head, iterations=1)
    sizes, query = ((33, 47), (48, 32), (19, 29)), random_task(1, 1, (40, 37))[2]
    tasks = [random_task(1, 1, size, seed) for seed, size in enumerate(sizes)]
    images, masks = [t[0][0, 0] for t in tasks], [t[1][0, 0] for t in tasks]
    support = model.condition(images, masks)
    done = model.segment(support, query)
    assert support.mutual.shape == (1, 3, 3) and len(support.groups) == 3
    for k in range(3):
        alone = model.condition(images[k : k + 1], masks[k : k + 1])
        assert torch.equal(alone.vectors[:, 0], support.vectors[:, k])
        logits = model.segment(alone, query).logits[:, 0]
        assert torch.allclose(done.logits[:, k], logits, rtol=1e-4, atol=1e-5)
        for i in range(3):
            pair = model.condition([images[k], images[i]], [masks[k], masks[i]])
            assert torch.allclose(pair.mutual[0, 0, 1], support.mutual[0, k, i], atol=5e-3)


@on_both_heads
@pytest.mark.parametrize("batched", [False, True])
def test_a_list_of_one_size_is_the_stacked_tensor(small_vgg, head, batched):
    images, masks, query, _ = random_task(1, 3, SIZE)
    model = model_on(small_vgg, head)
    stacked = model.segment(model.condition(images, masks), query)
    row = slice(None) if batched else 0
    some = [[x[row, k] for k in range(3)] for x in (images, masks)]
    listed = model.segment(model.condition(*some), query)
    for name in ("scores", "mutual", "logits", "fused_logits"):
        assert torch.equal(getattr(stacked, name), getattr(listed, name))


@pytest.mark.parametrize("masked", [False, True])
def test_encode_leaves_out_the_high_level_maps_nobody_reads(small_vgg, masked):
    images, masks = (x[:, 0] for x in random_task(2, 1, SIZE)[:2])
    masks = masks if masked else None
    full = model_on(small_vgg, "pfenet").encode(images, masks)
    less = model_on(small_vgg, "pfenet").encode(images, masks, high=False)
    assert full.high is not None and less.high is None
    assert torch.equal(full.mid, less.mid)
    assert (full.masked is None) == (less.masked is None) == (not masked)
    assert model_on(small_vgg, "canet").encode(images, masks)[1:] == (None, None)


def test_without_high_level_layers_canet_works_and_pfenet_says_what_it_misses():
    backbone = build_backbone("vgg16_bn", 16, high_level=False)
    images, masks, query, _ = random_task(1, 1, SIZE)
    model = model_on(backbone, "canet")
    model.segment(model.condition(images, masks), query)
    with pytest.raises(ValueError, match="without its fifth block: pass high_level=True"):
        model_on(backbone, "pfenet").condition(images, masks)
    with pytest.raises(ValueError, match="without layer4: pass high_level=True"):
        build_backbone("resnet50", high_level=False).high(torch.zeros(1, 1536, 2, 2))


# ---------------------------------------------------------------------------------- kind errors

TASK = random_task(2, 2, (24, 32))


def conditioned(change) -> None:
    """Condition a tiny model on a task spoilt by `change(images, masks)`."""
    model = tiny_model()
    model.backbone.inputs = "unit"
    model.condition(*change(*TASK[:2]))


REFUSED_SUPPORTS = {
    "support images of 7 x 32 pixels are smaller than one cell: expected at least 8 x 8": (
        lambda x, m: (x[..., :7, :], m[..., :7, :])
    ),
    r"images are torch.float64 and the model is torch.float32.*\.to\(torch.float32\)": (
        lambda x, m: (x.double(), m)
    ),
    r"images are torch.float16 and the model is torch.float32.*torch.autocast": (
        lambda x, m: (x.half(), m)
    ),
    r"torch.uint8 with values up to 2\d\d: expected floats in 0..1.*'.float\(\) / 255'": (
        lambda x, m: ((x * 255).byte(), m)
    ),
    "mask holds the value 2: expected 0 .*1 .*255": lambda x, m: (x, m * 2),
    "mask holds the value 0.5: expected": lambda x, m: (x, m * 0.5),
    "mask holds the value -1: expected": lambda x, m: (x, -m.long()),
    r"\(2, 1\) support images for \(2, 2\) masks .*one mask for each image": (
        lambda x, m: (x[:, :1], m)
    ),
    "2 support images for 1 masks: expected one mask for each image": (
        lambda x, m: (list(x.unbind(1)), [m[:, 0]])
    ),
    "0 support images for 0 masks: .*at least one": lambda x, m: ([], []),
    "support images 24 x 31 and masks 24 x 32 differ in size": lambda x, m: (x[..., :31], m),
    "support images 23 x 32 and masks 24 x 32 differ in size": (
        lambda x, m: ([x[0, 0], x[0, 1, :, :23]], [m[0, 0], m[0, 1]])
    ),
    "support images hold NaN or infinity": lambda x, m: (x.masked_fill(m[:, :, None] == 1, nan), m),
    "support images hold NaN .*numbers in 0..1": lambda x, m: (x - float("inf"), m),
    r"support images hold values in -0.[\d]+..0.[\d]+: expected 0..1.*inputs='normalised'": (
        lambda x, m: (x - 0.5, m)
    ),
    r"support images hold values in 0.[\d]+..1.[\d]+: expected 0..1": lambda x, m: (x + 0.5, m),
}
nan = float("nan")


@pytest.mark.parametrize("message", REFUSED_SUPPORTS)
def test_supports_are_refused_with_what_was_found_and_expected(message):
    with pytest.raises(ValueError, match=message):
        conditioned(REFUSED_SUPPORTS[message])


REFUSED_QUERIES = {
    "query images of 24 x 5 pixels are smaller than one cell": lambda q: q[..., :5],
    "query images are torch.float64 and the model is torch.float32": lambda q: q.double(),
    "query images are torch.float16 and the model is torch.float32": lambda q: q.half(),
    "query images are torch.uint8 with values up to 2": lambda q: (q * 255).byte(),
    "query images hold NaN": lambda q: q * nan,
    "query images hold values in -": lambda q: q - 0.5,
    r"query images have shape \(3, 24, 32\): expected \[B, 3, H, W\]": lambda q: q[0],
    r"query images have shape \(2, 1, 24, 32\): expected \[B, 3, H, W\]": lambda q: q[:, :1],
    "3 queries for 2 support sets: expected as many": lambda q: q[[0, 1, 0]],
    "1 queries for 2 support sets": lambda q: q[:1],
}


@pytest.mark.parametrize("message", REFUSED_QUERIES)
def test_queries_are_refused_with_what_was_found_and_expected(message):
    model = tiny_model()
    model.backbone.inputs = "unit"
    support = model.condition(*TASK[:2])
    with pytest.raises(ValueError, match=message):
        model.segment(support, REFUSED_QUERIES[message](TASK[2]))


def test_fusion_and_zooms_are_refused_by_name():
    model = tiny_model()
    support = model.condition(*TASK[:2])
    with pytest.raises(ValueError, match="fusion='mean': expected 'cross', 'average' or 'vectors'"):
        model.segment(support, TASK[2], fusion="mean")
    model.zooms = (0.7, 1.0)
    with pytest.raises(ValueError, match=r"zooms=\(0.7, 1.0\): expected the query as images"):
        model.segment(support, model.encode(TASK[2]))


@on_both_heads
def test_a_model_for_normalised_images_warns_of_images_in_0_to_1(head):
    """It cannot know, so it only warns; and says nothing where values fall outside of 0..1."""
    images, masks, query, _ = TASK
    model = tiny_model(head)
    model.backbone.inputs = "normalised"
    with pytest.warns(UserWarning, match="support images lie in 0..1.*already normalised"):
        support = model.condition(images, masks)
    with pytest.warns(UserWarning, match="query images lie in 0..1.*inputs='unit'"):
        model.segment(support, query)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.segment(model.condition(images - 0.5, masks), query * 3)


@pytest.mark.parametrize("build", [ModelConfig, full_size])
def test_configurations_refuse_unknown_names(build):
    for name, value in (("backbone", "resnet18"), ("head", "unet")):
        with pytest.raises(ValueError, match=f"{name}='{value}': expected one of .*"):
            build(**{name: value})


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("resnet50", {"stride": 16}, "stride=16 of resnet50: expected 8"),
        ("vgg16_bn", {"stride": 32}, "stride=32: expected 8 or 16"),
        ("efficientnet_lite0", {"stride": 4}, "stride=4: expected 8, 16 or 32"),
        ("resnet152", {}, "backbone='resnet152': expected one of .*resnet101_canet"),
        ("resnet50", {"inputs": "raw"}, "inputs='raw': expected 'unit' or 'normalised'"),
        ("efficientnet_lite0", {"inputs": "normalised"}, "takes images in 0..1"),
    ],
)
def test_backbones_refuse_what_they_cannot_be(name, changes, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mutual": "both"}, r"rule mutual='both': expected one of \['model', 'support'\]"),
        ({"history": None}, r"rule history=None: expected one of \['own', 'fused'\]"),
        ({"divisor": 0}, "rule divisor=0: expected a number above 0, or None"),
        ({"epsilon": -1.0}, "rule epsilon=-1.0: expected a number of at least 0"),
        ({"auxiliary_loss": -1}, "rule auxiliary_loss=-1: expected a number of at least 0"),
    ],
)
def test_rules_refuse_unknown_values(changes, message):
    with pytest.raises(ValueError, match=message):
        Rules(**changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"iterations": 0}, "iterations=0: expected at least 1"),
        ({"history_dropout": 1.5}, r"history_dropout=1.5: expected a chance in 0..1"),
        ({"zooms": ()}, r"zooms=\(\): expected one or more numbers above 0"),
        ({"zooms": (1.0, 0.0)}, r"zooms=\(1.0, 0.0\): expected one or more numbers above 0"),
    ],
)
def test_models_refuse_impossible_refinements(changes, message):
    with pytest.raises(ValueError, match=message):
        model_on(TinyBackbone(), "canet", **changes)


@on_both_heads
def test_a_baseline_without_the_supports_fpm_says_so_when_asked_for_it(head):
    """Its own rule predicts supports by the whole model; the released one needs that FPM."""
    images, masks, query, _ = TASK
    plain = model_on(TinyBackbone(), head, guidance=V_S)
    assert not (plain.head.support_branch if head == "canet" else plain.head.support_merge)
    plain.segment(plain.condition(images, masks), query)
    with pytest.raises(ValueError, match="without the support's FPM: pass support_fpm=True"):
        model_on(TinyBackbone(), head, Rules(mutual="support"), guidance=V_S).condition(
            images, masks
        )


def test_maps_with_the_wrong_count_of_masks_are_refused():
    model = tiny_model("pfenet")
    flat = model.encode(TASK[0].flatten(0, 1), TASK[1].flatten(0, 1))
    maps = Maps(*(m.unflatten(0, (2, 2)) for m in flat))
    with pytest.raises(ValueError, match=r"\(2, 2\) support images for \(2, 1\) masks"):
        model.condition(maps, TASK[1][:, :1])


def test_an_empty_batch_is_refused_in_words():
    model = tiny_model("canet")
    images, masks, query, _ = random_task(1, 2)
    support = model.condition(images, masks)
    with pytest.raises(ValueError, match="at least one"):
        model.segment(support, query[:0])
    with pytest.raises(ValueError, match="at least one"):
        model.condition(images[:0], masks[:0])


def test_lists_of_several_batches_are_refused_in_words():
    model = tiny_model("canet")
    images, masks, _, _ = random_task(2, 2)
    with pytest.raises(ValueError, match="as many in each"):
        model.condition([images[:, 0], images[0, 1]], [masks[:, 0], masks[0, 1]])


def test_zooms_that_leave_nothing_are_refused_in_words():
    model = tiny_model("canet")
    images, masks, query, _ = random_task(1, 1)
    model.zooms = (0.01, 1.0)
    with pytest.raises(ValueError, match="zooms"):
        model.segment(model.condition(images, masks), query)


def test_a_backbone_of_the_protocol_alone_serves_every_preset():
    for name, rules in PRESETS.items():
        head = "canet" if name == "released_canet" else "pfenet"
        model = tiny_model(head, rules=rules).train()
        assert not model.eval().training


def test_support_maps_of_a_query_are_refused_in_words():
    model = tiny_model("pfenet")
    images, masks, _, _ = random_task(1, 1)
    maps = model.encode(images[:, 0])
    with pytest.raises(ValueError, match="encode"):
        model.condition(Maps(maps.mid[:, None], maps.high[:, None]), masks)


def test_infinity_is_called_by_its_name():
    model = tiny_model("canet")
    images, masks, _, _ = random_task(1, 1)
    images[0, 0, 0, 0, 0] = float("inf")
    with pytest.raises(ValueError, match="infinity"):
        model.condition(images, masks)
