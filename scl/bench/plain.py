"""The plain reading: an episode in the released code's order of operations, one image at a time.

What the package does together (all supports, all pairs, all queries) is done one after the other
here, by the model's own parts: the baseline of the bench.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scl.method.fusion import confidence, pair_iou
from scl.method.losses import likelier, resize_logits
from scl.method.scl import SCL


@torch.no_grad()
def plain_episode(model: SCL, images: Tensor, masks: Tensor, query: Tensor) -> Tensor:
    """Segment one query, [3, H, W], under K supports [K, 3, H, W]: fused score maps [2, H, W].

    Follows the rules mutual="support": supports are compared by the support branch.
    """
    pairs = zip(images, masks, strict=True)
    supports = [model.condition(image[None, None], mask[None, None]) for image, mask in pairs]
    maps, size = model.encode(query[None]), (query.shape[-2], query.shape[-1])
    logits = [model.segment(one, maps, size=size).logits[:, 0] for one in supports]
    if len(supports) == 1:
        return logits[0][0]
    rows = []
    for guide in supports:
        ious = []
        for seen, mask in zip(supports, masks, strict=True):
            found = model.second_pass(seen.features[:, 0], guide.vectors[:, 0], seen.guide.first)
            enlarged = resize_logits(
                found.logits, (mask.shape[0], mask.shape[1]), model.rules.enlarge
            )
            ious.append(pair_iou(likelier(enlarged), mask[None], model.rules.iou))
        rows.append(torch.stack(ious, dim=1))
    scores = confidence(torch.stack(rows, dim=1), own_score=model.rules.own_score)
    return model.fuse(torch.stack(logits, dim=1), scores)[0]
