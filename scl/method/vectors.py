"""From a feature map and a mask to the vectors that guide: Eq. 1, 2, 5, 6, 8 and 11.

Shapes: N images, d channels, h x w cells of the feature map, H x W pixels of the image.
Masks hold 1 on the object, 0 elsewhere and 255 where nobody knows (ignored).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method.words import words_checked

IGNORE = 255


@words_checked
def shrink_mask(
    mask: Tensor, size: tuple[int, ...], mask_resize: Literal["binary", "bilinear"] = "binary"
) -> Tensor:
    """Bring a mask to the size of the feature map, as Eq. 1 asks ("M_s needs to be downsampled").

    mask: [N, H, W] with values 0, 1, 255; ignored pixels count as background.
    Returns [N, h, w] float. "binary": 1 where the object covers more than half of a cell;
    a thin object that covers no half cell keeps its fullest ones, so that an object never
    disappears. "bilinear": soft values in 0..1, corners aligned (released code).
    """
    inside = (mask == 1).float().unsqueeze(1)
    if mask_resize == "bilinear":
        return F.interpolate(inside, size, mode="bilinear", align_corners=True).squeeze(1)
    h, w = size
    cover = F.adaptive_avg_pool2d(inside, (h, w)).squeeze(1)
    fullest = cover.amax(dim=(1, 2), keepdim=True)
    thin = (fullest <= 0.5) & (fullest > 0)
    # Cells of different sizes round equal shares differently.
    return torch.where(thin, cover >= fullest * (1 - 1e-5), cover > 0.5).float()


def masked_gap(features: Tensor, mask: Tensor, epsilon: float = 0.0) -> Tensor:
    """Eq. 1: the average of the features under the mask.

    features: [N, d, h, w]; mask: [N, h, w], weights in 0..1. Returns [N, d].
    A fractional cell counts with its weight. An empty mask gives the zero vector, never NaN.
    """
    # At least single precision: bfloat16 cannot count a large area.
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    total = (features * mask.unsqueeze(1)).sum(dim=(2, 3))
    area = mask.sum(dim=(1, 2)).unsqueeze(1) + epsilon
    return total / torch.where(area > 0, area, torch.ones_like(area))


@words_checked
def split_regions(
    mask: Tensor,
    predicted: Tensor,
    regions: Literal["partition", "exact", "truncated"] = "partition",
) -> tuple[Tensor, Tensor]:
    """The two Iverson brackets of Eq. 5-6: the foreground that was found, and that was lost.

    mask: [N, h, w] in 0..1; predicted: [N, h, w] with 0 or 1 (Eq. 4). Returns two [N, h, w].
    "partition": found + lost = mask, whatever its values. The released code tests the sum
    prediction + mask instead: "exact" leaves fractional cells out of both regions, "truncated"
    moves a fractional cell that was found into the lost region.
    """
    predicted = predicted.to(mask.dtype)
    if regions == "partition":
        return mask * predicted, mask * (1 - predicted)
    total = predicted + mask
    if regions == "truncated":
        total = total.trunc()
    return (total == 2).to(mask.dtype), ((total == 1) & (mask != 0)).to(mask.dtype)


@words_checked
def guiding_vectors(
    features: Tensor,
    v_s: Tensor,
    found: Tensor,
    lost: Tensor,
    names: Sequence[str] = ("pri", "aux"),
    epsilon: float = 0.0,
    empty: Literal["initial", "zero"] = "initial",
) -> Tensor:
    """Eq. 5-6, and the choice of Table 5: the n vectors that guide, [N, n, d].

    names: among "s", "pri" and "aux". An empty region (nothing found, or nothing lost) has no
    average, and the paper is silent: "initial" sends v_s, all that is known then; "zero" sends
    the zero vector, which a head meets at the beginning of training but hardly later, and again
    on novel classes.
    """

    def pooled(region: Tensor) -> Tensor:
        vector = masked_gap(features, region, epsilon)
        if empty == "initial":
            vector = torch.where(region.sum(dim=(1, 2)).unsqueeze(1) > 0, vector, v_s)
        return vector

    by_name = {"s": lambda: v_s, "pri": lambda: pooled(found), "aux": lambda: pooled(lost)}
    return torch.stack([by_name[name]() for name in names], dim=1)


def concat_vectors(features: Tensor, vectors: Tensor, *maps: Tensor) -> Tensor:
    """Eq. 2, 8 and 11: every cell of the map receives a copy of every vector.

    features: [N, d, h, w]; vectors: [N, n, d]; maps: further maps [N, c, h, w] (PFENet's prior).
    Returns [N, (1 + n) d + sum of c, h, w], in this order.
    """
    n, d, h, w = features.shape
    spread = vectors.reshape(n, -1, 1, 1).expand(-1, -1, h, w).to(features.dtype)
    return torch.cat([features, spread, *maps], dim=1)


def cosine_map(features: Tensor, vector: Tensor) -> Tensor:
    """Compare every cell with a vector: [N, d, h, w] and [N, d] give cosines [N, h, w]."""
    return F.cosine_similarity(features, vector[:, :, None, None], dim=1)
