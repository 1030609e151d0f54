"""The endless list of training episodes. Each depends on (seed, its place) alone.

So it does not matter how many processes or workers share the list, or where a training goes on.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from tqdm.auto import tqdm

from scl.evaluation.walk import by_image
from scl.method.episode import EpisodeIndex, EpisodeSampler

Order = Literal["image", "class", "pair"]
# Streams of random numbers that must not meet: what is drawn for an episode, the order of an
# epoch, what augments an episode, and what drop-out takes away in a step.
EPISODE, EPOCH, AUGMENT, STEP = range(4)


class TrainingEpisodes:
    """Episodes by their place 0, 1, 2, ...

    order: "image" goes once an epoch through all images, as queries, in a new order, and draws a
    class among those an image shows (PFENet); "pair" goes once through all pairs of an image and a
    class it shows (CANet as released); "class" draws a class, then a query. progress: show that
    images are looked up, for which scenes have to be composed.
    """

    def __init__(
        self,
        sampler: EpisodeSampler,
        seed: int = 0,
        order: Order = "image",
        progress: bool = False,
    ):
        if order not in get_args(Order):
            raise ValueError(f"order={order!r}: expected one of {get_args(Order)}")
        self.sampler, self.seed, self.order = sampler, seed, order
        every = sorted(int(i) for items in sampler.items.values() for i in items)
        items = tqdm(every, "images", disable=not progress, leave=False)
        # Those that share one place of an epoch.
        pairs = order == "pair"
        self._queries = [[i] for i in items] if pairs else by_image(sampler.dataset, items)
        self._epoch: tuple[int, np.ndarray] | None = None

    @property
    def epoch_length(self) -> int:
        """Episodes of an epoch: images, or pairs of an image and a class."""
        return len(self._queries)

    def __getitem__(self, place: int) -> EpisodeIndex:
        generator = np.random.default_rng((self.seed, EPISODE, place))
        if self.order == "class":
            return self.sampler.draw(generator)
        epoch, within = divmod(place, self.epoch_length)
        items = self._queries[self._order_of(epoch)[within]]
        return self.sampler.around(items[generator.integers(len(items))], generator)

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng((self.seed, EPOCH, epoch))
            self._epoch = epoch, generator.permutation(self.epoch_length)
        return self._epoch[1]

    def augmenter(self, place: int) -> np.random.Generator:
        """The generator of an episode's augmentation."""
        return np.random.default_rng((self.seed, AUGMENT, place))
