"""The tables of the SCL paper, quoted figure by figure from published.json; none computed by us.

Tables 1, 2 and 3 stand in Section 5.3, on the seventh page, as the reference list tells: it gives
the pages on which an entry is cited, [31] is cited in Table 1 alone and on page 7 alone, and [35],
cited in Table 3 and once more below it, on no later page. A figure that does not fit its neighbours
stays as it was printed, and OFF_MEANS names it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


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


class AblationRow(NamedTuple):
    """A row of an ablation (Tables 4 to 6): its name, our experiments, the quoted scores."""

    name: str
    variant: str
    setting: str = "1"
    paper: tuple[float, float] | None = None  # mIoU and FB-IoU on PASCAL-5^i, ResNet-50, CANet


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


def _ablation_row(row: dict) -> AblationRow:
    return AblationRow(**{**row, "paper": tuple(row["paper"]) if "paper" in row else None})


_QUOTED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
TABLES = {int(number): _table(table) for number, table in _QUOTED["tables"].items()}
OFF_MEANS = tuple(OffMean(**off) for off in _QUOTED["off_means"])
# The first row of each is the one that the others are compared with.
ABLATIONS = {n: tuple(map(_ablation_row, rows)) for n, rows in _QUOTED["ablations"].items()}
# The entries of the paper's reference list for these methods, as they are printed.
REFERENCES = {int(number): text for number, text in _QUOTED["references"].items()}


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


def source(number: int) -> str:
    """Say whose numbers these are: the line above a quoted table."""
    table = quoted(number)
    return (
        f"Published numbers, quoted from the paper, **not computed here**: its Table {number}, "
        f"{table.measure} in % on {table.data} ({table.place}). {_QUOTED['paper']}. The numbers in "
        'brackets are those of its reference list; "ours" is its own word.'
    )


def notes(number: int) -> list[str]:
    """Repeat the paper's own note, and name the printed means that do not fit their folds."""
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
