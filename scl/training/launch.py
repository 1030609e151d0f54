"""From a recipe to a running training: data, batches, validation, processes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from scl.datasets.bank import FeatureBank, Read, features_gib, reader_of
from scl.datasets.fit import Letterbox
from scl.datasets.registry import DataConfig, Keep, canvas_of, open_data
from scl.device import Precision, Workers, autocast, device_of, gathered, pick_device, torchrun
from scl.evaluation.protocol import ahead
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler, load_episodes
from scl.method.metric import count_pixels, mean_iou
from scl.method.scl import SCL
from scl.method.words import expect
from scl.models.build import build_model, pinned
from scl.training.augment import CANET, CANET_QUERY, NONE, PFENET, PFENET_COCO
from scl.training.pixels import (
    SHARE,
    EpisodeImages,
    PixelBank,
    episode_loader,
    free_gib,
    memory_gib,
)
from scl.training.recipe import Recipe
from scl.training.run import Batches, Progress, Run, Score, refuse_used, resumed, start
from scl.training.stream import TrainingEpisodes

ReadEpisodes = Callable[[Sequence[EpisodeIndex]], Episodes]
# Validation episodes that a GPU decodes together.
AT_ONCE = 8
# What happens to supports and to queries.
AUGMENTS = {
    "pfenet": (PFENET, PFENET),
    "pfenet-coco": (PFENET_COCO, PFENET_COCO),
    "canet": (CANET, CANET_QUERY),
    "none": (NONE, NONE),
}


def launch(
    folder: Path, recipe: Recipe | None = None, device: str = "auto", progress: bool = True
) -> Progress:
    """Start a run in a folder, or go on with the one it holds (recipe=None)."""
    pick_device(device)
    if recipe is not None:
        refuse_used(folder)
    with torchrun(device) as (workers, own_device):
        plan = resumed(folder) if recipe is None else recipe
        check_data(plan)
        dataset = open_data(plan.data, "train")
        sampler, shown = EpisodeSampler(dataset), progress and workers.first
        episodes = TrainingEpisodes(sampler, plan.run.seed, plan.data.order, shown)
        plan = with_steps(plan, episodes.epoch_length)
        score, model = score_of(plan, workers), build_model(plan.model, plan.run.seed)
        plan = replace(plan, model=pinned(plan.model, model))
        device_here = pick_device(own_device)
        feed = feed_of(dataset, plan, episodes, workers, device_here, shown, model)
        run = Run(plan, folder, feed, score, own_device, workers, model)
        if recipe is not None and workers.first:
            start(folder, plan)  # now that nothing stands in its way
        return run.train(progress)


def with_steps(recipe: Recipe, epoch_length: int) -> Recipe:
    """The recipe with its steps decided: so many epochs of so many episodes."""
    if recipe.run.epochs is None:
        return recipe
    steps = recipe.run.epochs * math.ceil(epoch_length / recipe.train.batch)
    return replace(recipe, train=replace(recipe.train, steps=steps))


def same_features(recipe: Recipe) -> bool:
    """Does the backbone make the same maps of an item in every step?"""
    return recipe.data.augment == "none" and recipe.model.rules.statistics == "frozen"


def check_data(recipe: Recipe) -> None:
    """Raise if a recipe asks of its data what cannot be, before they are read."""
    augment, statistics = recipe.data.augment, recipe.model.rules.statistics
    if augment not in AUGMENTS:
        raise ValueError(f"data.augment={augment!r}: expected one of {tuple(AUGMENTS)}")
    if recipe.data.keep == "features" and not same_features(recipe):
        raise ValueError(
            f"data.keep='features' with data.augment={augment!r} and the backbone's statistics "
            f"{statistics!r}: features stay the same with 'none' and 'frozen' alone; take "
            "data.keep='auto'"
        )


def feed_of(
    dataset: Dataset,
    recipe: Recipe,
    episodes: TrainingEpisodes,
    workers: Workers,
    device: torch.device,
    progress: bool = False,
    model: SCL | None = None,
) -> Batches:
    """The batches of a run, from any step on: from kept features or images, or from a loader.

    model: whose features may be kept (None: nobody's).
    """
    data, batch = recipe.data, recipe.train.batch
    support, query = (replace(c, size=data.side) for c in AUGMENTS[data.augment])
    canvas, share = canvas_of(data), workers.share(batch)
    features = model and keep_features(model, dataset, recipe, workers, device, progress)
    bank = None if features else keep(dataset, data, canvas, device, progress)

    def places(step: int) -> list[int]:
        return [step * batch + place for place in share]

    def kept(bank: PixelBank, step: int) -> Episodes:
        own = places(step)
        generators = [episodes.augmenter(place) for place in own]
        return bank.episodes([episodes[place] for place in own], support, generators, query)

    def from_step(first: int) -> Iterator[Episodes]:
        left = range(first, recipe.train.steps)
        if not left:
            return iter(())  # a finished run reads nothing
        if features:
            maps = features()
            return (maps.batch([episodes[p] for p in places(step)]) for step in left)
        if bank is not None:
            return (kept(bank, step) for step in left)
        images = EpisodeImages(dataset, episodes, canvas, support, episodes.augmenter, query)
        pin = device.type == "cuda"
        return iter(episode_loader(images, map(places, left), data.workers, pin))

    return from_step


def keep(
    dataset: Dataset, data: DataConfig, canvas: int, device: torch.device, progress: bool
) -> PixelBank | None:
    """The decoded images where data.keep wants them; None where a loader decodes them.

    "auto" keeps them on the GPU or in memory if training is on a GPU and they fit.
    """
    if data.keep == "loader" or (data.keep == "auto" and device.type == "cpu"):
        return None
    if data.keep not in ("auto", "device", "memory"):
        raise ValueError(f"data.keep={data.keep!r}: expected one of {get_args(Keep)}")
    need, ram = memory_gib(dataset, canvas), torch.device("cpu")
    places = (ram,) if data.keep == "memory" else (device, ram)
    rooms = {place: SHARE * free_gib(place) for place in places}
    home = next((place for place, gib in rooms.items() if need <= gib), None)
    if home is None and data.keep == "auto":
        return None
    if home is None:
        found = " and ".join(f"{gib:.2f} GiB on {place}" for place, gib in rooms.items())
        raise ValueError(
            f"decoded images need {need:.2f} GiB, and there is room for {found}: lower "
            "data.canvas, or take data.keep='loader', which keeps nothing"
        )
    if home != places[0]:
        warnings.warn(
            f"{need:.1f} GiB of decoded images are too many for {device}: they stay in memory, and "
            "each batch is sent; a smaller data.canvas avoids that",
            stacklevel=2,
        )
    return PixelBank(dataset, canvas, device, home, progress)


def keep_features(
    model: SCL,
    dataset: Dataset,
    recipe: Recipe,
    workers: Workers,
    device: torch.device,
    progress: bool = False,
) -> Callable[[], FeatureBank] | None:
    """What computes the features of all items where data.keep wants them; see DataConfig.

    What does not fit is refused at once; the long part waits until a run has its folder.
    """
    data, train, count = recipe.data, recipe.train, len(dataset.labels)
    must = data.keep == "features"
    wanted = must or (data.keep == "auto" and 2 * train.batch * train.steps >= count)
    if not (wanted and same_features(recipe)):
        return None
    read, model = unaugmented(dataset, data), model.to(device)

    def bank() -> FeatureBank:
        with autocast(device, train.precision):
            return FeatureBank(model, dataset, False, device, progress, read)

    with autocast(device, train.precision):
        need = features_gib(model, read, count, device)
    room = room_gib(workers, device)
    if must and need > room:
        raise ValueError(
            f"data.keep='features' needs {need:.2f} GiB, and there is room for {room:.2f} GiB on "
            f"{device}: lower data.side, or take data.keep='auto'"
        )
    return bank if need <= room else None


def room_gib(workers: Workers, device: torch.device) -> float:
    """How many GiB each process may keep on its device."""
    return SHARE * free_gib(device) / (workers.world if device.type == "cpu" else 1)


def unaugmented(dataset: Dataset, data: DataConfig) -> Read:
    """Read items to be encoded once as the images of an episode are read."""
    alone = [EpisodeIndex(item, (), int(label)) for item, label in enumerate(dataset.labels)]
    images = EpisodeImages(dataset, alone, canvas_of(data), replace(NONE, size=data.side))

    def read(item: int) -> tuple[torch.Tensor, torch.Tensor]:
        _, _, query, masks, _ = images[item]
        return expect(torch.Tensor, query)[0], masks[0]

    return read


def score_of(recipe: Recipe, workers: Workers) -> Score | None:
    """mIoU on episodes of the classes that choose the checkpoint; None if nothing is scored."""
    run = recipe.run
    if run.select == "last":
        return None
    split = "novel" if run.select == "novel" else "validation"
    dataset = open_data(recipe.data, split, transform=Letterbox(recipe.data.side))
    episodes = EpisodeSampler(dataset).fixed(run.validate_episodes, run.seed)
    precision = recipe.train.precision
    keeps = same_features(recipe) and recipe.data.keep in ("auto", "features")
    readers: list[ReadEpisodes | None] = [] if keeps else [None]

    def score(model: SCL) -> float:
        if not readers:  # the first time
            with autocast(device_of(model), precision):
                readers.append(kept_reader(model, dataset, episodes, workers))
        return episode_miou(model, dataset, episodes, workers, precision, readers[0])

    return score


@dataclass(frozen=True)
class Chosen:
    """Some items of a data set, by places of their own."""

    dataset: Dataset
    items: Sequence[int]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes

    @property
    def labels(self) -> Sequence[int]:
        return [self.dataset.labels[item] for item in self.items]

    def sources(self, index: int) -> frozenset:
        return self.dataset.sources(self.items[index])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset[self.items[index]]


def kept_reader(
    model: SCL, dataset: Dataset, episodes: Sequence[EpisodeIndex], workers: Workers
) -> ReadEpisodes | None:
    """What gives this process's episodes by features, each item's computed once, here.

    None where there is no room for them.
    """
    device, own = device_of(model), episodes[workers.rank :: workers.world]
    items = sorted({item for e in own for item in (e.query, *e.supports)})
    place, chosen = {item: i for i, item in enumerate(items)}, Chosen(dataset, items)
    need = features_gib(model, reader_of(chosen), len(items), device) if items else 0.0
    if not items or need > room_gib(workers, device):
        return None
    bank = FeatureBank(model, chosen, False, device)

    def read(some: Sequence[EpisodeIndex]) -> Episodes:
        moved = [(place[e.query], tuple(place[i] for i in e.supports), e.label) for e in some]
        return bank.batch([EpisodeIndex(*each) for each in moved])

    return read


@torch.inference_mode()
def episode_miou(
    model: SCL,
    dataset: Dataset,
    episodes: Sequence[EpisodeIndex],
    workers: Workers,
    precision: Precision = "auto",
    read: ReadEpisodes | None = None,
) -> float:
    """mIoU in 0..1 over episodes at network size, shared among the processes; exact totals.

    A GPU gets several episodes at once, the next ones read meanwhile, and is waited for at the end.
    read: gives episodes, by images or by their kept features (None: images of the data set).
    """
    device = device_of(model)
    own = range(workers.rank, len(episodes), workers.world)
    size = AT_ONCE if device.type == "cuda" else 1
    chunks = [own[start : start + size] for start in range(0, len(own), size)]
    counts = torch.zeros(len(episodes), 4, dtype=torch.int64, device=device)

    def load(chunk: range) -> Episodes:
        some = [episodes[place] for place in chunk]
        return read(some) if read else load_episodes(dataset, some)

    for chunk, batch in zip(chunks, ahead(load, chunks, 1), strict=True):
        batch = batch.to(device)
        with autocast(device, precision):
            support = model.condition(batch.support, batch.support_masks)
            done = model.segment(support, batch.query, size=batch.query_masks.shape[-2:])
        counts[chunk.start : chunk.stop : chunk.step] = count_pixels(done.mask, batch.query_masks)
    labels = np.array([e.label for e in episodes])
    return mean_iou(gathered(counts, device).cpu().numpy(), labels)
