"""The two-colour world, where one average must fail and two vectors do not: why there is v_aux.

A cell is two numbers, how red and how blue it is. A lamp with a shade and a foot stands before a
wallpaper whose cells are a mixture of both. The arithmetic is also in twocolours.js, for pages
without Python; a test compares the two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from torch import Tensor

from scl.course.draw import PREDICTED, SIDE, heat, outlined, overlay, with_still
from scl.course.measure import Cut, best_cut
from scl.evaluation.overlay import BLUE, GREY, VERMILION, grow, rgb
from scl.method.vectors import cosine_map, guiding_vectors, masked_gap, split_regions

HERE = Path(__file__).parent
LAMP = (
    "........",
    "...ss...",
    "..ssss..",
    "..ssss..",
    ".ssssss.",
    "...ff...",
    "...ff...",
    "..ffff..",
)
KINDS = {"s": "shade", "f": "foot", ".": "wallpaper"}
MARKS = {"shade": ("o", VERMILION), "foot": ("^", BLUE), "wallpaper": ("s", GREY)}
SPREAD = 0.06  # how far a cell lies from the middle of its kind, at most, in each number
FIRST_CUT = 0.75  # the first prediction takes cells whose cosine to v_s is larger
REACH = 1.25  # how much of each number the plane shows


@dataclass(frozen=True)
class Colours:
    """Where the middles of the three kinds of cells lie: (how red, how blue)."""

    shade: tuple[float, float] = (1.0, 0.0)
    foot: tuple[float, float] = (0.0, 1.0)
    wallpaper: tuple[float, float] = (0.5, 0.5)


TWO_COLOURS, ONE_COLOUR = Colours(), Colours(foot=(1.0, 0.0))


class World(NamedTuple):
    """A picture of 8 x 8 cells: features [1, 2, 8, 8], the lamp's mask [1, 8, 8], kinds [8, 8]."""

    features: Tensor
    mask: Tensor
    kinds: np.ndarray
    colours: Colours


class View(NamedTuple):
    """What a guide of one or two vectors makes of the picture it was made from."""

    world: World
    vectors: dict[str, Tensor]  # by name, [2] each
    similarity: Tensor  # [8, 8], each cell's cosine to the nearer vector
    cut: Cut  # the best of all thresholds on it, and its IoU with the lamp
    lost: Tensor  # [8, 8], cells of the lamp that the first prediction lost; none for one vector


def two_colours(colours: Colours = TWO_COLOURS) -> World:
    """Make the world, each cell a little off the middle of its kind."""
    kinds = np.array([[KINDS[letter] for letter in row] for row in LAMP])
    middles = torch.tensor([[getattr(colours, kind) for kind in row] for row in kinds]).double()
    # No random numbers, so that JavaScript scatters the cells alike.
    count = torch.arange(1, kinds.size + 1, dtype=torch.float64).reshape(kinds.shape)
    scatter = torch.stack([(12.9898 * count).sin(), (78.233 * count).sin()])
    features = middles.permute(2, 0, 1) + SPREAD * scatter
    return World(features[None], torch.tensor(kinds != "wallpaper").double()[None], kinds, colours)


def by_average(world: World) -> View:
    """Guide by one vector, v_s of Eq. 1."""
    v_s = masked_gap(world.features, world.mask)
    return _view(world, {"v_s": v_s}, torch.zeros_like(world.mask))


def by_two(world: World, first_cut: float = FIRST_CUT) -> View:
    """Guide by two vectors, Eq. 4-6; a cosine to v_s above `first_cut` is the first prediction."""
    features, mask = world.features, world.mask
    v_s = masked_gap(features, mask)
    found, lost = split_regions(mask, cosine_map(features, v_s) > first_cut)
    v_pri, v_aux = guiding_vectors(features, v_s, found, lost).unbind(dim=1)
    return _view(world, {"v_pri": v_pri, "v_aux": v_aux}, lost)


def _view(world: World, vectors: dict[str, Tensor], lost: Tensor) -> View:
    """Compare each cell with the nearer of some vectors [1, 2], and cut as well as can be."""
    maps = [cosine_map(world.features, vector)[0] for vector in vectors.values()]
    similarity = torch.stack(maps).amax(dim=0)
    cut = best_cut(similarity, world.mask[0])
    return View(world, {n: v[0] for n, v in vectors.items()}, similarity, cut, lost[0])


def middle_cosines(view: View) -> dict[str, float]:
    """Compare the middle of each kind with the nearer of the vectors, by cosine."""
    near = torch.stack(list(view.vectors.values()))
    middles = {kind: torch.tensor(m).double() for kind, m in asdict(view.world.colours).items()}
    return {k: torch.cosine_similarity(near, m[None]).max().item() for k, m in middles.items()}


