"""Turn Markdown into HTML: mathematics as MathML, links and pictures within the site."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

PAGES = (".md", ".ipynb")  # what has a page of its own
PICTURES = (".jpg", ".png", ".svg")  # and these can only be shown


class Heading(NamedTuple):
    """Hold a heading of a page: 1 for its title, its anchor, and its HTML."""

    level: int
    anchor: str
    text: str


class Renderer(IPythonRenderer):
    """Render a file's Markdown; `headings` and `sources` tell what was met.

    source: the file, and pages: all that have a page, both below the folder `root`.
    """

    def __init__(self, source: Path, pages: Collection[Path], root: Path) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.source, self.pages, self.root = source, pages, root
        self.markdown = MarkdownWithMath(renderer=self)
        self.headings: list[Heading] = []
        self.sources: set[Path] = set()  # files without a page that are linked

    def put(self, markdown: str) -> str:
        """Give the HTML of a text."""
        return str(self.markdown(markdown))

    def block_math(self, body: str) -> str:
        """Set a formula on a line of its own."""
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        """Set a formula within a line."""
        return mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        """Set an environment such as `cases`."""
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """Set a heading with the anchor that it has on GitHub."""
        anchor = anchor_of(text)
        taken = sum(re.fullmatch(rf"{anchor}(-\d+)?", h.anchor) is not None for h in self.headings)
        anchor += f"-{taken}" if taken else ""
        self.headings.append(Heading(level, anchor, text))
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        """Set a table so that a wide one scrolls, and the page does not."""
        return f'<div class="wide"><table>{text}</table></div>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Link to the page of a file; leave only the words where it has none."""
        href = self.href(url)
        return f'<a href="{html.escape(href)}">{text}</a>' if href else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Put a picture into the page itself."""
        path = self.root / self.source.parent / url
        kind, data = mimetypes.guess_type(url)[0], base64.b64encode(path.read_bytes()).decode()
        return picture(f"data:{kind};base64,{data}", html.unescape(text))

    def href(self, url: str) -> str:
        """Translate a link of the repository into one of the site; empty where it leads nowhere."""
        name, _, anchor = url.partition("#")
        if re.match(r"[a-z]+:", url) or not name:
            return url
        target = Path(os.path.normpath(self.source.parent / name))
        if target.suffix in PAGES:
            known = target in self.pages
        else:
            known = target.suffix not in PICTURES and (self.root / target).is_file()
            self.sources |= {target} if known else set()
        there = os.path.relpath(page_of(target), page_of(self.source).parent)
        return Path(there).as_posix() + (f"#{anchor}" if anchor else "") if known else ""


def page_of(path: Path) -> Path:
    """Name the page of a file: README.md is its folder's index, scl/a.py becomes scl/a.py.html."""
    if path.name == "README.md":
        return path.with_name("index.html")
    is_page = path.suffix in PAGES
    return path.with_suffix(".html") if is_page else path.with_name(f"{path.name}.html")


def anchor_of(text: str) -> str:
    """Make the anchor of a heading from its HTML, as GitHub does."""
    plain = html.unescape(re.sub(r"<[^>]+>", "", text)).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def mathml(formula: str, display: str) -> str:
    """Set a formula of TeX as MathML, which browsers draw without scripts."""
    problem = ""
    try:
        made = convert(formula, display=display)
        unknown = re.search(r">(\\[a-zA-Z]+)<", made)
        problem = f"it does not know {unknown[1]}" if unknown else ""
    except Exception as error:  # its exceptions have no family of their own
        problem = str(error) or type(error).__name__
    if problem:
        raise ValueError(f"latex2mathml cannot set the formula {formula!r} ({problem}): rewrite it")
    # A hat that sits well, also where there is no font for formulas.
    return made.replace("&#x0005E;", "&#x002C6;")


def picture(address: str, alt: str, width: int | None = None) -> str:
    """Set a picture with the words that stand for it, and a width other than its pixels'."""
    wide = f' width="{int(width)}"' if width else ""
    return f'<img src="{address}" alt="{html.escape(alt)}"{wide}>'
