"""Make hand-outs of notebooks: exercises blank, as nbgrader reads them, and no outputs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from scl.course.notebooks import as_text, has_tag, normalised, read, store_text, tagged_cells

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # nbgrader's own words
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
POINTS = {"solution": 0, "check": 1, "answer": 6}  # by the cell's tag; a teacher grades answers


def write_handouts(paths: Sequence[Path], folder: Path, force: bool = False) -> None:
    """Write hand-outs to a folder with a line for each, and answers to one beside it: all, or none.

    A file that is there and differs may hold a learner's work: it is refused, or kept as a copy.
    """
    books = {path.name: read(path) for path in paths}
    texts = {folder / n: as_text(handout(book, Path(n).stem)) for n, book in books.items()}
    handouts, aside = list(texts), folder.with_name("answers")
    texts |= {aside / f"{Path(n).stem}.md": answers(book) for n, book in books.items()}
    used = [path for path, text in texts.items() if differs(text, path)]
    if used and not force:
        names = ", ".join(map(str, used))
        raise ValueError(f"Somebody may have worked in {names}: --force keeps a copy of it first.")
    for path in used:
        print(f"kept: {keep_copy(path)}")
    changed = {path: store_text(text, path) for path, text in texts.items() if text}
    for path in handouts:
        count = len(tagged_cells(books[path.name], "solution"))
        state = "written" if changed[path] else "as before"
        print(f"{path.stem:<28} exercises: {count:<3} {state}: {path}")


def differs(text: str, path: Path) -> bool:
    """Tell whether there is a file that does not hold this text."""
    return path.exists() and path.read_bytes() != text.encode()


def keep_copy(path: Path) -> Path:
    """Copy a file to a name beside it that nobody has taken yet."""
    number = 1
    while (copy := path.with_name(f"{path.stem}.backup-{number}{path.suffix}")).exists():
        number += 1
    return Path(shutil.copy2(path, copy))


def answers(book: NotebookNode) -> str:
    """Write out what a hand-out leaves blank, for those who learn alone; empty where it is nothing.

    Each solution and answer follows the cell before it, which holds the question.
    """
    parts = [
        "# Answers",
        "Try first: what you find yourself, you keep. Other answers can be right.",
    ]
    for question, cell in pairwise(book.cells):
        if has_tag(cell, "solution"):
            lines = [x for x in cell.source.splitlines() if x.strip() not in (BEGIN, END)]
            parts += [question.source, "```python\n" + "\n".join(lines) + "\n```"]
        elif has_tag(cell, "answer"):
            parts += [question.source, cell.source]
    return "\n\n".join(parts) + "\n" if len(parts) > 2 else ""


def handout(book: NotebookNode, name: str) -> NotebookNode:
    """Make the notebook that learners get: solutions and answers blank, no outputs.

    Cells tagged "course" speak of the course's own copy, and are left out.
    """
    new = normalised(book)
    for number, cell in enumerate(new.cells, start=1):
        if not has_tag(cell, "course"):
            blank(cell, f"{name}, cell {number}")
    new.cells = [cell for cell in new.cells if not has_tag(cell, "course")]
    return new


def blank(cell: NotebookNode, place: str) -> None:
    """Take from a cell what learners should find out; `place` names it in a message."""
    kind = next((tag for tag in POINTS if has_tag(cell, tag)), "")
    is_code = cell.cell_type == "code"
    if kind == "answer":
        cell.source = "*Your answers:*\n"
    elif kind == "solution" and is_code:
        cell.source = blanked(cell.source, place)
    elif kind == "solution" or {BEGIN, END} & {x.strip() for x in cell.source.splitlines()}:
        raise ValueError(f"{place}: a solution belongs into a code cell tagged 'solution'.")
    if is_code:
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("jupyter", None)  # unfold it
    if kind:
        cell.metadata["nbgrader"] = nbgrader_metadata(cell, kind)


def blanked(source: str, place: str) -> str:
    """Put a stub in place of what stands between the two markers of a solution cell."""
    kept: list[str] = []
    inside, found = False, 0
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside == (mark == BEGIN):
                raise ValueError(f"{place}: '{mark}' stands where the other marker should.")
            inside, found = not inside, found + 1
            indent = line[: line.index("#")]
            kept += [indent + text for text in STUB if inside]
        elif not inside:
            kept.append(line)
    if inside or not found:
        missing = END if inside else BEGIN
        raise ValueError(f"{place}: the line '{missing}' is missing from this solution cell.")
    return "\n".join(kept)


def nbgrader_metadata(cell: NotebookNode, kind: str) -> dict[str, Any]:
    """Tell nbgrader whether a cell is to be filled in, and what it is worth."""
    points, check = POINTS[kind], kind == "check"
    known = {"grade": points > 0, "solution": not check, "locked": check, "task": False}
    name = {"schema_version": 3, "grade_id": f"{kind}-{cell.id}", "cell_type": cell.cell_type}
    return {**known, **name, **({"points": points} if points else {})}
