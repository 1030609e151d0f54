"""Write and check a list of checksums beside a data set: it shows changes that no format can.

A changed digit in a JSON file or in a list of names is still a number or a name. Only a record of
what the file was when it was good tells; it has the form that `sha256sum` writes and checks.
"""

from __future__ import annotations

import re
from pathlib import Path

from tqdm.auto import tqdm

from scl.datasets.fetch.download import digest
from scl.datasets.files import RESTORE, reading
from scl.files import write_text


def write_sums(root: Path, path: Path) -> int:
    """List the SHA-256 of every file under root (hidden ones left out); returns how many."""
    files = sorted(file for file in root.rglob("*") if file.is_file() and file != path)
    files = [f for f in files if not any(p.startswith(".") for p in f.relative_to(root).parts)]
    bar = tqdm(files, desc="checksums", leave=False, disable=None)
    lines = [f"{digest(file)}  {file.relative_to(root).as_posix()}\n" for file in bar]
    write_text(path, "".join(lines))
    return len(lines)


def check_sums(root: Path, path: Path) -> list[str]:
    """List what differs: a line for each file that is missing or changed."""
    with reading(path, "a list of checksums", "write it anew from a good copy of the data"):
        lines = path.read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    entries = [entry for entry in found if entry]
    if not entries or len(entries) < len(lines):
        raise ValueError(f"{path} is no list of checksums: expected lines as sha256sum writes them")
    findings = []
    for entry in tqdm(entries, desc="checksums", leave=False, disable=None):
        file = root / entry[2]
        if not file.is_file():
            findings.append(f"{file} is missing, but {path} lists it: {RESTORE}")
        elif digest(file) != entry[1]:
            findings.append(f"{file} has changed since {path} was written: {RESTORE}")
    return findings
