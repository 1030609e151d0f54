"""Episodic training on frozen features, in one plain function."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from scl.bank import FeatureBank
from scl.device import autocast, pick_device
from scl.episode import EpisodeSampler
from scl.model import SCL


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn.

    steps: optimiser steps; batch: one-shot episodes a step; lr: peak of the one-cycle schedule
    (the default is what the tuning cells chose most often); weight_decay: of AdamW; seed: of the
    episodes drawn (initialisation has its own).
    """

    steps: int = 600
    batch: int = 12
    lr: float = 1e-2
    weight_decay: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a positive number")


def train(
    model: SCL,
    bank: FeatureBank,
    sampler: EpisodeSampler,
    config: TrainConfig = TrainConfig(),
    device: str | torch.device = "auto",
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train the head by Eq. 14 and return the losses of every step.

    Each record holds "q", "s1", "s2" (those switched on), "total" and "seconds" since the start.
    On one CPU, with torch.set_num_threads pinned, two runs give the same bits.
    """
    if sampler.shots != 1:
        raise ValueError(
            f"sampler with {sampler.shots} shots: training is one-shot (more shots need no "
            "retraining: use condition and segment)"
        )
    device = pick_device(device)
    model.to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    model.train()
    optimiser = torch.optim.AdamW(
        model.head.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, config.steps)
    generator = np.random.default_rng((config.seed, 1))
    history, start = [], time.perf_counter()
    for _ in tqdm(range(config.steps), desc="training", disable=not progress, leave=False):
        losses = _step(model, bank, sampler, config.batch, generator, optimiser, device)
        schedule.step()
        history.append({**losses, "seconds": time.perf_counter() - start})
    model.eval()
    return [{name: float(value) for name, value in record.items()} for record in history]


def _step(model, bank, sampler, size, generator, optimiser, device) -> dict[str, torch.Tensor]:
    batch = bank.batch([sampler.draw(generator) for _ in range(size)])
    with autocast(device):
        losses = model.losses(
            batch.support.flat().to(device),
            batch.support_masks.flatten(0, 1).to(device),
            batch.query.to(device),
            batch.query_masks.to(device),
        )
    optimiser.zero_grad(set_to_none=True)
    losses["total"].backward()
    optimiser.step()
    # Kept as tensors: asking for the number here would wait for the GPU at every step.
    return {name: value.detach() for name, value in losses.items()}
