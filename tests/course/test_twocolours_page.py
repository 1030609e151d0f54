"""The two-colour world on a plain page in a real browser: JavaScript computes as Python does."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from scl.course.twocolours import (
    HERE,
    ONE_COLOUR,
    TWO_COLOURS,
    Colours,
    by_average,
    by_two,
    two_colours,
    what_we_saw,
)
from tests.helpers import shots

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(shots.why_no_browser()), reason=shots.why_no_browser()),
]

LOOK = """([colours, vectors, firstCut]) => {
    const view = window.world.look({ colours, vectors, firstCut });
    return { ...view, lost: view.cells.map(cell => view.lost.has(cell)),
             said: window.world.whatWeSaw(view) };
}"""


@pytest.fixture(scope="module")
def page():
    """The module and its style on an empty page, with a stage in `window.stage`."""
    module, style = ((HERE / f"twocolours.{kind}").read_text("utf-8") for kind in ("js", "css"))
    with shots.browser_page(800, 700) as page:
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.emulate_media(reduced_motion="reduce")
        page.set_content(
            f"<style>:root {{ color-scheme: light dark; }} {style}</style><div id='here'></div>"
        )
        start = "window.world = { look, whatWeSaw };"
        start += "window.stage = standalone(document.getElementById('here'));"
        page.add_script_tag(content=f"{module}\n{start}", type="module")
        page.wait_for_function("window.stage")
        yield page
        assert complaints == []


def says(page):
    return page.locator("[role=status]").text_content()


def test_it_computes_what_python_computes(page):
    rng = np.random.default_rng(0)
    worlds = [Colours(*map(tuple, rng.uniform(0.05, 1.2, (3, 2)))) for _ in range(30)]
    for colours in (TWO_COLOURS, ONE_COLOUR, *worlds):
        world, first_cut = two_colours(colours), float(rng.uniform(0.5, 0.95))
        for count, view in ((1, by_average(world)), (2, by_two(world, first_cut))):
            there = page.evaluate(LOOK, [asdict(colours), count, first_cut])
            assert np.allclose(there["similarity"], view.similarity.flatten(), atol=1e-9)
            assert list(there["arrows"]) == list(view.vectors)
            for name, arrow in there["arrows"].items():
                assert np.allclose([arrow["x"], arrow["y"]], view.vectors[name])
            assert there["lost"] == (view.lost.flatten() == 1).tolist()
            assert there["cut"]["iou"] == pytest.approx(view.cut.iou)
            assert there["said"] == what_we_saw(view)


def test_it_opens_with_a_success_and_the_buttons_show_the_failure_and_the_way_out(page):
    assert says(page) == what_we_saw(by_average(two_colours(ONE_COLOUR)))
    page.get_by_role("button", name="Lamp of two colours").click()
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('0.375')")
    assert says(page) == what_we_saw(by_average(two_colours()))
    page.get_by_role("button", name="Two vectors").click()
    assert says(page) == what_we_saw(by_two(two_colours()))
    assert page.locator("[aria-pressed=true]").all_text_contents() == ["Two vectors"]
    page.get_by_role("button", name="One vector").click()


def test_a_drag_moves_a_colour_and_the_picture_follows_before_it_ends(page):
    page.get_by_role("button", name="Lamp of one colour").click()
    page.wait_for_function("window.stage.state.colours.foot[0] === 1")
    foot, wall = (page.get_by_role("slider", name=name) for name in ("foot", "wallpaper"))
    rings = [each.locator("circle").bounding_box() for each in (foot, wall)]
    (x, y), (x1, y1) = [(r["x"] + r["width"] / 2, r["y"] + r["height"] / 2) for r in rings]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=4)
    meanwhile = says(page)
    assert np.allclose(page.evaluate("window.stage.state.colours.foot"), [0.5, 0.5], atol=0.02)
    page.mouse.up()
    page.mouse.move(x, y)
    assert says(page) == meanwhile != what_we_saw(by_average(two_colours(ONE_COLOUR)))


def test_everything_works_with_the_keyboard_alone(page):
    page.get_by_role("button", name="Lamp of one colour").focus()
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        active = page.evaluate(
            "(e => e.getAttribute('aria-label') ?? e.textContent)(document.activeElement)"
        )
        seen.append(active.split(",")[0])
        if seen[-1] == "foot":
            break
    assert seen == ["Lamp of two colours", "One vector", "Two vectors", "shade", "foot"]
    before = page.evaluate("window.stage.state.colours.foot")
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    after = page.evaluate("window.stage.state.colours.foot")
    assert np.allclose(np.subtract(after, before), [-0.01, 0.1])
    handle = page.get_by_role("slider", name="foot")
    assert f"blue {after[1]:.2f}" in handle.get_attribute("aria-valuetext")
    assert handle.locator("circle").evaluate("c => getComputedStyle(c).strokeWidth") == "5px"


def test_it_fits_a_narrow_page_and_is_readable_in_light_and_dark(page):
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        ink, ground = page.locator(".scl-two").evaluate(
            "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        levels = [int(re.findall(r"\d+", colour)[0]) for colour in (ink, ground)]
        assert (levels[0] > levels[1]) == (scheme == "dark") and abs(np.subtract(*levels)) > 150
    for width in (1280, 800, 420):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 800, "height": 700})
    assert page.locator(".scl-two svg[role=img]").count() == 3
