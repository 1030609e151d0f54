"""What is run for the stored tables: every cell, under which protocol, and in which order.

A cell is (data, head, variant, fold, seed, stage). Running a cell (`cells`) writes one JSON and
does nothing if it is there already, so any scheduler can take the missing ones (`python -m scl run
--list`).

Everything is chosen on base classes held out for it, in two stages: "tuning" cells choose learning
rate and dropout, "plateau" cells the number of steps. "final" cells train on all base classes and
are the only ones a table reads. No choice reads a score on novel classes: plateau cells score them
too, to show over-fitting. (How the rule for the steps came about, the README tells.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scl.datasets.folds import FOLDS
from scl.datasets.toyshop import NOVEL_PER_CLASS, PER_CLASS
from scl.method.rules import SELF_GUIDED, V_S, V_S_L1, Guidance

ROOT = Path(__file__).resolve().parents[2]
RESULTS, KEPT = ROOT / "results", ROOT / "data" / "heads"
SEEDS = (0, 1, 2)
KEPT_SEED = 0  # whose heads are kept for the chapters
FUSIONS = ("average", "vectors", "cross")
Stage = Literal["tuning", "plateau", "final"]

# The trained variants: Tables 4 to 6 of the paper, and one that trains for as many seconds as
# "scl", not as many steps.
GUIDED: dict[str, Guidance] = {
    "v_s": V_S,
    "v_s+L1": V_S_L1,
    "pri": Guidance(("pri",)),
    "aux": Guidance(("aux",)),
    "all": Guidance(("s", "pri", "aux")),
    "scl-none": Guidance(loss_s1=False, loss_s2=False),
    "scl-L1": Guidance(loss_s2=False),
    "scl-L2": Guidance(loss_s1=False),
    "scl": SELF_GUIDED,
    "v_s-seconds": V_S,
}
UNTRAINED = ("foreground", "cosine")
VARIANTS = UNTRAINED + tuple(GUIDED)
CORE = ("v_s", "v_s+L1", "scl")  # those with tuning cells of their own
FIVE_SHOT = ("cosine", "v_s", "scl")  # those that are also scored with five supports
BY_GRID: dict[tuple[str, str], tuple[str, ...]] = {
    ("toyshop", "canet"): VARIANTS,
    ("toyshop", "pfenet"): CORE,
}

# What tuning tries for each variant, with the same budget: (peak learning rate, dropout).
TRIALS = ((3e-3, 0.0), (1e-2, 0.0), (1e-2, 0.3))


@dataclass(frozen=True)
class Protocol:
    """How much is trained and tested in a cell.

    ladder: the numbers of steps that plateau cells try; slack: mIoU by which the chosen number may
    stay below the best of the ladder; tuning_steps: of every trial of tuning; seconds_factor: how
    many steps of "v_s" take the time of one of "scl" (measured on one thread); per_class,
    novel_per_class: scenes; one_shot, five_shot: novel episodes; held_out: base classes set aside
    while choosing; size: pixels a side.
    """

    ladder: tuple[int, ...] = (250, 500, 1000, 2000)
    slack: float = 0.01
    tuning_steps: int = 500
    seconds_factor: float = 2.3
    per_class: int = PER_CLASS
    novel_per_class: int = NOVEL_PER_CLASS
    one_shot: int = 500
    five_shot: int = 200
    held_out: int = 3
    size: int = 128


@dataclass(frozen=True)
class Cell:
    """One entry of a table; in the stages before "final", held-out base classes are tested."""

    data: str
    head: str
    variant: str
    fold: int
    seed: int
    stage: Stage = "final"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r}: expected one of {VARIANTS}")
        if self.data != "toyshop":
            raise ValueError(f"data {self.data!r}: expected 'toyshop'")
        if self.stage not in ("tuning", "plateau", "final"):
            raise ValueError(f"stage {self.stage!r}: expected tuning, plateau or final")

    @property
    def command(self) -> str:
        """What a scheduler calls to compute this cell (earlier stages first)."""
        line = f"python -m scl run --data {self.data} --head {self.head} --fold {self.fold}"
        return f"{line} --seed {self.seed} --variant {self.variant} --stage {self.stage}"

    @property
    def name(self) -> str:
        """Its file, without the ending."""
        return f"{self.data}-{self.head}-{self.variant}-f{self.fold}-s{self.seed}"

    def path(self, results: Path = RESULTS) -> Path:
        """Where the record of this cell is kept."""
        folder = "cells" if self.stage == "final" else self.stage
        return results / folder / f"{self.name}.json"


def grid(data: str = "toyshop", head: str = "canet") -> Iterator[Cell]:
    """The cells of a table; earlier stages first, because the later ones read them."""
    for fold in range(FOLDS):
        for variant in CORE:
            yield Cell(data, head, variant, fold, 0, "tuning")
    if head == "canet":
        for fold in range(FOLDS):
            for variant in ("v_s", "scl"):
                yield Cell(data, head, variant, fold, 0, "plateau")
    for seed in SEEDS:
        for fold in range(FOLDS):
            for variant in BY_GRID[data, head]:
                yield Cell(data, head, variant, fold, seed)


def missing(cells: Sequence[Cell], results: Path = RESULTS) -> list[Cell]:
    """Those without a record."""
    return [cell for cell in cells if not cell.path(results).is_file()]


# ------------------------------------------------------------------ many cells


def run_all(cells: Sequence[Cell], jobs: int, results: Path = RESULTS) -> list[Cell]:
    """Run the missing cells in `jobs` processes of one thread each; returns those that failed.

    Cells that share features go to one process together, stage after stage.
    """
    failed: list[Cell] = []
    for stage in ("tuning", "plateau", "final"):
        groups: dict[tuple, list[Cell]] = {}
        staged = [c for c in cells if c.stage == stage]
        for cell in missing(staged, results):
            groups.setdefault((cell.data, cell.head, cell.seed, cell.fold), []).append(cell)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda group: _run_process(group, results), groups.values()))
        failed += missing(staged, results)
    return failed


def _run_process(group: Sequence[Cell], results: Path) -> None:
    """The same command a scheduler would call, for the cells of one fold and seed."""
    first = group[0]
    command = [sys.executable, "-m", "scl", "run", "--data", first.data, "--head", first.head]
    command += ["--fold", str(first.fold), "--seed", str(first.seed), "--results", str(results)]
    command += ["--stage", first.stage]
    command += ["--variant", *(cell.variant for cell in group)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
