"""From a configuration to a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch

from scl.method.heads import CANetHead
from scl.method.pfenet import PFENetHead
from scl.method.records import Backbone
from scl.method.rules import PAPER, SELF_GUIDED, V_S, Guidance, Rules
from scl.method.scl import SCL
from scl.models.backbones import BACKBONES, build_backbone

HEADS = {"canet": CANetHead, "pfenet": PFENetHead}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape and the behaviour of a model.

    head: "canet" or "pfenet"; d: width of the head (256 in the paper); norm: GroupNorm in the
    head; dropout: of its reduced channels; iterations, history_dropout, zooms: refinement of the
    query, see SCL (CANet). backbone, stride, weights, inputs: see backbones.build_backbone.
    rates: dilations of CANet's ASPP; reduce_kernel: of CANet's reduction; scales: of PFENet's
    pyramid; classifier_dropout: in PFENet's classifiers; support_fpm: build the support's FPM.
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
    inputs: str = "unit"
    rates: tuple[int, ...] = (2, 4, 6)
    reduce_kernel: int = 1
    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    classifier_dropout: float = 0.0
    support_fpm: bool = True
    history_dropout: float = 0.0
    zooms: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, known in (("head", sorted(HEADS)), ("backbone", BACKBONES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {known}")
        if self.d < 1:
            raise ValueError(f"d={self.d}: expected at least 1")
        for name in ("rates", "scales", "zooms"):  # lists come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """The inverse of to_dict; an unknown name is an error that names it."""
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
    **changes: object,
) -> ModelConfig:
    """One of the paper's systems: d = 256, no GroupNorm, dropouts and scales of its baseline.

    head: "canet" or "pfenet"; guidance: V_S is the baseline alone, SELF_GUIDED is SCL; rules:
    PAPER, RELEASED_PFENET or RELEASED_CANET; changes: any other field of ModelConfig.
    """
    values: dict[str, object] = {
        "head": head,
        "backbone": backbone,
        "guidance": guidance,
        "rules": rules,
        "d": 256,
        "norm": False,
        "dropout": 0.5,
        "support_fpm": guidance != V_S,
    }
    own = {
        "pfenet": {"classifier_dropout": 0.1},
        "canet": {
            "rates": (6, 12, 18),
            "reduce_kernel": 3,
            "iterations": 5,
            "history_dropout": 0.7,
            "zooms": (0.7, 1.0, 1.3),
        },
    }
    return ModelConfig(**{**values, **own.get(head, {}), **changes})


def build_model(
    config: ModelConfig,
    seed: int = 0,
    backbone: Backbone | None = None,
    inner: bool | None = None,
) -> SCL:
    """A model with freshly drawn weights, in evaluation mode; the seed alone decides them.

    backbone: one to share between models (it is frozen); default: the configuration's. inner:
    build PFENet's inner classifiers; default: only where a loss reaches them.
    """
    with torch.random.fork_rng(devices=[]):
        if backbone is None:
            torch.manual_seed(seed)
            prior = config.head == "pfenet"
            backbone = build_backbone(
                config.backbone, config.stride, config.weights, config.inputs, prior
            )
        torch.manual_seed(seed)
        head = HEADS[config.head](
            backbone.mid_channels,
            n=len(config.guidance.vectors),
            d=config.d,
            norm=config.norm,
            dropout=config.dropout,
            support_fpm=config.support_fpm,
            **_own(config, inner),
        )
    return SCL(
        backbone,
        head,
        config.guidance,
        config.rules,
        config.iterations,
        config.history_dropout,
        config.zooms,
    ).eval()


def _own(config: ModelConfig, inner: bool | None) -> dict[str, object]:
    """What only one of the heads knows."""
    if config.head == "canet":
        return {"rates": config.rates, "reduce_kernel": config.reduce_kernel}
    return {
        "scales": config.scales,
        "classifier_dropout": config.classifier_dropout,
        "inner": config.rules.auxiliary_loss > 0 if inner is None else inner,
    }
