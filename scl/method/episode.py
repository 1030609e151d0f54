"""Episodes: K supports with masks, one query, one class. And how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from scl.method.checks import check_masks, check_support, group_supports, sides
from scl.method.records import Images, Maps, Masks


class Dataset(Protocol):
    """What can be sampled: items, each one image with the mask of one class in it.

    classes: names; labels[i]: which class item i shows (index into classes); sources(i): names of
    the material the item is made of. Two items that share material never meet in an episode.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> Sequence[int]: ...

    def sources(self, index: int) -> frozenset:
        """Name the photographs or rendered views behind an item."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read an image, H x W x 3 uint8, and a mask, H x W uint8 with 0, 1, 255."""


class Episodes(NamedTuple):
    """B tasks of K shots: segment in each query what its supports show.

    support: images [B, K, 3, H, W] in 0..1, or their maps, or K tensors [B, 3, H, W] that differ
    in size; support_masks: [B, K, H, W], or K tensors alike, with 0, 1, 255 (ignored); query:
    [B, 3, H, W], or maps; query_masks: [B, H, W], only for training and scoring; labels: [B],
    which class each is of.
    """

    support: Images
    support_masks: Masks
    query: Tensor | Maps
    query_masks: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Episodes:
        """Copy all but the labels to another device; to CUDA without waiting."""
        later = torch.device(device).type == "cuda"

        def moved(x: Any) -> Any:
            return x.to(device, non_blocking=later) if hasattr(x, "to") else tuple(map(moved, x))

        return Episodes(*map(moved, self))._replace(labels=self.labels)

    def one_shot(self) -> Episodes:
        """Leave out the dimension K, which is 1: supports [B, ...] with masks [B, H, W]."""
        (support, masks), *others = group_supports(self.support, self.support_masks)
        if others or masks.shape[1] != 1:
            raise ValueError(f"{len(others) + masks.shape[1]} supports: expected one an episode")
        support = support.flat() if isinstance(support, Maps) else support[:, 0]
        return self._replace(support=support, support_masks=masks[:, 0])


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
        """Draw one episode; the generator decides everything."""
        label = list(self.items)[generator.integers(len(self.items))]
        order = generator.permutation(self.items[label])
        return self._episode(int(order[0]), order[1:], label)

    def around(self, query: int, generator: np.random.Generator) -> EpisodeIndex:
        """Draw the supports for a query that is given, as an item."""
        label = int(self.dataset.labels[query])
        order = generator.permutation(self.items[label])
        return self._episode(int(query), order[order != query], label)

    def _episode(self, query: int, rest: np.ndarray, label: int) -> EpisodeIndex:
        """Take the first K of the others that share no material with the query."""
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
        """List episodes, each of which depends on (seed, its place) alone."""
        return [self.draw(np.random.default_rng((seed, place))) for place in range(count)]


def image_tensor(image: np.ndarray) -> Tensor:
    """Turn H x W x 3 uint8 into [3, H, W] float in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def load_episodes(dataset: Dataset, indices: Sequence[EpisodeIndex]) -> Episodes:
    """Read the images and masks of episodes of one K, all supports and all queries of one size."""

    def loaded(items: Sequence[int]) -> tuple[Tensor, Tensor]:
        images, masks = zip(*(dataset[i] for i in items), strict=True)
        return torch.stack([*map(image_tensor, images)]), torch.from_numpy(np.stack(masks))

    supports, support_masks = loaded([i for index in indices for i in index.supports])
    queries, query_masks = loaded([index.query for index in indices])
    shape = len(indices), len(indices[0].supports)
    labels = torch.tensor([index.label for index in indices])
    supports, support_masks = (x.unflatten(0, shape) for x in (supports, support_masks))
    episodes = Episodes(supports, support_masks, queries, query_masks, labels)
    check_episodes(episodes)
    return episodes


def check_episodes(episodes: Episodes) -> None:
    """Raise unless the supports can guide, and the queries can be segmented and scored."""
    for images, masks in group_supports(episodes.support, episodes.support_masks):
        check_support(images, masks)
    query, masks = episodes.query, episodes.query_masks
    check_masks(masks, "query")
    if isinstance(query, Tensor) and query.shape[-2:] != masks.shape[-2:]:
        raise ValueError(
            f"query image {sides(query)} and mask {sides(masks)} differ "
            "in size: bring both to the same height and width"
        )
