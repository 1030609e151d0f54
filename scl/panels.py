"""The figures of the three explorers, and the small computations behind them.

Each explorer of scl.widgets redraws one figure of this module; the same call, without a control
beside it, is its static twin. A figure is drawn from a plain record (`look`, `fusion_look`,
`read_stored`), so that tests and notebooks can read the numbers it shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from scl.backbones import LITE0_STAGES, MID_STAGES, Backbone
from scl.bank import Batch, FeatureBank, take_maps
from scl.draw import (
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
from scl.episode import Dataset, EpisodeIndex
from scl.experiments import GUIDED, RESULTS, SEEDS, grid
from scl.fusion import fuse, pair_iou
from scl.heads import Prediction, Role
from scl.model import SCL, Maps, Support
from scl.rules import SELF_GUIDED, VECTOR_NAMES, Guidance
from scl.spoil import SPOILS, spoil_mask
from scl.tables import NAMES
from scl.vectors import cosine_map, guiding_vectors, shrink_mask, split_regions

LEFT_OUT = "left out"
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


class CosineGuide(nn.Module):
    """A head without training, for two vectors: a cell's cosine to the nearer one is its chance.

    channels: the mid-level channels that are compared. The softmax of the score maps is the
    cosine, clamped, so a threshold on that probability is one on the cosine.
    """

    n = 2
    hint: Literal["history", "prior"] = "history"

    def __init__(self, channels: slice):
        super().__init__()
        self.channels = channels

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return mid[:, self.channels]

    def support(
        self, features: Tensor, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        cosines = [cosine_map(features, vector) for vector in vectors.unbind(dim=1)]
        # Score maps are enlarged before the softmax: a chance of zero would pull too hard there.
        chance = torch.stack(cosines).amax(dim=0).clamp(0.02, 0.98)
        return Prediction(torch.stack([(1 - chance).log(), chance.log()], dim=1))

    def query(self, features: Tensor, vectors: Tensor, hint: Tensor) -> Prediction:
        return self.support(features, vectors)


def cosine_guides(backbone: Backbone) -> dict[str, SCL]:
    """Name to guide: the cosine on each mid-level stage of EfficientNet-Lite0, and on both."""
    (low, a), (high, b) = ((stage + 1, LITE0_STAGES[stage][-1]) for stage in MID_STAGES)
    stages = {
        f"cosine, stage {low} ({a} channels)": slice(0, a),
        f"cosine, stage {high} ({b} channels)": slice(a, None),
        f"cosine, both ({a + b} channels)": slice(None),
    }
    return {
        name: SCL(backbone, CosineGuide(channels), SELF_GUIDED).eval()
        for name, channels in stages.items()
    }


class Look(NamedTuple):
    """What a guide makes of one episode under one threshold.

    label: the class; support, query: H x W x 3 uint8; mask: h x w, the support's, shrunk; truth:
    H x W, the query's, ignored pixels as 255; unit: what probability is, "probability" or
    "cosine"; probability: h x w, the first support prediction (Eq. 3); threshold: what cuts it;
    found, lost: h x w (Eq. 5-6); empty: what an empty region sends, "v_s" or "0"; predictions:
    vectors that guide ("v_s", "v_pri", "v_aux", "both") to the query's prediction, H x W bool;
    ious: the same names to its IoU with truth, at H x W.
    """

    label: str
    support: np.ndarray
    query: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    unit: str
    probability: np.ndarray
    threshold: float
    found: np.ndarray
    lost: np.ndarray
    empty: str
    predictions: dict[str, np.ndarray]
    ious: dict[str, float]


def look(
    model: SCL,
    dataset: Dataset,
    bank: FeatureBank,
    episode: EpisodeIndex,
    threshold: float = 0.5,
) -> Look:
    """Split the episode's first support at a threshold, and segment its query with each part.

    model: a trained model guided by ("pri", "aux"), or one of cosine_guides. A trained model's
    query is decided by argmax, as always; the cosine's is cut at the same threshold.
    """
    if model.guidance.vectors != SELF_GUIDED.vectors:
        raise ValueError(
            f"a model guided by {model.guidance.vectors}: expected {SELF_GUIDED.vectors}, whose "
            "two places also take v_s twice"
        )
    batch = bank.batch([episode._replace(supports=episode.supports[:1])])
    support = model.condition(batch.support, batch.support_masks)
    probability = support.guide.first.logits.softmax(dim=1)[:, 1]
    found, lost = split_regions(support.mask[:, 0], probability > threshold, model.rules)
    cosine = isinstance(model.head, CosineGuide)
    chance = _query_chances(model, support, found, lost, batch)
    predicted = chance > (threshold if cosine else 0.5)
    ious = pair_iou(predicted, batch.query_masks.expand_as(predicted), model.rules).tolist()
    names = ("v_s", "v_pri", "v_aux", "both")
    return Look(
        label=dataset.classes[episode.label],
        support=dataset[episode.supports[0]][0],
        query=dataset[episode.query][0],
        mask=_array(support.mask[0, 0]),
        truth=_array(batch.query_masks[0]),
        unit="cosine" if cosine else "probability",
        probability=_array(probability[0]),
        threshold=threshold,
        found=_array(found[0]),
        lost=_array(lost[0]),
        empty="v_s" if model.rules.empty == "initial" else "0",
        predictions=dict(zip(names, _array(predicted), strict=True)),
        ious=dict(zip(names, ious, strict=True)),
    )


def _query_chances(
    model: SCL, support: Support, found: Tensor, lost: Tensor, batch: Batch
) -> Tensor:
    """The query's foreground probability, [4, H, W]: under v_s, v_pri, v_aux, and the last two."""
    features, every = support.features[:, 0], Guidance(VECTOR_NAMES)
    three = guiding_vectors(features, support.guide.v_s, found, lost, every, model.rules)[0]
    # A head takes two vectors, so a vector alone stands in both places, as v_s does in Eq. 2.
    pairs = torch.cat([three.unsqueeze(1).expand(-1, 2, -1), three[None, 1:]])
    queries = Maps(*(None if m is None else m.expand(4, *m.shape[1:]) for m in batch.query))
    four = replace(support, vectors=pairs.unsqueeze(1))
    return model.segment(four, queries, size=tuple(batch.query_masks.shape[-2:])).fused[:, 1]


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


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


