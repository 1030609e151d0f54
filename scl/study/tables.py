"""The tables of the grid in Markdown: rows -> stored scores -> paired differences -> text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from scl.datasets.folds import FOLDS
from scl.study.differences import paired_difference
from scl.study.grid import BY_HEAD, FUSIONS, RESULTS, UNTRAINED
from scl.study.scores import Scores, by_fold, mean_score, read_scores, seed_spread

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
REFERENCES = ("cosine", "v_s", "v_s-seconds")  # what the main variants are compared with
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


SCORES = ("mIoU", "± seeds", "FB-IoU", "runs")


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def score_texts(scores: Scores) -> tuple[str, ...]:
    """Write the columns of SCORES."""
    if not scores:
        return ("not run yet", "-", "-", "0")
    spread = seed_spread(scores)
    return (
        f"{100 * mean_score(scores):.1f}",
        "-" if np.isnan(spread) else f"{100 * spread:.1f}",
        f"{100 * mean_score(scores, 'fb_iou'):.1f}",
        f"{len(scores)}",
    )


def against(reference: Scores, scores: Scores) -> str:
    """Write what the scores gain over a reference; a dash where that is the row itself."""
    if scores is reference or not set(scores) & set(reference):
        return "-"
    return str(paired_difference(scores, reference))


def comparable(every: Sequence[Scores]) -> list[Scores]:
    """Leave the (fold, seed) that all rows have, so that the rows of a table can be compared."""
    keys = set.intersection(*(set(scores) for scores in every if scores)) if any(every) else set()
    return [{key: run for key, run in scores.items() if key in keys} for scores in every]


def _main_variants(head: str) -> list[str]:
    return [variant for variant in MAIN if variant in (*UNTRAINED, *BY_HEAD[head])]


def one_shot_table(head: str = "canet", results: Path = RESULTS) -> str:
    """Tabulate the main variants: novel classes, one support, and what they gain over others."""
    variants = _main_variants(head)
    every = comparable([read_scores(v, "1", head, results) for v in variants])
    by_variant = dict(zip(variants, every, strict=True))
    references = [r for r in REFERENCES if r in variants]
    rows = [
        (NAMES[v], *score_texts(own), *(against(by_variant[r], own) for r in references))
        for v, own in by_variant.items()
    ]
    return markdown(["method", *SCORES, *(f"against {NAMES[r]}" for r in references)], rows)


def fold_table(head: str = "canet", results: Path = RESULTS) -> str:
    """Tabulate the mIoU of every fold, as the field reports it: mean over seeds, one shot."""
    rows = []
    for variant in _main_variants(head):
        scores = read_scores(variant, "1", head, results)
        means = {fold: f"{100 * np.mean(mious):.1f}" for fold, mious in by_fold(scores).items()}
        folds = [means.get(fold, "-") for fold in range(FOLDS)]
        rows.append((NAMES[variant], *folds, score_texts(scores)[0]))
    return markdown(["method", *(f"fold {f}" for f in range(FOLDS)), "mean"], rows)


def five_shot_table(variant: str = "scl", head: str = "canet", results: Path = RESULTS) -> str:
    """Tabulate three ways to use five supports: novel classes, clean and with one wrong mask."""
    rows = []
    for setting, label in (("5", "clean"), ("5-wrong", "one mask on a wrong object")):
        every = {f: read_scores(variant, f"{setting} {f}", head, results) for f in FUSION_NAMES}
        for fusion, scores in every.items():
            gain = against(every["average"], scores)
            rows.append((label, FUSION_NAMES[fusion], *score_texts(scores), gain))
    return markdown(["supports", "fusion", *SCORES, "against averaging predictions"], rows)


def swap_table(variant: str = "scl", head: str = "canet", results: Path = RESULTS) -> str:
    """Does the trained head listen to its vectors? One shot, with others in their place."""
    every = comparable([read_scores(variant, s, head, results) for s in SWAP_NAMES])
    rows = [
        (name, *score_texts(scores), against(every[0], scores))
        for name, scores in zip(SWAP_NAMES.values(), every, strict=True)
    ]
    return markdown(["the head is given", *SCORES, "against its own"], rows)


def reading(head: str = "canet", results: Path = RESULTS, shots: tuple[int, ...] = (1, 5)) -> str:
    """Say what the tables show, as far as the intervals allow; one Markdown line each.

    shots: of which tables, 1 or 5 or both.
    """
    pairs = [("scl", other, "1", "1") for other in ("v_s", "v_s-seconds", "v_s+L1", "cosine")]
    pairs += [("v_s+L1", other, "1", "1") for other in ("v_s", "cosine")]
    pairs = pairs if 1 in shots else []
    for setting in ("5", "5-wrong") if 5 in shots else ():
        pairs += [("scl", "scl", f"{setting} cross", f"{setting} {o}") for o in FUSIONS[:2]]
        pairs += [("scl", "cosine", f"{setting} cross", f"{setting} cross")]
    lines = []
    for a, b, a_setting, b_setting in pairs:
        one = read_scores(a, a_setting, head, results)
        other = read_scores(b, b_setting, head, results)
        if set(one) & set(other):
            found, names = paired_difference(one, other), _pair_names(a, b, b_setting)
            said = f"**{found.verdict}**, {found.figures} mIoU in {found.runs} runs."
            lines.append(f"- {names}: {said}")
    return "\n".join(lines)


def _pair_names(a: str, b: str, setting: str) -> str:
    if setting == "1":
        return f"One shot, {NAMES[a]} against {NAMES[b]}"
    shots, fusion = setting.split()
    wrong = ", one mask on a wrong object" if "wrong" in shots else ""
    if a != b:
        return f"Five shots{wrong}, fused, {NAMES[a]} against {NAMES[b]}"
    return f"Five shots{wrong}, fusion against {FUSION_NAMES[fusion]}"
