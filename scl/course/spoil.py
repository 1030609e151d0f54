"""Spoil support masks, and compare ways to use several supports of which one may be spoiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scl.datasets.bank import FeatureBank
from scl.evaluation.evaluate import Result
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.fusion import confidence, pair_iou
from scl.method.losses import likelier
from scl.method.metric import count_pixels, interval, resample
from scl.method.scl import SCL, Support
from scl.method.words import expect

SPOILS = ("clean", "shifted", "eroded", "wrong object", "random box")


def spoil_mask(
    mask: np.ndarray, kind: str, other: np.ndarray | None, generator: np.random.Generator
) -> np.ndarray:
    """Paint a mask as a careless hand would have: H x W uint8 with 0 and 1, never empty.

    mask: H x W with 1 on the object; kind: one of SPOILS ("clean" gives the mask as it is);
    other: the mask of another object in the picture, for "wrong object"; None if there is none.
    """
    if kind not in SPOILS:
        raise ValueError(f"kind={kind!r}: expected one of {SPOILS}")
    inside = np.asarray(mask) == 1
    if not inside.any():
        raise ValueError("the mask shows no object (no pixel is 1): nothing to spoil")
    if kind == "clean":
        return np.array(mask, dtype=np.uint8)
    if kind == "wrong object":
        if other is None or not (np.asarray(other) == 1).any():
            raise ValueError("kind='wrong object': the picture shows no object but its target")
        return (np.asarray(other) == 1).astype(np.uint8)
    work = {"shifted": _shifted, "eroded": _eroded, "random box": _random_box}[kind]
    return work(inside, generator).astype(np.uint8)


def _shifted(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Move it by a third of the object's larger side, or as far as the picture has room.

    The generator chooses among the directions (up, down, left, right) that have the room.
    """
    (top, bottom), (left, right) = ((np.flatnonzero(inside.any(axis=a))[[0, -1]]) for a in (1, 0))
    step = max(1, round(max(bottom - top + 1, right - left + 1) / 3))
    height, width = inside.shape
    room = np.array([top, height - 1 - bottom, left, width - 1 - right]).clip(max=step)
    way = int(generator.choice(np.flatnonzero(room == room.max())))
    # What wraps around is empty: no direction goes farther than its room.
    return np.roll(inside, (-1, 1)[way % 2] * room[way], axis=way // 2)


def _eroded(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keep the third of the object that lies deepest, as repeated erosion would leave it."""
    from scipy.ndimage import distance_transform_cdt  # here, for it is slow to import

    depth = distance_transform_cdt(np.pad(inside, 1), "taxicab")[1:-1, 1:-1]
    places = np.argwhere(inside)
    deepest = np.argwhere(depth == depth.max()).mean(axis=0)
    # Equally deep pixels, as on a thin object, go by their distance from the deepest ones.
    far = np.linalg.norm(places - deepest, axis=1)
    order = np.lexsort((far, -depth[inside]))
    kept = places[order[: max(1, round(len(places) / 3))]]
    out = np.zeros_like(inside)
    out[kept[:, 0], kept[:, 1]] = True
    return out


def _random_box(inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Put a box of about the object's area anywhere, up to twice as long as it is short."""
    (height, width), area = inside.shape, int(inside.sum())
    tall = round(np.sqrt(area * 2 ** generator.uniform(-1, 1)))
    tall = int(np.clip(tall, -(-area // width), height))
    wide = int(np.clip(round(area / tall), 1, width))
    top, left = (int(generator.integers(n + 1)) for n in (height - tall, width - wide))
    out = np.zeros_like(inside)
    out[top : top + tall, left : left + wide] = True
    return out


def other_mask(dataset: Dataset, index: int) -> np.ndarray | None:
    """Find the mask of another object in a picture; None where the data set knows of none."""
    try:
        return dataset.wrong_mask(index) if hasattr(dataset, "wrong_mask") else None
    except ValueError:
        return None


def spoil_item(
    dataset: Dataset, index: int, kind: str, generator: np.random.Generator
) -> np.ndarray:
    """Spoil the mask of one item of a data set; see `spoil_mask`."""
    other = other_mask(dataset, index) if kind == "wrong object" else None
    return spoil_mask(dataset[index][1], kind, other, generator)


def spoiled_batch(
    dataset: Dataset,
    bank: FeatureBank,
    episodes: Sequence[EpisodeIndex],
    kind: str,
    generator: np.random.Generator,
) -> Episodes:
    """Make a batch whose first supports have spoiled masks, for heads without a prior (CANet)."""
    batch = bank.batch(episodes)
    masks = expect(Tensor, batch.support_masks).clone()
    for row, episode in enumerate(episodes):
        masks[row, 0] = torch.from_numpy(spoil_item(dataset, episode.supports[0], kind, generator))
    return batch._replace(support_masks=masks)


@torch.no_grad()
def fuse_every_way(model: SCL, batch: Episodes) -> tuple[dict[str, Result], Support]:
    """Use K supports in seven ways, of which the last looks at the query's truth.

    Returns a Result by name, and the support set that was read.
    """
    size, truth = tuple(batch.query_masks.shape[-2:]), batch.query_masks
    support = model.condition(batch.support, batch.support_masks)  # Eq. 15-16
    logits = model.segment(support, batch.query, "average", size).logits  # [B, K, 2, H, W]
    alone = likelier(logits)  # the query's mask under each support alone, [B, K, H, W]
    hits = pair_iou(alone, truth.unsqueeze(1).expand_as(alone))
    episode = torch.arange(len(truth))

    def weighted(scores: Tensor) -> Tensor:
        return likelier(model.fuse(logits, scores))  # Eq. 17

    masks = {
        "one support": alone[:, -1],
        "the best-scored support": alone[episode, support.scores.argmax(dim=1)],
        "averaging predictions": weighted(torch.ones_like(support.scores)),
        "cross-guided (Eq. 17)": weighted(support.scores),
        "leave-one-out scores": weighted(confidence(support.mutual, own_score=False)),
        "averaging vectors": model.segment(support, batch.query, "vectors", size).mask,
        "the best support (oracle)": alone[episode, hits.argmax(dim=1)],
    }
    counts = {name: count_pixels(mask, truth).cpu().numpy() for name, mask in masks.items()}
    return {name: Result(c, batch.labels.numpy()) for name, c in counts.items()}, support


def is_lowest(scores: Tensor) -> Tensor:
    """Tell in which of B episodes the first of K scores [B, K] is the lowest, no tie: [B] bool."""
    return scores[:, 0] < scores[:, 1:].amin(dim=1)


def lowest_share(scores: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """Count in what % of B episodes the first of K scores [B, K] is the lowest, with interval."""
    lowest = is_lowest(scores).cpu().numpy()
    draws = resample(len(lowest), np.random.default_rng(seed)) @ lowest / len(lowest)
    low, high = interval(draws)
    return 100 * lowest.mean(), 100 * low, 100 * high
