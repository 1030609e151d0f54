"""The one place that knows folds: which classes are base, validation and novel."""

from __future__ import annotations

from dataclasses import dataclass

FOLDS = 4
GROUPINGS = ("contiguous", "interleaved")


@dataclass(frozen=True)
class Split:
    """Class indices of one fold. base trains, validation chooses settings, novel is the test."""

    base: tuple[int, ...]
    validation: tuple[int, ...]
    novel: tuple[int, ...]


def fold_of(label: int, classes: int, grouping: str = "contiguous") -> int:
    """Return the fold that holds a class out; see split_classes."""
    return label % FOLDS if grouping == "interleaved" else label * FOLDS // classes


def split_classes(
    classes: int,
    fold: int,
    held_out: int = 0,
    grouping: str = "contiguous",
    even: bool = True,
) -> Split:
    """Split classes: fold i holds out the i-th quarter of them, as in PASCAL-5^i.

    classes: how many there are (a multiple of 4, unless even=False: the quarters then differ by one
    class, and of fewer than four classes some folds hold out none); fold: 0..3; held_out: base
    classes set aside to choose settings without ever looking at novel ones (0 for the final
    models). They are spread over the remaining quarters, and every fold takes others. grouping:
    "contiguous" (consecutive classes) or "interleaved" (i, i + 4, i + 8, ..., as in COCO-20^i).
    """
    if grouping not in GROUPINGS:
        raise ValueError(f"grouping={grouping!r}: expected {' or '.join(map(repr, GROUPINGS))}")
    if even and (classes < FOLDS or classes % FOLDS):
        raise ValueError(f"{classes} classes: expected a multiple of {FOLDS}")
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold={fold!r}: expected 0, 1, 2 or 3")
    novel = tuple(c for c in range(classes) if fold_of(c, classes, grouping) == fold)
    base = [c for c in range(classes) if c not in novel]
    if not 0 <= held_out < len(base):
        raise ValueError(f"held_out={held_out!r}: expected 0 to {len(base) - 1}")
    step = len(base) // held_out if held_out else 1
    validation = tuple(base[(fold + i * step) % len(base)] for i in range(held_out))
    return Split(tuple(c for c in base if c not in validation), validation, novel)
