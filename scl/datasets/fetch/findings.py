"""What a verification found: numbers beside the published ones, and what to mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scl.datasets.folder import in_a_folder
from scl.datasets.masks import LARGE, ReadMask

PUBLISHED = {
    "SBD training images": 5623,
    "VOC training images": 1464,
    "training images in both": 1134,
    "training images": 5953,
    "validation images": 1449,
    "images of train2014": 82783,
    "images of val2014": 40504,
    "images of train2017": 118287,
    "images of val2017": 5000,
    "class folders": 1000,
    "train classes": 520,
    "validation classes": 240,
    "test classes": 240,
    "pairs": 10000,
}
AGAIN = "unpack the archive again, or pass --subset if this is meant to be a part"


@dataclass
class Findings:
    """What was looked at: rows (what, found, expected), images of each class, and findings.

    compare: with the published numbers. Images of a class are counted in training and for testing,
    or together where a data set does not divide them. A finding is a line that names the file, says
    what is wrong and what to do about it.
    """

    compare: bool = True
    rows: list[tuple[str, int, int | None]] = field(default_factory=list)
    classes: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    def count(
        self, what: str, found: int, where: Path, expected: int | None = None, remedy: str = AGAIN
    ) -> None:
        """Note a number; one that differs from the expected one is a finding.

        Without an expected one, a `what` of PUBLISHED, whichever data set it is of, brings its own.
        """
        if expected is None and self.compare:
            expected = PUBLISHED.get(what)
        self.rows.append((what, found, expected))
        if expected is not None and found != expected:
            self.findings.append(f"{where}: {found} {what}, expected {expected}: {remedy}")

    def apart(self, training: Iterable, validation: Iterable, where: Path) -> None:
        """Note how many images are trained on and tested on as well; there must be none."""
        shared = set(training) & set(validation)
        remedy = f"take the lists from their archives ({min(shared)} is in both)" if shared else ""
        self.count("images in training and validation", len(shared), where, 0, remedy)

    def shape(self, path: Path, read: ReadMask) -> None:
        """Note a mask that looks like a mistake, or covers most of its picture."""
        if read.doubt:
            self.findings.append(f"{path} {in_a_folder(read.doubt)}")
        elif read.share > LARGE:
            self.findings.append(
                f"{path} covers {100 * read.share:.0f} % of its picture ({read.how}): look whether "
                "it is inverted, and keep it if it is right"
            )

    def attempt(self, call: Callable, *arguments: Any) -> Any:
        """Return call(*arguments), or None and a finding where it refuses its input."""
        try:
            return call(*arguments)
        except ValueError as error:
            self.findings.append(str(error))
            return None

    def text(self) -> str:
        """Print the tables and the findings, for a terminal."""
        lines = [f"{'check':<61}{'found':>10}{'expected':>10}"]
        for what, found, expected in self.rows:
            wrong = "  <-" if expected is not None and found != expected else ""
            lines.append(f"{what:<61}{found:>10}{'' if expected is None else expected:>10}{wrong}")
        if self.classes:
            heads = ("training", "test") if len(self.classes[0][1]) == 2 else ("images",)
            table = [("class", heads), *self.classes]
            lines += [
                "",
                *(f"{name:<61}" + "".join(f"{n:>10}" for n in row) for name, row in table),
            ]
        lines += ["", *(f"- {finding}" for finding in self.findings)]
        return "\n".join([*lines, "all well" if self.ok else f"{len(self.findings)} findings"])
