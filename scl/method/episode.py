"""Episodes: K supports with masks, one query, one class. And how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from scl.method.checks import _size, check_masks, check_support


class Dataset(Protocol):
    """What can be sampled: items, each one image with the mask of one class in it.

    classes: names; labels[i]: which class item i shows (index into classes); sources(i): names of
    the material the item is made of. Two items that share material never meet in an episode.
    """

    classes: tuple[str, ...]
    labels: Sequence[int]

    def sources(self, index: int) -> frozenset:
        """Names of the photographs or rendered views behind an item."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, H x W x 3 uint8, and mask, H x W uint8 with 0, 1, 255."""


@dataclass(frozen=True)
class Episode:
    """One task: segment in the query what the supports show.

    support_images: [K, 3, H, W] in 0..1; support_masks: [K, H, W] with 0, 1, 255 (ignored);
    query_image: [3, H, W]; query_mask: [H, W], only for training and scoring; label: the class.
    """

    support_images: Tensor
    support_masks: Tensor
    query_image: Tensor
    query_mask: Tensor
    label: str

    def __post_init__(self) -> None:
        check_support(self.support_images.unsqueeze(0), self.support_masks.unsqueeze(0))
        check_masks(self.query_mask.unsqueeze(0), "query")
        if self.query_image.shape[-2:] != self.query_mask.shape[-2:]:
            raise ValueError(
                f"query image {_size(self.query_image)} and mask {_size(self.query_mask)} differ "
                "in size: bring both to the same height and width"
            )


class EpisodeIndex(NamedTuple):
    """An episode as positions in a data set: nothing is loaded yet."""

    query: int
    supports: tuple[int, ...]
    label: int


class EpisodeSampler:
    """Draws episodes: a class, then a query, then K other supports without replacement.

    dataset: see Dataset; labels: the classes to draw from (default: all that have items).
    """

    def __init__(self, dataset: Dataset, shots: int = 1, labels: Sequence[int] | None = None):
        if shots < 1:
            raise ValueError(f"K = {shots} supports: expected at least 1")
        self.dataset, self.shots = dataset, shots
        every = np.asarray(dataset.labels)
        wanted = sorted(set(every.tolist())) if labels is None else list(labels)
        self.items = {int(label): np.flatnonzero(every == label) for label in wanted}
        for label, items in self.items.items():
            if len(items) <= shots:
                raise ValueError(
                    f"class {dataset.classes[label]!r} has {len(items)} images: an episode with "
                    f"{shots} supports and a query needs {shots + 1}; add images or lower K"
                )

    def draw(self, generator: np.random.Generator) -> EpisodeIndex:
        """One episode; the generator decides everything."""
        label = list(self.items)[generator.integers(len(self.items))]
        order = generator.permutation(self.items[label])
        return self._episode(int(order[0]), order[1:], label)

    def around(self, query: int, generator: np.random.Generator) -> EpisodeIndex:
        """An episode whose query is this item; the generator draws the supports."""
        label = int(self.dataset.labels[query])
        order = generator.permutation(self.items[label])
        return self._episode(int(query), order[order != query], label)

    def _episode(self, query: int, rest: np.ndarray, label: int) -> EpisodeIndex:
        """The first K of the others that share no material with the query."""
        taken = self.dataset.sources(query)
        others = (int(i) for i in rest if not taken & self.dataset.sources(int(i)))
        apart = tuple(islice(others, self.shots))  # a class may have tens of thousands of images
        if len(apart) < self.shots:
            raise ValueError(
                f"class {self.dataset.classes[label]!r}: only {len(apart)} of {len(rest)} other "
                f"images share nothing with image {query}; {self.shots} are needed: add images"
            )
        return EpisodeIndex(query, apart, label)

    def fixed(self, count: int, seed: int) -> list[EpisodeIndex]:
        """A list of episodes in which each one depends on (seed, its place) alone."""
        return [self.draw(np.random.default_rng((seed, place))) for place in range(count)]


def image_tensor(image: np.ndarray) -> Tensor:
    """H x W x 3 uint8 to [3, H, W] float in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def load_episode(dataset: Dataset, index: EpisodeIndex) -> Episode:
    """Read the images and masks of an episode."""
    items = [dataset[i] for i in (*index.supports, index.query)]
    images = [image_tensor(image) for image, _ in items]
    masks = [torch.from_numpy(np.ascontiguousarray(mask)) for _, mask in items]
    return Episode(
        torch.stack(images[:-1]),
        torch.stack(masks[:-1]),
        images[-1],
        masks[-1],
        dataset.classes[index.label],
    )
