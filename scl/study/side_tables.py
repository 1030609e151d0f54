"""The tables of the rows that were trained side by side: see scl.study.side_by_side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from scl.datasets.folds import FOLDS
from scl.study.differences import Difference, paired_difference
from scl.study.grid import FUSIONS, RESULTS, SEEDS
from scl.study.scores import Scores, by_fold
from scl.study.side_by_side import GROUPS, ROWS, TRAINED, UNTRAINED, path_of, read_row
from scl.study.tables import FUSION_NAMES, SCORES, markdown, score_texts
from scl.study.tables import NAMES as VARIANT_NAMES

NAMES = {
    "foreground": "everything is foreground",
    "cosine": "raw cosine to v_s",
    "centred": "centred cosine to v_s",
    "two-sided": "v_s less the background's average (PANet's rule)",
    "self-support": "v_s less background, with self-support (SSP's rule)",
    "parts-k-means": "two parts by k-means (PPNet's rule)",
    "parts-em": "two parts by EM (RPMMs' rule)",
    "v_s": "head: v_s",
    "v_s+L1": "head: v_s and L_s1",
    "scl": "head: v_s, v_pri, v_aux (SCL)",
    "inside-edge": "head: v_s, inside, edge (control)",
    "k-means": "head: v_s, two clusters (control)",
    "v_s-maps": "head on maps alone: v_s",
    "scl-maps": "head on maps alone: v_s, v_pri, v_aux",
}
HEAD_NAMES = {"canet": "CANet-style head", "pfenet": "PFENet-style head"}
SETTINGS = {
    "1": "one",
    "5 cross": "five, cross-guided",
    "5 vectors": "five, pooled",
    "5-wrong cross": "five, one mask wrong, cross-guided",
    "5-wrong vectors": "five, one mask wrong, pooled",
}
# What is asked of both worlds: a row and the one it is compared with.
EFFECTS = (
    ("scl", "v_s"),
    ("v_s+L1", "v_s"),
    ("scl", "v_s+L1"),
    ("inside-edge", "v_s+L1"),
    ("k-means", "v_s+L1"),
    ("scl", "inside-edge"),
    ("scl", "k-means"),
    ("scl-maps", "v_s-maps"),
    ("scl", "scl-maps"),
    ("scl", "self-support"),
    ("scl", "cosine"),
)


def side_table(data: str, results: Path = RESULTS) -> str:
    """Tabulate every row of a data set: novel classes, one support."""
    every = {row: read_row(data, row, "1", results) for row in ROWS}
    best = max(UNTRAINED, key=lambda row: _mean(every[row]))
    lines = []
    for row, scores in every.items():
        means = {fold: f"{100 * np.mean(mious):.1f}" for fold, mious in by_fold(scores).items()}
        folds = [means.get(fold, "-") for fold in range(FOLDS)]
        gain = str(_difference(scores, every[best]) or "-") if row in TRAINED else "-"
        lines.append((NAMES[row], *folds, *score_texts(scores), gain))
    folds = [f"fold {fold}" for fold in range(FOLDS)]
    return markdown(["method", *folds, *SCORES, f"against {NAMES[best]}"], lines)


def _mean(scores: Scores) -> float:
    return float(np.mean([run["miou"] for run in scores.values()])) if scores else -1.0


def _difference(one: Scores, other: Scores) -> Difference | None:
    return paired_difference(one, other) if set(one) & set(other) else None


def effects(results: Path = RESULTS) -> dict[tuple[str, str], list[Difference | None]]:
    """Compute what each part is worth, in photographs and in toys: paired differences."""
    return {
        (a, b): [
            _difference(read_row(data, a, "1", results), read_row(data, b, "1", results))
            for data in ("pascal", "toyshop")
        ]
        for a, b in EFFECTS
    }


def effect_table(results: Path = RESULTS) -> str:
    """Tabulate the effects, with what may be said of each."""
    lines = []
    for (a, b), found in effects(results).items():
        said = [f"{d}, {d.verdict}" if d else "not run yet" for d in found]
        lines.append((f"{NAMES[a]} against {NAMES[b]}", *said))
    return markdown(["what", "photographs", "toys"], lines)


def effect_points(results: Path = RESULTS, most: float = 2.0) -> dict[str, tuple]:
    """Give the effects known in both worlds as {name: (x, y)}, each (value, low, high) in points.

    most: leave out what is larger in either, beside which nothing else could be seen.
    """
    points = {}
    for (a, b), found in effects(results).items():
        pair = [(100 * d.mean, 100 * d.low, 100 * d.high) for d in found if d]
        if len(pair) == 2 and max(abs(value) for value, *_ in pair) <= most:
            points[f"{a} against {b}"] = tuple(pair)
    return points


def side_fusion_table(data: str, row: str = "scl", results: Path = RESULTS) -> str:
    """Tabulate three ways to use five supports, clean and with one mask of another object."""
    one, lines = read_row(data, row, "1", results), []
    lines.append(("one support", "-", *score_texts(one), "-"))
    for setting, label in (("5", "clean"), ("5-wrong", "one mask of another picture")):
        average = read_row(data, row, f"{setting} average", results)
        for fusion in FUSIONS:
            scores = read_row(data, row, f"{setting} {fusion}", results)
            gain = "-" if fusion == "average" else str(_difference(scores, average) or "-")
            lines.append((label, FUSION_NAMES[fusion], *score_texts(scores), gain))
    return markdown(["supports", "fusion", *SCORES, "against averaging predictions"], lines)


def paper_rows_table(results: Path = RESULTS) -> str:
    """Tabulate the rows of Tables 4 to 6 on photographs, each against its head's v_s row."""
    lines = []
    for head in GROUPS:
        for variant, scores, gain in _paper_rows(head, results):
            shown = "-" if variant == "v_s" else str(gain or "-")
            row = f"{HEAD_NAMES[head]}: {VARIANT_NAMES[variant]}"
            lines.append((row, *score_texts(scores), shown))
    return markdown(["row", *SCORES, f"against {VARIANT_NAMES['v_s']}"], lines)


