"""Episodes: K supports with masks, one query, one class. And how they are drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from scl.vectors import IGNORE

LABELS = (0, 1, IGNORE)


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


def _size(x: Tensor) -> str:
    return " x ".join(str(side) for side in x.shape[-2:])


def check_masks(masks: Tensor, role: str) -> None:
    """Raise unless masks hold 0, 1 and 255 alone."""
    if masks.is_complex():
        raise ValueError(f"{role} masks are {masks.dtype}: expected whole numbers 0, 1 and 255")
    if masks.is_meta:  # shapes without values, for counting operations
        return
    strange = masks[(masks != 0) & (masks != 1) & (masks != IGNORE)]
    if len(strange):
        raise ValueError(
            f"{role} mask holds the value {strange[0].item():g}: expected 0 (other), 1 (object) "
            f"and {IGNORE} (ignored) only; a grey-level mask needs '(mask > 127)' first"
        )


def check_images(images: Tensor, role: str, shape: str, dimensions: int) -> None:
    """Raise unless images are float colour images of the documented shape."""
    if images.dim() != dimensions or images.shape[-3] != 3:
        raise ValueError(f"{role} images have shape {tuple(images.shape)}: expected {shape}")
    if images.is_meta and images.is_floating_point():
        return
    if not images.numel():
        raise ValueError(f"{role} images have shape {tuple(images.shape)}: expected at least one")
    if images.is_floating_point() and not torch.isfinite(images).all():
        raise ValueError(f"{role} images hold NaN or infinity: expected numbers in 0..1")
    largest = images.max()
    if not images.is_floating_point() or largest > 16:
        raise ValueError(
            f"{role} images are {images.dtype} with values up to {largest:g}: expected "
            "floats in 0..1; grey levels 0..255 need '.float() / 255' first"
        )


def check_query(images: Tensor, backbone: object = None, dtype: torch.dtype | None = None) -> None:
    """Raise unless [B, 3, H, W] images can be segmented; see check_support."""
    check_images(images, "query", "[B, 3, H, W]", 4)
    _check_fit(images, "query", backbone, dtype)


def check_support(
    images: object, masks: Tensor, backbone: object = None, dtype: torch.dtype | None = None
) -> None:
    """Raise unless [B, K, ...] images (or their maps) and [B, K, H, W] masks can guide.

    backbone: what the images are for (its stride and its kind of inputs); dtype: the model's.
    """
    if masks.dim() != 4:
        raise ValueError(
            f"support masks have shape {tuple(masks.shape)}: expected [B, K, H, W]; "
            "one episode of one shot is [1, 1, H, W]"
        )
    if masks.shape[1] < 1:
        raise ValueError("K = 0 supports: at least one image with its mask is needed")
    if isinstance(images, Tensor):
        check_images(images, "support", "[B, K, 3, H, W]", 5)
        _check_fit(images, "support", backbone, dtype)
        if images.shape[-2:] != masks.shape[-2:]:
            raise ValueError(
                f"support images {_size(images)} and masks {_size(masks)} differ in size: "
                "bring both to the same height and width"
            )
    leading = tuple((images if isinstance(images, Tensor) else images.mid).shape[:2])
    if leading != tuple(masks.shape[:2]):
        raise ValueError(
            f"{leading} support images for {tuple(masks.shape[:2])} masks [B, K]: "
            "expected one mask for each image"
        )
    check_masks(masks, "support")
    if masks.is_meta:
        return
    empty = ((masks == 1).sum(dim=(2, 3)) == 0).nonzero()
    if len(empty):
        b, k = empty[0].tolist()
        raise ValueError(
            f"support mask {k} of episode {b} shows no object (no pixel is 1; all are 0 or "
            f"{IGNORE}): paint the object, or leave this support out"
        )


def _check_fit(images: Tensor, role: str, backbone: object, dtype: torch.dtype | None) -> None:
    """Raise unless a model can take these images: size, precision, range of values."""
    stride, inputs = getattr(backbone, "stride", 1), getattr(backbone, "inputs", None)
    if min(images.shape[-2:]) < stride:
        raise ValueError(
            f"{role} images of {_size(images)} pixels are smaller than one cell: expected at "
            f"least {stride} x {stride}"
        )
    if dtype is not None and images.dtype != dtype:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"{role} images are {images.dtype} and the model is {dtype}: convert them with "
            f"'.to(torch.{name})'; for half precision use torch.autocast"
        )
    if images.is_meta or not images.numel() or inputs is None:
        return
    lowest, highest = (float(x) for x in images.aminmax())
    if inputs == "unit" and (lowest < 0 or highest > 1):
        raise ValueError(
            f"{role} images hold values in {lowest:g}..{highest:g}: expected 0..1; images that are "
            "already normalised need a backbone with inputs='normalised'"
        )
    if inputs == "normalised" and lowest >= 0 and highest <= 1:
        warnings.warn(
            f"{role} images lie in 0..1, but this model takes images that are already normalised "
            "by ImageNet's mean and deviation: build or load it with inputs='unit', or normalise",
            stacklevel=4,
        )


def group_supports(
    images: Tensor | Sequence[Tensor], masks: Tensor | Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """A support set as groups of one size: [B, k, 3, H, W] images with [B, k, H, W] masks.

    images: [B, K, 3, H, W], or K tensors [3, H, W] or [B, 3, H, W] that may differ in size;
    masks: alike, without the colours (or with one, [B, 1, H, W]).
    """
    if isinstance(images, Tensor) and isinstance(masks, Tensor):
        return [(images, masks)]
    images, masks = _listed(images, 5), _listed(masks, 4)
    if len(images) != len(masks) or not images:
        raise ValueError(
            f"{len(images)} support images for {len(masks)} masks: expected one mask for each "
            "image, and at least one"
        )
    groups = []
    for image, mask in zip(images, masks, strict=True):
        image = image[None] if image.dim() == 3 else image
        mask = mask[None] if mask.dim() == 2 else mask
        mask = mask[:, 0] if mask.dim() == 4 and mask.shape[1] == 1 else mask
        groups.append((image.unsqueeze(1), mask.unsqueeze(1)))
    counts = sorted({len(image) for image, _ in groups})
    if len(counts) > 1:
        raise ValueError(
            f"support images for {counts} episodes: expected as many in each of the K tensors"
        )
    if len({(i.shape, m.shape, m.dtype) for i, m in groups}) > 1:
        return groups
    return [tuple(torch.cat(column, dim=1) for column in zip(*groups, strict=True))]


def _listed(tensors: Tensor | Sequence[Tensor], dimensions: int) -> list[Tensor]:
    """The K tensors of a support set, which may be stacked along dimension 1."""
    if isinstance(tensors, Tensor) and tensors.dim() == dimensions:
        return list(tensors.unbind(dim=1))
    return list(tensors)


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
