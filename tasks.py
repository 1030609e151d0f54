#!/usr/bin/env python3
"""Everything the course does from a command line; needs Python alone, installs the rest itself.

    python3 tasks.py course       run every notebook; executed copies land in build/
    python3 tasks.py lab          open the notebooks in JupyterLab
    python3 tasks.py test         run the whole test suite, notebooks included
    python3 tasks.py refresh      run the notebooks and store their new outputs
    python3 tasks.py normalise    tidy the stored notebooks so that differences show real changes
    python3 tasks.py student      write every notebook, its exercises blank, to build/student
                                  (--force: where one has been worked in, keep a copy of that)
    python3 tasks.py site         write the course as pages to read without Python, to build/site
    python3 tasks.py slides       write slides of every notebook to build/slides
    python3 tasks.py install      only install (--dev adds what the tests need)

It may be called from any folder. `course --only NAME -p STEPS 200` runs the notebooks whose name
contains NAME with another value for one of the names set in their `parameters` cell. `course --cpu`
and `install --cpu` install torch without CUDA.
"""

import argparse
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
from typing import Any

# Everything above and below this line also parses on older Pythons, so that they get the message.
if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        "This course needs Python 3.10 or newer; this is Python {}.{}.\n"
        "Start tasks.py with a newer one, for example: python3.12 tasks.py course".format(
            *sys.version_info
        )
    )

ROOT = Path(__file__).resolve().parent
VENV, BUILD, NOTEBOOKS = ROOT / ".venv", ROOT / "build", ROOT / "notebooks"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP, LOG = VENV / "scl-course.json", BUILD / "install.log"
# torch for Linux brings CUDA, whether or not there is a GPU: 6.2 GB stay, and what is downloaded,
# 3 GB, lies beside them meanwhile.
CPU_GB = 3
NEEDED_GB = 9 if sys.platform.startswith("linux") else CPU_GB
STOP_SECONDS = 15  # a notebook's own process takes a while to end its kernel


class TaskError(Exception):
    """A failure with a message for the person at the keyboard; no traceback is printed."""


# ---------------------------------------------------------------------------- installation


def wanted_stamp(dev: bool) -> dict[str, Any]:
    """Tell what the environment must have been made from, to be used as it is."""
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return {
        "finished": True,
        "requirements": hashlib.sha256(b"".join(files)).hexdigest(),
        "python": "{}.{}".format(*sys.version_info),
        "folder": str(ROOT),
        "dev": dev,
    }


