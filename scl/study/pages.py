"""Pages: the stored tables between the markers of a Markdown file, or all after one another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from scl.method.rules import PRESETS
from scl.study.chapters import (
    SYLLABI,
    anywhere_table,
    chapter_table,
    colab_cell,
    syllabus_table,
)
from scl.study.devices import (
    agreement_table,
    cpu_table,
    gpu_line,
    growth_table,
    shares_table,
    step_line,
    training_table,
)
from scl.study.grid import BY_HEAD, CORE, FIVE_SHOT, RESULTS
from scl.study.paper_tables import (
    paper_reading,
    paper_table,
    published_beside_ours,
    published_table,
)
from scl.study.published import ABLATIONS, TABLES, references
from scl.study.scores import stored
from scl.study.settings import settings_table
from scl.study.side_plateau import plateau_table
from scl.study.side_tables import (
    absent_table,
    effect_table,
    general_table,
    paper_rows_reading,
    paper_rows_table,
    side_count,
    side_fusion_table,
    side_table,
    small_table,
)
from scl.study.tables import (
    NAMES,
    five_shot_table,
    fold_table,
    markdown,
    one_shot_table,
    reading,
    swap_table,
)

STYLES = {"canet": "CANet", "pfenet": "PFENet"}


def fill(text: str, results: Path = RESULTS) -> str:
    """Put the stored tables between the markers `<!-- table NAME -->` and `<!-- end -->`."""
    tables = _tables(results)

    def put(found: re.Match[str]) -> str:
        name = found[1]
        if name not in tables:
            raise ValueError(f"no table is called {name!r}: expected one of {sorted(tables)}")
        return f"<!-- table {name} -->\n{tables[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table ([^>]+) -->.*?<!-- end -->", put, text, flags=re.DOTALL)


def _tables(results: Path) -> dict[str, Callable[[], str]]:
    """What a marker may name, and how it is made."""
    makers: dict[str, Callable[[], str]] = {
        "chapters": partial(chapter_table, results),
        "anywhere": anywhere_table,
        "colab cell": colab_cell,
        "one-shot": partial(one_shot_table, "canet", results),
        "pfenet": partial(one_shot_table, "pfenet", results),
        "five-shot": partial(five_shot_table, "scl", "canet", results),
        "five-shot-cosine": partial(five_shot_table, "cosine", "canet", results),
        "five-shot-pfenet": partial(five_shot_table, "scl", "pfenet", results),
        "swap": partial(swap_table, "scl", "canet", results),
        "swap pfenet": partial(swap_table, "scl", "pfenet", results),
        "reading": partial(reading, "canet", results),
        "reading pfenet": partial(reading, "pfenet", results),
        "folds": partial(fold_table, "canet", results),
        "flops": partial(flop_table, results),
        "costs": partial(cost_table, results),
        "side pascal": partial(side_table, "pascal", results),
        "side toyshop": partial(side_table, "toyshop", results),
        "side paper rows": partial(paper_rows_table, results),
        "side paper rows reading": partial(paper_rows_reading, results),
        "side effects": partial(effect_table, results),
        "side five": partial(side_fusion_table, "pascal", "scl", results),
        "general": partial(general_table, results),
        "general absent": partial(absent_table, results),
        "general small": partial(small_table, results),
        "side plateau": partial(plateau_table, "pascal", results),
        "side count": partial(side_count, results),
        "rules": rules_table,
        "settings": settings_table,
        "cpu": partial(cpu_table, results / "cpu.json"),
        "cpu step": partial(step_line, results / "cpu.json"),
        "cpu shares": partial(shares_table, results / "cpu.json"),
        "cpu growth": partial(growth_table, results / "cpu.json"),
        "gpu": partial(gpu_line, results),
        "gpu training": partial(training_table, results),
        "gpu answers": partial(agreement_table, results),
        "count": partial(_counts, results),
        "published references": references,
    }
    for sessions in SYLLABI:
        makers[f"syllabus {sessions}"] = partial(syllabus_table, sessions)
    for name in ABLATIONS:
        makers[f"paper {name}"] = partial(paper_table, name, results)
        makers[f"paper {name} reading"] = partial(paper_reading, name, results)
    for n in TABLES:
        makers[f"published {n}"] = partial(published_table, n)
        makers[f"own {n}"] = partial(published_beside_ours, n, results)
    return makers


def every_table(head: str = "canet", results: Path = RESULTS) -> str:
    """Write every table of a head, with how much of it is there."""
    parts = [f"toyshop, {head}: {stored(head, results)}", one_shot_table(head, results)]
    parts += [fold_table(head, results), reading(head, results)]
    if head == "canet":
        parts += [f"Table {n}\n\n{paper_table(n, results)}" for n in ABLATIONS]
        parts += [f"{NAMES[v]}\n\n{swap_table(v, head, results)}" for v in CORE]
    for variant in FIVE_SHOT:
        if variant in BY_HEAD[head]:
            table = five_shot_table(variant, head, results)
            parts.append(f"5 shots, {NAMES[variant]}\n\n{table}")
    return "\n\n".join(parts)


def flop_table(results: Path = RESULTS) -> str:
    """Tabulate the stored counts of operations for one episode (python -m scl flops)."""
    rows = []
    for case in _read_flops(results)["cases"]:
        name = STYLES[case["head"]]
        name = f"SCL ({name})" if case["method"] == "scl" else name
        parts = [f"{case[part]:.0f}" for part in ("support", "query", "total")]
        rows.append([name, case["shots"], case["rules"], *parts, case["released_code"] or ""])
    header = ["system", "shots", "reading", "supports", "query", "GFLOP in all", "released code"]
    return markdown(header, rows)


def cost_table(results: Path = RESULTS) -> str:
    """Tabulate the stored costs of training by the paper's recipes, one fold each."""
    record = _read_flops(results)
    rows = [
        [f"`{c['recipe']}`", f"{c['gflop_per_step']:,}", f"{c['steps']:,}", c["hours"]]
        for c in record["training"]
    ]
    speed = f"hours at {record['assumed_tflop_per_second']} TFLOP/s"
    return markdown(["recipe", "GFLOP a step", "steps", speed], rows)


def _read_flops(results: Path) -> dict:
    return json.loads((results / "flops.json").read_text(encoding="utf-8"))


def rules_table() -> str:
    """Tabulate every rule in its three presets."""
    header = ["rule", *(f"`{name}`" for name in PRESETS)]
    presets = [asdict(rules) for rules in PRESETS.values()]
    return markdown(header, ([f"`{name}`", *(p[name] for p in presets)] for name in presets[0]))


def _counts(results: Path) -> str:
    lines = (f"- {name}-style head: {stored(head, results)}" for head, name in STYLES.items())
    return "\n".join(lines)