def paper_rows_reading(results: Path = RESULTS) -> str:
    """Say what that table shows of each head; one Markdown line for each verdict."""
    found: dict[tuple[str, str], list[str]] = {}
    for head in GROUPS:
        for variant, _, gain in _paper_rows(head, results):
            if gain and variant != "v_s":
                found.setdefault((head, gain.verdict), []).append(VARIANT_NAMES[variant])
    lines = [
        f"- {HEAD_NAMES[head]}, against {VARIANT_NAMES['v_s']}, **{said}**: {'; '.join(names)}."
        for (head, said), names in found.items()
    ]
    return "\n".join(lines) or "- Not run yet: `python -m scl side --row canet pfenet` runs them."


def _paper_rows(head: str, results: Path) -> list[tuple[str, Scores, Difference | None]]:
    """Read a head's rows: variant, scores, what it gains over the v_s row in shared runs."""
    rows = {
        row.removeprefix(f"{head}-"): read_row("pascal", row, "1", results) for row in GROUPS[head]
    }
    return [(v, scores, _difference(scores, rows["v_s"])) for v, scores in rows.items()]


def side_count(results: Path = RESULTS) -> str:
    """Say how many records there are, and of how many steps the trained rows are."""
    counts, steps = [], set[int]()
    for data in ("pascal", "toyshop"):
        keys = [(row, fold, seed) for row in ROWS for fold in range(FOLDS) for seed in SEEDS]
        paths = [path_of(data, *key, results) for key in keys]
        found = [path for path in paths if path.is_file()]
        records = [json.loads(path.read_text(encoding="utf-8")) for path in found]
        steps |= {record["steps"] for record in records if "steps" in record}
        counts.append(f"- {data}: {len(found)} of {len(paths)} records")
    return "\n".join([*counts, f"- steps of a trained row: {', '.join(map(str, sorted(steps)))}"])


# Records of the general model, and of its recipe without a fold's novel classes.
JUDGED = {
    "general-photos": "ETH-80's scenes, the shipped model",
    "general-f0": "PASCAL-5^0's novel classes, the recipe without them",
}


def general_table(results: Path = RESULTS) -> str:
    """Tabulate what the general model does on classes that it was not trained on."""
    lines = []
    for name, words in JUDGED.items():
        record = _judged(name, results)
        for setting in ("1", "5 cross", "5 vectors", "5-wrong cross", "5-wrong vectors"):
            scores = record[setting]
            shown = f"{100 * scores['miou']:.1f}", f"{100 * scores['fb_iou']:.1f}"
            lines.append((words, SETTINGS[setting], *shown))
    return markdown(["photographs", "supports", "mIoU", "FB-IoU"], lines)


def absent_table(results: Path = RESULTS) -> str:
    """Tabulate what a line drawn at some presence empties, rightly and wrongly, and costs."""
    lines = []
    for name, words in JUDGED.items():
        for least, found in _judged(name, results)["absent"].items():
            if float(least) in (0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4):
                low, high = (100 * end for end in found["empty_interval"])
                empty = f"{100 * found['empty']:.0f} % [{low:.0f}, {high:.0f}]"
                low, high = (100 * end for end in found["gain_interval"])
                gain = f"{100 * found['miou']:.1f} [{low:+.1f}, {high:+.1f}]"
                lines.append((words, least, empty, f"{100 * found['missed']:.0f} %", gain))
    header = ["photographs", "least presence", "empty where it is absent [95 %]"]
    header += ["empty where it is there", "mIoU, one support [its change, 95 %]"]
    return markdown(header, lines)


def small_table(results: Path = RESULTS) -> str:
    """Tabulate how well things of several sizes are found at a glance and by closer looks."""
    record, lines = _judged("general-small", results), []
    for share, found in record.items():
        if not share.startswith("0."):
            continue
        ious = [
            f"{100 * found[f'{support} {way}']:.0f}"
            for support in ("ordinary", "alike")
            for way in ("glance", "closer")
        ]
        times = [f"{found[f'ordinary {way} cpu_seconds']:.1f}" for way in ("glance", "closer")]
        lines.append((f"{100 * float(share):.0f} %", *ious, *times))
    header = ["share of the picture", "IoU at a glance", "closer", "support as small: at a glance"]
    return markdown([*header, "closer", "CPU-s at a glance", "closer"], lines)


def _judged(name: str, results: Path) -> dict:
    return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
