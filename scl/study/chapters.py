"""Tell about the chapters: minutes to read and to run, sessions of a class, where to open them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from scl.study.grid import RESULTS, ROOT
from scl.study.tables import markdown

NOTEBOOKS = ROOT / "notebooks"
# How long a learner takes, in minutes. Words are read at the speed of reading aloud; the rest was
# set by judgement, not by watching a class.
WORDS_A_MINUTE = 150
CODE_LINE = 3 / 60  # to read it; running it costs little beside that
FIGURE, CONTROL = 0.5, 2.0
EXERCISE = 6.0  # to write a solution and mend it
QUESTIONS = 6.0  # six of them, answered in a sentence each
CONTROL_NOTE = "(a control appears"  # stored in a control's place

# Which chapters a course of so many sessions takes, a list for each session.
SYLLABI: dict[int, list[list[str]]] = {
    2: [["00", "01"], ["02", "03"]],
    5: [["00", "01"], ["02"], ["03"], ["06"], ["07"]],
    10: [["00", "01"], ["02"], ["03"], ["04"], ["05"], ["06"], ["07"], ["08"], ["09"], []],
}
PLACEHOLDER = "https://github.com/OWNER/REPOSITORY"  # until CITATION.cff says where the course lies


def chapter_table(results: Path = RESULTS) -> str:
    """Tabulate every notebook's minutes: to work through, and of its last run on two cores."""
    record = json.loads((results / "chapters.json").read_text(encoding="utf-8"))
    rows = [
        (f"[{name}](notebooks/{name}.ipynb)", minutes_of(name), f"{seconds / 60:.1f}")
        for name, seconds in sorted(record.items())
    ]
    return markdown(["chapter", "minutes to read and try", "minutes to run"], rows)


def minutes_of(name: str) -> int:
    """Measure the minutes of a stored chapter."""
    path = NOTEBOOKS / f"{name}.ipynb"
    return measured_minutes(json.loads(path.read_text(encoding="utf-8")))


def homework_of(name: str) -> int:
    """Measure the minutes of a stored chapter's exercises and questions alone."""
    book = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    home = [c for c in book["cells"] if {"solution", "answer"} & {*c["metadata"].get("tags", [])}]
    return measured_minutes({"cells": home})


def measured_minutes(book: dict[str, Any]) -> int:
    """Add up what a learner reads, looks at, tries, writes and answers in a notebook."""
    total = 0.0
    for cell in book["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if "solution" in tags:
            total += EXERCISE
        elif "answer" in tags:
            total += QUESTIONS
        elif cell["cell_type"] == "code":
            total += CODE_LINE * len(re.findall(r"^.*\S", source, re.MULTILINE))
            for output in cell["outputs"]:
                data = output.get("data", {})
                total += CONTROL if CONTROL_NOTE in "".join(data.get("text/plain", "")) else 0
                total += FIGURE if any(kind.startswith("image/") for kind in data) else 0
        else:
            total += len(source.split()) / WORDS_A_MINUTE
    return round(total)


def syllabus_table(sessions: int) -> str:
    """Tabulate each session's chapters, their minutes in class and at home; none: the project."""
    rows = []
    for number, chapters in enumerate(SYLLABI[sessions], start=1):
        found = {path.stem[:2]: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
        words = [
            f"[{found[n].stem}](../notebooks/{found[n].name})" if n in found else f"{n} (to come)"
            for n in chapters
        ]
        names = [found[n].stem for n in chapters if n in found]
        home = sum(map(homework_of, names))
        minutes = sum(map(minutes_of, names)) - home
        named = ", ".join(words) or "the project, defended"
        rows.append((number, named, minutes or "–", home or "–"))
    return markdown(["session", "chapters", "minutes to read and try", "homework"], rows)


def repository(citation: Path = ROOT / "CITATION.cff") -> str:
    """Find the address of the repository in CITATION.cff; a placeholder where it is not there."""
    found = re.search(r'^repository-code: "?([^"\s]+)', citation.read_text("utf-8"), re.MULTILINE)
    return found[1].removesuffix(".git").rstrip("/") if found else PLACEHOLDER


def open_anywhere(name: str, address: str = "") -> dict[str, str]:
    """Give the addresses that open a chapter in Colab and Binder; none while ours is unknown."""
    address = address or repository()
    if address == PLACEHOLDER or "github.com/" not in address:
        return {}
    return _addresses(name, address)


def _addresses(name: str, address: str) -> dict[str, str]:
    place, notebook = address.split("github.com/")[1], f"notebooks/{name}.ipynb"
    return {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/HEAD/{notebook}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/HEAD?urlpath=lab/tree/{notebook}",
    }


def anywhere_table() -> str:
    """Tabulate the buttons that open each chapter elsewhere."""
    rows = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        buttons = _addresses(path.stem, repository())
        rows.append([path.stem, *(f"[Open in {n}]({a})" for n, a in buttons.items())])
    return markdown(["chapter", "Colab", "Binder"], rows)


def colab_cell() -> str:
    """Write the cell that a chapter needs in front of it in Colab."""
    return f"""```python
import os

if not os.path.isdir("scl-course"):
    !git clone --depth 1 {repository()} scl-course
%cd scl-course
%pip install --quiet --editable .

from google.colab import output

output.enable_custom_widget_manager()  # so that controls and the painter appear
```"""
