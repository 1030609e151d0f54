"""CANet's refinement of a query: repeated passes, previous predictions and zooms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method.contracts import Features, Head
from scl.method.records import Maps, Prediction


def check_refinement(iterations: int, history_dropout: float, zooms: Sequence[float]) -> None:
    """Raise unless a query can be refined so."""
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: expected at least 1")
    if not 0 <= history_dropout <= 1:
        raise ValueError(f"history_dropout={history_dropout}: expected a chance in 0..1")
    if not zooms or min(zooms) <= 0:
        raise ValueError(f"zooms={zooms!r}: expected one or more numbers above 0")


def query_pass(
    head: Head,
    features: Features,
    vectors: Tensor,
    hint: Tensor,
    iterations: int = 1,
    history_dropout: float = 0.0,
    history: Tensor | None = None,
) -> Prediction:
    """Eq. 11-12 for N queries: features [N, d, h, w] under vectors [N, n, d].

    A head that refines repeats it, the previous prediction being the hint. history:
    [N, 2, h, w], a previous prediction to refine in a single pass.
    """
    if not head.refines:
        return head.query(features, vectors, hint)
    # In training a single pass stands in for CANet's cache of the last epoch.
    before = min(iterations - 1, 1) if head.training else iterations - 1
    if history is not None:
        hint, before = history, 0
    for _ in range(before):
        with torch.no_grad():
            hint = head.query(features, vectors, hint).logits.softmax(dim=1)
    if head.training and history_dropout:
        kept = torch.rand(len(hint), 1, 1, 1, device=hint.device) >= history_dropout
        hint = hint * kept
    return head.query(features, vectors, hint)


def zoomed(query: Tensor | Maps, zooms: Sequence[float]) -> Sequence[Tensor | Maps]:
    """Resize queries [B, 3, H, W] to each zoom, a multiple of their size, rounded down."""
    if tuple(zooms) == (1.0,):
        return [query]
    if isinstance(query, Maps):
        raise ValueError(f"zooms={zooms}: expected the query as images, not as maps")
    if int(min(query.shape[-2:]) * min(zooms)) < 1:
        raise ValueError(
            f"zooms={zooms} leave no pixel of a query of {tuple(query.shape[-2:])}: "
            "expected a larger query, or larger zooms"
        )
    return [
        query
        if zoom == 1
        else F.interpolate(query, scale_factor=zoom, mode="bilinear", align_corners=False)
        for zoom in zooms
    ]


def histories(small: Sequence[Tensor], fused: Tensor | None) -> list[Tensor]:
    """Turn predictions into the hints of the next pass, [B, K, 2, h, w] for each zoom.

    small: the score maps of each zoom, [B, K, 2, h, w]; fused: those of all supports together,
    [B, 2, H, W], to refine in place of each support's own.
    """
    if fused is None:
        return [logits.softmax(dim=2) for logits in small]
    shared = fused.softmax(dim=1).unsqueeze(1)
    return [shared.expand(-1, logits.shape[1], -1, -1, -1) for logits in small]
