"""Tables from the stored cells: means over folds and seeds, and intervals of paired differences.

The interval is a two-stage bootstrap: within each fold the seeds are drawn again, and within each
run the episodes, the same ones for both methods. Folds are fixed: there are only these four.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scl.experiments import FIVE_SHOT, FUSIONS, RESULTS, grid
from scl.metric import interval, resample, weighted_miou

Runs = dict[tuple[int, int], dict]  # (fold, seed) -> the scores of one setting

NAMES = {
    "foreground": "everything is foreground",
    "cosine": "cosine to v_s, no training",
    "v_s": "v_s only",
    "v_s-seconds": "v_s only, as many seconds as SCL",
    "v_s+L1": "v_s and the loss L_s1",
    "scl": "primary + auxiliary (SCL)",
}
FUSION_NAMES = {
    "average": "averaging the predictions",
    "vectors": "averaging the vectors",
    "cross": "cross-guided fusion",
}


def read_runs(
    variant: str,
    setting: str,
    data: str = "toyshop",
    head: str = "canet",
    results: Path = RESULTS,
) -> Runs:
    """Scores of every stored (fold, seed) of a variant. setting: "1", "5 cross", ..."""
    runs: Runs = {}
    for cell in grid(data, head):
        path = cell.path(results)
        if cell.variant == variant and cell.stage == "final" and path.is_file():
            scores = json.loads(path.read_text())["scores"]
            if setting in scores:
                runs[cell.fold, cell.seed] = scores[setting]
    return runs


def mean_score(runs: Runs, name: str = "miou") -> float:
    """Mean over folds and seeds, in 0..1; NaN without a run."""
    return float(np.mean([run[name] for run in runs.values()])) if runs else float("nan")


def seed_spread(runs: Runs, name: str = "miou") -> float:
    """Standard deviation over seeds of the mean over folds."""
    seeds = sorted({seed for _, seed in runs})
    means = [np.mean([run[name] for (_, s), run in runs.items() if s == seed]) for seed in seeds]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


@dataclass(frozen=True)
class Difference:
    """mIoU of one method minus another's over the same episodes, in 0..1.

    low, high: 95 % interval; cells: in how many (fold, seed) both were run.
    """

    mean: float
    low: float
    high: float
    cells: int

    def __str__(self) -> str:
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    @property
    def verdict(self) -> str:
        """What may be said: "higher", "lower", or that no difference shows."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "no difference shown"


def paired_difference(a: Runs, b: Runs, draws: int = 1000, seed: int = 0) -> Difference:
    """a minus b over the (fold, seed) cells that both have, with a 95 % interval."""
    shared = sorted(set(a) & set(b))
    if not shared:
        raise ValueError("no (fold, seed) has been run for both methods: run the missing cells")
    generator = np.random.default_rng(seed)
    means, drawn = {}, {}
    for key in shared:
        (labels, counts), (other, other_counts) = _episodes(a[key]), _episodes(b[key])
        if not np.array_equal(labels, other):
            raise ValueError(f"fold and seed {key}: the two methods saw different episodes")
        weights = resample(len(labels), generator, draws)
        drawn[key] = weighted_miou(counts, labels, weights) - weighted_miou(
            other_counts, labels, weights
        )
        means[key] = a[key]["miou"] - b[key]["miou"]
    low, high = interval(_two_stage(drawn, generator))
    folds = sorted({fold for fold, _ in shared})
    mean = np.mean([np.mean([m for (f, _), m in means.items() if f == fold]) for fold in folds])
    return Difference(float(mean), low, high, len(shared))


def _episodes(run: dict) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(run["episodes"])
    return rows[:, 0], rows[:, 1:]


def _two_stage(
    drawn: dict[tuple[int, int], np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """Per draw: seeds of each fold drawn again, their values averaged, then the folds."""
    folds = []
    for fold in sorted({fold for fold, _ in drawn}):
        values = np.stack([v for (f, _), v in sorted(drawn.items()) if f == fold])
        seeds, draws = values.shape
        chosen = generator.integers(seeds, size=(seeds, draws))
        folds.append(values[chosen, np.arange(draws)].mean(axis=0))
    return np.mean(folds, axis=0)


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
    """Novel classes, one support: every variant, and its paired difference to two references."""
    rows, reference = [], {r: read_runs(r, "1", data, head, results) for r in references}
    for variant, name in NAMES.items():
        runs = read_runs(variant, "1", data, head, results)
        cells = [_difference(runs, reference[r], variant == r) for r in references]
        rows.append((name, *_scores(runs), *cells))
    against = [f"against {NAMES[r]}" for r in references]
    return markdown(["method", "mIoU", "± seeds", "FB-IoU", "runs", *against], rows)


def _scores(runs: Runs) -> tuple[str, ...]:
    return (
        f"{100 * mean_score(runs):.1f}",
        f"{100 * seed_spread(runs):.1f}",
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


def reading(data: str = "toyshop", head: str = "canet", results: Path = RESULTS) -> str:
    """What the tables say in words, as far as the intervals allow; one Markdown line each."""
    pairs = [("scl", other, "1", "1") for other in ("v_s", "v_s-seconds", "v_s+L1", "cosine")]
    pairs += [("v_s+L1", other, "1", "1") for other in ("v_s", "cosine")]
    for setting in ("5", "5-wrong"):
        pairs += [("scl", "scl", f"{setting} cross", f"{setting} {o}") for o in FUSIONS[:2]]
        pairs += [("scl", "cosine", f"{setting} cross", f"{setting} cross")]
    lines = []
    for a, b, setting, other in pairs:
        runs = [read_runs(v, s, data, head, results) for v, s in ((a, setting), (b, other))]
        if set(runs[0]) & set(runs[1]):
            found = paired_difference(*runs)
            names = _setting_names(a, b, setting, other)
            lines.append(f"- {names}: **{found.verdict}**, {found} mIoU in {found.cells} runs.")
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
    """Every notebook with the seconds its last stored run took on two cores."""
    record = json.loads((results / "chapters.json").read_text())
    rows = [
        (f"[{name}](notebooks/{name}.ipynb)", f"{seconds / 60:.1f}")
        for name, seconds in sorted(record.items())
    ]
    return markdown(["chapter", "minutes to run"], rows)


def fill(text: str, results: Path = RESULTS) -> str:
    """Put the stored tables between the markers `<!-- table NAME -->` and `<!-- end -->`."""
    made = {
        "chapters": chapter_table(results),
        "one-shot": one_shot_table(results=results),
        "five-shot": five_shot_table(results=results),
        "five-shot-cosine": five_shot_table(variant="cosine", results=results),
        "reading": reading(results=results),
    }
    for name, table in made.items():
        start, end = f"<!-- table {name} -->", "<!-- end -->"
        if start in text:
            before, after = text.split(start, 1)
            text = f"{before}{start}\n{table}\n{end}{after.split(end, 1)[1]}"
    return text


def report(data: str = "toyshop", head: str = "canet", results: Path = RESULTS) -> str:
    """Both tables, with how much of the grid is there."""
    cells = [c for c in grid(data, head) if c.stage == "final"]
    done = sum(c.path(results).is_file() for c in cells)
    title = f"{data}, {head}: {done} of {len(cells)} cells"
    parts = [title, one_shot_table(data, head, results), reading(data, head, results)]
    for variant in FIVE_SHOT:
        parts += [f"5 shots, {NAMES[variant]}", five_shot_table(data, head, variant, results)]
    return "\n\n".join(parts)
