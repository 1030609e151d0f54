"""Explore Figure 4: what a guide finds and loses, and how each part segments the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from scl.course.draw import enlarge, found_lost_figure, heat, mosaic, outlined
from scl.course.widgets import dropdown, explorer, slider
from scl.datasets.bank import FeatureBank
from scl.evaluation.overlay import FOUND, LOST, PREDICTED, TRUTH, overlay
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.fusion import pair_iou
from scl.method.records import Maps, Prediction
from scl.method.rules import SELF_GUIDED, VECTOR_NAMES
from scl.method.scl import SCL, Support
from scl.method.vectors import guiding_vectors, split_regions
from scl.method.words import expect
from scl.models.untrained import CosineGuide

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
EPISODES_SHOWN = 8  # of each class, at most


class Look(NamedTuple):
    """Hold what a guide makes of one episode under one threshold."""

    label: str  # the class
    support: np.ndarray  # H x W x 3 uint8
    query: np.ndarray  # H x W x 3 uint8
    mask: np.ndarray  # h x w, the support's, shrunk
    truth: np.ndarray  # H x W, the query's, ignored pixels as 255
    unit: str  # what probability is: "probability" or "cosine"
    probability: np.ndarray  # h x w, the first support prediction (Eq. 3)
    threshold: float  # what cuts it
    found: np.ndarray  # h x w (Eq. 5)
    lost: np.ndarray  # h x w (Eq. 6)
    empty: str  # what an empty region sends: "v_s" or "0"
    predictions: dict[str, np.ndarray]  # H x W bool, by "v_s", "v_pri", "v_aux" and "both"
    ious: dict[str, float]  # of these with truth, at H x W


def look(
    model: SCL, dataset: Dataset, bank: FeatureBank, episode: EpisodeIndex, threshold: float = 0.5
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
    probability = expect(Prediction, support.guide.first).logits.softmax(dim=1)[:, 1]
    found, lost = split_regions(support.mask[:, 0], probability > threshold, model.rules.regions)
    cosine = isinstance(model.head, CosineGuide)
    chance = _query_chances(model, support, found, lost, batch)
    predicted = chance > (threshold if cosine else 0.5)
    ious = pair_iou(predicted, batch.query_masks.expand_as(predicted), model.rules.iou).tolist()
    names = ("v_s", "v_pri", "v_aux", "both")
    return Look(
        label=dataset.classes[episode.label],
        support=dataset[episode.supports[0]][0],
        query=dataset[episode.query][0],
        mask=as_array(support.mask[0, 0]),
        truth=as_array(batch.query_masks[0]),
        unit="cosine" if cosine else "probability",
        probability=as_array(probability[0]),
        threshold=threshold,
        found=as_array(found[0]),
        lost=as_array(lost[0]),
        empty="v_s" if model.rules.empty == "initial" else "0",
        predictions=dict(zip(names, as_array(predicted), strict=True)),
        ious=dict(zip(names, ious, strict=True)),
    )


def _query_chances(
    model: SCL, support: Support, found: Tensor, lost: Tensor, batch: Episodes
) -> Tensor:
    """Predict the query's foreground, [4, H, W]: under v_s, v_pri, v_aux, and the last two."""
    features, v_s, rules = support.features[:, 0], support.guide.v_s, model.rules
    chosen = VECTOR_NAMES, rules.epsilon, rules.empty
    three = guiding_vectors(features, v_s, found, lost, *chosen)[0]
    # A head takes two vectors, so a vector alone stands in both places, as v_s does in Eq. 2.
    pairs = torch.cat([three.unsqueeze(1).expand(-1, 2, -1), three[None, 1:]])
    queries = expect(Maps, batch.query).apply(lambda m: m.expand(4, *m.shape[1:]))
    four = replace(support, vectors=pairs.unsqueeze(1))
    height, width = batch.query_masks.shape[-2:]
    return model.segment(four, queries, size=(height, width)).fused[:, 1]


def as_array(x: Tensor) -> np.ndarray:
    """Bring a tensor to NumPy, wherever it is."""
    return x.detach().cpu().numpy()


