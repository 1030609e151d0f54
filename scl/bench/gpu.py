"""python -m scl bench gpu: what a GPU does, in parts that each have a process and a time limit.

A part writes its rows into the device's record as soon as it has them, so that a part that fails,
hangs or is killed costs its own rest and nothing else.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from scl.bench import parts
from scl.bench.parts import REHEARSAL, Bench, Sizes
from scl.device import pick_device
from scl.files import versions, write_json
from scl.study.tables import markdown

# Part: what measures it, and the seconds it may take. Together they fit into nine minutes.
PARTS = {
    "same answers": (parts.same_answers, 50),
    "training": (parts.training, 180),
    "using it": (parts.using, 60),
    "course grid": (parts.course_grid, 60),
    "pascal": (parts.pascal, 60),
    "resume": (parts.resuming, 75),
}

PATIENCE = 600  # of a rehearsal, which may run beside other work on a slow machine


def device_name(device: torch.device) -> str:
    """The GPU's own name, or that this is a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def record_path(out: Path, device: torch.device, rehearse: bool) -> Path:
    """Where the record of a device lies."""
    name = device_name(device).replace(" ", "-")
    return out / f"{name}{'-rehearsal' if rehearse else ''}.json"


def measure(out: Path, device: str, rehearse: bool, pascal: Path | None, only: list[str]) -> Path:
    """Measure all parts, or those named, one process each; return the record's path."""
    chosen = pick_device(device)
    path = record_path(out, chosen, rehearse)
    for name in only or PARTS:
        seconds = PATIENCE if rehearse else PARTS[name][1]
        command = [sys.executable, "-m", "scl", "bench", "gpu", "--out", str(out), "--part", name]
        command += ["--child", "--device", device, *(["--rehearse"] if rehearse else [])]
        command += ["--pascal", str(pascal)] if pascal else []
        print(f"{name}: at most {seconds} s", flush=True)
        before, start = _part(path, name), time.perf_counter()
        try:
            code = subprocess.run(command, timeout=seconds).returncode
            ended = "complete" if code == 0 else f"failed with status {code}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {seconds} s"
        if before and ended == "complete" and _part(path, name) == before:
            continue  # it was skipped, and what was measured earlier stays as it is
        note(path, chosen, name, {"ended": ended}, time.perf_counter() - start)
    return path


def measure_part(name: str, out: Path, device: str, rehearse: bool, pascal: Path | None) -> None:
    """Measure one part in this process."""
    chosen = pick_device(device)
    path, rows = record_path(out, chosen, rehearse), []

    def add(row: dict[str, object]) -> None:
        rows.append(row)
        note(path, chosen, name, {"rows": rows})
        print(" ", json.dumps({k: v for k, v in row.items() if k != "trace"}), flush=True)

    PARTS[name][0](Bench(chosen, REHEARSAL if rehearse else Sizes(), add, pascal))


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _part(path: Path, name: str) -> dict:
    """Read what the record knows of a part."""
    return _read(path).get("parts", {}).get(name, {})


def note(
    path: Path, device: torch.device, part: str, values: dict, seconds: float | None = None
) -> None:
    """Put what is known of a part into the record."""
    record = _read(path)
    record |= {"device": device_name(device), "machine": platform.machine()}
    now = {**versions(), "cuda": torch.version.cuda}
    kept = record.setdefault("parts", {}).setdefault(part, {})
    if "rows" in values and kept.get("ended"):
        if all("skipped" in row for row in values["rows"]):
            return  # what was measured earlier stays
        kept.clear()  # an earlier measurement of this part
    kept |= values
    if record.setdefault("versions", now) != now:
        kept["versions"] = now  # this part was measured again, with others
    if seconds is not None:
        kept["seconds"] = round(seconds, 1)
    write_json(path, record)


def table(path: Path) -> str:
    """A record as tables that a person reads."""
    record = _read(path)
    texts = [f"# {record['device']}"]
    for name, part in record["parts"].items():
        texts.append(f"## {name} ({part.get('ended', 'not finished')}, {part.get('seconds', 0)} s)")
        rows = [{k: v for k, v in r.items() if k != "trace"} for r in part.get("rows", [])]
        for columns in dict.fromkeys(tuple(row) for row in rows):
            alike = (row.values() for row in rows if tuple(row) == columns)
            texts.append(markdown(columns, map(list, alike)))
    return "\n\n".join(texts) + "\n"
