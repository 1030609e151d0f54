"""The paper's evaluation (Sec. 5.2): 1000 episodes, five times, scored at original resolution.

Which episodes those are follows from seeds and places alone; they can be written down and replayed.
The pixel counts of an episode are kept on disk as soon as they are known, in whole numbers, so an
evaluation that was stopped at any moment goes on, processes may share one, and totals are exact.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, distributed
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, Size, as_taken
from scl.datasets.listed import as_listed
from scl.device import (
    Precision,
    autocast,
    check_precision,
    device_of,
    gathered,
    pick_device,
    send,
)
from scl.evaluation.counts import COLUMNS, CountFile, completed, difference
from scl.evaluation.episode_list import EpisodeLists, plain_rows
from scl.evaluation.record import make_record
from scl.evaluation.walk import WALKS, Walk, sampler_of
from scl.files import versions, write_json
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes
from scl.method.losses import likelier
from scl.method.metric import count_pixels
from scl.method.records import Fusion, Support
from scl.method.words import expect
from scl.models.checkpoint import READINGS, Reading, weights_digest

Kept = TypeVar("Kept", bound=Method)


@dataclass(frozen=True)
class ProtocolConfig:
    """What is evaluated: so many episodes of K shots for each seed.

    fusion: how K predictions become one, see Method.segment; fit: how images are brought to the
    network and score maps back; precision: of the network, "auto" is bfloat16 on CUDA, and what is
    laid beside published numbers needs "float32"; walk: "uniform" draws a class, all alike, and one
    of its images as the query; "released" and "released-pairs" are ReleasedWalk's; reading: which
    form of its recipe the model follows, if it has two.
    """

    episodes: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    shots: int = 1
    fusion: Fusion = "cross"
    fit: Fit = Fit()
    precision: Precision = "float32"
    walk: Walk = "uniform"
    reading: Reading | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        for name in ("episodes", "shots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected at least 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds!r}: expected one or more, each once, from 0 on")
        chosen = {"fusion": get_args(Fusion), "walk": WALKS, "reading": (*READINGS, None)}
        for name, known in chosen.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {known}")


def draw_episodes(dataset: Dataset, config: ProtocolConfig) -> dict[int, list[EpisodeIndex]]:
    """Draw the episodes of every seed; each depends on (seed, its place) alone."""
    if walked(dataset, config) is not dataset:
        raise ValueError("walk='released' goes image by image: expected as_listed(dataset)")
    sampler = sampler_of(dataset, config.shots, config.walk)
    return {seed: sampler.fixed(config.episodes, seed) for seed in config.seeds}


def walked(dataset: Dataset, config: ProtocolConfig) -> Dataset:
    """Lay a data set out as its walk needs it; one that is laid out already is returned."""
    return as_listed(dataset) if config.walk == "released" else dataset


# -------------------------------------------------------------- what is evaluated


def describe(
    model: Method,
    dataset: Dataset,
    config: ProtocolConfig,
    episodes: EpisodeLists,
    device: torch.device,
) -> dict:
    """Gather what decides the counts, as plain values: two evaluations alike give the same."""
    layers = {name: _settings(module) for name, module in model.named_modules()}
    plan = asdict(config)
    plan.pop("precision")  # what it comes to on this device is said below
    reading = plan.pop("reading")
    half = device.type == "cuda" if config.precision == "auto" else config.precision == "bfloat16"
    described = {
        "as": reading,
        "protocol": plan,
        "data": {"kind": type(dataset).__name__, "items": len(dataset.labels)},
        "episodes": _digest(plain_rows(dataset, episodes)),
        "model": model.settings()
        | {name: _settings(part) for name, part in model.named_children()}
        | {"layers": _digest(layers)},
        "weights": weights_digest(model),
        "precision": "bfloat16 autocast" if half else "float32",
    }
    return json.loads(json.dumps(described))  # as it comes back from a file


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _settings(module: object) -> dict:
    """Describe a module: its kind and what it was built with, such as the scales of a pyramid."""
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in sorted(vars(module).items())
        if isinstance(value, (bool, int, float, str, tuple)) and not name.startswith("_")
    }
    return {"kind": type(module).__name__} | {k: v for k, v in plain.items() if k != "training"}


# ---------------------------------------------------------------------- counting


def read_episode(dataset: Dataset, index: EpisodeIndex, fit: Fit) -> Episodes:
    """Read an episode, B = 1: images at network size, the query's mask as it is on disk."""
    supports = [fit.to_network(*dataset[i]) for i in index.supports]
    image, truth = dataset[index.query]
    images, masks = zip(*((image[None], mask[None]) for image, mask in supports), strict=True)
    query, full = fit.to_network(image)[0][None], torch.from_numpy(np.array(truth))[None]
    return Episodes(images, masks, query, full, torch.tensor([index.label]))


