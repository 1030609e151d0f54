"""Explore Eq. 15-17: supports, some of them spoiled, judge each other and are fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from scl.course.draw import GAP, SIDE, TITLE, enlarge, mosaic, outlined
from scl.course.explorers.found_lost import as_array
from scl.course.spoil import SPOILS, other_mask, spoil_item
from scl.course.widgets import dropdown, explorer
from scl.datasets.bank import FeatureBank, take_maps
from scl.evaluation.overlay import BLUE, PREDICTED, TRUTH, overlay
from scl.method.episode import Dataset, EpisodeIndex
from scl.method.fusion import pair_iou
from scl.method.scl import SCL, Maps

LEFT_OUT = "left out"


class FusionLook(NamedTuple):
    """Hold what K supports, some of them spoiled, make of one query."""

    label: str  # the class
    images: list[np.ndarray]  # of the supports, H x W x 3
    masks: list[np.ndarray]  # of the supports, H x W
    kinds: tuple[str, ...]  # how each was spoiled
    mutual: np.ndarray  # [K, K], IOU of support i under support k (Eq. 15-16); NaN if left out
    scores: np.ndarray  # [K], U of Eq. 16; NaN if left out
    query: np.ndarray  # H x W x 3
    truth: np.ndarray  # H x W
    predictions: dict[str, np.ndarray]  # H x W bool, by "plain average" and "cross-guided"
    ious: dict[str, float]  # of these with truth, at H x W


def spoil_kinds(dataset: Dataset, index: int) -> tuple[str, ...]:
    """List what can be done to a support: SPOILS as its picture allows, or to leave it out."""
    none = other_mask(dataset, index) is None
    return (*(kind for kind in SPOILS if not (none and kind == "wrong object")), LEFT_OUT)


def fusion_look(
    model: SCL,
    dataset: Dataset,
    bank: FeatureBank,
    episode: EpisodeIndex,
    spoils: Sequence[str] | None = None,
    seed: int = 0,
) -> FusionLook:
    """Spoil the supports, let them judge each other (Eq. 15-16), and fuse (Eq. 17).

    spoils: for each support one of SPOILS or "left out"; None: all clean. What is drawn at
    random depends on (seed, place of the support) alone.
    """
    kinds = tuple(spoils or ["clean"] * len(episode.supports))
    if len(kinds) != len(episode.supports):
        raise ValueError(f"{len(kinds)} kinds of spoiling for {len(episode.supports)} supports")
    kept = [place for place, kind in enumerate(kinds) if kind != LEFT_OUT]
    if not kept:
        raise ValueError("Every support is left out, so nothing guides: put at least one back.")
    masks = [  # one that is left out keeps its own
        spoil_item(dataset, item, kind.replace(LEFT_OUT, "clean"), np.random.default_rng((seed, k)))
        for k, (item, kind) in enumerate(zip(episode.supports, kinds, strict=True))
    ]
    truth = bank.masks[[episode.query]]
    given = torch.from_numpy(np.stack([masks[k] for k in kept]))[None].to(truth.device)
    maps = _support_maps(model, bank, [episode.supports[k] for k in kept], given)
    query = take_maps(bank.maps, torch.tensor([episode.query]))._replace(masked=None)
    done = model.segment(model.condition(maps, given), query, size=tuple(truth.shape[-2:]))
    average = model.fuse(done.logits, torch.ones_like(done.scores)).softmax(dim=1)
    chances = {"plain average": average[:, 1], "cross-guided": done.fused[:, 1]}
    return FusionLook(
        label=dataset.classes[episode.label],
        images=[dataset[i][0] for i in episode.supports],
        masks=masks,
        kinds=kinds,
        mutual=_put_back(as_array(done.mutual[0]), kept, len(kinds)),
        scores=_put_back(as_array(done.scores[0]), kept, len(kinds)),
        query=dataset[episode.query][0],
        truth=as_array(truth[0]),
        predictions={name: as_array(chance[0] > 0.5) for name, chance in chances.items()},
        ious={n: pair_iou(c > 0.5, truth, model.rules.iou).item() for n, c in chances.items()},
    )


@torch.no_grad()
def _support_maps(model: SCL, bank: FeatureBank, items: Sequence[int], masks: Tensor) -> Maps:
    """Take maps [1, K, ...] of items under masks [1, K, H, W], on which only the prior's depend."""
    maps = take_maps(bank.maps, torch.tensor(items))
    if maps.masked is not None:
        small = model.shrink(masks[0], maps.mid)
        maps = maps._replace(masked=model.backbone.high(maps.mid, small))
    return maps.apply(lambda m: m[None])


def _put_back(values: np.ndarray, kept: Sequence[int], count: int) -> np.ndarray:
    """Put numbers of the kept supports, [k] or [k, k], among those of all, NaN in between."""
    out = np.full((count,) * values.ndim, np.nan)
    out[np.ix_(*[kept] * values.ndim)] = values
    return out


def fusion_figure(view: FusionLook) -> Figure:
    """Show the supports and their masks, and below how they judge each other, and the query."""
    count, columns = len(view.kinds), max(len(view.kinds), 5)
    pictures: list[np.ndarray | None] = [
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
    """Draw in the empty places below the table of mutual IoUs, and each row's mean as a bar.

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
    """Write a share in 0..1; a dash for one that does not exist."""
    return "\N{EN DASH}" if np.isnan(value) else f"{value:.2f}"


def _write(axis: Axes, x: Any, y: Any, text: str, **options: Any) -> None:
    """Write at a place of an axes; as the figure's own a text is drawn faster than as the axes'."""
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, **options}
    axis.figure.text(x, y, text, transform=axis.transData, **style)


def fusion_explorer(
    model: SCL,
    dataset: Dataset,
    bank: FeatureBank,
    episode: EpisodeIndex,
    spoils: Sequence[str] | None = None,
    seed: int = 0,
) -> ipywidgets.VBox:
    """Spoil supports one by one; mutual IoUs, scores and both fusions follow.

    spoils: how each support starts, None: all clean. A support whose picture shows no other
    object is not offered "wrong object". The static twin is
    fusion_figure(fusion_look(model, dataset, bank, episode, spoils, seed)).
    """
    starts = spoils or ["clean"] * len(episode.supports)
    controls = {
        f"support_{k}": dropdown(f"support {k}", spoil_kinds(dataset, item), start, "15em")
        for k, (item, start) in enumerate(zip(episode.supports, starts, strict=True), 1)
    }

    def draw(**kinds: str) -> Figure:
        view = fusion_look(model, dataset, bank, episode, tuple(kinds.values()), seed)
        return fusion_figure(view)

    return explorer(draw, controls)
