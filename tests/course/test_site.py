"""The reading edition: whole without scripts and network, every link leads somewhere."""

import os
from pathlib import Path

import bs4
import pytest
from nbformat import v4

from scl.course.notebooks import ROOT, WIDGET_NOTE, read, tagged_cells
from scl.course.site import build_site, build_slides
from scl.course.site.cells import cell_html
from scl.course.site.text import Renderer, mathml
from tests.helpers import shots

CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TWO = [path for path in CHAPTERS if path.stem[:2] in ("02", "03")]
slow = pytest.mark.slow
needs_browser = pytest.mark.skipif(bool(shots.why_no_browser()), reason=shots.why_no_browser())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a site of two chapters, over a stale one."""
    out = tmp_path_factory.mktemp("build") / "site"
    out.mkdir()
    (out / "stale.html").write_text("from before")
    made = build_site(TWO, out)
    assert made[0] == out / "index.html" and not (out / "stale.html").exists()
    assert [path.name for path in out.parent.iterdir()] == ["site"]
    return out


def soup_of(path):
    return bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def soups(site):
    """Every page of the site, parsed."""
    return {path: soup_of(path) for path in sorted(site.rglob("*.html"))}


# ------------------------------------------------------------------ what is in the files


def test_every_link_leads_to_a_page_and_a_place_on_it(soups):
    for path, soup in soups.items():
        for link in soup.find_all("a", href=True):
            name, _, anchor = link["href"].partition("#")
            if not name.startswith(("http:", "https:", "mailto:")):
                target = Path(os.path.normpath(path.parent / name)) if name else path
                assert target in soups, f"{path}: {link['href']}"
                assert not anchor or soups[target].find(id=anchor), f"{path}: {link['href']}"


def test_nothing_is_fetched(soups):
    """Pictures, style and scripts are in the page itself."""
    for path, soup in soups.items():
        assert all(image["src"].startswith("data:") for image in soup.find_all("img")), path
        assert not soup.find_all(["iframe", "object", "embed"])
        assert all(not script.get("src") for script in soup.find_all("script"))
        assert {rel for link in soup.find_all("link") for rel in link["rel"]} <= {
            "icon", "prev", "next",
        }  # fmt: skip
        assert all("url(" not in style.text and "@import" not in style.text
                   for style in soup.find_all("style"))  # fmt: skip


def test_every_picture_has_words_and_every_formula_is_set(soups):
    for path, soup in soups.items():
        assert all(image["alt"].strip() for image in soup.find_all("img")), path
        for code in soup.find_all(["pre", "code", "script", "style"]):
            code.clear()
        assert "\\frac" not in soup.text and "\\hat" not in soup.text and "$$" not in soup.text


def test_a_chapter_is_whole_with_its_solutions_folded(site):
    path = TWO[1]
    book, soup = read(path), soup_of(site / "notebooks" / f"{path.stem}.html")
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    figures = [o for o in outputs if {"image/jpeg", "image/png"} & set(o.get("data", {}))]
    assert len(soup.main.find_all("img")) == len(figures)
    solutions = tagged_cells(book, "solution")
    folded = [d for d in soup.find_all("details") if d.summary.text == "Solution"]
    assert len(folded) == len(solutions) > 0
    for cell, details in zip(solutions, folded, strict=True):
        assert cell.source.split() == details.pre.text.split() and not details.has_attr("open")
    titles = [heading.text for heading in soup.find_all("h2")]
    assert [a.text for a in soup.select("#contents li ul a")] == titles
    assert soup.find("a", rel="prev")["href"] == f"{TWO[0].stem}.html"


def small_page(tmp_path, *cells):
    """The page of a notebook of a few cells, beside a document."""
    (tmp_path / "README.md").write_text("# Home\n\nSee [one](01_a.ipynb), [two](02_b.ipynb).\n")
    book = v4.new_notebook(cells=[v4.new_markdown_cell("# A\n\n**One question.** Why?"), *cells])
    (tmp_path / "01_a.ipynb").write_text(v4.writes(book), encoding="utf-8")
    build_site([tmp_path / "01_a.ipynb"], tmp_path / "out", tmp_path)
    return soup_of(tmp_path / "out" / "01_a.html")


def test_a_chapter_that_is_not_in_the_site_leaves_its_words(tmp_path):
    small_page(tmp_path)
    links = soup_of(tmp_path / "out" / "index.html").main.p.find_all("a")
    assert [(link.text, link["href"]) for link in links] == [("one", "01_a.html")]


def control(source, **data):
    """A cell as it is stored after a control was shown."""
    more = {kind: {"alt": "a still"} for kind in data}
    kept = {"text/plain": WIDGET_NOTE, **data}
    output = v4.new_output("execute_result", kept, metadata=more)
    return v4.new_code_cell(source, outputs=[output])


def test_controls_leave_a_still_or_a_note_and_what_is_typed_cannot_become_a_tag(tmp_path):
    still = {"image/jpeg": "aGk="}
    printed = v4.new_output("stream", text="What we saw: 1 < 2\n")
    cells = [control("explorer()"), control("TwoColours(ONE_COLOUR)", **still)]
    cells.append(v4.new_code_cell("'<script>'", outputs=[printed]))
    soup = small_page(tmp_path, *cells)
    assert soup.find(class_="note") and soup.find("img")["alt"] == "a still"
    live = soup.find(class_="two-colours")
    assert (live["data-colours"], live["data-vectors"]) == ("ONE_COLOUR", "1")
    assert soup.find(class_="saw").text == "What we saw: 1 < 2"
    assert len(soup.find_all("script")) == 1 and "export function standalone" in soup.script.text
    other = cell_html(control("TwoColours(TWO_COLOURS, 2)", **still), renderer())
    assert 'data-colours="TWO_COLOURS" data-vectors="2"' in other


def renderer(source="notebooks/a.ipynb"):
    return Renderer(Path(source), [], ROOT)


def test_headings_have_the_anchors_of_github():
    text = renderer()
    text.put("# The *paper's* reading, or `code`'s\n\n## Recap\n\n## Recap\n\n## 1 $v_s$ again")
    anchors = [heading.anchor for heading in text.headings]
    assert anchors[:3] == ["the-papers-reading-or-codes", "recap", "recap-1"]


@pytest.mark.parametrize("formula", [r"\unheardof{x}", r"\left(", r"\begin{nothing}"])
def test_a_formula_that_cannot_be_set_is_named(formula):
    with pytest.raises(ValueError, match="cannot set the formula"):
        mathml(formula, "inline")


def test_slides_take_question_formulas_checks_figures_what_was_seen_and_stops(tmp_path):
    figure = v4.new_output("display_data", {"image/jpeg": "aGk="}, metadata={})
    figure.metadata["image/jpeg"] = {"alt": "a lamp"}
    seen = v4.new_output("stream", text="What we saw: 0.94\n")
    cells = [
        v4.new_markdown_cell("# Lamps\n\n**One question.** Why two?\n\n**You need** nothing."),
        v4.new_markdown_cell("## 1 One\n\nFirst words.\n\n$$v_s = 1$$"),
        v4.new_code_cell("draw()", outputs=[figure, seen]),
        v4.new_markdown_cell(
            "More.\n\n**Quick check.** Why?\n\n"
            "<details><summary>So</summary>\n\nNo.\n\n</details>\n"
            "<details><summary>Thus</summary>\n\nYes.\n\n</details>\n\nThen.\n\n"
            "> **Stop.** Remember: two\n> are more."
        ),
        v4.new_code_cell("draw()", outputs=[figure]),
        v4.new_markdown_cell("## 2 Two\n\nOnly words.\n\nAnd more."),
    ]
    path = tmp_path / "01_lamps.ipynb"
    path.write_text(v4.writes(v4.new_notebook(cells=cells)), encoding="utf-8")
    (made,) = build_slides([path], tmp_path / "slides")
    slides = soup_of(made).find_all(class_="slide")
    heads = [slide.h2.text for slide in slides]
    assert heads == ["Lamps", "1 One", "1 One", "Quick check", "Stop", "1 One", "2 Two"]
    assert "Why two?" in slides[0].text and "nothing" not in slides[0].text
    assert slides[1].math and "First words" not in slides[1].text
    assert slides[2].img["alt"] == "a lamp" and slides[2].pre.text == "What we saw: 0.94"
    assert slides[2].img.find_parent("details") and slides[2].pre.find_parent("details")
    assert "Why?" in slides[3].text and len(slides[3].find_all("details")) == 2
    assert "Then" not in slides[3].text
    assert "two\nare more." in slides[4].text and slides[5].img
    assert "Only words." in slides[6].text and "And more" not in slides[6].text


# ------------------------------------------------------------------ in a browser


@slow
@needs_browser
def test_pages_open_without_errors_and_fit_the_window(site):
    with shots.browser_page(800, 900) as page:
        complaints, asked = [], []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        names = ["index.html", "docs/architecture.html", "scl/method/vectors.py.html"]
        names += [f"{kind}/{path.stem}.html" for path in TWO for kind in ("notebooks", "slides")]
        for name in names:
            page.goto((site / name).as_uri())
            for width in (1280, 800, 420):
                page.set_viewport_size({"width": width, "height": 900})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width or "slides" in name, f"{name} is {wide} wide at {width}"
        assert complaints == []
        assert all(address.startswith(("file:", "data:")) for address in asked)


@slow
@needs_browser
def test_the_two_colour_world_moves(site):
    with shots.browser_page(1280, 900, reduced_motion="reduce") as page:
        page.goto((site / "notebooks" / f"{TWO[1].stem}.html").as_uri())
        says = page.locator(".two-colours [role=status]")
        before = says.text_content()
        page.get_by_role("button", name="Two vectors").click()
        assert "IoU 1.000" in says.text_content() != before
        page.get_by_role("slider", name="foot").press("ArrowRight")
        page.get_by_role("slider", name="foot").press("ArrowRight")
        assert page.locator(".two-colours figure.still").count() == 0
        page.goto((site / "notebooks" / f"{TWO[0].stem}.html").as_uri())
        assert "IoU 1.000" in says.text_content(), "one colour, one vector: a success"


@slow
@needs_browser
def test_it_reads_without_scripts_and_in_the_dark(site):
    options = {"java_script_enabled": False, "color_scheme": "dark"}
    with shots.browser_page(800, 900, **options) as page:
        page.goto((site / "notebooks" / f"{TWO[1].stem}.html").as_uri())
        still = page.locator(".two-colours figure.still img")
        assert still.is_visible() and still.bounding_box()["width"] > 300
        assert page.locator("math").first.bounding_box()["height"] > 8
        solution = page.locator("details:has(> summary:text-is('Solution'))").first
        assert not solution.locator("pre").is_visible()
        solution.locator("summary").press("Enter")
        assert solution.locator("pre").is_visible()
        page.goto((site / "slides" / f"{TWO[1].stem}.html").as_uri())
        assert page.locator(".slide h2").last.text_content()


@slow
@needs_browser
def test_slides_follow_the_keys(site):
    with shots.browser_page(1280, 720) as page:
        page.goto((site / "slides" / f"{TWO[1].stem}.html").as_uri())
        top = "Math.round(scrollY / innerHeight)"
        for key, place in [("ArrowRight", 1), (" ", 2), ("ArrowLeft", 1), ("Home", 0)]:
            page.keyboard.press(key)
            page.wait_for_function(f"{top} === {place}")
        page.goto((site / "slides" / f"{TWO[1].stem}.html").as_uri())
        folds = page.locator(".slide:has(details) >> nth=0").locator("details")
        at = page.locator(".slide").evaluate_all(
            "all => all.findIndex((slide) => slide.querySelector('details'))"
        )
        for place in range(1, at + 1):
            page.keyboard.press("ArrowRight")
            page.wait_for_function(f"{top} === {place}")
        page.keyboard.press("Enter")
        assert folds.first.evaluate("fold => fold.open")
        page.keyboard.press("End")
        last = page.locator(".slide").count() - 1
        page.wait_for_function(f"{top} >= {last}")
