"""The figures of the three explorers.

Each explorer of `widgets` redraws one figure of this module; the same call, without a control
beside it, is its static twin. A figure is drawn from a plain record of scl.course.looks (`look`,
`fusion_look`, `read_stored`), so that tests and notebooks can read the numbers it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from scl.course.looks import LEFT_OUT, FusionLook, Look, Stored, plateau_variant
from scl.evaluation.overlay import (
    BLUE,
    FOUND,
    GREEN,
    GREY,
    LOST,
    PREDICTED,
    TRUTH,
    VERMILION,
    edge_of,
    grow,
    overlay,
    rgb,
)
from scl.study.grid import SEEDS
from scl.study.tables import NAMES

SIDE, GAP, TITLE = 180, 8, 30  # pixels of a picture, between pictures, and for a title
DASHES = ("-", "--", ":")
LOSSES = ("q", "s1", "s2")
GROUPS = ("base", "validation", "novel")


def enlarge(image: np.ndarray) -> np.ndarray:
    """A picture H x W x 3 uint8 at the size it is shown at, so that outlines are thin and even."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def outlined(picture: np.ndarray, mask: np.ndarray, colour: str = TRUTH) -> np.ndarray:
    """A picture H x W x 3 uint8 with the outline of a mask on it, dashed in colour and white.

    Dashes show on any ground, and tell a truth from a prediction, which is tinted, without colour.
    """
    out, size = picture.copy(), picture.shape[:2]
    edge = edge_of(grow(np.asarray(mask) == 1, size))
    rows, columns = np.indices(size)
    white = (rows + columns) // 4 % 2 == 1
    out[edge] = rgb(colour)
    out[edge & white] = 255
    return out


def mosaic(pictures: Sequence[np.ndarray | None], titles: Sequence[str], columns: int) -> Figure:
    """Pictures SIDE x SIDE x 3 uint8 in a grid, each under its title; None leaves a place empty.

    All of them are one image on one axes: an axes each would take most of a redrawing's time.
    """
    rows, line = -(-len(pictures) // columns), SIDE + TITLE
    # With its opacity, which matplotlib would add to every pixel itself, and slowly.
    canvas = np.full((rows * line, columns * (SIDE + GAP), 4), 255, np.uint8)
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100))
    axis = figure.add_axes((0, 0, 1, 1))
    for place, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left, top = place % columns * (SIDE + GAP) + GAP // 2, place // columns * line + TITLE
        middle = (left + SIDE / 2) / width
        figure.text(middle, 1 - (top - 5) / height, title, fontsize=9, ha="center")
        if picture is not None:
            canvas[top : top + SIDE, left : left + SIDE, :3] = picture
    axis.imshow(canvas, interpolation="none", aspect="auto")
    axis.axis("off")
    return figure


def message_figure(text: str) -> Figure:
    """A sentence in place of a picture that cannot be drawn."""
    figure = Figure(figsize=(9.4, 0.8))
    figure.text(0.02, 0.5, text, va="center", fontsize=11)
    return figure


# ------------------------------------------------------------ found and lost


def found_lost_query_figure(view: Look) -> Figure:
    """Above, the support and its split; below, the query under v_s, each part, and both."""
    share = 100 * view.found.sum() / max(view.mask.sum(), 1)
    support, query = enlarge(view.support), enlarge(view.query)
    above = {
        f"support: {view.label}, mask": overlay(support, {TRUTH: view.mask}),
        f"{view.unit}, dark 0, bright 1": heat(view.probability),
        f"first prediction > {view.threshold:.2f}": overlay(
            support, {PREDICTED: view.probability > view.threshold}
        ),
        f"primary: {share:.0f} % found": overlay(support, {FOUND: view.found}),
        f"auxiliary: {100 - share:.0f} % lost": overlay(support, {LOST: view.lost}),
    }
    known, size = view.truth == 1, " x ".join(map(str, view.truth.shape))
    below = {f"query, IoU at {size}": outlined(query, known)}
    for name, predicted in view.predictions.items():
        picture = outlined(overlay(query, {PREDICTED: predicted}), known)
        below[f"{_guided_by(name, view)}: IoU {view.ious[name]:.2f}"] = picture
    return mosaic([*above.values(), *below.values()], [*above, *below], columns=5)