def what_we_saw(view: View) -> str:
    """Say what a view shows, from its numbers."""
    near = middle_cosines(view)
    who = "The nearer of v_pri and v_aux" if len(view.vectors) > 1 else "v_s"
    least = min(("shade", "foot"), key=lambda part: near[part])
    if near["wallpaper"] > max(near["shade"], near["foot"]):
        side = "nearer to the wallpaper than to either part of the lamp"
    elif near["wallpaper"] > near[least]:
        side = f"nearer to the wallpaper than to the {least}"
    else:
        side = "nearer to both parts of the lamp than to the wallpaper"
    return (
        f"{who} has cosine {near['shade']:.2f} to the shade, {near['foot']:.2f} to the foot and "
        f"{near['wallpaper']:.2f} to the wallpaper: {side}. "
        f"The best of all thresholds gives IoU {view.cut.iou:.3f}."
    )


# ------------------------------------------------------------------------------ what is seen


def two_colours_figure(name: str, view: View) -> Figure:
    """Draw the plane of the two numbers under a name, the picture, the cosines, the prediction."""
    picture, mask = _painted(view.world), view.world.mask[0].numpy()
    best = overlay(picture, {PREDICTED: (view.similarity > view.cut.threshold).numpy()})
    pictures = {
        "picture; dashed: the lamp": picture,
        f"cosine to {' or '.join(view.vectors)}": heat(view.similarity.numpy()),
        f"best threshold: IoU {view.cut.iou:.3f}": best,
    }
    figure = Figure(figsize=(8.2, 2.23))
    plane = figure.add_axes((0.055, 0.16, 0.2, 0.736))
    plane.set_title(name, fontsize=9)
    _draw_plane(plane, view)
    for column, (title, shown) in enumerate(pictures.items()):
        axis = figure.add_axes((0.285 + 0.24 * column, 0.16, 0.2, 0.736))
        axis.imshow(outlined(shown, mask), interpolation="nearest")
        axis.axis("off")
        axis.set_title(title, fontsize=9)
    return figure


def _painted(world: World) -> np.ndarray:
    """Paint the cells, SIDE x SIDE x 3 uint8: white takes on red and blue, told apart by all."""
    shares = world.features[0].permute(1, 2, 0).numpy()
    pixels = 255 - shares @ (255 - np.stack([rgb(VERMILION), rgb(BLUE)]))
    return grow(pixels.clip(0, 255).astype(np.uint8), (SIDE, SIDE))


def _draw_plane(axis: Axes, view: View) -> None:
    """Draw the cells by their numbers, lost ones hollow, the vectors, and the best cone."""
    cone = np.rad2deg(np.arccos(np.clip(view.cut.threshold, -1, 1)))
    for name, vector in view.vectors.items():
        x, y = vector.tolist()
        middle = np.rad2deg(np.arctan2(y, x))
        wedge = Wedge((0, 0), 3, middle - cone, middle + cone, color=GREY, alpha=0.22, lw=0)
        axis.add_patch(wedge)
        axis.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black"})
        axis.annotate(name, (x, y), (-4, 9), textcoords="offset points", fontsize=9)
    for kind, (mark, colour) in MARKS.items():
        for lost in (0, 1):
            chosen = (view.world.kinds == kind) & (view.lost.numpy() == lost)
            cells = view.world.features[0].numpy()[:, chosen]
            axis.plot(*cells, mark, ms=4, mec=colour, mfc="none" if lost else colour, alpha=0.8)
    axis.set(xlim=(-0.1, REACH), ylim=(-0.1, REACH), xticks=[0, 1], yticks=[0, 1])
    axis.set_xlabel("red", fontsize=8, labelpad=-8)
    axis.set_ylabel("blue", fontsize=8, labelpad=-8)
    axis.tick_params(labelsize=8)


class TwoColours(anywidget.AnyWidget):
    """The world to drag. `view` is what its reader has made of it, `figure()` the still twin."""

    _esm = HERE / "twocolours.js"
    _css = HERE / "twocolours.css"
    colours = traitlets.Dict().tag(sync=True)  # of Colours, as JavaScript holds it
    vectors = traitlets.Int().tag(sync=True)  # how many guide, 1 or 2
    first_cut = traitlets.Float(FIRST_CUT).tag(sync=True)

    def __init__(self, colours: Colours = TWO_COLOURS, vectors: int = 1) -> None:
        if vectors not in (1, 2):
            raise ValueError(f"vectors={vectors}: expected 1 (v_s) or 2 (v_pri and v_aux)")
        start = {kind: list(middle) for kind, middle in asdict(colours).items()}
        super().__init__(colours=start, vectors=vectors)

    @property
    def view(self) -> View:
        """Look at the world as it stands."""
        world = two_colours(Colours(**{kind: tuple(m) for kind, m in self.colours.items()}))
        return by_average(world) if self.vectors == 1 else by_two(world, self.first_cut)

    def figure(self) -> Figure:
        """Draw the world as it stands."""
        return two_colours_figure("one vector" if self.vectors == 1 else "two vectors", self.view)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """Give a page without Python or controls the still twin in the world's place."""
        words = f"A lamp of cells before a wallpaper. {what_we_saw(self.view)}"
        return with_still(super()._repr_mimebundle_(**kwargs), self.figure(), words, words)
