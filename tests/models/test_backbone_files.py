"""ImageNet weights of the user's own file: every naming, what is refused, and how it is kept."""

import hashlib
import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from scl.method.rules import V_S
from scl.models.backbones import build_backbone, lite0_weights
from scl.models.backbones.vgg import LAYERS
from scl.models.build import ModelConfig, build_model, full_size
from scl.models.checkpoint import (
    load_checkpoint,
    random_backbone,
    save_checkpoint,
    weights_digest,
)

torch.set_num_threads(1)

# Where the layers of a stem stand in it, by the names that files have: written out by hand.
SHALLOW = {"stem.0": "conv1", "stem.1": "bn1"}
DEEP = {
    "stem.0": "conv1",
    "stem.1": "bn1",
    "stem.3": "conv2",
    "stem.4": "bn2",
    "stem.6": "conv3",
    "stem.7": "bn3",
}


def numbers(name: str, like: torch.Tensor) -> torch.Tensor:
    """Values that follow from a name; variances are positive."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(like.shape, generator=generator) / 10
    return drawn.to(like.dtype) if like.is_floating_point() else torch.tensor(7)


def renamed(key: str, stem: dict[str, str] | None) -> str:
    """Our name of a weight to that of a file: of torchvision's form, or of layer0 (None)."""
    layer, place, rest = key.split(".", 2)
    if layer != "stem":
        return key
    return f"layer0.{place}.{rest}" if stem is None else f"{stem[f'stem.{place}']}.{rest}"


def vgg_name(key: str) -> str:
    layer, place, kind = key.split(".")
    return f"features.{LAYERS[layer][0] + int(place)}.{kind}"


def written(name: str, naming: str = "own") -> dict[str, torch.Tensor]:
    """A file's state dict for a backbone, by one of the namings."""
    stride = 16 if name == "vgg16_bn" else 8
    own = build_backbone(name, stride).state_dict()
    stem = DEEP if name.endswith("pfenet") else SHALLOW
    state = {}
    for key, value in own.items():
        if naming == "layer0":
            theirs = renamed(key, None)
        else:
            theirs = vgg_name(key) if name == "vgg16_bn" else renamed(key, stem)
        state[theirs] = numbers(key, value)
    top = "classifier.0" if name == "vgg16_bn" else "fc"
    return state | {f"{top}.weight": torch.zeros(2, 3), f"{top}.bias": torch.zeros(2)}


