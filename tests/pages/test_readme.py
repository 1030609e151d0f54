"""The README tells the truth: its tables are the stored ones and its code works."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tasks
from scl.study.pages import fill

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "results/README.md", "docs/architecture.md", "docs/benchmarks.md"]
PAGES += ["docs/teaching.md", "docs/open-anywhere.md"]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_stored_results(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill(text) == text, f"run: python -m scl table --fill {page}"
    assert text.count("<!-- table ") == text.count("<!-- end -->") > 0


def test_a_table_that_is_not_known_is_named():
    with pytest.raises(ValueError, match="no table is called 'one shot': expected one of"):
        fill("<!-- table one shot -->\n<!-- end -->")


def test_the_example_segments_photographs(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", TEXT, re.S).group(1)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    for name in ("mug", "table", "shelf"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    mask = Image.new("L", (80, 60), 0)
    mask.paste(255, (20, 10, 60, 50))
    mask.save(tmp_path / "mug-mask.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["found"].mask.shape == names["found"].probability.shape == (60, 80)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("command", ["course", "test", "lab", "student", "site", "slides"])
def test_commands_exist(command):
    assert f"python3 tasks.py {command}" in TEXT
    assert tasks.parse([command]).command == command
