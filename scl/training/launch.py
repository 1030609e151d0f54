"""From a recipe to a running training: data, batches, validation, processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scl.datasets.fit import Letterbox
from scl.datasets.registry import DataConfig, canvas_of, open_data
from scl.device import Workers, autocast, device_of, gathered, pick_device, torchrun
from scl.evaluation.protocol import ahead
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler, load_episodes
from scl.method.metric import count_pixels, mean_iou
from scl.method.scl import SCL
from scl.training.augment import CANET, CANET_QUERY, NONE, PFENET
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

# Validation episodes that a GPU decodes together.
AT_ONCE = 8
# What happens to supports and to queries.
AUGMENTS = {"pfenet": (PFENET, PFENET), "canet": (CANET, CANET_QUERY), "none": (NONE, NONE)}


def launch(
    folder: Path, recipe: Recipe | None = None, device: str = "auto", progress: bool = True
) -> Progress:
    """Start a run in a folder, or go on with the one it holds (recipe=None)."""
    pick_device(device)
    if recipe is not None:
        refuse_used(folder)
    with torchrun(device) as (workers, own_device):
        plan = resumed(folder) if recipe is None else recipe
        dataset = open_data(plan.data, "train")
        episodes = TrainingEpisodes(EpisodeSampler(dataset), plan.run.seed, plan.data.order)
        plan = with_steps(plan, episodes.epoch_length)
        chosen = pick_device(own_device)
        score = score_of(plan, workers)
        feed = feed_of(dataset, plan, episodes, workers, chosen, progress and workers.first)
        run = Run(plan, folder, feed, score, own_device, workers)
        if recipe is not None and workers.first:
            start(folder, plan)  # now that nothing stands in its way
        return run.train(progress)


def with_steps(recipe: Recipe, images: int) -> Recipe:
    """The recipe with its steps decided: so many epochs over so many images."""
    if recipe.run.epochs is None:
        return recipe
    steps = recipe.run.epochs * math.ceil(images / recipe.train.batch)
    return replace(recipe, train=replace(recipe.train, steps=steps))


def feed_of(
    dataset: Dataset,
    recipe: Recipe,
    episodes: TrainingEpisodes,
    workers: Workers,
    device: torch.device,
    progress: bool = False,
) -> Batches:
    """The batches of a run, from any step on: from kept images, or from a loader."""
    data, batch = recipe.data, recipe.train.batch
    if data.augment not in AUGMENTS:
        raise ValueError(f"data.augment={data.augment!r}: expected one of {tuple(AUGMENTS)}")
    support, query = (replace(c, size=data.side) for c in AUGMENTS[data.augment])
    canvas, share = canvas_of(data), workers.share(batch)
    bank = keep(dataset, data, canvas, device, progress)

    def places(step: int) -> list[int]:
        return [step * batch + place for place in share]

    def kept(bank: PixelBank, step: int) -> Episodes:
        own = places(step)
        generators = [episodes.augmenter(place) for place in own]
        return bank.episodes([episodes[place] for place in own], support, generators, query)

    def from_step(first: int) -> Iterator[Episodes]:
        left = range(first, recipe.train.steps)
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
        raise ValueError(
            f"data.keep={data.keep!r}: expected 'auto', 'device', 'memory' or 'loader'"
        )
    # A budget of nothing keeps the images in memory and still augments on the GPU.
    budget = 0.0 if data.keep == "memory" and device.type == "cuda" else None
    try:
        return PixelBank(dataset, canvas, device, budget, progress)
    except ValueError:
        if data.keep == "auto" and memory_gib(dataset, canvas) > SHARE * free_gib(device):
            return None
        raise


def score_of(recipe: Recipe, workers: Workers) -> Score | None:
    """mIoU on episodes of the classes that choose the checkpoint; None if nothing is scored."""
    run = recipe.run
    if run.select == "last":
        return None
    split = "novel" if run.select == "novel" else "validation"
    dataset = open_data(recipe.data, split, transform=Letterbox(recipe.data.side))
    episodes = EpisodeSampler(dataset).fixed(run.validate_episodes, run.seed)
    return lambda model: episode_miou(model, dataset, episodes, workers)


@torch.inference_mode()
def episode_miou(
    model: SCL, dataset: Dataset, episodes: Sequence[EpisodeIndex], workers: Workers
) -> float:
    """mIoU in 0..1 over episodes at network size, shared among the processes; exact totals.

    A GPU gets several episodes at once, the next ones read meanwhile, and is waited for at the end.
    """
    device = device_of(model)
    own = range(workers.rank, len(episodes), workers.world)
    size = AT_ONCE if device.type == "cuda" else 1
    chunks = [own[start : start + size] for start in range(0, len(own), size)]
    counts = torch.zeros(len(episodes), 4, dtype=torch.int64, device=device)

    def read(chunk: range) -> Episodes:
        return load_episodes(dataset, [episodes[place] for place in chunk])

    for chunk, batch in zip(chunks, ahead(read, chunks, 1), strict=True):
        batch = batch.to(device)
        with autocast(device):
            support = model.condition(batch.support, batch.support_masks)
            done = model.segment(support, batch.query)
        counts[chunk.start : chunk.stop : chunk.step] = count_pixels(done.mask, batch.query_masks)
    labels = np.array([e.label for e in episodes])
    return mean_iou(gathered(counts, device).cpu().numpy(), labels)