def found_lost_query_figure(view: Look) -> Figure:
    """Show the support and its split, and below the query under v_s, each part, and both."""
    share = 100 * view.found.sum() / max(view.mask.sum(), 1)
    support, query = enlarge(view.support), enlarge(view.query)
    predicted = view.probability > view.threshold
    above = {
        f"support: {view.label}, mask": overlay(support, {TRUTH: view.mask}),
        f"{view.unit}, dark 0, bright 1": heat(view.probability),
        f"first prediction > {view.threshold:.2f}": overlay(support, {PREDICTED: predicted}),
        f"primary: {share:.0f} % found": overlay(support, {FOUND: view.found}),
        f"auxiliary: {100 - share:.0f} % lost": overlay(support, {LOST: view.lost}),
    }
    known, size = view.truth == 1, " x ".join(map(str, view.truth.shape))
    below = {f"query, IoU at {size}": outlined(query, known)}
    for name, predicted in view.predictions.items():
        picture = outlined(overlay(query, {PREDICTED: predicted}), known)
        below[f"{_guided_by(name, view)}: IoU {view.ious[name]:.2f}"] = picture
    return mosaic([*above.values(), *below.values()], [*above, *below], columns=5)


def _guided_by(name: str, view: Look) -> str:
    """Name the vectors in words; an empty region has sent a stand-in."""
    if name == "both":
        return "v_pri and v_aux"
    region = {"v_pri": view.found, "v_aux": view.lost}.get(name, view.mask)
    return f"{name} alone" if region.any() else f"{name} = {view.empty}"


def rows_figure(rows: Sequence[Sequence[tuple]]) -> Figure:
    """Set pictures in rows, each (title, photograph, mask) or (title, photograph, mask, seen).

    photograph: H x W x 3 uint8; mask: h x w, dashed; seen: what to show of the photograph, h x w:
    True and False (a prediction, tinted), numbers in 0..1 (by brightness) or {colour: region}.
    """
    pictures, titles = [], []
    for title, photo, mask, *seen in (panel for row in rows for panel in row):
        picture = _seen(enlarge(photo), seen[0]) if seen else enlarge(photo)
        pictures.append(outlined(picture, np.asarray(mask)))
        titles.append(title)
    return mosaic(pictures, titles, columns=max(map(len, rows)))


def _seen(photo: np.ndarray, seen: np.ndarray | Tensor | Mapping) -> np.ndarray:
    """Show a map by its brightness, and regions tinted on the photograph."""
    if isinstance(seen, Mapping):
        return overlay(photo, seen)
    cells = np.asarray(seen)
    return overlay(photo, {PREDICTED: cells}) if cells.dtype == bool else heat(cells)


def found_lost_slider(
    image: np.ndarray, mask: np.ndarray, probability: np.ndarray, label: str
) -> ipywidgets.VBox:
    """Move the threshold of the first support prediction; found and lost regions follow.

    Arguments as for scl.course.draw.found_lost_figure, which draws the static twin.
    """

    def draw(threshold: float) -> Figure:
        return found_lost_figure(image, mask, probability, threshold, label)

    return explorer(draw, {"threshold": slider("threshold", THRESHOLDS, 0.5)})


def found_lost_explorer(
    models: Mapping[str, SCL],
    dataset: Dataset,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    threshold: float = 0.5,
) -> ipywidgets.VBox:
    """Choose guide, class, episode and threshold; the split and the query's predictions follow.

    models: name to a model guided by ("pri", "aux"), or of cosine_guides; episodes:
    of the classes to offer, the first few of each. The static twin is
    found_lost_query_figure(look(model, dataset, bank, episode, threshold)).
    """
    if not models or not episodes:
        raise ValueError(f"{len(models)} models, {len(episodes)} episodes: expected one of each")
    by_class: dict[str, list[EpisodeIndex]] = {}
    for episode in episodes:
        by_class.setdefault(dataset.classes[episode.label], []).append(episode)
    count = min(EPISODES_SHOWN, *map(len, by_class.values()))

    def draw(guide: str, label: str, episode: int, threshold: float) -> Figure:
        chosen = by_class[label][episode - 1]
        return found_lost_query_figure(look(models[guide], dataset, bank, chosen, threshold))

    controls = {
        "guide": dropdown("guidance", list(models), next(iter(models)), "25em"),
        "label": dropdown("class", list(by_class), next(iter(by_class)), "12em"),
        "episode": slider("episode", range(1, count + 1), 1, "18em"),
        "threshold": slider("threshold", THRESHOLDS, threshold),
    }
    return explorer(draw, controls)