@torch.inference_mode()
def count_episodes(
    model: Method, episodes: Sequence[Episodes], config: ProtocolConfig, device: torch.device
) -> list[list[int]]:
    """Count the pixels of each episode; those of one size go through the model together."""
    supports = [expect(tuple, e.support) for e in episodes]
    images = [expect(Tensor, e.query) for e in episodes]
    shapes = {(*(x.shape for x in s), q.shape) for s, q in zip(supports, images, strict=True)}
    if len(shapes) > 1:
        return [row for e in episodes for row in count_episodes(model, [e], config, device)]
    shown = [torch.cat(column) for column in zip(*supports, strict=True)]
    masks = [torch.cat(column) for column in zip(*(e.support_masks for e in episodes), strict=True)]
    support = show(model, shown, masks, config.precision)
    queries = torch.cat(images)
    truths = [send(e.query_masks, device) for e in episodes]
    sizes = [(truth.shape[1], truth.shape[2]) for truth in truths]
    rows = []
    for found, truth in zip(find(model, support, queries, sizes, config), truths, strict=True):
        rows.append(torch.cat([count_pixels(found[None], truth)[0], (truth == 1).sum()[None]]))
    return torch.stack(rows).tolist()  # a GPU is waited for once


@torch.inference_mode()
def show(
    model: Method, images: Sequence[Tensor], masks: Sequence[Tensor], precision: Precision = "auto"
) -> Support:
    """Condition a model on K supports of any sizes: images [3, h, w] or [B, 3, h, w], in 0..1."""
    device = device_of(model)
    taken = [as_taken(send(image, device), model.backbone) for image in images]
    with autocast(device, precision):
        return model.condition(taken, [send(mask, device) for mask in masks])


@torch.inference_mode()
def find(
    model: Method, support: Support, queries: Tensor, sizes: Sequence[Size], config: ProtocolConfig
) -> list[Tensor]:
    """Segment B queries [B, 3, S, S] in 0..1; their masks [H, W] have the original sizes."""
    device = device_of(model)
    taken = as_taken(send(queries, device), model.backbone)
    with autocast(device, config.precision):
        found = model.segment(support, taken, config.fusion)
    back = config.fit.logits_back
    return [likelier(back(z, s)) for z, s in zip(found.fused_logits, sizes, strict=True)]


