"""Time work on a device, count the waits of the program for it, and look at what it does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def finish(device: torch.device) -> None:
    """Wait until a device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], object], device: torch.device, seconds: float, warm: int = 4) -> float:
    """Times a second that `work` is done, without waiting between two; measured for `seconds`."""
    for _ in range(warm):
        work()
    finish(device)
    start, count = time.perf_counter(), 0
    while True:
        for _ in range(4):  # a look at the clock needs the device to have finished
            work()
        count += 4
        finish(device)
        spent = time.perf_counter() - start
        if spent >= seconds:
            return count / spent


def peak_gib(device: torch.device) -> float | None:
    """GiB that tensors took at most since `forget_peak`; None on a CPU, where nobody counts."""
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)


def forget_peak(device: torch.device) -> None:
    """Give memory back and start to watch its peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def count_waits(work: Callable[[], object], device: torch.device, times: int = 1) -> int | None:
    """How often torch makes the program wait for the GPU while it does `work` so many times."""
    if device.type != "cuda":
        return None
    finish(device)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(times):
                work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)


def trace(work: Callable[[], object], device: torch.device, steps: int) -> dict[str, object]:
    """Look at `steps` times `work`: kernels and waits a step, share of the time the GPU is busy.

    slowest: the kernels that take most of the GPU's time, with their shares.
    """
    if device.type != "cuda":
        return {}
    finish(device)
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(steps):
            work()
        finish(device)
        wall = time.perf_counter() - start
    events = seen.key_averages()
    kernels = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
    busy = sum(e.self_device_time_total for e in kernels) / 1e6
    largest = sorted(kernels, key=lambda e: -e.self_device_time_total)[:8]
    waits = sum(e.count for e in events if e.key in WAITS) - 1  # the last is our own
    return {
        "kernels": round(sum(e.count for e in kernels) / steps),
        "waits": round(max(waits, 0) / steps, 3),
        "busy": round(busy / wall, 3),
        "slowest": {e.key[:60]: round(e.self_device_time_total / 1e6 / busy, 3) for e in largest},
    }