def read_stamp() -> dict[str, Any] | None:
    """Read what is known about `.venv`; None where tasks.py did not make it."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # killed while writing it
        return {"finished": False}


def write_stamp(stamp: dict[str, Any]) -> None:
    """Store the stamp; one that is cut short counts as unfinished."""
    STAMP.write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def installation_state(
    stamp: dict[str, Any] | None, wanted: dict[str, Any], has_python: bool
) -> tuple[str, str]:
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


def ensure_installed(dev: bool = False, cpu: bool = False) -> None:
    """Make or mend `.venv` unless its stamp says that it is as wanted; a torch there is used."""
    stamp = read_stamp()
    wanted = wanted_stamp(dev or bool(stamp and stamp.get("dev")))
    action, why = installation_state(stamp, wanted, PYTHON.exists())
    if action == "ready":
        return
    started = time.monotonic()
    index, needed = (cpu_index(), CPU_GB) if cpu else ("", NEEDED_GB)
    check_writable()
    print(f"Installing into .venv: {why}.", flush=True)
    if action == "build":
        check_can_build(needed)
        print(f"It takes 3 to 10 minutes and {needed} GB, mostly for torch; only this once.")
        remove_venv()
    VENV.mkdir(exist_ok=True)
    write_stamp({"finished": False})
    if action == "build":
        # An interpreter outside .venv, even where tasks.py was started by the one inside.
        base = getattr(sys, "_base_executable", None) or sys.executable
        said = "Python could not make an environment in .venv; it said:"
        run_logged([base, "-m", "venv", str(VENV)], lambda text: said)
    pip_install(wanted["dev"], index)
    write_stamp(wanted)
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def cpu_index() -> str:
    """Find where pip gets torch without CUDA; the usual one has it on Linux only."""
    index = os.environ.get("TORCH_CPU_INDEX", "")
    if sys.platform.startswith("linux") and not index:
        raise TaskError(
            "--cpu needs the address of PyTorch's CPU builds. PyTorch's site shows it under Get\n"
            "Started for Linux, Pip and CPU, as its index. Set it, and try again:\n"
            "TORCH_CPU_INDEX=ADDRESS python3 tasks.py course --cpu"
        )
    return index


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


def check_can_build(needed: float) -> None:
    """Stop early without the means to make an environment, or the room for it."""
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise TaskError(
            "This Python cannot make environments: its venv or ensurepip module is missing.\n"
            "On Debian or Ubuntu: sudo apt install python3-venv; then run the same command again."
        )
    old = sum(f.stat().st_size for f in VENV.rglob("*") if f.is_file())  # it goes first
    free = shutil.disk_usage(ROOT).free + old
    if free < needed * 1e9:
        raise TaskError(
            f"Too little disk space: {free / 1e9:.1f} GB free, {needed} GB needed in {ROOT}.\n"
            "Free some space, or move the course to a larger disk, and run the same command again."
        )


def remove_venv() -> None:
    """Delete `.venv`, or the link that stands in its place."""
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)


def pip_install(dev: bool, cpu_index: str = "") -> None:
    """Install the package (editable) and what it needs, in the tested versions.

    cpu_index: where torch, and the torchvision that fits it, come from instead of the usual place.
    """
    scratch = VENV / "tmp"  # the system's folder for this is often a small one in memory
    scratch.mkdir(exist_ok=True)
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "--progress-bar", "off", "-c", "constraints.txt"]
    environment = {**os.environ, "PIP_USER": "0"}
    environment.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(scratch)))
    try:
        if cpu_index:
            said = f"No torch without CUDA was had; the usual one takes {NEEDED_GB} GB.\n"
            pair = [*command, "torch", "torchvision", "-i", cpu_index]
            run_logged(pair, lambda text: said + explain_pip_failure(text), environment)
        package = ["-e", ".[dev]" if dev else "."]
        run_logged([*command, *package], explain_pip_failure, environment)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run_logged(command: list[str], explain: Any, environment: Any = None) -> None:
    """Run a step of the installation with its output in the log, and a sign of life meanwhile."""
    started = time.monotonic()
    with open(LOG, "w", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        code = None
        while code is None:
            try:
                code = process.wait(15)
            except subprocess.TimeoutExpired:
                print(f"  {time.monotonic() - started:4.0f} s  {doing_now(read_log())}", flush=True)
            except BaseException:
                stop_politely(process)
                raise
    if code != 0:
        lines = [line for line in read_log() if line.strip()][-40:]
        shown = "\n".join("  | " + line for line in lines[-8:])
        raise TaskError("{}\n{}\nThe whole log: {}".format(explain("\n".join(lines)), shown, LOG))


def read_log() -> list[str]:
    """Read what the current step has written so far."""
    return LOG.read_text(encoding="utf-8", errors="replace").splitlines()


def doing_now(lines: list[str]) -> str:
    """Say in a few words what pip is at, from what it wrote last."""
    for line in reversed(lines):
        found = re.match(r"\s*Downloading ([\w.]+?-[\w.]+?)(?:\.tar|-|\.metadata).*\((.*)\)", line)
        if found:
            return "downloading {} ({})".format(*found.groups())
        if line.startswith("Installing collected packages"):
            return "unpacking (silent for a minute or two)"
        if line.startswith("Building"):
            return "building small packages"
    return "working"


def stop_politely(process: subprocess.Popen[Any]) -> None:
    """Interrupt first, so that what it has started ends, too; then insist."""
    if os.name != "nt":
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def explain_pip_failure(text: str) -> str:
    """Say in a line or two why pip failed, from the end of its output."""
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


# ---------------------------------------------------------------------------- commands


def course(options: argparse.Namespace) -> int:
    """Let scl.course.command work on notebooks; a mistyped name is known before installing."""
    paths = select_notebooks(options.only)
    ensure_installed(cpu=options.cpu)
    check_writable()
    given = [part for pair in options.parameters for part in ("-p", *pair)]
    given += ["--force"] if options.force else []
    return hand_over("scl.course.command", options.command, *map(str, paths), *given)


def select_notebooks(only: str = "") -> list[Path]:
    """List the notebooks in reading order, or those whose name contains `only`."""
    every = sorted(NOTEBOOKS.glob("*.ipynb"))
    chosen = [path for path in every if only in path.stem]
    if not chosen:
        known = ", ".join(path.stem for path in every) or "none at all"
        raise TaskError(f"No notebook's name contains {only!r}. There are: {known}.")
    return chosen


def lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on the notebooks, or on a folder that is named."""
    ensure_installed()
    named = any((ROOT / word).exists() for word in options.extra)
    where = [] if named else [str(NOTEBOOKS)]
    return hand_over("scl.course.command", "lab", *where, *options.extra)


def test(options: argparse.Namespace) -> int:
    """Run the whole suite."""
    ensure_installed(dev=True)
    spread = ["-n", "2", "--maxschedchunk", "1"] if (os.cpu_count() or 1) > 1 else []
    return hand_over("pytest", "-rs", "--durations=10", *spread, *options.extra)


def install(options: argparse.Namespace) -> int:
    """Install, and say where."""
    ensure_installed(options.dev, options.cpu)
    print(f"Ready: {PYTHON}")
    return 0


def hand_over(module: str, *arguments: str) -> int:
    """Run a module that talks to the person itself; Ctrl-C is its business too."""
    process = subprocess.Popen([str(PYTHON), "-m", module, *arguments], cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
        except SystemExit:
            stop_politely(process)
            raise


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `test` and `lab` hand what they do not know to their program."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    tasks = {"lab": lab, "test": test, "install": install}
    for name in ("course", "refresh", "normalise", "student", "site", "slides", *tasks):
        sub = commands.add_parser(name, allow_abbrev=False)
        sub.set_defaults(task=tasks.get(name, course), parameters=[], force=False, cpu=False)
        if name not in tasks:
            sub.add_argument("--only", default="", metavar="NAME", help="part of a notebook's name")
        if name == "course":
            told: Any = {"metavar": ("NAME", "VALUE"), "help": "set a name of the parameters cell"}
            sub.add_argument("-p", dest="parameters", nargs=2, action="append", **told)
        if name == "student":
            sub.add_argument("--force", action="store_true", help="keep a copy of what is there")
        if name in ("course", "install"):
            sub.add_argument("--cpu", action="store_true", help="torch without CUDA; see above")
        if name == "install":
            sub.add_argument("--dev", action="store_true", help="with what the tests need")
    options, extra = parser.parse_known_args(arguments)
    if extra and options.command not in ("test", "lab"):
        parser.error(f"unknown: {' '.join(extra)}")
    options.extra = extra
    return options


def main(arguments: list[str] | None = None) -> int:
    """Do one task; the exit status is 0 if all went well."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign shows '?'.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
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
