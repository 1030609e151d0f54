"""Chapter 1: the scores of an episode, of a class, of a method, and how many episodes they need."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scl.method import metric

from . import judge
from .judge import Case, Function, Mistake, Slip

CONFIDENT = 1.96  # standard errors on either side of a mean, for 95 %


def _miou(found: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
    return torch.tensor(metric.mean_iou(metric.count_pixels(found, truth).numpy(), labels.numpy()))


def _each(above: Tensor, below: Tensor) -> Tensor:
    """Divide what was counted in each episode: two [E, H, W] of truth values to [E]."""
    return above.sum(dim=(1, 2)) / below.sum(dim=(1, 2))


def _by_class(above: Tensor, below: Tensor, labels: Tensor) -> Tensor:
    """Add up over each class's episodes, then divide: two [E, H, W] to [C]."""
    members = [labels == label for label in labels.unique()]
    return torch.stack([above[m].sum() / below[m].sum() for m in members])


def _as_bits(found: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
    return _by_class(found & truth, found | truth, labels).mean()


def _of_both(f: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    counts = metric.count_pixels(f, t).numpy()
    members = [(labels == label).numpy() for label in labels.unique()]
    return torch.tensor([metric.fb_iou(counts[m]) for m in members]).mean()


def _known(function: Function) -> Function:
    """Hand a slip the cells that are found and true, those that are either, both, and the truth."""

    def slip(found: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        known = truth != metric.IGNORE
        f, t = (found == 1) & known, truth == 1
        return function(f, t, labels)

    return slip


UNKNOWN_COUNTS = (
    "Pixels with the value 255 were counted as {}. Nobody knows what they show, so they count "
    "neither in the intersection nor in the union, whatever was found there."
)
MIOU_SLIPS = (
    Slip(_known(lambda f, t, n: _by_class(f & t, f | t, n)),
         "That is the IoU of each class. One number is asked for: how do they come together?"),
    Slip(_known(lambda f, t, n: _each(f & t, f | t)),
         "That is the IoU of each episode. Add up over the episodes of a class before you divide."),
    Slip(_known(lambda f, t, n: _each(f & t, f | t).mean()),
         "You averaged the IoUs of single episodes. mIoU adds up intersections and unions over the "
         "episodes of a class first, and divides once for each class."),
    Slip(_known(lambda f, t, n: torch.stack(
            [_each(f & t, f | t)[n == c].mean() for c in n.unique()]).mean()),
         "The classes come together well, but within a class you averaged the IoUs of its "
         "episodes. Add up its pixels first, and divide once."),
    Slip(_known(lambda f, t, n: (f & t).sum() / (f | t).sum()),
         "All episodes were added up as if they were of one class: a class of large objects then "
         "decides the score. Each class gets an IoU of its own."),
    Slip(lambda f, t, n: _by_class((f == 1) & (t == 1), (f == 1) | (t == 1), n).mean(),
         UNKNOWN_COUNTS.format("background")),
    Slip(lambda f, t, n: _by_class((f == 1) & (t > 0), (f == 1) | (t > 0), n).mean(),
         UNKNOWN_COUNTS.format("object")),
    Slip(_as_bits,
         "The signs & and | took the numbers apart into bits, and 255 has the bit of 1 among its "
         "own. Compare with 1 first, so that they work on yes and no."),
    Slip(lambda f, t, n: _of_both(f, t, n),
         "The background has a share in your score. mIoU asks for the object alone."),
    Slip(_known(lambda f, t, n: _by_class(f & t, t, n).mean()),
         "You divided by the area of the truth: whoever marks the whole picture would get 1. "
         "Divide by what either of the two covers."),
    Slip(_known(lambda f, t, n: _by_class(f & t, f, n).mean()),
         "You divided by the area that was found: whoever marks one right pixel would get 1. "
         "Divide by what either of the two covers."),
    Slip(_known(lambda f, t, n: _by_class(f & t, f.long() + t, n).mean()),
         "You divided by both areas together; what they share is in there twice."),
)  # fmt: skip


def miou(function: Function) -> bool:
    """Chapter 1, core: function(found [E, H, W], truth [E, H, W], labels [E]) -> mIoU, a scalar.

    found holds 0 and 1, truth 0, 1 and 255 (unknown), both whole numbers; labels: classes.
    """
    g = judge.generator(8)
    cases = []
    for classes in ((3, 3, 3, 7, 7, 9), (5, 2, 2, 5)):
        count = len(classes)
        sizes = torch.linspace(0.15, 0.7, count)[torch.randperm(count, generator=g)]
        truth = (torch.rand(count, 6, 7, generator=g) < sizes[:, None, None]).long()
        right = torch.rand(count, 6, 7, generator=g) < torch.rand(count, 1, 1, generator=g)
        found = torch.where(right, truth, torch.randint(2, truth.shape, generator=g))
        truth[torch.rand(truth.shape, generator=g) < 0.15] = metric.IGNORE
        given = f"{count} episodes of {len(set(classes))} classes"
        cases.append(Case(given, (found, truth, torch.tensor(classes))))
    well = "pixels are added up over each class, and every class counts the same"
    return judge.compare(function, _miou, cases, MIOU_SLIPS, well)


def _needed(spread: Tensor, wanted: float, errors: float = CONFIDENT) -> Tensor:
    return ((errors * spread / wanted) ** 2).ceil()


NEEDED_SLIPS = (
    Slip(lambda a, b, w: _needed((a - b).std(), w / 2),
         "That many make the whole interval as wide as the wanted difference. Half of it is "
         "enough: the interval reaches as far to the left of its middle as to the right."),
    Slip(lambda a, b, w: _needed((a - b).std(), w, 1.0),
         "You counted one standard error on either side; 95 % need about two of them (1.96)."),
    Slip(lambda a, b, w: (CONFIDENT * (a - b).std() / w).ceil(),
         "So few episodes would do if the width shrank as 1/n. It shrinks as one over the root."),
    Slip(lambda a, b, w: _needed((a.var() + b.var()).sqrt(), w),
         "You treated the two methods as if each had met episodes of its own. They met the same "
         "ones: what spreads is the difference in each episode."),
    Slip(lambda a, b, w: _needed(a.std(), w),
         "That is the spread of one method. What spreads is the difference in each episode."),
    Slip(lambda a, b, w: _needed(b.std(), w),
         "That is the spread of one method. What spreads is the difference in each episode."),
    Slip(lambda a, b, w: _needed((a - b).var(), w),
         "The variance stands where the spread should: mind the root in a standard deviation."),
    Slip(lambda a, b, w: (CONFIDENT * (a - b).std() / w) ** 2,
         "A fraction of an episode came out; round up, to be sure."),
    Slip(lambda a, b, w: _needed((a - b).std(), w) - 1,
         "One too few: rounded down, the interval is still a little too wide."),
)  # fmt: skip


def episodes_needed(function: Function) -> bool:
    """Chapter 1, stretch: function(a [E], b [E], wanted) -> a whole number, as a scalar tensor.

    a, b: the IoUs of two methods in the same episodes, 0..1; wanted: half the width that a 95 %
    interval of their mean difference shall have.
    """
    g, cases = judge.generator(9), []
    for wanted in (0.03, 0.05):
        episode = 0.4 + 0.15 * torch.randn(2000, generator=g)
        a, b = (episode + s * torch.randn(2000, generator=g) for s in (0.08, 0.1))
        cases.append(Case(f"2000 paired scores and a difference of {wanted}", (a, b, wanted)))

    def right(a: Tensor, b: Tensor, wanted: float) -> Tensor:
        return _needed((a - b).std(), wanted)

    well = "half the interval is then no wider than the difference"
    return judge.compare(function, right, cases, NEEDED_SLIPS, well)


def _two_scores(found: Tensor, truth: Tensor) -> tuple[float, float]:
    """Score a method on one class: pixels added up first, and the mean of its episodes' IoUs."""
    counts = metric.count_pixels(found, truth)[:, :2].double()
    summed, each = counts.sum(dim=0), counts[:, 0] / counts[:, 1].clamp(min=1)
    return float(summed[0] / summed[1].clamp(min=1)), float(each.mean())


@judge.told
def averages_disagree(*answer: Any) -> str:
    """Chapter 1, open: (a, b, truth), each [E, h, w] of 0 and 1: which method is better?

    By pixels added up over all episodes a must be better, by the mean of episodes' IoUs b. Takes
    the three tensors, a tuple of them, or a function without arguments that returns it.
    """
    names = ("a [E, h, w]", "b [E, h, w]", "truth [E, h, w]")
    a, b, truth = judge.values_of(answer, names)
    truth = judge.finite(truth, "truth", (None, None, None))
    a, b = (judge.finite(x, name, tuple(truth.shape)) for x, name in ((a, "a"), (b, "b")))
    for tensor, name in ((a, "a"), (b, "b"), (truth, "truth")):
        judge.check_holds(tensor, name, 0, 1)
    if (truth.sum(dim=(1, 2)) == 0).any():
        raise Mistake("There is an episode without an object in its truth.")
    if len(truth) == 1:
        raise Mistake("With a single episode both ways to average are the same; take two or more.")
    (sum_a, mean_a), (sum_b, mean_b) = (_two_scores(found, truth) for found in (a, b))
    _check_disagree(sum_a - sum_b, mean_a - mean_b)
    return (
        f"added up, a has {sum_a:.2f} and b {sum_b:.2f}; by the mean of episodes, a has "
        f"{mean_a:.2f} and b {mean_b:.2f}"
    )


def _check_disagree(added: float, averaged: float) -> None:
    """Ask for a gain of `a` over `b` where pixels are added up, and a loss by the mean."""
    names = {"pixels added up": added, "the mean of episodes": averaged}
    for name, gain in names.items():
        if math.isclose(gain, 0, abs_tol=1e-6):
            raise Mistake(f"By {name}, a and b are equally good: nothing is preferred.")
    if added < 0 < averaged:
        raise Mistake("They do disagree, but the other way round: exchange a and b.")
    if added * averaged > 0:
        better = "a" if added > 0 else "b"
        raise Mistake(
            f"Both ways prefer {better}. Which episodes count for more when pixels are added up? "
            "Let a be good at those, and b at the others."
        )
