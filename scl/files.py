"""Files: written whole or not at all, and what made them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

Write = Callable[[Path], object]  # makes a file at a path


def versions() -> dict[str, str]:
    """What a stored number or weight was made with."""
    return {
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def write_atomically(path: Path, write: Write) -> None:
    """Let write(temporary path) make a file, then rename it: no half file under the real name."""
    write_together({Path(path): write})


def write_together(files: Mapping[Path, Write]) -> None:
    """Make several files as write_atomically does, and rename them once all are whole."""
    path, temporary = Path(), {}
    try:
        for path, write in files.items():
            temporary[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[path].touch()
            mode = temporary[path].stat().st_mode
            write(temporary[path])
            temporary[path].chmod(mode)  # some libraries write for one user alone
        for path in files:
            os.replace(temporary[path], path)
    except OSError as error:
        raise ValueError(
            f"cannot write {path} ({error.strerror or error}): "
            "choose a folder that can be written to and has space"
        ) from None
    finally:
        for left in temporary.values():
            if left.is_file():
                left.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, record: dict) -> None:
    """A JSON file, whole or not at all."""
    text = json.dumps(record, indent=1) + "\n"
    # A row of whole numbers reads better, and differs better, on one line.
    text = re.sub(r"\[[\d,\s]+\]", lambda row: " ".join(row[0].split()), text)
    write_text(path, text)


def kept_folder() -> Path:
    """Name the folder of what may be computed again: features of pictures, kept between calls."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "scl-course" / "features"
