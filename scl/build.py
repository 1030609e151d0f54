"""From a configuration to a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch

from scl.backbones import Backbone, EfficientNetLite0
from scl.heads import CANetHead, PFENetHead
from scl.model import SCL
from scl.rules import Guidance, Rules

HEADS = {"canet": CANetHead, "pfenet": PFENetHead}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape and the behaviour of a model.

    head: "canet" or "pfenet"; d: width of the head (256 in the paper); stride: of the backbone;
    norm: GroupNorm in the head; dropout: of its reduced channels; iterations: refinement passes
    of the query (CANet).
    """

    head: str = "canet"
    d: int = 16
    stride: int = 8
    norm: bool = True
    dropout: float = 0.0
    iterations: int = 1
    guidance: Guidance = field(default_factory=Guidance)
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r}: expected one of {sorted(HEADS)}")
        if self.d < 1:
            raise ValueError(f"d={self.d}: expected at least 1")

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


def build_model(config: ModelConfig, seed: int = 0, backbone: Backbone | None = None) -> SCL:
    """A model with freshly drawn weights, in evaluation mode; the seed alone decides them.

    backbone: one to share between models (it is frozen); default: EfficientNet-Lite0.
    """
    backbone = EfficientNetLite0(config.stride) if backbone is None else backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Classifiers that no loss reaches are left out.
        extra = {"inner": config.rules.auxiliary_loss > 0} if config.head == "pfenet" else {}
        head = HEADS[config.head](
            backbone.mid_channels,
            n=len(config.guidance.vectors),
            d=config.d,
            norm=config.norm,
            dropout=config.dropout,
            **extra,
        )
    model = SCL(backbone, head, config.guidance, config.rules, config.iterations)
    return model.eval()
