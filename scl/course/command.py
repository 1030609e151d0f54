"""The commands of `tasks.py` that need the environment: run, store, tidy, hand out, publish, open.

python -m scl.course.command course notebooks/02_masked_gap.ipynb -p STEPS 200
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from scl.course.handouts import write_handouts
from scl.course.notebooks import BUILD, ROOT, environment, normalised, read, run_all, store
from scl.files import write_json


def course(paths: list[Path], options: argparse.Namespace) -> int:
    """Run the notebooks into build/; `refresh` stores what they gave, each only if it succeeded."""
    outcomes = run_all(paths, options.parameters)
    for path, outcome in zip(paths, outcomes, strict=True):
        if options.command == "refresh" and outcome.ok and outcome.copy:
            changed = store(normalised(read(outcome.copy)), path)
            print(f"{path.name}: {'new outputs stored' if changed else 'as before'}")
            note_seconds(path.stem, outcome.seconds)
    return int(not all(outcome.ok for outcome in outcomes))


def note_seconds(name: str, seconds: float, path: Path = ROOT / "results/chapters.json") -> None:
    """Keep how long a chapter took, for the README's table."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, dict(sorted({**known, name: round(seconds)}.items())))


def normalise(paths: list[Path], options: argparse.Namespace) -> int:
    """Put the stored notebooks into normal form."""
    for path in paths:
        changed = store(normalised(read(path)), path)
        print(f"{path.name}: {'tidied' if changed else 'tidy'}")
    return 0


def student(paths: list[Path], options: argparse.Namespace) -> int:
    """Write the notebooks with blank exercises, for learners, to build/student."""
    write_handouts(paths, BUILD / "student", options.force)
    return 0


def site(paths: list[Path], options: argparse.Namespace) -> int:
    """Build the reading edition, or slides alone, into build/."""
    from scl.course.site import build_site, build_slides  # only here: it takes a while to load

    build = build_site if options.command == "site" else build_slides
    made = build(paths, BUILD / options.command)
    print(f"{len(made)} pages; open {made[0]}")
    return 0


def lab(arguments: list[str]) -> None:
    """Open JupyterLab; what is in the environment reaches its kernels."""
    from jupyterlab.labapp import main as open_lab

    wanted = environment()
    os.environ.clear()
    os.environ.update(wanted)
    open_lab(arguments)


def main(arguments: list[str]) -> int:
    """Do one command of `tasks.py`, which has checked its options; 0 if all went well."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign shows '?'.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if arguments[:1] == ["lab"]:
        lab(arguments[1:])
        return 0
    commands = {"course": course, "refresh": course, "normalise": normalise, "student": student}
    commands |= {"site": site, "slides": site}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=commands)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[])
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args(arguments)
    if options.command == "refresh" and options.parameters:
        parser.error("refresh takes no -p: chapters are stored with their own parameters")
    try:
        return commands[options.command](options.paths, options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    # Being ended from outside unwinds like an interrupt, so that no kernel is left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
