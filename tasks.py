#!/usr/bin/env python3
"""Everything the course does from a command line; needs Python alone, installs the rest itself.

    python3 tasks.py course       run every notebook; executed copies land in build/
    python3 tasks.py lab          open the notebooks in JupyterLab
    python3 tasks.py test         run the whole test suite, notebooks included
    python3 tasks.py refresh      run the notebooks and store their new outputs
    python3 tasks.py normalise    tidy the stored notebooks so that differences show real changes
    python3 tasks.py student      write every notebook, its exercises blank, to build/student
    python3 tasks.py install      only install (--dev adds what the tests need)

It may be called from any folder. `course --only NAME -p STEPS 200` runs the notebooks whose name
contains NAME with another value for one of the names set in their `parameters` cell.
"""

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

# Everything above and below this line also parses on older Pythons, so that they get the message.
if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        "This course needs Python 3.10 or newer; this is Python {}.{}.\n"
        "Start tasks.py with a newer one, for example: python3.12 tasks.py course".format(
            *sys.version_info
        )
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
NOTEBOOKS = ROOT / "notebooks"
STAMP = VENV / "scl-course.json"
LOG = BUILD / "install.log"

CELL_SECONDS = 600  # one cell
NOTEBOOK_SECONDS = 1800  # a whole notebook, its kernel's start included
# torch for Linux brings CUDA, whether or not there is a GPU; 6 GB installed, 3 GB to unpack from
NEEDED_GB = 9 if sys.platform.startswith("linux") else 3


class TaskError(Exception):
    """A failure with a message for the person at the keyboard; no traceback is printed."""


def in_gb(count: float) -> str:
    """Bytes as gigabytes, for people."""
    return f"{count / 1e9:.1f} GB"


# ---------------------------------------------------------------------------- installation


def venv_python(venv: Path = VENV) -> Path:
    """The environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def base_python() -> str:
    """An interpreter outside `.venv`, even where tasks.py was started by the one inside."""
    return getattr(sys, "_base_executable", None) or sys.executable


def wanted_stamp(dev: bool) -> dict[str, Any]:
    """What the environment must have been made from, to be used as it is."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return {
        "finished": True,
        "requirements": digest.hexdigest(),
        "python": "{}.{}".format(*sys.version_info),
        "folder": str(ROOT),
        "dev": dev,
    }


def read_stamp() -> "dict[str, Any] | None":
    """What is known about `.venv`; None where tasks.py did not make it."""
    if not STAMP.exists():
        return None
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except ValueError:  # killed while writing it
        return {"finished": False}


def write_stamp(stamp: dict[str, Any]) -> None:
    """Store the stamp in one step, so that it is never half there."""
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    partial.replace(STAMP)


def installation_state(
    stamp: "dict[str, Any] | None", wanted: dict[str, Any], has_python: bool
) -> "tuple[str, str]":
    """Compare what is there with what is wanted: ('ready' | 'update' | 'build', the reason)."""
    if stamp is not None and not stamp.get("finished"):
        return "build", "an earlier installation did not finish, so it starts afresh"
    if not has_python:
        return "build", "there is no working environment yet"
    if stamp is None:
        return "update", "the environment in .venv was not made by tasks.py; adding what is missing"
    if stamp["folder"] != wanted["folder"]:
        return "build", "the course was copied or moved, so its environment is made again"
    if stamp["python"] != wanted["python"]:
        return "build", f"it was made with Python {stamp['python']}, this is {wanted['python']}"
    if stamp["requirements"] != wanted["requirements"]:
        return "update", "the requirements have changed"
    if wanted["dev"] and not stamp["dev"]:
        return "update", "the tests need a few more packages"
    return "ready", ""


