"""The data-flow picture: its words stay in their boxes and name what exists."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_flow import BOXES, WIDTH, data_flow_figure, save_diagrams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from PIL import Image

import scl


@pytest.fixture(scope="module")
def drawn():
    """The figure on a canvas; a missing glyph would warn, and a warning is an error here."""
    figure = data_flow_figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    return figure


def words(figure):
    """Every text with its extent in pixels."""
    return [(text, text.get_window_extent()) for text in figure.axes[0].texts]


def test_no_text_leaves_its_box(drawn):
    borders = {p.get_gid(): p.get_window_extent() for p in drawn.axes[0].patches if p.get_gid()}
    assert set(borders) == {box.name for box in BOXES}
    inside = [(text, extent) for text, extent in words(drawn) if text.get_gid() in borders]
    assert len(inside) > 60
    for text, extent in inside:
        border = borders[text.get_gid()]
        room = (extent.x0 - border.x0, border.x1 - extent.x1,
                extent.y0 - border.y0, border.y1 - extent.y1)  # fmt: skip
        assert min(room) >= 4, f"{text.get_text()!r} has {room} pixels around it"


def test_texts_pictures_and_arrows_keep_apart(drawn):
    extents = words(drawn)
    pictures = [image.get_window_extent() for image in drawn.axes[0].images]
    segments = []
    for line in drawn.axes[0].lines:
        corners = drawn.axes[0].transData.transform(line.get_xydata())
        ends = zip(corners, corners[1:], strict=False)
        segments += [Bbox([np.minimum(a, b), np.maximum(a, b)]) for a, b in ends]
    for place, (text, extent) in enumerate(extents):
        others = [*pictures, *segments, *(other for _, other in extents[:place])]
        # Extents include the room of letters that hang down, so a pixel or two may be shared.
        tight = extent.padded(-2)
        assert not any(tight.overlaps(other) for other in others), text.get_text()
        assert 0 <= extent.x0 and extent.x1 <= WIDTH


def test_letters_stay_readable_in_a_readme(drawn):
    scale = 900 / WIDTH * drawn.dpi / 72
    assert min(text.get_fontsize() for text, _ in words(drawn)) * scale >= 10.5


def test_every_file_exists_and_every_equation_is_named(drawn):
    said = " ".join(text.get_text() for text, _ in words(drawn))
    files = set(re.findall(r"\w+(?:\.py|/)", said))
    assert len(files) >= 8
    package = Path(scl.__file__).parent
    assert all(list(package.rglob(name.rstrip("/"))) for name in files - {"scl/"})
    named = set()
    for first, last in re.findall(r"Eq\. (\d+)(?:-(\d+))?", said):
        named |= set(range(int(first), int(last or first) + 1))
    assert named == set(range(1, 18))


def test_the_stored_picture_is_small(tmp_path):
    save_diagrams(tmp_path / "new")
    path = tmp_path / "new" / "data-flow.png"
    assert path.stat().st_size < 150_000
    assert Image.open(path).width == WIDTH
