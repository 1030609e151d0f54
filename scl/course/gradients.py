"""Who learns from a loss: the gradient it sends to each part of a head and each cell of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scl.method.episode import Episodes
from scl.method.scl import SCL


def gradient_norms(model: SCL, batch: Episodes) -> dict[str, dict[str, float]]:
    """Loss to (part of the head to the length of the gradient that the loss sends it)."""
    model.train()
    losses = model.losses(*batch.one_shot()[:4])
    model.eval()
    parts = {n: list(p.parameters()) for n, p in model.head.named_children()}
    parts = {name: parameters for name, parameters in parts.items() if parameters}
    return {
        loss: {name: _length(losses[loss], p) for name, p in parts.items()}
        for loss in ("s1", "s2", "q")
        if loss in losses
    }


def _length(loss: Tensor, inputs: Sequence[Tensor]) -> float:
    grads = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in grads if g is not None) ** 0.5)


def gradient_maps(model: SCL, batch: Episodes) -> dict[str, tuple[Tensor, Tensor]]:
    """Loss to how hard it pulls at each cell of F_s and F_q of the first episode: two [h, w].

    The pull is the length of the gradient in a cell. CANet-style head.
    """
    kept: list[Tensor] = []
    hook = model.head.dropout.register_forward_hook(lambda *call: kept.append(call[2]))
    losses = model.losses(*batch.one_shot()[:4])
    hook.remove()

    def pull(loss: Tensor, features: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)
        return torch.zeros(features.shape[-2:]) if grad is None else grad[0].norm(dim=0).cpu()

    return {n: tuple(pull(losses[n], f) for f in kept[:2]) for n in ("s1", "s2", "q")}
