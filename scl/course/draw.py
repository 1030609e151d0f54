"""Every picture of the course. Functions take arrays and return a Figure; nothing is global.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; every region also has
an outline or a label, so that no picture needs its colours.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scl.evaluation.overlay import (
    BLUE,
    FOUND,
    GREEN,
    GREY,
    LOST,
    ORANGE,
    PREDICTED,
    PURPLE,
    TRUTH,
    VERMILION,
    grow,
    overlay,
)
from scl.method.vectors import IGNORE

# What `draw.NAME` offers besides the figures below.
__all__ = ["FOUND", "LOST", "PREDICTED", "TRUTH", "grow", "overlay"]



def panels(
    pictures: Sequence[np.ndarray], titles: Sequence[str], columns: int = 0, side: float = 1.9
) -> Figure:
    """Pictures in a grid, each under its title. H x W x 3 uint8, or H x W maps in 0..1."""
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    width, height = side * columns, (side + 0.3) * rows
    figure = Figure(figsize=(width, height))
    for place, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        row, column = divmod(place, columns)
        # Placed by hand: a layout engine would take most of a slider's redrawing time.
        left, bottom = column * side + 0.04, height - row * (side + 0.3) - side - 0.26
        size = side - 0.08
        axis = figure.add_axes((left / width, bottom / height, size / width, size / height))
        axis.axis("off")
        limits = {"vmin": 0, "vmax": 1} if picture.ndim == 2 else {}
        axis.imshow(picture, cmap="cividis", interpolation="nearest", aspect="auto", **limits)
        # A fixed height spares the search for one among ticks that are not there.
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9, pad=3, y=1.0)
    return figure


def episode_figure(
    support_images: Sequence[np.ndarray],
    support_masks: Sequence[np.ndarray],
    query_image: np.ndarray,
    query_mask: np.ndarray,
    label: str,
) -> Figure:
    """An episode as the model meets it: supports with their masks, then the query and its truth."""
    pictures = [overlay(i, {TRUTH: m}) for i, m in zip(support_images, support_masks, strict=True)]
    titles = [f"support {k + 1}: {label}" for k in range(len(pictures))]
    known = np.where(query_mask == IGNORE, 0, query_mask)
    pictures += [query_image, overlay(query_image, {TRUTH: known})]
    return panels(pictures, [*titles, "query", "query, truth (hidden)"])


def grid_of_numbers(
    tables: Mapping[str, np.ndarray], highlight: np.ndarray | None = None
) -> Figure:
    """Small tables of numbers side by side; highlighted cells are tinted."""
    figure = Figure(figsize=(2.2 * len(tables), 2.4), layout="constrained")
    for axis, (name, table) in zip(figure.subplots(1, len(tables)), tables.items(), strict=True):
        shown = np.zeros(table.shape) if highlight is None else highlight
        axis.imshow(shown, cmap="Oranges", vmin=0, vmax=2.5)
        for (y, x), value in np.ndenumerate(table):
            axis.text(x, y, f"{value:g}", ha="center", va="center", fontsize=12)
        axis.set_title(name, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def found_lost_figure(
    image: np.ndarray,
    mask: np.ndarray,
    probability: np.ndarray,
    threshold: float = 0.5,
    label: str = "support",
) -> Figure:
    """Figure 4 of the paper for one support: mask, first prediction, found and lost regions.

    image: H x W x 3 uint8; mask: h x w, shrunk; probability: h x w, of the first support
    prediction (Eq. 3); threshold: 0.5 is the argmax of Eq. 4.
    """
    predicted = probability > threshold
    found, lost = (mask == 1) & predicted, (mask == 1) & ~predicted
    share = found.sum() / max((mask == 1).sum(), 1)
    return panels(
        [
            overlay(image, {TRUTH: mask}),
            overlay(image, {PREDICTED: predicted}),
            overlay(image, {FOUND: found}),
            overlay(image, {LOST: lost}),
        ],
        [
            f"{label}: mask",
            f"first prediction > {threshold:.2f}",
            f"primary: {100 * share:.0f} % found",
            f"auxiliary: {100 * (1 - share):.0f} % lost",
        ],
        side=2.1,
    )


def probability_figure(
    image: np.ndarray, mask: np.ndarray, maps: Mapping[str, np.ndarray], unit: str
) -> Figure:
    """An image with its mask, and maps in 0..1 beside it on one colour scale named `unit`."""
    pictures = [overlay(image, {TRUTH: mask}), *(grow(m, image.shape[:2]) for m in maps.values())]
    # An empty last panel makes room for the colour bar.
    figure = panels([*pictures, pictures[0]], ["truth", *maps, ""], side=2.1)
    shown, last = figure.axes[1].images[0], figure.axes[-1]
    box = last.get_position()
    last.remove()
    bar = figure.add_axes((box.x0 + 0.01, box.y0 + 0.05, 0.02, box.height - 0.1))
    figure.colorbar(shown, cax=bar, label=unit)
    return figure


def curves(
    history: Sequence[Mapping[str, float]], names: Sequence[str], smooth: int = 15
) -> Figure:
    """Losses over training steps, each a running mean, told apart by dashes too."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    dashes = ("-", "--", ":", "-.")
    for name, colour, dash in zip(names, (BLUE, VERMILION, GREEN, PURPLE), dashes, strict=False):
        values = np.array([record[name] for record in history])
        kernel = np.ones(min(smooth, len(values))) / min(smooth, len(values))
        smoothed = np.convolve(values, kernel, mode="valid")
        steps = np.arange(len(smoothed)) + len(kernel) / 2
        width = 2.2 if dash == "--" else 1.3
        axis.plot(steps, smoothed, dash, color=colour, label=name, lw=width)
    label = f"training step (running mean of {smooth})"
    axis.set(xlabel=label, ylabel="cross-entropy", ylim=(0, None))
    axis.legend(frameon=False)
    return figure


