"""Tables 1, 2 and 3 of the SCL paper, quoted figure by figure, and our evaluations beside them.

The figures lie in published.json; none was computed by us. All three tables stand in Section 5.3,
on the seventh page, as the reference list tells: it gives the pages on which an entry is cited,
[31] is cited in Table 1 alone and on page 7 alone, and [35], cited in Table 3 and once more below
it, on no later page. A figure that does not fit its neighbours stays as it was printed, and
OFF_MEANS names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scl.datasets.folds import FOLDS
from scl.study.grid import RESULTS
from scl.study.tables import markdown

Columns = dict[str, dict[tuple[str, str], str]]  # heading -> {(method, backbone): text}


class Figures(NamedTuple):
    """Percentages for one number of shots; None, and no folds, where the paper prints a dash."""

    mean: float | None = None
    folds: tuple[float, ...] = ()


class Published(NamedTuple):
    """A row as printed: method, backbone, figures, venue and number in the paper's reference list.

    A row of the paper's own has neither venue nor reference. mark: a sign that a note explains.
    """

    method: str
    backbone: str
    one: Figures
    five: Figures
    venue: str = ""
    reference: int | None = None
    mark: str = ""


class Table(NamedTuple):
    """A table of the paper: its data, measure, place in the paper, rows, and the note below it."""

    data: str
    measure: str
    place: str
    rows: tuple[Published, ...]
    note: str = ""


class OffMean(NamedTuple):
    """A printed mean that its own printed folds do not give."""

    table: int
    method: str
    backbone: str
    shots: int
    printed: float
    of_folds: float


def _row(row: dict) -> Published:
    one, five = (
        Figures(f.get("mean"), tuple(f.get("folds", ()))) for f in (row["one"], row["five"])
    )
    return Published(**{**row, "one": one, "five": five})


def _table(table: dict) -> Table:
    return Table(**{**table, "rows": tuple(map(_row, table["rows"]))})


_QUOTED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
TABLES = {int(number): _table(table) for number, table in _QUOTED["tables"].items()}
OFF_MEANS = tuple(OffMean(**off) for off in _QUOTED["off_means"])
# The entries of the paper's reference list for these methods, as they are printed.
REFERENCES = {int(number): text for number, text in _QUOTED["references"].items()}

# Recipe -> the table of the paper, and the row in it (method, backbone), that it stands for.
ROWS_OF_RECIPES = {
    "pascal-canet": (1, "CANet", "resnet50"),
    "pascal-scl-canet": (1, "ours-SCL (CANet)", "resnet50"),
    "pascal-pfenet": (1, "PFENet", "resnet50"),
    "pascal-scl-pfenet": (1, "ours-SCL (PFENet)", "resnet50"),
    "coco-pfenet": (2, "PFENet", "resnet101"),
    "coco-scl-pfenet": (2, "ours-SCL (PFENet)", "resnet101"),
}


# -- quoted -------------------------------------------------------------------------------------


def quoted(number: int) -> Table:
    """Look up Table 1, 2 or 3 of the paper."""
    if number not in TABLES:
        raise ValueError(
            f"Table {number} is not quoted as a whole: there are Tables 1, 2 and 3; the figures of "
            "Tables 4 to 6 stand beside our runs (python -m scl table)"
        )
    return TABLES[number]


def published_row(number: int, method: str, backbone: str) -> Published:
    """Look up the row of a method with a backbone, to put another score beside it."""
    rows = {(row.method, row.backbone): row for row in quoted(number).rows}
    if (method, backbone) not in rows:
        names = "; ".join(f"{m}, {b}" for m, b in rows)
        raise ValueError(f"Table {number} has no row {method}, {backbone}; it has: {names}")
    return rows[method, backbone]


def published_table(number: int, beside: Mapping[str, Mapping] | None = None) -> str:
    """Write Table 1, 2 or 3 of the paper as it was printed, with its source and notes.

    beside: further columns, as in Columns, empty where nothing is given.
    """
    table, beside = quoted(number), beside or {}
    for method, backbone in (key for column in beside.values() for key in column):
        published_row(number, method, backbone)  # or its score would be lost unseen
    by_fold = any(row.one.folds or row.five.folds for row in table.rows)
    parts = [*(f"fold {f}" for f in range(FOLDS)), "mean"] if by_fold else [table.measure]
    header = ["method", "backbone", *(f"{k}-shot {part}" for k in (1, 5) for part in parts)]
    rows = []
    for row in table.rows:
        extra = [column.get((row.method, row.backbone), "") for column in beside.values()]
        rows.append([*printed(row, by_fold), *extra])
    parts = [_source(number), markdown([*header, *beside], rows), *_notes(number)]
    return "\n\n".join(parts)


def printed(row: Published, by_fold: bool) -> list[str]:
    """Write a row as text: method as the paper names it, PANet (ICCV'19) [30], and its figures."""
    venue = f" ({row.venue})" if row.venue else ""
    reference = f" [{row.reference}]" if row.reference else ""
    figures: list[float | None] = []
    for found in (row.one, row.five):
        folds = (found.folds or (None,) * FOLDS) if by_fold else ()
        figures += [*folds, found.mean]
    name = row.method + row.mark.replace("*", r"\*") + venue + reference
    return [name, row.backbone, *("-" if x is None else f"{x:.1f}" for x in figures)]


def _source(number: int) -> str:
    """Whose numbers these are: the line above a quoted table."""
    table = quoted(number)
    return (
        f"Published numbers, quoted from the paper, **not computed here**: its Table {number}, "
        f"{table.measure} in % on {table.data} ({table.place}). {_QUOTED['paper']}. The numbers in "
        'brackets are those of its reference list; "ours" is its own word.'
    )


def _notes(number: int) -> list[str]:
    """The paper's own note, and which printed means do not fit their folds."""
    table = quoted(number)
    said = [rf"\* The paper's note: {table.note}"] if table.note else []
    return said + [
        f"As printed: {off.method}, {off.shots}-shot, has the mean {off.printed:.1f}, although its "
        f"four folds as printed give {off.of_folds:.2f}."
        for off in OFF_MEANS
        if off.table == number
    ]


def references(*numbers: int) -> str:
    """List what the paper cites for the methods in these tables; default: in all."""
    rows = [row for number in numbers or TABLES for row in quoted(number).rows]
    cited = sorted({row.reference for row in rows if row.reference})
    return "\n".join(f"- [{reference}] {REFERENCES[reference]}" for reference in cited)


# -- ours ---------------------------------------------------------------------------------------


def published_beside_ours(number: int, results: Path = RESULTS) -> str:
    """Write a table of the paper with our evaluations in two more columns."""
    return published_table(number, own_scores(number, results))


def own_scores(number: int, results: Path = RESULTS) -> Columns:
    """Read our evaluations for a table of the paper: two columns, as published_table takes them.

    They are results/benchmarks/RECIPE-fFOLD-SHOTSshot.json, written by `python -m scl evaluate
    --out`; a mean over fewer than four folds says so.
    """
    measure = "fb_iou" if number == 3 else "miou"
    found: dict[tuple[str, int], list[float]] = {}
    for path in sorted((results / "benchmarks").glob("*.json")):
        named = re.fullmatch(r"(.+)-f[0-3]-([15])shot", path.stem)
        if named and ROWS_OF_RECIPES.get(named[1], (0,))[0] == (2 if number == 2 else 1):
            record = json.loads(path.read_text(encoding="utf-8"))
            _check_record(path, record["evaluated"], named[1], int(named[2]))
            found.setdefault((named[1], int(named[2])), []).append(100 * record[measure])
    columns: Columns = {"here, 1-shot": {}, "here, 5-shot": {}}
    for (recipe, shots), scores in found.items():
        note = "" if len(scores) == FOLDS else f" ({len(scores)} of {FOLDS} folds)"
        _, method, backbone = ROWS_OF_RECIPES[recipe]
        columns[f"here, {shots}-shot"][method, backbone] = f"{np.mean(scores):.1f}{note}"
    return columns


def _check_record(path: Path, evaluated: dict, recipe: str, shots: int) -> None:
    """Raise unless an evaluation is what its file's name says, by the paper's protocol."""
    data, system = recipe.split("-", 1)
    model, protocol = evaluated["model"], evaluated["protocol"]
    found = {
        "data set": (evaluated["data"]["kind"], "Pascal5i" if data == "pascal" else "Coco20i"),
        "head": (model["head"]["kind"], "CANetHead" if "canet" in system else "PFENetHead"),
        "backbone": (model["backbone"]["kind"], "ResNet"),
        "vectors": (model["guidance"]["vectors"], ["pri", "aux"] if "scl" in system else ["s"]),
        "shots": (protocol["shots"], shots),
        "episodes": (protocol["episodes"], 1000),
        "seeds": (len(protocol["seeds"]), 5),
        "fusion": (protocol["fusion"], "cross"),
    }
    for name, (is_, expected) in found.items():
        if is_ != expected:
            raise ValueError(
                f"{path}: {name} is {is_!r}, and a record of this name has {expected!r}: move it "
                "elsewhere, or evaluate by the README's command"
            )
