"""Read checkpoints of the released code: which model they are, how their names map to ours.

Nothing of them is run: tensors are read (weights_only=True), recognised by their names and put
where our model keeps the same piece.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from scl.method.rules import RELEASED_CANET, RELEASED_PFENET, SELF_GUIDED, V_S, Rules
from scl.method.scl import SCL
from scl.models.backbones import VGG16, Inputs, ResNet
from scl.models.backbones.weights import read_file, unwrapped
from scl.models.build import build_model, full_size

# A key that only models of a family have.
CANET_MARK, PFENET_MARK = "FPM_Decoder.layer55.0.weight", "init_merge.0.0.weight"

# Our names, as patterns, to the released ones; \1 and \2 are what the brackets found.
_BACKBONE = {
    "pfenet": {r"stem\.(\d+)": r"layer0.\1", r"layer(\d)\.(.+)": r"layer\1.\2"},
    "canet": {r"stem\.0": "conv1", r"stem\.1": "bn1", r"layer(\d)\.(.+)": r"layer\1.\2"},
}
_HEAD = {
    "pfenet": {
        r"reducers\.query\.0": "down_query.0",
        r"reducers\.support\.0": "down_supp.0",
        r"query_merge\.(\d)\.0": r"init_merge.\1.0",
        r"support_merge\.(\d)\.0": r"supp_init_merge.\1.0",
        r"alpha\.(\d)\.0": r"alpha_conv.\1.0",
        r"beta\.(\d)\.0\.0": r"beta_conv.\1.0",
        r"beta\.(\d)\.1\.0": r"beta_conv.\1.2",
        r"inner\.(\d)\.0\.0": r"inner_cls.\1.0",
        r"inner\.(\d)\.1": r"inner_cls.\1.3",
        r"gather\.0": "res1.0",
        r"refine\.0\.0": "res2.0",
        r"refine\.1\.0": "res2.2",
        r"classify\.0\.0": "cls.0",
        r"classify\.1": "cls.3",
    },
    "canet": {
        r"reducer\.0": "layer5.0",
        r"compare\.0": "FPM_Decoder.layer55.0",
        r"query_branch\.1\.0": "FPM_Decoder.residule1.1",
        r"query_branch\.2\.0": "FPM_Decoder.residule1.3",
        r"support_branch\.1\.0": "FPM_Decoder.supp_residule1.1",
        r"support_branch\.2\.0": "FPM_Decoder.supp_residule1.3",
        r"branches\.0\.1\.0": "FPM_Decoder.residule2.1",
        r"branches\.0\.2\.0": "FPM_Decoder.residule2.3",
        r"branches\.1\.1\.0": "FPM_Decoder.residule3.1",
        r"branches\.1\.2\.0": "FPM_Decoder.residule3.3",
        r"aspp\.whole\.0": "FPM_Decoder.layer6_0.0",
        r"aspp\.cell\.0": "FPM_Decoder.layer6_1.0",
        r"aspp\.rings\.0\.0": "FPM_Decoder.layer6_2.0",
        r"aspp\.rings\.1\.0": "FPM_Decoder.layer6_3.0",
        r"aspp\.rings\.2\.0": "FPM_Decoder.layer6_4.0",
        r"aspp\.merge\.0": "FPM_Decoder.layer7.0",
        r"classify": "FPM_Decoder.layer9",
    },
}


def key_map(model: SCL, head: str) -> dict[str, str]:
    """Map every name of a full-size model's state dict to the name the released code gives it.

    head: "canet" or "pfenet".
    """
    names = {}
    for key in model.state_dict():
        part, rest = key.split(".", 1)
        place, kind = rest.rsplit(".", 1)
        pieces = (_BACKBONE if part == "backbone" else _HEAD)[head]
        theirs = [re.sub(f"^{o}$", t, place) for o, t in pieces.items() if re.fullmatch(o, place)]
        if not theirs:
            raise ValueError(f"{key}: the released {head} model has no such piece")
        names[key] = f"{theirs[0]}.{kind}"
    return names


@dataclass(frozen=True)
class Released:
    """What a checkpoint of the released code is.

    head: "canet" or "pfenet"; backbone, stride: see build_backbone; scl: with self-guidance, or
    the baseline alone; d: width of the head. Checkpoints for 1 and K shots are alike.
    """

    head: str
    backbone: str
    stride: int
    scl: bool
    d: int

    @property
    def rules(self) -> Rules:
        """Give the released code's reading of the paper."""
        return RELEASED_PFENET if self.head == "pfenet" else RELEASED_CANET


