"""What `python -m scl bench` measured on devices, as lines and tables of the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scl.study.grid import RESULTS
from scl.study.tables import markdown

SYSTEMS = {"pascal-scl-pfenet": "SCL (PFENet)", "pascal-pfenet": "PFENet"}
FIXED, KEPT, LOADED = "one fixed batch", "device", "loader"


def gpu_records(results: Path = RESULTS) -> list[dict]:
    """Read the records of the GPUs that trained, by name."""
    found = [json.loads(p.read_text()) for p in sorted((results / "devices").glob("*.json"))]
    return [record for record in found if "training" in record["parts"]]


def _speeds(record: dict) -> dict[tuple[str, int], dict[str, float]]:
    """Steps a second of each system and batch: by mode on a fixed batch, and by source of data."""
    speeds: dict[tuple[str, int], dict[str, float]] = {}
    for row in record["parts"]["training"]["rows"]:
        name = row["mode"] if row["data"] == FIXED else row["data"]
        speeds.setdefault((row["recipe"], row["batch"]), {})[name] = row["steps_per_second"]
    return speeds


def gpu_line(results: Path = RESULTS) -> str:
    """Say in a sentence a GPU how fast it trains and segments."""
    lines = []
    for record in gpu_records(results):
        (recipe, batch), speed = next(iter(_speeds(record).items()))
        modes = [name for name in speed if name not in (KEPT, LOADED)]
        slowest, fastest = modes[0], modes[-1]
        share = round(100 * speed[KEPT] / speed[fastest])
        used = record["parts"]["using it"]["rows"][0]
        ours, plain = used["ours, bfloat16"], used["plain, float32"]
        lines.append(
            f"- {record['device']}: {SYSTEMS[recipe]}, 473 px, batch {batch}: {speed[KEPT]:.1f} "
            f"steps a second, {share} % of the bare model's {speed[fastest]:.1f} ({slowest}: "
            f"{speed[slowest]:.1f}); five-shot episodes: {ours:.1f} a second (one image after the "
            f"other, in float32: {plain:.1f})."
        )
    return "\n".join(lines)


def training_table(results: Path = RESULTS) -> str:
    """Tabulate steps a second by system, batch and mode, and what real data leaves of them."""
    rows: list[list[Any]] = []
    for record in gpu_records(results):
        for (recipe, batch), speed in _speeds(record).items():
            modes = [name for name in speed if name not in (KEPT, LOADED)]
            left = [
                f"{speed[s]:.1f} ({100 * speed[s] / speed[modes[-1]]:.0f} %)" if s in speed else "-"
                for s in (KEPT, LOADED)
            ]
            bare = [f"{speed[name]:.1f}" for name in modes]
            rows.append([record["device"], SYSTEMS[recipe], batch, *bare, *left])
    if not rows:
        return "No GPU has been measured yet."
    header = ["device", "system", "batch", *modes, "images kept on the GPU", "through the loader"]
    return markdown(header, rows)


def agreement_table(results: Path = RESULTS) -> str:
    """Tabulate what a GPU computes beside what is known: largest errors, precision, mIoU."""
    rows: list[list[Any]] = []
    for record in gpu_records(results):
        parts = {name: part.get("rows", []) for name, part in record["parts"].items()}
        for row in parts["same answers"]:
            if "tf32" in row:
                what = f"released score maps, TF32 {'on' if row['tf32'] else 'off'}"
                error = f"largest error {row['out_logits']:.1g} of the largest value"
                rows.append([record["device"], what, error])
            else:
                both = f"mIoU {row['bfloat16_miou']:.1f} and {row['float32_miou']:.1f}"
                alike = f"{both}; {row['pixels_alike']:.1f} % of the pixels alike"
                what = f"bfloat16 and float32, {row['head']} head, {row['episodes']} episodes"
                rows.append([record["device"], what, alike])
        for row in parts["course grid"]:
            low, high = row["stored_interval"]
            stored = f"stored {row['stored_miou']} [{low}, {high}]"
            said = f"{row['miou']} mIoU after {row['seconds']} s ({stored})"
            rows.append([record["device"], f"the course's SCL, {row['steps']} steps", said])
        for row in parts["resume"]:
            gap = 100 * row["largest_relative_gap"]
            said = f"losses at most {gap:.1f} % from a run never killed"
            rows.append([record["device"], "a run killed and resumed", said])
    return markdown(["device", "what", "found"], rows)


def cpu_table(path: Path = RESULTS / "cpu.json") -> str:
    """Tabulate what an episode costs a processor, beside the plain reading of it."""
    record = _of_cpu(path)
    if record is None:
        return "No CPU has been measured yet."
    header = ["episode", "shots", "GFLOP", "plain", "CPU-s, 1 thread", "of plain", "2 threads"]
    header += ["of plain", "further query: GFLOP", "CPU-s", "peak GiB", "plain"]
    lines = []
    for row in record["cases"]:
        work, memory, more = row["gflop"], row["peak_gib"], row["further_query"]
        costs: list[Any] = [work["package"], work.get("plain", "-")]
        for spent in (row["cpu_seconds_1"], row["cpu_seconds_2"]):
            share = f"{spent['package'] / spent['plain']:.2f}" if "plain" in spent else "-"
            costs += [f"{spent['package']:.1f}", share]
        costs += [more["gflop"], f"{more['cpu_seconds']:.1f}"]
        costs += [memory["package"], memory.get("plain", "-")]
        lines.append((row["case"], row["shots"], *costs))
    return markdown(header, lines)


def growth_table(path: Path = RESULTS / "cpu.json") -> str:
    """Tabulate how costs grow with the number of supports."""
    record = _of_cpu(path)
    lines = [(r["shots"], r["support"], r["query"]) for r in record["growth"]] if record else []
    return markdown(["supports", "reading them, CPU-s", "a query under them, CPU-s"], lines)


def step_line(path: Path = RESULTS / "cpu.json") -> str:
    """Say what a step of training costs a processor, beside the plain reading of it."""
    step = (_of_cpu(path) or {}).get("training")
    if step is None:
        return "No step of training has been measured yet."
    (work, plain), (took, wait) = (
        [step[name][reading] for reading in ("package", "plain")]
        for name in ("gflop", "cpu_seconds_1")
    )
    return (
        f"A step of training of SCL (PFENet), {step['batch']} episodes at {step['side']} px, takes "
        f"{work} GFLOP where the plain reading does {plain}, and {took:.1f} CPU-seconds on one "
        f"thread, {took / wait:.2f} of the plain reading's."
    )


def shares_table(path: Path = RESULTS / "cpu.json") -> str:
    """Tabulate which operations take most of a step of training."""
    shares = (_of_cpu(path) or {}).get("training", {}).get("shares", {})
    rows = [
        (name, ", ".join(f"{operation} {share:.0%}" for operation, share in of.items()))
        for name, of in shares.items()
    ]
    return markdown(["a step of training", "where its time goes"], rows)


def _of_cpu(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
