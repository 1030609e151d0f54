"""The paper's evaluation (Sec. 5.2): 1000 episodes, five times, scored at original resolution.

Which episodes those are follows from seeds and places alone; they can be written down and replayed.
The pixel counts of an episode are kept on disk as soon as they are known, in whole numbers, so an
evaluation that was stopped at any moment goes on, processes may share one, and totals are exact.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor, distributed, nn
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, as_taken
from scl.device import autocast, gathered, pick_device
from scl.evaluation.evaluate import Result
from scl.files import versions, write_atomically, write_json
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler
from scl.method.losses import likelier
from scl.method.metric import class_iou, count_pixels, interval, resample, weighted_miou
from scl.method.records import Fusion
from scl.models.checkpoint import weights_digest

EpisodeLists = Mapping[int, Sequence[EpisodeIndex]]  # by seed
COLUMNS = 5  # the four of scl.method.metric.count_pixels, and the pixels of the object


@dataclass(frozen=True)
class ProtocolConfig:
    """What is evaluated: so many episodes of K shots for each seed.

    fusion: how K predictions become one, see Method.segment; fit: how images are brought to the
    network and score maps back.
    """

    episodes: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    shots: int = 1
    fusion: Fusion = "cross"
    fit: Fit = Fit()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        for name in ("episodes", "shots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected at least 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds!r}: expected one or more, each once, from 0 on")
        if self.fusion not in get_args(Fusion):
            raise ValueError(f"fusion={self.fusion!r}: expected one of {get_args(Fusion)}")


# ------------------------------------------------------------------- episodes


def draw_episodes(dataset: Dataset, config: ProtocolConfig) -> dict[int, list[EpisodeIndex]]:
    """The episodes of every seed; each depends on (seed, its place) alone."""
    sampler = EpisodeSampler(dataset, config.shots)
    return {seed: sampler.fixed(config.episodes, seed) for seed in config.seeds}


def item_name(dataset: Dataset, index: int) -> str:
    """What an item is called, wherever its data set lies: the file names of its sources."""
    sources = dataset.sources(index)
    names = (Path(s).name if isinstance(s, str) else "-".join(map(str, s)) for s in sources)
    return "+".join(sorted(names))


def _rows(dataset: Dataset, episodes: EpisodeLists) -> list[dict]:
    """Episodes as plain values: the class, and place and name of every image."""

    def entry(index: int) -> list:
        return [index, item_name(dataset, index)]

    return [
        {
            "seed": seed,
            "class": dataset.classes[e.label],
            "query": entry(e.query),
            "supports": [entry(i) for i in e.supports],
        }
        for seed, some in episodes.items()
        for e in some
    ]


def write_episodes(path: str | Path, dataset: Dataset, episodes: EpisodeLists) -> Path:
    """Write episodes to a JSON file, one a line, to be replayed by read_episodes."""
    path = Path(path)
    rows = ",\n".join(json.dumps(row) for row in _rows(dataset, episodes))
    text = f'{{"items": {len(dataset.labels)}, "episodes": [\n{rows}\n]}}\n'
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def read_episodes(path: str | Path, dataset: Dataset) -> dict[int, list[EpisodeIndex]]:
    """The episodes of a file, by seed; a file that does not fit the data set is refused."""
    episodes: dict[int, list[EpisodeIndex]] = {}
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["episodes"]
        for place, row in enumerate(rows):
            episode = _episode(dataset, row, f"{path}, episode {place}")
            episodes.setdefault(int(row["seed"]), []).append(episode)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path} is no list of episodes ({type(error).__name__}: {error}): expected a file "
            "that --write-episodes wrote"
        ) from None
    shapes = {(len(e.supports), len(some)) for some in episodes.values() for e in some}
    if len(shapes) != 1 or min(shapes)[0] < 1:
        raise ValueError(
            f"{path} holds seeds and episodes of {sorted(shapes)} (supports, episodes a seed): "
            "expected as many in all"
        )
    return episodes


def _episode(dataset: Dataset, row: dict, where: str) -> EpisodeIndex:
    """One episode of a file, every image compared with the data set's."""
    if row["class"] not in dataset.classes:
        raise ValueError(f"{where} is of class {row['class']!r}, which this data set has not")
    label, places = dataset.classes.index(row["class"]), []
    for index, name in (row["query"], *row["supports"]):
        here = None
        if 0 <= index < len(dataset.labels) and dataset.labels[index] == label:
            here = item_name(dataset, index)
        if here != name:
            found = "none of that class" if here is None else here
            raise ValueError(
                f"{where} has {name} of class {row['class']!r} at place {index}, and this data "
                f"set {found}: expected the same list of images; evaluate on the data set, fold "
                "and split that it was written for, or write the episodes anew"
            )
        places.append(index)
    if len(set(places)) < len(places):
        raise ValueError(f"{where} uses an image twice: expected a query and other supports")
    return EpisodeIndex(places[0], tuple(places[1:]), label)


