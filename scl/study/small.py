"""How well small things are found in large pictures: things of known size, set into large rooms."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from scl.datasets.fit import Fit
from scl.evaluation.closer import bring_support
from scl.evaluation.predict import find_object
from scl.evaluation.protocol import ProtocolConfig, show
from scl.evaluation.trust import find_scores
from scl.method.episode import Dataset
from scl.method.similarity import SimilaritySCL
from scl.toyshop.backdrop import backdrop
from scl.toyshop.dice import Dice

SIDE, OTHERS = 1024, 6  # pixels of a room's side; things of other classes in it
SHARES = (0.01, 0.02, 0.04, 0.06, 0.12, 0.25)  # of the picture, that the thing covers
ORDINARY = 0.12  # of the support's, where it is shown larger than the query's
FIT = Fit(320, "whole")


class Room(NamedTuple):
    """A picture [SIDE, SIDE, 3] uint8 of a room, and the mask [SIDE, SIDE] of one thing in it."""

    image: np.ndarray
    mask: np.ndarray


def furnished(dataset: Dataset, item: int, share: float, dice: Dice) -> Room:
    """Set an item's thing, so large that it covers a share, into a room with some of others."""
    canvas = Image.fromarray((255 * backdrop(dice, SIDE, dice.between(0.4, 0.7))).astype(np.uint8))
    labels = dataset.labels
    others = [i for i, label in enumerate(labels) if label != labels[item]]
    for _ in range(OTHERS):
        _placed(canvas, *dataset[dice.pick(others)], dice.between(0.01, 0.06), dice)
    mask = _placed(canvas, *dataset[item], share, dice)
    return Room(np.array(canvas), mask)


def _placed(
    canvas: Image.Image, image: np.ndarray, mask: np.ndarray, share: float, dice: Dice
) -> np.ndarray:
    """Paste a thing that covers a share of the canvas somewhere; return its mask there."""
    rows, columns = (np.flatnonzero((mask == 1).any(axis=axis)) for axis in (1, 0))
    box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    scale = (share * SIDE * SIDE / (mask == 1).sum()) ** 0.5
    scale = min(scale, (SIDE - 1) / max(box[2] - box[0], box[3] - box[1]))
    size = max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale))
    thing = Image.fromarray(image).crop(box).resize(size, Image.Resampling.BICUBIC)
    shape = Image.fromarray((mask == 1).astype(np.uint8) * 255).crop(box)
    shape = shape.resize(size, Image.Resampling.BICUBIC)
    place = dice.below(SIDE - size[0] + 1), dice.below(SIDE - size[1] + 1)
    canvas.paste(thing, place, shape)
    whole = Image.new("L", (SIDE, SIDE))
    whole.paste(shape, place)
    return (np.array(whole) > 127).astype(np.uint8)


def measure(model: SimilaritySCL, dataset: Dataset, count: int, seed: int = 0) -> dict:
    """Find things of several sizes once at a glance and once closely: mean IoU, CPU-seconds.

    dataset: photographs with masks, of several classes; count: rooms of each size. Each thing is
    shown by a support of an ordinary size, and by one as small as it is ("alike").
    """
    found: dict[str, dict] = {}
    for share in SHARES:
        rows = [_compared(model, dataset, share, Dice(seed, share, i)) for i in range(count)]
        means = {k: round(float(np.mean([row[k] for row in rows])), 4) for k in rows[0]}
        found[f"{share:.2f}"] = means
    return found


def _compared(model: SimilaritySCL, dataset: Dataset, share: float, dice: Dice) -> dict[str, float]:
    """Find one thing both ways, shown by two supports."""
    item = dice.below(len(dataset.labels))
    labels = dataset.labels
    shown = dice.pick([i for i, c in enumerate(labels) if c == labels[item] and i != item])
    room, row = furnished(dataset, item, share, dice), {}
    for name, size in (("ordinary", ORDINARY), ("alike", share)):
        support = furnished(dataset, shown, size, dice)
        for way in ("glance", "closer"):
            started = time.process_time()
            brought = (
                FIT.to_network(*support) if way == "glance" else bring_support(model, FIT, *support)
            )
            mask = _found(model, brought, room.image, way)
            row[f"{name} {way} cpu_seconds"] = time.process_time() - started
            both, either = (mask & (room.mask == 1)).sum(), (mask | (room.mask == 1)).sum()
            row[f"{name} {way}"] = both / max(either, 1)
    return row


def _found(
    model: SimilaritySCL, support: tuple[Tensor, Tensor], image: np.ndarray, way: str
) -> np.ndarray:
    """Find the object of one support in an image: a mask [H, W] of true and false."""
    config = ProtocolConfig(fit=FIT)
    read = show(model, [support[0]], [support[1]], config.precision)
    if way == "glance":
        return find_scores(model, read, image, config)[0] > 0
    return find_object(model, read, image, config)[0]
