"""Run, tidy and store notebooks."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode, v4
from papermill import inspect_notebook

from scl.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CELL_SECONDS = 600  # one cell
NOTEBOOK_SECONDS = 1800  # a whole notebook, its kernel's start included
STOP_SECONDS = 5

# ------------------------------------------------------------------ reading


def read(path: Path) -> NotebookNode:
    """Read a notebook, without nbformat's repairs: they give cells random names."""
    return v4.reads(path.read_text(encoding="utf-8"))


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Tell whether a cell of any kind carries a tag."""
    return tag in cell.metadata.get("tags", [])


def tagged_cells(book: NotebookNode, tag: str) -> list[NotebookNode]:
    """List the code cells that carry a tag."""
    return [cell for cell in book.cells if cell.cell_type == "code" and has_tag(cell, tag)]


def headline(book: NotebookNode) -> str:
    """Find the last line printed by the cell tagged `headline`; empty if there is none."""
    outputs = [output for cell in tagged_cells(book, "headline") for output in cell.outputs]
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def check_parameters(path: Path, given: Sequence[Sequence[str]]) -> None:
    """Refuse a mistyped parameter: papermill only warns, and runs with the old value."""
    known = list(inspect_notebook(str(path))) if given else []
    for unknown in [key for key, _ in given if key not in known]:
        has = ", ".join(known) or "none"
        raise ValueError(f"{path.stem} has no parameter {unknown!r}. It has: {has}.")


# ------------------------------------------------------------------ running


class Outcome(NamedTuple):
    """Hold what came of running one notebook."""

    seconds: float
    ok: bool
    headline: str
    error: str
    copy: Path | None


def environment() -> dict[str, str]:
    """Take from a notebook's environment what silently changes what it shows."""
    changes = ("MPLBACKEND", "PYTHONPATH", "PYTHONHOME")  # MPLBACKEND=agg drops the figures
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    return {**kept, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONUTF8": "1"}


def run_notebook(
    path: Path,
    out: Path = BUILD,
    given: Sequence[Sequence[str]] = (),
    seconds: float = NOTEBOOK_SECONDS,
) -> Outcome:
    """Run one notebook in a process of its own; `given` holds (name, value) pairs.

    The executed copy is `out/NAME.ipynb`; a run that failed leaves `out/NAME.failed.ipynb`
    and its log instead. The notebook itself is only read.
    """
    out.mkdir(parents=True, exist_ok=True)
    done, failed = out / f"{path.stem}.ipynb", out / f"{path.stem}.failed.ipynb"
    partial, log = out / f".{path.stem}.partial.ipynb", out / f"{path.stem}.log"
    for stale in (done, failed, partial, log):
        stale.unlink(missing_ok=True)
    started = time.monotonic()
    ok = run_limited(papermill(path, partial, given), log, seconds)
    took = time.monotonic() - started
    error = "" if ok else describe_failure(partial, log)
    made = done if ok else failed
    if partial.exists():
        partial.replace(made)
    if ok:
        log.unlink()
    said = headline(read(made)) if ok else ""
    return Outcome(took, ok, said, error, made if made.exists() else None)


def papermill(source: Path, target: Path, given: Sequence[Sequence[str]]) -> list[str]:
    """Write the command that runs a notebook: kernel, folder, time limit not left to chance."""
    command = [sys.executable, "-m", "papermill", str(source), str(target), "--no-progress-bar"]
    command += ["-k", "python3", "-l", "python", "--cwd", str(target.parent)]
    command += ["--execution-timeout", str(CELL_SECONDS)]
    return command + [part for key, value in given for part in ("-p", key, value)]


def run_limited(command: list[str], log: Path, seconds: float) -> bool:
    """Run a command with its output in `log` and a limit on its time; True if it succeeded."""
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment()
        )
        try:
            return process.wait(seconds) == 0
        except BaseException as error:  # it takes too long, or we are interrupted
            stop_politely(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            stream.write(f"\nStopped: it had not finished after {seconds:.0f} s.\n")
            return False


def stop_politely(process: subprocess.Popen[Any]) -> None:
    """Interrupt first, so that papermill ends its kernel; then insist."""
    if os.name != "nt":
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def describe_failure(executed: Path, log: Path) -> str:
    """Quote the error of the cell that failed and the beginning of that cell, or the log's end."""
    try:
        cells = read(executed).cells
    except (OSError, ValueError):
        cells = []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                quoted = "\n".join("    > " + line for line in cell.source.splitlines()[:5])
                return f"{output.ename}: {output.evalue}\n  in the cell\n{quoted}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line.rstrip() for line in lines if line.strip()][-6:])


def run_all(paths: Sequence[Path], given: Sequence[Sequence[str]] = ()) -> list[Outcome]:
    """Run notebooks one after the other, with one line for each and one at the end."""
    for path in paths:
        check_parameters(path, given)
    outcomes = []
    for path in paths:
        print(f"{path.stem:<28}", end=" ", flush=True)
        outcome = run_notebook(path, BUILD, given)
        outcomes.append(outcome)
        state = "ok" if outcome.ok else "FAILED"
        print(f"{outcome.seconds:5.0f} s  {state:<7}{outcome.headline}", flush=True)
        if not outcome.ok:
            place = f"\n  as far as it came: {outcome.copy}" if outcome.copy else ""
            print(f"  {outcome.error}{place}", flush=True)
    failed, total = sum(not o.ok for o in outcomes), sum(o.seconds for o in outcomes)
    print(f"{len(outcomes) - failed} ran, {failed} failed in {total:.0f} s; see {BUILD}")
    return outcomes


# ------------------------------------------------------------------ the normal form

TIMING_KEYS = ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled", "widgets")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "(a control appears here when this cell is run)"


def normalised(book: NotebookNode) -> NotebookNode:
    """Leave out what differs from run to run; outputs and cell numbers stay.

    A cell without an identifier gets one from its position.
    """
    new = copy.deepcopy(book)
    language = {"name": "python", **book.metadata.get("language_info", {})}
    language.pop("version", None)
    for position, cell in enumerate(new.cells):
        cell.setdefault("id", f"cell-{position:03}")
        forget_timing(cell.metadata)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = normalised_outputs(cell.outputs)
    new.metadata = NotebookNode(kernelspec=KERNEL, language_info=language)
    new.nbformat_minor = 5
    return new


def forget_timing(metadata: NotebookNode) -> None:
    """Delete what a run writes about itself."""
    for key in TIMING_KEYS:
        metadata.pop(key, None)


def normalised_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join printed pieces, and put a note in the place of each control: its state is not stored.

    A picture that came with a control stays, as its still.
    """
    new: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and new and new[-1].get("name") == output.name:
            new[-1].text += output.text
            continue
        if "data" in output:
            if WIDGET in output.data:
                stills = {k: v for k, v in output.data.items() if k.startswith("image/")}
                output.data = NotebookNode({**stills, "text/plain": WIDGET_NOTE})
            told = output.get("metadata", {})
            if any("alt" in told.get(kind, {}) for kind in ("image/jpeg", "image/png")):
                output.data.pop("text/html", None)  # the same picture once more: see draw.show
            forget_timing(output.metadata)
        new.append(output)
    return new


def as_text(book: NotebookNode) -> str:
    """Write a notebook as Jupyter itself writes it."""
    return v4.writes(book) + "\n"


def store(book: NotebookNode, target: Path) -> bool:
    """Write a notebook in one step; True if that changed anything."""
    return store_text(as_text(book), target)


def store_text(text: str, target: Path) -> bool:
    """Write a text in one step, the same bytes on every system; True if that changed anything."""
    if target.exists() and target.read_bytes() == text.encode():
        return False
    write_atomically(target, lambda p: p.write_bytes(text.encode()))
    return True
