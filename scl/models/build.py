"""Build a model from a configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from scl.method.contracts import Backbone, Head, Method
from scl.method.heads import CANetHead
from scl.method.pfenet import PFENetHead
from scl.method.records import Inputs
from scl.method.rules import PAPER, SELF_GUIDED, V_S, Guidance, Rules
from scl.method.scl import SCL
from scl.models.backbones import BACKBONES, build_backbone

# Name -> head, and the fields of ModelConfig that it alone takes.
HEADS: dict[str, tuple[type[Head], tuple[str, ...]]] = {
    "canet": (CANetHead, ("rates", "reduce_kernel")),
    "pfenet": (PFENetHead, ("scales", "classifier_dropout")),
}

INITS = ("torch", "normal")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape and the behaviour of a model.

    head: "canet" or "pfenet"; d: width of the head (256 in the paper); norm: GroupNorm in the
    head; dropout: of its reduced channels; iterations, history_dropout, zooms: refinement of the
    query, see SCL (CANet). backbone, stride, weights, inputs: see backbones.build_backbone;
    backbone_weights: a file of ImageNet weights instead; backbone_sha256: the one it must have.
    rates: dilations of CANet's ASPP; reduce_kernel: of CANet's reduction; scales: of PFENet's
    pyramid; classifier_dropout: in PFENet's classifiers; support_fpm: build the support's FPM.
    init: how the head's convolutions begin, as "torch" draws them, or all weights from a "normal"
    distribution of standard deviation 0.01 (CANet, as released).
    """

    head: str = "canet"
    d: int = 16
    stride: int = 8
    norm: bool = True
    dropout: float = 0.0
    iterations: int = 1
    guidance: Guidance = field(default_factory=Guidance)
    rules: Rules = field(default_factory=Rules)
    backbone: str = "efficientnet_lite0"
    weights: str | None = None
    backbone_weights: str | None = None
    backbone_sha256: str | None = None
    inputs: Inputs = "unit"
    rates: tuple[int, ...] = (2, 4, 6)
    reduce_kernel: int = 1
    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    classifier_dropout: float = 0.0
    support_fpm: bool = True
    history_dropout: float = 0.0
    zooms: tuple[float, ...] = (1.0,)
    init: Literal["torch", "normal"] = "torch"

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise ValueError(f"init={self.init!r}: expected one of {INITS}")
        for name, known in (("head", sorted(HEADS)), ("backbone", BACKBONES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {known}")
        file = self.backbone_weights
        if not isinstance(file, str | None):
            raise ValueError(f"backbone_weights={file!r}: expected the name of a file")
        if file is not None and self.weights is not None:
            raise ValueError(
                f"weights={self.weights!r} and backbone_weights={file!r}: expected one of them"
            )
        if file is None and self.backbone_sha256 is not None:
            raise ValueError(
                f"backbone_sha256={self.backbone_sha256!r} without backbone_weights: name the file"
            )
        if self.d < 1:
            raise ValueError(f"d={self.d}: expected at least 1")
        for name in ("rates", "scales", "zooms"):  # lists come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def to_dict(self) -> dict:
        """Turn it into plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """Undo to_dict; an unknown name is an error that names it."""
        values = dict(values)
        try:
            guidance = Guidance(**values.pop("guidance", {}))
            return cls(guidance=guidance, rules=Rules(**values.pop("rules", {})), **values)
        except TypeError as error:
            raise ValueError(f"model configuration: {error}") from None


def full_size(
    head: str = "pfenet",
    backbone: str = "resnet50",
    guidance: Guidance = SELF_GUIDED,
    rules: Rules = PAPER,
    **changes: Any,
) -> ModelConfig:
    """Configure one of the paper's systems: d = 256, no GroupNorm, dropouts of its baseline.

    head: "canet" or "pfenet"; guidance: V_S is the baseline alone, SELF_GUIDED is SCL; rules:
    PAPER, RELEASED_PFENET or RELEASED_CANET; changes: any other field of ModelConfig.
    """
    own: dict[str, dict[str, Any]] = {
        "pfenet": {"classifier_dropout": 0.1},
        "canet": {
            "rates": (6, 12, 18),
            "reduce_kernel": 3,
            "iterations": 5,
            "history_dropout": 0.7,
            "zooms": (0.7, 1.0, 1.3),
        },
    }
    values: dict[str, Any] = {"d": 256, "norm": False, "dropout": 0.5}
    values |= {"support_fpm": guidance != V_S, **own.get(head, {}), **changes}
    return ModelConfig(head=head, backbone=backbone, guidance=guidance, rules=rules, **values)


def build_model(
    config: ModelConfig,
    seed: int = 0,
    backbone: Backbone | None = None,
    inner: bool | None = None,
) -> SCL:
    """Build a model with freshly drawn weights, in evaluation mode; the seed alone decides them.

    backbone: one to share between models (it is frozen); default: the configuration's. inner:
    build PFENet's inner classifiers; default: only where a loss reaches them.
    """
    kind, own = HEADS[config.head]
    options = {
        name: getattr(config, name) for name in ("d", "norm", "dropout", "support_fpm", *own)
    }
    if kind is PFENetHead:
        options["inner"] = config.rules.auxiliary_loss > 0 if inner is None else inner
    with torch.random.fork_rng(devices=[]):
        if backbone is None:
            torch.manual_seed(seed)
            form = config.backbone, config.stride, config.weights, config.inputs
            file = config.backbone_weights, config.backbone_sha256
            backbone = build_backbone(*form, kind.needs_high, *file)
        torch.manual_seed(seed)
        head = kind(backbone.mid_channels, n=len(config.guidance.vectors), **options)
        if config.init == "normal":
            for layer in head.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=0.01)
    refinement = config.iterations, config.history_dropout, config.zooms
    return SCL(backbone, head, config.guidance, config.rules, *refinement).eval()


def pinned(config: ModelConfig, model: Method) -> ModelConfig:
    """Name a backbone's file together with its SHA-256, so that no other is taken for it later."""
    if config.backbone_weights is None:
        return config
    return replace(config, backbone_sha256=getattr(model.backbone, "weights_sha256", None))
