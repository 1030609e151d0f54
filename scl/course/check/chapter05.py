"""Chapter 5: a prior of several supports, a ring of CANet's ASPP, a map of one's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import judge
from .judge import Case, Function, Mistake, Slip


def _nearest(cosines: Tensor, masks: Tensor) -> Tensor:
    """Find each query cell's best object cell of each support: [N, K, m]."""
    return (cosines * masks.unsqueeze(2)).amax(dim=3)


def _stretched(maps: Tensor, over: tuple[int, ...] = (2,), least: float = 1e-7) -> Tensor:
    """Stretch maps to 0..1; a flat one gives 0, or NaN where `least` is 0."""
    low, high = maps.amin(dim=over, keepdim=True), maps.amax(dim=over, keepdim=True)
    return (maps - low) / (high - low).clamp(min=least)


def _several(cosines: Tensor, masks: Tensor) -> Tensor:
    return _stretched(_nearest(cosines, masks)).mean(dim=1)


def _average_cosine(cosines: Tensor, masks: Tensor) -> Tensor:
    area = masks.sum(dim=2).clamp(min=1).unsqueeze(2)
    return (cosines * masks.unsqueeze(2)).sum(dim=3) / area


ALL_CELLS = (
    "The masks make no difference: cells outside the object are asked, too. Of a support, only the "
    "object's cells count."
)
PRIOR_SLIPS = (
    Slip(lambda c, m: _stretched(c.amax(dim=3)).mean(dim=1), ALL_CELLS),
    Slip(lambda c, m: c.amax(dim=3).mean(dim=1), ALL_CELLS),
    Slip(lambda c, m: _several(c, 1 - m),
         "You asked the cells outside the mask. Where is the mask 1?"),
    Slip(lambda c, m: _nearest(c, m).mean(dim=1),
         "Nothing is stretched. The cosines lie close together; each support's map must reach from "
         "0 to 1 before it is averaged."),
    Slip(lambda c, m: _stretched(_nearest(c, m).mean(dim=1), (1,)),
         "You averaged the supports first and stretched the average. Then a support whose cosines "
         "spread more has more to say; stretch each of them, then average."),
    Slip(lambda c, m: _stretched(_nearest(c, m)).amax(dim=1),
         "You took the best of the supports. The text asks for their average."),
    Slip(lambda c, m: _stretched(_nearest(c, m), (1, 2)).mean(dim=1),
         "All supports of an episode were stretched together: one lowest and one highest number "
         "for all of them. Each map has its own."),
    Slip(lambda c, m: _stretched(_nearest(c, m), (0, 1, 2)).mean(dim=1),
         "The whole batch was stretched together: an episode's map would depend on its "
         "neighbours in the batch."),
    Slip(lambda c, m: _stretched(_average_cosine(c, m)).mean(dim=1),
         "You averaged over the object's cells. The prior asks for the nearest one alone."),
    Slip(lambda c, m: (_nearest(c, m) / _nearest(c, m).amax(dim=2, keepdim=True).clamp(min=1e-7))
         .mean(dim=1),
         "You divided by the highest number alone. What becomes of the lowest one?"),
    Slip(lambda c, m: _stretched(_nearest(c, m), least=0).mean(dim=1),
         "An empty mask made a map NaN: all its numbers are equal, so 0 was divided by 0. Such a "
         "support has nothing to say, that is, 0 everywhere."),
)  # fmt: skip


def several_priors(function: Function) -> bool:
    """Chapter 5, core: function(cosines [N, K, m, n], masks [N, K, n]) -> [N, m].

    The prior of K supports: each one's, stretched to 0..1, and their average. Cosines lie in 0..1;
    m cells of the query, n of a support.
    """
    g = judge.generator(8)

    def case(given: str, n: int, k: int) -> Case:
        spread = torch.rand(n, k, 1, 1, generator=g)
        cosines = 0.2 + 0.3 * spread + (0.2 + 0.3 * spread) * torch.rand(n, k, 6, 9, generator=g)
        masks = (torch.rand(n, k, 9, generator=g) > 0.6).float()
        masks[:, :, 0], masks[:, :, 1] = 1, 0
        return Case(given, (cosines, masks))

    cases = [case("2 episodes of 3 supports", 2, 3), case("3 episodes of a single support", 3, 1)]
    empty = case("an empty mask among 2 supports", 2, 2)
    empty.inputs[1][0, 1] = 0
    well = "each support has its own scale, and all of them count the same"
    return judge.compare(function, _several, [*cases, empty], PRIOR_SLIPS, well)


def _ring(x: Tensor, weight: Tensor, rate: int) -> Tensor:
    return F.conv2d(x, weight, padding=rate, dilation=rate)


