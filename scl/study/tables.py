"""Tables from the stored cells: means over folds and seeds, and intervals of paired differences.

The interval is Student's t over the runs: differences are paired by episode within a run, their
spread over seeds is pooled over the folds (three seeds in four folds leave 8 degrees of freedom),
and folds are fixed, for there are only these four. It holds the doubt of seeds and of episodes.
Where every fold has a single seed, only the episodes can be drawn again (a bootstrap), and the
table says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scl.datasets.folds import FOLDS
from scl.method.metric import interval, resample, verdict, weighted_miou
from scl.method.rules import PRESETS
from scl.study import published
from scl.study.grid import BY_GRID, CORE, FIVE_SHOT, FUSIONS, RESULTS, ROOT, SEEDS, UNTRAINED, grid

Runs = dict[tuple[int, int], dict]  # (fold, seed) -> the scores of one setting

NAMES = {
    "foreground": "everything is foreground",
    "cosine": "cosine to v_s, no training",
    "v_s": "v_s only",
    "v_s-seconds": "v_s only, as many seconds as SCL",
    "v_s+L1": "v_s and the loss L_s1",
    "pri": "primary only",
    "aux": "auxiliary only",
    "all": "v_s + primary + auxiliary",
    "scl-none": "primary + auxiliary, no support loss",
    "scl-L1": "primary + auxiliary, L_s1 alone",
    "scl-L2": "primary + auxiliary, L_s2 alone",
    "scl": "primary + auxiliary (SCL)",
}
MAIN = ("foreground", "cosine", "v_s", "v_s-seconds", "v_s+L1", "scl")
SWAP_NAMES = {
    "1": "its own vectors",
    "1 v_s": "v_s in every place",
    "1 shuffled": "vectors of an object of another class",
    "1 zero": "zero vectors",
}
FUSION_NAMES = {
    "average": "averaging the predictions",
    "vectors": "averaging the vectors",
    "cross": "cross-guided fusion",
}


# Recipe -> the table of the paper, and the row in it (method, backbone), that it stands for.
ROWS_OF_RECIPES = {
    "pascal-canet": (1, "CANet", "resnet50"),
    "pascal-scl-canet": (1, "ours-SCL (CANet)", "resnet50"),
    "pascal-pfenet": (1, "PFENet", "resnet50"),
    "pascal-scl-pfenet": (1, "ours-SCL (PFENet)", "resnet50"),
    "coco-pfenet": (2, "PFENet", "resnet101"),
    "coco-scl-pfenet": (2, "ours-SCL (PFENet)", "resnet101"),
}


class Row(NamedTuple):
    """A row of a table of the paper: what it is called, our runs, and the quoted scores."""

    name: str
    variant: str
    setting: str = "1"
    paper: tuple[float, float] | None = None  # mIoU and FB-IoU on PASCAL-5^i, ResNet-50, CANet


# The first row of each table is the one that the others are compared with.
PAPER_TABLES = {
    "4, one shot": (
        Row("v_s only (the baseline)", "v_s", "1", (55.4, 66.2)),
        Row("self-guided (SGM)", "scl", "1", (57.5, 70.3)),
    ),
    "4, five shots": (
        Row("v_s only, averaging predictions", "v_s", "5 average", (55.9, 66.7)),
        Row("v_s only, cross-guided (CGM)", "v_s", "5 cross", (56.9, 69.7)),
        Row("self-guided, averaging predictions", "scl", "5 average", (58.7, 70.3)),
        Row("self-guided, cross-guided", "scl", "5 cross", (59.2, 70.7)),
    ),
    "5": (
        Row("v_s (with L_s1)", "v_s+L1", "1", (55.6, 67.3)),
        Row("v_pri", "pri", "1", (56.6, 69.5)),
        Row("v_aux", "aux", "1", (51.4, 65.2)),
        Row("v_s, v_pri, v_aux", "all", "1", (57.1, 69.9)),
        Row("v_pri, v_aux", "scl", "1", (57.5, 70.3)),
    ),
    "6": (
        Row("neither (not in the paper)", "scl-none"),
        Row("L_s1 alone", "scl-L1", "1", (55.6, 67.3)),
        Row("L_s2 alone", "scl-L2", "1", (56.8, 69.6)),
        Row("both", "scl", "1", (57.5, 70.3)),
    ),
}


@lru_cache(maxsize=512)
def _scores_of(path: Path, modified: int) -> dict:
    return json.loads(path.read_text())["scores"]


def read_runs(
    variant: str,
    setting: str,
    data: str = "toyshop",
    head: str = "canet",
    results: Path = RESULTS,
) -> Runs:
    """Scores of every stored (fold, seed) of a variant. setting: "1", "5 cross", ..."""
    runs: Runs = {}
    # Methods without a head are stored once.
    for cell in grid(data, "canet" if variant in UNTRAINED else head):
        path = cell.path(results)
        if cell.variant == variant and cell.stage == "final" and path.is_file():
            scores = _scores_of(path, path.stat().st_mtime_ns)
            if setting in scores:
                runs[cell.fold, cell.seed] = scores[setting]
    return runs


def mean_score(runs: Runs, name: str = "miou") -> float:
    """Mean over folds of the means over seeds, in 0..1; NaN without a run."""
    folds = sorted({fold for fold, _ in runs})
    means = [np.mean([run[name] for (f, _), run in runs.items() if f == fold]) for fold in folds]
    return float(np.mean(means)) if means else float("nan")


def seed_spread(runs: Runs, name: str = "miou") -> float:
    """Standard deviation over seeds of the mean over folds; seeds that miss a fold do not count."""
    folds = len({fold for fold, _ in runs})
    by_seed = [[r[name] for (_, s), r in runs.items() if s == seed] for seed in SEEDS]
    means = [np.mean(values) for values in by_seed if values and len(values) == folds]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def seed_noise(variant: str = "scl", head: str = "canet", results: Path = RESULTS) -> float:
    """How far the mIoU of one run lies from that of another seed: standard deviation, in points.

    Within folds, over the stored seeds (initial weights and scenes); 0 with a single seed.
    """
    runs = read_runs(variant, "1", head=head, results=results)
    folds = [[r["miou"] for (f, _), r in runs.items() if f == fold] for fold in range(FOLDS)]
    variances = [np.var(mious, ddof=1) for mious in folds if len(mious) > 1]
    return 100 * float(np.mean(variances)) ** 0.5 if variances else 0.0


@dataclass(frozen=True)
class Difference:
    """mIoU of one method minus another's over the same episodes, in 0..1.

    low, high: 95 % interval; cells: in how many (fold, seed) both were run; seeds: whether the
    interval holds the doubt of seeds, too.
    """

    mean: float
    low: float
    high: float
    cells: int
    seeds: bool = True

    def __str__(self) -> str:
        return self.figures if self.seeds else f"{self.figures}, one seed"

    @property
    def figures(self) -> str:
        """The difference and its interval, in points."""
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    @property
    def verdict(self) -> str:
        """What may be said: "higher", "lower", or that no difference shows."""
        said = verdict(100 * self.low, 100 * self.high)
        return said if self.seeds else f"{said} (one seed)"


# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip


def paired_difference(a: Runs, b: Runs) -> Difference:
    """a minus b over the (fold, seed) runs that both have, with a 95 % interval."""
    shared = sorted(set(a) & set(b))
    if not shared:
        raise ValueError("no (fold, seed) has been run for both methods: run the missing cells")
    for key in shared:
        if not np.array_equal(_episodes(a[key])[0], _episodes(b[key])[0]):
            raise ValueError(f"fold and seed {key}: the two methods saw different episodes")
    by_fold: dict[int, list[float]] = {}
    for fold, seed in shared:
        gap = a[fold, seed]["miou"] - b[fold, seed]["miou"]
        by_fold.setdefault(fold, []).append(gap)
    mean = float(np.mean([np.mean(gaps) for gaps in by_fold.values()]))
    freedom = len(shared) - len(by_fold)
    if freedom == 0:
        return _over_episodes(a, b, shared, mean)
    half = _half_width(list(by_fold.values()), freedom)
    return Difference(mean, mean - half, mean + half, len(shared))


def _half_width(by_fold: list[list[float]], freedom: int) -> float:
    """t times the standard error of the mean over folds of means over seeds."""
    squares = sum(float(np.sum((np.array(g) - np.mean(g)) ** 2)) for g in by_fold)
    variance = squares / freedom * sum(1 / len(g) for g in by_fold) / len(by_fold) ** 2
    return T_QUANTILES[min(freedom, len(T_QUANTILES)) - 1] * variance**0.5


def _over_episodes(a: Runs, b: Runs, shared: list[tuple[int, int]], mean: float) -> Difference:
    """With one seed a fold: bootstrap over episodes, the same draws for both methods."""
    drawn = []
    for key in shared:
        (labels, counts), (_, other) = _episodes(a[key]), _episodes(b[key])
        weights = resample(len(labels), np.random.default_rng(key))
        drawn.append(weighted_miou(counts, labels, weights) - weighted_miou(other, labels, weights))
    return Difference(mean, *interval(np.mean(drawn, axis=0)), len(shared), seeds=False)


def _episodes(run: dict) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(run["episodes"])
    return rows[:, 0], rows[:, 1:]


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def one_shot_table(
    data: str = "toyshop",
    head: str = "canet",
    results: Path = RESULTS,
    references: Sequence[str] = ("cosine", "v_s", "v_s-seconds"),
) -> str:
    """Novel classes, one support: the main variants, and paired differences to some of them."""
    variants = [v for v in MAIN if v in (*UNTRAINED, *BY_GRID[data, head])]
    references = [r for r in references if r in variants]
    every = _shared([read_runs(v, "1", data, head, results) for v in variants])
    rows, by_name = [], dict(zip(variants, every, strict=True))
    reference = {r: by_name[r] for r in references}
    for variant, runs in by_name.items():
        cells = [_difference(runs, reference[r], variant == r) for r in references]
        rows.append((NAMES[variant], *_scores(runs), *cells))
    against = [f"against {NAMES[r]}" for r in references]
    return markdown(["method", "mIoU", "± seeds", "FB-IoU", "runs", *against], rows)


def _shared(every: Sequence[Runs]) -> list[Runs]:
    """The runs of (fold, seed) that all rows have, so that the rows of a table can be compared."""
    keys = set.intersection(*(set(runs) for runs in every if runs)) if any(every) else set()
    return [{key: run for key, run in runs.items() if key in keys} for runs in every]


def paper_table(name: str, results: Path = RESULTS) -> str:
    """One of the paper's ablations on Toyshop, the paper's own figures quoted beside it."""
    rows, first = [], None
    every = [read_runs(row.variant, row.setting, results=results) for row in PAPER_TABLES[name]]
    for row, runs in zip(PAPER_TABLES[name], _shared(every), strict=True):
        first = runs if first is None else first
        quoted = ["-", "-"] if row.paper is None else [f"{x:.1f}" for x in row.paper]
        rows.append((row.name, *_scores(runs), _difference(runs, first, runs is first), *quoted))
    header = ["row", "mIoU", "± seeds", "FB-IoU", "runs", "against the first row"]
    return markdown([*header, "paper: mIoU", "paper: FB-IoU"], rows)


def published_table(
    number: int, beside: Mapping[str, Mapping[tuple[str, str], str]] | None = None
) -> str:
    """Table 1, 2 or 3 of the paper as it was printed, with its source and notes.

    beside: further columns, heading -> {(method, backbone): text}, empty where nothing is given.
    """
    beside = beside or {}
    for method, backbone in (key for column in beside.values() for key in column):
        published.published_row(number, method, backbone)  # or its score would be lost unseen
    rows = []
    for row in published.quoted(number).rows:
        extra = [column.get((row.method, row.backbone), "") for column in beside.values()]
        rows.append([*published.cells(number, row), *extra])
    table = markdown([*published.columns(number), *beside], rows)
    return "\n\n".join([published.source(number), table, *published.notes(number)])


def own_scores(number: int, results: Path = RESULTS) -> dict[str, dict[tuple[str, str], str]]:
    """Our evaluations for a table of the paper: two columns, as published_table takes them.

    They are results/benchmarks/RECIPE-fFOLD-SHOTSshot.json, written by `python -m scl evaluate
    --out`; a mean over fewer than four folds says so.
    """
    measure = "fb_iou" if number == 3 else "miou"
    found: dict[tuple[str, int], list[float]] = {}
    for path in sorted((results / "benchmarks").glob("*.json")):
        named = re.fullmatch(r"(.+)-f[0-3]-([15])shot", path.stem)
        if named and ROWS_OF_RECIPES.get(named[1], (0,))[0] == (2 if number == 2 else 1):
            record = json.loads(path.read_text(encoding="utf-8"))
            _check_record(path, record, named[1], int(named[2]))
            found.setdefault((named[1], int(named[2])), []).append(100 * record[measure])
    columns: dict[str, dict[tuple[str, str], str]] = {"here, 1-shot": {}, "here, 5-shot": {}}
    for (recipe, shots), scores in found.items():
        note = "" if len(scores) == FOLDS else f" ({len(scores)} of {FOLDS} folds)"
        row = ROWS_OF_RECIPES[recipe][1:]
        columns[f"here, {shots}-shot"][row] = f"{np.mean(scores):.1f}{note}"
    return columns


def _check_record(path: Path, record: dict, recipe: str, shots: int) -> None:
    """Raise unless an evaluation is what its file's name says, by the paper's protocol."""
    data, system = recipe.split("-", 1)
    model, protocol = record["evaluated"]["model"], record["evaluated"]["protocol"]
    vectors = ["pri", "aux"] if system.startswith("scl") else ["s"]
    found = {
        "data set": (
            record["evaluated"]["data"]["kind"],
            {"pascal": "Pascal5i"}.get(data, "Coco20i"),
        ),
        "head": (model["head"]["kind"], "CANetHead" if "canet" in system else "PFENetHead"),
        "backbone": (model["backbone"]["kind"], "ResNet"),
        "vectors": (list(model["guidance"]["vectors"]), vectors),
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


def paper_reading(name: str, results: Path = RESULTS) -> str:
    """What such a table shows against its first row, in words; one Markdown line each."""
    table = PAPER_TABLES[name]
    first, *others = [read_runs(row.variant, row.setting, results=results) for row in table]
    found: dict[str, list[str]] = {}
    for row, runs in zip(table[1:], others, strict=True):
        if set(runs) & set(first):
            found.setdefault(paired_difference(runs, first).verdict, []).append(row.name)
    return "\n".join(
        f"- Against {table[0].name}, **{said}**: {'; '.join(names)}."
        for said, names in found.items()
    )


def swap_table(variant: str = "scl", head: str = "canet", results: Path = RESULTS) -> str:
    """Does the trained head listen to its vectors? One shot, with others in their place."""
    rows = []
    every = _shared([read_runs(variant, s, head=head, results=results) for s in SWAP_NAMES])
    own = every[0]
    for (setting, name), runs in zip(SWAP_NAMES.items(), every, strict=True):
        rows.append((name, *_scores(runs), _difference(runs, own, setting == "1")))
    header = ["the head is given", "mIoU", "± seeds", "FB-IoU", "runs", "against its own"]
    return markdown(header, rows)


def difference(
    a: str, b: str, a_setting: str = "1", b_setting: str = "1", results: Path = RESULTS
) -> Difference:
    """Stored difference of two variants (CANet-style head), for a sentence of a chapter."""
    first, second = (read_runs(*x, results=results) for x in ((a, a_setting), (b, b_setting)))
    return paired_difference(first, second)


def fold_table(
    data: str = "toyshop", head: str = "canet", results: Path = RESULTS, setting: str = "1"
) -> str:
    """mIoU of every fold, as the field reports it: mean over seeds, one shot."""
    rows = []
    for variant in [v for v in MAIN if v in (*UNTRAINED, *BY_GRID[data, head])]:
        runs = read_runs(variant, setting, data, head, results)
        by_fold = [[r["miou"] for (f, _), r in runs.items() if f == fold] for fold in range(FOLDS)]
        means = [f"{100 * np.mean(m):.1f}" if m else "-" for m in by_fold]
        rows.append((NAMES[variant], *means, *_scores(runs)[:1]))
    return markdown(["method", *(f"fold {f}" for f in range(FOLDS)), "mean"], rows)


def _scores(runs: Runs) -> tuple[str, ...]:
    if not runs:
        return ("not run yet", "-", "-", "0")
    spread = seed_spread(runs)
    return (
        f"{100 * mean_score(runs):.1f}",
        "-" if np.isnan(spread) else f"{100 * spread:.1f}",
        f"{100 * mean_score(runs, 'fb_iou'):.1f}",
        f"{len(runs)}",
    )


def _difference(runs: Runs, reference: Runs, same: bool) -> str:
    if same or not set(runs) & set(reference):
        return "-"
    return str(paired_difference(runs, reference))


def five_shot_table(
    data: str = "toyshop", head: str = "canet", variant: str = "scl", results: Path = RESULTS
) -> str:
    """Novel classes, five supports, clean and with one wrong mask: three ways to use them."""
    rows = []
    for setting, label in (("5", "clean"), ("5-wrong", "one mask on a wrong object")):
        average = read_runs(variant, f"{setting} average", data, head, results)
        for fusion, name in FUSION_NAMES.items():
            runs = read_runs(variant, f"{setting} {fusion}", data, head, results)
            rows.append(
                (label, name, *_scores(runs), _difference(runs, average, fusion == "average"))
            )
    header = ["supports", "fusion", "mIoU", "± seeds", "FB-IoU", "runs"]
    return markdown([*header, "against averaging predictions"], rows)


def reading(
    data: str = "toyshop", head: str = "canet", results: Path = RESULTS, shots: tuple = (1, 5)
) -> str:
    """What the tables say in words, as far as the intervals allow; one Markdown line each.

    shots: of which tables, 1 or 5 or both.
    """
    pairs = [("scl", other, "1", "1") for other in ("v_s", "v_s-seconds", "v_s+L1", "cosine")]
    pairs += [("v_s+L1", other, "1", "1") for other in ("v_s", "cosine")]
    pairs = pairs if 1 in shots else []
    for setting in ("5", "5-wrong") if 5 in shots else ():
        pairs += [("scl", "scl", f"{setting} cross", f"{setting} {o}") for o in FUSIONS[:2]]
        pairs += [("scl", "cosine", f"{setting} cross", f"{setting} cross")]
    lines = []
    for a, b, setting, other in pairs:
        runs = [read_runs(v, s, data, head, results) for v, s in ((a, setting), (b, other))]
        if set(runs[0]) & set(runs[1]):
            found = paired_difference(*runs)
            names = _setting_names(a, b, setting, other)
            line = f"- {names}: **{found.verdict}**, {found.figures} mIoU in {found.cells} runs."
            lines.append(line)
    return "\n".join(lines)


def _setting_names(a: str, b: str, setting: str, other: str) -> str:
    if setting == "1":
        return f"One shot, {NAMES[a]} against {NAMES[b]}"
    shots, way = other.split()
    wrong = ", one mask on a wrong object" if "wrong" in shots else ""
    if a != b:
        return f"Five shots{wrong}, fused, {NAMES[a]} against {NAMES[b]}"
    return f"Five shots{wrong}, fusion against {FUSION_NAMES[way]}"


def chapter_table(results: Path = RESULTS) -> str:
    """Every notebook with its minutes: to work through, and of its last run on two cores."""
    record = json.loads((results / "chapters.json").read_text())
    rows = [
        (f"[{name}](notebooks/{name}.ipynb)", teaching_minutes(name), f"{seconds / 60:.1f}")
        for name, seconds in sorted(record.items())
    ]
    return markdown(["chapter", "minutes to read and try", "minutes to run"], rows)


def teaching_minutes(name: str, folder: Path = ROOT / "notebooks") -> int:
    """The sum of the minutes in the table at the beginning of a chapter."""
    cells = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return sum(int(m) for m in re.findall(r"\| (\d+) \|", "".join(cells[0]["source"])))


def stored(data: str = "toyshop", head: str = "canet", results: Path = RESULTS) -> str:
    """How much of a grid is there, in words."""
    cells = [c for c in grid(data, head) if c.stage == "final"]
    done = sum(c.path(results).is_file() for c in cells)
    return f"{done} of {len(cells)} runs"


def flop_table(results: Path = RESULTS) -> str:
    """The stored counts of operations for one episode (python -m scl flops)."""
    record = json.loads((results / "flops.json").read_text(encoding="utf-8"))
    names = {"pfenet": "PFENet", "canet": "CANet"}
    rows = []
    for case in record["cases"]:
        name = names[case["head"]]
        name = f"SCL ({name})" if case["method"] == "scl" else name
        parts = [f"{case[part]:.0f}" for part in ("support", "query", "total")]
        rows.append([name, case["shots"], case["rules"], *parts, case["released_code"] or ""])
    header = ["system", "shots", "reading", "supports", "query", "GFLOP in all", "released code"]
    return markdown(header, rows)


def cost_table(results: Path = RESULTS) -> str:
    """The stored costs of training by the paper's recipes, one fold each."""
    record = json.loads((results / "flops.json").read_text(encoding="utf-8"))
    rows = [
        [f"`{c['recipe']}`", f"{c['gflop_per_step']:,}", f"{c['steps']:,}", c["hours"]]
        for c in record["training"]
    ]
    speed = f"hours at {record['assumed_tflop_per_second']} TFLOP/s"
    return markdown(["recipe", "GFLOP a step", "steps", speed], rows)


