"""Fill a template; its style and script are put into the page itself, which needs no other file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

HERE = Path(__file__).parent  # templates, style; one folder up lies the two-colour world


@cache
def templates() -> Environment:
    """Read templates of this folder. `file("NAME")` is a file's text, `x|raw` x as it is."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["raw"] = Markup
    environment.globals["file"] = lambda path: Markup((HERE / path).read_text(encoding="utf-8"))
    return environment


def template(name: str, **values: Any) -> str:
    """Fill a template of this folder."""
    return templates().get_template(name).render(**values) + "\n"
