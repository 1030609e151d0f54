"""Pixel counts of episodes on disk, kept as they come, so that a stopped evaluation goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scl.files import write_text

COLUMNS = 5  # the four of scl.method.metric.count_pixels, and the pixels of the object


def difference(found: object, expected: object, name: str = "") -> str | None:
    """Say where two descriptions first differ; None if they are the same."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            place = f"{name}.{key}" if name else key
            unlike = difference(found.get(key), expected.get(key), place)
            if unlike:
                return unlike
        return None
    return None if found == expected else f"{name} was {found!r} and is now {expected!r}"


def completed(found: object, described: dict) -> object:
    """Add to a description of an older version what it does not say: its walk, and form.

    Episodes were drawn in one way then; of which form a model is, is taken from its checkpoint.
    """
    if not isinstance(found, dict) or not isinstance(found.get("protocol"), dict):
        return found
    said = {"as": described["as"], **found}
    return said | {"protocol": {"walk": "uniform", **found["protocol"]}}


class CountFile:
    """One process's file of counts: a line that says of what, then a row for each episode.

    out: the record to be (None: nothing is written); the files lie beside it, one for each process
    that shares the evaluation. A row is [place of the episode, its counts].
    """

    def __init__(self, out: Path | None, described: dict, shard: tuple[int, int]):
        self.out, self.described, self.shard = out, described, shard
        rank, world = shard
        ending = ".part" if world == 1 else f".part-{rank}-of-{world}"
        self.path = None if out is None else out.with_name(out.name + ending)

    def parts(self) -> list[Path]:
        """List the files of all processes, of earlier ones too."""
        if self.out is None or not self.out.parent.is_dir():
            return []
        form = re.compile(re.escape(self.out.name) + r"\.part(-\d+-of-\d+)?")
        return [path for path in sorted(self.out.parent.iterdir()) if form.fullmatch(path.name)]

    def read(self) -> dict[int, list[int]]:
        """Read the counts by episode from all files; those of anything else are refused."""
        rows: dict[int, list[int]] = {}
        for path in self.parts():
            rows.update(self._whole_rows(path))
        return rows

    def begin(self, rows: Mapping[int, Sequence[int]]) -> None:
        """Start this process's file with the rows it has, whatever a killed one left behind."""
        if self.path is not None:
            write_text(self.path, f"{json.dumps(self.described)}\n{_lines(rows)}")

    def add(self, rows: Mapping[int, Sequence[int]]) -> None:
        """Append rows, handed to the system before this returns."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(_lines(rows))

    def remove(self) -> None:
        """Remove all files, once the record is written."""
        for path in self.parts():
            path.unlink(missing_ok=True)

    def _whole_rows(self, path: Path) -> dict[int, list[int]]:
        """Read a file's whole rows; what was cut off, or never reached the disk, is left out."""
        try:
            lines = path.read_bytes().split(b"\n")[:-1]  # behind the last newline, a row was cut
        except FileNotFoundError:  # another process has written the record meanwhile
            return {}
        rows: dict[int, list[int]] = {}
        for place, line in enumerate(lines):
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if place == 0:
                self._check(path, value)
            elif isinstance(value, list) and [type(n) for n in value] == [int] * (COLUMNS + 1):
                rows[value[0]] = value[1:]
            else:
                break
        return rows

    def _check(self, path: Path, head: object) -> None:
        """Raise unless the first line of a file describes this evaluation."""
        no_such = None if isinstance(head, dict) else "it is no such file"
        unlike = no_such or difference(completed(head, self.described), self.described)
        if unlike:
            raise ValueError(
                f"{path} was begun by another evaluation ({unlike}): repeat that one to finish it, "
                "remove the file, or choose another --out"
            )


def _lines(rows: Mapping[int, Sequence[int]]) -> str:
    return "".join(f"{json.dumps([place, *row])}\n" for place, row in rows.items())
