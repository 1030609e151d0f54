"""Fill a template; its style and script are put into the page itself, which needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

HERE = Path(__file__).parent  # templates, style; one folder up lies the two-colour world


def template(name: str, **values: Any) -> str:
    """Fill a template of this folder. `file("NAME")` is a file's text, `x|raw` x as it is."""
    loader = FileSystemLoader(HERE)
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, **options)
    environment.filters["raw"] = Markup
    environment.globals["file"] = lambda path: Markup((HERE / path).read_text(encoding="utf-8"))
    return environment.get_template(name).render(**values) + "\n"
