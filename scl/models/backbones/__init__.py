"""Frozen feature extractors, by name. Each gives mid-level maps, and high-level for the prior."""

from __future__ import annotations

from pathlib import Path

from scl.method.contracts import Backbone
from scl.method.records import Inputs
from scl.models.backbones.frozen import Frozen
from scl.models.backbones.lite0 import EfficientNetLite0, SameConv, lite0_weights
from scl.models.backbones.resnet import FORMS, ResNet
from scl.models.backbones.vgg import VGG16

__all__ = [
    "BACKBONES",
    "Backbone",
    "EfficientNetLite0",
    "Frozen",
    "Inputs",
    "ResNet",
    "SameConv",
    "VGG16",
    "build_backbone",
    "lite0_weights",
]

# Name -> depth and form.
_RESNETS = {
    f"resnet{depth}{'' if form == 'torchvision' else '_' + form}": (depth, form)
    for depth in (50, 101)
    for form in FORMS
}
BACKBONES = ("efficientnet_lite0", *_RESNETS, "vgg16_bn")


def build_backbone(
    name: str,
    stride: int = 8,
    weights: str | None = None,
    inputs: Inputs = "unit",
    high_level: bool = True,
    file: str | Path | None = None,
    sha256: str | None = None,
) -> Backbone:
    """Build a backbone in evaluation mode, without gradients.

    name: one of BACKBONES; "resnet50" and "resnet101" are torchvision's, with "_pfenet" (deep
    stem) and "_canet" (strides on the first convolutions) as the released code has them.
    stride: 8, or 16 for "vgg16_bn" (released), or 16 or 32 for "efficientnet_lite0".
    weights: torchvision's name of the ImageNet weights; None: random, but for EfficientNet-Lite0,
    whose weights are installed with the package. inputs: see Backbone. high_level: build the
    layers behind the prior. file: of ImageNet weights instead, named as torchvision's or the
    released code's (as the package's of EfficientNet-Lite0); sha256: which it must have.
    """
    if file is not None and weights is not None:
        raise ValueError(f"weights={weights!r} and the file {file}: expected one of them")
    backbone = _unfilled(name, stride, weights, inputs, high_level)
    if file is not None:
        backbone.fill(file, sha256)
    return backbone


def _unfilled(
    name: str, stride: int, weights: str | None, inputs: Inputs, high_level: bool
) -> EfficientNetLite0 | ResNet | VGG16:
    if name == "efficientnet_lite0":
        if weights is not None or inputs != "unit":
            raise ValueError(
                f"weights={weights!r}, inputs={inputs!r}: efficientnet_lite0 has its own weights "
                "(weights=None) and takes images in 0..1 (inputs='unit')"
            )
        return EfficientNetLite0(stride)
    if inputs not in ("unit", "normalised"):
        raise ValueError(f"inputs={inputs!r}: expected 'unit' or 'normalised'")
    if name == "vgg16_bn":
        return VGG16(stride, weights, inputs, high_level)
    if name not in _RESNETS:
        raise ValueError(f"backbone={name!r}: expected one of {BACKBONES}")
    if stride != ResNet.stride:
        raise ValueError(f"stride={stride!r} of {name}: expected {ResNet.stride}")
    return ResNet(*_RESNETS[name], weights, inputs, high_level)
