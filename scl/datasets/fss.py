"""FSS-1000: which of its classes train, choose settings and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scl.datasets.files import Transform, read_names
from scl.datasets.folder import ClassFolder
from scl.datasets.items import check_split
from scl.datasets.photos import read_published

# What a list of a split is called: plainly, or as the repositories that use FSS-1000 call it.
LISTS = {
    "train": ("train.txt", "trn.txt"),
    "validation": ("validation.txt", "val.txt"),
    "test": ("test.txt", "fss_test_set.txt"),
}
NAME = r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*"


def class_lists(root: str | Path) -> dict[str, Path]:
    """Find the lists of classes that a tree of FSS-1000 holds, by split."""
    root, found = Path(root), {}
    for split, names in LISTS.items():
        files = [folder / name for folder in (root, root / "splits") for name in names]
        files = [path for path in files if path.is_file()]
        if files:
            found[split] = files[0]
    return found


def read_class_lists(lists: dict[str, Path]) -> dict[str, list[str]]:
    """Read the classes of each split; one that is in two of them is refused."""
    names = {split: read_names(path, NAME, "bus") for split, path in lists.items()}
    for split, mine in names.items():
        for other, theirs in names.items():
            shared = set(mine) & set(theirs)
            if split != other and shared:
                raise ValueError(
                    f"{lists[split]} and {lists[other]} both list {min(shared)!r}: expected every "
                    "class in one split; correct the lists"
                )
    return names


def find_fss(root: str | Path) -> Path:
    """Find the folder of the thousand class folders, also where the archive nests it."""
    root = Path(root)
    places = [root / "FSS-1000", root / "fewshot_data" / "fewshot_data", root / "fewshot_data"]
    return next((place for place in places if place.is_dir()), root)


class FSS1000(ClassFolder):
    """FSS-1000: a thousand classes of ten photographs, in 520, 240 and 240 classes.

    root: a folder with the class folders (or fewshot_data around them); split: "train",
    "validation", "novel" or "test". The authors publish only the test classes (fss_test_set.txt in
    their repository) and leave the division of the others open, so the classes are read from a
    list: train.txt, validation.txt and test.txt (or trn.txt, val.txt, fss_test_set.txt) in root or
    root/splits, one class a line, or the file given as `listed`.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        shots: int = 1,
        transform: Transform | None = None,
        listed: str | Path | None = None,
    ):
        check_split(split)
        split = "test" if split == "novel" else split
        lists = class_lists(root) | ({split: Path(listed)} if listed else {})
        if split not in lists:
            raise ValueError(
                f"{root} holds no list of the {split} classes: expected {LISTS[split][0]} in it, "
                "one class a line, or listed=FILE"
            )
        classes = read_class_lists(lists)[split]
        folder = find_fss(root)
        missing = [name for name in classes if not (folder / name).is_dir()]
        if missing:
            raise ValueError(
                f"{folder / missing[0]} is missing ({len(missing)} of {len(classes)} classes are), "
                f"but {lists[split]} lists it: unpack the archive again, or correct the list"
            )
        super().__init__(folder, classes, shots, transform)

    def read(self, path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Read a pair as published: a mask pixel above 127 is the object."""
        return read_published(path, mask_path)
