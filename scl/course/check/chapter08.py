"""Chapter 8: choosing a checkpoint, the released reading of a split, two ways to average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scl.method import vectors

from . import judge
from .judge import Case, Function, Mistake, Slip


def _chosen(validation: Tensor, novel: Tensor) -> Tensor:
    """Read each run's novel score at its best checkpoint on validation classes."""
    return novel.gather(1, validation.argmax(dim=1, keepdim=True)).squeeze(1)


CHOICE_SLIPS = (
    Slip(lambda v, n: n.amax(dim=1),
         "You chose on the novel classes, the ones you report. The validation scores must choose; "
         "the novel score is only read."),
    Slip(lambda v, n: v.amax(dim=1),
         "You reported the score that did the choosing, and that one flatters. Report the novel "
         "score of the chosen checkpoint."),
    Slip(lambda v, n: n[:, int(v.mean(dim=0).argmax())],
         "You chose one checkpoint for all runs. Each run chooses its own."),
    Slip(lambda v, n: n[:, -1],
         "You took the last checkpoint of each run. It need not be the best on validation."),
    Slip(lambda v, n: n.mean(dim=1),
         "You averaged over the checkpoints. One of them is chosen, and only its score counts."),
    Slip(lambda v, n: n.gather(1, v.argmin(dim=1, keepdim=True)).squeeze(1),
         "You took the checkpoint that is worst on validation."),
    Slip(lambda v, n: n[:, v.argmax(dim=1)],
         "You picked every run's checkpoint in every run: a whole table came out. Run r needs "
         "its own checkpoint only."),
    Slip(lambda v, n: n.gather(1, v.argmax(dim=1, keepdim=True)),
         "The numbers are right, but they stand in a column [R, 1]; asked for is [R]."),
    Slip(lambda v, n: _chosen(v, n).mean(),
         "You averaged over the runs. Return one score for each of them: their spread is needed, "
         "too."),
)  # fmt: skip


def honest_choice(function: Function) -> bool:
    """Chapter 8, core: function(validation [R, C], novel [R, C]) -> novel scores [R].

    R runs with C checkpoints each; every run's checkpoint is chosen by its validation score.
    """
    g = judge.generator(8)
    cases = [
        Case(f"{r} runs of {c} checkpoints", tuple(torch.rand(2, r, c, generator=g).unbind()))
        for r, c in ((6, 4), (3, 7))
    ]
    well = "validation classes choose, and the novel classes are only read"
    return judge.compare(function, _chosen, cases, CHOICE_SLIPS, well)


def _soft_scene() -> tuple[Tensor, Tensor]:
    """Make a mask [2, 6, 7] with soft cells at its border, and a prediction of 0 and 1."""
    g = judge.generator(9)
    mask = (torch.rand(2, 6, 7, generator=g) * 1.8 - 0.4).clamp(0, 1)
    return mask, (torch.rand(2, 6, 7, generator=g) > 0.4).float()


RELEASED_SLIPS = (
    Slip(lambda m, p: vectors.split_regions(m, p),
         "That is the paper's split: a soft cell counts with its share. The released code tests a "
         "sum for being exactly 2 or exactly 1."),
    Slip(lambda m, p: vectors.split_regions(m, p, "truncated"),
         "You cut off what stands behind the decimal point first, as the released CANet variant "
         "does. Here the sum is tested as it is."),
    Slip(lambda m, p: ((p + m == 2).float(), (p + m == 1).float()),
         "lost holds false alarms: a cell outside the mask that was predicted also has the sum 1."),
    Slip(lambda m, p: ((p + m > 1).float(), None),
         "found holds soft cells: their sum lies between 1 and 2, and is not exactly 2."),
    Slip(lambda m, p: ((p + m >= 1).float(), None),
         "found holds whatever has a sum of 1 or more; the test asks for exactly 2."),
    Slip(lambda m, p: ((m.round() + p == 2).float(), None),
         "You rounded the soft mask first. Then nothing is lost between the two, and the point of "
         "this reading is gone."),
    Slip(lambda m, p: (None, m - (p + m == 2).float()),
         "lost holds all that is not found, soft cells and all. The released test leaves those "
         "out."),
    Slip(lambda m, p: (None, m - p),
         "lost goes below zero where something was predicted outside the mask: a mask minus a "
         "prediction is no region."),
)  # fmt: skip


def released_regions(function: Function) -> bool:
    """Chapter 8, stretch: function(mask [N, h, w], predicted [N, h, w]) -> (found, lost).

    The split of the released PFENet variant: mask in 0..1, predicted of 0 and 1, both float.
    """
    cases = [Case("2 soft masks with their predictions", _soft_scene())]
    well = "found, lost, and soft cells in neither, as the released code has it"

    def right(mask: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        return vectors.split_regions(mask, predicted, "exact")

    return judge.compare(function, right, cases, RELEASED_SLIPS, well, ("found", "lost"))


def _two_scores(counts: Tensor, labels: Tensor) -> tuple[float, float]:
    """Score counts [E, 2] twice: the mean over episodes, and mIoU, which pools each class."""
    pooled = torch.stack([counts[labels == c].sum(dim=0) for c in labels.unique()])
    by_episode, by_class = ((x[:, 0] / x[:, 1]).mean() for x in (counts, pooled))
    return float(by_episode), float(by_class)


def _check_counts(counts: Tensor, name: str) -> None:
    """Ask for counts of pixels as they can come out."""
    if (counts < 0).any() or (counts != counts.round()).any():
        raise Mistake(f"{name} must hold whole numbers of pixels, none of them negative.")
    if (counts[:, 1] == 0).any():
        raise Mistake(f"{name} has an episode with an empty union: its IoU is 0 divided by 0.")
    if (counts[:, 0] > counts[:, 1]).any():
        raise Mistake(f"{name} has an intersection larger than its union.")


@judge.told
def two_orders(*answer: Any) -> str:
    """Chapter 8, open: a, b [E, 2] and labels [E], or a function that returns them.

    Rows are (intersection, union) of the same episodes under two methods. a must win by the mean
    over episodes, and b by mIoU.
    """
    values = judge.values_of(answer, ("a", "b", "labels"))
    a = judge.finite(values[0], "a", (None, 2))
    b = judge.finite(values[1], "b", tuple(a.shape))
    labels = judge.finite(values[2], "labels", (len(a),))
    for counts, name in ((a, "a"), (b, "b")):
        _check_counts(counts, name)
    (a_mean, a_miou), (b_mean, b_miou) = (_two_scores(counts, labels) for counts in (a, b))
    numbers = (
        f"mean over episodes: a {a_mean:.3f}, b {b_mean:.3f}; mIoU: a {a_miou:.3f}, b {b_miou:.3f}"
    )
    if a_mean > b_mean and b_miou > a_miou:
        return numbers
    if b_mean > a_mean and a_miou > b_miou:
        raise Mistake(f"The orders differ, but the other way round: exchange a and b ({numbers}).")
    hint = "An episode with few pixels weighs as much as any in one of the two, and little in the "
    raise Mistake(f"Both averages do not disagree yet ({numbers}). {hint}other.")