# -------------------------------------------------------------- what is evaluated


def describe(
    model: Method,
    dataset: Dataset,
    config: ProtocolConfig,
    episodes: EpisodeLists,
    device: torch.device,
) -> dict:
    """Everything that decides the counts, as plain values: two evaluations alike give the same."""
    layers = {name: _settings(module) for name, module in model.named_modules()}
    described = {
        "protocol": asdict(config),
        "data": {"kind": type(dataset).__name__, "items": len(dataset.labels)},
        "episodes": _digest(_rows(dataset, episodes)),
        "model": model.settings()
        | {name: _settings(part) for name, part in model.named_children()}
        | {"layers": _digest(layers)},
        "weights": weights_digest(model),
        "precision": "bfloat16 autocast" if device.type == "cuda" else "float32",
    }
    return json.loads(json.dumps(described))  # as it comes back from a file


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _settings(module: nn.Module) -> dict:
    """The kind of a module and what it was built with, such as the scales of a pyramid."""
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in sorted(vars(module).items())
        if isinstance(value, (bool, int, float, str, tuple)) and not name.startswith("_")
    }
    return {"kind": type(module).__name__} | {k: v for k, v in plain.items() if k != "training"}


def difference(found: object, expected: object, name: str = "") -> str | None:
    """The first place where two descriptions differ, in words; None if they are the same."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            place = f"{name}.{key}" if name else key
            unlike = difference(found.get(key), expected.get(key), place)
            if unlike:
                return unlike
        return None
    return None if found == expected else f"{name} was {found!r} and is now {expected!r}"


# ---------------------------------------------------------------- counts on disk


class Kept:
    """The counts of episodes on disk: a line that says of what, then a row for each episode.

    out: the record to be; parts lie beside it, one for each process that shares the evaluation.
    """

    def __init__(self, out: Path | None, described: dict, shard: tuple[int, int]):
        self.out, self.described, self.shard = out, described, shard
        rank, world = shard
        ending = ".part" if world == 1 else f".part-{rank}-of-{world}"
        self.path = None if out is None else out.with_name(out.name + ending)

    def parts(self) -> list[Path]:
        """The files of all processes, of earlier ones too."""
        if self.out is None or not self.out.parent.is_dir():
            return []
        form = re.compile(re.escape(self.out.name) + r"\.part(-\d+-of-\d+)?")
        return [path for path in sorted(self.out.parent.iterdir()) if form.fullmatch(path.name)]

    def read(self) -> dict[int, list[int]]:
        """Episode to its row of counts, from all parts; parts of anything else are refused."""
        rows: dict[int, list[int]] = {}
        for path in self.parts():
            rows.update(_read_part(path, self.described))
        return rows

    def begin(self, rows: Mapping[int, Sequence[int]]) -> None:
        """Start this process's part with the rows it has, whatever a killed one left behind."""
        if self.path is None:
            return
        lines = [json.dumps(self.described), *(_line(i, row) for i, row in rows.items())]
        text = "".join(f"{line}\n" for line in lines)
        write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def add(self, rows: Mapping[int, Sequence[int]]) -> None:
        """Append rows, handed to the system before this returns."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write("".join(f"{_line(i, row)}\n" for i, row in rows.items()))

    def remove(self) -> None:
        """The record is written: the parts are not needed any more."""
        for path in self.parts():
            path.unlink(missing_ok=True)


def _line(index: int, row: Sequence[int]) -> str:
    return json.dumps([index, *row])


def _read_part(path: Path, described: dict) -> dict[int, list[int]]:
    """The whole rows of a part; what was cut off, or never reached the disk, is left out."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # behind the last newline, a row was cut off
    except FileNotFoundError:  # another process has written the record meanwhile
        return {}
    rows: dict[int, list[int]] = {}
    for place, line in enumerate(lines):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if place == 0:
            _check_part(path, value, described)
        elif isinstance(value, list) and [type(n) for n in value] == [int] * (COLUMNS + 1):
            rows[value[0]] = value[1:]
        else:
            break
    return rows