def ensure_installed(dev: bool = False) -> None:
    """Make or mend `.venv` unless its stamp says that it is as wanted."""
    stamp = read_stamp()
    wanted = wanted_stamp(dev or bool(stamp and stamp.get("dev")))
    action, why = installation_state(stamp, wanted, venv_python().exists())
    if action == "ready":
        return
    started = time.monotonic()
    check_writable()
    print(f"Installing into .venv: {why}.", flush=True)
    if action == "build":
        check_can_build()
        print(f"It takes 3 to 10 minutes and {NEEDED_GB} GB, mostly for torch; only this once.")
        remove_venv()
    VENV.mkdir(exist_ok=True)
    write_stamp({"finished": False})
    if action == "build":
        run_logged([base_python(), "-m", "venv", str(VENV)], explain_venv_failure)
    pip_install(wanted["dev"])
    write_stamp(wanted)
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def check_writable() -> None:
    """Stop early where the course's folder cannot be written."""
    probe = BUILD / ".writable"
    try:
        BUILD.mkdir(exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise TaskError(
            f"Cannot write to {BUILD} ({error.strerror}).\n"
            "Copy the course to a folder of your own and start it there."
        ) from error


def check_can_build() -> None:
    """Stop early without the means to make an environment, or the room for it."""
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise TaskError(
            "This Python cannot make environments: its venv or ensurepip module is missing.\n"
            "On Debian or Ubuntu: sudo apt install python3-venv; then run the same command again."
        )
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_GB * 1e9:  # the old environment goes first, so it counts as free
        free += sum(f.stat().st_size for f in VENV.rglob("*") if f.is_file())
    if free < NEEDED_GB * 1e9:
        raise TaskError(
            f"Too little disk space: {in_gb(free)} free, {NEEDED_GB} GB needed in {ROOT}.\n"
            "Free some space, or move the course to a larger disk, and run the same command again."
        )


def remove_venv() -> None:
    """Delete `.venv`, or the link that stands in its place."""
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)


def pip_install(dev: bool) -> None:
    """Install the package (editable) and what it needs, in the tested versions."""
    scratch = VENV / "tmp"  # the system's folder for this is often a small one in memory
    scratch.mkdir(exist_ok=True)
    command = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "--progress-bar", "off", "-c", "constraints.txt"]
    command += ["-e", ".[dev]" if dev else "."]
    environment = {**os.environ, "PIP_USER": "0"}
    environment.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(scratch)))
    try:
        run_logged(command, explain_pip_failure, environment)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run_logged(command: list[str], explain: Any, environment: Any = None) -> None:
    """Run a step of the installation with its output in the log, and a sign of life meanwhile."""
    started = time.monotonic()
    with open(LOG, "w", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        while True:
            try:
                code = wait_or_stop(process, 15)
                break
            except subprocess.TimeoutExpired:
                print(f"  {time.monotonic() - started:4.0f} s  {doing_now(LOG)}", flush=True)
    if code != 0:
        text = last_lines(LOG, 40)
        shown = "\n".join("  | " + line for line in text.splitlines()[-8:])
        raise TaskError(f"{explain(text)}\n{shown}\nThe whole log: {LOG}")


def doing_now(log: Path) -> str:
    """A few words on what pip is at, from what it wrote last."""
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
        found = re.match(r"\s*Downloading ([\w.]+?-[\w.]+?)(?:\.tar|-|\.metadata).*\((.*)\)", line)
        if found:
            return "downloading {} ({})".format(*found.groups())
        if line.startswith("Installing collected packages"):
            return "unpacking (silent for a minute or two)"
        if line.startswith("Building"):
            return "building small packages"
    return "working"


def wait_or_stop(process: "subprocess.Popen[Any]", seconds: float) -> int:
    """Wait so long for a process; when we are interrupted, it is stopped too."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise
    except BaseException:
        stop_politely(process)
        raise


def stop_politely(process: "subprocess.Popen[Any]") -> None:
    """Interrupt first, so that papermill ends its kernel; then insist."""
    if os.name != "nt":
        process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(path: Path, count: int) -> str:
    """The last non-empty lines of a text file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line.rstrip() for line in lines if line.strip()][-count:])


def explain_venv_failure(text: str) -> str:
    """One line on why `python -m venv` failed."""
    return "Python could not make an environment in .venv; it said:"


def explain_pip_failure(text: str) -> str:
    """One or two lines on why pip failed, from the end of its output."""
    if "No space left on device" in text:
        return f"The disk is full. The installation needs {NEEDED_GB} GB; free some and try again."
    network = r"NewConnectionError|Max retries|[Nn]ame resolution|[Tt]imed out|TimeoutError"
    network += r"|ProxyError|unreachable|Connection (refused|reset|aborted|broken)|SSLError"
    if re.search(network, text):
        return (
            "pip could not reach the package index. Check the network (and the proxy settings),\n"
            "then run the same command again: what was already downloaded is kept. pip said:"
        )
    if "Permission denied" in text:
        return "pip may not write to a folder that it needs; it said:"
    return "pip could not install the course's packages; it said:"