def ahead(load: Callable, jobs: Iterable, workers: int) -> Iterator:
    """Yield load(job) in order; threads read while the model is busy with earlier ones."""
    if workers < 1:
        yield from map(load, jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(load, job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ready(model: Kept, device: torch.device) -> Kept:
    """Move the model to a device, in evaluation mode, channels-last: quicker on any device."""
    return model.to(device).eval().to(memory_format=torch.channels_last)


# --------------------------------------------------------------------- evaluation


@dataclass
class Evaluation:
    """What one process counts.

    flat: the episodes of all seeds in turn; own: the places of those that this process takes;
    rows: place to counts, of those that are known; file: where rows are kept.
    """

    model: Method
    dataset: Dataset
    config: ProtocolConfig
    flat: Sequence[EpisodeIndex]
    device: torch.device
    file: CountFile

    def __post_init__(self) -> None:
        rank, world = self.file.shard
        self.own = range(len(self.flat))[rank::world]
        self.rows = {i: row for i, row in self.file.read().items() if i in self.own}

    def count(self, batch: int, workers: int, progress: bool) -> None:
        """Count the episodes that are missing, and keep their rows as they come."""
        chunks = [self.own[i : i + batch] for i in range(0, len(self.own), batch)]
        # A chunk that was cut is counted as a whole again, so that a batch is always the same.
        left = [chunk for chunk in chunks if not self.rows.keys() >= set(chunk)]
        self.file.begin(self.rows)
        try:
            with self._bar(hidden=not progress or self.file.shard[0] > 0) as bar:
                totals = np.zeros((len(self.dataset.classes), 2))
                self._add(self.rows, totals, bar)
                for chunk, episodes in zip(left, ahead(self._read, left, workers), strict=True):
                    counts = count_episodes(self.model, episodes, self.config, self.device)
                    found = zip(chunk, counts, strict=True)
                    new = {i: row for i, row in found if i not in self.rows}
                    self.file.add(new)
                    self.rows.update(new)
                    self._add(new, totals, bar)
                    bar.update(len(new))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_go_on()) from None

    def _bar(self, hidden: bool) -> tqdm:
        """Show progress in episodes; in a log file, where every state stays, only now and then."""
        often = {"mininterval": 0.1 if sys.stderr.isatty() else 10, "miniters": 1}
        done, total = len(self.rows), len(self.own)
        return tqdm(desc="episodes", initial=done, total=total, disable=hidden, **often)

    def _add(self, rows: dict[int, list[int]], totals: np.ndarray, bar: tqdm) -> None:
        """Add counts to the totals [classes, 2] of each class, and show the mIoU so far."""
        for place, (intersection, union, *_) in rows.items():
            totals[self.flat[place].label] += intersection, union
        seen = totals[totals[:, 1] > 0]
        if len(seen):
            bar.set_postfix_str(f"mIoU {100 * (seen[:, 0] / seen[:, 1]).mean():.1f}", refresh=False)

    def _read(self, chunk: Iterable[int]) -> list[Episodes]:
        return [read_episode(self.dataset, self.flat[i], self.config.fit) for i in chunk]

    def _how_to_go_on(self) -> str:
        state = f"interrupted after {len(self.rows)} of {len(self.own)} episodes"
        if self.file.path is None:
            return f"{state}; without a file to write to, nothing is kept"
        return f"{state}, kept in {self.file.path}: the same command goes on from there"

    def all_rows(self) -> np.ndarray | None:
        """Gather the counts of all processes, [E, 5]; None if others have not finished."""
        if _distributed():
            counts = torch.zeros(len(self.flat), COLUMNS, dtype=torch.int64)
            for index, row in self.rows.items():
                counts[index] = torch.tensor(row)
            return gathered(counts, self.device).numpy()
        rows = self.rows if len(self.own) == len(self.flat) else self.file.read()
        if len(rows) < len(self.flat):
            return None
        return np.array([rows[index] for index in range(len(self.flat))], np.int64)


def evaluate_protocol(
    model: Method,
    dataset: Dataset,
    config: ProtocolConfig | None = None,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    episodes: EpisodeLists | None = None,
    shard: tuple[int, int] | None = None,
    batch: int = 1,
    workers: int = 2,
) -> dict | None:
    """Evaluate a model as the paper does and return the record, which is also written to `out`.

    dataset: of the classes to test, at original resolution; episodes: in the data set as `walked`;
    default: drawn, see draw_episodes. An evaluation that was stopped goes on if it is called again
    with the same `out`; a record that is there already is returned as it is. batch: episodes that
    go through the model together, where they are of one size; workers: threads that read images.
    shard: (rank, world): this process takes the episodes whose place modulo world is rank; default:
    as torch.distributed says, or all. Without torch.distributed the processes meet in the files
    beside `out`: the last one writes and returns the record, the others return None.
    """
    config, device, started = config or ProtocolConfig(), pick_device(device), time.perf_counter()
    check_precision(device, config.precision)
    dataset = walked(dataset, config)
    episodes = draw_episodes(dataset, config) if episodes is None else episodes
    _check_plan(config, episodes, batch)
    out, shard = None if out is None else Path(out), _checked_shard(shard, out)
    described = describe(model, dataset, config, episodes, device)
    if out is not None and out.exists():
        return _finished(out, described)
    flat = [e for seed in config.seeds for e in episodes[seed]]
    file = CountFile(out, described, shard)
    work = Evaluation(ready(model, device), dataset, config, flat, device, file)
    work.count(batch, workers, progress)
    rows = work.all_rows()
    if rows is None:
        return None
    record = make_record(rows, flat, dataset.classes, config.seeds)
    record |= {"evaluated": described, "versions": versions(), "device": device.type}
    record["seconds"] = round(time.perf_counter() - started, 1)
    if out is not None and (shard[0] == 0 or not _distributed()):
        write_json(out, record)
        file.remove()
    return record


def _check_plan(config: ProtocolConfig, episodes: EpisodeLists, batch: int) -> None:
    """Raise unless the episodes are those that the configuration speaks of."""
    if batch < 1:
        raise ValueError(f"batch={batch!r}: expected at least 1")
    if tuple(episodes) != config.seeds:
        raise ValueError(f"episodes of the seeds {tuple(episodes)}: expected {config.seeds}")
    for seed, some in episodes.items():
        shots = {len(e.supports) for e in some}
        if len(some) != config.episodes or shots != {config.shots}:
            raise ValueError(
                f"seed {seed} has {len(some)} episodes of {sorted(shots)} shots: expected "
                f"{config.episodes} of {config.shots}"
            )


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _checked_shard(shard: tuple[int, int] | None, out: object) -> tuple[int, int]:
    """Say which process this is, of how many."""
    if shard is None and _distributed():
        return distributed.get_rank(), distributed.get_world_size()
    rank, world = shard or (0, 1)
    if not 0 <= rank < world:
        raise ValueError(f"shard={shard!r}: expected (rank, world) with 0 <= rank < world")
    if world > 1 and out is None and not _distributed():
        raise ValueError(f"shard={shard!r} without `out`: expected a file beside which they meet")
    return rank, world


def _finished(out: Path, described: dict) -> dict:
    """Read the record that is there already, if it is of the same evaluation."""
    try:
        record = json.loads(out.read_text(encoding="utf-8"))
        unlike = difference(completed(record["evaluated"], described), described)
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{out} exists and is no evaluation: choose another --out") from None
    if unlike:
        raise ValueError(
            f"{out} is the record of another evaluation ({unlike}): remove it, or choose another "
            "--out"
        )
    return record
