"""Explore stored trainings: the losses by step, and mIoU by the number of steps trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scl.course.draw import COLOURS, DASHES
from scl.course.widgets import dropdown, explorer
from scl.datasets.folds import FOLDS
from scl.evaluation.overlay import GREY
from scl.study.grid import GUIDED, RESULTS, SEEDS, grid
from scl.study.tables import NAMES

LOSSES = ("q", "s1", "s2")
GROUPS = ("base", "validation", "novel")


class Stored(NamedTuple):
    """Hold what stored cells say about training."""

    # By variant, fold and seed: {"step", "q", ..., "total"} for some steps.
    curves: dict[tuple[str, int, int], list[dict[str, float]]]
    # By variant and fold: {"steps", "base", "validation", "novel", ...} for lengths of training.
    ladders: dict[tuple[str, int], list[dict[str, float]]]


def read_stored(results: Path = RESULTS) -> Stored:
    """Read every stored experiment of the grid once; those that were not run are left out."""
    stored = Stored({}, {})
    for each in grid("canet"):
        path = each.path(Path(results))
        if each.stage == "tuning" or each.variant not in GUIDED or not path.is_file():
            continue
        record = json.loads(path.read_text())
        if each.stage == "plateau":
            stored.ladders[each.variant, each.fold] = record["ladder"]
        elif "step" in (record.get("curve") or [{}])[0]:  # those of an earlier form count none
            stored.curves[each.variant, each.fold, each.seed] = record["curve"]
    return stored


def plateau_variant(variant: str) -> str:
    """Name the nearest variant with plateau cells: "v_s" where v_s alone guides, or "scl"."""
    return "v_s" if GUIDED[variant].vectors == ("s",) else "scl"


def loss_figure(
    stored: Stored, variant: str = "scl", fold: int = 0, seed: int | Literal["all"] = "all"
) -> Figure:
    """Plot a stored training: left its losses, right mIoU by the number of steps trained.

    variant: a key of GUIDED; seed: one of SEEDS, or "all" for their mean with a thin line each.
    The height of the axes is the same for everything stored, so that pictures can be compared.
    """
    figure = Figure(figsize=(9.4, 3.3))
    left = figure.add_axes((0.062, 0.15, 0.385, 0.7))
    right = figure.add_axes((0.56, 0.15, 0.33, 0.7))
    _draw_losses(left, stored, variant, fold, seed)
    _draw_ladder(right, stored, variant, fold)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure


def _draw_losses(
    axis: Axes, stored: Stored, variant: str, fold: int, seed: int | Literal["all"]
) -> None:
    """Plot the losses of a variant: a mean over seeds in front of a thin line each."""
    wanted = [(variant, fold, s) for s in (SEEDS if seed == "all" else (seed,))]
    runs = {key[2]: stored.curves[key] for key in wanted if key in stored.curves}
    highest = [r[n] for c in stored.curves.values() for r in c for n in LOSSES if n in r]
    several = "mean of seeds" if len(runs) > 1 else "seed"
    told = f"fold {fold}, {several} {', '.join(map(str, runs or [seed]))}"
    axis.set_title(f"Losses: {NAMES[variant]}\n{told}", fontsize=9)
    _label(axis, "training step", "cross-entropy", 1.08 * max(highest, default=1))
    ends = []
    for name, colour, dash in zip(LOSSES, COLOURS, DASHES, strict=False):
        if runs and name in next(iter(runs.values()))[0]:
            steps, values = _by_seed(list(runs.values()), name)
            if len(values) > 1:
                axis.plot(steps, values.T, color=colour, lw=0.6, alpha=0.6)
            axis.plot(steps, values.mean(axis=0), dash, color=colour, lw=2)
            ends.append((steps[-1], values[:, -1].mean(), name, colour))
    _label_ends(axis, ends)


def _label(axis: Axes, x: str, y: str, top: float) -> None:
    """Name both directions of an axes that begins at 0 and ends at `top`."""
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.set(ylim=(0, top))


def _by_seed(curves: Sequence[list[dict[str, float]]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one loss of several runs at the steps of the first: steps [P], values [runs, P]."""
    steps = [np.array([record["step"] for record in curve], float) for curve in curves]
    values = [np.array([record[name] for record in curve], float) for curve in curves]
    rows = [np.interp(steps[0], s, v) for s, v in zip(steps, values, strict=True)]
    return steps[0], np.stack(rows)


def _draw_ladder(axis: Axes, stored: Stored, variant: str, fold: int) -> None:
    """Plot mIoU on the three groups of classes for every number of steps that was tried."""
    nearest = plateau_variant(variant)
    rungs = stored.ladders.get((nearest, fold), [])
    highest = [r[n] for ladder in stored.ladders.values() for r in ladder for n in GROUPS]
    axis.set_title(f"mIoU by steps trained: {NAMES[nearest]}\nfold {fold}, seed 0", fontsize=9)
    _label(axis, "steps of the whole training", "mIoU (%)", 108 * max(highest, default=1))
    steps, ends = [rung["steps"] for rung in rungs], []
    # Rungs stand at equal distances: each doubles the one before.
    places = range(len(steps))
    for name, colour, dash, mark in zip(GROUPS, COLOURS, DASHES, "os^", strict=False):
        values = [100 * rung[name] for rung in rungs]
        axis.plot(places, values, mark + dash, color=colour, lw=2, ms=5)
        ends += [(places[-1], values[-1], f"{name} {values[-1]:.0f}", colour)] if rungs else []
    axis.set_xticks(places, [str(n) for n in steps])
    _label_ends(axis, ends)


def _label_ends(axis: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name each line (x, y, name, colour) at its end, names apart; without a line, say so."""
    if not ends:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "not run yet", ha="center", transform=axis.transAxes, color=GREY)
    ends = sorted(ends, key=lambda end: end[1])
    places = spread([end[1] for end in ends], 0.07 * axis.get_ylim()[1])
    for (x, _, name, colour), y in zip(ends, places, strict=True):
        axis.annotate(
            name, (x, y), (7, 0), textcoords="offset points",
            va="center", fontsize=9, color=colour, annotation_clip=False,
        )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move rising numbers as little as leaves `gap` between neighbours, up and down alike."""
    steps = gap * np.arange(len(values))
    rising = np.array(values) - steps
    upwards = np.maximum.accumulate(rising)
    downwards = np.minimum.accumulate(rising[::-1])[::-1]
    return list((upwards + downwards) / 2 + steps)


def loss_explorer(results: Path = RESULTS) -> ipywidgets.VBox:
    """Choose a row of the tables, a fold and a seed; stored losses and mIoU follow.

    The files are read once, here. The static twin is
    loss_figure(read_stored(results), variant, fold, seed).
    """
    stored = read_stored(results)

    def draw(variant: str, fold: int, seed: int | Literal["all"]) -> Figure:
        return loss_figure(stored, variant, fold, seed)

    rows = [(NAMES[variant], variant) for variant in GUIDED]
    seeds = [("all", "all"), *((str(seed), seed) for seed in SEEDS)]
    controls = {
        "variant": dropdown("row", rows, "scl", "26em"),
        "fold": dropdown("fold", range(FOLDS), 0, "8em"),
        "seed": dropdown("seed", seeds, "all", "8em"),
    }
    return explorer(draw, controls)
