"""Chapter 9: what may be compared, who computes which cell, and what to spend hours on."""

from __future__ import annotations

import torch
from torch import Tensor

from . import judge
from .judge import Case, Function, Mistake, Slip


def _numbers(cells: Tensor) -> str:
    return ", ".join(f"{cell:g}" for cell in cells.tolist())


def _check_shares(shares: list[Tensor], cells: Tensor) -> None:
    """Ask that every cell is computed by one job, and that no job has two more than another."""
    tasks = len(shares)
    for task, own in enumerate(shares):
        strange = own[~torch.isin(own, cells)]
        if len(strange):
            raise Mistake(
                f"Job {task} of {tasks} took {strange[0]:g}, which is no cell of the list of "
                f"{len(cells)}; expected about {len(cells) / tasks:.0f} of its numbers as they are."
            )
    taken = torch.cat(shares)
    left = cells[~torch.isin(cells, taken)]
    counts = torch.stack([(taken == cell).sum() for cell in cells])
    where = f"with {len(cells)} cells and {tasks} jobs"
    if len(left):
        raise Mistake(
            f"Nobody computes {_numbers(left)} {where}; expected each cell in one job. What becomes"
            " of the rest of a division, and does your first job have the number 0?"
        )
    if (counts > 1).any():
        raise Mistake(f"{_numbers(cells[counts > 1])} is computed by more than one job {where}.")
    sizes = [len(own) for own in shares]
    if max(sizes) - min(sizes) > 1:
        raise Mistake(
            f"Job sizes {', '.join(map(str, sizes))} {where}: while the longest runs, others "
            "idle. None needs two cells more than another."
        )


@judge.told
def share(function: Function) -> str:
    """Chapter 9, core: function(cells [N], task, tasks) -> the cells of one job, [n].

    task counts from 0 to tasks - 1. Every cell belongs to one job, and sizes differ by 1 at most.
    """
    for count, tasks in ((8, 4), (9, 4), (2, 5)):
        cells, shares = torch.arange(20, 20 + count), []
        for task in range(tasks):
            given = f"{count} cells, as job {task} of {tasks}"
            own = judge.run(function, given, cells, task, tasks)
            (own,) = judge.parts_of(own, ("the cells of a job",))
            if own.dim() != 1:
                raise Mistake(f"The cells of a job have shape {list(own.shape)}, expected [n].")
            shares.append(judge.finite(own, "The cells of a job", (None,)) if len(own) else own)
        _check_shares(shares, cells.double())
    return "each cell is computed once, and no job waits long for another"


def _may_compare(settings: Tensor) -> Tensor:
    """Tell which rows agree in every setting and know all of theirs; a row always with itself."""
    same = (settings[:, None] == settings[None]).all(dim=2)
    known = (settings >= 0).all(dim=1)
    return (same & known[:, None]) | torch.eye(len(settings), dtype=torch.bool)


COMPARE_SLIPS = (
    Slip(lambda s: (s[:, None] == s[None]).any(dim=2),
         "Rows that agree in any one setting pass; they must agree in all of them."),
    Slip(lambda s: (s[:, None] == s[None]).all(dim=2),
         "Two rows with an unknown setting (-1) pass as equal. What two papers do not say need "
         "not be the same."),
    Slip(lambda s: s[:, None, 0] == s[None, :, 0],
         "Only the first setting is compared. The others decide, too."),
    Slip(lambda s: (s[:, None] == s[None]).float().mean(dim=2),
         "You give the share of settings that agree. Asked for is yes or no: nearly alike is "
         "not comparable."),
    Slip(lambda s: (s[:, None] == s[None]).sum(dim=2),
         "You give how many settings agree. Asked for is yes or no."),
    Slip(lambda s: _may_compare(s) & ~torch.eye(len(s), dtype=torch.bool),
         "A row is always comparable with itself: the diagonal is 1."),
    Slip(lambda s: (s[:, None] == s[None]).all(dim=2) & (s >= 0).all(dim=1)[:, None],
         "A row with an unknown setting is not comparable even with itself in your table; the "
         "diagonal is 1."),
    Slip(lambda s: ((s[:, None] == s[None]) | (s[:, None] < 0) | (s[None] < 0)).all(dim=2),
         "An unknown setting (-1) passes as equal to anything. Unknown means that nobody can "
         "tell."),
    Slip(lambda s: ~_may_compare(s),
         "Yes and no are exchanged: 1 where two rows may be compared."),
)  # fmt: skip


