"""Turn a notebook's cells into HTML: code, what it gave, and stills in the place of controls."""

from __future__ import annotations

import base64
import html
import re

from nbformat import NotebookNode

from scl.course.notebooks import WIDGET_NOTE, has_tag
from scl.course.site.text import Renderer, picture

NO_CONTROL = "In the notebook a control stands here; the figures around it show the same, still."
STILL = "In the notebook this figure is a control that answers to the mouse and to keys."
# The one control that needs no Python.
LIVE = re.compile(r"^(?:course\.)?TwoColours\((.*)\)$", re.MULTILINE)


def cell_html(cell: NotebookNode, text: Renderer) -> str:
    """Set a cell: text, or code with what it gave; solutions are folded."""
    if cell.cell_type == "markdown":
        return text.put(cell.source)
    if cell.cell_type != "code":
        return ""
    code = text.block_code(cell.source, "ipython3")
    outputs = "\n".join(output_html(output, cell.source, text) for output in cell.outputs)
    if has_tag(cell, "solution") or cell.metadata.get("jupyter", {}).get("source_hidden"):
        name = "Solution" if has_tag(cell, "solution") else "Code"
        code = f"<details><summary>{name}</summary>\n{code}</details>"
    return f'<div class="cell">{code}\n{outputs}</div>'


def output_html(output: NotebookNode, source: str, text: Renderer) -> str:
    """Set one output of a cell with this source."""
    if output.output_type == "stream":
        return printed(output.text)
    if output.output_type == "error":
        return printed(f"{output.ename}: {output.evalue}")
    data = output.data
    if "text/markdown" in data:
        return f'<div class="said">{text.put(data["text/markdown"])}</div>'
    figure = figure_html(output)
    if data.get("text/plain") != WIDGET_NOTE:
        return f"<figure>{figure}</figure>" if figure else printed(data["text/plain"])
    if not figure:
        return f'<p class="note">{NO_CONTROL}</p>'
    start = LIVE.search(source)
    still = f'<figure class="still">{figure}<figcaption>{STILL}</figcaption></figure>'
    return still if start is None else live_world(still, start[1])


def live_world(still: str, arguments: str) -> str:
    """Set the two-colour world as the arguments of TwoColours say; without scripts its still."""
    colours = "ONE_COLOUR" if "ONE_COLOUR" in arguments else "TWO_COLOURS"
    vectors = 2 if re.search(r"vectors=2|, 2", arguments) else 1
    return (
        f'<div class="two-colours" data-colours="{colours}" data-vectors="{vectors}">{still}</div>'
    )


def figure_html(output: NotebookNode) -> str:
    """Set the picture of an output with its alternative text; empty where it has none."""
    for kind in ("image/svg+xml", "image/png", "image/jpeg"):
        if kind in output.get("data", {}):
            body = output.data[kind]
            if kind == "image/svg+xml":
                body = base64.b64encode(body.encode()).decode()
            told = output.metadata.get(kind, {})
            address = f"data:{kind};base64,{body.strip()}"
            return picture(address, told.get("alt", ""), told.get("width"))
    return ""


def printed(text: str) -> str:
    """Set printed lines; those that tell what we saw stand out."""
    kind = "printed saw" if text.startswith("What we saw") else "printed"
    return f'<pre class="{kind}">{html.escape(text.rstrip())}</pre>'
