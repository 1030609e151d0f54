"""Toyshop scenes as a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scl.datasets.files import Transform
from scl.datasets.folds import split_classes
from scl.toyshop import CLASSES, Atlas, Scene, compose

# Scenes of each class in the stored tables: of training, and of novel or validation classes.
PER_CLASS, NOVEL_PER_CLASS = 60, 50


class ToyshopSet:
    """Scenes of Toyshop-5^i, composed when first asked for and then kept.

    labels: the classes that get scenes; per_class: scenes for each; allowed: classes that may
    stand about as distractors (for training: base classes only; for novel scenes: all);
    seed: another seed, other scenes; size: pixels a side.
    """

    classes = CLASSES

    def __init__(
        self,
        atlas: Atlas,
        labels: Sequence[int],
        per_class: int,
        seed: int = 0,
        allowed: Sequence[int] | None = None,
        size: int = 128,
    ):
        if per_class < 1:
            raise ValueError(f"per_class={per_class}: expected at least 1 scene a class")
        self.atlas, self.seed, self.size = atlas, seed, size
        self.labels: Sequence[int] = [int(label) for label in labels for _ in range(per_class)]
        self._index = [i for _ in labels for i in range(per_class)]
        every = range(len(CLASSES))
        self._allowed = tuple(CLASSES[i] for i in (every if allowed is None else allowed))
        self._scenes: dict[int, Scene] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def scene(self, index: int) -> Scene:
        """Compose the whole scene: image, objects, parts."""
        if index not in self._scenes:
            name, place = CLASSES[self.labels[index]], self._index[index]
            self._scenes[index] = compose(
                self.atlas, self.seed, name, place, self._allowed, self.size
            )
        return self._scenes[index]

    def sources(self, index: int) -> frozenset:
        """Name the atlas views that a scene shows."""
        return self.scene(index).views

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        scene = self.scene(index)
        return scene.image, scene.mask

    def wrong_mask(self, index: int) -> np.ndarray:
        """Mark the largest *other* object: a support painted by mistake."""
        objects = self.scene(index).objects
        sizes = np.bincount(objects.ravel(), minlength=3)
        sizes[:2] = 0
        if sizes.max() == 0:
            raise ValueError(f"scene {index} shows no object but its target")
        return (objects == sizes.argmax()).astype(np.uint8)


def open_toyshop(
    split: str, shots: int, transform: Transform | None, fold: int, held_out: int, side: int
) -> ToyshopSet:
    """Open scenes as the stored tables have them, `side` pixels a side; nothing transforms them.

    Training and test scenes share no seed; a validation scene shows no novel class anywhere.
    """
    atlas, parts = Atlas.load(), split_classes(len(CLASSES), fold, held_out)
    if split == "train":
        return ToyshopSet(atlas, parts.base, PER_CLASS, 0, parts.base, side)
    known = parts.base + parts.validation
    if split == "validation":
        return ToyshopSet(atlas, parts.validation or known, NOVEL_PER_CLASS, 1, known, side)
    return ToyshopSet(atlas, parts.novel, NOVEL_PER_CLASS, 1, None, side)
