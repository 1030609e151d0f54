"""What is run for the stored tables: every experiment, on which budget, and in which order.

An experiment is (head, variant, fold, seed, stage) on Toyshop-5^i. Computing one (`compute`) writes
one JSON and does nothing if it is there already, so any scheduler can take the missing ones
(`python -m scl run --list`).

Everything is chosen on base classes held out for it, in two stages: "tuning" experiments choose
learning rate and dropout, "plateau" ones the number of steps. "final" experiments train on all base
classes and are the only ones a table reads. No choice reads a score on novel classes: plateau
experiments score them too, to show over-fitting. (How the rule for the steps came about,
results/README.md tells.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from scl.datasets.folds import FOLDS
from scl.datasets.toyshop import NOVEL_PER_CLASS, PER_CLASS
from scl.method.rules import SELF_GUIDED, V_S, V_S_L1, Guidance
from scl.method.scl import Fusion

ROOT = Path(__file__).resolve().parents[2]
RESULTS, HEADS = ROOT / "results", ROOT / "data" / "heads"
SEEDS = (0, 1, 2)
FUSIONS: tuple[Fusion, ...] = ("average", "vectors", "cross")
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
CORE = ("v_s", "v_s+L1", "scl")  # those tuned each by itself
FIVE_SHOT = ("cosine", "v_s", "scl")  # those that are also scored with five supports
BY_HEAD = {"canet": VARIANTS, "pfenet": CORE}

# What tuning tries for each variant, on the same budget: (peak learning rate, dropout).
TRIALS = ((3e-3, 0.0), (1e-2, 0.0), (1e-2, 0.3))


@dataclass(frozen=True)
class Budget:
    """How much is trained and tested in an experiment.

    ladder: the numbers of steps that the "plateau" stage tries; slack: mIoU by which the chosen
    number may stay below the best of the ladder; tuning_steps: of every trial of tuning;
    seconds_factor: how many steps of "v_s" take the time of one of "scl" (measured on one thread);
    per_class, novel_per_class: scenes; one_shot, five_shot: novel episodes; held_out: base classes
    set aside while choosing; size: pixels a side.
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
class Experiment:
    """One training and its test; in the stages before "final", on held-out base classes."""

    head: str
    variant: str
    fold: int
    seed: int
    stage: Stage = "final"

    def __post_init__(self) -> None:
        known = {"head": tuple(BY_HEAD), "variant": VARIANTS, "stage": get_args(Stage)}
        for field, values in known.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} {getattr(self, field)!r}: expected one of {values}")

    @property
    def command(self) -> str:
        """What a scheduler calls to compute this experiment (earlier stages first)."""
        line = f"python -m scl run --data toyshop --head {self.head} --fold {self.fold}"
        return f"{line} --seed {self.seed} --variant {self.variant} --stage {self.stage}"

    @property
    def name(self) -> str:
        """Its file, without the ending."""
        return f"toyshop-{self.head}-{self.variant}-f{self.fold}-s{self.seed}"

    def path(self, results: Path = RESULTS) -> Path:
        """Say where its record lies."""
        folder = "cells" if self.stage == "final" else self.stage
        return results / folder / f"{self.name}.json"


def grid(head: str = "canet") -> Iterator[Experiment]:
    """List the experiments of a head's tables; earlier stages first, because later ones read them.

    The PFENet-style head takes the number of steps of the CANet-style one.
    """
    for fold in range(FOLDS):
        for variant in CORE:
            yield Experiment(head, variant, fold, 0, "tuning")
    for fold in range(FOLDS if head == "canet" else 0):
        for variant in ("v_s", "scl"):
            yield Experiment(head, variant, fold, 0, "plateau")
    for seed in SEEDS:
        for fold in range(FOLDS):
            for variant in BY_HEAD[head]:
                yield Experiment(head, variant, fold, seed)


def missing(experiments: Sequence[Experiment], results: Path = RESULTS) -> list[Experiment]:
    """Pick those without a record."""
    return [each for each in experiments if not each.path(results).is_file()]
