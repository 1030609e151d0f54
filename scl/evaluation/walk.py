"""How the episodes of an evaluation follow each other: drawn at random, or as released."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Literal, get_args

import numpy as np

from scl.method.episode import Dataset, EpisodeIndex, EpisodeSampler

Walk = Literal["uniform", "released", "released-pairs"]
WALKS: tuple[Walk, ...] = get_args(Walk)


def by_image(dataset: Dataset, items: Iterable[int]) -> list[list[int]]:
    """Group items that are classes of one image, in the order in which the images come."""
    found: dict[Hashable, list[int]] = {}
    for item in items:
        found.setdefault(dataset.sources(item), []).append(item)
    return list(found.values())


class ReleasedWalk(EpisodeSampler):
    """Goes through a data set as the released code does; only class and supports are drawn.

    By images (PFENet): the query is the next image of the list, again and again, its class one of
    those that it shows, be it too small for a support. By pairs (CANet): the next pair of an image
    and a class, first in the order of the list, from the second round on shuffled.
    dataset: by images, as scl.datasets.listed.as_listed lays it out.
    """

    def __init__(self, dataset: Dataset, shots: int = 1, pairs: bool = False):
        super().__init__(dataset, shots)
        places = range(len(dataset.labels))
        self.pairs = pairs
        self.queries = [[i] for i in places] if pairs else by_image(dataset, places)
        small = sorted(getattr(dataset, "small", None) or ())
        self.items = {label: np.setdiff1d(items, small) for label, items in self.items.items()}

    def fixed(self, count: int, seed: int) -> list[EpisodeIndex]:
        """List episodes, each of which depends on (seed, its place) alone."""
        return [self._at(place, seed) for place in range(count)]

    def _at(self, place: int, seed: int) -> EpisodeIndex:
        lap, within = divmod(place, len(self.queries))
        if self.pairs and lap:
            # The 1 keeps this stream apart from those of the episodes below.
            within = np.random.default_rng((seed, lap, 1)).permutation(len(self.queries))[within]
        generator, items = np.random.default_rng((seed, place)), self.queries[within]
        return self.around(items[generator.integers(len(items))], generator)


def sampler_of(dataset: Dataset, shots: int, walk: Walk) -> EpisodeSampler:
    """Choose who draws the episodes."""
    if walk == "uniform":
        return EpisodeSampler(dataset, shots)
    return ReleasedWalk(dataset, shots, walk == "released-pairs")