# ---------------------------------------------------------------------------- notebooks


class Outcome(NamedTuple):
    """What came of running one notebook."""

    name: str
    seconds: float
    ok: bool
    headline: str
    error: str
    copy: "Path | None"


def select_notebooks(only: str = "", folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks in reading order, or those whose name contains `only`."""
    every = sorted(folder.glob("*.ipynb"))
    chosen = [path for path in every if only in path.stem]
    if not chosen:
        known = ", ".join(path.stem for path in every) or "none at all"
        raise TaskError(f"No notebook's name contains {only!r}. There are: {known}.")
    return chosen


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as a dictionary."""
    return json.loads(path.read_text(encoding="utf-8"))


def text_of(value: Any) -> str:
    """Notebook files hold a text as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def tagged_cells(notebook: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    """The code cells that carry a tag."""
    cells = notebook["cells"]
    return [
        cell
        for cell in cells
        if cell["cell_type"] == "code" and tag in cell["metadata"].get("tags", [])
    ]


def headline(notebook: dict[str, Any]) -> str:
    """The last line printed by the cell tagged `headline`; empty if there is none."""
    printed = [
        text_of(output["text"])
        for cell in tagged_cells(notebook, "headline")
        for output in cell["outputs"]
        if output["output_type"] == "stream" and output["name"] == "stdout"
    ]
    lines = [line.strip() for line in "".join(printed).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def parameter_names(notebook: dict[str, Any]) -> list[str]:
    """The names assigned in the cell tagged `parameters`."""
    names: list[str] = []
    for cell in tagged_cells(notebook, "parameters"):
        lines = text_of(cell["source"]).splitlines()
        python = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
        for node in ast.parse(python).body:
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def check_parameters(notebook: dict[str, Any], given: Any, name: str) -> None:
    """papermill only warns of a mistyped parameter, and runs with the old value: refuse it."""
    known = parameter_names(notebook)
    for unknown in [key for key, _ in given if key not in known]:
        has = ", ".join(known) or "none"
        raise TaskError(f"{name} has no parameter {unknown!r}. It has: {has}.")


def notebook_environment() -> dict[str, str]:
    """The environment for a notebook's process: nothing that silently changes what it shows."""
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONUTF8": "1"}
    for name in ("MPLBACKEND", "PYTHONPATH", "PYTHONHOME"):  # MPLBACKEND=agg drops the figures
        environment.pop(name, None)
    return environment


def run_notebook(
    path: Path,
    out: Path = BUILD,
    given: Any = (),
    python: "Path | str | None" = None,
    seconds: float = NOTEBOOK_SECONDS,
) -> Outcome:
    """Run one notebook in a process of its own; `given` holds (name, value) pairs.

    The executed copy is `out/NAME.ipynb`; a run that failed leaves `out/NAME.failed.ipynb`
    and its log instead. The notebook itself is only read.
    """
    check_parameters(read_notebook(path), given, path.stem)
    out.mkdir(parents=True, exist_ok=True)
    done, failed = out / f"{path.stem}.ipynb", out / f"{path.stem}.failed.ipynb"
    partial, log = out / f".{path.stem}.partial.ipynb", out / f"{path.stem}.log"
    for stale in (done, failed, partial, log):
        stale.unlink(missing_ok=True)
    started = time.monotonic()
    ok = run_limited(papermill(python or venv_python(), path, partial, given), log, seconds)
    took = time.monotonic() - started
    error = "" if ok else describe_failure(partial, log)
    copy = done if ok else failed
    if partial.exists():
        partial.replace(copy)
    if ok:
        log.unlink()
    said = headline(read_notebook(copy)) if ok else ""
    return Outcome(path.stem, took, ok, said, error, copy if copy.exists() else None)


def papermill(python: "Path | str", source: Path, target: Path, given: Any) -> list[str]:
    """The command that runs a notebook: kernel, folder and time limit never left to chance."""
    command = [str(python), "-m", "papermill", str(source), str(target), "--no-progress-bar"]
    command += ["-k", "python3", "-l", "python", "--cwd", str(target.parent)]
    command += ["--execution-timeout", str(CELL_SECONDS)]
    return command + [part for key, value in given for part in ("-p", key, value)]


def run_limited(command: list[str], log: Path, seconds: float) -> bool:
    """Run a command with its output in `log` and a limit on its time; True if it succeeded."""
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=notebook_environment()
        )
        try:
            return wait_or_stop(process, seconds) == 0
        except subprocess.TimeoutExpired:
            stop_politely(process)
            stream.write(f"\nStopped: it had not finished after {seconds:.0f} s.\n")
            return False


