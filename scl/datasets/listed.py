"""The items of a benchmark in the order of its list of images, as the released code walks it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from scl.datasets.files import Transform
from scl.datasets.items import MIN_AREA, Areas, ItemSet
from scl.method.episode import Dataset


class ListedItems(ItemSet):
    """An ItemSet that can also be laid out image by image.

    small: places of items that are too small to be supports, and are queries of the released
    code all the same: None until they are asked for by `listed`.
    """

    small: frozenset[int] | None = None

    def __init__(
        self,
        classes: Sequence[str],
        wanted: Sequence[int],
        areas: Areas,
        shots: int,
        transform: Transform | None,
        where: object,
    ):
        super().__init__(classes, wanted, areas, shots, transform, where)
        self.areas, self.wanted = areas, frozenset(wanted)

    def listed(self) -> ListedItems:
        """Lay the items out image by image, with all wanted classes of each, however small.

        Images come in the order of their list; those without a wanted class of MIN_AREA pixels
        stay away, as ever.
        """
        if self.small is not None:
            return self
        usable = set(self.keys)
        items = [
            (key, label, sizes[label])
            for key, sizes in self.areas.items()
            for label in sorted(self.wanted & sizes.keys())
            if key in usable and sizes[label] > 0
        ]
        laid = copy.copy(self)
        laid.keys, laid.labels = [key for key, _, _ in items], [label for _, label, _ in items]
        laid.small = frozenset(i for i, (_, _, area) in enumerate(items) if area < MIN_AREA)
        return laid

    def least(self, index: int) -> int:
        return 1 if index in (self.small or ()) else MIN_AREA


def as_listed(dataset: Dataset) -> Dataset:
    """Lay a benchmark out image by image; any other data set stays as it is."""
    return dataset.listed() if isinstance(dataset, ListedItems) else dataset