def _check_part(path: Path, found: object, described: dict) -> None:
    unlike = difference(found, described) if isinstance(found, dict) else "it is no such file"
    if unlike:
        raise ValueError(
            f"{path} was begun by another evaluation ({unlike}): repeat that one to finish it, "
            "remove the file, or choose another --out"
        )


# ---------------------------------------------------------------------- counting


def read_episode(dataset: Dataset, index: EpisodeIndex, fit: Fit) -> Episodes:
    """Read an episode, B = 1: images at network size, the query's mask as it is on disk."""
    supports = [fit.to_network(*dataset[i]) for i in index.supports]
    image, truth = dataset[index.query]
    images, masks = zip(*((image[None], mask[None]) for image, mask in supports), strict=True)
    query, truth = fit.to_network(image)[0][None], torch.from_numpy(np.array(truth))[None]
    return Episodes(images, masks, query, truth, torch.tensor([index.label]))


@torch.inference_mode()
def count_episodes(
    model: Method, episodes: Sequence[Episodes], config: ProtocolConfig, device: torch.device
) -> list[list[int]]:
    """The row of counts of each episode; those of one size go through the model together."""
    shapes = {(*(x.shape for x in e.support), e.query.shape) for e in episodes}
    if len(episodes) > 1 and len(shapes) > 1:
        return [row for e in episodes for row in count_episodes(model, [e], config, device)]

    def taken(images: Iterable[Tensor]) -> Tensor:
        return as_taken(torch.cat(list(images)).to(device, non_blocking=True), model.backbone)

    images = [taken(column) for column in zip(*(e.support for e in episodes), strict=True)]
    masks = [
        torch.cat(c).to(device) for c in zip(*(e.support_masks for e in episodes), strict=True)
    ]
    with autocast(device):
        support = model.condition(images, masks)
        found = model.segment(support, taken(e.query for e in episodes), config.fusion)
    rows = []
    for logits, episode in zip(found.fused_logits, episodes, strict=True):
        truth = episode.query_masks.to(device)
        predicted = likelier(config.fit.logits_back(logits, truth.shape[1:]))[None]
        rows.append([*count_pixels(predicted, truth)[0].tolist(), int((truth == 1).sum())])
    return rows


def ahead(load: Callable, jobs: Iterable, workers: int) -> Iterator:
    """load(job) for every job in order; threads read while the model is busy with earlier ones."""
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


def ready(model: Method, device: torch.device) -> Method:
    """The model on a device, in evaluation mode; channels-last on CUDA."""
    model.to(device).eval()
    return model.to(memory_format=torch.channels_last) if device.type == "cuda" else model


def _bar(total: int, done: int, hidden: bool) -> tqdm:
    """Progress in episodes; in a log file, where every state stays, only now and then."""
    seconds = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        total=total, initial=done, desc="episodes", disable=hidden, mininterval=seconds, miniters=1
    )


class Tally:
    """The running mIoU: sums of intersections and unions by class."""

    def __init__(self) -> None:
        self.sums: dict[int, np.ndarray] = {}

    def add(self, label: int, row: Sequence[int]) -> None:
        """One more episode of a class."""
        self.sums[label] = self.sums.get(label, 0) + np.asarray(row[:2])

    @property
    def miou(self) -> float:
        """mIoU in 0..1 so far."""
        return float(np.mean([i / max(u, 1) for i, u in self.sums.values()] or [0.0]))


# --------------------------------------------------------------------- evaluation


