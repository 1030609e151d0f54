"""From a recipe to a running training: data, batches, validation, processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from scl.augment import CANET, CANET_QUERY, NONE, PFENET, AugmentConfig, Foreground, apply, draw
from scl.benchmarks import Letterbox
from scl.device import autocast, pick_device
from scl.episode import Dataset, EpisodeIndex, EpisodeSampler, load_episode
from scl.metric import count_pixels, mean_iou
from scl.model import SCL
from scl.open_data import open_data
from scl.parallel import Workers, gathered, torchrun
from scl.recipe import Recipe
from scl.runner import Batches, Progress, Run, Score, resumed, start
from scl.stream import TrainingEpisodes
from scl.train import Images

# What happens to supports and to queries.
AUGMENTS = {"pfenet": (PFENET, PFENET), "canet": (CANET, CANET_QUERY), "none": (NONE, NONE)}


def launch(
    folder: Path, recipe: Recipe | None = None, device: str = "auto", progress: bool = True
) -> Progress:
    """Start a run in a folder, or go on with the one it holds (recipe=None)."""
    with torchrun(device) as (workers, own_device):
        plan = resumed(folder) if recipe is None else recipe
        dataset = open_data(plan.data, "train")
        episodes = TrainingEpisodes(EpisodeSampler(dataset), plan.run.seed, plan.data.order)
        plan = with_steps(plan, episodes.epoch_length)
        if recipe is not None and workers.first:
            start(folder, plan)
        feed = feed_of(dataset, plan, episodes, workers)
        run = Run(plan, folder, feed, score_of(plan, workers), own_device, workers)
        return run.train(progress)


def with_steps(recipe: Recipe, images: int) -> Recipe:
    """The recipe with its steps decided: so many epochs over so many images."""
    if recipe.run.epochs is None:
        return recipe
    steps = recipe.run.epochs * math.ceil(images / recipe.train.batch)
    return replace(recipe, train=replace(recipe.train, steps=steps))


class Steps(TorchDataset):
    """The batches of a training by their step: decoded and augmented on the CPU.

    places: the places within a batch that this process takes.
    """

    def __init__(
        self,
        dataset: Dataset,
        episodes: TrainingEpisodes,
        configs: tuple[AugmentConfig, AugmentConfig],
        batch: int,
        places: Sequence[int],
    ):
        self.dataset, self.episodes, self.configs = dataset, episodes, configs
        self.batch, self.places = batch, places

    def __getitem__(self, step: int) -> Images:
        """The one-shot episodes of a step."""
        done = []
        for place in self.places:
            episode = self.episodes[step * self.batch + place]
            generator = self.episodes.augmenter(step * self.batch + place)
            items = (episode.supports[0], episode.query)
            for item, config in zip(items, self.configs, strict=True):
                done.append(augmented(self.dataset, item, config, generator))
        images, masks = (torch.cat(column) for column in zip(*done, strict=True))
        return Images(images[::2], masks[::2], images[1::2], masks[1::2])


def augmented(dataset: Dataset, item: int, config: AugmentConfig, generator) -> tuple:
    """An item after augmentation: image [1, 3, S, S] in 0..1 and mask [1, S, S]."""
    image, mask = dataset[item]
    size = mask.shape
    transform = draw(config, *size, Foreground.of(mask), generator)
    pixels = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
    return apply(pixels, torch.from_numpy(mask)[None], torch.tensor([size]), [transform])


def feed_of(
    dataset: Dataset, recipe: Recipe, episodes: TrainingEpisodes, workers: Workers
) -> Batches:
    """The batches of a run, from any step on."""
    if recipe.data.augment not in AUGMENTS:
        raise ValueError(f"data.augment={recipe.data.augment!r}: expected one of {tuple(AUGMENTS)}")
    configs = tuple(replace(c, size=recipe.data.side) for c in AUGMENTS[recipe.data.augment])
    batch = recipe.train.batch
    steps = Steps(dataset, episodes, configs, batch, workers.share(batch))

    def from_step(first: int) -> Iterator[Images]:
        left = range(first, recipe.train.steps)
        count = recipe.data.workers
        yield from DataLoader(steps, None, sampler=left, num_workers=count)

    return from_step


def score_of(recipe: Recipe, workers: Workers) -> Score | None:
    """mIoU on episodes of the classes that choose the checkpoint; None if nothing is scored."""
    run = recipe.run
    if run.validate_every < 1:
        return None
    split = "novel" if run.select == "novel" else "validation"
    dataset = open_data(recipe.data, split, transform=Letterbox(recipe.data.side))
    episodes = EpisodeSampler(dataset).fixed(run.validate_episodes, run.seed)
    return lambda model: episode_miou(model, dataset, episodes, workers)


@torch.inference_mode()
def episode_miou(
    model: SCL, dataset: Dataset, episodes: Sequence[EpisodeIndex], workers: Workers
) -> float:
    """mIoU in 0..1 over episodes at network size, shared among the processes; exact totals."""
    counts = torch.zeros(len(episodes), 4, dtype=torch.int64)
    device = next(model.parameters()).device
    for place in range(workers.rank, len(episodes), workers.world):
        episode = load_episode(dataset, episodes[place])
        with autocast(pick_device(device)):
            support = model.condition(
                episode.support_images[None].to(device), episode.support_masks[None].to(device)
            )
            done = model.segment(support, episode.query_image[None].to(device))
        counts[place] = count_pixels(done.mask.cpu(), episode.query_mask[None])[0]
    return mean_iou(gathered(counts, device).numpy(), [e.label for e in episodes])
