"""Checkpoints of the released code, as files and as state dicts, whole and damaged.

The weights follow from their names (see golden.py); heads are 8 channels wide, backbones whole.
"""

import os
import pickle
import subprocess
import sys
import warnings
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

import scl
from scl.method.rules import PAPER, RELEASED_CANET, RELEASED_PFENET, V_S
from scl.method.scl import SCL
from scl.models.build import build_model, full_size
from scl.models.released import Released, load_released, recognise
from tests.helpers.models import random_task
from tests.oracles.golden import released_state

torch.set_num_threads(1)

# Name: head, backbone, stride, whether with self-guidance.
MODELS = {
    "pfenet": ("pfenet", "resnet50_pfenet", 8, False),
    "scl_pfenet": ("pfenet", "resnet50_pfenet", 8, True),
    "scl_pfenet_resnet101": ("pfenet", "resnet101_pfenet", 8, True),
    "scl_pfenet_vgg": ("pfenet", "vgg16_bn", 16, True),
    "scl_canet": ("canet", "resnet50_canet", 8, True),
}
EPISODE = random_task(1, 2, (33, 41))


@lru_cache(maxsize=3)
def made(name: str) -> tuple[SCL, dict[str, torch.Tensor]]:
    """A model of the shape of a released one, and weights under the released names."""
    head, backbone, stride, guided = MODELS[name]
    rules = RELEASED_PFENET if head == "pfenet" else RELEASED_CANET
    guidance = {} if guided else {"guidance": V_S}
    config = full_size(head, backbone, rules=rules, stride=stride, d=8, **guidance)
    model = build_model(config)
    return model, released_state(model, head, "s:")


def canet_state() -> dict[str, torch.Tensor]:
    """The smallest: a released CANet has no fourth layer."""
    return made("scl_canet")[1]


def segmented(model: SCL) -> torch.Tensor:
    images, masks, query, _ = EPISODE
    fused = model.segment(model.condition(images - 0.5, masks), query - 0.5).fused
    assert fused.shape == (1, 2, 33, 41) and torch.isfinite(fused).all()
    return fused


def same_weights(a: SCL, b: SCL) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def canet() -> SCL:
    return load_released(canet_state())


# ----------------------------------------------------------------------------- which model it is


@pytest.mark.parametrize("name", MODELS)
def test_a_released_model_is_recognised_filled_and_runs(name):
    model, state = made(name)
    head, backbone, stride, guided = MODELS[name]
    assert recognise(state) == Released(head, backbone, stride, guided, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing or left over
        loaded = load_released(state)
    assert not loaded.training and loaded.backbone.inputs == "normalised"
    assert loaded.rules == (RELEASED_PFENET if head == "pfenet" else RELEASED_CANET)
    assert loaded.guidance.vectors == (("pri", "aux") if guided else ("s",))
    if backbone.endswith("pfenet"):
        assert loaded.head._sizes((60, 60)) == [(60, 60), (30, 30), (15, 15), (8, 8)]
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in loaded.state_dict().items()} == shapes
    assert sorted(x.sum().item() for x in state.values() if x.dim() == 1) == sorted(
        x.sum().item() for x in loaded.state_dict().values() if x.dim() == 1
    )
    if guided:
        segmented(loaded)
    else:
        images, masks, query, _ = EPISODE
        loaded.segment(loaded.condition(images[:, :1] - 0.5, masks[:, :1]), query - 0.5)


@pytest.mark.parametrize("name", ["scl_pfenet", "scl_pfenet_vgg"])
@torch.no_grad()
def test_the_released_reduction_reads_layer3_first(name):
    """Ours reads layer2 first: its input channels are turned round on loading."""
    _, state = made(name)
    model = load_released(state)
    second = model.backbone.second_channels
    mid = model.backbone.mid(EPISODE[2] - 0.5)
    theirs = torch.cat([mid[:, second:], mid[:, :second]], dim=1)
    for role, key in (("support", "down_supp.0.weight"), ("query", "down_query.0.weight")):
        expected = F.conv2d(theirs, state[key]).relu()
        assert torch.allclose(model.head.reduce(mid, role), expected, rtol=1e-4, atol=1e-3)


