"""Drawing functions return figures; widgets only change a picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scl.course import draw
from scl.course.explorers.found_lost import found_lost_slider
from scl.course.site.cells import figure_html
from scl.evaluation import overlay


def scene(side=32):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (side, side, 3)).astype(np.uint8)
    mask = np.zeros((4, 4))
    mask[1:3, 1:3] = 1
    return image, mask, rng.random((4, 4))


def test_overlay_tints_inside_and_dims_outside():
    image, mask, _ = scene()
    out = draw.overlay(image, {draw.FOUND: mask})
    assert out.shape == image.shape and out.dtype == np.uint8
    assert (out[:7, :7].max(axis=2) == out[:7, :7].min(axis=2)).all()
    assert out[:7, :7].max() <= 0.4 * 255
    assert (out[12:20, 12:20].max(axis=2) > out[12:20, 12:20].min(axis=2)).all()


def test_grow_keeps_cells():
    cells = np.arange(6).reshape(2, 3)
    big = draw.grow(cells, (7, 9))
    assert big.shape == (7, 9) and set(big[0, :3]) == {0} and big[-1, -1] == 5


@pytest.mark.parametrize("kind,magic", [("jpeg", b"\xff\xd8"), ("png", b"\x89PNG")])
def test_figures_become_files(kind, magic):
    image, mask, probability = scene()
    figures = [
        draw.found_lost_figure(image, mask, probability),
        draw.episode_figure([image], [mask], image, mask, "lamp"),
        draw.probability_figure(image, mask, {"a": probability}, "cosine", "lamp"),
        draw.curves([{"q": 1.0}, {"q": 0.5}], ["q"]),
        draw.whiskers({"a": (1, 0, 2), "b": (3, 2, 4)}, "mIoU", zero=True),
        draw.whisker_groups({"A": {"a": {"x": (1, 0, 2)}}, "B": {"a": {"x": (2, 1, 3)}}}, "mIoU"),
        draw.bars({"shade": {"found": 90.0}}, "%"),
        draw.grid_of_numbers({"x": mask, "y": mask}, mask),
    ]
    for figure in figures:
        assert draw.to_bytes(figure, kind).startswith(magic)


def test_the_found_lost_picture_says_what_share_is_found():
    image, mask, _ = scene()
    probability = np.zeros((4, 4))
    probability[1, 1:3] = 0.9
    axes = draw.found_lost_figure(image, mask, probability).axes
    titles = [a.get_title() for a in axes]
    assert titles[2].startswith("found: 50 %") and titles[3].startswith("lost: 50 %")
    plain, size = axes[0].images[0].get_array(), (draw.SIDE, draw.SIDE)
    inside = draw.grow(mask, size) == 1
    known = draw.enlarge(image)
    assert np.array_equal(plain[~inside], known[~inside]), "the picture as it is, not dimmed"


def test_the_slider_redraws_as_its_static_twin_does():
    image, mask, probability = scene()
    box = found_lost_slider(image, mask, probability, "lamp")
    slider, picture = box.children
    twin = draw.to_bytes(draw.found_lost_figure(image, mask, probability, 0.5, "lamp"))
    assert picture.value == twin
    slider.value = 0.25
    moved = draw.to_bytes(draw.found_lost_figure(image, mask, probability, 0.25, "lamp"))
    assert picture.value == moved != twin


def test_colours_stay_apart_for_readers_who_see_no_red_or_no_green():
    """Simulated protanopia and deuteranopia (Vienot, 1999): regions keep their distance."""
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    kinds = (draw.FOUND, draw.LOST, draw.TRUTH, draw.PREDICTED)
    colours = [overlay.rgb(c) / 255 for c in kinds]
    for sight in (protan, deutan):
        seen = [sight @ (c**2.2) for c in colours]
        assert np.linalg.norm(seen[0] - seen[1]) > 0.3  # found against lost
        assert np.linalg.norm(seen[2] - seen[3]) > 0.1  # truth against prediction


def test_the_words_of_a_figure_reach_a_page(monkeypatch):
    """HTML carries them to JupyterLab; the stored picture has them beside it, and only once."""
    from IPython import display
    from nbformat import v4

    from scl.course.notebooks import normalised_outputs

    made = []
    monkeypatch.setattr(
        display, "display", lambda data, raw, metadata: made.append((data, metadata))
    )
    figures = {
        "image/png": draw.grid_of_numbers({"a": np.eye(2), "b": np.eye(2)}),
        "image/jpeg": draw.panels([scene()[0]], ["a photograph"], side=4.4),
    }
    for kind, figure in figures.items():
        draw.show(figure, 'a "unit" matrix, 1 < 2')
        data, metadata = made.pop()
        assert 'alt="a &quot;unit&quot; matrix, 1 &lt; 2" width="440"' in data["text/html"]
        output = v4.new_output("display_data", data, metadata=metadata)
        (stored,) = normalised_outputs([output])
        assert set(stored.data) == {kind, "text/plain"}
        assert stored.metadata == {kind: {"alt": 'a "unit" matrix, 1 < 2', "width": 440}}
        pixels = Image.open(io.BytesIO(base64.b64decode(stored.data[kind])))
        assert pixels.width == (880 if kind == "image/png" else 440), "charts are twice as fine"
        assert 'width="440"' in figure_html(stored)


def test_crosses_reach_over_their_intervals():
    figure = draw.crosses({"a": ((1, 0.5, 2), (0, -1, 1)), "b": ((2, 1, 3), (2, 1, 3))}, "x", "y")
    (axis,) = figure.axes
    arms = [line for container in axis.containers for line in container.lines[2]]
    ends = [arm.get_segments()[0].tolist() for arm in arms]
    assert [[0.5, 0.0], [2.0, 0.0]] in ends and [[1.0, -1.0], [1.0, 1.0]] in ends
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]
