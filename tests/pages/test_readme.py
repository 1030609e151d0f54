"""The README tells the truth: its tables are the stored ones, its links and its code work."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scl.models.general import FOLDER
from scl.study.pages import fill

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "results/README.md", "docs/architecture.md", "docs/benchmarks.md"]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_stored_results(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill(text) == text, f"run: python -m scl table --fill {page}"
    assert text.count("<!-- table ") == text.count("<!-- end -->") > 0


def test_a_table_that_is_not_known_is_named():
    with pytest.raises(ValueError, match="no table is called 'one shot': expected one of"):
        fill("<!-- table one shot -->\n<!-- end -->")


@pytest.mark.parametrize("page", [*PAGES, "docs/contributing.md", "docs/painter.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """The files that the examples name, in the current folder."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    for name in ("mug", "table"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    mask = Image.new("L", (80, 60), 0)
    mask.paste(255, (20, 10, 60, 50))
    mask.save(tmp_path / "mug-mask.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(
    not (FOLDER / "record.json").is_file(), reason="the general model has no weights yet"
)
def test_five_lines_find_a_thing_in_a_photograph(photographs, capsys):
    names = {}
    exec(compile(EXAMPLES[0], "README.md", "exec"), names)
    found = names["found"]
    assert found.mask.shape == found.probability.shape == (60, 80)
    assert "presence" in capsys.readouterr().out


def test_the_example_segments_a_photograph(photographs):
    exec(compile(EXAMPLES[1], "README.md", "exec"), {})
    found = Image.open("table-mug.png")
    assert found.size == (80, 60) and set(np.unique(np.asarray(found))) <= {0, 255}


@pytest.mark.parametrize("command", ["course", "test", "lab"])
def test_commands_exist(command):
    assert f"python3 tasks.py {command}" in TEXT
    assert f"def {command}(" in (ROOT / "tasks.py").read_text(encoding="utf-8")
