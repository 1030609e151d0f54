"""Widgets: a few controls above a picture, thin over `draw`, `looks` and `panels`.

Only `observe` and `Image.value` are used: `interact` and `Output` make headless runs hang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from scl.course.draw import found_lost_figure, to_bytes
from scl.course.looks import fusion_look, look, read_stored, spoil_kinds
from scl.course.panels import found_lost_query_figure, fusion_figure, loss_figure, message_figure
from scl.datasets.bank import FeatureBank
from scl.datasets.folds import FOLDS
from scl.method.episode import Dataset, EpisodeIndex
from scl.method.scl import SCL
from scl.study.grid import GUIDED, RESULTS, SEEDS
from scl.study.tables import NAMES

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
EPISODES_SHOWN = 8  # of each class, at most


def explorer(
    draw: Callable[..., Figure], controls: Mapping[str, ipywidgets.ValueWidget]
) -> ipywidgets.VBox:
    """Controls, and below them the picture draw(name=value, ...) of their values.

    draw: draws the static twin, too; controls: argument of draw to the control that sets it.

    Tab goes from control to control. Arrow keys move a slider; Space opens a dropdown, then arrow
    keys and Enter choose (the arrow keys of a closed one are JupyterLab's own). The function that
    reacts is the box's `react`, a plain function of a change ({"new": value, "owner": control};
    the owner may be left out where there is one control), for tests and for other code to call.
    `box.controls` and `box.picture` are the parts. Values that cannot be drawn (a ValueError) show
    the reason in the picture's place.
    """

    def values() -> dict[str, object]:
        return {name: control.value for name, control in controls.items()}

    def react(change: dict) -> None:
        owner = change.get("owner", first)
        changed = {name: change["new"] for name, c in controls.items() if c is owner}
        try:
            figure = draw(**{**values(), **changed})
        except ValueError as error:
            figure = message_figure(str(error))
        picture.value = to_bytes(figure)

    first = next(iter(controls.values()))
    # At its own size: stretched to the width of the page its lines and letters would blur.
    shape = {"max_width": "100%", "align_self": "flex-start"}
    picture = ipywidgets.Image(value=to_bytes(draw(**values())), format="jpeg", layout=shape)
    for control in controls.values():
        control.observe(react, names="value")
    row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap"})
    box = ipywidgets.VBox([first if len(controls) == 1 else row, picture])
    box.react, box.controls, box.picture = react, dict(controls), picture
    return box


def _slider(
    name: str, values: Sequence[object], start: object, width: str = "28em"
) -> ipywidgets.SelectionSlider:
    """A slider that reports a value when it comes to rest."""
    return ipywidgets.SelectionSlider(
        options=list(values),
        value=start,
        description=name,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"width": width},
    )


def _dropdown(
    name: str, options: Sequence[object], start: object, width: str
) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=list(options),
        value=start,
        description=name,
        style={"description_width": "initial"},
        layout={"width": width},
    )


def slider_picture(
    draw: Callable[[object], Figure], name: str, values: Sequence[object], start: object
) -> ipywidgets.VBox:
    """A slider over `values`; the picture below it is draw(value). See `explorer`."""
    return explorer(lambda value: draw(value), {"value": _slider(name, values, start)})


def found_lost_slider(
    image: np.ndarray, mask: np.ndarray, probability: np.ndarray, label: str
) -> ipywidgets.VBox:
    """Move the threshold of the first support prediction; found and lost regions follow.

    Arguments as for scl.course.draw.found_lost_figure, which draws the static twin.
    """
    return slider_picture(
        lambda t: found_lost_figure(image, mask, probability, t, label),
        "threshold",
        THRESHOLDS,
        0.5,
    )


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
        "guide": _dropdown("guidance", list(models), next(iter(models)), "25em"),
        "label": _dropdown("class", list(by_class), next(iter(by_class)), "12em"),
        "episode": _slider("episode", range(1, count + 1), 1, "18em"),
        "threshold": _slider("threshold", THRESHOLDS, threshold),
    }
    return explorer(draw, controls)


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
        f"support_{k}": _dropdown(f"support {k}", spoil_kinds(dataset, item), start, "15em")
        for k, (item, start) in enumerate(zip(episode.supports, starts, strict=True), 1)
    }

    def draw(**kinds: str) -> Figure:
        return fusion_figure(
            fusion_look(model, dataset, bank, episode, tuple(kinds.values()), seed)
        )

    return explorer(draw, controls)


def loss_explorer(results: Path = RESULTS) -> ipywidgets.VBox:
    """Choose a row of the tables, a fold and a seed; stored losses and mIoU follow.

    The files are read once, here. The static twin is
    loss_figure(read_stored(results), variant, fold, seed).
    """
    stored = read_stored(results)

    def draw(variant: str, fold: int, seed: int | str) -> Figure:
        return loss_figure(stored, variant, fold, seed)

    rows = [(NAMES[variant], variant) for variant in GUIDED]
    seeds = [("all", "all"), *((str(seed), seed) for seed in SEEDS)]
    controls = {
        "variant": _dropdown("row", rows, "scl", "26em"),
        "fold": _dropdown("fold", range(FOLDS), 0, "8em"),
        "seed": _dropdown("seed", seeds, "all", "8em"),
    }
    return explorer(draw, controls)
