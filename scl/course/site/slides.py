"""Make slides of a chapter: headings, formulas, quick checks, figures, what was seen, the stops.

Figures and what was seen in them are folded, so that a class can guess before it looks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode

from scl.course.notebooks import ROOT, read
from scl.course.site.cells import figure_html, printed
from scl.course.site.frame import template
from scl.course.site.text import Renderer
from scl.files import write_text

HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
FORMULA = re.compile(r"\$\$.+?\$\$", re.DOTALL)
CHECK = re.compile(
    r"^\*\*Quick check\.\*\*.+?(?:<details>.+?</details>\s*)+", re.MULTILINE | re.DOTALL
)
STOP = re.compile(r"^> \*\*Stop\.\*\*.*(?:\n>.*)*", re.MULTILINE)


class Slide(NamedTuple):
    """Hold a slide: its heading, as Markdown, and as HTML its parts, or words in their place."""

    heading: str
    parts: list[str]
    words: str = ""


def build_slides(chapters: Sequence[Path], out: Path) -> list[Path]:
    """Write a file of slides for each chapter into a folder."""
    made = []
    for path in chapters:
        text = Renderer(Path("slides") / path.name, [], ROOT)
        slides = [
            (text.put(f"## {slide.heading}"), "\n".join(slide.parts) or slide.words)
            for slide in slides_of(read(path), text)
        ]
        made.append(out / f"{path.stem}.html")
        title = f"{path.stem[:2]} {text.headings[0].text}"
        write_text(made[-1], template("slides.html", title=title, slides=slides))
    return made


def slides_of(book: NotebookNode, text: Renderer) -> list[Slide]:
    """Walk through a chapter: a slide for its question, each section, further figure and stop."""
    beginning = book.cells[0].source
    title, question = beginning.splitlines()[0].lstrip("# "), beginning.split("\n\n")[1]
    slides = [Slide(title, [text.put(question)])]
    for cell in book.cells[1:]:
        if cell.cell_type == "markdown":
            add_text(cell.source, slides, text)
        for output in cell.get("outputs", []):
            add_output(output, slides)
    return [slide for slide in slides if slide.parts or slide.words]


def add_text(source: str, slides: list[Slide], text: Renderer) -> None:
    """Begin a slide at each heading, with its formulas or first words; at each check and stop."""
    before, *rest = HEADING.split(source)
    if formulas := "\n\n".join(FORMULA.findall(before)):
        add(text.put(formulas), slides)
    for heading, body in zip(rest[::2], rest[1::2], strict=True):
        words = text.put(body.strip().split("\n\n")[0])
        slides.append(Slide(heading, [text.put(f) for f in FORMULA.findall(body)], words))
    for name, pattern in (("Quick check", CHECK), ("Stop", STOP)):
        for found in pattern.findall(source):
            slides.append(Slide(name, [text.put(found.removeprefix("**Quick check.** "))]))


def add_output(output: NotebookNode, slides: list[Slide]) -> None:
    """Add a figure, or what was seen in it."""
    if figure := figure_html(output):
        add(folded("Look", figure), slides)
    elif output.get("text", "").startswith("What we saw"):
        slides[-1].parts.append(folded("What did we see?", printed(output.text)))


def folded(words: str, body: str) -> str:
    """Fold a body under words that open it."""
    return f"<details><summary>{words}</summary>\n{body}\n</details>"


def add(part: str, slides: list[Slide]) -> None:
    """Add a figure or formulas, on a further slide of the section where there is something."""
    if slides[-1].parts:
        own = (slide.heading for slide in reversed(slides))
        heading = next(name for name in own if name not in ("Quick check", "Stop"))
        slides.append(Slide(heading, []))
    slides[-1].parts.append(part)
