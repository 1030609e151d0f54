"""Models by name: the general one, the file of a checkpoint, a head that is kept here, or none."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from scl.method.contracts import Method
from scl.models.backbones import EfficientNetLite0
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import load_weights, open_model, training_notes
from scl.models.general import NAME, general_record, load_general
from scl.models.untrained import cosine_method

ROOT = Path(__file__).resolve().parents[2]
HEADS, RECORDS = ROOT / "data" / "heads", ROOT / "results" / "cells"
COSINE = "cosine"  # no head: where a cell's cosine to v_s exceeds a threshold
THRESHOLD, SIDE = 0.3, 128  # of the cosine: chosen on Toyshop's base classes, and its pictures


def names() -> list[str]:
    """List what can be named instead of a file."""
    kept = sorted(path.stem for path in HEADS.glob("*.safetensors"))
    return [NAME, COSINE, *(name for name in kept if (RECORDS / f"{name}.json").is_file())]


def is_named(checkpoint: Path) -> bool:
    """Say whether a checkpoint is one of names(), not a file; a name that is none is refused."""
    name = str(checkpoint)
    if checkpoint.exists() or checkpoint.with_suffix(".safetensors").is_file():
        return False
    if name in names():
        return True
    if len(checkpoint.parts) == 1 and checkpoint.suffix not in (".pth", ".pt", ".safetensors"):
        near = get_close_matches(name, names(), 3, 0.4) or names()[:3]
        raise ValueError(
            f"{name!r} is neither a file nor a kept head: expected a checkpoint, or a name such as "
            f"{', '.join(near)} (those in data/heads)"
        )
    return False


def open_named(checkpoint: Path) -> Method:
    """Load a model by its file or name, ready for use; it takes images in 0..1."""
    if not is_named(checkpoint):
        return open_model(checkpoint)
    name = str(checkpoint)
    if name == NAME:
        return load_general()
    if name == COSINE:
        return cosine_method(EfficientNetLite0(), THRESHOLD)
    record = _record(name)
    model = build_model(ModelConfig.from_dict(record["model"]))
    load_weights(model.head, HEADS / f"{name}.safetensors", record["sha256"])
    return model.eval()


def notes_named(checkpoint: Path) -> dict[str, Any]:
    """Tell what is known of the training of a model; see training_notes."""
    if not is_named(checkpoint):
        return training_notes(checkpoint)
    name = str(checkpoint)
    if name == NAME:
        return general_record()
    return {"side": SIDE if name == COSINE else _record(name)["protocol"]["size"]}


def _record(name: str) -> dict[str, Any]:
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
