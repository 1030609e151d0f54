"""Build the site: a page for each chapter, document and linked source file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from nbformat import NotebookNode, v4

from scl.course.notebooks import ROOT, read
from scl.course.site.cells import cell_html
from scl.course.site.frame import template
from scl.course.site.slides import build_slides
from scl.course.site.text import Heading, Renderer, page_of
from scl.files import write_text
from scl.study.chapters import open_anywhere

DOCUMENTS = ("README.md", "docs/*.md", "results/README.md", "data/README.md")
LANGUAGES = {".py": "python", ".js": "javascript", ".toml": "toml", ".json": "json"}


class Page(NamedTuple):
    """Hold what stands on the page of one file."""

    source: Path  # below the root
    title: str
    body: str
    headings: list[Heading]
    live: bool = False  # the two-colour world is on it


def build_site(chapters: Sequence[Path], out: Path, root: Path = ROOT) -> list[Path]:
    """Write the pages of chapters and documents into a folder, in place of what was there."""
    found = [path for pattern in DOCUMENTS for path in sorted(root.glob(pattern))]
    sources = [path.resolve().relative_to(root) for path in (*found, *chapters)]
    texts = [Renderer(source, sources, root) for source in sources]
    made = [page(read_any(root / text.source), text) for text in texts]
    linked = sorted(set().union(*(text.sources for text in texts)))
    made += [listing(Renderer(source, sources, root)) for source in linked]
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for each in made:
        write_text(partial / page_of(each.source), in_frame(each, made))
    build_slides(chapters, partial / "slides")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return [out / page_of(each.source) for each in made]


def read_any(path: Path) -> NotebookNode:
    """Read a notebook, or a document as a notebook of one cell."""
    if path.suffix == ".ipynb":
        return read(path)
    return v4.new_notebook(cells=[v4.new_markdown_cell(path.read_text(encoding="utf-8"))])


def page(book: NotebookNode, text: Renderer) -> Page:
    """Make the page of a notebook or document."""
    body = "\n".join(cell_html(cell, text) for cell in book.cells)
    titles = [heading.text for heading in text.headings if heading.level == 1]
    title = Markup(titles[0] if titles else text.source.stem).striptags()
    if text.source.suffix == ".ipynb":
        title = f"{text.source.stem[:2]} {title}"
    return Page(text.source, title, body, text.headings, 'class="two-colours"' in body)


def listing(text: Renderer) -> Page:
    """Make the page of a source file."""
    name, language = text.source.as_posix(), LANGUAGES.get(text.source.suffix, "text")
    code = (text.root / text.source).read_text(encoding="utf-8")
    title = text.put(f"# {name}")
    return Page(text.source, name, title + text.block_code(code, language), [])


def in_frame(page: Page, pages: Sequence[Page]) -> str:
    """Set a page among the others: ways to go, style, and the script where it has one."""
    here = page_of(page.source).parent

    def to(other: Page) -> str:
        return Path(os.path.relpath(page_of(other.source), here)).as_posix()

    chapters = [other for other in pages if other.source.suffix == ".ipynb"]
    documents = [other for other in pages if other.source.suffix == ".md"]
    path = [*documents[:1], *chapters]
    place = path.index(page) if page in path else len(path)
    slides = Path(os.path.relpath(f"slides/{page.source.stem}.html", here)).as_posix()
    values: dict[str, Any] = {
        "page": page,
        "chapters": chapters,
        "documents": documents,
        "to": to,
        "before": path[place - 1] if 0 < place < len(path) else None,
        "after": path[place + 1] if place + 1 < len(path) else None,
        "sections": [h for h in page.headings if h.level == 2],
        "slides": slides if page in chapters else "",
        "elsewhere": open_anywhere(page.source.stem) if page in chapters else {},
    }
    return template("page.html", **values)