def rules_table() -> str:
    """Every rule in its three presets."""
    header = ["rule", *(f"`{name}`" for name in PRESETS)]
    presets = [asdict(rules) for rules in PRESETS.values()]
    return markdown(header, ([f"`{name}`", *(p[name] for p in presets)] for name in presets[0]))


def fill(text: str, results: Path = RESULTS) -> str:
    """Put the stored tables between the markers `<!-- table NAME -->` and `<!-- end -->`."""
    makers = {
        "chapters": lambda: chapter_table(results),
        "one-shot": lambda: one_shot_table(results=results),
        "pfenet": lambda: one_shot_table("toyshop", "pfenet", results),
        "five-shot": lambda: five_shot_table(results=results),
        "five-shot-cosine": lambda: five_shot_table(variant="cosine", results=results),
        "five-shot-pfenet": lambda: five_shot_table("toyshop", "pfenet", results=results),
        "swap": lambda: swap_table(results=results),
        "swap pfenet": lambda: swap_table("scl", "pfenet", results),
        "reading pfenet": lambda: reading("toyshop", "pfenet", results),
        "folds": lambda: fold_table(results=results),
        "flops": lambda: flop_table(results),
        "rules": rules_table,
        "costs": lambda: cost_table(results),
        "reading": lambda: reading(results=results),
        "count": lambda: "\n".join(
            f"- {_STYLES[head]}-style head: {stored('toyshop', head, results)}" for head in _STYLES
        ),
    }
    makers |= {f"paper {n}": lambda n=n: paper_table(n, results) for n in PAPER_TABLES}
    makers |= {f"paper {n} reading": lambda n=n: paper_reading(n, results) for n in PAPER_TABLES}
    makers |= {f"published {n}": lambda n=n: published_table(n) for n in published.TABLES}
    makers |= {
        f"own {n}": lambda n=n: published_table(n, own_scores(n, results)) for n in published.TABLES
    }
    makers["published references"] = published.references
    for name, make in makers.items():
        start, end = f"<!-- table {name} -->", "<!-- end -->"
        if start in text:
            before, after = text.split(start, 1)
            text = f"{before}{start}\n{make()}\n{end}{after.split(end, 1)[1]}"
    return text


_STYLES = {"canet": "CANet", "pfenet": "PFENet"}


def report(data: str = "toyshop", head: str = "canet", results: Path = RESULTS) -> str:
    """Every table of a grid, with how much of it is there."""
    title = f"{data}, {head}: {stored(data, head, results)}"
    parts = [title, one_shot_table(data, head, results), fold_table(data, head, results)]
    parts.append(reading(data, head, results))
    if (data, head) == ("toyshop", "canet"):
        parts += [f"Table {n}\n\n{paper_table(n, results)}" for n in PAPER_TABLES]
        parts += [f"{NAMES[v]}\n\n{swap_table(v, head, results)}" for v in CORE]
    for variant in FIVE_SHOT:
        if variant in BY_GRID[data, head]:
            table = five_shot_table(data, head, variant, results)
            parts.append(f"5 shots, {NAMES[variant]}\n\n{table}")
    return "\n\n".join(parts)
