"""What the explorers show, computed: plain records that figures, tests and notebooks read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scl.course.spoil import SPOILS, spoil_mask
from scl.datasets.bank import FeatureBank, take_maps
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.fusion import pair_iou
from scl.method.rules import SELF_GUIDED, VECTOR_NAMES
from scl.method.scl import SCL, Maps, Support
from scl.method.vectors import guiding_vectors, split_regions
from scl.models.untrained import CosineGuide
from scl.study.grid import GUIDED, RESULTS, grid

LEFT_OUT = "left out"


# ------------------------------------------------------------ found and lost


class Look(NamedTuple):
    """What a guide makes of one episode under one threshold.

    label: the class; support, query: H x W x 3 uint8; mask: h x w, the support's, shrunk; truth:
    H x W, the query's, ignored pixels as 255; unit: what probability is, "probability" or
    "cosine"; probability: h x w, the first support prediction (Eq. 3); threshold: what cuts it;
    found, lost: h x w (Eq. 5-6); empty: what an empty region sends, "v_s" or "0"; predictions:
    vectors that guide ("v_s", "v_pri", "v_aux", "both") to the query's prediction, H x W bool;
    ious: the same names to its IoU with truth, at H x W.
    """

    label: str
    support: np.ndarray
    query: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    unit: str
    probability: np.ndarray
    threshold: float
    found: np.ndarray
    lost: np.ndarray
    empty: str
    predictions: dict[str, np.ndarray]
    ious: dict[str, float]


def look(
    model: SCL,
    dataset: Dataset,
    bank: FeatureBank,
    episode: EpisodeIndex,
    threshold: float = 0.5,
) -> Look:
    """Split the episode's first support at a threshold, and segment its query with each part.

    model: a trained model guided by ("pri", "aux"), or one of cosine_guides. A trained model's
    query is decided by argmax, as always; the cosine's is cut at the same threshold.
    """
    if model.guidance.vectors != SELF_GUIDED.vectors:
        raise ValueError(
            f"a model guided by {model.guidance.vectors}: expected {SELF_GUIDED.vectors}, whose "
            "two places also take v_s twice"
        )
    batch = bank.batch([episode._replace(supports=episode.supports[:1])])
    support = model.condition(batch.support, batch.support_masks)
    probability = support.guide.first.logits.softmax(dim=1)[:, 1]
    found, lost = split_regions(support.mask[:, 0], probability > threshold, model.rules.regions)
    cosine = isinstance(model.head, CosineGuide)
    chance = _query_chances(model, support, found, lost, batch)
    predicted = chance > (threshold if cosine else 0.5)
    ious = pair_iou(predicted, batch.query_masks.expand_as(predicted), model.rules.iou).tolist()
    names = ("v_s", "v_pri", "v_aux", "both")
    return Look(
        label=dataset.classes[episode.label],
        support=dataset[episode.supports[0]][0],
        query=dataset[episode.query][0],
        mask=_array(support.mask[0, 0]),
        truth=_array(batch.query_masks[0]),
        unit="cosine" if cosine else "probability",
        probability=_array(probability[0]),
        threshold=threshold,
        found=_array(found[0]),
        lost=_array(lost[0]),
        empty="v_s" if model.rules.empty == "initial" else "0",
        predictions=dict(zip(names, _array(predicted), strict=True)),
        ious=dict(zip(names, ious, strict=True)),
    )


def _query_chances(
    model: SCL, support: Support, found: Tensor, lost: Tensor, batch: Episodes
) -> Tensor:
    """The query's foreground probability, [4, H, W]: under v_s, v_pri, v_aux, and the last two."""
    features, v_s, rules = support.features[:, 0], support.guide.v_s, model.rules
    chosen = VECTOR_NAMES, rules.epsilon, rules.empty
    three = guiding_vectors(features, v_s, found, lost, *chosen)[0]
    # A head takes two vectors, so a vector alone stands in both places, as v_s does in Eq. 2.
    pairs = torch.cat([three.unsqueeze(1).expand(-1, 2, -1), three[None, 1:]])
    queries = batch.query.apply(lambda m: m.expand(4, *m.shape[1:]))
    four = replace(support, vectors=pairs.unsqueeze(1))
    return model.segment(four, queries, size=tuple(batch.query_masks.shape[-2:])).fused[:, 1]


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


# --------------------------------------------------------- cross-guided fusion


class FusionLook(NamedTuple):
    """What K supports, some of them spoiled, make of one query.

    images, masks: of the K supports, H x W x 3 and H x W; kinds: how each was spoiled;
    mutual: [K, K], IOU of support i predicted under support k (Eq. 15-16), and scores: [K], U of
    Eq. 16, both NaN where a support is left out; query, truth: H x W x 3, H x W; predictions:
    "plain average" and "cross-guided" to H x W bool; ious: the same names to the IoU, at H x W.
    """

    label: str
    images: list[np.ndarray]
    masks: list[np.ndarray]
    kinds: tuple[str, ...]
    mutual: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]
    ious: dict[str, float]


def other_mask(dataset: Dataset, index: int) -> np.ndarray | None:
    """The mask of another object in a picture; None where the data set knows of none."""
    try:
        return dataset.wrong_mask(index) if hasattr(dataset, "wrong_mask") else None
    except ValueError:
        return None


