"""Put a few controls above a picture that follows them.

Only `observe` and `Image.value` are used: `interact` and `Output` make headless runs hang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from scl.course.draw import to_bytes


def explorer(
    draw: Callable[..., Figure], controls: Mapping[str, ipywidgets.ValueWidget]
) -> ipywidgets.VBox:
    """Set controls above the picture draw(name=value, ...) of their values.

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

    def react(change: dict[str, Any]) -> None:
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


def message_figure(text: str) -> Figure:
    """Write a sentence in place of a picture that cannot be drawn."""
    figure = Figure(figsize=(9.4, 0.8))
    figure.text(0.02, 0.5, text, va="center", fontsize=11)
    return figure


def slider(
    name: str, values: Sequence[object], start: object, width: str = "28em"
) -> ipywidgets.SelectionSlider:
    """Make a slider that reports a value when it comes to rest."""
    kind = ipywidgets.SelectionSlider
    return _control(kind, name, values, start, width, continuous_update=False)


def dropdown(
    name: str, options: Sequence[object], start: object, width: str
) -> ipywidgets.Dropdown:
    """Make a list to choose from; options: values, or pairs of a name and a value."""
    return _control(ipywidgets.Dropdown, name, options, start, width)


def _control(
    kind: type, name: str, options: Sequence[object], start: object, width: str, **more: object
) -> Any:
    style, layout = {"description_width": "initial"}, {"width": width}
    chosen = {"options": list(options), "value": start, "description": name}
    return kind(**chosen, style=style, layout=layout, **more)