def put(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def is_filled(backbone) -> bool:
    return all(torch.equal(v, numbers(k, v)) for k, v in backbone.state_dict().items())


@pytest.mark.parametrize("naming", ["own", "layer0"])
@pytest.mark.parametrize(
    "name", ["resnet50", "resnet50_canet", "resnet50_pfenet", "resnet101_pfenet", "vgg16_bn"]
)
def test_every_naming_fills_every_weight(tmp_path, name, naming):
    path = put(tmp_path / "init.pth", written(name, naming))
    backbone = build_backbone(name, 16 if name == "vgg16_bn" else 8, file=path)
    assert is_filled(backbone)
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_stem_of_three_convolutions_is_read_in_its_order(tmp_path):
    """The output of a hand-made stem, step by step, from the file's own names."""
    state = written("resnet50_pfenet")
    for place in (1, 2, 3):
        state[f"bn{place}.running_var"] = state[f"bn{place}.running_var"].abs() + 0.5
    net = build_backbone("resnet50_pfenet", file=put(tmp_path / "v2.pth", state))
    images = torch.rand(1, 3, 33, 41, generator=torch.Generator().manual_seed(0))
    x = images
    for place, stride in ((1, 2), (2, 1), (3, 1)):
        x = torch.nn.functional.conv2d(x, state[f"conv{place}.weight"], None, stride, 1)
        kinds = ("running_mean", "running_var", "weight", "bias")
        x = torch.nn.functional.batch_norm(x, *(state[f"bn{place}.{kind}"] for kind in kinds))
        x = x.relu()
    assert torch.allclose(net.stem(images), torch.nn.functional.max_pool2d(x, 3, 2, 1), atol=1e-5)


@pytest.mark.parametrize("wrap", ["module", "state_dict", "model", "old", "half", "safetensors"])
def test_wrappers_and_older_files_are_read(tmp_path, wrap):
    state, path = written("resnet50_pfenet"), tmp_path / "init.pth"
    if wrap == "module":
        state = {f"module.{key}": value for key, value in state.items()}
    if wrap in ("state_dict", "model"):
        state = {"epoch": 3, wrap: {f"module.{key}": value for key, value in state.items()}}
    if wrap == "old":  # nobody counted batches
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if wrap == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    if wrap == "safetensors":
        path = tmp_path / "init.safetensors"
    backbone = build_backbone("resnet50_pfenet", file=put(path, state))
    for key, value in backbone.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.allclose(value, numbers(key, value), atol=1e-3), key


def test_layers_that_no_head_reads_may_stand_in_the_file(tmp_path):
    for name, stride in (("resnet50_canet", 8), ("vgg16_bn", 16)):
        for naming in ("own", "layer0"):
            path = put(tmp_path / f"{name}.pth", written(name, naming))
            assert is_filled(build_backbone(name, stride, high_level=False, file=path))


def test_efficientnet_takes_a_file_named_as_its_package(tmp_path):
    state = {k: v * 1.01 for k, v in lite0_weights().items()}
    net = build_backbone("efficientnet_lite0", file=put(tmp_path / "own.pth", state))
    weight = state["_conv_stem.weight"] * (
        state["_bn0.weight"] / torch.sqrt(state["_bn0.running_var"] + 1e-3)
    ).reshape(-1, 1, 1, 1)
    assert torch.allclose(net.stem.weight, weight)
    same = build_backbone("efficientnet_lite0", file=put(tmp_path / "same.pth", lite0_weights()))
    assert weights_digest(same) == weights_digest(build_backbone("efficientnet_lite0"))
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(ValueError, match=r"_blocks.3._bn1.bias is missing"):
        build_backbone("efficientnet_lite0", file=put(tmp_path / "cut.pth", state))


def damaged(how: str) -> object:
    state = written("resnet50_pfenet")
    if how == "missing":
        del state["conv2.weight"]
    if how == "surplus":
        state |= {"init_merge.0.0.weight": torch.zeros(1), "cls.0.weight": torch.zeros(1)}
    if how == "shape":
        state["layer2.0.conv1.weight"] = torch.zeros(128, 256, 3, 3)
    if how == "shallow":
        state = written("resnet50")
    if how == "deeper":
        state = written("resnet101_pfenet")
    if how == "twice":
        state["layer0.0.weight"] = state["conv1.weight"]
    return [1] if how == "list" else state


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "conv2.weight is missing"),
        ("surplus", r"init_merge.0.0.weight \(and 1 more\) is not among its weights"),
        ("shape", "layer2.0.conv1.weight is 128 x 256 x 3 x 3, expected 128 x 256 x 1 x 1"),
        ("shallow", "conv1.weight is 64 x 3 x 7 x 7, expected 64 x 3 x 3 x 3"),
        ("deeper", r"layer3.6.conv1.weight \(and \d+ more\) is not among its weights"),
        ("twice", "layer0.0.weight is not among its weights"),
        ("list", "it holds list, expected a state dict"),
    ],
)
def test_a_file_that_does_not_fit_is_one_kind_line(tmp_path, how, said):
    path = put(tmp_path / "init.pth", damaged(how))
    with pytest.raises(ValueError, match=said) as error:
        build_backbone("resnet50_pfenet", file=path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled_and_what_is_no_file_is_named(tmp_path):
    path = put(tmp_path / "trap.pth", {"conv1.weight": Trap(tmp_path / "sprung")})
    with pytest.raises(ValueError, match="trap.pth is no checkpoint that can be read safely"):
        build_backbone("resnet50_pfenet", file=path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ValueError, match="none.pth is missing: expected a file of ImageNet"):
        build_backbone("resnet50_pfenet", file=tmp_path / "none.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="noise.safetensors is no checkpoint"):
        build_backbone("resnet50_pfenet", file=tmp_path / "noise.safetensors")
    with pytest.raises(ValueError, match="weights='IMAGENET1K_V1' and .*: expected one of them"):
        ModelConfig(backbone="resnet50", weights="IMAGENET1K_V1", backbone_weights="x.pth")
    with pytest.raises(ValueError, match="backbone_weights=7: expected the name of a file"):
        ModelConfig(backbone="resnet50", backbone_weights=7)
    with pytest.raises(ValueError, match="backbone_sha256='ab' without backbone_weights"):
        ModelConfig(backbone="resnet50", backbone_sha256="ab")


# ------------------------------------------------------------------------------ in a checkpoint


@pytest.fixture
def config(tmp_path):
    """A small head on PFENet's own ResNet, whose weights are in a file."""
    (tmp_path / "init").mkdir()
    path = put(tmp_path / "init" / "resnet50_v2.pth", written("resnet50_pfenet"))
    return full_size("canet", "resnet50_pfenet", V_S, d=8, backbone_weights=str(path))


def test_a_checkpoint_opens_without_the_file_and_says_which_it_was(config, tmp_path):
    model, file = build_model(config, 3), tmp_path / "init" / "resnet50_v2.pth"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    saved = save_checkpoint(model, config, tmp_path / "whole", 3)
    file.unlink()
    opened = load_checkpoint(saved)
    assert weights_digest(opened) == weights_digest(model) and random_backbone(saved) is None
    record = saved.with_suffix(".json").read_text()
    assert "resnet50_v2.pth" in record and digest in record
    again = save_checkpoint(opened, config, tmp_path / "again", 3)
    assert again.with_suffix(".json").read_text() == record and again.stat().st_size > 2**25


def test_a_checkpoint_without_its_backbone_asks_for_the_file(config, tmp_path):
    model, file = build_model(config, 3), tmp_path / "init" / "resnet50_v2.pth"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    saved = save_checkpoint(model, config, tmp_path / "head", 3, store_backbone=False)
    assert saved.stat().st_size < 2**20
    assert weights_digest(load_checkpoint(saved)) == weights_digest(model)
    beside = file.rename(tmp_path / file.name)
    assert weights_digest(load_checkpoint(saved)) == weights_digest(model)
    state = written("resnet50_pfenet")
    put(beside, state | {"conv1.weight": state["conv1.weight"] + 1})
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"from resnet50_v2.pth .SHA-256 {digest}.: put"):
            load_checkpoint(saved)
        beside.unlink(missing_ok=True)


def test_an_older_checkpoint_knows_of_no_file(tmp_path):
    config = ModelConfig(d=8)
    model = build_model(config, 3)
    saved = save_checkpoint(model, config, tmp_path / "old", 3)
    record = json.loads(saved.with_suffix(".json").read_text())
    assert "stores_backbone" not in record
    for name in ("backbone_weights", "backbone_sha256"):
        assert record["model"].pop(name) is None
    saved.with_suffix(".json").write_text(json.dumps(record))
    assert weights_digest(load_checkpoint(saved, config)) == weights_digest(model)


def test_another_file_under_the_same_name_is_refused(config):
    with pytest.raises(ValueError, match="resnet50_v2.pth has the SHA-256 .*, expected ab12"):
        build_model(replace(config, backbone_sha256="ab12"))