def describe_failure(executed: Path, log: Path) -> str:
    """The error of the cell that failed and the beginning of that cell, or the log's end."""
    try:
        cells = read_notebook(executed)["cells"]
    except (OSError, ValueError):
        cells = []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                source = text_of(cell["source"]).splitlines()[:5]
                quoted = "\n".join("    > " + line for line in source)
                return f"{output['ename']}: {output['evalue']}\n  in the cell\n{quoted}"
    return last_lines(log, 6)


def run_all(paths: list[Path], given: Any = ()) -> list[Outcome]:
    """Run notebooks one after the other, with one line for each."""
    for path in paths:
        check_parameters(read_notebook(path), given, path.stem)
    outcomes = []
    for path in paths:
        print(f"{path.stem:<28}", end=" ", flush=True)
        outcome = run_notebook(path, BUILD, given)
        outcomes.append(outcome)
        print(f"{outcome.seconds:5.0f} s  {'ok' if outcome.ok else 'FAILED':<7}{outcome.headline}")
        if not outcome.ok:
            place = f"\n  as far as it came: {outcome.copy}" if outcome.copy else ""
            print(f"  {outcome.error}{place}", flush=True)
    return outcomes


def report(outcomes: list[Outcome]) -> int:
    """Print the closing line; the exit status is 1 if a notebook failed."""
    failed = sum(not outcome.ok for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes) - failed} ran, {failed} failed in {total:.0f} s; see {BUILD}")
    return 1 if failed else 0


# ---------------------------------------------------------------------------- normal form

TIMING_KEYS = ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled", "widgets")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "(a control appears here when this cell is run)"


