"""Draw the course's pictures. Functions take arrays and return a Figure; nothing is global.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; every region also has
an outline or a label, so that no picture needs its colours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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
    edge_of,
    grow,
    overlay,
    rgb,
)
from scl.method.vectors import IGNORE

# What `draw.NAME` offers besides the figures below.
__all__ = ["FOUND", "LOST", "PREDICTED", "TRUTH", "grow", "overlay"]

SIDE, GAP, TITLE = 180, 8, 30  # of a mosaic: pixels of a picture, between them, and for a title
COLOURS, DASHES = (BLUE, VERMILION, GREEN, PURPLE), ("-", "--", ":", "-.")


def panels(
    pictures: Sequence[np.ndarray], titles: Sequence[str], columns: int = 0, side: float = 1.9
) -> Figure:
    """Set pictures in a grid, each under its title: H x W x 3 uint8, or H x W maps in 0..1."""
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
        # Colours and limits are for maps; a photograph has its own.
        axis.imshow(picture, "cividis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        # A fixed height spares the search for one among ticks that are not there.
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9, pad=3, y=1.0)
    return figure


def mosaic(pictures: Sequence[np.ndarray | None], titles: Sequence[str], columns: int) -> Figure:
    """Set pictures SIDE x SIDE x 3 uint8 in a grid, each under its title; None leaves a place.

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


def enlarge(image: np.ndarray) -> np.ndarray:
    """Bring a picture H x W x 3 uint8 to a mosaic's size, so that outlines are thin and even."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def squared(picture: np.ndarray, fill: int = 255) -> np.ndarray:
    """Set a picture [H, W, 3] or a map [H, W] in the middle of a square: it keeps its shape."""
    height, width = picture.shape[:2]
    side = max(height, width)
    margins = [((side - x) // 2, side - x - (side - x) // 2) for x in (height, width)]
    return np.pad(picture, [*margins, *[(0, 0)] * (picture.ndim - 2)], constant_values=fill)


def heat(cells: np.ndarray) -> np.ndarray:
    """Colour a map h x w in 0..1 as a mosaic's picture, its cells visible."""
    return grow(colormaps["cividis"](np.clip(cells, 0, 1), bytes=True)[..., :3], (SIDE, SIDE))


