"""Where to compute."""

from __future__ import annotations

from contextlib import nullcontext

import torch


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device!r}: expected 'auto', 'cpu' or 'cuda'") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: this machine has no CUDA; take 'auto' or 'cpu'")
    return chosen


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model is."""
    return next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def autocast(device: torch.device):
    """bf16 on CUDA, plain float32 elsewhere."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def full_precision(device: torch.device):
    """Inside a torch.autocast, a part that keeps its own precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
