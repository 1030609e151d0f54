"""Scores of counted episodes: over all seeds and of each, with spread and interval, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scl.evaluation.evaluate import Result
from scl.method.episode import EpisodeIndex
from scl.method.metric import class_iou, interval, resample, weighted_miou


def all_foreground_counts(rows: np.ndarray) -> np.ndarray:
    """Count [E, 4] for a method that calls every pixel the object, from rows [E, 5]."""
    valid, truth = rows[:, 0] + rows[:, 3], rows[:, 4]
    return np.stack([truth, valid, np.zeros_like(truth), valid - truth], axis=1)


def make_record(
    rows: np.ndarray, episodes: Sequence[EpisodeIndex], classes: Sequence[str], seeds: Sequence[int]
) -> dict:
    """Score in 0..1: over all seeds, of each seed, and of calling everything foreground.

    rows: [E, 5], of all seeds in turn, as many of each. Each episode is also listed: class,
    intersection and union of the foreground, of the background, and pixels of the object.
    """
    labels = np.array([e.label for e in episodes])
    listed = np.concatenate([labels[:, None], rows], axis=1)
    rows_of, labels_of, listed_of = (np.split(x, len(seeds)) for x in (rows, labels, listed))
    results, nothing = (
        [Result(counts(r), own) for r, own in zip(rows_of, labels_of, strict=True)]
        for counts in (lambda r: r[:, :4], all_foreground_counts)
    )
    return {
        **summary(results, classes),
        "everything_is_foreground": summary(nothing),
        "seeds": {
            str(seed): {**summary([result], classes), "episodes": own.tolist()}
            for seed, result, own in zip(seeds, results, listed_of, strict=True)
        },
    }


def summary(results: Sequence[Result], classes: Sequence[str] | None = None) -> dict:
    """Average mIoU and FB-IoU in 0..1 over seeds, with spread, interval and IoU by class.

    spread: standard deviation over seeds (None for one); interval: 95 % of the mIoU, by drawing
    each seed's episodes again.
    """

    def spread(values: Sequence[float]) -> float | None:
        return rounded(np.std(values, ddof=1)) if len(values) > 1 else None

    mious, fb_ious = [r.miou for r in results], [r.fb_iou for r in results]
    boot = [
        weighted_miou(r.counts, r.labels, resample(len(r.labels), np.random.default_rng(place)))
        for place, r in enumerate(results)
    ]
    scores: dict[str, Any] = {
        "miou": rounded(np.mean(mious)),
        "spread": spread(mious),
        "interval": [rounded(end) for end in interval(np.mean(boot, axis=0))],
        "fb_iou": rounded(np.mean(fb_ious)),
        "fb_spread": spread(fb_ious),
    }
    if classes is not None:
        by_seed = [class_iou(r.counts, r.labels) for r in results]
        scores["per_class"] = {
            classes[label]: rounded(np.mean([f[label] for f in by_seed if label in f]))
            for label in sorted(set().union(*by_seed))
        }
    return scores


def rounded(value: Any) -> float:
    """Round a score as it is written."""
    return round(float(value), 5)


def in_percent(record: dict) -> str:
    """Print the scores of a record, in percent, for people."""
    nothing, protocol = record["everything_is_foreground"], record["evaluated"]["protocol"]

    def score(scores: dict, name: str, spread: str) -> str:
        more = "" if scores[spread] is None else f" ± {100 * scores[spread]:.1f}"
        return f"{100 * scores[name]:.1f}{more}"

    low, high = (100 * x for x in record["interval"])
    walk = protocol.get("walk", "uniform")
    lines = [
        f"{len(protocol['seeds'])} seeds x {protocol['episodes']} episodes, K = "
        f"{protocol['shots']}, fusion {protocol['fusion']}, {protocol['fit']['method']} size"
        + ("" if walk == "uniform" else f", walk {walk}"),
        f"mIoU    {score(record, 'miou', 'spread')} (over seeds), 95 % interval over episodes "
        f"[{low:.1f}, {high:.1f}]",
        f"FB-IoU  {score(record, 'fb_iou', 'fb_spread')}",
        f"everything is foreground: mIoU {score(nothing, 'miou', 'spread')}, FB-IoU "
        f"{score(nothing, 'fb_iou', 'fb_spread')}",
    ]
    ious = sorted(record["per_class"].items(), key=lambda pair: -pair[1])
    return "\n".join([*lines, *(f"  {100 * iou:5.1f}  {name}" for name, iou in ious)])
