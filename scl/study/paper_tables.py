"""The tables of the paper in Markdown: 1 to 3 as printed, our evaluations beside them; 4 to 6 here.

"Here" is Toyshop: the ablations' rows are experiments of the grid, the paper's own figures beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scl.datasets.folds import FOLDS
from scl.models.checkpoint import Reading
from scl.study.differences import paired_difference
from scl.study.grid import RESULTS
from scl.study.published import ABLATIONS, Published, notes, published_row, quoted, source
from scl.study.scores import read_scores
from scl.study.tables import SCORES, against, comparable, markdown, score_texts
from scl.training.recipe import read_recipe

Columns = dict[str, dict[tuple[str, str], str]]  # heading -> {(method, backbone): text}

# Recipe -> the table of the paper, and the row in it (method, backbone), that it stands for.
ROWS_OF_RECIPES = {
    "pascal-canet": (1, "CANet", "resnet50"),
    "pascal-scl-canet": (1, "ours-SCL (CANet)", "resnet50"),
    "pascal-pfenet": (1, "PFENet", "resnet50"),
    "pascal-scl-pfenet": (1, "ours-SCL (PFENet)", "resnet50"),
    "coco-pfenet": (2, "PFENet", "resnet101"),
    "coco-scl-pfenet": (2, "ours-SCL (PFENet)", "resnet101"),
}


# How a record's name says which form its recipe has, and the heading of its column.
READING_OF_NAMES: dict[str | None, Reading] = {None: "paper", "-released": "released"}
HEADING_OF: dict[Reading, str] = {"paper": "here", "released": "here, as released"}


def paper_table(name: str, results: Path = RESULTS) -> str:
    """Tabulate one of the paper's ablations on Toyshop, the paper's own figures beside it."""
    rows, table = [], ABLATIONS[name]
    every = comparable([read_scores(r.variant, r.setting, results=results) for r in table])
    for row, scores in zip(table, every, strict=True):
        quoted = ["-", "-"] if row.paper is None else [f"{x:.1f}" for x in row.paper]
        rows.append((row.name, *score_texts(scores), against(every[0], scores), *quoted))
    header = ["row", *SCORES, "against the first row", "paper: mIoU", "paper: FB-IoU"]
    return markdown(header, rows)


def paper_reading(name: str, results: Path = RESULTS) -> str:
    """Say what such a table shows against its first row; one Markdown line each."""
    table = ABLATIONS[name]
    first, *others = [read_scores(r.variant, r.setting, results=results) for r in table]
    found: dict[str, list[str]] = {}
    for row, scores in zip(table[1:], others, strict=True):
        if set(scores) & set(first):
            found.setdefault(paired_difference(scores, first).verdict, []).append(row.name)
    return "\n".join(
        f"- Against {table[0].name}, **{said}**: {'; '.join(names)}."
        for said, names in found.items()
    )


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
    parts = [source(number), markdown([*header, *beside], rows), *notes(number)]
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


def published_beside_ours(number: int, results: Path = RESULTS) -> str:
    """Write a table of the paper with our evaluations in two more columns."""
    return published_table(number, own_scores(number, results))


def own_scores(number: int, results: Path = RESULTS) -> Columns:
    """Read our evaluations for a table of the paper: two columns, as published_table takes them.

    They are results/benchmarks/RECIPE-fFOLD-SHOTSshot.json, written by `python -m scl evaluate
    --out`; a mean over fewer than four folds says so. RECIPE-released-... are those of models that
    follow the released code; they get columns of their own, where there are any.
    """
    measure = "fb_iou" if number == 3 else "miou"
    found: dict[tuple[str, str, int], list[float]] = {}
    for path in sorted((results / "benchmarks").glob("*.json")):
        named = re.fullmatch(r"(.+?)(-released)?-f[0-3]-([15])shot", path.stem)
        if named and ROWS_OF_RECIPES.get(named[1], (0,))[0] == (2 if number == 2 else 1):
            recipe, reading, shots = named[1], READING_OF_NAMES[named[2]], int(named[3])
            record = json.loads(path.read_text(encoding="utf-8"))
            _check_record(path, record["evaluated"], recipe, shots, reading)
            place = recipe, HEADING_OF[reading], shots
            found.setdefault(place, []).append(100 * record[measure])
    columns: Columns = {"here, 1-shot": {}, "here, 5-shot": {}}
    for (recipe, heading, shots), scores in found.items():
        note = "" if len(scores) == FOLDS else f" ({len(scores)} of {FOLDS} folds)"
        _, method, backbone = ROWS_OF_RECIPES[recipe]
        column = columns.setdefault(f"{heading}, {shots}-shot", {})
        column[method, backbone] = f"{np.mean(scores):.1f}{note}"
    return columns


def _check_record(path: Path, evaluated: dict, recipe: str, shots: int, reading: Reading) -> None:
    """Raise unless an evaluation is what its file's name says, by the paper's protocol."""
    data, system = recipe.split("-", 1)
    model, protocol = evaluated["model"], evaluated["protocol"]
    own = read_recipe(recipe, reading=reading).test
    depth = int(ROWS_OF_RECIPES[recipe][2].removeprefix("resnet"))
    fusion: str = own.fusion
    if shots == 1 and protocol["fusion"] == "cross":
        fusion = "cross"  # one support leaves nothing to fuse, and it was the default of all
    said = evaluated.get("as") or "paper"  # what is older than the other form does not say it
    found = {
        "as": (said, reading),
        "data set": (evaluated["data"]["kind"], "Pascal5i" if data == "pascal" else "Coco20i"),
        "head": (model["head"]["kind"], "CANetHead" if "canet" in system else "PFENetHead"),
        "backbone": (model["backbone"]["kind"], "ResNet"),
        "depth of the backbone": (model["backbone"].get("depth"), depth),
        "vectors": (model["guidance"]["vectors"], ["pri", "aux"] if "scl" in system else ["s"]),
        "shots": (protocol["shots"], shots),
        "episodes": (protocol["episodes"], 1000),
        "seeds": (len(protocol["seeds"]), 5),
        "fusion": (protocol["fusion"], fusion),
        "resize": (protocol["fit"]["method"], own.resize),
        "walk": (protocol.get("walk", "uniform"), own.walk),
        "precision": (evaluated.get("precision", "float32"), "float32"),
    }
    for name, (is_, expected) in found.items():
        if is_ != expected:
            raise ValueError(
                f"{path}: {name} is {is_!r}, and a record of this name has {expected!r}: move it "
                "elsewhere, or evaluate by the README's command"
            )
