"""Chapter 3: the split into found and lost, and the two vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method import vectors

from . import judge
from .chapter02 import area, average_without_care, sum_under
from .judge import Case, Function, Mistake, Slip


def _scene() -> tuple[Tensor, Tensor, Tensor]:
    """Make features [2, 4, 5, 6], masks and predictions [2, 5, 6] that agree and disagree."""
    g = judge.generator(1)
    features = torch.randn(2, 4, 5, 6, generator=g) + 1
    mask = (torch.rand(2, 5, 6, generator=g) > 0.4).float()
    return features, mask, (torch.rand(2, 5, 6, generator=g) > 0.4).long()


UNKNOWN = (
    "A region holds pixels that the mask marks 255. Nobody knows what they show, so they were "
    "neither found nor lost: a region takes pixels marked 1 alone."
)
SPLIT_SLIPS = (
    Slip(lambda m, p: vectors.split_regions(m, p)[::-1],
         "The two regions are swapped: the first should hold what was found."),
    Slip(lambda m, p: (p, None),
         "found holds false alarms: cells that were predicted, but lie outside the mask. Read "
         "both brackets of Eq. 5."),
    Slip(lambda m, p: (None, 1 - p),
         "lost holds background: all that was not predicted, on the object or not. Read both "
         "brackets of Eq. 6."),
    Slip(lambda m, p: (None, (m - p).abs()),
         "lost holds every cell where mask and prediction disagree, and so the false alarms too. "
         "Which of the two kinds of disagreement was lost?"),
    Slip(lambda m, p: (None, (1 - m) * p),
         "lost holds the false alarms: predicted, but not on the object. You want the opposite."),
    Slip(lambda m, p: (((m + p) > 0).float(), None),
         "found holds every cell that is in the mask or in the prediction; it takes both."),
    Slip(lambda m, p: (None, m), "lost holds the whole object; part of it was found."),
    Slip(lambda m, p: (None, m - p),
         "lost holds -1: where the prediction lies outside the mask, mask minus prediction is "
         "below 0. Such cells were not lost: they never were object."),
    Slip(lambda m, p: (m - p, None),
         "found holds mask minus prediction: that is what was not found, and -1 at false alarms."),
    Slip(lambda m, p: (m * p, None), UNKNOWN),
    Slip(lambda m, p: (None, m * (1 - p)), UNKNOWN),
    Slip(lambda m, p: ((m != 0) & (p == 1), None), UNKNOWN),
    Slip(lambda m, p: (None, (m != 0) & (p != 1)), UNKNOWN),
    Slip(lambda m, p: (m.long() & p, None), UNKNOWN),
    Slip(lambda m, p: (None, m * ~p),
         "lost holds -1 and -2: the sign ~ turns the bits of a whole number around. It means "
         "'not' for a tensor of type bool alone."),
)  # fmt: skip


def _regions(mask: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    return vectors.split_regions((mask == 1).float(), predicted)


def split_regions(function: Function) -> bool:
    """Chapter 3, core: function(mask [N, H, W], predicted [N, H, W]) -> (found, lost), Eq. 5-6.

    mask is a float tensor of 0, 1 and 255 (unknown: in neither region); predicted, an argmax, one
    of whole numbers, 0 and 1.
    """
    _, mask, predicted = _scene()
    unsure = mask.clone()
    unsure[:, ::2, ::3] = vectors.IGNORE  # on the object and beside it, predicted or not
    cases = [
        Case("2 images with random masks and predictions", (mask, predicted)),
        Case("2 images with some pixels marked 255", (unsure, predicted)),
    ]
    well = "found and lost add up to the object, and nothing else entered"
    return judge.compare(function, _regions, cases, SPLIT_SLIPS, well, ("found", "lost"))


def _two_right(features: Tensor, mask: Tensor, predicted: Tensor) -> tuple[Tensor, ...]:
    v_s = vectors.masked_gap(features, mask)
    regions = vectors.split_regions(mask, predicted)
    both = vectors.guiding_vectors(features, v_s, *regions)
    return both.unbind(dim=1)


def _two_with(pool: Function) -> Function:
    """Make both vectors by `pool(features, region, mask)`, whatever it makes of an empty region."""

    def both(features: Tensor, mask: Tensor, predicted: Tensor) -> list[Tensor]:
        return [pool(features, r, mask) for r in vectors.split_regions(mask, predicted)]

    return both


EMPTY_SLIPS = (
    Slip(_two_with(lambda f, r, m: average_without_care(f, r)),
         "An image with an empty region came out as NaN: the average of no cells is 0 divided by "
         "0. Look at each image of the batch by itself, and give such a region v_s."),
    Slip(_two_with(lambda f, r, m: vectors.masked_gap(f, r)),
         "An empty region came out as the zero vector. The released code does that too (rule "
         'empty="zero" of this course); here an empty region should take v_s.'),
    Slip(_two_with(lambda f, r, m: sum_under(f, r) / area(m)),
         "You divided by the area of the whole mask, so that each vector is too short. Each "
         "region has an area of its own."),
)  # fmt: skip
TWO_SLIPS = (
    Slip(lambda f, m, p: _two_right(f, m, p)[::-1],
         "The two vectors are swapped: v_pri comes from the cells that were found."),
    *EMPTY_SLIPS,
    *(Slip(lambda *x, a=answer: (a(*x)[0], None), says) for answer, says in EMPTY_SLIPS),
    *(Slip(lambda *x, a=answer: (None, a(*x)[1]), says) for answer, says in EMPTY_SLIPS),
    Slip(_two_with(lambda f, r, m: sum_under(f, r)),
         "You added up the cells of each region without dividing by their number."),
    Slip(lambda f, m, p: (vectors.masked_gap(f, p), None),
         "v_pri averages everything that was predicted, false alarms included. Read both brackets"
         " of Eq. 5."),
    Slip(lambda f, m, p: (None, vectors.masked_gap(f, 1 - p)),
         "v_aux averages everything that was not predicted, background included. Read both "
         "brackets of Eq. 6."),
)  # fmt: skip


def two_vectors(function: Function) -> bool:
    """Chapter 3, stretch: function(features [N, d, h, w], mask, predicted) -> (v_pri, v_aux).

    Eq. 5-6, [N, d] each; mask and predicted as in `split_regions`. An empty region takes v_s.
    """
    features, mask, predicted = _scene()
    none_found, none_lost = predicted.clone(), predicted.clone()
    none_found[1] *= 1 - mask[1].long()
    none_lost[0] = none_lost[0].maximum(mask[0].long())
    cases = [
        Case("2 images, each with found and lost cells", (features, mask, predicted)),
        Case("2 images, nothing found in the second", (features, mask, none_found)),
        Case("2 images, nothing lost in the first", (features, mask, none_lost)),
    ]
    well = "each region has its own average, and v_s stands in where a region is empty"
    return judge.compare(function, _two_right, cases, TWO_SLIPS, well, ("v_pri", "v_aux"))


def _two_kinds(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make an object of two kinds of cells, mixed: features [8, 12, 12], mask [12, 12]."""
    kinds = 3 * torch.linalg.qr(torch.randn(8, 3, generator=g)).Q
    mask = (torch.rand(12, 12, generator=g) > 0.4).float()
    kind = (torch.rand(12, 12, generator=g) < 0.35).long()
    kind = torch.where(mask == 1, kind, 2)
    return kinds[:, kind] + 0.4 * torch.randn(8, 12, 12, generator=g), mask


