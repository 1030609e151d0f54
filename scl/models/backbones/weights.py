"""ImageNet weights: torchvision's by their names, fetched only if asked for, or those of a file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, KeyError),
    *(UnpicklingError, SafetensorError),
)
CLASSIFIERS = ("fc.", "classifier.")  # what follows the features in a file of ImageNet weights


def torchvision_state(model: str, weights: str) -> dict[str, Tensor]:
    """Get the state dict of torchvision's weights, such as ("resnet50", "IMAGENET1K_V1").

    Read from torch's cache, or fetched into it and checked; nothing is unpickled but tensors.
    """
    from torchvision import models  # here, for it is slow to import

    known = {w.name: w for w in models.get_model_weights(model)}
    if weights not in known:
        raise ValueError(
            f"weights={weights!r} of {model}: torchvision knows {sorted(known)}; None is random"
        )
    try:
        return known[weights].get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).split(". ")[0]
        raise ValueError(
            f"the weights {weights} of {model} cannot be read ({reason}): connect once, or put "
            f"{known[weights].url.rsplit('/', 1)[-1]} into torch's cache of checkpoints"
        ) from None


def read_file(path: Path, what: str) -> tuple[object, str]:
    """Read what torch.save or safetensors wrote, and its SHA-256; only tensors are unpickled.

    what: was expected, for the message where nothing is there.
    """
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if path.suffix == ".safetensors":
            return load(data), digest
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), digest
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: expected {what}") from None
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no checkpoint that can be read safely ({reason}): expected a file of "
            "torch.save with tensors only"
        ) from None


# What training scripts put around a state dict, from outside in, and before its names.
WRAPPERS = ("checkpoint", "state_dict", "model_state_dict", "model", "net", "network")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


def unwrapped(state: object) -> dict[str, Tensor]:
    """Take a state dict out of what training scripts, compiled and Lightning modules wrap it in."""
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise ValueError(f"no checkpoint: it holds {type(state).__name__}, expected a state dict")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    inner = next((str(key) for key, value in state.items() if isinstance(value, Mapping)), None)
    if not tensors and inner is not None:
        raise ValueError(
            f"no checkpoint: its weights seem to be under {inner!r}: expected them under one of "
            f"{', '.join(WRAPPERS)}; save checkpoint[{inner!r}] alone"
        )
    while prefix := next((p for p in PREFIXES if any(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def pick(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    names: Callable[[str], Sequence[str]],
    left_out: Sequence[str],
) -> dict[str, Tensor]:
    """Find every weight of `shapes` in a state dict, by our names.

    names: those that a weight of ours may have there; left_out: beginnings of what is not wanted.
    What else is missing, left over or of another shape is a ValueError that names the first.
    """
    picked, used, missing = {}, set(), []
    for ours, shape in shapes.items():
        theirs = next((name for name in names(ours) if name in state), None)
        if theirs is None:
            missing += [names(ours)[0]]
        elif state[theirs].shape != shape:
            raise ValueError(f"{theirs} is {_sides(state[theirs].shape)}, expected {_sides(shape)}")
        else:
            picked[ours] = state[theirs]
            used.add(theirs)
    # Files of old versions of PyTorch do not count batches, and nobody reads the number.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    surplus = [k for k in state if k not in used and not k.startswith(tuple(left_out))]
    for keys, fault in ((missing, "missing"), (surplus, "not among its weights")):
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise ValueError(f"{keys[0]}{more} is {fault}")
    return picked


def _sides(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "a single number"