def outlined(picture: np.ndarray, mask: np.ndarray, colour: str = TRUTH) -> np.ndarray:
    """Draw the outline of a mask on a picture H x W x 3 uint8, dashed in colour and white.

    Dashes show on any ground, and tell a truth from a prediction, which is tinted, without colour.
    """
    out, size = picture.copy(), picture.shape[:2]
    edge = edge_of(grow(np.asarray(mask) == 1, size))
    rows, columns = np.indices(size)
    out[edge] = rgb(colour)
    out[edge & ((rows + columns) // 4 % 2 == 1)] = 255
    return out


def episode_figure(
    support_images: Sequence[np.ndarray],
    support_masks: Sequence[np.ndarray],
    query_image: np.ndarray,
    query_mask: np.ndarray,
    label: str,
) -> Figure:
    """Show an episode as the model meets it: supports with masks, the query, and its truth."""
    pictures = [overlay(i, {TRUTH: m}) for i, m in zip(support_images, support_masks, strict=True)]
    titles = [f"support {k + 1}: {label}" for k in range(len(pictures))]
    known = np.where(query_mask == IGNORE, 0, query_mask)
    pictures += [query_image, overlay(query_image, {TRUTH: known})]
    return panels(pictures, [*titles, "query", "query, truth (hidden)"])


def grid_of_numbers(
    tables: Mapping[str, np.ndarray], highlight: np.ndarray | None = None
) -> Figure:
    """Write small tables of numbers side by side; highlighted cells are tinted."""
    figure = Figure(figsize=(2.2 * len(tables), 2.4), layout="constrained")
    for axis, (name, table) in zip(figure.subplots(1, len(tables)), tables.items(), strict=True):
        shown = np.zeros(table.shape) if highlight is None else highlight
        axis.imshow(shown, cmap="Oranges", vmin=0, vmax=2.5)
        for (y, x), value in np.ndenumerate(table):
            axis.text(x, y, f"{value:g}", ha="center", va="center", fontsize=12)
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
    return figure


def found_lost_figure(
    image: np.ndarray,
    mask: np.ndarray,
    probability: np.ndarray,
    threshold: float = 0.5,
    label: str = "support",
) -> Figure:
    """Show one support as the paper's Figure 4: first prediction, found and lost regions.

    image: H x W x 3 uint8; mask: h x w, shrunk; probability: h x w, of the first support
    prediction (Eq. 3); threshold: 0.5 is the argmax of Eq. 4.
    """
    predicted = probability > threshold
    found, lost = (mask == 1) & predicted, (mask == 1) & ~predicted
    share = found.sum() / max((mask == 1).sum(), 1)
    regions = {
        f"predicted, above {threshold:.2f}": {PREDICTED: predicted},
        f"found: {100 * share:.0f} %": {FOUND: found},
        f"lost: {100 * (1 - share):.0f} %": {LOST: lost},
    }
    # Beside the dimmed ones the picture as it is, large enough for a thin outline.
    pictures = [outlined(enlarge(image), mask), *(overlay(image, r) for r in regions.values())]
    return panels(pictures, [f"{label}; dashed: mask", *regions], side=1.9)


def probability_figure(
    image: np.ndarray, mask: np.ndarray, maps: Mapping[str, np.ndarray], unit: str, label: str
) -> Figure:
    """Show an image with its mask, dashed, and maps in 0..1 beside it on one scale named `unit`."""
    pictures = [outlined(enlarge(image), mask), *(grow(m, (SIDE, SIDE)) for m in maps.values())]
    # An empty last panel makes room for the colour bar.
    figure = panels([*pictures, pictures[0]], [label, *maps, ""], side=1.8)
    shown, last = figure.axes[1].images[0], figure.axes[-1]
    box = last.get_position()
    last.remove()
    bar = figure.add_axes((box.x0 + 0.01, box.y0 + 0.05, 0.02, box.height - 0.1))
    figure.colorbar(shown, cax=bar, label=unit)
    return figure


def curves(history: Sequence[Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Plot losses over training steps, each a running mean, told apart by dashes too."""
    smooth = 15
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    for name, colour, dash in zip(names, COLOURS, DASHES, strict=False):
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


def _plot(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure with one axes that has no frame above and on the right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axis: Axes = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _beside(axis: Axes, place: tuple[float, float], text: str, gap: int, **style: Any) -> None:
    """Write a text on the right of a place, `gap` points away."""
    axis.annotate(text, place, (gap, 0), textcoords="offset points", va="center", **style)


def whiskers(
    rows: Mapping[str, tuple[float, float, float]], xlabel: str, zero: bool = False
) -> Figure:
    """Plot {name: (value, low, high)}, a value and its interval in each row."""
    figure, axis = _plot(6.4, 0.42 * len(rows) + 0.9)
    for place, (value, low, high) in enumerate(rows.values()):
        axis.plot([low, high], [place, place], color=BLUE, lw=2)
        axis.plot([value], [place], "o", color=BLUE)
        _beside(axis, (high, place), f"{value:.1f}", 6)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_xlabel(xlabel)
    axis.margins(x=0.15)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    if zero:
        axis.axvline(0, color=GREY, lw=1)
    return figure


def bars(groups: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Plot {group: {name: value}} as grouped bars, the values on the bars."""
    names = list(next(iter(groups.values())))
    figure, axis = _plot(1.6 + 1.5 * len(groups), 2.9)
    width = 0.8 / len(names)
    for i, (name, colour) in enumerate(zip(names, (BLUE, ORANGE, GREEN, PURPLE), strict=False)):
        places = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        heights = [group[name] for group in groups.values()]
        drawn = axis.bar(places, heights, width * 0.92, color=colour, label=name)
        axis.bar_label(drawn, fmt="%.0f", fontsize=8)
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set_ylabel(ylabel)
    if len(names) > 1:
        above: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        axis.legend(frameon=False, fontsize=8, ncols=len(names), **above)
    return figure


def matrix(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    zero: str = "0.00",
) -> Figure:
    """Show a table as a picture: values in 0..1 by colour, and as numbers in the cells.

    values: [R, C]; axes: what the rows and the columns are; zero: how an exact zero is printed.
    """
    figure, axis = _plot(1.9 + 0.85 * len(columns), 1.1 + 0.45 * len(rows))
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
    """Plot {name: (x values, y values)} as lines with dashes, marks and a name at the end."""
    figure, axis = _plot(6.4, 3.2)
    looks = zip(COLOURS, DASHES, "os^D", strict=True)
    for (name, (x, y)), (colour, dash, mark) in zip(series.items(), looks, strict=False):
        axis.plot(x, y, dash, marker=mark, color=colour, lw=2)
        _beside(axis, (x[-1], y[-1]), name, 8, color=colour)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        axis.set_xscale("log")
        ticks = sorted({v for x, _ in series.values() for v in x})
        axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
        axis.minorticks_off()
    axis.margins(x=0.2)
    return figure


def scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Plot {group: (x values, y values)} as points, told apart by their marks too."""
    figure, axis = _plot(6.4, 3.2)
    looks = zip((BLUE, ORANGE, GREEN, PURPLE), "o^sD", strict=True)
    for (name, (x, y)), (colour, mark) in zip(groups.items(), looks, strict=False):
        axis.plot(x, y, mark, color=colour, label=name, ms=5, alpha=0.7, mec="none")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if len(groups) > 1:
        axis.legend(frameon=False, fontsize=8)
    return figure


def crosses(
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Plot {name: (x, y)}, each a (value, low, high), as crosses of their intervals.

    What lies on the diagonal is the same in both worlds; an arm that meets a grey line may be 0.
    """
    figure, axis = _plot(6.4, 5.2)
    looks = zip((BLUE, ORANGE, GREEN, PURPLE) * 3, "oooo^^^^ssss", strict=True)
    for (name, (x, y)), (colour, mark) in zip(points.items(), looks, strict=False):
        arms = [[[v - low], [high - v]] for v, low, high in (x, y)]
        axis.errorbar(
            x[0], y[0], arms[1], arms[0], fmt=mark, color=colour, ms=5, elinewidth=1, label=name
        )
    axis.axhline(0, color=GREY, lw=0.8)
    axis.axvline(0, color=GREY, lw=0.8)
    axis.axline((0, 0), slope=1, color=GREY, lw=0.8, ls=":")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2)
    return figure


def to_bytes(figure: Figure, kind: str = "jpeg", dpi: int = 100, small: bool = False) -> bytes:
    """Encode a figure as a JPEG (a fifth of a PNG's size for photographs) or PNG.

    small: take longer to save some bytes, for what is stored.
    """
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    options = {"quality": 80, "optimize": small} if kind == "jpeg" else None
    figure.savefig(buffer, format=kind, dpi=dpi, pil_kwargs=options)
    return buffer.getvalue()


def is_chart(figure: Figure) -> bool:
    """Say whether a figure is of lines, letters and maps alone, without a photograph."""
    pictures = (image.get_array() for axis in figure.axes for image in axis.images)
    return all(picture is None or picture.ndim == 2 for picture in pictures)


def sharp_png(figure: Figure) -> bytes:
    """Encode a chart with twice the screen's pixels; 128 colours make it smaller than a JPEG."""
    drawn = Image.open(io.BytesIO(to_bytes(figure, "png", dpi=200))).convert("RGB")
    buffer = io.BytesIO()
    drawn.quantize(128, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Put a figure into a notebook; alt says in words what it shows.

    Charts have twice the screen's pixels, shown at the same width; photographs, which would take
    twice the bytes, do not. JupyterLab and nbconvert pass on the words of HTML alone, which a
    stored notebook goes without: see scl.course.notebooks.normalised_outputs.
    """
    from IPython import display

    chart, width = is_chart(figure), round(100 * figure.get_figwidth())
    kind = "image/png" if chart else "image/jpeg"
    encoded = sharp_png(figure) if chart else to_bytes(figure, small=True)
    picture = base64.b64encode(encoded).decode()
    page = f'<img alt="{escape(alt)}" width="{width}" src="data:{kind};base64,{picture}">'
    told = "<IPython.core.display.Image object>"
    shown = {"text/html": page, kind: picture, "text/plain": told}
    display.display(shown, raw=True, metadata={kind: {"alt": alt, "width": width}})


def with_still(bundle: Any, figure: Figure, alt: str, text: str) -> tuple[dict, dict]:
    """Add a still to what a control gives a notebook, for pages without Python or controls.

    bundle: what anywidget's _repr_mimebundle_ returned; alt: what the still shows, in words;
    text: what stands where no picture can.
    """
    shown, told = bundle or ({}, {})
    still = base64.b64encode(to_bytes(figure, small=True)).decode()
    more = {"image/jpeg": still, "text/plain": text}
    return {**shown, **more}, {**told, "image/jpeg": {"alt": alt}}


Whiskers = Mapping[str, Mapping[str, tuple[float, float, float]]]  # row, series: value, low, high


def whisker_groups(panels: Mapping[str, Whiskers], xlabel: str, zero: bool = True) -> Figure:
    """Plot panels beside each other, the same rows in each, with some series in every row.

    panels: {panel: {row: {series: (value, low, high)}}}. Panels share their scale; the series of
    a row lie close below each other, told apart by marks and dashes too.
    """
    table = next(iter(panels.values()))
    rows, names = list(table), list(next(iter(table.values())))
    figure = Figure(figsize=(2 + 3.2 * len(panels), 0.24 * len(rows) * len(names) + 1.4))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, shown) in zip(axes, panels.items(), strict=True):
        _draw_groups(axis, shown, names)
        axis.set_title(title if len(panels) > 1 else "", fontsize=10)
        axis.set_xlabel(xlabel, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        if zero:
            axis.axvline(0, color=GREY, lw=1)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    marks, told = axes[0].get_legend_handles_labels()
    place: Any = {"loc": "outside upper center", "ncols": len(names)}
    figure.legend(marks, told, frameon=False, fontsize=9, **place)
    return figure


def _draw_groups(axis: Axes, rows: Whiskers, names: Sequence[str]) -> None:
    """Draw the series `names` of every row on an axes, row i around height i."""
    looks = zip(COLOURS, DASHES, "os^D", strict=True)
    for i, (name, (colour, dash, mark)) in enumerate(zip(names, looks, strict=False)):
        for row, series in enumerate(rows.values()):
            place, (value, low, high) = row + (i - (len(names) - 1) / 2) * 0.24, series[name]
            axis.plot([low, high], [place, place], dash, color=colour, lw=2)
            axis.plot([value], [place], mark, color=colour, ms=6)
        axis.plot([], [], mark + dash, color=colour, lw=2, label=name)  # for the legend
