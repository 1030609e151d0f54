"""Chapter 7: centring, parts, and a rule of one's own."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.course.measure import best_cut
from scl.method import vectors
from scl.method.similarity import centred as centre_all

from . import judge
from .chapter02 import area, sum_under
from .judge import Case, Function, Mistake, Slip


def _less(features: Tensor, mean: Tensor) -> Tensor:
    return features - mean[:, :, None, None]


def _centred(features: Tensor, there: Tensor) -> Tensor:
    return _less(features, vectors.masked_gap(features, there)) * there.unsqueeze(1)


ALL_CELLS = (
    "The mean counts the filled-up cells, too: they are zero, and pull it towards zero. Divide by "
    "the number of cells that are there, in each picture."
)
WHOLE_BATCH = "One mean came out for the whole batch. Each picture has a mean of its own."
CENTRE_SLIPS = (
    Slip(lambda f, t: f, "Nothing was taken out: the features came back as they were."),
    Slip(lambda f, t: _less(f, f.mean(dim=(2, 3))) * t.unsqueeze(1), ALL_CELLS),
    Slip(lambda f, t: _less(f, f.mean(dim=(2, 3))),
         f"{ALL_CELLS} And what was no cell must stay zero."),
    Slip(lambda f, t: _less(f, vectors.masked_gap(f, t)),
         "The mean is right, but it was taken out of the filled-up cells as well. They are no "
         "cells, and must stay zero."),
    Slip(lambda f, t: (f - (sum_under(f, t).sum(dim=0) / t.sum())[None, :, None, None])
         * t.unsqueeze(1), WHOLE_BATCH),
    Slip(lambda f, t: f - f.mean(dim=1, keepdim=True),
         "You averaged the channels of each cell. Asked for is an average over the cells, a number "
         "for each channel."),
    Slip(lambda f, t: _less(f, sum_under(f, t)) * t.unsqueeze(1),
         "You took out the sum of the cells. What is missing to make it a mean?"),
    Slip(lambda f, t: _less(f, sum_under(f, t) / t.sum()) * t.unsqueeze(1),
         "You divided by the cells of all pictures together. How many has one picture?"),
    Slip(lambda f, t: -_centred(f, t), "The sign is wrong: take the mean out of the features."),
    Slip(lambda f, t: vectors.masked_gap(f, t),
         "The means came out. What is left of the features when they are taken out?"),
)  # fmt: skip


def centred(function: Function) -> bool:
    """Chapter 7, core: function(features [N, d, h, w], there [N, h, w]) -> [N, d, h, w].

    Each picture's mean over its own cells is taken out; there: 1 where a cell is, 0 where the batch
    was filled up with zeros, which stay.
    """
    g = judge.generator(8)
    features, whole = torch.randn(2, 4, 5, 6, generator=g) + 1, torch.ones(2, 5, 6)
    there = whole.clone()
    there[0, :, 4:], there[1, 3:] = 0, 0
    cases = [
        Case("2 pictures of one size", (features, whole)),
        Case("2 pictures of several sizes", (features * there.unsqueeze(1), there)),
    ]
    well = "each picture's own mean is gone, and what is no cell stays zero"
    return judge.compare(function, _centred, cases, CENTRE_SLIPS, well)


# ---------------------------------------------------------------------- parts


def _joined(cells: Tensor, mask: Tensor, share: Tensor, centres: Tensor) -> Tensor:
    """Average the object's cells by their share in each part [N, n, h w]; an empty part stays."""
    weights = share * mask.flatten(1).unsqueeze(1)
    count = weights.sum(dim=2, keepdim=True)
    means = weights @ cells.flatten(2).transpose(1, 2) / count.clamp(min=1e-6)
    return torch.where(count > 0, means, centres)


def _cosines(cells: Tensor, centres: Tensor) -> Tensor:
    return F.normalize(centres, dim=2) @ F.normalize(cells, dim=1).flatten(2)


def _largest(values: Tensor) -> Tensor:
    """Mark with 1 the largest of n values [N, n, M]."""
    return F.one_hot(values.argmax(dim=1), values.shape[1]).movedim(-1, 1).float()


def _part_averages(cells: Tensor, mask: Tensor, centres: Tensor) -> Tensor:
    return _joined(cells, mask, _largest(_cosines(cells, centres)), centres)


def _with_share(share: Function) -> Function:
    return lambda x, m, c: _joined(x, m, share(x, c), c)


def _no_cells(value: float) -> Function:
    """Give a part without a cell this value."""
    return lambda x, m, c: _joined(x, m, _largest(_cosines(x, c)), torch.full_like(c, value))


def _counts(x: Tensor, m: Tensor, c: Tensor) -> Tensor:
    return (_largest(_cosines(x, c)) * m.flatten(1).unsqueeze(1)).sum(dim=2, keepdim=True)


SHARED = (
    "A cell belongs a little to each part: that is a step of EM. In k-means each cell joins one "
    "part."
)
PART_SLIPS = (
    Slip(lambda x, m, c: c, "The centres came back as they were."),
    Slip(lambda x, m, c: _part_averages(x, torch.ones_like(m), c),
         "Cells of the background joined the parts. Only the object's cells may."),
    Slip(_no_cells(torch.nan),
         "A part that no cell joined came out as NaN: 0 was divided by 0. It should stay where it "
         "was."),
    Slip(_no_cells(0.0),
         "A part that no cell joined came out as zero, and would never find a cell again. It "
         "should stay where it was."),
    Slip(_with_share(lambda x, c: _largest(c @ x.flatten(2))),
         "You compared by the product, which a long centre wins. The cosine does not ask how long "
         "a centre is."),
    Slip(_with_share(lambda x, c: _largest(-torch.cdist(c, x.flatten(2).transpose(1, 2)))),
         "You compared by the distance, which depends on how long a centre is. The cosine does "
         "not."),
    Slip(_with_share(lambda x, c: _largest(-_cosines(x, c))),
         "Each cell joined the centre that is least like it."),
    *(Slip(_with_share(lambda x, c, s=s: (s * _cosines(x, c)).softmax(dim=1)), SHARED)
      for s in (1, 10, 20)),
    Slip(lambda x, m, c: _part_averages(x, m, c) * _counts(x, m, c).clamp(min=1),
         "You added up the cells of each part. What is missing to make it an average?"),
    Slip(lambda x, m, c: torch.where(
        _counts(x, m, c) > 0,
        _part_averages(x, m, c) * _counts(x, m, c) / area(m)[:, :, None], c),
        "You divided by the cells of the whole object. How many cells has a part?"),
)  # fmt: skip