def _cosine(features: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Measure the cosine of the averages over regions [n, h, w] of one map [d, h, w]; [n]."""
    maps = features.expand(len(a), -1, -1, -1)
    return F.cosine_similarity(vectors.masked_gap(maps, a), vectors.masked_gap(maps, b))


def _random_halves(features: Tensor, mask: Tensor, g: torch.Generator) -> Tensor:
    """Cut an object 20 times at random in two halves; their cosines, [20]."""
    order = torch.rand(20, *mask.shape, generator=g) * mask
    middle = order.flatten(1)[:, mask.flatten() == 1].median(dim=1).values[:, None, None]
    a = ((order <= middle) & (mask == 1)).float()
    return _cosine(features, a, mask - a)


def _check_partition(a: Tensor, b: Tensor, mask: Tensor) -> None:
    """Ask that each cell of the object lies in exactly one of two regions."""
    judge.check_holds(torch.stack([a, b]), "The regions", 0, 1)
    if torch.equal(a, mask) and torch.equal(b, mask):
        raise Mistake("Both regions are the whole object: nothing was split.")
    outside, shared = int(((a + b) * (1 - mask) > 0).sum()), int((a * b).sum())
    if outside:
        raise Mistake(f"{outside} cells of your regions lie outside the mask.")
    if shared:
        raise Mistake(f"The regions overlap: {shared} cells belong to both.")
    missing = int(mask.sum() - (a + b).sum())
    if missing:
        raise Mistake(f"{missing} cells of the object are missing from both regions.")
    if not a.any() or not b.any():
        raise Mistake("One region is empty: it has no average to compare.")


def _cut(function: Function, g: torch.Generator) -> tuple[float, Tensor]:
    """Measure the cosine of the learner's two regions of a new object, and of random halves."""
    features, mask = _two_kinds(g)
    result = judge.run(function, "an object with two kinds of cells", features, mask)
    parts = zip("ab", judge.parts_of(result, "ab"), strict=True)
    a, b = (judge.finite(part, name, mask.shape).float() for name, part in parts)
    _check_partition(a, b, mask)
    return float(_cosine(features, a[None], b[None])), _random_halves(features, mask, g)


@judge.told
def own_split(function: Function) -> str:
    """Chapter 3, open: function(features [d, h, w], mask [h, w]) -> (a, b), both [h, w].

    Two regions that share out the object's cells, and whose averages point in more different
    directions than those of random halves.
    """
    g = judge.generator(2)
    cuts = [_cut(function, g) for _ in range(6)]
    better = sum(cosine < float(halves.min()) for cosine, halves in cuts)
    mine = sum(cosine for cosine, _ in cuts) / 6
    chance = sum(float(halves.mean()) for _, halves in cuts) / 6
    numbers = f"cosine {mine:.2f} between your averages, {chance:.2f} between random halves"
    if better == 6:
        return f"{numbers} (mean over 6 objects)"
    if mine > chance - 0.1:
        raise Mistake(
            f"No better than chance: {numbers}. The two kinds of cells do not lie apart on the "
            "map; what else tells them apart?"
        )
    raise Mistake(f"Only on {better} of 6 objects your regions beat all random halves: {numbers}.")
