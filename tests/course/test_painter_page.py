"""The painter's module on a plain page in a real browser: the page that docs/painter.md shows."""

import base64
import functools
import http.server
import io
import re
import shutil
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scl.course.painter import control
from tests.helpers import shots
from tests.helpers.strokes import Canvas, is_stroke

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(shots.why_no_browser()), reason=shots.why_no_browser()),
]

WIDTH, HEIGHT = 640, 480  # of the photograph
PAGE = (shots.ROOT / "docs" / "painter.md").read_text(encoding="utf-8")
MASK = """() => {
    const bytes = window.easel.painting.mask;
    let text = '';
    for (let i = 0; i < bytes.length; i += 32768)
        text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of the documentation, from a server, with the module, its style and a photograph."""
    folder = tmp_path_factory.mktemp("page")
    (html,) = re.findall(r"```html\n(.*?)```", PAGE, re.S)
    # More to scroll than the window shows.
    (folder / "index.html").write_text(html.replace("</html>", "<p style='height: 3000px'></html>"))
    for name in ("painter.js", "painter.css"):
        shutil.copy(control.HERE / name, folder)
    rows, columns = np.indices((HEIGHT, WIDTH))
    pixels = np.stack([columns // 3, rows // 2, 255 - columns // 3], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "mug.png")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(address):
    """One browser for all tests of this file; touch and a screen of two pixels for each."""
    with shots.browser_page(device_scale_factor=2, has_touch=True) as page:
        yield page


@pytest.fixture
def page(browser, address):
    """The page, opened anew, which in the end has reported no error."""
    complaints = []
    note = {
        "console": lambda said: complaints.append(said.text) if said.type == "error" else None,
        "pageerror": lambda error: complaints.append(str(error)),
    }
    for event, react in note.items():
        browser.on(event, react)
    browser.goto(address)
    browser.wait_for_function("window.easel?.zoom > 0")
    yield browser
    for event, react in note.items():
        browser.remove_listener(event, react)
    assert complaints == []


def mask_of(page):
    """The labels [H, W] on the page."""
    flat = np.frombuffer(base64.b64decode(page.evaluate(MASK)), np.uint8)
    return flat.reshape(HEIGHT, WIDTH)


def canvas_of(page):
    return Canvas(page, page.locator("canvas.scl-painter-canvas"), (WIDTH, HEIGHT))


def brush(page, diameter):
    """Set the size of the brush as its slider does."""
    page.get_by_label("Brush size").fill(str(diameter))


def tool(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def drawn(kind, points, *more):
    """What Pillow draws: a polygon or a box, [H, W] of true and false."""
    image = Image.new("L", (WIDTH, HEIGHT))
    getattr(ImageDraw.Draw(image), kind)([tuple(p) for p in points], *more, fill=1)
    return np.array(image) == 1


def difference(a, b):
    return np.count_nonzero(a != b)


def test_a_brush_paints_what_lies_within_its_radius(page):
    canvas = canvas_of(page)
    for diameter, path in ((41, [(100, 80), (300, 80), (350, 300)]), (1, [(400, 50), (600, 170)])):
        brush(page, diameter)
        before = mask_of(page) == 1
        path = canvas.drag(path)
        assert is_stroke((mask_of(page) == 1) & ~before, path, diameter / 2, within=1)


def test_a_stroke_over_the_edge_stays_inside_the_photograph(page):
    brush(page, 60)
    path = canvas_of(page).drag([(10, 200), (0, 200), (0, 400)])
    assert is_stroke(mask_of(page) == 1, path, 30, within=1)


def test_the_eraser_takes_away_and_a_box_and_a_polygon_fill(page):
    canvas = canvas_of(page)
    tool(page, "Box")
    (x, y), *_, (x1, y1) = canvas.drag([(400, 300), (100, 100)])
    assert difference(mask_of(page) == 1, drawn("rectangle", [(x1, y1), (x, y)])) < 2 * 600
    box = mask_of(page)
    tool(page, "Eraser")
    brush(page, 21)
    path = canvas.drag([(150, 150), (300, 150)])
    assert is_stroke((box == 1) & (mask_of(page) == 0), path, 10.5, within=1)
    page.keyboard.press("Delete")
    assert not mask_of(page).any()
    tool(page, "Polygon")
    star = [canvas.click(p) for p in ((300, 60), (400, 400), (120, 180), (500, 180), (180, 400))]
    assert not mask_of(page).any(), "nothing is filled before the polygon is closed"
    canvas.click((300, 60))
    star_filled = mask_of(page) == 1
    assert not star_filled[240, 300], "even-odd: the middle of a star is outside"
    page.keyboard.press("z")
    for corner in star[:3]:
        canvas.click(corner)
    page.keyboard.press("Enter")
    assert difference(mask_of(page) == 1, drawn("polygon", star[:3])) < 800  # its rim


def test_not_sure_is_a_value_of_its_own(page):
    canvas = canvas_of(page)
    tool(page, "Box")
    canvas.drag([(100, 100), (400, 300)])
    page.get_by_label("Not sure").check()
    canvas.drag([(300, 100), (500, 300)])
    mask = mask_of(page)
    assert set(np.unique(mask)) == {0, 1, 255}
    assert (mask[200, 150], mask[200, 350], mask[200, 450], mask[50, 50]) == (1, 255, 255, 0)


def test_undo_and_redo_are_exact(page):
    canvas, states = canvas_of(page), []
    brush(page, 31)
    rng = np.random.default_rng(0)
    states.append(mask_of(page))
    for name in ("Brush", "Box", "Eraser", "Brush", "Box", "Clear", "Brush"):
        tool(page, name)
        if name != "Clear":
            canvas.drag([tuple(rng.integers(60, 420, 2)) for _ in range(3)])
        states.append(mask_of(page))
    kept = [states[0]]
    for state in states[1:]:  # an eraser where nothing was changes nothing
        kept += [state] if (state != kept[-1]).any() else []
    for state in kept[-2::-1]:
        tool(page, "Undo")
        assert np.array_equal(mask_of(page), state)
    for state in kept[1:]:
        page.keyboard.press("Control+y")
        assert np.array_equal(mask_of(page), state)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    assert np.array_equal(mask_of(page), kept[-1])
    tool(page, "Undo")
    tool(page, "Box")
    canvas.drag([(5, 5), (30, 30)])
    # A new act ends the old future.
    page.wait_for_selector("button:text-is('Redo')[aria-disabled=true]")


def test_everything_works_with_the_keyboard_alone(page):
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
    assert {"Brush", "Eraser", "Polygon", "Box", "Move", "Clear", "Fit"} <= set(seen)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    brush_size = page.evaluate("window.easel.diameter")

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    def cursor():
        return page.evaluate("[window.easel.cursor.x, window.easel.cursor.y]")

    press("]")
    diameter = page.evaluate("window.easel.diameter")
    assert diameter > brush_size
    start = cursor()
    press("Space", *["ArrowRight"] * 9, *["Shift+ArrowDown"] * 40, "Space")
    end = cursor()
    path = [start, (end[0], start[1]), end]
    assert end[1] - start[1] == 40, "Shift moves by a pixel of the photograph"
    assert is_stroke(mask_of(page) == 1, path, diameter / 2, within=1)
    before = mask_of(page)
    press("x", "Space", *["ArrowLeft"] * 12, "Escape", "Space")
    assert np.array_equal(mask_of(page), before), "Escape gives up"
    press("Escape", "u", "Space", *["ArrowUp"] * 12, *["ArrowLeft"] * 4, "Space", "u")
    assert (mask_of(page) == 255).sum() > 1000
    press("z")
    assert np.array_equal(mask_of(page), before)
    press("p", "Space", *["ArrowUp"] * 9, "Space", *["ArrowLeft"] * 9, "Space", "Enter")
    assert (mask_of(page) != before).sum() > 1000
    press("+", "+", "Alt+ArrowLeft", "0", "Delete")
    assert not mask_of(page).any()
    assert "not marked" in page.locator(".scl-painter-place").text_content()
    press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "CANVAS", "no trap"


def screen_of(page):
    """A function that reports fingers as a screen does, through Chromium's own input."""
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": fingers})

    return touch


def test_a_finger_paints_and_does_not_scroll_and_two_fingers_zoom(page):
    canvas, touch = canvas_of(page), screen_of(page)
    brush(page, 31)
    wanted = [(300, 400), (300, 300), (300, 80)]  # upwards, which would scroll
    places, path = zip(*(canvas.place(p) for p in wanted), strict=True)
    touch("Start", places[0])
    for place in places[1:]:
        touch("Move", place)
    touch("End")
    assert page.evaluate("scrollY") == 0
    assert is_stroke(mask_of(page) == 1, path, 15.5, within=1)
    before, zoom = mask_of(page), page.evaluate("window.easel.zoom")
    a, b = canvas.place((200, 200))[0], canvas.place((300, 200))[0]
    touch("Start", a)
    touch("Move", (a[0] + 10, a[1]))
    touch("Start", (a[0] + 10, a[1]), b)
    touch("Move", (a[0] - 60, a[1]), (b[0] + 60, b[1]))
    touch("End")
    assert page.evaluate("window.easel.zoom") > 1.5 * zoom
    assert np.array_equal(mask_of(page), before), "what the first of two fingers began is forgotten"


def test_a_stroke_is_exact_when_zoomed_and_moved(page):
    canvas = canvas_of(page)
    page.mouse.move(*canvas.place((200, 150))[0])
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.wait_for_function("window.easel.zoom > 2")
    tool(page, "Brush")
    zoom, left, top = page.evaluate("[window.easel.zoom, window.easel.left, window.easel.top]")
    near = Canvas(page, canvas.locator, (WIDTH, HEIGHT), (zoom, left, top))
    brush(page, 6)
    path = near.drag([(190, 145), (215, 160)])
    assert is_stroke(mask_of(page) == 1, path, 3, within=0.01)


def test_the_downloaded_mask_is_white_where_the_object_is(page):
    canvas = canvas_of(page)
    tool(page, "Box")
    canvas.drag([(100, 100), (400, 300)])
    page.keyboard.press("u")
    canvas.drag([(300, 100), (500, 300)])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download mask").click()
    assert download.value.suggested_filename == "mug-painted.png"
    grey = np.array(Image.open(io.BytesIO(download.value.path().read_bytes())).convert("L"))
    mask = mask_of(page)
    for label, level in ((0, 0), (1, 255), (255, 119)):
        assert (grey[mask == label] == level).all() and (mask == label).any()


def test_shapes_tell_without_colour_and_controls_have_names(page):
    for control_ in page.locator(".scl-painter button").all():
        assert control_.get_attribute("aria-label") or control_.text_content().strip()
    chosen = page.locator(".scl-painter [aria-pressed=true]")
    assert chosen.all_text_contents() == ["Brush"]
    canvas = page.locator("canvas")
    assert "640 by 480 pixels" in canvas.get_attribute("aria-label")
    assert canvas.evaluate("c => getComputedStyle(c).touchAction") == "none"
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        ink, ground = page.locator(".scl-painter").evaluate(
            "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        levels = [int(re.findall(r"\d+", colour)[0]) for colour in (ink, ground)]
        assert (levels[0] > levels[1]) == (scheme == "dark") and abs(np.subtract(*levels)) > 150
