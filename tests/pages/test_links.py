"""Internal links of every page and chapter lead to a file, and to a heading where they name one."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("README.md", "docs/*.md", "results/README.md", "data/README.md", "notebooks/*.ipynb")
PAGES = [path for place in PLACES for path in sorted(ROOT.glob(place))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(path):
    """A page's Markdown, or that of a notebook's cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


@cache
def anchors_of(path):
    """The anchors that GitHub gives to a page's headings."""
    found = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken(path):
    """The links of a page that lead nowhere."""
    for link in LINK.findall(text_of(path)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not re.match(r"[a-z]+:", link):
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                yield link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    assert list(broken(path)) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.md").write_text("# One two\n\n[x](a.md#one-two) [y](a.md#three) [z](b.md)\n")
    assert list(broken(tmp_path / "a.md")) == ["a.md#three", "b.md"]