def part_averages(function: Function) -> bool:
    """Chapter 7, stretch: function(cells [N, d, h, w], mask [N, h, w], centres [N, n, d]).

    One step of k-means by cosine, for any n: new centres [N, n, d]. A part without a cell stays.
    """
    g = judge.generator(9)
    cells = F.normalize(torch.randn(2, 4, 5, 6, generator=g), dim=1)
    mask = (torch.rand(2, 5, 6, generator=g) > 0.4).float()
    length = torch.tensor([1.0, 0.4, 2.0])[:, None]
    centres = F.normalize(torch.randn(2, 3, 4, generator=g), dim=2) * length
    # Here all cells point to one side, and the last centre to the other.
    upward, shunned = F.normalize(cells.abs() + 0.2, dim=1), centres.abs()
    shunned = torch.cat([shunned, -shunned[:, :1]], dim=1)
    cases = [
        Case("2 objects and 3 centres", (cells, mask, centres)),
        Case("2 objects and 4 centres, one of which no cell joins", (upward, mask, shunned)),
    ]
    well = "each cell joins the centre that is most like it, and a part without cells stays"
    return judge.compare(function, _part_averages, cases, PART_SLIPS, well)


# ---------------------------------------------------------------- a rule of one's own


class _Pair(NamedTuple):
    """Cells [8, 12, 12] of a support and a query, with masks [12, 12]."""

    support: Tensor
    mask: Tensor
    query: Tensor
    truth: Tensor


def _pair(g: torch.Generator) -> _Pair:
    """Make two pictures of an object of two colours, before a wallpaper of their mixture."""
    one, other, ground = 2 * torch.linalg.qr(torch.randn(8, 3, generator=g)).Q.T
    kinds = torch.stack([ground, 0.6 * (one + other), one, other], dim=1)
    seen = []
    for _ in range(2):
        mask = torch.zeros(12, 12)
        top, left = torch.randint(1, 5, (2,), generator=g).tolist()
        mask[top : top + 6, left : left + 6] = 1
        parts = 2 + (torch.rand(12, 12, generator=g) < 0.4).long()
        grounds = (torch.rand(12, 12, generator=g) < 0.5).long()
        cells = kinds[:, torch.where(mask == 1, parts, grounds)]
        light = 0.4 * torch.randn(8, 1, 1, generator=g)
        cells = cells + light + 0.5 * torch.randn(8, 12, 12, generator=g)
        seen += [centre_all(cells[None])[0], mask]
    return _Pair(*seen)


def _map(function: Function, pair: _Pair) -> Tensor:
    result = judge.run(function, "two pictures of one object", *pair[:3])
    return judge.finite(result, "The map", tuple(pair.mask.shape))


def _plain(support: Tensor, mask: Tensor, query: Tensor) -> Tensor:
    v_s = vectors.masked_gap(support[None], mask[None])
    return vectors.cosine_map(query[None], v_s)[0].double()


def _check_map(function: Function, pair: _Pair, other: _Pair) -> None:
    """Ask for a map that listens to the support and to the query, and is no known one."""
    found = _map(function, pair)
    if found.amin() == found.amax():
        raise Mistake("Your map is the same everywhere.")
    if torch.equal(found, _map(function, pair._replace(query=other.query))):
        raise Mistake("Your map does not depend on the query.")
    changed = pair._replace(support=other.support, mask=other.mask)
    if torch.equal(found, _map(function, changed)):
        raise Mistake("Your map does not depend on the support: how could it know what to find?")
    plain = _plain(*pair[:3])
    if torch.equal(found.flatten().argsort(), plain.flatten().argsort()):
        raise Mistake("That is the cosine to the object's average: it ranks all cells alike.")


@judge.told
def own_rule(function: Function) -> str:
    """Chapter 7, open: function(support [d, h, w], mask [h, w], query [d, h, w]) -> map [h, w].

    Higher on the object; cut as well as can be, it must beat the cosine to v_s.
    """
    g = judge.generator(10)
    pairs = [_pair(g) for _ in range(13)]
    for pair in pairs[:12]:
        _check_map(function, pair, pairs[12])
    mine, theirs = (
        torch.tensor([best_cut(rule(p).float(), p.truth).iou for p in pairs[:12]])
        for rule in (lambda p: _map(function, p), lambda p: _plain(*p[:3]))
    )
    turned = torch.tensor([best_cut(-_map(function, p).float(), p.truth).iou for p in pairs[:12]])
    if turned.mean() > 1.5 * mine.mean():
        raise Mistake("Your map is lower on the object than beside it, like a negative.")
    numbers = (
        f"best IoU {mine.mean():.2f} on 12 made-up pairs, by the cosine to the average "
        f"{theirs.mean():.2f}"
    )
    if mine.mean() > theirs.mean() and (mine > theirs).sum() >= 8:
        return numbers
    raise Mistake(f"Your map does not beat the cosine to the average: {numbers}.")
