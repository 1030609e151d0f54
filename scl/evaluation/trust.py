"""How far to trust a prediction: is the object there, and does the model know it at all?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scl.datasets.fit import as_taken
from scl.device import autocast, device_of, send
from scl.evaluation.protocol import ProtocolConfig
from scl.method.contracts import Method
from scl.method.fusion import pair_iou
from scl.method.losses import likelier
from scl.method.records import Support
from scl.method.similarity import SimilaritySegmentation, SimilaritySupport

SUREST = 0.01  # the share of a picture's pixels whose chances tell whether the object is there


@torch.inference_mode()
def find_scores(
    model: Method, support: Support, image: np.ndarray, config: ProtocolConfig
) -> tuple[np.ndarray, float, float]:
    """Score an image [H, W, 3] uint8: [H, W], by how much the object is likelier than the rest.

    Returns also the object's presence, and its likeness, by which places are compared; they are the
    same but where presence was learned.
    """
    device = device_of(model)
    query = config.fit.to_network(image)[0][None]
    with autocast(device, config.precision):
        found = model.segment(support, as_taken(send(query, device), model.backbone), config.fusion)
    rest, there = found.fused_logits[0].float().split(1)
    # One map, not two: of a large picture they are most of the memory.
    scores = config.fit.logits_back(there - rest, image.shape[:2])[0].cpu().numpy()
    if isinstance(found, SimilaritySegmentation):
        return scores, float(found.presence), float(found.likeness)
    there = surest(chances(scores))
    return scores, there, there


def chances(scores: np.ndarray) -> np.ndarray:
    """Turn scores into chances of the object, 0..1: the softmax of two logits."""
    return torch.from_numpy(scores).sigmoid().numpy()


def surest(chance: np.ndarray) -> float:
    """Average the highest hundredth of the chances [H, W], 0..1: presence for any method."""
    flat = chance.ravel()
    count = max(1, round(SUREST * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean())


def own_ious(
    model: Method, support: Support, shown: Sequence[tuple[Tensor, Tensor]], config: ProtocolConfig
) -> list[float]:
    """Measure how well each support is found again in itself: IOU with its own mask.

    shown: images [3, h, w] and masks [h, w], as the network saw them. A support that is not found
    even there is of no help. Similarity maps hold its single cells, so its average alone counts.
    """
    if isinstance(support, SimilaritySupport):
        return support.own[0].tolist()
    if len(shown) > 1:
        return support.mutual[0].diagonal().float().tolist()
    ((image, mask),) = shown
    device = device_of(model)
    with torch.inference_mode(), autocast(device, config.precision):
        query = as_taken(send(image[None], device), model.backbone)
        found = model.segment(support, query, config.fusion)
    return [float(pair_iou(likelier(found.fused_logits)[0].cpu(), mask))]
