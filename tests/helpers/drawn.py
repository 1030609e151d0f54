"""A data set that is drawn: coloured blocks on grey noise, pictures of several shapes."""

from __future__ import annotations

import numpy as np

SHAPES = ((64, 48), (48, 64), (64, 64))
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 60, 220))


class Blocks:
    """Items of three classes, a block of one colour each; every third item shares its picture.

    A shared picture shows a block of the next class, too.
    """

    classes = ("red", "green", "blue")

    def __init__(self, per_class: int = 6):
        self.labels = [label for label in range(3) for _ in range(per_class)]
        self.per_class = per_class

    def __len__(self) -> int:
        return len(self.labels)

    def _picture(self, index: int) -> tuple[int, tuple[int, ...]]:
        """The number of an item's picture, and the classes that it shows."""
        label, place = divmod(index, self.per_class)
        if place % 3:
            return index, (label,)
        before, after = (label - 1) % 3, (label + 1) % 3
        if place % 2:  # this item is the second class of a picture of the class before
            return before * self.per_class + place - 3, (before, label)
        return index, (label, after)

    def sources(self, index: int) -> frozenset:
        return frozenset((self._picture(index)[0],))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        picture, shown = self._picture(index)
        generator = np.random.default_rng(picture)
        height, width = SHAPES[picture % 3]
        image = generator.integers(90, 150, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        for place, label in enumerate(shown):
            left = 4 + 24 * place
            block = np.s_[16:40, left : left + 20]
            image[block] = COLOURS[label]
            if label == self.labels[index]:
                mask[block] = 1
        return image, mask
