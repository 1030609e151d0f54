"""A chapter in a real browser: every cell runs, and its slider answers to keys and to the mouse.

It is the one test of what runs there: the JavaScript of JupyterLab and of the controls.
"""

import json

import pytest

from tests.helpers import shots

RUN_SECONDS = 360
ANSWER_SECONDS = 30
SLIDER_WITH_PICTURE = f"{shots.PANEL} .widget-box:has(.noUi-handle):has(img.widget-image)"

START_ALL = """() => {
    window.ranAll = false;
    jupyterapp.commands.execute('runmenu:run-all').finally(() => { window.ranAll = true; });
}"""
IS_IDLE = """() => window.ranAll
    && jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"""
CODE_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => cell.model.toJSON())"""
PICTURE_BYTES = """async picture => {
    const answer = await fetch(picture.src);
    return Array.from(new Uint8Array(await answer.arrayBuffer()));
}"""


def chapter():
    """The chapter about two vectors, whose slider matters most; without it, the second one."""
    every = sorted((shots.ROOT / "notebooks").glob("*.ipynb"))
    return min(every, key=lambda path: (path.name[:2] != "03", path.name[:2] != "02"))


def copy_without_outputs(source, folder):
    """A copy whose page can only show what it computes itself."""
    notebook = json.loads(source.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    folder.mkdir()
    (folder / source.name).write_text(json.dumps(notebook), encoding="utf-8")


def complaints_of(page):
    """A list that will hold what the page reports as errors, and the errors nobody caught."""
    found = []
    page.on("console", lambda said: found.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def run_all_cells(page):
    """Run > Run All Cells; wait until the kernel is idle, and check that no cell was left out."""
    page.evaluate(START_ALL)
    page.wait_for_function(IS_IDLE, timeout=RUN_SECONDS * 1000, polling=500)
    cells = [cell for cell in page.evaluate(CODE_CELLS) if "".join(cell["source"]).strip()]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [output["evalue"] for output in outputs if output["output_type"] == "error"] == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


class SliderWithPicture:
    """The first slider of the page that has a picture beside it."""

    def __init__(self, page):
        box = page.locator(SLIDER_WITH_PICTURE).first
        self.page, self.handle = page, box.locator(".noUi-handle").first
        self.track, self.picture = box.locator(".noUi-target").first, box.locator("img").first
        self.track.scroll_into_view_if_needed()

    def is_leftmost(self):
        """Whether the handle stands at the left end."""
        now, least = (self.handle.get_attribute(f"aria-value{name}") for name in ("now", "min"))
        return float(now) == float(least)

    def shown(self):
        """The picture's file."""
        return bytes(self.picture.evaluate(PICTURE_BYTES))

    def after(self, act):
        """What the picture shows once it was redrawn because of an act."""
        before = self.picture.get_attribute("src")
        act()
        self.page.wait_for_function(
            "([picture, before]) => picture.src !== before && picture.complete",
            arg=[self.picture.element_handle(), before],
            timeout=ANSWER_SECONDS * 1000,
        )
        return self.shown()

    def press(self, key):
        """Press a key while the handle has the focus."""
        return self.after(lambda: self.handle.press(key))

    def drag(self, share):
        """Drag the handle with the mouse to a place on the track, 0 left to 1 right."""
        handle, track = self.handle.bounding_box(), self.track.bounding_box()
        y = handle["y"] + handle["height"] / 2

        def act():
            self.page.mouse.move(handle["x"] + handle["width"] / 2, y)
            self.page.mouse.down()
            self.page.mouse.move(track["x"] + share * track["width"], y, steps=5)
            self.page.mouse.up()

        return self.after(act)


def check_slider(slider):
    """Keys and the mouse change the picture, and the way back leads to the first one."""
    start = slider.shown()
    keys, ends = ["ArrowLeft", "ArrowRight"], [0, 1]
    if slider.is_leftmost():
        keys, ends = keys[::-1], ends[::-1]
    assert slider.press(keys[0]) != start, f"{keys[0]} changed nothing in the picture"
    assert slider.press(keys[1]) == start, f"{keys[1]} does not lead back"
    assert slider.drag(ends[0]) != slider.drag(ends[1]), "both ends show the same picture"


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.skipif(bool(shots.why_no_browser()), reason=shots.why_no_browser())
def test_a_chapter_runs_in_the_browser_and_its_slider_answers(tmp_path):
    path, folder = chapter(), tmp_path / "work"
    copy_without_outputs(path, folder)
    with (
        shots.lab_server(folder, tmp_path / "jupyter") as address,
        shots.browser_page() as page,
    ):
        complaints = complaints_of(page)
        shots.open_notebook(page, address.format(path.name))
        run_all_cells(page)
        check_slider(SliderWithPicture(page))
        assert complaints == [], "the browser's console holds errors"
