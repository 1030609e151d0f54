"""The whole model in one picture: Figures 2 and 3 of the paper, redrawn as one flow of data.

Boxes and arrows are rows of the tables below, in pixels of the finished picture (x to the right,
y downwards). Every box has a name, which its texts carry too: so a test can tell whether a text
leaves its box. Nothing here is computed by a model; the lamps are scenes of Toyshop.

    python docs/figures/data_flow.py results/figures
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line
from PIL import Image

from scl.course import draw
from scl.evaluation.overlay import BLUE, FOUND, GREEN, GREY, LOST, PURPLE, SKY, TRUTH, VERMILION
from scl.toyshop import Atlas, compose

WIDTH, HEIGHT, DPI = 1500, 1312, 100
PITCH, PAD = 27, 13  # from one line of text to the next; from the border to the text
INK = "black"
# Kind of box: colour, share of it in the fill, dashes of the border.
KINDS = {
    "data": (GREY, 0.07, "-"),
    "frozen": (SKY, 0.30, "-"),
    "trained": (GREEN, 0.17, "-"),
    "shared": (PURPLE, 0.45, "-"),
    "rule": (GREY, 0.0, "-"),
    "loss": (VERMILION, 0.10, "--"),
}


@dataclass(frozen=True)
class Box:
    """A box and what it says, from top to bottom.

    title: what it is; body: how ("" leaves a line free); gives: the shape of what leaves;
    source: equation and file; tag: a word on the upper border.
    """

    name: str
    place: tuple[int, int, int, int]  # x, y, width, height
    kind: str
    title: str
    body: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    tag: str = ""


SUPPORTS = Box(
    "supports", (44, 136, 240, 456), "data", "Episode: supports", ("",) * 12,
    ("images [K, 3, H, W]", "mask M_s [K, H, W]"), ("Sec. 3 · episode.py",),
)  # fmt: skip
QUERY = Box(
    "query", (44, 648, 240, 290), "data", "Episode: query", ("",) * 6,
    ("image [3, H, W]", "mask M_q [H, W]"), ("Sec. 3 · episode.py",),
)  # fmt: skip
BACKBONE = Box(
    "backbone", (318, 136, 172, 802), "frozen", "Backbone",
    ("", "", "", "EfficientNet-", "Lite0 with", "ImageNet", "weights", "", "",
     "the same for", "supports and", "query", "", "", "8 × 8 pixels", "become a cell", "", ""),
    ("mid maps", "[N, 152, h, w]"), ("", "", "encoder, Fig. 2", "backbones/"), "frozen",
)  # fmt: skip
REDUCE = Box(
    "reduce", (524, 136, 160, 802), "trained", "Head.reduce",
    ("", "", "", "one convolu-", "tion from 152", "to d channels", "", "",
     "PFENet: one", "for supports,", "one for the", "query", "", "CANet: one", "for both", "", ""),
    ("F_s and F_q", "[N, d, h, w]"), ("", "", "Fig. 2", "heads.py"), "trained",
)  # fmt: skip
GAP = Box(
    "gap", (754, 163, 268, 160), "rule", "Masked GAP",
    ("mean of F_s under the", "mask M_s (h × w cells)"), ("v_s [N, d]",),
    ("Eq. 1 · vectors.py",),
)  # fmt: skip
FIRST = Box(
    "first", (1066, 147, 278, 192), "trained", "First support pass",
    ("FPM_s of F_s, v_s, v_s", ""), ("", "P_s1 [N, 2, h, w]"), ("Eq. 2-4 · heads.py",), "trained",
)  # fmt: skip
SPLIT = Box(
    "split", (754, 410, 268, 214), "rule", "Split M_s by P_s1",
    ("blue: found", "mean: v_pri", "orange: lost", "mean: v_aux"), ("[N, d] each",),
    ("Eq. 5-6 · vectors.py",),
)  # fmt: skip
SECOND = Box(
    "second", (1066, 421, 278, 192), "trained", "Second support pass",
    ("FPM_s of F_s, v_pri, v_aux", ""), ("", "P_s2 [N, 2, h, w]"), ("Eq. 8-9 · heads.py",),
    "training only",
)  # fmt: skip
HINT = Box(
    "hint", (754, 740, 268, 216), "rule", "Hint, query pass only",
    ("PFENet: prior, from the", "frozen high-level maps", "CANet: P_q so far, or 0"),
    ("[N, 1 or 2, h, w]",), ("Sec. 5.1 · pfenet.py,", "refine.py"),
)  # fmt: skip
ASK = Box(
    "ask", (1066, 694, 278, 219), "trained", "Query pass",
    ("FPM_q of F_q, v_pri, v_aux", "and the hint", ""), ("", "P_q [N, 2, h, w]"),
    ("Eq. 11-12 · heads.py",), "trained",
)  # fmt: skip
DECODERS = tuple(
    Box(f"decoder {n}", (1080, y, 250, 36), "shared", "the one decoder D")
    for n, y in enumerate((222, 496, 796))
)
LOSSES = tuple(
    Box(f"loss {name}", (1378, y, 114, 102), "loss", name, (), (), (equation, "losses.py"))
    for name, y, equation in (
        ("L_s1", 192, "Eq. 7"), ("L_s2", 466, "Eq. 10"), ("L_q", 753, "Eq. 13")
    )
)  # fmt: skip
FUSION = (
    Box("mutual", (56, 1066, 350, 160), "rule", "Mutual predictions",
        ("each support i plays the query,", "guided by each support k"), ("IoUs [B, K, K]",),
        ("Eq. 15-16 · scl.py, fusion.py",)),
    Box("scores", (440, 1066, 264, 160), "rule", "Confidence",
        ("how well k segments all", "K supports; 1 if K = 1"), ("U [B, K]",),
        ("Eq. 16 · fusion.py",)),
    Box("fuse", (738, 1066, 366, 160), "rule", "Fused prediction",
        ("mean of the K score maps, each", "weighted by U; then softmax"), ("[B, 2, H, W]",),
        ("Eq. 17 · fusion.py",)),
    Box("score", (1158, 1066, 334, 160), "rule", "mIoU",
        ("argmax against", "the hidden M_q"), ("a number, 0..1",), ("Sec. 5.2 · metric.py",)),
)  # fmt: skip
BOXES = (
    SUPPORTS, QUERY, BACKBONE, REDUCE, GAP, FIRST, SPLIT, SECOND, HINT, ASK,
    *DECODERS, *LOSSES, *FUSION,
)  # fmt: skip
# Corners of each arrow, and the kind of what flows: data, or a loss.
ARROWS = (
    ("data", (284, 371), (318, 371)),
    ("data", (284, 793), (318, 793)),
    ("data", (490, 371), (524, 371)),
    ("data", (490, 793), (524, 793)),
    ("data", (684, 243), (754, 243)),
    ("data", (1022, 243), (1066, 243)),
    ("data", (1205, 339), (1205, 382), (888, 382), (888, 410)),
    ("data", (684, 517), (754, 517)),
    ("data", (1022, 517), (1066, 517)),
    ("data", (1038, 517), (1038, 660), (1205, 660), (1205, 694)),
    ("data", (684, 717), (1066, 717)),
    ("data", (1022, 848), (1066, 848)),
    ("loss", (1344, 243), (1378, 243)),
    ("loss", (1344, 517), (1378, 517)),
    ("loss", (1344, 804), (1378, 804)),
    ("data", (1085, 913), (1085, 1066)),
    ("data", (44, 371), (18, 371), (18, 1146), (56, 1146)),
    ("data", (406, 1146), (440, 1146)),
    ("data", (704, 1146), (738, 1146)),
    ("data", (1104, 1146), (1158, 1146)),
)
# Words beside arrows: x and y of the left lower corner.
LABELS = (
    (690, 236, "F_s"), (690, 510, "F_s"), (690, 710, "F_q"),
    (900, 374, "argmax of P_s1 (Eq. 4)"), (1052, 651, "v_pri, v_aux"),
    (1099, 998, "K score maps [B, K, 2, H, W]"),
)  # fmt: skip
# Frames around boxes: x, y, width, height, words in the upper left corner.
FRAMES = (
    (733, 98, 626, 872, "for each of the K supports (K = 1 in training)"),
    (36, 1016, 1088, 226, "cross-guided fusion: for K > 1, nothing more to train"),
)


def _mixed(colour: str, share: float) -> tuple[float, ...]:
    """A colour thinned with white: opaque, so that what lies under a box stays hidden."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return tuple(1 - share + share * rgb)


