"""python -m scl evaluate, and python -m scl predict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from scl.datasets.fit import Fit, Method
from scl.datasets.listed import as_listed
from scl.datasets.registry import DataConfig, find, open_to_test
from scl.device import torchrun
from scl.evaluation import predict as photographs
from scl.evaluation import protocol
from scl.evaluation.episode_list import EpisodeLists, read_episodes, read_walk, write_episodes
from scl.evaluation.named import is_named, notes_named, open_named
from scl.evaluation.record import in_percent
from scl.evaluation.walk import Walk
from scl.method.contracts import Method as Learned
from scl.method.episode import Dataset
from scl.method.records import Fusion
from scl.models.checkpoint import random_backbone


def evaluate(options: argparse.Namespace) -> None:
    """Score a checkpoint, and print and write the record; under torchrun in several processes."""
    try:
        model, out = _opened(options.checkpoint), options.out or _named_after(options)
        dataset, config, episodes = _plan(options)
        read = {"episodes": episodes, "batch": options.batch, "workers": options.workers}
        with torchrun(options.device) as (workers, device):
            record = protocol.evaluate_protocol(model, dataset, config, out, device, **read)
            if workers.first and record:
                print(f"{in_percent(record)}\nwritten to {out}")
    except KeyboardInterrupt as stop:
        said = str(stop) or "interrupted before the first episode"
        raise KeyboardInterrupt(said) from None


def predict(options: argparse.Namespace) -> int:
    """Find an object in photographs; the status says whether all of them could be read."""
    supports = [photographs.split_pair(text) for text in options.support]
    asked = _fit(options), _fusion(options), options.overwrite, options.device
    queries = photographs.expand(options.query)
    model = _opened(options.checkpoint)
    try:
        done = photographs.predict_files(
            model,
            supports,
            queries,
            options.out,
            *asked,
            label=options.mask_label,
            invert=options.invert,
            probabilities=options.probabilities,
            least=notes_named(options.checkpoint).get("least_presence", 0.0),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; what is done is in {options.out}") from None
    print(photographs.describe(done, supports))
    for warning in photographs.large_masks(done, supports):
        print(f"scl: warning: {warning}", file=sys.stderr)
    for error in done.failed.values():
        print(f"scl: left out: {error}", file=sys.stderr)
    return 1 if done.failed else 0


def _opened(checkpoint: Path) -> Learned:
    """Open the model; say so if its backbone never learned to see."""
    model = open_named(checkpoint)
    name = None if is_named(checkpoint) else random_backbone(checkpoint)
    if name:
        print(
            f"scl: warning: the backbone of {checkpoint} ({name}) has random weights: its scores "
            "say little; train with weights='IMAGENET1K_V1'",
            file=sys.stderr,
        )
    return model


def _named_after(options: argparse.Namespace) -> Path:
    """Name a record, in the current folder, after what is evaluated."""
    fold = "" if options.fold is None else f"-f{options.fold}"
    listed = options.episodes_file.stem if options.episodes_file else f"k{options.shots or 1}"
    own = options.checkpoint.stem
    if own in ("best", "last"):  # every run has them: its folder tells them apart
        own = f"{options.checkpoint.resolve().parent.name}-{own}"
    walk = _walk(options)
    order = "" if options.episodes_file or walk == "uniform" else f"-{walk}"
    return Path(f"{own}-{options.data}{fold}-{options.split}-{listed}{order}.json")


def _plan(
    options: argparse.Namespace,
) -> tuple[Dataset, protocol.ProtocolConfig, EpisodeLists | None]:
    """Open the data set, and decide the protocol and the episodes (None: those it draws)."""
    fit = _fit(options)
    data = DataConfig(
        name=options.data,
        root=options.root,
        fold=options.fold or 0,
        grouping=options.grouping,
        side=fit.side,
        held_out=options.held_out,
    )
    dataset = open_to_test(data, options.split, options.shots or 1, options.fold)
    walk, episodes, known = _walk(options), None, {}
    dataset = as_listed(dataset) if walk == "released" else dataset
    if options.episodes_file:
        episodes = read_episodes(options.episodes_file, dataset)
        some = next(iter(episodes.values()))
        known = {"episodes": len(some), "seeds": tuple(episodes), "shots": len(some[0].supports)}
    seeds = None if options.seeds is None else tuple(range(options.seeds))
    asked = {"episodes": options.episodes, "seeds": seeds, "shots": options.shots}
    plan: dict[str, Any] = known | {k: value for k, value in asked.items() if value is not None}
    plan |= {"fusion": _fusion(options), "fit": fit, "precision": options.precision}
    reading = notes_named(options.checkpoint).get("as")
    config = protocol.ProtocolConfig(**plan, walk=walk, reading=reading)
    if options.write_episodes:
        episodes = protocol.draw_episodes(dataset, config)
        print(f"wrote {write_episodes(options.write_episodes, dataset, episodes, walk)}")
    return dataset, config, episodes


def _walk(options: argparse.Namespace) -> Walk:
    """Decide how episodes follow each other: as listed or asked for, else as its recipe says."""
    listed = options.episodes_file and read_walk(options.episodes_file)
    if listed and options.walk not in (None, listed):
        raise ValueError(
            f"--walk {options.walk}: {options.episodes_file} lists episodes of the walk {listed}; "
            "leave one of them out"
        )
    known = listed or options.walk or notes_named(options.checkpoint).get("walk")
    return known or "uniform"


def _fusion(options: argparse.Namespace) -> Fusion:
    """Decide how several supports become one answer: as asked for, else as its recipe says."""
    return options.fusion or notes_named(options.checkpoint).get("fusion") or "cross"


def _fit(options: argparse.Namespace) -> Fit:
    """Decide how images are brought to the network: as asked for, else as the model was trained."""
    # Toyshop's scenes have no size of their own and are composed at the network's.
    composed = find(options.data).composed if "data" in options else None
    known = notes_named(options.checkpoint)
    side = options.side or known.get("side") or composed or 473
    method: Method = options.resize or ("native" if composed else known.get("resize") or "exact")
    return Fit(side, method)
