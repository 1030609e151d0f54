"""Checkpoints: a safetensors file of the head, and a JSON beside it that says what it is.

The backbone is built anew: from its ImageNet weights, or, where it has none, from the seed. Where
training changes it (rule statistics="batch") its batch statistics are stored, too, and where its
weights come from a file of the user's, all of it, so that the checkpoint opens without that file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scl.files import versions, write_atomically, write_json
from scl.method.contracts import Backbone, Method
from scl.method.scl import SCL
from scl.models.backbones import Frozen
from scl.models.build import ModelConfig, build_model, pinned
from scl.models.released import load_released

# Which form of a recipe is followed: as the paper has it, or as the code was released.
Reading = Literal["paper", "released"]
READINGS: tuple[Reading, ...] = get_args(Reading)
PREFIX = "backbone."  # of what is stored of the backbone
NEEDED = {"model", "seed", "versions", "sha256"}  # keys of every record
STORED = "stores_backbone"  # key of a record whose checkpoint holds the whole backbone
OWN_WEIGHTS = "efficientnet_lite0"  # the backbone whose weights are installed with the package


def save_weights(module: nn.Module, path: Path) -> str:
    """Write a module's weights in half precision, to be kept small; returns their SHA-256."""
    return _write({name: value.half() for name, value in module.state_dict().items()}, path)


def _write(state: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors by name; returns the file's SHA-256."""
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_atomically(path, lambda temporary: save_file(state, temporary))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_weights(
    module: nn.Module, path: Path, sha256: str, backbone: Backbone | None = None
) -> None:
    """Read what was written here; a missing, changed or foreign file is refused.

    backbone: takes what is stored of it, if anything is.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if found != sha256:
        raise ValueError(f"{path} is missing or differs from its record: save or copy it again")
    try:
        state, statistics = load_file(path), {}
        if backbone is not None:
            names = [name for name in state if name.startswith(PREFIX)]
            statistics = {name.removeprefix(PREFIX): state.pop(name) for name in names}
        module.load_state_dict(state)
        if backbone is not None and statistics:
            unknown = backbone.load_state_dict(statistics, strict=False).unexpected_keys
            if unknown:
                raise RuntimeError(f"the backbone has no {unknown[0]}")
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not fit its record: {error}") from None


def save_checkpoint(
    model: Method,
    config: ModelConfig,
    path: str | Path,
    seed: int,
    overwrite: bool = False,
    side: int | None = None,
    notes: Mapping[str, object] | None = None,
    store_backbone: bool = True,
) -> Path:
    """Write path.safetensors (the weights that learn) and path.json; returns the former.

    seed: the one the model was built with, from which a backbone without weights of its own is
    built again; side: pixels a side of the images that it was trained on, which its users take if
    they name none; notes: what else is known of its training, see training_notes. An existing
    checkpoint is kept unless overwrite=True. store_backbone: with a backbone whose weights are
    from a file, store them; without, the checkpoint opens only where that file is at hand.
    """
    weights = Path(path).with_suffix(".safetensors")
    if weights.exists() and not overwrite:
        raise ValueError(f"{weights} exists: pass overwrite=True, or choose another name")
    whole = store_backbone and config.backbone_weights is not None
    stored = model.backbone.state_dict() if whole else model.moving_statistics()
    stored = {PREFIX + name: value for name, value in stored.items()}
    record = {
        "model": pinned(config, model).to_dict(),
        "seed": seed,
        "versions": versions(),
        "sha256": _write({**model.trainable().state_dict(), **stored}, weights),
        **({STORED: True} if whole else {}),
        **({} if side is None else {"side": side}),
        **(notes or {}),
    }
    write_json(weights.with_suffix(".json"), record)
    return weights


def read_config(path: str | Path) -> ModelConfig:
    """Read the configuration of a checkpoint, without its weights."""
    return ModelConfig.from_dict(_read_record(Path(path).with_suffix(".json"))["model"])


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if NEEDED <= set(record):
            return record
        raise ValueError("keys are missing")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is no checkpoint record ({error}): a checkpoint is NAME.safetensors with "
            "NAME.json beside it"
        ) from None


def load_checkpoint(
    path: str | Path, expected: ModelConfig | None = None, backbone: Backbone | None = None
) -> SCL:
    """Load the model of a checkpoint, ready for use (evaluation mode, CPU).

    expected: refuse a checkpoint of another configuration, naming the first difference; backbone:
    one to share (what is stored of it overwrites its own); default: built from the record.
    """
    weights = Path(path).with_suffix(".safetensors")
    record = _read_record(weights.with_suffix(".json"))
    config = ModelConfig.from_dict(record["model"])
    for name, value in ({} if expected is None else expected.to_dict()).items():
        if config.to_dict()[name] != value:
            raise ValueError(
                f"{weights} is of another configuration: {name} is {config.to_dict()[name]!r}, "
                f"expected {value!r}; load it with its own (expected=None) or train anew"
            )
    if config.backbone_weights is not None:
        whole = record.get(STORED) or backbone is not None
        file = None if whole else str(_backbone_file(config, weights))
        own = config.backbone_sha256 if file else None
        config = replace(config, backbone_weights=file, backbone_sha256=own)
    model = build_model(config, record["seed"], backbone)
    load_weights(model.head, weights, record["sha256"], model.backbone)
    if record.get(STORED) and isinstance(model.backbone, Frozen):
        model.backbone.weights_sha256 = record["model"]["backbone_sha256"]
    return model.eval()


def _backbone_file(config: ModelConfig, weights: Path) -> Path:
    """Find the file of a backbone's weights: where it was, or beside the checkpoint."""
    asked, sha256 = Path(str(config.backbone_weights)), config.backbone_sha256
    for path in (asked, weights.parent / asked.name):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    raise ValueError(
        f"{weights} was saved without its backbone, whose weights are from {asked.name} (SHA-256 "
        f"{sha256}): put that file beside it"
    )


def open_model(path: str | Path) -> SCL:
    """Load a checkpoint, ours or the released code's, as a model; it takes images in 0..1.

    Ours is NAME.safetensors with NAME.json, given as either or as NAME; anything else is read as
    a checkpoint of the released code.
    """
    return load_checkpoint(path) if _is_ours(Path(path)) else load_released(path, inputs="unit")


def random_backbone(path: str | Path) -> str | None:
    """Name a checkpoint's backbone, if it never saw an image; None if it has weights."""
    if not _is_ours(Path(path)):
        return None
    config = read_config(path)
    seen = config.weights or config.backbone_weights or config.backbone == OWN_WEIGHTS
    return None if seen else config.backbone


def training_notes(path: str | Path) -> dict[str, Any]:
    """Tell what a checkpoint's record says of its training; whatever an old one lacks is missing.

    "side": pixels a side of its images; "recipe": its name; "as": "paper" or "released", where
    the recipe has both forms; "fusion": how its answers under several supports become one;
    "resize": how images are brought to it; "walk": how its episodes are drawn.
    """
    if not _is_ours(Path(path)):
        return {"as": "released"}  # whoever trained it did so by the released code
    record = _read_record(Path(path).with_suffix(".json"))
    return {name: value for name, value in record.items() if name not in {*NEEDED, STORED}}


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: expected a checkpoint in it, such as {path}/best")
    known = path.suffix in (".safetensors", ".json")
    return known or (not path.is_file() and path.with_suffix(".safetensors").is_file())


def weights_digest(module: nn.Module) -> str:
    """Compute the SHA-256 of all weights and statistics of a module, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()
