"""The trained heads that the repository keeps: which they are, and how one comes back."""

from __future__ import annotations

import json
from pathlib import Path

from scl.datasets.folds import FOLDS
from scl.method.contracts import Backbone
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import load_weights
from scl.study.grid import GUIDED, KEPT, KEPT_SEED, RESULTS, Cell


def is_kept(cell: Cell) -> bool:
    """Does the repository keep this cell's head? Those of the tables' rows, for one seed."""
    trained = cell.variant in GUIDED and not cell.variant.endswith("-seconds")
    return trained and cell.data == "toyshop" and cell.seed == KEPT_SEED and cell.stage == "final"


def kept_model(
    variant: str = "scl",
    fold: int = 2,
    head: str = "canet",
    backbone: Backbone | None = None,
    results: Path = RESULTS,
    kept: Path = KEPT,
) -> SCL:
    """A head of the stored tables (seed 0), on a backbone, ready to use."""
    cell = Cell("toyshop", head, variant, fold, KEPT_SEED)
    path = cell.path(results)
    if not is_kept(cell) or not path.is_file():
        raise ValueError(
            f"no head of {cell.name} is kept: expected a trained variant of fold 0..{FOLDS - 1} "
            f"whose cell has been run ({cell.command})"
        )
    record = json.loads(path.read_text())
    model = build_model(ModelConfig.from_dict(record["model"]), backbone=backbone)
    load_weights(model.head, kept / f"{cell.name}.safetensors", record["sha256"])
    return model
