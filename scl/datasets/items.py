"""Items of a benchmark: pairs (image, class), chosen by fold, split and area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scl.datasets.files import Transform, transformed
from scl.datasets.folds import split_classes
from scl.datasets.pictures import open_picture

# A smaller object counts as absent; pixels of the original mask, as in the released code.
MIN_AREA = 2 * 32 * 32

SPLITS = ("train", "validation", "novel", "test")

Key = Any  # what names an image: a text in PASCAL, an id in COCO
Areas = Mapping[Key, Mapping[int, int]]  # of each image: label to pixels


def wanted_classes(
    split: str, classes: int, fold: int, held_out: int, grouping: str
) -> tuple[int, ...]:
    """Return the classes of a split: base, validation, or novel ("test" is another word for it).

    Validation classes are the base classes held out from training, or, if none is, all of them (in
    images that training does not see).
    """
    check_split(split)
    parts = split_classes(classes, fold, held_out, grouping)
    validation = parts.validation or parts.base
    return {"train": parts.base, "validation": validation}.get(split, parts.novel)


def check_split(split: str) -> None:
    """Raise unless the name is one of SPLITS."""
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: expected one of {', '.join(SPLITS)}")


def check_shots(
    classes: Sequence[str], labels: Sequence[int], wanted: Sequence[int], shots: int, where: object
) -> None:
    """Raise unless each wanted class has images for an episode of so many shots."""
    if shots < 1:
        raise ValueError(f"shots={shots!r}: expected at least 1")
    counts = np.bincount(np.asarray(labels, dtype=int), minlength=len(classes))
    for label in wanted:
        if counts[label] <= shots:
            raise ValueError(
                f"{where}: class {classes[label]!r} has {counts[label]} usable images, and an "
                f"episode of {shots} shots and a query needs {shots + 1}: complete the data set, "
                "or lower shots"
            )


class ItemSet:
    """Pairs (image, class): class by class, and within a class in the order of the list.

    classes: all names; labels[i]: the class of item i, an index into classes; keys[i]: its image.
    areas: for each image in order, the pixels of each class; wanted: the classes that get items;
    where: the list or folder, for messages. A subclass says how an image and its mask are read.
    """

    def __init__(
        self,
        classes: Sequence[str],
        wanted: Sequence[int],
        areas: Areas,
        shots: int,
        transform: Transform | None,
        where: object,
    ):
        self.classes, self.shots, self.transform = tuple(classes), shots, transform
        found = [
            (key, label)
            for label in wanted
            for key, sizes in areas.items()
            if sizes.get(label, 0) >= MIN_AREA
        ]
        self.keys = [key for key, _ in found]
        self.labels: Sequence[int] = [label for _, label in found]
        check_shots(self.classes, self.labels, wanted, shots, where)

    def __len__(self) -> int:
        return len(self.keys)

    def sources(self, index: int) -> frozenset:
        """Name the image: items of two classes may share it."""
        return frozenset((str(self.image_file(self.keys[index])),))

    def least(self, index: int) -> int:
        """Return the fewest pixels that an item's object can have; fewer mean that it changed."""
        return MIN_AREA

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        key, label = self.keys[index], self.labels[index]
        mask = self.mask(key, label)
        if (mask == 1).sum() < self.least(index):
            raise ValueError(
                f"{self.mask_file(key)} shows less of class {self.classes[label]!r} than when this "
                "data set was built: it has changed; build the data set anew"
            )
        image = open_picture(self.image_file(key), mask.shape[::-1])
        return transformed(self.transform, image, mask)

    def image_file(self, key: Key) -> Path:
        """Say where an image lies."""
        raise NotImplementedError

    def mask_file(self, key: Key) -> Path:
        """Say which file its masks come from."""
        raise NotImplementedError

    def mask(self, key: Key, label: int) -> np.ndarray:
        """Read the mask [H, W] uint8 of one class: 0, 1 and 255 (ignored), at its own size."""
        raise NotImplementedError