def whiskers(
    rows: Mapping[str, tuple[float, float, float]], xlabel: str, zero: bool = False
) -> Figure:
    """One value with its interval per row: name to (value, low, high)."""
    figure = Figure(figsize=(6.4, 0.42 * len(rows) + 0.9), layout="constrained")
    axis: Axes = figure.subplots()
    for place, (value, low, high) in enumerate(rows.values()):
        axis.plot([low, high], [place, place], color=BLUE, lw=2)
        axis.plot([value], [place], "o", color=BLUE)
        text = f"{value:.1f}"
        axis.annotate(text, (high, place), (6, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_xlabel(xlabel)
    axis.margins(x=0.15)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    if zero:
        axis.axvline(0, color=GREY, lw=1)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def bars(groups: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Grouped bars: group to (name to value). Values stand on the bars."""
    names = list(next(iter(groups.values())))
    figure = Figure(figsize=(1.6 + 1.5 * len(groups), 2.9), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(names)
    for i, (name, colour) in enumerate(zip(names, (BLUE, ORANGE, GREEN, PURPLE), strict=False)):
        places = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        drawn = axis.bar(
            places,
            [group[name] for group in groups.values()],
            width * 0.92,
            color=colour,
            label=name,
        )
        axis.bar_label(drawn, fmt="%.0f", fontsize=8)
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set_ylabel(ylabel)
    if len(names) > 1:
        axis.legend(
            frameon=False, fontsize=8, ncols=len(names), loc="lower left", bbox_to_anchor=(0, 1)
        )
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def matrix(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    zero: str = "0.00",
) -> Figure:
    """A table as a picture: values in 0..1 by colour, and as numbers in the cells.

    values: [R, C]; axes: what the rows and the columns are; zero: how an exact zero is printed.
    """
    figure = Figure(
        figsize=(1.9 + 0.85 * len(columns), 1.1 + 0.45 * len(rows)), layout="constrained"
    )
    axis = figure.subplots()
    axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        text = zero if value == 0 else f"{value:.2f}"
        colour = "black" if value > 0.6 else "white"
        axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(ylabel=axes[0], xlabel=axes[1])
    axis.spines[:].set_visible(False)
    return figure


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Named lines (x values, y values), told apart by dashes, marks and a label at the end."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    looks = zip((BLUE, VERMILION, GREEN, PURPLE), ("-", "--", ":", "-."), "os^D", strict=True)
    for (name, (x, y)), (colour, dash, mark) in zip(series.items(), looks, strict=False):
        axis.plot(x, y, dash, marker=mark, color=colour, lw=2)
        end = (x[-1], y[-1])
        axis.annotate(name, end, (8, 0), textcoords="offset points", va="center", color=colour)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        axis.set_xscale("log")
        ticks = sorted({v for x, _ in series.values() for v in x})
        axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
        axis.minorticks_off()
    axis.margins(x=0.2)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Points (x values, y values) of a few groups, told apart by their marks too."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    looks = zip((BLUE, ORANGE, GREEN, PURPLE), "o^sD", strict=True)
    for (name, (x, y)), (colour, mark) in zip(groups.items(), looks, strict=False):
        axis.plot(x, y, mark, color=colour, label=name, ms=5, alpha=0.7, mec="none")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if len(groups) > 1:
        axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def to_bytes(figure: Figure, kind: str = "jpeg", dpi: int = 100, small: bool = False) -> bytes:
    """The figure as a JPEG (a fifth of a PNG's size for photographs) or PNG.

    small: take longer to save some bytes, for what is stored.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    options = {"pil_kwargs": {"quality": 80, "optimize": small}} if kind == "jpeg" else {}
    figure.savefig(buffer, format=kind, dpi=dpi, **options)
    return buffer.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Put a figure into a notebook; alt says in words what it shows."""
    from IPython.display import Image, display

    display(Image(to_bytes(figure, small=True), format="jpeg", alt=alt))
