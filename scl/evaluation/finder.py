"""Find one thing again: show it once or more often, and look for it in other photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scl.datasets.fit import Fit
from scl.datasets.photos import read_image, read_pair
from scl.device import pick_device
from scl.evaluation.closer import bring_support
from scl.evaluation.predict import REPLACE, find_object
from scl.evaluation.protocol import ProtocolConfig, ready, show
from scl.evaluation.trust import own_ious
from scl.method.checks import LABELS
from scl.method.contracts import Method
from scl.method.records import Fusion, Support
from scl.method.vectors import IGNORE
from scl.models.general import general_record, load_general


@dataclass(frozen=True)
class Found:
    """Where a thing is in one photograph.

    mask: [H, W] of true and false, at the photograph's own size; probability: [H, W] in 0..1;
    presence: whether the thing is there at all, 0..1 (scl.evaluation.trust). The mask is empty
    where the finder takes it to be absent (see Finder.least), whatever the probability says.
    """

    mask: np.ndarray
    probability: np.ndarray
    presence: float

    @property
    def share(self) -> float:
        """Tell which share of the photograph is the thing, 0..1."""
        return float(self.mask.mean())


class Shown(NamedTuple):
    """A support at its own size: image [H, W, 3] uint8, mask [H, W] uint8 with 0, 1 and 255."""

    image: np.ndarray
    mask: np.ndarray


class Trust(NamedTuple):
    """How far K supports can be trusted: numbers in 0..1, in the order in which they were given.

    own: [K], IOU of each one's mask with what is found again in its own picture (own_ious); scores:
    [K], how well each finds the others (Eq. 16); 1 for a single one, as nothing was compared.
    """

    own: list[float]
    scores: list[float]


class Finder:
    """Learn a thing from photographs and masks, and find it in other photographs.

    model: any Method; the general model by default. framing: how photographs are brought to it;
    default: as the general model wants them.
    fusion: how several supports become one answer. least: below this presence a mask is empty;
    default: what the general model was measured to need, and 0 for another model. device: "auto"
    for CUDA where there is one.

    A photograph is a path or an array [H, W, 3] uint8. A mask is a path (white is the thing, or
    another kind that scl.datasets.masks knows), an array [H, W] of true and false or of 0, 1 and
    255 (not sure), or a painter of a notebook.
    """

    def __init__(
        self,
        model: Method | None = None,
        framing: Fit | None = None,
        fusion: Fusion = "cross",
        least: float | None = None,
        device: str | torch.device = "auto",
    ):
        record, general = general_record(), model is None
        self.model: Method = ready(load_general() if model is None else model, pick_device(device))
        known = float(record["least_presence"]) if general else 0.0
        self.framing = framing or Fit(record["side"], record["resize"])
        self.fusion, self.least = fusion, known if least is None else least
        self.supports: list[Shown] = []
        self._read: Support | None = None

    def fit(self, photos: Any, masks: Any) -> Finder:
        """Learn a thing from one photograph and its mask, or a list of each; forget any other."""
        return self._show(_pairs(photos, masks))

    def add(self, photos: Any, masks: Any) -> Finder:
        """Show the same thing once more: one further photograph and its mask, or a list of each."""
        return self._show([*self.supports, *_pairs(photos, masks)])

    def _show(self, supports: list[Shown]) -> Finder:
        """Let the model read the supports, and keep them if it could."""
        images, masks = zip(*self._brought(supports), strict=True)
        self._read = show(self.model, images, masks)
        self.supports = supports
        return self

    def _brought(self, supports: list[Shown]) -> list[tuple[Tensor, Tensor]]:
        return [bring_support(self.model, self.framing, *shown) for shown in supports]

    @property
    def support(self) -> Support:
        """Return what the model has read of the supports."""
        if self._read is None:
            raise ValueError('nothing to look for yet: call fit("mug.jpg", "mug-mask.png") first')
        return self._read

    @property
    def config(self) -> ProtocolConfig:
        """Return how photographs go through the model."""
        shots = max(1, len(self.supports))
        return ProtocolConfig(shots=shots, fusion=self.fusion, fit=self.framing, precision="auto")

    @property
    def trust(self) -> Trust:
        """Tell how far each support can be trusted: a low number asks for a look at its mask."""
        scores = self.support.scores[0].float().tolist()
        brought = self._brought(self.supports)
        return Trust(own_ious(self.model, self.support, brought, self.config), scores)

    def find(self, photo: Any) -> Found:
        """Find the thing in one photograph."""
        support, image = self.support, _photo(photo)
        return Found(*find_object(self.model, support, image, self.config, self.least))

    def predict(self, photos: Any) -> list[Found]:
        """Find the thing in each of the photographs; a single one is a list of one."""
        return [self.find(photo) for photo in _several(photos)]


# ------------------------------------------------------------------ what is given


def _several(given: Any) -> Iterator[Any]:
    """Go through what is given as one or as many."""
    one = isinstance(given, (str, Path)) or hasattr(given, "ndim")
    return iter([given] if one or not isinstance(given, Iterable) else given)


def _pairs(photos: Any, masks: Any) -> list[Shown]:
    """Read photographs and their masks."""
    images, marks = list(_several(photos)), list(_several(masks))
    if len(images) != len(marks) or not images:
        raise ValueError(
            f"{len(images)} photographs and {len(marks)} masks: expected one mask for each "
            "photograph, and at least one of both"
        )
    return [_pair(photo, mask) for photo, mask in zip(images, marks, strict=True)]


def _pair(photo: Any, mask: Any) -> Shown:
    """Read one photograph and its mask."""
    if isinstance(mask, (str, Path)):
        if not isinstance(photo, (str, Path)):
            raise ValueError(f"{mask} belongs to no file: give photograph and mask both as files")
        image, read = read_pair(photo, mask, REPLACE)
        return Shown(image, read.mask)
    image, labels = _photo(photo), _labels(mask)
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"a mask of {labels.shape[1]} x {labels.shape[0]} pixels for a photograph of "
            f"{image.shape[1]} x {image.shape[0]}: a mask has the size of its photograph"
        )
    return Shown(image, labels)


def _photo(given: Any) -> np.ndarray:
    """Read a photograph [H, W, 3] uint8 from a path, or check an array."""
    if isinstance(given, (str, Path)):
        return read_image(given, remedy=REPLACE)
    expected = "expected a path, or an array [H, W, 3] of uint8 (0..255); give several as a list"
    if not isinstance(given, np.ndarray):
        raise ValueError(f"a photograph of kind {type(given).__name__}: {expected}")
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
        raise ValueError(f"a photograph of shape {given.shape} and {given.dtype}: {expected}")
    return given


def _labels(given: Any) -> np.ndarray:
    """Check a mask [H, W] that marks something, and make it uint8 with 0, 1 and 255."""
    labels = np.asarray(getattr(given, "mask", given))  # a painter keeps its mask there
    if labels.ndim != 2 or not set(np.unique(labels)) <= set(LABELS):
        strange = [v for v in np.unique(labels)[:4].tolist() if v not in LABELS]
        raise ValueError(
            f"a mask of shape {labels.shape} with values such as {strange or LABELS}: expected "
            f"[H, W] of true and false, or of 0, 1 and {IGNORE} (not sure); mask > 127 turns grey "
            "levels into that"
        )
    if not (labels == 1).any():
        more = f": {IGNORE} means 'not sure'; give mask == {IGNORE} if it is the thing"
        marked = (labels == IGNORE).any()
        raise ValueError(f"the mask marks nothing{more if marked else ': paint the thing first'}")
    return labels.astype(np.uint8)
