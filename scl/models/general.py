"""The general model: heads on similarity maps, trained on all that may be, ready for one's own use.

Its weights lie in the package, with a card that says what they were trained on, and how well they
do (general/README.md). `scl.study.general` makes them.
"""

from __future__ import annotations

import json
from pathlib import Path

from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.models.backbones.lite0 import ALL_STAGES, EfficientNetLite0
from scl.models.checkpoint import load_weights

FOLDER = Path(__file__).parent / "general"
NAME = "general"  # what stands for it where a checkpoint is asked for


def load_general(folder: Path = FOLDER) -> SimilaritySCL:
    """Load the general model, ready for use (evaluation mode, CPU); it takes images in 0..1.

    It wants whole pictures of about 320 pixels: Fit(320, "whole") brings them so.
    """
    record = general_record(folder)
    model = SimilaritySCL(EfficientNetLite0(kept=ALL_STAGES), SimilarityConfig(**record["config"]))
    load_weights(model.head, folder / "weights.safetensors", record["sha256"])
    return model.eval()


def general_record(folder: Path = FOLDER) -> dict:
    """Read what is known of the general model: configuration, training, thresholds."""
    path = folder / "record.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: restore it, or make it by: python -m scl general")
    return json.loads(path.read_text(encoding="utf-8"))
