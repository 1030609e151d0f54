"""Every notebook runs from start to end, and is stored in a form that readers can rely on."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from scl.course.notebooks import (
    as_text,
    normalised,
    read,
    run_notebook,
    tagged_cells,
)
from tests.helpers.truth import differences

ROOT = Path(__file__).resolve().parents[2]

HANGS = re.compile(r"\b(interact|interactive|Output)\(")  # papermill never returns from these
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
MOST_GB = 4


def drawn_alike():
    """Whether figures are drawn here by the matplotlib that drew the stored ones."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    newest = next(line for line in lines if line.startswith("matplotlib=="))
    return newest.split(";")[0] == f"matplotlib=={metadata.version('matplotlib')}"


def peak_gb():
    """The most memory that any process started so far from here has held; 0 where unknown."""
    if not sys.platform.startswith("linux"):
        return 0.0
    import resource  # not on Windows; other systems count in other units

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


@pytest.mark.notebook
@every_notebook
def test_runs_and_says_what_is_stored(path, tmp_path):
    outcome = run_notebook(path, tmp_path)
    assert outcome.ok, outcome.error
    assert outcome.headline, "the cell tagged 'headline' printed nothing"
    print(f"{path.stem}: {outcome.seconds:.0f} s, {peak_gb():.1f} GB at most so far")
    fresh = normalised(read(outcome.copy))
    found = differences(read(path), fresh, drawn_alike())
    remedy = f"python3 tasks.py refresh --only {path.stem}"
    assert found == [], "\n".join(["", *found, f"If the new outputs are right: {remedy}"])
    assert peak_gb() < MOST_GB, f"a process held {peak_gb():.1f} GB (of this notebook, if alone)"


@every_notebook
def test_is_stored_well(path):
    notebook = read(path)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(tagged_cells(notebook, "parameters")) == 1, "one cell is tagged parameters"
    assert len(tagged_cells(notebook, "headline")) == 1, "one cell is tagged headline"
    assert "widgets" not in notebook["metadata"]
    assert path.stat().st_size < 600_000, "too large for a web page: store figures as JPEG"
    counts = [cell["execution_count"] for cell in code if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run from start to end: tasks.py refresh"
    assert as_text(normalised(notebook)) == path.read_text("utf-8"), "python3 tasks.py normalise"


@every_notebook
def test_cells_are_short_and_clean(path):
    for cell in read(path)["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = cell.source
        assert len(source.splitlines()) <= 15, f"more than 15 lines:\n{source}"
        assert not HANGS.search(source), f"hangs under papermill:\n{source}"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"a stored error:\n{source}"
            shown = output.get("text", "") + str(output.get("data", ""))
            assert str(ROOT) not in shown, f"an output names a folder of this machine:\n{source}"