class Evaluation:
    """What one process counts.

    flat: the episodes of all seeds in turn; own: the places of those that this process takes;
    rows: place to counts, of those that are known; kept: where rows are kept.
    """

    def __init__(
        self,
        model: Method,
        dataset: Dataset,
        config: ProtocolConfig,
        flat: Sequence[EpisodeIndex],
        device: torch.device,
        kept: Kept,
    ):
        self.model, self.dataset, self.config = ready(model, device), dataset, config
        self.flat, self.device, self.kept = flat, device, kept
        rank, world = kept.shard
        self.own = range(len(flat))[rank::world]
        self.rows = {i: row for i, row in kept.read().items() if i in self.own}

    def count(self, batch: int, workers: int, progress: bool) -> None:
        """Count the episodes that are missing, and keep their rows as they come."""
        chunks = [self.own[i : i + batch] for i in range(0, len(self.own), batch)]
        # A chunk that was cut is counted as a whole again, so that a batch is always the same.
        left = [chunk for chunk in chunks if not self.rows.keys() >= set(chunk)]
        done, hidden = len(self.rows), not progress or self.kept.shard[0] > 0
        self.kept.begin(self.rows)
        try:
            with _bar(len(self.own), done, hidden) as bar:
                self._count(left, ahead(self._read, left, workers), bar)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._how_to_go_on()) from None

    def _read(self, chunk: Iterable[int]) -> list[Episodes]:
        return [read_episode(self.dataset, self.flat[i], self.config.fit) for i in chunk]

    def _count(self, chunks: Iterable[range], read: Iterable[list[Episodes]], bar: tqdm) -> None:
        tally = Tally()
        for index, row in self.rows.items():
            tally.add(self.flat[index].label, row)
        for chunk, episodes in zip(chunks, read, strict=True):
            counts = count_episodes(self.model, episodes, self.config, self.device)
            new = {i: row for i, row in zip(chunk, counts, strict=True) if i not in self.rows}
            self.kept.add(new)
            self.rows.update(new)
            for index, row in new.items():
                tally.add(self.flat[index].label, row)
            bar.set_postfix_str(f"mIoU {100 * tally.miou:.1f}", refresh=False)
            bar.update(len(new))

    def _how_to_go_on(self) -> str:
        state = f"interrupted after {len(self.rows)} of {len(self.own)} episodes"
        if self.kept.path is None:
            return f"{state}; without a file to write to, nothing is kept"
        return f"{state}, kept in {self.kept.path}: the same command goes on from there"

    def all_rows(self) -> np.ndarray | None:
        """The counts of all processes, [E, 5]; None if others have not finished."""
        if _distributed():
            counts = torch.zeros(len(self.flat), COLUMNS, dtype=torch.int64)
            for index, row in self.rows.items():
                counts[index] = torch.tensor(row)
            return gathered(counts, self.device).numpy()
        rows = self.rows if len(self.own) == len(self.flat) else self.kept.read()
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

    dataset: of the classes to test, at original resolution; episodes: default: drawn, see
    draw_episodes. An evaluation that was stopped goes on if it is called again with the same `out`;
    a record that is there already is returned as it is. batch: episodes that go through the model
    together, where they are of one size; workers: threads that read images.
    shard: (rank, world): this process takes the episodes whose place modulo world is rank; default:
    as torch.distributed says, or all. Without torch.distributed the processes meet in the files
    beside `out`: the last one writes and returns the record, the others return None.
    """
    config, device, started = config or ProtocolConfig(), pick_device(device), time.perf_counter()
    episodes = draw_episodes(dataset, config) if episodes is None else episodes
    _check_plan(config, episodes, batch)
    out, shard = None if out is None else Path(out), _checked_shard(shard, out)
    described = describe(model, dataset, config, episodes, device)
    if out is not None and out.exists():
        return _finished(out, described)
    flat = [e for seed in config.seeds for e in episodes[seed]]
    kept = Kept(out, described, shard)
    work = Evaluation(model, dataset, config, flat, device, kept)
    work.count(batch, workers, progress)
    rows = work.all_rows()
    if rows is None:
        return None
    record = make_record(rows, flat, dataset.classes, config)
    record |= {"evaluated": described, "versions": versions(), "device": device.type}
    record["seconds"] = round(time.perf_counter() - started, 1)
    if out is not None and (shard[0] == 0 or not _distributed()):
        write_json(out, record)
        kept.remove()
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
    """Which process this is, of how many."""
    if shard is None:
        if not _distributed():
            return 0, 1
        return distributed.get_rank(), distributed.get_world_size()
    rank, world = shard
    if not 0 <= rank < world:
        raise ValueError(f"shard={shard!r}: expected (rank, world) with 0 <= rank < world")
    if world > 1 and out is None and not _distributed():
        raise ValueError(f"shard={shard!r} without `out`: expected a file beside which they meet")
    return rank, world


def _finished(out: Path, described: dict) -> dict:
    """The record that is there already, if it is of the same evaluation."""
    try:
        record = json.loads(out.read_text(encoding="utf-8"))
        unlike = difference(record["evaluated"], described)
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{out} exists and is no evaluation: choose another --out") from None
    if unlike:
        raise ValueError(
            f"{out} is the record of another evaluation ({unlike}): remove it, or choose another "
            "--out"
        )
    return record


# ------------------------------------------------------------------------- record


def all_foreground_counts(rows: np.ndarray) -> np.ndarray:
    """The counts [E, 4] of a method that calls every pixel the object, from rows [E, 5]."""
    valid, truth = rows[:, 0] + rows[:, 3], rows[:, 4]
    return np.stack([truth, valid, np.zeros_like(truth), valid - truth], axis=1)


def make_record(
    rows: np.ndarray,
    flat: Sequence[EpisodeIndex],
    classes: Sequence[str],
    config: ProtocolConfig,
) -> dict:
    """Scores in 0..1: over all seeds, of each seed, and of calling everything foreground.

    rows: [E, 5], of all seeds in turn. Each episode is also listed: class, intersection and union
    of the foreground, of the background, and pixels of the object.
    """
    count = config.episodes
    labels = np.array([e.label for e in flat])
    slices = [slice(i * count, (i + 1) * count) for i in range(len(config.seeds))]
    results = [Result(rows[s, :4], labels[s]) for s in slices]
    nothing = all_foreground_counts(rows)
    listed = np.concatenate([labels[:, None], rows], axis=1).tolist()
    seeds = {
        str(seed): {**summary([result], classes), "episodes": listed[s]}
        for seed, result, s in zip(config.seeds, results, slices, strict=True)
    }
    return {
        **summary(results, classes),
        "everything_is_foreground": summary([Result(nothing[s], labels[s]) for s in slices]),
        "seeds": seeds,
    }


def summary(results: Sequence[Result], classes: Sequence[str] | None = None) -> dict:
    """mIoU and FB-IoU in 0..1, means over seeds, with spread, interval and IoU by class.

    spread: standard deviation over seeds (None for one); interval: 95 % of the mIoU, by drawing
    each seed's episodes again.
    """
    mious, fb_ious = ([getattr(r, name) for r in results] for name in ("miou", "fb_iou"))
    boot = [
        weighted_miou(r.counts, r.labels, resample(len(r.labels), np.random.default_rng(place)))
        for place, r in enumerate(results)
    ]
    low, high = interval(np.mean(boot, axis=0))
    scores = {
        "miou": _rounded(np.mean(mious)),
        "spread": _spread(mious),
        "interval": [_rounded(low), _rounded(high)],
        "fb_iou": _rounded(np.mean(fb_ious)),
        "fb_spread": _spread(fb_ious),
    }
    if classes is not None:
        by_seed = [class_iou(r.counts, r.labels) for r in results]
        known = sorted({label for found in by_seed for label in found})
        scores["per_class"] = {
            classes[label]: _rounded(np.mean([f[label] for f in by_seed if label in f]))
            for label in known
        }
    return scores


def _rounded(value: float) -> float:
    return round(float(value), 5)


def _spread(values: Sequence[float]) -> float | None:
    return _rounded(np.std(values, ddof=1)) if len(values) > 1 else None


def report(record: dict) -> str:
    """The scores of a record, in percent."""
    nothing, protocol = record["everything_is_foreground"], record["evaluated"]["protocol"]

    def score(value: float, spread: float | None) -> str:
        return f"{100 * value:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")

    low, high = (100 * x for x in record["interval"])
    lines = [
        f"{len(protocol['seeds'])} seeds x {protocol['episodes']} episodes, K = "
        f"{protocol['shots']}, fusion {protocol['fusion']}, {protocol['fit']['method']} size",
        f"mIoU    {score(record['miou'], record['spread'])} (over seeds), 95 % interval over "
        f"episodes [{low:.1f}, {high:.1f}]",
        f"FB-IoU  {score(record['fb_iou'], record['fb_spread'])}",
        f"everything is foreground: mIoU {score(nothing['miou'], nothing['spread'])}, FB-IoU "
        f"{score(nothing['fb_iou'], nothing['fb_spread'])}",
    ]
    ious = sorted(record["per_class"].items(), key=lambda pair: -pair[1])
    return "\n".join([*lines, *(f"  {100 * iou:5.1f}  {name}" for name, iou in ious)])
