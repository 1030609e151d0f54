"""Where to compute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, distributed

Precision = Literal["auto", "float32", "bfloat16"]


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


def check_precision(device: torch.device, precision: Precision) -> None:
    """Raise where a GPU would only emulate bfloat16, which is slow and no less coarse."""
    if precision == "bfloat16" and device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(
                f"precision='bfloat16': {torch.cuda.get_device_name(device)} only emulates it; "
                "take 'float32'"
            )


def autocast(device: torch.device, precision: Precision = "auto"):
    """Compute in bfloat16 where that is right; "auto": on CUDA, and in float32 elsewhere."""
    half = device.type == "cuda" if precision == "auto" else precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def send(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Move values to a device without waiting for what it is doing."""
    values = torch.as_tensor(values)
    if values.device.type == "cpu" and device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def tuned(device: torch.device):
    """Let cuDNN try its algorithms on the shapes it meets: right where shapes stay the same."""
    cuda = device.type == "cuda"
    return torch.backends.cudnn.flags(enabled=True, benchmark=True) if cuda else nullcontext()


@contextmanager
def one_core_free() -> Iterator[int]:
    """Compute on all cores but one, unless OMP_NUM_THREADS or MKL_NUM_THREADS says otherwise.

    Gives how many threads that makes.
    The threads of an operation wait for the slowest of them. Where something else needs a core, it
    holds them all up: on two busy cores, two threads took sixteen times as long as one.
    """
    before = torch.get_num_threads()
    asked = "OMP_NUM_THREADS" in os.environ or "MKL_NUM_THREADS" in os.environ
    chosen = before if asked else max(1, before - 1)
    torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        torch.set_num_threads(before)


def full_precision(device: torch.device):
    """Inside a torch.autocast, a part that keeps its own precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@dataclass(frozen=True)
class Workers:
    """rank: number of this process; world: how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Does this process write files and show progress?"""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The places within a batch that this process takes."""
        if batch % self.world:
            raise ValueError(
                f"a batch of {batch} episodes on {self.world} processes: expected a multiple of "
                f"{self.world}"
            )
        own = batch // self.world
        return range(self.rank * own, (self.rank + 1) * own)


@contextmanager
def torchrun(device: str) -> Iterator[tuple[Workers, str]]:
    """The workers, and the device of this one; leaves the process group at the end.

    Under torchrun each process takes the GPU of its local rank, or the CPU with gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Workers(), device
        return
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Workers(distributed.get_rank(), world), device if cuda else "cpu"
    finally:
        distributed.destroy_process_group()


def gathered(counts: Tensor, device: torch.device) -> Tensor:
    """The sum over processes of whole numbers, exact; each has zeros where others counted."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.to(device)
    distributed.all_reduce(total)
    return total.to(counts.device)