def normalised(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without what differs from run to run; outputs and cell numbers stay."""
    language = {**notebook["metadata"].get("language_info", {"name": "python"})}
    language.pop("version", None)
    cells = [normalised_cell(cell, i) for i, cell in enumerate(notebook["cells"])]
    kept = {"kernelspec": KERNEL, "language_info": language}
    return {"cells": cells, "metadata": kept, "nbformat": 4, "nbformat_minor": 5}


def normalised_cell(cell: dict[str, Any], position: int) -> dict[str, Any]:
    """One cell in normal form; a cell without an identifier gets one from its position."""
    metadata = {key: val for key, val in cell["metadata"].items() if key not in TIMING_KEYS}
    if not metadata.get("tags", True):
        del metadata["tags"]
    new = {**cell, "id": cell.get("id", f"cell-{position:03}"), "metadata": metadata}
    new["source"] = text_of(cell["source"]).splitlines(keepends=True)
    if cell["cell_type"] == "code":
        new["outputs"] = normalised_outputs(cell["outputs"])
    return new


def normalised_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with printed pieces joined and a note in the place of each control."""
    new: list[dict[str, Any]] = []
    for output in outputs:
        output = {**output}
        last = new[-1] if new else {}
        if output["output_type"] == "stream":
            text = text_of(output["text"])
            if last.get("name") == output["name"]:
                text = text_of(new.pop()["text"]) + text
            output["text"] = text.splitlines(keepends=True)
        if "data" in output:
            output["data"] = normalised_data(output["data"])
            output["metadata"] = {
                key: val for key, val in output["metadata"].items() if key not in TIMING_KEYS
            }
        new.append(output)
    return new


def normalised_data(data: dict[str, Any]) -> dict[str, Any]:
    """One output's representations; a control's is replaced, for its state is not stored."""
    if WIDGET in data:
        return {"text/plain": [WIDGET_NOTE]}
    return {
        mime: text_of(value).splitlines(keepends=True)
        if mime.startswith("text/") or mime == "image/svg+xml"
        else value
        for mime, value in data.items()
    }


def notebook_text(notebook: dict[str, Any]) -> str:
    """A notebook as the text of its file, written as Jupyter itself writes it."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def is_normalised(path: Path) -> bool:
    """True where the file holds the normal form already."""
    text = path.read_text(encoding="utf-8")
    return text == notebook_text(normalised(json.loads(text)))


def store_normalised(source: Path, target: Path) -> bool:
    """Write the normal form of one notebook to another place; True if that changed anything."""
    return store_text(notebook_text(normalised(read_notebook(source))), target)


def store_text(text: str, target: Path) -> bool:
    """Write a text in one step; True if that changed anything."""
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(target)
    return True


# ---------------------------------------------------------------------------- hand-outs

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # nbgrader's own words
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")


def has_tag(cell: dict[str, Any], tag: str) -> bool:
    """Does a cell of any kind carry this tag?"""
    return tag in cell["metadata"].get("tags", [])


def handout(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """The notebook as learners get it: solutions and answers blank, no outputs.

    Cells tagged "course" speak of the course's own copy, and are left out.
    """
    new = normalised(notebook)
    cells = [
        blank_answer(cell) if has_tag(cell, "answer") else handout_cell(cell, f"{name}, cell {n}")
        for n, cell in enumerate(new["cells"], start=1)
        if not has_tag(cell, "course")
    ]
    return {**new, "cells": cells}


def blank_answer(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell for the learner's own words in place of the answers; a teacher grades it by hand."""
    graded = {"grade": True, "solution": True, "locked": False, "task": False, "points": 6}
    graded.update(schema_version=3, grade_id=f"answer-{cell['id']}", cell_type="markdown")
    metadata = {**cell["metadata"], "nbgrader": graded}
    return {**cell, "source": ["*Your answers:*\n"], "metadata": metadata}


def handout_cell(cell: dict[str, Any], place: str) -> dict[str, Any]:
    """One cell of a hand-out; `place` names it in a message."""
    source = text_of(cell["source"])
    if has_tag(cell, "solution") and cell["cell_type"] == "code":
        source = blanked(source, place)
    elif has_tag(cell, "solution") or {BEGIN, END} & {x.strip() for x in source.splitlines()}:
        raise TaskError(f"{place}: a solution belongs into a code cell tagged 'solution'.")
    new = {**cell, "source": source.splitlines(keepends=True)}
    if cell["cell_type"] == "code":
        new.update(outputs=[], execution_count=None)
        kept = {key: val for key, val in cell["metadata"].items() if key != "jupyter"}  # unfold
        new["metadata"] = {**kept, **nbgrader_metadata(cell)}
    return new


def blanked(source: str, place: str) -> str:
    """A solution cell with a stub in place of what stands between the two markers."""
    kept: list[str] = []
    inside, found = False, 0
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside == (mark == BEGIN):
                raise TaskError(f"{place}: '{mark}' stands where the other marker should.")
            inside, found = not inside, found + 1
            indent = line[: line.index("#")]
            kept += [indent + text for text in STUB if inside]
        elif not inside:
            kept.append(line)
    if inside or not found:
        missing = END if inside else BEGIN
        raise TaskError(f"{place}: the line '{missing}' is missing from this solution cell.")
    return "\n".join(kept)


def nbgrader_metadata(cell: dict[str, Any]) -> dict[str, Any]:
    """What nbgrader wants to know of a solution or check cell; nothing for others."""
    kind = next((tag for tag in ("solution", "check") if has_tag(cell, tag)), "")
    if not kind:
        return {}
    check = kind == "check"
    known = {"grade": check, "solution": not check, "locked": check, "task": False}
    known.update(schema_version=3, grade_id=f"{kind}-{cell['id']}", cell_type="code")
    return {"nbgrader": {**known, "points": 1} if check else known}


# ---------------------------------------------------------------------------- commands


def course(options: argparse.Namespace) -> int:
    """Run the notebooks into build/."""
    paths = select_notebooks(options.only)
    for path in paths:  # a mistyped name is known before minutes of installing
        check_parameters(read_notebook(path), options.parameters, path.stem)
    ensure_installed()
    return report(run_all(paths, options.parameters))


def refresh(options: argparse.Namespace) -> int:
    """Run the notebooks and store what they gave, each only if it succeeded."""
    paths = select_notebooks(options.only)
    ensure_installed()
    outcomes = run_all(paths)
    for path, outcome in zip(paths, outcomes, strict=True):
        if outcome.ok:
            changed = store_normalised(outcome.copy, path)
            print(f"{path.name}: {'new outputs stored' if changed else 'as before'}")
            note_seconds(path.stem, outcome.seconds)
    return report(outcomes)


def note_seconds(name: str, seconds: float, path: Path = ROOT / "results/chapters.json") -> None:
    """Keep how long a chapter took, for the README's table."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    text = json.dumps({**known, name: round(seconds)}, indent=1, sort_keys=True) + "\n"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def normalise(options: argparse.Namespace) -> int:
    """Put the stored notebooks into normal form."""
    for path in select_notebooks(options.only):
        changed = store_normalised(path, path)
        print(f"{path.name}: {'tidied' if changed else 'tidy'}")
    return 0


def student(options: argparse.Namespace) -> int:
    """Write the notebooks with blank exercises, for learners, to build/student."""
    paths = select_notebooks(options.only)
    books = [handout(read_notebook(path), path.stem) for path in paths]  # all are sound, or none
    check_writable()
    folder = BUILD / "student"
    folder.mkdir(exist_ok=True)
    for path, book in zip(paths, books, strict=True):
        changed = store_text(notebook_text(book), folder / path.name)
        count = len(tagged_cells(book, "solution"))
        state = "written" if changed else "as before"
        print(f"{path.stem:<28} exercises: {count:<3} {state}: {folder / path.name}")
    return 0


def test(options: argparse.Namespace) -> int:
    """Run the whole suite."""
    ensure_installed(dev=True)
    workers = ["-n", "2"] if (os.cpu_count() or 1) > 1 else []
    spread = [*workers, "--maxschedchunk", "1"] if workers else []
    command = [str(venv_python()), "-m", "pytest", "-rs", "--durations=10", *spread]
    return hand_over(command + options.extra)


def lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on the notebooks, or on a folder that is named."""
    ensure_installed()
    named = any((ROOT / word).exists() for word in options.extra)
    where = [] if named else [str(NOTEBOOKS)]
    command = [str(venv_python()), "-m", "jupyterlab", *where, *options.extra]
    return hand_over(command, notebook_environment())


def hand_over(command: list[str], environment: "dict[str, str] | None" = None) -> int:
    """Run a program that talks to the person itself; Ctrl-C is its business too."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
        except SystemExit:
            stop_politely(process)
            raise


def install(options: argparse.Namespace) -> int:
    """Install, and say where."""
    ensure_installed(options.dev)
    print(f"Ready: {venv_python()}")
    return 0


def parse(arguments: "list[str] | None" = None) -> argparse.Namespace:
    """Read the command line; `test` and `lab` hand what they do not know to their program."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for task in (course, lab, test, refresh, normalise, student, install):
        sub = commands.add_parser(task.__name__, help=task.__doc__, allow_abbrev=False)
        sub.set_defaults(task=task)
        if task in (course, refresh, normalise, student):
            sub.add_argument("--only", default="", metavar="NAME", help="part of a notebook's name")
        if task is course:
            sub.add_argument(
                "-p", dest="parameters", nargs=2, action="append", default=[],
                metavar=("NAME", "VALUE"), help="set a name of the parameters cell (repeatable)",
            )  # fmt: skip
        if task is install:
            sub.add_argument("--dev", action="store_true", help="with what the tests need")
    options, extra = parser.parse_known_args(arguments)
    if extra and options.task not in (test, lab):
        parser.error(f"unknown: {' '.join(extra)}")
    options.extra = extra
    return options


def main(arguments: "list[str] | None" = None) -> int:
    """Do one task; the exit status is 0 if all went well."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal that cannot show a sign shows '?'
    options = parse(arguments)
    try:
        return options.task(options)
    except TaskError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    # Being ended from outside unwinds like an interrupt, so that no pip or kernel is left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    sys.exit(main())
