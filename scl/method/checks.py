"""Check what comes in: kind errors for images, masks and support sets that do not fit.

Values are looked at once where that costs nothing but a glance: not on the meta device, which has
none, and not in queries on a GPU, which would stop for it at every batch. Supports on a GPU are
summed up in one look.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import torch
from torch import Tensor

from scl.method.records import Images, Inputs, Maps, Masks
from scl.method.rules import Guidance
from scl.method.vectors import IGNORE

LABELS = (0, 1, IGNORE)


class Taker(Protocol):
    """What of a backbone decides which images it can take."""

    stride: int
    inputs: Inputs


def sides(x: Tensor) -> str:
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


def check_images(images: Tensor, role: str, shape: str, dimensions: int, look: bool) -> None:
    """Raise unless images are float colour images of the documented shape; look: at values, too."""
    if images.dim() != dimensions or images.shape[-3] != 3:
        raise ValueError(f"{role} images have shape {tuple(images.shape)}: expected {shape}")
    if not images.numel():
        raise ValueError(f"{role} images have shape {tuple(images.shape)}: expected at least one")
    if not look and images.is_floating_point():
        return
    if images.is_floating_point() and not torch.isfinite(images).all():
        raise ValueError(f"{role} images hold NaN or infinity: expected numbers in 0..1")
    largest = images.max()
    if not images.is_floating_point() or largest > 16:
        raise ValueError(
            f"{role} images are {images.dtype} with values up to {largest:g}: expected "
            "floats in 0..1; grey levels 0..255 need '.float() / 255' first"
        )


def check_query(
    images: Tensor, backbone: Taker | None = None, dtype: torch.dtype | None = None
) -> None:
    """Raise unless [B, 3, H, W] images can be segmented; see check_support."""
    look = not images.is_meta and not images.is_cuda
    check_images(images, "query", "[B, 3, H, W]", 4, look)
    _check_fit(images, "query", backbone, dtype, look)


def check_support(
    images: Tensor | Maps,
    masks: Tensor,
    backbone: Taker | None = None,
    dtype: torch.dtype | None = None,
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
    look = not masks.is_meta and not (masks.is_cuda and _well(images, masks, backbone))
    if isinstance(images, Tensor):
        check_images(images, "support", "[B, K, 3, H, W]", 5, look)
        _check_fit(images, "support", backbone, dtype, look)
        if images.shape[-2:] != masks.shape[-2:]:
            raise ValueError(
                f"support images {sides(images)} and masks {sides(masks)} differ in size: "
                "bring both to the same height and width"
            )
    leading = tuple((images if isinstance(images, Tensor) else images.mid).shape[:2])
    if leading != tuple(masks.shape[:2]):
        raise ValueError(
            f"{leading} support images for {tuple(masks.shape[:2])} masks [B, K]: "
            "expected one mask for each image"
        )
    if not look:
        return
    check_masks(masks, "support")
    empty = ((masks == 1).sum(dim=(2, 3)) == 0).nonzero()
    if len(empty):
        b, k = empty[0].tolist()
        raise ValueError(
            f"support mask {k} of episode {b} shows no object (no pixel is 1; all are 0 or "
            f"{IGNORE}): paint the object, or leave this support out"
        )


def check_vectors(n: int, guidance: Guidance) -> None:
    """Raise unless a head of n vectors takes as many as the guidance names."""
    if n != len(guidance.vectors):
        raise ValueError(
            f"the head takes {n} vectors and the guidance names {guidance.vectors}: "
            f"build the head with n={len(guidance.vectors)}"
        )


def _well(images: object, masks: Tensor, backbone: Taker | None) -> bool:
    """Say whether values on a GPU are as they should be, waiting for it once and not for each."""
    known = (masks == 0) | (masks == 1) | (masks == IGNORE)
    found = [known.all(), (masks == 1).flatten(2).any(dim=2).all()]
    if isinstance(images, Tensor) and images.numel():
        lowest, highest = images.aminmax()
        unit = (lowest >= 0) & (highest <= 1)
        normalised = getattr(backbone, "inputs", "unit") == "normalised"
        found += [torch.isfinite(images).all(), ~unit & (highest <= 16) if normalised else unit]
    return bool(torch.stack(found).all())


def _check_fit(
    images: Tensor, role: str, backbone: Taker | None, dtype: torch.dtype | None, look: bool
) -> None:
    """Raise unless a model can take these images: size, precision, range of values."""
    stride, inputs = getattr(backbone, "stride", 1), getattr(backbone, "inputs", None)
    if min(images.shape[-2:]) < stride:
        raise ValueError(
            f"{role} images of {sides(images)} pixels are smaller than one cell: expected at "
            f"least {stride} x {stride}"
        )
    if dtype is not None and images.dtype != dtype:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"{role} images are {images.dtype} and the model is {dtype}: convert them with "
            f"'.to(torch.{name})'; for half precision use torch.autocast"
        )
    if not look or inputs is None:
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


def group_supports(images: Images, masks: Masks) -> list[tuple[Tensor | Maps, Tensor]]:
    """Gather supports of one size: [B, k, 3, H, W] images (or maps) with [B, k, H, W] masks.

    images: [B, K, 3, H, W] or maps, or K tensors [3, H, W] or [B, 3, H, W] that may differ in
    size; masks: alike, without the colours (or with one, [B, 1, H, W]).
    """
    if isinstance(images, Maps):
        return [(images, masks if isinstance(masks, Tensor) else torch.stack([*masks], dim=1))]
    if isinstance(images, Tensor) and isinstance(masks, Tensor):
        return [(images, masks)]
    pictures, marks = _listed(images, 5), _listed(masks, 4)
    if len(pictures) != len(marks) or not pictures:
        raise ValueError(
            f"{len(pictures)} support images for {len(marks)} masks: expected one mask for each "
            "image, and at least one"
        )
    pictures = [x[None] if x.dim() == 3 else x for x in pictures]
    marks = [x[None] if x.dim() == 2 else x for x in marks]
    marks = [x[:, 0] if x.dim() == 4 and x.shape[1] == 1 else x for x in marks]
    counts = sorted({len(x) for x in pictures})
    if len(counts) > 1:
        raise ValueError(
            f"support images for {counts} episodes: expected as many in each of the K tensors"
        )
    alike = {(i.shape, m.shape, m.dtype) for i, m in zip(pictures, marks, strict=True)}
    if len(alike) == 1:
        return [(torch.stack(pictures, dim=1), torch.stack(marks, dim=1))]
    return [(i.unsqueeze(1), m.unsqueeze(1)) for i, m in zip(pictures, marks, strict=True)]


def _listed(tensors: Masks, dimensions: int) -> list[Tensor]:
    """List the K tensors of a support set, which may be stacked along dimension 1."""
    if isinstance(tensors, Tensor) and tensors.dim() == dimensions:
        return list(tensors.unbind(dim=1))
    return list(tensors)