def _write(axis: Axes, x: float, y: float, text: str, name: str = "", **style: object) -> None:
    """A line of text; 19 pixels high at the full width, 11 in a README 900 pixels wide."""
    size = style.pop("pixels", 19) * 72 / DPI
    options = {"va": "baseline", "color": INK, "family": "DejaVu Sans", **style}
    axis.text(x, y, text, fontsize=size, gid=name, zorder=5, **options)


def _draw_box(axis: Axes, box: Box) -> None:
    """The border with its fill, then the lines of text, then the tag."""
    x, y, width, height = box.place
    colour, share, dash = KINDS[box.kind]
    axis.add_patch(FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=9", gid=box.name,
        facecolor=_mixed(colour, share), edgecolor=colour, linestyle=dash, lw=1.8, zorder=3,
    ))  # fmt: skip
    styles = [
        ({"weight": "bold"}, (box.title,)),
        ({}, box.body),
        ({"weight": "bold", "color": BLUE}, box.gives),
        ({"style": "italic"}, box.source),
    ]
    lines = [(line, style) for style, part in styles for line in part]
    if box.kind == "shared":
        _write(axis, x + width / 2, y + 25, box.title, box.name, ha="center")
        return
    for row, (line, style) in enumerate(lines):
        if line:
            _write(axis, x + PAD, y + PAD + 18 + row * PITCH, line, box.name, **style)
    if box.tag:
        _draw_tag(axis, box, VERMILION if box.tag == "training only" else colour)


