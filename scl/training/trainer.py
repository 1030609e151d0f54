"""Episodic training: one trainer for frozen features kept in a bank and for images alike."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import lr_scheduler
from tqdm.auto import tqdm

from scl.datasets.bank import FeatureBank
from scl.device import Precision, autocast, pick_device, tuned
from scl.method.contracts import Method
from scl.method.episode import Episodes, EpisodeSampler
from scl.method.records import Maps
from scl.method.words import expect
from scl.training.captured import CapturedStep

OPTIMISERS = ("adamw", "sgd")
# Steps taken one kernel after the other before a step is captured: libraries choose and prepare.
WARM_UP = 3
SCHEDULES = ("one-cycle", "poly", "constant")


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to learn.

    steps: optimiser steps; batch: one-shot episodes a step; lr: learning rate, the peak of the
    one-cycle schedule (the default is what the tuning cells chose most often), or the first of the
    others; weight_decay: of the optimiser; seed: of the episodes drawn (initialisation has its
    own); optimiser: "adamw" or "sgd" (PFENet, CANet), with this momentum; schedule: "one-cycle",
    "poly", lr (1 - step / steps)^power (PFENet), or "constant" (CANet); clip: largest norm of the
    gradients (None: any); precision: "auto" is bfloat16 on CUDA and float32 elsewhere.
    """

    steps: int = 600
    batch: int = 12
    lr: float = 1e-2
    weight_decay: float = 1e-2
    seed: int = 0
    optimiser: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    schedule: Literal["one-cycle", "poly", "constant"] = "one-cycle"
    power: float = 0.9
    clip: float | None = None
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a positive number")
        for name, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {known}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip={self.clip!r}: expected a positive number, or None")


class EpisodeLosses(nn.Module):
    """Eq. 14 of a batch as a module, which is what DistributedDataParallel wraps."""

    def __init__(self, model: Method):
        super().__init__()
        self.model = model

    def forward(self, batch: Episodes) -> dict[str, Tensor]:
        """Losses by name; see Method.losses."""
        support, some_masks, query, query_masks, _ = batch.one_shot()
        masks = expect(Tensor, some_masks)
        if isinstance(support, Tensor):
            support = self.model.encode(support, masks, high=False)
        if isinstance(query, Tensor):
            query = self.model.encode(query)
        return self.model.losses(expect(Maps, support), masks, query, query_masks)


class Trainer:
    """A model, its optimiser and its schedule; takes a step at a time.

    The head learns, the backbone does not. With torch.distributed initialised, gradients are
    averaged over the processes, each of which brings its part of the batch. graph: on CUDA and in
    one process, replay the step as a CUDA graph.
    """

    def __init__(
        self,
        model: Method,
        config: TrainConfig,
        device: torch.device | str = "auto",
        graph: bool = True,
    ):
        self.model, self.config, self.device = model, config, pick_device(device)
        model.to(self.device)
        if self.device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        model.train()
        self.losses: nn.Module = EpisodeLosses(model)
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.graph, self.taken = graph and not shared and self.device.type == "cuda", 0
        self.captured: CapturedStep | None = None
        if shared:
            # Without a support loss some parameters of the support's FPM receive no gradient.
            self.losses = DistributedDataParallel(self.losses, find_unused_parameters=True)
        self.optimiser = make_optimiser(model.trainable(), config)
        self.schedule = make_schedule(self.optimiser, config)
        self.lr = config.lr  # of the last step

    def step(self, batch: Episodes) -> dict[str, Tensor]:
        """Learn from one batch; returns its losses.

        They stay tensors: asking for the numbers would wait for the GPU at every step.
        """
        with tuned(self.device):
            losses = self._gradients(batch)
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.model.trainable().parameters(), self.config.clip)
        self.lr = self.optimiser.param_groups[0]["lr"]
        self.optimiser.step()
        self.schedule.step()
        self.taken += 1
        return losses

    def _gradients(self, batch: Episodes) -> dict[str, Tensor]:
        """Leave the gradients of a batch in the parameters; return its losses."""
        if self.graph and self.captured is None and self.taken >= WARM_UP:
            self.captured = CapturedStep(self._backward, batch, self.model.trainable().parameters())
        if self.captured is not None and self.captured.fits(batch):
            return self.captured.replay(batch)
        return self._backward(batch)

    def _backward(self, batch: Episodes) -> dict[str, Tensor]:
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.device, self.config.precision):
            losses = self.losses(batch)
        losses["total"].backward()
        return {name: value.detach() for name, value in losses.items()}

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """All that a step depends on but the batch: tensors by name, and plain values."""
        tensors = {f"head.{n}": v for n, v in self.model.trainable().state_dict().items()}
        tensors |= {f"backbone.{n}": v for n, v in self.model.moving_statistics().items()}
        optimiser = self.optimiser.state_dict()
        for index, values in optimiser["state"].items():
            known = {n: torch.as_tensor(v) for n, v in values.items() if v is not None}
            tensors |= {f"optimiser.{index}.{n}": v for n, v in known.items()}
        values = {"groups": optimiser["param_groups"], "schedule": self.schedule.state_dict()}
        return {n: v.detach() for n, v in tensors.items()}, values

    def load_state(self, tensors: dict[str, Tensor], values: dict) -> None:
        """Go on from what `state` returned."""
        parts: dict[str, dict[str, Tensor]] = {"head": {}, "backbone": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        self.model.trainable().load_state_dict(parts["head"])
        self.model.backbone.load_state_dict(parts["backbone"], strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": values["groups"]})
        self.schedule.load_state_dict(values["schedule"])


def make_optimiser(head: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a configuration."""
    weights, lr, decay = head.parameters(), config.lr, config.weight_decay
    if config.optimiser == "sgd":
        return torch.optim.SGD(weights, lr, config.momentum, weight_decay=decay)
    return torch.optim.AdamW(weights, lr, weight_decay=decay)


def make_schedule(
    optimiser: torch.optim.Optimizer, config: TrainConfig
) -> lr_scheduler.LRScheduler:
    """The learning rate of every step."""
    if config.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(optimiser, config.lr, config.steps)
    power = config.power if config.schedule == "poly" else 0.0
    return lr_scheduler.LambdaLR(optimiser, lambda step: max(1 - step / config.steps, 0.0) ** power)


def train(
    model: Method,
    bank: FeatureBank,
    sampler: EpisodeSampler,
    config: TrainConfig = TrainConfig(),
    device: str | torch.device = "auto",
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train the head by Eq. 14 on kept features and return the losses of every step.

    Each record holds "q", "s1", "s2" (those switched on), "total" and "seconds" since the start.
    On one CPU, with torch.set_num_threads pinned, two runs give the same bits.
    """
    if sampler.shots != 1:
        raise ValueError(
            f"sampler with {sampler.shots} shots: training is one-shot (more shots need no "
            "retraining: use condition and segment)"
        )
    trainer = Trainer(model, config, device)
    generator = np.random.default_rng((config.seed, 1))
    history: list[dict[str, Tensor | float]] = []
    start = time.perf_counter()
    for _ in steps_shown(range(config.steps), progress):
        batch = bank.batch([sampler.draw(generator) for _ in range(config.batch)])
        losses = trainer.step(batch.to(trainer.device))
        history.append({**losses, "seconds": time.perf_counter() - start})
    model.eval()
    return [{name: float(value) for name, value in record.items()} for record in history]


def steps_shown(steps: range, progress: bool) -> tqdm:
    """A progress bar over the steps of a training, which may go on from an earlier one."""
    done, total = steps.start, steps.stop
    return tqdm(steps, "training", total, leave=False, disable=not progress, initial=done)
