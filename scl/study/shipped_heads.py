"""The trained heads that the repository ships: which they are, and how one comes back."""

from __future__ import annotations

import json
from pathlib import Path

from scl.datasets.folds import FOLDS
from scl.method.contracts import Backbone
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import load_weights
from scl.study.grid import GUIDED, HEADS, RESULTS, Experiment

SHIPPED_SEED = 0


def is_shipped(experiment: Experiment) -> bool:
    """Does the repository ship this experiment's head? Those of the tables' rows, for one seed."""
    trained = experiment.variant in GUIDED and not experiment.variant.endswith("-seconds")
    return trained and experiment.seed == SHIPPED_SEED and experiment.stage == "final"


def shipped_model(
    variant: str = "scl",
    fold: int = 2,
    head: str = "canet",
    backbone: Backbone | None = None,
    results: Path = RESULTS,
    heads: Path = HEADS,
) -> SCL:
    """Put a head of the stored tables (seed 0) on a backbone, ready to use."""
    experiment = Experiment(head, variant, fold, SHIPPED_SEED)
    path = experiment.path(results)
    if not is_shipped(experiment) or not path.is_file():
        raise ValueError(
            f"no head of {experiment.name} is shipped: expected a trained variant of fold "
            f"0..{FOLDS - 1} that has been run ({experiment.command})"
        )
    record = json.loads(path.read_text())
    model = build_model(ModelConfig.from_dict(record["model"]), backbone=backbone)
    load_weights(model.head, heads / f"{experiment.name}.safetensors", record["sha256"])
    return model