class FusionLook(NamedTuple):
    """What K supports, some of them spoiled, make of one query.

    images, masks: of the K supports, H x W x 3 and H x W; kinds: how each was spoiled;
    mutual: [K, K], IOU of support i predicted under support k (Eq. 15-16), and scores: [K], U of
    Eq. 16, both NaN where a support is left out; query, truth: H x W x 3, H x W; predictions:
    "plain average" and "cross-guided" to H x W bool; ious: the same names to the IoU, at H x W.
    """

    label: str
    images: list[np.ndarray]
    masks: list[np.ndarray]
    kinds: tuple[str, ...]
    mutual: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]
    ious: dict[str, float]


def other_mask(dataset: Dataset, index: int) -> np.ndarray | None:
    """The mask of another object in a picture; None where the data set knows of none."""
    try:
        return dataset.wrong_mask(index) if hasattr(dataset, "wrong_mask") else None
    except ValueError:
        return None


def spoil_kinds(dataset: Dataset, index: int) -> tuple[str, ...]:
    """What can be done to one support: SPOILS, as far as its picture allows, or to leave it out."""
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
    masks, truth = _spoiled_masks(dataset, episode, kinds, seed), bank.masks[[episode.query]]
    given = torch.from_numpy(np.stack([masks[k] for k in kept]))[None].to(truth.device)
    maps = _support_maps(model, bank, [episode.supports[k] for k in kept], given)
    query = take_maps(bank.maps, torch.tensor([episode.query]))._replace(masked=None)
    done = model.segment(model.condition(maps, given), query, size=tuple(truth.shape[-2:]))
    average = fuse(done.logits, torch.ones_like(done.scores), model.rules)
    chances = {"plain average": average[:, 1], "cross-guided": done.fused[:, 1]}
    return FusionLook(
        label=dataset.classes[episode.label],
        images=[dataset[i][0] for i in episode.supports],
        masks=masks,
        kinds=kinds,
        mutual=_put_back(_array(done.mutual[0]), kept, len(kinds)),
        scores=_put_back(_array(done.scores[0]), kept, len(kinds)),
        query=dataset[episode.query][0],
        truth=_array(truth[0]),
        predictions={name: _array(chance[0] > 0.5) for name, chance in chances.items()},
        ious={n: pair_iou(c > 0.5, truth, model.rules).item() for n, c in chances.items()},
    )


def _spoiled_masks(
    dataset: Dataset, episode: EpisodeIndex, kinds: Sequence[str], seed: int
) -> list[np.ndarray]:
    """The masks of all supports; one that is left out keeps its own."""
    return [
        spoil_mask(
            dataset[item][1],
            "clean" if kind == LEFT_OUT else kind,
            other_mask(dataset, item) if kind == "wrong object" else None,
            np.random.default_rng((seed, place)),
        )
        for place, (item, kind) in enumerate(zip(episode.supports, kinds, strict=True))
    ]


@torch.no_grad()
def _support_maps(model: SCL, bank: FeatureBank, items: Sequence[int], masks: Tensor) -> Maps:
    """Maps [1, K, ...] of some items under other masks [1, K, H, W]: only the prior's depend."""
    maps = take_maps(bank.maps, torch.tensor(items))
    if maps.masked is not None:
        small = shrink_mask(masks[0], maps.mid.shape[-2:], model.rules)
        maps = maps._replace(masked=model.backbone.high(maps.mid, small))
    return Maps(*(None if m is None else m[None] for m in maps))


def _put_back(values: np.ndarray, kept: Sequence[int], count: int) -> np.ndarray:
    """Numbers of the kept supports, [k] or [k, k], among those of all, NaN in between."""
    out = np.full((count,) * values.ndim, np.nan)
    out[np.ix_(*[kept] * values.ndim)] = values
    return out


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


class Stored(NamedTuple):
    """What stored cells say about training.

    curves: (variant, fold, seed) to the cell's "curve", a list of {"step", "q", ..., "total"};
    ladders: (variant, fold) to the plateau cell's "ladder", a list of {"steps", "base",
    "validation", "novel", ...}.
    """

    curves: dict[tuple[str, int, int], list[dict[str, float]]]
    ladders: dict[tuple[str, int], list[dict[str, float]]]


def read_stored(results: Path = RESULTS, data: str = "toyshop", head: str = "canet") -> Stored:
    """Read every stored cell of a grid once; those that were not run are left out."""
    stored = Stored({}, {})
    for cell in grid(data, head):
        path = cell.path(Path(results))
        if cell.stage == "tuning" or cell.variant not in GUIDED or not path.is_file():
            continue
        record = json.loads(path.read_text())
        if cell.stage == "plateau":
            stored.ladders[cell.variant, cell.fold] = record["ladder"]
        elif "step" in (record.get("curve") or [{}])[0]:  # cells of an earlier form count none
            stored.curves[cell.variant, cell.fold, cell.seed] = record["curve"]
    return stored


def plateau_variant(variant: str) -> str:
    """The variant with plateau cells that is nearest: "v_s" where v_s alone guides, or "scl"."""
    return "v_s" if GUIDED[variant].vectors == ("s",) else "scl"


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
