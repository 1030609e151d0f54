"""What is told about chapters: measured minutes, sessions, and where to open them."""

import json
import re
from pathlib import Path

import pytest

from scl.course.notebooks import WIDGET_NOTE
from scl.study import chapters

ROOT = Path(__file__).resolve().parents[2]


def cell(kind, source, *tags, outputs=()):
    made = {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}
    return {**made, "outputs": list(outputs)} if kind == "code" else made


def test_minutes_are_those_of_the_stated_rates():
    figure = {"data": {"image/jpeg": "", "text/plain": "x"}}
    control = {"data": {"text/plain": WIDGET_NOTE}}
    parts = {
        chapters.FIGURE: [cell("code", "", outputs=[figure])],
        chapters.CONTROL: [cell("code", "", outputs=[control])],
        chapters.EXERCISE: [cell("code", "x = 1\n" * 90, "solution")],
        chapters.QUESTIONS: [cell("markdown", "word " * 900, "answer")],
        2.0: [cell("markdown", ["word " * 200, "word " * 100])],
        1.0: [cell("code", ["x = 1\n", "\n"] * 20)],
    }
    for minutes, cells in parts.items():
        assert chapters.measured_minutes({"cells": cells * 10}) == pytest.approx(10 * minutes)
    every = [each for cells in parts.values() for each in cells]
    assert chapters.measured_minutes({"cells": every}) == pytest.approx(sum(parts), abs=0.5)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_chapter_takes_an_hour_at_most(path):
    assert 15 <= chapters.minutes_of(path.stem) <= 60


def test_a_syllabus_names_its_chapters_their_minutes_and_those_to_come(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    home = [cell("code", "", "solution"), cell("markdown", "", "answer")]
    book = {"cells": [cell("markdown", "word " * 300), *home]}
    (tmp_path / "01_b.ipynb").write_text(json.dumps(book))
    first, second = chapters.syllabus_table(2).splitlines()[2:]
    assert first == "| 1 | 00 (to come), [01_b](../notebooks/01_b.ipynb) | 2 | 12 |"
    assert second == "| 2 | 02 (to come), 03 (to come) | – | – |"
    assert chapters.syllabus_table(10).splitlines()[-1] == "| 10 | the project, defended | – | – |"


@pytest.mark.parametrize("sessions", chapters.SYLLABI)
def test_a_syllabus_has_its_sessions_and_no_chapter_twice(sessions):
    taken = [name for session in chapters.SYLLABI[sessions] for name in session]
    assert len(chapters.SYLLABI[sessions]) == sessions and taken == sorted(set(taken))
    assert sessions < 10 or taken == [f"{number:02}" for number in range(10)]


def test_buttons_appear_once_the_address_is_known(tmp_path):
    citation = tmp_path / "CITATION.cff"
    citation.write_text("license: MIT\n# repository-code: later\n")
    assert chapters.repository(citation) == chapters.PLACEHOLDER
    assert chapters.open_anywhere("03_x", chapters.PLACEHOLDER) == {}
    citation.write_text('repository-code: "https://github.com/me/it.git"\n')
    found = chapters.open_anywhere("03_x", chapters.repository(citation))
    assert found["Colab"].endswith("/github/me/it/blob/HEAD/notebooks/03_x.ipynb")
    assert found["Binder"].endswith("/gh/me/it/HEAD?urlpath=lab/tree/notebooks/03_x.ipynb")


def test_what_other_places_read_is_sound():
    """Not tried there: only that the files parse, and name commands and ranges that exist."""
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"].startswith("python3 tasks.py install ")
    pyproject = (ROOT / "pyproject.toml").read_text()
    ranges = dict(re.findall(r'"(torch|torchvision)>=([\d.]+)', pyproject))
    binder = (ROOT / ".binder/environment.yml").read_text()
    for name, wanted in (("pytorch-cpu", "torch"), ("torchvision", "torchvision")):
        assert f"- {name}>={ranges[wanted]}\n" in binder