def spoil_kinds(dataset: Dataset, index: int) -> tuple[str, ...]:
    """What can be done to one support: SPOILS, as far as its picture allows, or to leave it out."""
    none = other_mask(dataset, index) is None
    return (*(kind for kind in SPOILS if not (none and kind == "wrong object")), LEFT_OUT)


def fusion_look(
    model: SCL,
    dataset: Dataset,
    bank: FeatureBank,
    episode: EpisodeIndex,
    spoils: Sequence[str] | None = None,
    seed: int = 0,
) -> FusionLook:
    """Spoil the supports, let them judge each other (Eq. 15-16), and fuse (Eq. 17).

    spoils: for each support one of SPOILS or "left out"; None: all clean. What is drawn at
    random depends on (seed, place of the support) alone.
    """
    kinds = tuple(spoils or ["clean"] * len(episode.supports))
    if len(kinds) != len(episode.supports):
        raise ValueError(f"{len(kinds)} kinds of spoiling for {len(episode.supports)} supports")
    kept = [place for place, kind in enumerate(kinds) if kind != LEFT_OUT]
    if not kept:
        raise ValueError("Every support is left out, so nothing guides: put at least one back.")
    masks, truth = _spoiled_masks(dataset, episode, kinds, seed), bank.masks[[episode.query]]
    given = torch.from_numpy(np.stack([masks[k] for k in kept]))[None].to(truth.device)
    maps = _support_maps(model, bank, [episode.supports[k] for k in kept], given)
    query = take_maps(bank.maps, torch.tensor([episode.query]))._replace(masked=None)
    done = model.segment(model.condition(maps, given), query, size=tuple(truth.shape[-2:]))
    average = model.fuse(done.logits, torch.ones_like(done.scores)).softmax(dim=1)
    chances = {"plain average": average[:, 1], "cross-guided": done.fused[:, 1]}
    return FusionLook(
        label=dataset.classes[episode.label],
        images=[dataset[i][0] for i in episode.supports],
        masks=masks,
        kinds=kinds,
        mutual=_put_back(_array(done.mutual[0]), kept, len(kinds)),
        scores=_put_back(_array(done.scores[0]), kept, len(kinds)),
        query=dataset[episode.query][0],
        truth=_array(truth[0]),
        predictions={name: _array(chance[0] > 0.5) for name, chance in chances.items()},
        ious={n: pair_iou(c > 0.5, truth, model.rules.iou).item() for n, c in chances.items()},
    )


def _spoiled_masks(
    dataset: Dataset, episode: EpisodeIndex, kinds: Sequence[str], seed: int
) -> list[np.ndarray]:
    """The masks of all supports; one that is left out keeps its own."""
    return [
        spoil_mask(
            dataset[item][1],
            "clean" if kind == LEFT_OUT else kind,
            other_mask(dataset, item) if kind == "wrong object" else None,
            np.random.default_rng((seed, place)),
        )
        for place, (item, kind) in enumerate(zip(episode.supports, kinds, strict=True))
    ]


@torch.no_grad()
def _support_maps(model: SCL, bank: FeatureBank, items: Sequence[int], masks: Tensor) -> Maps:
    """Maps [1, K, ...] of some items under other masks [1, K, H, W]: only the prior's depend."""
    maps = take_maps(bank.maps, torch.tensor(items))
    if maps.masked is not None:
        small = model.shrink(masks[0], maps.mid)
        maps = maps._replace(masked=model.backbone.high(maps.mid, small))
    return maps.apply(lambda m: m[None])


def _put_back(values: np.ndarray, kept: Sequence[int], count: int) -> np.ndarray:
    """Numbers of the kept supports, [k] or [k, k], among those of all, NaN in between."""
    out = np.full((count,) * values.ndim, np.nan)
    out[np.ix_(*[kept] * values.ndim)] = values
    return out


# ------------------------------------------------------------- stored curves


class Stored(NamedTuple):
    """What stored cells say about training.

    curves: (variant, fold, seed) to the cell's "curve", a list of {"step", "q", ..., "total"};
    ladders: (variant, fold) to the plateau cell's "ladder", a list of {"steps", "base",
    "validation", "novel", ...}.
    """

    curves: dict[tuple[str, int, int], list[dict[str, float]]]
    ladders: dict[tuple[str, int], list[dict[str, float]]]


def read_stored(results: Path = RESULTS, data: str = "toyshop", head: str = "canet") -> Stored:
    """Read every stored cell of a grid once; those that were not run are left out."""
    stored = Stored({}, {})
    for cell in grid(data, head):
        path = cell.path(Path(results))
        if cell.stage == "tuning" or cell.variant not in GUIDED or not path.is_file():
            continue
        record = json.loads(path.read_text())
        if cell.stage == "plateau":
            stored.ladders[cell.variant, cell.fold] = record["ladder"]
        elif "step" in (record.get("curve") or [{}])[0]:  # cells of an earlier form count none
            stored.curves[cell.variant, cell.fold, cell.seed] = record["curve"]
    return stored


def plateau_variant(variant: str) -> str:
    """The variant with plateau cells that is nearest: "v_s" where v_s alone guides, or "scl"."""
    return "v_s" if GUIDED[variant].vectors == ("s",) else "scl"