def comparable(function: Function) -> bool:
    """Chapter 9, stretch: function(settings [R, S]) -> [R, R] of 0 and 1, or bool.

    Whether two rows may be compared: all settings equal, and none of them unknown (-1).
    """
    settings = torch.tensor(
        [[0, 1, 2], [0, 1, 2], [0, 1, 3], [0, -1, 2], [0, -1, 2], [3, 4, 5], [-1, -1, -1]]
    )
    few = torch.tensor([[1, 1], [0, 1], [1, 1]])
    cases = [Case("7 rows of 3 settings", (settings,)), Case("3 rows of 2 settings", (few,))]
    well = "only rows that agree in all that is known, and in which all is known, are compared"
    return judge.compare(function, _may_compare, cases, COMPARE_SLIPS, well)


def _half_width(pairs: Tensor) -> float:
    """Say how wide 95 % of a difference is, for a spread over seeds of 1, by pairs a fold [F].

    As scl.study.differences has it: Student's t, folds fixed, spread pooled over them.
    """
    from scipy.stats import t  # here, for scipy.stats is slow to import

    freedom = int((pairs - 1).sum())
    return float(t.ppf(0.975, freedom)) * float((1 / pairs).sum()) ** 0.5 / len(pairs)


def _check_plan(runs: Tensor, hours: Tensor, budget: float) -> Tensor:
    """Ask for a plan that can be run and answers the question; return the pairs of each fold."""
    if (runs < 0).any() or (runs != runs.round()).any():
        raise Mistake("Numbers of runs must be whole, and none of them negative.")
    cost, pairs = float((hours[:, None] * runs).sum()), runs.amin(dim=0)
    if cost > budget:
        raise Mistake(f"Your plan takes {cost:.0f} hours, and there are {budget:.0f}.")
    if (pairs == 0).any():
        raise Mistake(
            "A fold has runs of one system alone, or none: the benchmark's mean is over four "
            "folds, and a difference needs both systems in each."
        )
    if (runs[0] != runs[1]).any():
        raise Mistake(
            "A fold has more runs of one system than of the other. The difference is taken "
            "within a fold and seed: a run without its partner is wasted."
        )
    if (pairs == 1).all():
        raise Mistake(
            "Every fold has a single seed. Then nobody can say how far another seed would have "
            "moved the difference."
        )
    if budget - cost >= float(hours.sum()):
        raise Mistake(
            f"{budget - cost:.0f} hours are left, enough for another pair of runs, and it would "
            "make the interval narrower."
        )
    return pairs


@judge.told
def plan(function: Function) -> str:
    """Chapter 9, open: function(hours [2], budget) -> runs [2, 4], seeds of each system and fold.

    hours: of one run of the baseline, and of one of SCL; budget: hours in all.
    """
    said = []
    for cost, budget in (((3.4, 4.8), 100.0), ((1.3, 2.4), 60.0)):
        hours = torch.tensor(cost, dtype=torch.float64)
        result = judge.run(function, f"hours {cost[0]} and {cost[1]}, {budget:g} in all", hours,
                           budget)  # fmt: skip
        runs = judge.finite(result, "The plan", (2, 4))
        pairs = _check_plan(runs, hours, budget)
        width, many = _half_width(pairs), int(pairs.sum())
        even = torch.full((4,), many // 4, dtype=torch.float64)
        even[: many % 4] += 1
        if width > _half_width(even) + 1e-9:
            raise Mistake(
                f"With {many} pairs shared out as {_numbers(pairs)} the interval reaches "
                f"{width:.2f} spreads to each side; there is a way of sharing them out with "
                f"{_half_width(even):.2f}."
            )
        said.append(f"{many} pairs for {budget:.0f} hours, interval of {width:.2f} spreads a side")
    return "; ".join(said)
