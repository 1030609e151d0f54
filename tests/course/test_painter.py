"""The painter without a browser: what arrives is what was painted, and nobody's file is lost."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nbformat import from_dict
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import scl.course
from scl.course.notebooks import WIDGET_NOTE, normalised, read, run_notebook
from scl.course.painter import control
from scl.course.painter.control import painted_figure
from scl.course.painter.pixels import from_runs, put_patch, reduced, to_runs
from scl.datasets.photos import read_pair
from scl.evaluation.overlay import ORANGE, TRUTH
from tests.helpers.models import texts
from tests.helpers.notebooks import notebook_of

labels = arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from((0, 1, 255)),
)


@pytest.fixture
def photo(tmp_path):
    """A photograph of 40 x 30 pixels."""
    rows, columns = np.indices((30, 40))
    pixels = np.stack([6 * columns, 8 * rows, 255 - 6 * columns], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mug.jpg", quality=95)
    return tmp_path / "mug.jpg"


def sent(painter, monkeypatch):
    """A list that will hold what the painter sends to the browser."""
    told = []
    monkeypatch.setattr(
        type(painter), "send", lambda _, content, buffers=None: told.append((content, buffers))
    )
    return told


def bring(painter, place, values, version=0):
    """Do as the browser does after a stroke: values [h, w] at (left, top)."""
    height, width = values.shape
    change = {"kind": "patch", "version": version, "place": [*place, width, height]}
    painter._receive(painter, change, [memoryview(to_runs(values))])


def block(label=1):
    return np.full((6, 4), label, np.uint8)


@given(labels)
def test_runs_are_the_mask_again(mask):
    assert np.array_equal(from_runs(to_runs(mask), *mask.shape), mask)
    loop, last = 0, None
    for label in mask.ravel():
        loop, last = loop + (label != last), label
    assert len(to_runs(mask)) == 4 * loop


@given(labels, st.data())
def test_a_patch_changes_its_rectangle_alone(patch, data):
    height, width = patch.shape
    left, top = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    mask = np.full((20, 18), 1, np.uint8)
    expected = mask.copy()
    expected[top : top + height, left : left + width] = patch
    put_patch(mask, (left, top, width, height), to_runs(patch))
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("place", "runs", "words"),
    [
        ((15, 0, 4, 6), to_runs(block()), "expected it inside 18 x 20"),
        ((-1, 0, 4, 6), to_runs(block()), "expected it inside"),
        ((0, 0, 0, 0), b"", "expected it inside"),
        ((0, 0, 4, 5), to_runs(block()), "runs of 24 pixels.*expected 5 x 4"),
        ((0, 0, 4, 6), np.uint32([24 * 4 + 3]).tobytes(), "codes up to 3"),
        ((0, 0, 4, 6), b"abc", "3 bytes of runs"),
        ((0, 0, 4, 6), np.uint32([2**32 - 4] * 4).tobytes(), "runs of 4294967292 pixels"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_and_changes_nothing(place, runs, words):
    mask = np.zeros((20, 18), np.uint8)
    with pytest.raises(ValueError, match=words):
        put_patch(mask, place, runs)
    assert not mask.any()


def test_what_is_painted_is_kept_after_every_stroke_and_opened_again(photo, monkeypatch):
    painter = scl.course.paint(photo)
    told = sent(painter, monkeypatch)
    assert painter.path == photo.with_name("mug-painted.png") and not painter.path.exists()
    assert painter.mask.shape == (30, 40) and not painter.mask.any()
    bring(painter, (3, 2), block())
    bring(painter, (10, 2), block(255), version=1)
    expected = np.zeros((30, 40), np.uint8)
    expected[2:8, 3:7], expected[2:8, 10:14] = 1, 255
    assert np.array_equal(painter.mask, expected) and painter.mask.dtype == np.uint8
    assert [content["kind"] for content, _ in told] == ["saved", "saved"]
    assert told[-1][0]["text"] == "Saved as mug-painted.png: 2.0 % marked, 2.0 % not sure."
    again = scl.course.paint(str(photo))
    assert np.array_equal(again.mask, expected)
    assert [p.name for p in sorted(photo.parent.iterdir())] == ["mug-painted.png", "mug.jpg"]
    with Image.open(painter.path) as image:
        assert np.array_equal(np.array(image), expected), "the values, as VOC's masks have them"
    # Who looks at grey levels alone sees a white object, and "not sure" as not the object.
    with Image.open(painter.path) as image:
        grey = np.array(image.convert("L"))
    assert np.array_equal(grey > 127, expected == 1) and set(np.unique(grey)) == {0, 119, 255}
    assert np.array_equal(read_pair(photo, painter.path)[1].mask == 1, expected == 1)


def test_the_browser_is_given_the_whole_mask_when_it_asks(photo, monkeypatch):
    painter = scl.course.paint(photo)
    bring(painter, (3, 2), block())
    told = sent(painter, monkeypatch)
    painter._receive(painter, {"kind": "open"}, [])
    ((content, (runs,)),) = told
    assert (content["kind"], content["version"], content["overtaken"]) == ("mask", 1, False)
    assert np.array_equal(from_runs(runs, 30, 40), painter.mask)


def test_a_stroke_on_an_outdated_mask_is_not_put_over_the_newer_one(photo, monkeypatch):
    painter = scl.course.paint(photo)
    bring(painter, (3, 2), block())
    told = sent(painter, monkeypatch)
    before = painter.mask
    bring(painter, (0, 0), np.zeros((30, 40), np.uint8))  # of a window that never saw the first
    assert np.array_equal(painter.mask, before)
    assert told[0][0]["overtaken"] and "another window" in told[0][0]["text"]


def test_the_mask_given_out_is_a_copy(photo):
    painter = scl.course.paint(photo)
    painter.mask[:] = 1
    assert not painter.mask.any()


def foreign(path):
    Image.new("L", (40, 30), 255).save(path)


def of_another_photograph(path):
    other = path.with_name("other.png")
    Image.new("RGB", (40, 30)).save(other)
    bring(scl.course.paint(other, path), (0, 0), block())


def repainted(path):
    bring(scl.course.paint(path.with_name("mug.jpg")), (0, 0), block())
    with Image.open(path) as image:
        info, changed = image.info, image.point(lambda v: 7 if v else 0)
    marks = PngInfo()
    for name in ("Software", "Photograph"):
        marks.add_text(name, info[name])
    changed.save(path, pnginfo=marks)


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (foreign, "was not written by the painter: move it away"),
        (of_another_photograph, "was painted on another photograph: move it away"),
        (repainted, r"values \[7\].*some program has changed it"),
        (lambda path: path.write_bytes(b"\x89PNG broken"), "cannot be read as a painted mask"),
    ],
)
def test_a_file_in_the_masks_place_is_refused_and_left_alone(photo, put, words):
    path = photo.with_name("mug-painted.png")
    put(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        scl.course.paint(photo)
    assert path.read_bytes() == before
    assert scl.course.paint(photo, photo.with_name("mine.png")).path.name == "mine.png"


def test_a_file_changed_while_painting_is_left_alone_and_said_so(photo, monkeypatch):
    painter = scl.course.paint(photo)
    told = sent(painter, monkeypatch)
    bring(painter, (3, 2), block())
    foreign(painter.path)
    before = painter.path.read_bytes()
    bring(painter, (10, 2), block(), version=1)
    assert painter.path.read_bytes() == before and painter.mask.sum() == 48
    assert told[-1][0]["text"].startswith("NOT SAVED.") and "changed by something else" in str(told)
    painter.path.unlink()
    bring(painter, (20, 2), block(), version=2)
    assert scl.course.paint(photo).mask.sum() == 72, "nothing was lost"


def test_a_folder_that_cannot_be_written_to_is_said_in_the_painter(photo, monkeypatch):
    (photo.parent / "taken").write_text("a file, not a folder")
    painter = scl.course.paint(photo, photo.parent / "taken" / "mask.png")
    told = sent(painter, monkeypatch)
    bring(painter, (3, 2), block())
    assert "NOT SAVED. cannot write" in told[0][0]["text"] and painter.mask.any()


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("cup.jpg", None, "cup.jpg is missing: give paint"),
        ("mug.jpg", "mask.jpg", "mask.jpg: a painted mask is a PNG"),
    ],
)
def test_what_cannot_be_painted_on_is_refused(photo, name, path, words):
    with pytest.raises(ValueError, match=words):
        scl.course.paint(photo.with_name(name), path)


def test_a_turned_photograph_is_painted_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    painter = scl.course.paint(tmp_path / "a.jpg")
    assert painter.mask.shape == (40, 30) and painter.size == (30, 40)


def test_a_large_photograph_is_sent_small_and_a_small_one_as_it_is():
    assert reduced(np.zeros((3000, 4000, 3), np.uint8)).shape == (1200, 1600, 3)
    small = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    assert np.array_equal(reduced(small), small)


def test_the_still_twin_shows_the_photograph_and_what_is_marked():
    mask = np.zeros((60, 80), np.uint8)
    mask[:30, :40], mask[30:, 40:] = 1, 255
    figure = painted_figure(np.full((30, 40, 3), 200, np.uint8), mask, "mug.jpg")
    assert texts(figure) == ["mug.jpg", "25.0 % marked, 25.0 % not sure"]
    shown = figure.axes[1].images[0].get_array()
    assert shown.shape == (40, 40, 3) and (shown[:4] == 255).all(), "a square, the rest white"
    green, orange, dim = shown[10, 10], shown[30, 30], shown[10, 30]
    assert green[1] > max(green[0], green[2]) and orange[0] > orange[1] > orange[2]
    assert np.ptp(dim) == 0


def test_an_array_is_to_be_saved_first():
    with pytest.raises(ValueError, match="kind ndarray: expected a file.*save an array first"):
        scl.course.paint(np.zeros((3, 4, 3), np.uint8))


def test_a_stored_notebook_shows_the_still_and_says_it_in_words(photo):
    bundle, told = scl.course.paint(photo)._repr_mimebundle_()
    words = "mug.jpg, and the mask painted on it: 0.0 % marked"
    assert told["image/jpeg"]["alt"] == words and bundle["text/plain"] == f"Painter of {words}"
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))) as still:
        assert still.width > still.height


def test_the_normal_form_of_a_notebook_keeps_the_still_but_not_the_control(photo):
    data, told = scl.course.paint(photo)._repr_mimebundle_()
    shown = {"output_type": "display_data", "data": data, "metadata": told}
    book = notebook_of(CELLS)
    book["cells"][1]["outputs"] = [shown]
    (output,) = normalised(from_dict(book)).cells[1].outputs
    assert output.data == {"image/jpeg": data["image/jpeg"], "text/plain": WIDGET_NOTE}


def test_the_module_and_the_stills_have_the_same_colours():
    script = (control.HERE / "painter.js").read_text(encoding="utf-8")
    assert f'object: "{TRUTH}", unsure: "{ORANGE}"' in script


CELLS = (
    'PHOTO = "?"',
    "import scl.course\npainter = scl.course.paint(PHOTO)\npainter",
    'print(f"a mask of {painter.mask.shape}")',
)


@pytest.mark.notebook
@pytest.mark.slow
def test_a_headless_run_does_not_hang_and_its_copy_shows_a_still(photo, tmp_path):
    path = tmp_path / "paint.ipynb"
    path.write_text(json.dumps(notebook_of(CELLS)))
    outcome = run_notebook(path, tmp_path / "out", [("PHOTO", str(photo))], 600)
    assert outcome.ok and outcome.headline == "a mask of (30, 40)", outcome.error
    (output,) = normalised(read(outcome.copy)).cells[2].outputs
    assert set(output.data) == {"image/jpeg", "text/plain"}
    assert output.metadata["image/jpeg"]["alt"].startswith("mug.jpg, and the mask painted on it")