def heat(cells: np.ndarray) -> np.ndarray:
    """A map h x w in 0..1 as a picture SIDE x SIDE x 3 uint8, its cells visible."""
    colours = colormaps["cividis"](np.clip(cells, 0, 1), bytes=True)[..., :3]
    return grow(colours, (SIDE, SIDE))


def _guided_by(name: str, view: Look) -> str:
    """The vectors in words; an empty region has sent a stand-in."""
    if name == "both":
        return "v_pri and v_aux"
    region = {"v_pri": view.found, "v_aux": view.lost}.get(name, view.mask)
    return f"{name} alone" if region.any() else f"{name} = {view.empty}"


# --------------------------------------------------------- cross-guided fusion


def fusion_figure(view: FusionLook) -> Figure:
    """Above, the supports and their masks; below, how they judge each other, and the query."""
    count, columns = len(view.kinds), max(len(view.kinds), 5)
    pictures = [
        overlay(enlarge(image), {} if kind == LEFT_OUT else {TRUTH: mask})
        for image, mask, kind in zip(view.images, view.masks, view.kinds, strict=True)
    ]
    titles = [f"{view.label} {k}: {kind}" for k, kind in enumerate(view.kinds, 1)]
    blank = columns - count + columns - 3
    query, known = enlarge(view.query), view.truth == 1
    size = " x ".join(map(str, view.truth.shape))
    pictures += [None] * blank + [outlined(query, known)]
    titles += [""] * blank + [f"query, IoU at {size}"]
    for name, predicted in view.predictions.items():
        pictures.append(outlined(overlay(query, {PREDICTED: predicted}), known))
        titles.append(f"{name}: IoU {view.ious[name]:.2f}")
    figure = mosaic(pictures, titles, columns)
    _draw_mutual(figure.axes[0], view, columns - 3)
    return figure


def _draw_mutual(axis: Axes, view: FusionLook, places: int) -> None:
    """In the empty places below: the table of mutual IoUs, and each row's mean as a bar.

    axis: of a mosaic, in pixels. Cells and bars are one collection there, because an axes of
    their own would take a sixth of the redrawing's time.
    """
    count, room = len(view.scores), places * (SIDE + GAP) - 50
    left, top, wide, high = 40, SIDE + 2 * TITLE, 0.58 * room / count, (SIDE - 36) / count
    start, unit = left + wide * count + 8, 0.29 * room  # of the bars, and of one with U = 1
    ends = start + unit * np.nan_to_num(view.scores)
    boxes = [(left + i * wide, top + k * high, wide, high) for k, i in np.ndindex(count, count)]
    boxes += [(start, top + (k + 0.25) * high, end - start, high / 2) for k, end in enumerate(ends)]
    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes]
    blues = colormaps["Blues"](np.nan_to_num(view.mutual).ravel() / 1.2)
    colours = [*blues, *[to_rgba(BLUE)] * count]
    axis.add_collection(PolyCollection(corners, facecolors=colours), autolim=False)
    rows, columns = top + (np.arange(count) + 0.5) * high, left + (np.arange(count) + 0.5) * wide
    for (k, i), value in np.ndenumerate(view.mutual):
        light = "white" if value > 0.7 else "black"
        _write(axis, columns[i], rows[k], _number(value), color=light)
    below, middle, bar = top + SIDE - 36, left + wide * count / 2, start + unit / 2
    for k in range(count):
        _write(axis, ends[k] + 4, rows[k], _number(view.scores[k]), ha="left")
        _write(axis, left - 8, rows[k], str(k + 1))
        _write(axis, columns[k], below + 9, str(k + 1))
    _write(axis, middle, top - 5, "IOU of i under guide k", va="baseline", fontsize=9)
    _write(axis, bar, top - 5, "score U of k", va="baseline", fontsize=9)
    _write(axis, bar, below + 9, "(mean of row k)")
    _write(axis, middle, below + 24, "support i, predicted")
    _write(axis, left - 26, top + high * count / 2, "guide k", rotation=90)