def recognise(state: Mapping[str, Tensor]) -> Released:
    """Tell which of the released models has these keys; a foreign state dict is refused."""
    if CANET_MARK in state:
        return Released("canet", f"resnet{_depth(state)}_canet", 8, True, _width(state, CANET_MARK))
    if PFENET_MARK not in state:
        some = ", ".join(list(state)[:3]) or "nothing"
        raise ValueError(
            f"no checkpoint of the released code (it holds {some}): expected keys such as "
            f"{PFENET_MARK} (PFENet, SCL on PFENet) or {CANET_MARK} (SCL on CANet)"
        )
    vgg = "layer0.0.bias" in state
    backbone = "vgg16_bn" if vgg else f"resnet{_depth(state)}_pfenet"
    scl = "supp_init_merge.0.0.weight" in state
    return Released("pfenet", backbone, 16 if vgg else 8, scl, _width(state, PFENET_MARK))


def _depth(state: Mapping[str, Tensor]) -> int:
    return 101 if any(key.startswith("layer3.6.") for key in state) else 50


def _width(state: Mapping[str, Tensor], key: str) -> int:
    weight = state[key]
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        raise ValueError(f"no checkpoint of the released code: {key} is no convolution")
    return weight.shape[0]


def load_released(
    source: str | Path | Mapping[str, Tensor],
    ppm_scales: Sequence[float] | None = None,
    inputs: Inputs = "normalised",
    strict: bool = True,
    rules: Rules | None = None,
    **changes: Any,
) -> SCL:
    """Build a model of the released code (github zbf1991/SCL) with its weights, ready for use.

    source: path of a checkpoint, or a state dict. PFENet, SCL (PFENet) with ResNet-50, ResNet-101
    or VGG-16-BN and SCL (CANet) with ResNet-50 are told apart by their keys; the checkpoints for 1
    and 5 shots are alike. Use `condition` and `segment`.
    ppm_scales: cells of PFENet's pyramid, which a checkpoint does not say; default: as released
    for 473 x 473 (60, 30, 15, 8), in proportion for other sizes.
    inputs: "normalised" (the released code's: ImageNet's mean and deviation taken out), or "unit"
    for images in 0..1.
    strict: refuse a checkpoint in which weights are missing; otherwise they stay random, with a
    warning. Left-over keys only ever warn.
    rules: default: the released reading; PAPER uses the same weights as the paper says.
    changes: other fields of ModelConfig, such as iterations=2 or zooms=(1.0,) for CANet.
    """
    state = _read(source)
    released = recognise(state)
    rules = released.rules if rules is None else rules
    if released.head == "pfenet":
        # VGG's maps are half as fine, and the released pyramid is the same.
        finest = 2.0 if released.backbone == "vgg16_bn" else 1.0
        changes.setdefault("scales", ppm_scales or tuple(finest / 2**i for i in range(4)))
    elif ppm_scales is not None:
        raise ValueError(f"ppm_scales={ppm_scales!r}: CANet has no pyramid; leave it out")
    values = {"d": released.d, "stride": released.stride, "inputs": inputs, **changes}
    guidance = SELF_GUIDED if released.scl else V_S
    try:
        config = full_size(released.head, released.backbone, guidance, rules, **values)
    except TypeError as error:
        raise ValueError(
            f"{error}: expected fields of ModelConfig that a checkpoint leaves open"
        ) from None
    model = build_model(config, inner=True)
    _fill(model, state, released.head, strict)
    return model.eval()


def _fill(model: SCL, state: Mapping[str, Tensor], head: str, strict: bool) -> None:
    """Copy the released weights; report what is missing, left over or of another shape."""
    own, names, missing = model.state_dict(), key_map(model, head), []
    second_channels = cast(ResNet | VGG16, model.backbone).second_channels
    for ours, theirs in names.items():
        if theirs not in state:
            missing.append(theirs)
            continue
        weight = state[theirs]
        if weight.shape != own[ours].shape:
            raise ValueError(
                f"checkpoint: {theirs} has shape {tuple(weight.shape)}, expected "
                f"{tuple(own[ours].shape)}: it is of another model, or changed"
            )
        if theirs.startswith(("down_query", "down_supp")):  # PFENet takes layer3, then layer2
            weight = torch.roll(weight, second_channels, dims=1)
        own[ours].copy_(weight)
    left_over = sorted(set(state) - set(names.values()))
    if missing and strict:
        raise ValueError(f"checkpoint: {_some(missing)} missing; strict=False leaves them random")
    for keys, fate in ((missing, "missing, so they stay random"), (left_over, "not used")):
        if keys:
            warnings.warn(f"checkpoint: {_some(keys)} {fate}", stacklevel=3)


def _some(keys: Sequence[str]) -> str:
    """Say how many keys, and the first few."""
    dots = ", ..." if len(keys) > 4 else ""
    return f"{len(keys)} weights ({', '.join(keys[:4])}{dots}) are"


def _read(source: str | Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Get a state dict from a file or a mapping, without a training script's wrappers."""
    if not isinstance(source, (str, Path, Mapping)):
        raise ValueError(f"{type(source).__name__}: expected a path or a state dict")
    if isinstance(source, Mapping):
        return unwrapped(source)
    return unwrapped(read_file(Path(source), "a checkpoint of the released code")[0])
