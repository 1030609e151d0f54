"""Chapter 2: the average under a mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scl.method import vectors

from . import judge
from .judge import Case, Function, Mistake, Slip


def sum_under(features: Tensor, mask: Tensor) -> Tensor:
    """Add up the cells under each mask: [N, d, h, w] and [N, h, w] to [N, d]."""
    return (features * mask.unsqueeze(1)).sum(dim=(2, 3))


def area(mask: Tensor) -> Tensor:
    """Count the cells under each mask, [N, 1]."""
    return mask.sum(dim=(1, 2)).unsqueeze(1)


def average_without_care(features: Tensor, mask: Tensor) -> Tensor:
    """Follow Eq. 1 to the letter: NaN where the mask is empty."""
    return sum_under(features, mask) / area(mask)


def _pool_together(features: Tensor, mask: Tensor) -> Tensor:
    return sum_under(features, mask).sum(dim=0) / mask.sum()


POOLED_TOGETHER = (
    "One vector came out for the whole batch: the images were pooled together. Each image has its "
    "own mask and its own average."
)
NO_AXIS = (
    "The masks met the channels: channel 0 was taken under the mask of image 0, channel 1 under "
    "that of image 1. With as many images as channels PyTorch does not complain. A mask [h, w] "
    "needs an axis of its own where the features have their channels."
)
GAP_SLIPS = (
    Slip(lambda f, m: (f[:, : len(f)] * m).sum(dim=(2, 3)) / area(m), NO_AXIS),
    Slip(lambda f, m: (f[:, : len(f)] * m).sum(dim=(2, 3)) / m.sum(dim=(1, 2)), NO_AXIS),
    Slip(lambda f, m: sum_under(f, m)[:, : len(f)] / m.sum(dim=(1, 2)),
         "The sums are right, but channel 0 was divided by the area of image 0, channel 1 by that "
         "of image 1. An area is the same for all channels of its image: which axis is missing?"),
    Slip(lambda f, m: f.mean(dim=(2, 3)),
         "The mask makes no difference: you averaged all cells of the map."),
    Slip(lambda f, m: (f * m.unsqueeze(1)).mean(dim=(2, 3)),
         "You added up the right cells, but divided by all cells, not by those under the mask."),
    Slip(_pool_together, POOLED_TOGETHER),
    Slip(lambda f, m: _pool_together(f, m).expand(len(f), -1), POOLED_TOGETHER),
    Slip(lambda f, m: sum_under(f, m) / m.sum(),
         "You divided each image's sum by the area of all masks together. How large is the mask "
         "of one image?"),
    Slip(sum_under,
         "You added up the cells under the mask and stopped there: twice the object would give "
         "twice the vector. What is missing to make it an average?"),
    Slip(lambda f, m: average_without_care(f, 1 - m),
         "You averaged the cells outside the mask, not those under it."),
    Slip(lambda f, m: f.masked_fill(m.unsqueeze(1) == 0, -torch.inf).amax(dim=(2, 3)),
         "The largest value under the mask came out. Eq. 1 asks for the average."),
    Slip(average_without_care,
         "An image with an empty mask came out as NaN: 0 was divided by 0. Zeros are asked for "
         "there, and the other images of the batch must not change."),
)  # fmt: skip


def masked_gap(function: Function) -> bool:
    """Chapter 2, core: function(features [N, d, h, w], mask [N, h, w]) -> [N, d], Eq. 1.

    The mask holds 0 and 1 as floats; an empty one must give zeros.
    """
    g = judge.generator(0)
    features = torch.randn(3, 4, 5, 6, generator=g) + 1
    mask = (torch.rand(3, 5, 6, generator=g) > torch.tensor([0.3, 0.5, 0.8])[:, None, None]).float()
    hole = mask * torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    cases = [
        # As many channels as images: here a forgotten axis is no error, but a wrong result.
        Case("3 images of 3 channels", (features[:, :3], mask)),
        Case("3 images with random masks", (features, mask)),
        Case("3 images, the second with an empty mask", (features, hole)),
    ]
    well = "each image is averaged under its own mask, and an empty mask gives zeros"
    return judge.compare(function, vectors.masked_gap, cases, GAP_SLIPS, well)


def _merged(v_a: Tensor, area_a: float, v_b: Tensor, area_b: float) -> Tensor:
    total = area_a + area_b
    return (area_a * v_a + area_b * v_b) / total if total else torch.zeros_like(v_a)


MERGE_SLIPS = (
    Slip(lambda a, m, b, n: (a + b) / 2,
         "You took the plain mean of the two averages: one region is three times as large as the "
         "other, and should count for more."),
    Slip(lambda a, m, b, n: _merged(a, n, b, m),
         "The weights are swapped: the smaller region counts for more than the larger one."),
    Slip(lambda a, m, b, n: a + b,
         "You added the two averages. Where both regions have the same average, the union has "
         "that average too, not twice as much."),
    Slip(lambda a, m, b, n: m * a + n * b,
         "That is the sum of all cells of both regions, not yet their average."),
    Slip(lambda a, m, b, n: (m * a + n * b) / 2,
         "You divided the sum of all cells by the number of regions. How many cells were added?"),
    Slip(lambda a, m, b, n: _merged(a, max(m, 1), b, max(n, 1)),
         "A region without cells still pulls at the result."),
    Slip(lambda a, m, b, n: a * 0 if m * n == 0 else _merged(a, m, b, n),
         "One region is empty, and zeros came out. What is the union of a region and nothing?"),
    Slip(lambda a, m, b, n: (m * a + n * b) / (m + n),
         "With two empty regions NaN came out: 0 was divided by 0. As in Eq. 1 of this course, no"
         " cells should give zeros."),
)  # fmt: skip


def merge_averages(function: Function) -> bool:
    """Chapter 2, stretch: function(v_a [d], area_a, v_b [d], area_b) -> [d].

    The average over two regions that share no cell, from their averages and areas (floats) alone;
    zeros where both are empty.
    """
    a, b = torch.randn(2, 5, generator=judge.generator(0)) + 2
    cases = [
        Case("a region of 3 cells and one of 9", (a, 3.0, b, 9.0)),
        Case("a region of 4 cells and an empty one", (a, 4.0, b, 0.0)),
        Case("an empty region and one of 7 cells", (a, 0.0, b, 7.0)),
        Case("two empty regions", (a, 0.0, b, 0.0)),
    ]
    well = "the parts' averages and areas are enough to know the average of the whole"
    return judge.compare(function, _merged, cases, MERGE_SLIPS, well)


def _cells(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """List the different cells under a mask, [n, d], and the share of each, without their order."""
    rows = (features[:, mask == 1].T * 1000).round()
    values, counts = rows.unique(dim=0, return_counts=True)
    return values / 1000, counts / counts.sum()


@judge.told
def same_average(*answer: Any) -> str:
    """Chapter 2, open: (maps [2, d, h, w], masks [2, h, w]), two objects with the same v_s.

    Takes the two tensors, a tuple of them, or a function without arguments that returns it.
    """
    maps, masks = judge.values_of(answer, ("maps [2, d, h, w]", "masks [2, h, w]"))
    maps = judge.finite(maps, "maps", (2, None, None, None))
    masks = judge.finite(masks, "masks", (2, *maps.shape[2:]))
    judge.check_holds(masks, "masks", 0, 1)
    if (masks.sum(dim=(1, 2)) == 0).any():
        raise Mistake("A mask is empty: there is no object, so nothing to compare.")
    one, two = vectors.masked_gap(maps, masks)
    if not torch.allclose(one, two, rtol=0, atol=1e-4):
        channel = int((one - two).abs().argmax())
        raise Mistake(
            f"The two averages differ: in channel {channel} they are {one[channel]:.3f} and "
            f"{two[channel]:.3f}."
        )
    _check_two_objects(maps, masks)
    return "two different objects, one v_s; whoever sees v_s alone cannot tell them apart"


def _check_two_objects(maps: Tensor, masks: Tensor) -> None:
    """Ask that objects with one average differ in what their cells are, not only where."""
    if torch.equal(masks[0], masks[1]) and torch.equal(*(maps * masks.unsqueeze(1))):
        if torch.equal(*maps):
            raise Mistake("That is the same object twice: map and mask are identical.")
        raise Mistake(
            "Your maps differ only outside the masks. There Eq. 1 never looks: it is the same "
            "object in front of two backgrounds."
        )
    (one, share_one), (two, share_two) = (_cells(f, m) for f, m in zip(maps, masks, strict=True))
    if torch.equal(one, two) and torch.allclose(share_one, share_two):
        raise Mistake(
            "Both objects consist of the same cells, only in other places or more often. Find "
            "objects whose cells themselves differ."
        )