def _at_the_rim(x: Tensor, weight: Tensor, rate: int) -> Tensor:
    around = F.pad(x, (rate,) * 4, mode="replicate")
    return F.conv2d(around, weight, dilation=rate)


RING_SLIPS = (
    Slip(lambda x, w, r: _ring(x, w, 1),
         "The rate makes no difference: you asked the direct neighbours. A ring of rate 2 asks "
         "the cells two steps away."),
    Slip(lambda x, w, r: _ring(x, w.flip(2, 3), r),
         "The weights are turned around: the upper left weight belongs to the cell on the upper "
         "left of the one that is computed."),
    Slip(lambda x, w, r: _ring(x, w.transpose(2, 3), r),
         "Rows and columns of the weights are exchanged."),
    Slip(_at_the_rim,
         "At the rim you repeated the last cells. Outside the picture there is nothing: zeros."),
    Slip(lambda x, w, r: F.conv2d(x, w, dilation=r),
         "The map became smaller: cells at the rim are missing. Outside the picture count zeros."),
    Slip(lambda x, w, r: _ring(x, w, r) / 9,
         "You took the mean of the nine places; a convolution adds them up."),
)  # fmt: skip


def ring(function: Function) -> bool:
    """Chapter 5, stretch: function(x [N, c, h, w], weight [d, c, 3, 3], rate) -> [N, d, h, w].

    A 3 x 3 convolution whose nine cells lie `rate` apart, with zeros outside the map.
    """
    g, cases = judge.generator(9), []
    for rate in (2, 3):
        inputs = torch.randn(2, 3, 7, 8, generator=g), torch.randn(4, 3, 3, 3, generator=g)
        cases.append(Case(f"rate {rate}", (*inputs, rate)))
    well = "nine cells, further apart with the rate, and zeros outside"
    return judge.compare(function, _ring, cases, RING_SLIPS, well)


def ranked_right(values: Tensor, truth: Tensor) -> float:
    """Count the pairs, of an object cell and another one, in which the object's is higher."""
    inside, outside = values[truth == 1][:, None], values[truth != 1][None]
    return float(((inside > outside).double() + (inside == outside).double() / 2).mean())


def _prior(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Find each query cell's cosine to the nearest object cell: [h, w]."""
    cells = F.normalize(support[:, mask == 1], dim=0)
    return (F.normalize(query, dim=0).flatten(1).T @ cells).amax(dim=1).reshape(query.shape[1:])


def _made_up(count: int = 40, channels: int = 12, side: int = 9) -> list[tuple[Tensor, ...]]:
    """Make episodes (query, support, mask, truth): an object on a ground, under two lights.

    All cells of a picture share its light, which is stronger than what tells them apart, as it is
    with the features of a network that was trained to name whole pictures.
    """
    g = judge.generator(10)
    episodes: list[tuple[Tensor, ...]] = []
    for _ in range(count):
        thing, ground = torch.randn(2, channels, 1, 1, generator=g)
        pictures = []
        for _ in range(2):
            top, left = torch.randint(1, 5, (2,), generator=g).tolist()
            mask = torch.zeros(side, side)
            mask[top : top + 3, left : left + 4] = 1
            light = 3 * torch.randn(channels, 1, 1, generator=g)
            noise = 1.3 * torch.randn(channels, side, side, generator=g)
            pictures.append((torch.where(mask == 1, thing, ground) + light + noise, mask))
        (query, truth), (support, mask) = pictures
        episodes.append((query, support, mask, truth))
    return episodes


LEAD = 5  # points by which a map must beat the prior


@judge.told
def own_map(function: Function) -> str:
    """Chapter 5, open: function(query [C, h, w], support [C, h, w], mask [h, w]) -> map [h, w].

    Higher where the query is more likely to show the object, on any scale; it must rank more pairs
    of cells right than the prior does, by LEAD points at least.
    """
    mine, theirs = [], []
    for query, support, mask, truth in _made_up():
        result = judge.run(function, "a made-up episode", query, support, mask)
        values = judge.finite(result, "The map", tuple(mask.shape))
        if values.amax() == values.amin():
            raise Mistake("The map is the same everywhere: expected higher numbers on the object.")
        mine.append(ranked_right(values, truth))
        theirs.append(ranked_right(_prior(query, support, mask), truth))
    right, prior = (100 * sum(shares) / len(shares) for shares in (mine, theirs))
    numbers = f"your map ranks {right:.0f} % of the pairs right, PFENet's prior {prior:.0f} %"
    if right > prior + LEAD:
        return numbers
    if right < 50:
        raise Mistake(f"Is the map upside down? {numbers}; expected about 50 % from pure chance.")
    raise Mistake(
        f"Not clearly better than the prior: {numbers}. What do all cells of a picture have in "
        "common, and what would be left without it?"
    )
