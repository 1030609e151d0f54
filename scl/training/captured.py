"""A training step as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from scl.method.episode import Episodes
from scl.method.records import Maps
from scl.method.words import expect


class CapturedStep:
    """A step's forward and backward pass, captured as a CUDA graph and replayed.

    Such a step is about a thousand small kernels, which a GPU finishes sooner than Python starts
    the next; a graph starts them all at once. The numbers are those of the step itself: the same
    kernels on the same shapes, drop-out drawn anew from the generator's state at each replay.
    work: takes a batch, leaves gradients in the parameters and returns the losses.
    """

    def __init__(
        self,
        work: Callable[[Episodes], dict[str, Tensor]],
        batch: Episodes,
        parameters: Iterable[nn.Parameter],
    ):
        # What is captured reads from this memory and writes into this memory, again and again.
        self.batch = each_tensor(batch, torch.clone)
        self.graph = torch.cuda.CUDAGraph()
        # A loader's thread may pin memory meanwhile, which is no part of the step.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.losses = work(self.batch)
        self.gradients = [(p, p.grad) for p in parameters if p.grad is not None]

    def fits(self, batch: Episodes) -> bool:
        """Say whether a batch has the captured shapes."""
        ours, theirs = tensors_of(self.batch), tensors_of(batch)
        return [x.shape for x in ours] == [x.shape for x in theirs]

    def replay(self, batch: Episodes) -> dict[str, Tensor]:
        """Do the captured work on a batch."""
        for own, new in zip(tensors_of(self.batch), tensors_of(batch), strict=True):
            own.copy_(new, non_blocking=True)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return {name: value.clone() for name, value in self.losses.items()}


def each_tensor(batch: Episodes, change: Callable[[Tensor], Tensor]) -> Episodes:
    """Change every tensor of a batch, those of its maps among them."""
    changed = (x.apply(change) if isinstance(x, Maps) else change(expect(Tensor, x)) for x in batch)
    return Episodes._make(changed)


def tensors_of(batch: tuple) -> list[Tensor]:
    """List every tensor of a batch, whatever named tuples it lies in."""
    nested = (tensors_of(x) if isinstance(x, tuple) else [x] for x in batch)
    return [x for some in nested for x in some if x is not None]
