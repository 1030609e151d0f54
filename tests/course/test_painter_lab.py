"""The painter in JupyterLab, in a real browser: what is painted there is in the kernel and kept."""

import json

import numpy as np
import pytest
from PIL import Image

from scl.course.notebooks import KERNEL
from tests.helpers import shots
from tests.helpers.notebooks import notebook_of
from tests.helpers.strokes import Canvas, is_stroke

pytestmark = [
    pytest.mark.notebook,
    pytest.mark.slow,
    pytest.mark.skipif(bool(shots.why_no_browser()), reason=shots.why_no_browser()),
]

LONG = 60_000  # milliseconds: only what hangs takes as long
SIZES = {"mug": (800, 600), "large": (4000, 3000)}
CELLS = (
    "import scl.course",
    "painter = scl.course.paint('{name}.jpg')\npainter",
    "print('marked', int((painter.mask == 1).sum()), painter.mask.shape)",
)
IDLE = "() => jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"
CELL_COUNT = "() => jupyterapp.shell.currentWidget.content.widgets.length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of both sizes, each with a notebook that paints on it."""
    folder = tmp_path_factory.mktemp("lab")
    for name, (width, height) in SIZES.items():
        rows, columns = np.indices((height, width))
        levels = 255 * columns // width, 255 * rows // height, 255 - 255 * columns // width
        Image.fromarray(np.stack(levels, -1).astype(np.uint8)).save(folder / f"{name}.jpg")
        cells = [cell.replace("{name}", name) for cell in CELLS]
        book = {**notebook_of(cells), "metadata": {"kernelspec": KERNEL}}
        (folder / f"{name}.ipynb").write_text(json.dumps(book))
    return folder


class Chapter:
    """A notebook that is open in a browser, and the painter in it."""

    def __init__(self, page, address, folder, name):
        self.page, self.name, self.kept = page, name, folder / f"{name}-painted.png"
        shots.open_notebook(page, address.format(f"{name}.ipynb"))
        self.run("Ready.")

    def run(self, standing):
        """Run all cells; wait until the painter says how it stands."""
        self.page.evaluate("() => jupyterapp.commands.execute('runmenu:run-all')")
        self.page.wait_for_function(IDLE, timeout=LONG, polling=300)
        self.wait_for(standing)
        self.element = self.page.locator("canvas.scl-painter-canvas")
        self.element.scroll_into_view_if_needed()
        self.canvas = Canvas(self.page, self.element, SIZES[self.name])

    def wait_for(self, standing):
        words = self.page.locator(f".scl-painter [role=status]:text('{standing}')")
        words.wait_for(timeout=LONG)

    def saved(self):
        """The mask in the file, once the painter says that what was done is there."""
        self.wait_for("Saved as")
        with Image.open(self.kept) as image:
            return np.array(image)

    def does(self, act):
        """The mask in the file after an act that changes it."""
        self.page.evaluate("document.querySelector('.scl-painter [role=status]').textContent = ''")
        act()
        return self.saved()

    def restart(self):
        """Restart the kernel, as the menu does after its question."""
        self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
        )
        self.page.wait_for_function(IDLE, timeout=LONG, polling=300)


@pytest.fixture(params=[("mug", 1), ("mug", 2), ("large", 1)], ids=str)
def chapter(request, folder, tmp_path):
    name, ratio = request.param
    (folder / f"{name}-painted.png").unlink(missing_ok=True)
    complaints = []
    with (
        shots.lab_server(folder, tmp_path / "jupyter") as address,
        shots.browser_page(device_scale_factor=ratio) as page,
    ):
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield Chapter(page, address, folder, name)
        assert complaints == [], "the browser's console holds errors"


def test_what_is_painted_is_in_the_kernel_and_survives_its_restart(chapter):
    (width, height), page = SIZES[chapter.name], chapter.page
    radius = page.evaluate(
        "Number(document.querySelector('.scl-painter input[type=range]').value) / 2"
    )
    path = []

    def paint():
        share = ((0.3, 0.3), (0.7, 0.35), (0.6, 0.7))
        path.extend(chapter.canvas.drag([(x * width, y * height) for x, y in share]))

    stroke = chapter.does(paint)
    assert stroke.shape == (height, width)
    assert is_stroke(stroke == 1, path, radius, within=2)
    assert not chapter.does(lambda: page.keyboard.press("z")).any()
    assert np.array_equal(chapter.does(lambda: page.keyboard.press("y")), stroke)
    cells = page.evaluate(CELL_COUNT)
    page.keyboard.press("x")  # the box here; JupyterLab's own X would cut the cell
    page.keyboard.press("b")
    assert page.evaluate(CELL_COUNT) == cells
    keys = ["Space", *["ArrowDown"] * 4, "Space"]
    more = chapter.does(lambda: [page.keyboard.press(key) for key in keys])
    assert (more[stroke == 1] == 1).all() and (more == 1).sum() > (stroke == 1).sum()

    chapter.restart()
    chapter.canvas.drag([(0, 0), (width * 0.1, height)])
    chapter.wait_for("NOT SAVED: this kernel has ended.")
    chapter.run("Opened")
    marked = f"marked {(more == 1).sum()} ({height}, {width})"
    assert page.locator(f".jp-OutputArea-output:has-text('{marked}')").count() == 1
    again = chapter.does(lambda: chapter.canvas.drag([(0, 0), (width * 0.1, 0)]))
    assert (again[more == 1] == 1).all() and (again != more).any()