def _number(value: float) -> str:
    """A share in 0..1; a dash for one that does not exist."""
    return "\N{EN DASH}" if np.isnan(value) else f"{value:.2f}"


def _write(axis: Axes, x: float, y: float, text: str, **options: object) -> None:
    """A text at a place of an axes; as the figure's own it is drawn faster than as the axes'."""
    style = {"ha": "center", "va": "center", "fontsize": 8, **options}
    axis.figure.text(x, y, text, transform=axis.transData, **style)


# ------------------------------------------------------------- stored curves


def loss_figure(
    stored: Stored, variant: str = "scl", fold: int = 0, seed: int | Literal["all"] = "all"
) -> Figure:
    """Left, the losses of a stored training; right, mIoU by the number of steps trained.

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
    """The losses that trained a variant: a mean over seeds in front of a thin line each."""
    wanted = [(variant, fold, s) for s in (SEEDS if seed == "all" else (seed,))]
    runs = {key[2]: stored.curves[key] for key in wanted if key in stored.curves}
    highest = [r[n] for c in stored.curves.values() for r in c for n in LOSSES if n in r]
    several = "mean of seeds" if len(runs) > 1 else "seed"
    told = f"fold {fold}, {several} {', '.join(map(str, runs or [seed]))}"
    axis.set_title(f"Losses: {NAMES[variant]}\n{told}", fontsize=9)
    axis.set(ylim=(0, 1.08 * max(highest, default=1)))
    axis.set_xlabel("training step", fontsize=9)
    axis.set_ylabel("cross-entropy", fontsize=9)
    ends = []
    for name, colour, dash in zip(LOSSES, (BLUE, VERMILION, GREEN), DASHES, strict=True):
        if runs and name in next(iter(runs.values()))[0]:
            steps, values = _by_seed(list(runs.values()), name)
            if len(values) > 1:
                axis.plot(steps, values.T, color=colour, lw=0.6, alpha=0.6)
            axis.plot(steps, values.mean(axis=0), dash, color=colour, lw=2)
            ends.append((steps[-1], values[:, -1].mean(), name, colour))
    _label_ends(axis, ends)


def _by_seed(curves: Sequence[list[dict[str, float]]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """One loss of several runs on the steps of the first: steps [P] and values [runs, P]."""
    steps = [np.array([record["step"] for record in curve], float) for curve in curves]
    values = [np.array([record[name] for record in curve], float) for curve in curves]
    rows = [np.interp(steps[0], s, v) for s, v in zip(steps, values, strict=True)]
    return steps[0], np.stack(rows)


def _draw_ladder(axis: Axes, stored: Stored, variant: str, fold: int) -> None:
    """mIoU on the three groups of classes for every number of steps that was tried."""
    nearest = plateau_variant(variant)
    rungs = stored.ladders.get((nearest, fold), [])
    highest = [r[n] for ladder in stored.ladders.values() for r in ladder for n in GROUPS]
    axis.set_title(f"mIoU by steps trained: {NAMES[nearest]}\nfold {fold}, seed 0", fontsize=9)
    axis.set(ylim=(0, 108 * max(highest, default=1)))
    axis.set_xlabel("steps of the whole training", fontsize=9)
    axis.set_ylabel("mIoU (%)", fontsize=9)
    steps, ends = [rung["steps"] for rung in rungs], []
    # Rungs stand at equal distances: each doubles the one before.
    places = range(len(steps))
    for name, colour, dash, mark in zip(
        GROUPS, (BLUE, VERMILION, GREEN), DASHES, ("o", "s", "^"), strict=True
    ):
        values = [100 * rung[name] for rung in rungs]
        axis.plot(places, values, mark + dash, color=colour, lw=2, ms=5)
        ends += [(places[-1], values[-1], f"{name} {values[-1]:.0f}", colour)] if rungs else []
    axis.set_xticks(places, steps)
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
    """Rising numbers moved as little as leaves `gap` between neighbours, up and down alike."""
    steps = gap * np.arange(len(values))
    rising = np.array(values) - steps
    upwards = np.maximum.accumulate(rising)
    downwards = np.minimum.accumulate(rising[::-1])[::-1]
    return list((upwards + downwards) / 2 + steps)
