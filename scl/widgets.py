"""Widgets: a slider beside a picture, thin over the functions of scl.draw.

Only `observe` and `Image.value` are used: `interact` and `Output` make headless runs hang.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from scl.draw import found_lost_figure, to_bytes


def slider_picture(
    draw: Callable[[object], Figure], name: str, values: Sequence[object], start: object
) -> ipywidgets.VBox:
    """A slider over `values`; the picture below it is draw(value).

    Arrow keys move the slider once it has the focus (Tab). The function that reacts is the
    box's `react`, a plain function of the change, for tests and for other code to call.
    """
    slider = ipywidgets.SelectionSlider(
        options=list(values),
        value=start,
        description=name,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"width": "28em"},
    )
    picture = ipywidgets.Image(value=to_bytes(draw(start)), format="jpeg")

    def react(change: dict) -> None:
        picture.value = to_bytes(draw(change["new"]))

    slider.observe(react, names="value")
    box = ipywidgets.VBox([slider, picture])
    box.react = react
    return box


def found_lost_slider(
    image: np.ndarray, mask: np.ndarray, probability: np.ndarray, label: str
) -> ipywidgets.VBox:
    """Move the threshold of the first support prediction; found and lost regions follow.

    Arguments as for scl.draw.found_lost_figure, which draws the static twin.
    """
    values = [round(0.05 * i, 2) for i in range(1, 20)]
    return slider_picture(
        lambda t: found_lost_figure(image, mask, probability, t, label), "threshold", values, 0.5
    )