def _draw_tag(axis: Axes, box: Box, colour: str) -> None:
    """A word in a pill on the upper border, at the right."""
    x, y, width, _ = box.place
    pill = {"boxstyle": "round,pad=0.25,rounding_size=0.6", "fc": "white", "ec": colour, "lw": 1.8}
    place = {"ha": "right", "va": "center"}
    _write(axis, x + width - 18, y - 4, box.tag, "tag", pixels=18, bbox=pill, **place)


def _draw_arrow(axis: Axes, kind: str, corners: tuple[tuple[int, int], ...]) -> None:
    """A right-angled arrow through its corners."""
    colour, dash = (VERMILION, (0, (3, 2))) if kind == "loss" else (INK, "-")
    *_, before, end = np.array(corners, float)
    axis.plot(
        *zip(*corners[:-1], tuple(end - 6 * np.sign(end - before)), strict=True),
        color=colour,
        lw=2,
        ls=dash,
        zorder=2,
        solid_joinstyle="round",
    )
    head = Line([tuple(end - 9 * np.sign(end - before)), tuple(end)])
    axis.add_patch(FancyArrowPatch(
        path=head, arrowstyle="-|>,head_width=4,head_length=7", color=colour, lw=1, zorder=4,
        shrinkA=0, shrinkB=0, mutation_scale=1.4,
    ))  # fmt: skip


def _draw_frame(axis: Axes, x: int, y: int, width: int, height: int, words: str) -> None:
    """A pale area around boxes that belong together."""
    axis.add_patch(FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=14",
        facecolor=_mixed(GREY, 0.08), edgecolor=GREY, linestyle=(0, (5, 3)), lw=1.5, zorder=0,
    ))  # fmt: skip
    _write(axis, x + 18, y + 31, words, weight="bold")


def _draw_pictures(axis: Axes) -> None:
    """Lamps: two supports with masks, the query, a split into found and lost, the query's mask."""
    atlas = Atlas.load()
    near, far, query = (compose(atlas, 0, "lamp", index, size=160) for index in (5, 3, 1))
    # A sketch of Eq. 5-6: as if the shade had been found and all the rest lost.
    shade = near.parts == near.part_names.index("shade") + 1
    split = draw.overlay(near.image, {FOUND: shade, LOST: (near.mask == 1) & ~shade})
    for picture, x, y, side in (
        (draw.overlay(near.image, {TRUTH: near.mask}), 92, 182, 144),
        (draw.overlay(far.image, {TRUTH: far.mask}), 92, 342, 144),
        (query.image, 92, 694, 144),
        (split, 910, 460, 98),
        (draw.overlay(query.image, {TRUTH: query.mask}), 1372, 1090, 108),
    ):
        axis.imshow(picture, extent=(x, x + side, y + side, y), zorder=6)


def _draw_legend(axis: Axes) -> None:
    """The title, the meaning of the fills, and the letters of the shapes."""
    _write(axis, 36, 44, "SCL: from an episode to its score", pixels=29, weight="bold")
    keys = (
        ("frozen", "frozen"),
        ("trained", "trained"),
        ("shared", "trained, one for all passes"),
        ("rule", "no weights"),
        ("loss", "loss, training only"),
    )
    for (kind, words), x in zip(keys, (36, 152, 274, 584, 746), strict=True):
        colour, share, dash = KINDS[kind]
        axis.add_patch(FancyBboxPatch(
            (x, 66), 24, 18, boxstyle="round,pad=0,rounding_size=4", lw=1.8, linestyle=dash,
            facecolor=_mixed(colour, share), edgecolor=colour,
        ))  # fmt: skip
        _write(axis, x + 33, 82, words)
    _write(axis, 1010, 82, "blue: shape of what leaves", color=BLUE, weight="bold")
    _write(
        axis,
        36,
        1272,
        "N images (B·K supports or queries)   ·   d channels   ·   "
        "h × w cells   ·   H × W pixels   ·   files lie in scl/method/",
    )
    _write(
        axis,
        36,
        1299,
        "The support passes share FPM_s, all passes share D. "
        "Training adds the three losses (Eq. 14, scl.py). Found and lost: a sketch.",
    )


def data_flow_figure() -> Figure:
    """The data flow of SCL, 1500 pixels wide at 100 dpi."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    for frame in FRAMES:
        _draw_frame(axis, *frame)
    for kind, *corners in ARROWS:
        _draw_arrow(axis, kind, tuple(corners))
    for box in BOXES:
        _draw_box(axis, box)
    for x, y, words in LABELS:
        _write(axis, x, y, words)
    _draw_legend(axis)
    _draw_pictures(axis)
    # Last, because every picture drawn into the axes sets their limits anew.
    axis.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="auto")
    axis.axis("off")
    return figure


def save_diagrams(folder: Path) -> None:
    """Write data-flow.png; 256 colours keep it small."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(draw.to_bytes(data_flow_figure(), "png", DPI))).convert("RGB")
    small = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(folder / "data-flow.png", optimize=True)


if __name__ == "__main__":
    save_diagrams(Path(sys.argv[1]))
