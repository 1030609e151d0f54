"""The plain reading: an episode in the released code's order of operations, one image at a time.

What the package does together (all supports, all queries), once for all vectors or under a mask
alone is done one after the other here, each time and in every cell, by the same weights: the
baseline of the bench.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from scl.method.fusion import confidence, pair_iou
from scl.method.layers import Gather, Merge, resized
from scl.method.losses import likelier, resize_logits
from scl.method.pfenet import PFENetHead
from scl.method.records import Maps, SupportGroup
from scl.method.scl import SCL
from scl.method.vectors import concat_vectors
from scl.method.words import expect
from scl.models.backbones.frozen import under_mask
from scl.models.backbones.resnet import LAYER3, ResNet


class _Merge(Merge):
    """Lays copies of the vectors into every cell, anew for every pair."""

    def share(self, features: Tensor) -> Tensor:
        return features

    def forward(self, input: Tensor, vectors: Tensor | None = None, *maps: Tensor) -> Tensor:
        return super().forward(concat_vectors(input, expect(Tensor, vectors), *maps))


class _Gather(Gather):
    """Enlarges the maps first."""

    def forward(self, input: Tensor | Sequence[Tensor], size: tuple[int, ...] = ()) -> Tensor:
        return super().forward(torch.cat([resized(x, size) for x in input], dim=1))


class _PFENetHead(PFENetHead):
    """Compares with every cell of the support, and takes the mask afterwards."""

    def hints(self, query: Maps, group: SupportGroup) -> Tensor:
        # Nothing is above the mask's zero by more than nothing, but no cell is left out.
        return super().hints(query, group._replace(mask=group.mask.clamp(min=1e-30)))


class _ResNet(ResNet):
    """Computes its last layer in every cell of a masked image."""

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        assert self.layer4 is not None
        return self.layer4(under_mask(mid[:, -LAYER3:], mask))


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Merge: _Merge,
    Gather: _Gather,
    PFENetHead: _PFENetHead,
    ResNet: _ResNet,
}


def plainly(model: SCL) -> SCL:
    """Copy a model whose parts do all the arithmetic that the released code does."""
    copy = deepcopy(model)
    for part in copy.modules():
        part.__class__ = PLAIN.get(type(part), type(part))
    return copy


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
