"""Steps are chosen on base classes that were held out."""

from __future__ import annotations

import json

import pytest

from scl.study.side_plateau import CLIMBING, path_of, plateau, plateau_table


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
    assert "| 350 | 50.0 | 50.0 | 49.8 |" in plateau_table("pascal", tmp_path)


def test_without_a_record_it_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match="python -m scl side --plateau"):
        plateau("pascal", tmp_path)
