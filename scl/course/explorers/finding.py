"""Explore trust: spoil the masks that a finder is shown, and watch what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from scl.course.draw import enlarge, mosaic, outlined, squared
from scl.course.explorers.fusion import LEFT_OUT, spoil_kinds
from scl.course.finding import overlap, tile
from scl.course.spoil import spoil_item
from scl.course.widgets import dropdown, explorer
from scl.device import device_of
from scl.evaluation.finder import Finder, Found
from scl.evaluation.overlay import TRUTH
from scl.method.episode import Dataset


class FindingLook(NamedTuple):
    """Hold what a finder makes of one photograph, some of its K supports spoiled."""

    label: str  # the class
    images: list[np.ndarray]  # of the supports, H x W x 3
    masks: list[np.ndarray]  # of the supports, H x W
    kinds: tuple[str, ...]  # how each was spoiled
    own: list[float]  # [K], IOU of each found in itself; NaN if left out
    scores: list[float]  # [K], how well each finds the others (Eq. 16); NaN if left out
    query: np.ndarray  # H x W x 3
    truth: np.ndarray  # H x W
    found: Found
    overlap: float  # of what was found with truth


def finding_look(
    finder: Finder,
    dataset: Dataset,
    supports: Sequence[int],
    query: int,
    spoils: Sequence[str] | None = None,
    seed: int = 0,
) -> FindingLook:
    """Spoil supports, show them to a finder, and look for the thing in one photograph.

    finder: lends its model, and keeps its own supports; supports, query: items of the data set;
    spoils: for each support one of SPOILS or "left out"; None: all clean.
    """
    kinds = tuple(spoils or ["clean"] * len(supports))
    kept = [place for place, kind in enumerate(kinds) if kind != LEFT_OUT]
    if not kept:
        raise ValueError("Every support is left out, so nothing guides: put at least one back.")
    images = [dataset[item][0] for item in supports]
    masks = [  # one that is left out keeps its own
        spoil_item(dataset, item, kind.replace(LEFT_OUT, "clean"), np.random.default_rng((seed, k)))
        for k, (item, kind) in enumerate(zip(supports, kinds, strict=True))
    ]
    device = device_of(finder.model)
    other = Finder(finder.model, finder.framing, finder.fusion, finder.least, device)
    other.fit([images[k] for k in kept], [masks[k] for k in kept])
    trust = [dict(zip(kept, numbers, strict=True)) for numbers in other.trust]
    own, scores = ([known.get(k, np.nan) for k in range(len(kinds))] for known in trust)
    (image, truth), label = dataset[query], dataset.classes[dataset.labels[query]]
    found = other.find(image)
    shared = overlap(found.mask, truth)
    return FindingLook(label, images, masks, kinds, own, scores, image, truth, found, shared)


def finding_figure(view: FindingLook) -> Figure:
    """Show the supports as they were shown, and what was found.

    In each title: how well a support is found in itself / how well it finds the others.
    """
    pictures, titles = list[np.ndarray | None](), list[str]()
    for k, (image, mask) in enumerate(zip(view.images, view.masks, strict=True)):
        out = view.kinds[k] == LEFT_OUT
        pictures.append(enlarge(squared(image)) if out else tile(image, mask, TRUTH))
        numbers = "" if out else f": {view.own[k]:.2f} / {view.scores[k]:.2f}"
        titles.append(f"{k + 1} {view.kinds[k]}{numbers}")
    pictures.append(outlined(tile(view.query, view.found.mask), squared(view.truth, 0)))
    titles.append(f"found: overlap {view.overlap:.2f}")
    return mosaic(pictures, titles, len(pictures))


def finding_explorer(
    finder: Finder,
    dataset: Dataset,
    supports: Sequence[int],
    query: int,
    spoils: Sequence[str] | None = None,
    seed: int = 0,
) -> ipywidgets.VBox:
    """Spoil supports one by one; trust, and what is found in one photograph, follow.

    The static twin is finding_figure(finding_look(finder, dataset, supports, query, spoils, seed)).
    """
    starts = spoils or ["clean"] * len(supports)
    controls = {
        f"support_{k}": dropdown(f"support {k}", spoil_kinds(dataset, item), start, "15em")
        for k, (item, start) in enumerate(zip(supports, starts, strict=True), 1)
    }

    def draw(**kinds: str) -> Figure:
        return finding_figure(
            finding_look(finder, dataset, supports, query, tuple(kinds.values()), seed)
        )

    return explorer(draw, controls)
