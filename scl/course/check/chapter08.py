"""Chapter 8: choosing a checkpoint, the released reading of a split, two switches."""

from __future__ import annotations

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


def _answers(function: Function, x: Tensor) -> dict[tuple[bool, bool], Tensor]:
    """Run a program with both switches off, each alone, and both on; see that masks come out."""
    answers = {}
    for a, b in ((False, False), (True, False), (False, True), (True, True)):
        given = f"a {'on' if a else 'off'} and b {'on' if b else 'off'}"
        found = judge.run(function, given, x, a, b)
        answers[a, b] = judge.finite(found, f"the mask with {given}", tuple(x.shape))
        judge.check_holds(answers[a, b], f"the mask with {given}", 0, 1)
    return answers


@judge.told
def silent_switches(function: Function) -> str:
    """Chapter 8, open: function(x [h, w] in 0..1, a, b) -> mask [h, w] of 0 and 1.

    a and b are switches, True or False. Each alone changes nothing, both together change pixels.
    """
    pictures, pixels = torch.rand(3, 8, 9, generator=judge.generator(10)), 0
    for x in pictures:
        masks = _answers(function, x)
        off = masks[False, False]
        for name, turned in (("a", (True, False)), ("b", (False, True))):
            if many := int((masks[turned] != off).sum()):
                raise Mistake(
                    f"{name} alone changes {many} of {off.numel()} pixels. A table of single "
                    "switches would show it: let it matter only where the other is on, too."
                )
        pixels += int((masks[True, True] != off).sum())
    if pixels == 0:
        raise Mistake(
            "Both together change nothing either. What could one switch let through that only "
            "the other looks at?"
        )
    share = pixels / pictures.numel()
    return f"each alone changes 0 % of the pixels, both together {share:.0%}"