def test_canets_settings_and_changes_to_them(canet):
    assert (canet.iterations, canet.zooms, canet.history_dropout) == (5, (0.7, 1.0, 1.3), 0.7)
    other = load_released(canet_state(), iterations=2, zooms=(1.0,), inputs="unit")
    assert (other.iterations, other.zooms, other.backbone.inputs) == (2, (1.0,), "unit")
    assert same_weights(canet, other)


def test_the_pyramid_follows_the_map_or_is_given():
    """A checkpoint does not say its scales; the released ones for 473 x 473 are 60, 30, 15, 8."""
    _, state = made("scl_pfenet_vgg")
    model = load_released(state)
    assert model.head._sizes((30, 30)) == [(60, 60), (30, 30), (15, 15), (8, 8)]
    given = load_released(state, ppm_scales=(11, 6, 4, 2))
    assert given.head._sizes((30, 30)) == [(11, 11), (6, 6), (4, 4), (2, 2)]


@pytest.mark.parametrize("name", ["scl_pfenet_vgg", "scl_canet"])
def test_the_same_weights_read_as_the_paper_says(name):
    state = made(name)[1]
    paper, released = load_released(state, rules=PAPER), load_released(state)
    assert paper.rules == PAPER and same_weights(paper, released)
    assert not torch.allclose(segmented(paper), segmented(released))


# ----------------------------------------------------------------------------- how it is wrapped


def write(folder, value, name="checkpoint.pth", **options):
    path = folder / name
    torch.save(value, path, **options)
    return path


