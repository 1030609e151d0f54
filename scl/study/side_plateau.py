"""How long a row trains: until classes that it does not learn from, all of them base ones, say so.

A third of a fold's base classes is held out. Rows are trained anew for every number of steps on the
other two thirds, and scored on episodes of the third. No novel class is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scl.files import versions, write_json
from scl.method.episode import EpisodeSampler
from scl.study.choices import fewest
from scl.study.grid import RESULTS, Budget
from scl.study.side_by_side import TRAINED, SideBudget, World, drawn_batches, learn, score
from scl.study.tables import markdown

LADDER = (90, 175, 350, 700, 1400)
CLIMBING = ("v_s", "v_s+L1", "scl")  # the rows that are tried
EPISODES, THIRD = 300, 3


def path_of(data: str, fold: int, results: Path = RESULTS) -> Path:
    """Say where the record of a fold lies."""
    return results / "plateau" / f"{data}-side-f{fold}.json"


def climb(
    data: str,
    fold: int,
    budget: SideBudget,
    root: str | None,
    kept: Path,
    results: Path = RESULTS,
    ladder: Sequence[int] = LADDER,
) -> Path:
    """Score the rows on held-out base classes after each number of steps that is not stored yet."""
    torch.set_num_threads(1)
    world = World(data, fold, 0, budget, root, kept)
    bank = world.banks["train", "unit"]
    bank.truths = [mask.numpy() for mask in bank.masks]  # counted at the kept size
    base = sorted(set(bank.dataset.labels))
    held = base[::THIRD]
    learned = [label for label in base if label not in held]
    episodes = EpisodeSampler(bank.dataset, 1, held).fixed(EPISODES, 0)
    configs = {name: TRAINED[name] for name in CLIMBING}
    path, names = path_of(data, fold, results), [bank.dataset.classes[i] for i in held]
    record: dict = {"data": data, "fold": fold, "held_out": names, "episodes": EPISODES}
    record |= {"versions": versions(), "rungs": []}
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
    stored = {rung["steps"] for rung in record["rungs"]}
    for steps in (steps for steps in ladder if steps not in stored):
        plan = replace(budget.plan, steps=steps)
        batches = drawn_batches(bank, plan.batch, 0, classes=learned)
        models = learn(configs, batches, plan, world.backbone)
        found = score(models, bank, episodes)
        mious = {name: round(found[name, "cross"].miou, 4) for name in configs}
        record["rungs"].append({"steps": steps, **mious})
        write_json(path, record)
    return path


def plateau(data: str, results: Path = RESULTS, slack: float = Budget().slack) -> int:
    """Choose the steps of all rows as for the tables of toys: enough for the slowest learner."""
    ladder = _means(data, results)
    return max(fewest({s: mious[row] for s, mious in ladder.items()}, slack) for row in CLIMBING)


def plateau_table(data: str, results: Path = RESULTS) -> str:
    """Tabulate mIoU on held-out base classes by steps, the mean over the folds that were tried.

    The line below it says which number of steps the rule would choose.
    """
    lines = [
        (str(steps), *(f"{100 * mious[row]:.1f}" for row in CLIMBING))
        for steps, mious in _means(data, results).items()
    ]
    table, slack = markdown(["steps", *CLIMBING], lines), Budget().slack
    chosen = f"Within {100 * slack:.0f} point of every row's best: {plateau(data, results)} steps."
    return f"{table}\n\n{chosen}"


def _means(data: str, results: Path) -> dict[int, dict[str, float]]:
    """Average every rung over the stored folds."""
    files = sorted((results / "plateau").glob(f"{data}-side-f?.json"))
    rungs = [r for file in files for r in json.loads(file.read_text(encoding="utf-8"))["rungs"]]
    if not rungs:
        raise ValueError(f"no plateau of {data} is stored: run python -m scl side --plateau first")
    return {
        steps: {
            row: float(np.mean([r[row] for r in rungs if r["steps"] == steps])) for row in CLIMBING
        }
        for steps in sorted({r["steps"] for r in rungs})
    }
