"""Steps are chosen on base classes that were held out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from scl.__main__ import main
from scl.study import side_plateau
from scl.study.side_by_side import SideBudget
from scl.study.side_plateau import CLIMBING, climb, path_of, plateau, plateau_table
from tests.helpers.drawn import Blocks


def _store(folder, fold: int, rungs: dict[int, tuple[float, ...]]) -> None:
    record = {
        "rungs": [{"steps": s, **dict(zip(CLIMBING, m, strict=True))} for s, m in rungs.items()]
    }
    path_of("pascal", fold, folder).parent.mkdir(exist_ok=True)
    path_of("pascal", fold, folder).write_text(json.dumps(record))


def test_the_fewest_steps_that_no_row_loses_by(tmp_path):
    _store(tmp_path, 0, {90: (0.4, 0.4, 0.3), 175: (0.5, 0.5, 0.4), 350: (0.5, 0.52, 0.5)})
    _store(tmp_path, 1, {90: (0.4, 0.4, 0.3), 175: (0.5, 0.5, 0.5), 350: (0.5, 0.48, 0.495)})
    assert plateau("pascal", tmp_path) == 350  # at 175, "scl" is 4.7 points below, over the folds
    assert plateau("pascal", tmp_path, slack=0.05) == 175
    table = plateau_table("pascal", tmp_path)
    assert "| 350 | 50.0 | 50.0 | 49.8 |" in table and table.endswith("best: 350 steps.")


def test_without_a_record_it_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match="python -m scl side --plateau"):
        plateau("pascal", tmp_path)


def test_what_it_does_not_take_is_refused(capsys):
    assert main(["side", "--plateau", "--row", "scl"]) == 1
    assert "leave out --row" in capsys.readouterr().err


def test_rungs_that_are_stored_stay(tmp_path, monkeypatch):
    _store(tmp_path, 0, {90: (0.4, 0.4, 0.3)})
    before = path_of("pascal", 0, tmp_path).read_bytes()
    bank = SimpleNamespace(masks=[], dataset=Blocks())
    world = SimpleNamespace(banks={("train", "unit"): bank})
    monkeypatch.setattr(side_plateau, "World", lambda *given: world)
    climb("pascal", 0, SideBudget(), None, tmp_path, tmp_path, ladder=(90,))
    assert path_of("pascal", 0, tmp_path).read_bytes() == before