WRAPPERS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 5, "best": 0.6, "state_dict": state},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_training_scripts_wrappers_are_taken_off(wrapper, canet, tmp_path):
    path = write(tmp_path, WRAPPERS[wrapper](canet_state()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same_weights(load_released(path), canet)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_is_read_by_path_or_name_in_either_format(canet, tmp_path, zipped):
    path = write(tmp_path, canet_state(), _use_new_zipfile_serialization=zipped)
    assert same_weights(load_released(path), canet)
    assert same_weights(load_released(str(path)), canet)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_single(canet, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in canet_state().items()}
    model = load_released(state)
    for name, value in model.state_dict().items():
        own = canet.state_dict()[name]
        assert value.dtype == own.dtype
        assert torch.equal(value, own.to(dtype).to(own.dtype)), name
    segmented(model)


# -------------------------------------------------------------------------------- what is amiss


def test_a_missing_weight_is_named_and_can_be_left_random(canet):
    state = dict(canet_state())
    del state["FPM_Decoder.layer7.0.weight"]
    with pytest.raises(ValueError, match=r"1 weights \(FPM_Decoder.layer7.0.weight\) are missing"):
        load_released(state)
    with pytest.warns(UserWarning, match="FPM_Decoder.layer7.0.weight.*missing.*stay random"):
        model = load_released(state, strict=False)
    ours = "head.aspp.merge.0.weight"
    loaded, whole = model.state_dict(), canet.state_dict()
    assert {n for n in whole if not torch.equal(loaded[n], whole[n])} == {ours}
    assert loaded[ours].abs().sum() > 0


def test_many_missing_weights_are_counted():
    state = {key: x for key, x in canet_state().items() if not key.startswith("layer3.")}
    with pytest.raises(
        ValueError, match=r"1\d\d weights \(layer3.*, \.\.\.\) are missing; strict=F"
    ):
        load_released(state)


@pytest.mark.parametrize("strict", [True, False])
def test_left_over_weights_only_warn(canet, strict):
    state = canet_state() | {"fc.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}
    with pytest.warns(UserWarning, match=r"2 weights \(fc.bias, fc.weight\) are not used"):
        assert same_weights(load_released(state, strict=strict), canet)


@pytest.mark.parametrize("strict", [True, False])
def test_a_weight_of_another_shape_is_named(strict):
    state = canet_state() | {"FPM_Decoder.layer9.weight": torch.zeros(21, 8, 1, 1)}
    message = r"layer9.weight has shape \(21, 8, 1, 1\), expected \(2, 8, 1, 1\)"
    with pytest.raises(ValueError, match=message):
        load_released(state, strict=strict)


@pytest.mark.parametrize(
    "state, found",
    [
        ({}, r"it holds nothing"),
        ({"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}, "conv1.weight, fc.bias"),
        ({"state_dict": {}}, "it holds nothing"),
        ({"epoch": 3, "lr": 0.1}, "it holds nothing"),
    ],
    ids=["empty", "foreign", "wrapped and empty", "numbers"],
)
def test_a_foreign_state_dict_is_refused_with_the_keys_expected(state, found):
    message = f"no checkpoint of the released code .*{found}.*init_merge.0.0.weight.*layer55"
    with pytest.raises(ValueError, match=message):
        load_released(state)


def test_a_mark_that_is_no_convolution_is_refused():
    with pytest.raises(ValueError, match="init_merge.0.0.weight is no convolution"):
        load_released({"init_merge.0.0.weight": torch.zeros(3)})


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(2), 3.5], ids=["list", "tensor", "number"])
def test_a_file_that_holds_no_dict_is_refused(tmp_path, value):
    kind = type(value).__name__
    with pytest.raises(ValueError, match=f"it holds {kind}, expected a state dict"):
        load_released(write(tmp_path, value))


def damage(folder, how: str):
    """A file that is no checkpoint."""
    path = folder / "damaged.pth"
    if how == "truncated":
        whole = write(folder, canet_state()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "text":
        path.write_text("<html>Sign in to download</html>\n" * 40)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.mkdir()
    elif how == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    elif how == "bytes":
        path.write_bytes(bytes(range(256)) * 8)
    return path


@pytest.mark.parametrize("how", ["truncated", "text", "empty", "folder", "module", "bytes"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, how):
    with pytest.raises(ValueError, match="damaged.pth is no checkpoint that can be read safely"):
        load_released(damage(tmp_path, how))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="absent.pth is missing: expected a checkpoint"):
        load_released(tmp_path / "absent.pth")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle"])
def test_code_in_a_file_is_never_run(tmp_path, form):
    """And the trap is a real one: read without care, the same file makes the folder."""
    marker, path = tmp_path / "sprung", tmp_path / "trap.pth"
    value = {"init_merge.0.0.weight": torch.zeros(8, 17, 1, 1), "extra": Trap(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(value, protocol=2))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(ValueError, match="trap.pth is no checkpoint that can be read safely"):
        load_released(path)
    assert not marker.exists()
    if form != "pickle":
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert marker.exists()


# ------------------------------------------------------------------------------ from the package


def test_the_package_offers_it():
    assert scl.load_released is load_released and scl.full_size is full_size
    with pytest.raises(AttributeError, match="load_pretrained"):
        _ = scl.load_pretrained


def test_importing_the_package_alone_imports_no_torch(tmp_path):
    code = "import scl, sys; print(sorted({'torch', 'torchvision', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "resnet50"}, "backbone"),
        ({"depth": 50}, "depth"),
    ],
)
def test_a_change_that_a_checkpoint_decides_is_refused(changes, said):
    state = released_state(
        build_model(full_size("pfenet", "resnet50_pfenet", d=8)), "pfenet", "s10:"
    )
    with pytest.raises(ValueError, match=said):
        load_released(state, strict=False, **changes)


def test_scales_are_heard_under_either_name_and_not_by_canet():
    config = full_size("pfenet", "resnet50_pfenet", d=8, rules=RELEASED_PFENET)
    state = released_state(build_model(config), "pfenet", "s10:")
    for name in ("scales", "ppm_scales"):
        assert load_released(state, **{name: (3, 2, 1, 1)}).head.scales == (3, 2, 1, 1)
    canet = build_model(full_size("canet", "resnet50_canet", d=8))
    with pytest.raises(ValueError, match="no pyramid"):
        load_released(released_state(canet, "canet", "s0:"), ppm_scales=(3, 2, 1, 1))


@pytest.mark.parametrize("source", [None, 3, ["a"]])
def test_what_is_neither_path_nor_state_is_refused(source):
    with pytest.raises(ValueError, match="expected a path or a state dict"):
        load_released(source)
