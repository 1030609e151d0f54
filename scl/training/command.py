"""python -m scl train."""

from __future__ import annotations

import argparse
import json
import sys

from scl.device import one_core_free
from scl.training.launch import launch
from scl.training.recipe import read_recipe, recipes
from scl.training.run import saved_step


def train(options: argparse.Namespace) -> None:
    """Start a run by a recipe, or go on with one."""
    if options.list:
        print("\n".join(recipes()))
        return
    recipe = None
    if options.config:
        if options.out is None:
            raise ValueError("a new run needs a folder: name it by --out")
        recipe = read_recipe(options.config, [*options.set, *_flags(options)], options.reading)
    elif options.set or options.out or options.reading or _flags(options):
        raise ValueError(
            "--resume goes on with the run as it was started: leave out --out, --as, --set, "
            "--root, --fold, --seed and --steps"
        )
    folder = options.resume or options.out
    if recipe is not None and recipe.run.select == "novel":
        print(
            "scl: warning: run.select='novel' chooses the checkpoint on the classes it is tested "
            "on, as the released code does; its scores flatter",
            file=sys.stderr,
        )
    try:
        with one_core_free() as threads:
            done = launch(folder, recipe, options.device)
    except KeyboardInterrupt:
        again = f"python -m scl train --resume {folder}"
        step = saved_step(folder)
        raise KeyboardInterrupt(f"interrupted; go on from step {step} by: {again}") from None
    best = f"; best mIoU {100 * done.best:.1f} at step {done.best_step}" if done.best_step else ""
    many = "1 thread" if threads == 1 else f"{threads} threads"
    used = f"{many} on the CPU; OMP_NUM_THREADS changes that"
    print(f"{folder}: {done.step} steps in {done.seconds:.0f} s ({used}){best}")


def _flags(options: argparse.Namespace) -> list[str]:
    """List the changes of a recipe that have flags of their own."""
    changes = {
        "data.root": options.root and json.dumps(options.root),
        "data.fold": options.fold,
        "run.seed": options.seed,
        "train.steps": options.steps,
    }
    return [f"{place}={value}" for place, value in changes.items() if value is not None]
