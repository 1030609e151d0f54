"""How the general model is made, and how well it does on photographs it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from scl.datasets.fit import Fit
from scl.datasets.folder import ClassFolder
from scl.datasets.kept import KeptCells
from scl.datasets.pascal import Pascal5i, PascalProtocol
from scl.datasets.toyshop import ToyshopSet
from scl.files import versions, write_json
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler
from scl.method.metric import count_pixels, interval, mean_iou, resample, weighted_miou
from scl.method.presence import PresenceHead, limit_that_empties, separation
from scl.method.records import Maps
from scl.method.similarity import SimilarityConfig, SimilaritySCL, SimilaritySegmentation
from scl.method.vectors import IGNORE
from scl.method.words import expect
from scl.models.backbones.lite0 import ALL_STAGES, EfficientNetLite0
from scl.models.checkpoint import save_weights
from scl.models.general import FOLDER
from scl.models.prototypes import Prototypes
from scl.study.compute import summary
from scl.study.grid import FUSIONS
from scl.study.side_by_side import drawn_batches, learn, score
from scl.toyshop import CLASSES, Atlas
from scl.training.trainer import TrainConfig

SIDE = 256  # pixels a side of the pictures that are learned from
USED = 320  # and of those in use: better on ETH-80's scenes, which chose it
CONFIG = SimilarityConfig()
PLAN = TrainConfig(steps=600, batch=16, lr=3e-3)
ASIDE = TrainConfig(steps=500, batch=16, lr=3e-3)  # of the heads that presence is learned with
SHOWN = 900  # episodes a fold that it is learned from, and as many that do not show the object
EMPTIED = 0.8  # of the latter: so many masks are left empty by the limit
ALONE: PascalProtocol = "val-only"
TOYS, ABSENT = 6, 0.12  # of the episodes of a batch: how many of toys, and whose query shows none


class Wild:
    """Items of a data set as a careless photographer would have them: turned, near or far, blurred.

    Each item is changed once, by a generator of its own: (seed, item).
    """

    def __init__(self, dataset: Dataset, seed: int = 0):
        self.dataset, self.seed = dataset, seed
        self.classes, self.labels = dataset.classes, dataset.labels
        self._change = v2.Compose(
            [
                v2.RandomAffine(
                    25,
                    (0.1, 0.1),
                    (0.6, 1.3),
                    fill={tv_tensors.Image: 110, tv_tensors.Mask: IGNORE},
                ),
                v2.ColorJitter(0.4, 0.4, 0.4, 0.08),
                v2.GaussianBlur(5, (0.1, 1.5)),
                v2.JPEG((30, 95)),
            ]
        )

    def sources(self, index: int) -> frozenset:
        return self.dataset.sources(index)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = self.dataset[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 100_003 + index)
            pixels = tv_tensors.Image(torch.tensor(image).permute(2, 0, 1))
            pixels, marks = self._change(pixels, tv_tensors.Mask(torch.tensor(mask)))
        if not (marks == 1).any():
            return image, mask
        return pixels.permute(1, 2, 0).numpy(), marks.numpy()


def joined(parts: Sequence[Episodes]) -> Episodes:
    """Lay batches of several data sets, all on the grid of the longer side, on one another."""
    support, query = (
        Maps(torch.cat([expect(Maps, getattr(part, name)).mid for part in parts]))
        for name in ("support", "query")
    )
    masks, truths, labels = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("support_masks", "query_masks", "labels")
    )
    return Episodes(support, masks, query, truths, labels)


def make(
    root: str, kept: Path, folder: Path = FOLDER, plan: TrainConfig = PLAN, fold: int | None = None
) -> Path:
    """Train the general model on VOC's validation photographs and on toys; write it to a folder.

    fold: leave out the novel classes of PASCAL-5^fold and every photograph that shows one, so that
    they can test what the recipe is worth.
    """
    torch.set_num_threads(1)
    started, backbone = time.process_time(), EfficientNetLite0(kept=ALL_STAGES)
    chosen = EveryClass(root) if fold is None else Pascal5i(root, fold, "train", 1, protocol=ALONE)
    heads = trained(chosen, backbone, kept, plan).head.state_dict()
    # Two folds aside, always: so that a fold's presence, too, is learned without its classes.
    other = 1 if fold is None else (fold + 1) % 4
    aside, seen = {(other - 1) % 4, other}, (other,) if fold is not None else (other - 1, other)
    judges = trained(EveryClass(root, aside), backbone, kept, replace(ASIDE, seed=plan.seed))
    presence, least = learned_presence(judges, [novel_of(root, f) for f in seen], kept)
    model = with_presence(heads, presence, backbone)
    seconds = round(time.process_time() - started)
    sha = save_weights(model.head, folder / "weights.safetensors")
    record = {"config": asdict(model.config), "plan": asdict(plan), "side": USED, "resize": "whole"}
    record |= {"fusion": "cross", "least_presence": least, "without_fold": fold}
    record |= {"cpu_seconds": seconds, "versions": versions(), "sha256": sha}
    write_json(folder / "record.json", record)
    return folder


def trained(
    chosen: Dataset, backbone: EfficientNetLite0, kept: Path, plan: TrainConfig
) -> SimilaritySCL:
    """Train heads on photographs and on toys, plain and wild; rounded as they will be kept."""
    fit, toys = Fit(SIDE, "whole"), ToyshopSet(Atlas.load(), range(len(CLASSES)), 40, seed=11)
    shares: dict[Dataset, int] = {chosen: plan.batch - TOYS, toys: TOYS // 2, Wild(toys): TOYS // 2}
    sources = [
        drawn_batches(KeptCells(Prototypes(backbone, "cosine"), data, fit, kept), n, seed, ABSENT)
        for seed, (data, n) in enumerate(shares.items(), plan.seed)
    ]
    batches = map(joined, zip(*sources, strict=True))
    model = learn({"general": CONFIG}, batches, plan, backbone)["general"]
    model.head.half().float()
    return model


def learned_presence(
    model: SimilaritySCL, datasets: Sequence[Dataset], kept: Path
) -> tuple[PresenceHead, float]:
    """Learn presence from classes that a model's heads have not met, and the limit to empty at."""
    shown, free = list[Look](), list[Look]()
    for dataset in datasets:
        bank = KeptCells(model, dataset, Fit(USED, "whole"), kept, truths=True)
        some, others = looks(model, bank, EpisodeSampler(dataset, 1).fixed(SHOWN, 7), seed=7)
        shown, free = shown + some, free + others
    signals = torch.stack([look.signals for look in shown + free])
    overlaps = torch.tensor([look.counts[0] / max(look.counts[1], 1) for look in shown + free])
    head = PresenceHead(signals.shape[1])
    head.learn(signals, overlaps, torch.arange(len(signals)) < len(shown))
    with torch.no_grad():
        there = head(signals)[len(shown) :].tolist()
    left = [p if look.found else 0.0 for p, look in zip(there, free, strict=True)]
    return head.requires_grad_(False), limit_that_empties(left, EMPTIED)


def with_presence(
    heads: dict, presence: PresenceHead, backbone: EfficientNetLite0
) -> SimilaritySCL:
    """Put trained heads and what was learned of presence together."""
    model = SimilaritySCL(backbone, replace(CONFIG, presence=True))
    own = {f"presence.{name}": value for name, value in presence.state_dict().items()}
    model.head.load_state_dict({**heads, **own})
    return model.eval()


def novel_of(root: str, fold: int) -> Dataset:
    """Open the classes that a model of a fold has not been trained on."""
    return Pascal5i(root, fold, "novel", 5, protocol=ALONE)


def photographs(root: Path) -> Dataset:
    """Open a folder of photographs with masks, a folder a class."""
    return ClassFolder(root, shots=5)


def judge(
    model: SimilaritySCL, dataset: Dataset, kept: Path, count: int, seed: int = 0, shots: int = 5
) -> dict:
    """Score a model on photographs of classes: one shot, five shots, and queries without them.

    "absent" gives, for each least presence, the share of empty masks among queries that do not
    show the object, and the one-shot mIoU when masks of less presence are emptied; "roc area", how
    well presence tells these queries from the others.
    """
    bank = KeptCells(model, dataset, Fit(USED, "whole"), kept, truths=True)
    one = EpisodeSampler(dataset, 1).fixed(count, seed)
    several = EpisodeSampler(dataset, shots).fixed(count // 4, seed)
    found = {"1": summary(score({"m": model}, bank, one)["m", "cross"])}
    for setting, wrong in ((f"{shots}", 0), (f"{shots}-wrong", 1)):
        for (_, fusion), result in score({"m": model}, bank, several, FUSIONS, wrong).items():
            found[f"{setting} {fusion}"] = summary(result)
    shown, free = looks(model, bank, one, seed)
    found["absent"] = _thresholds(shown, free, np.array([e.label for e in one]))
    area = separation([look.presence for look in shown], [look.presence for look in free])
    return found | {"roc area": round(area, 4)}


class Look(NamedTuple):
    """What was found of an object in one query.

    signals: [n]; found: anything at all; counts, empty: count_pixels of the mask and of none.
    """

    presence: float
    signals: Tensor
    found: bool
    counts: list[int]
    empty: list[int]


@torch.inference_mode()
def looks(
    model: SimilaritySCL, bank: KeptCells, episodes: Sequence[EpisodeIndex], seed: int
) -> tuple[list[Look], list[Look]]:
    """Look at the queries of episodes, and at as many that do not show the object."""
    generator = np.random.default_rng((seed, 2))
    free = [bank.without(episode, generator) for episode in episodes]
    seen = list[Look]()
    for episode in (*episodes, *free):
        batch, truth = bank.batch([episode]), torch.from_numpy(bank.truth(episode))[None]
        support = model.condition(batch.support, batch.support_masks)
        done = model.segment(support, expect(Maps, batch.query), "cross", truth.shape[1:])
        told, none = expect(SimilaritySegmentation, done), torch.zeros_like(done.mask)
        counts, empty = (count_pixels(m, truth)[0].tolist() for m in (done.mask, none))
        there = float(told.presence)
        seen.append(Look(there, told.signals[0].clone(), bool(done.mask.any()), counts, empty))
    return seen[: len(episodes)], seen[len(episodes) :]


def _thresholds(shown: Sequence[Look], free: Sequence[Look], labels: np.ndarray) -> dict:
    """Try least presences on queries that show the object, and on those that do not.

    Intervals (95 %) are over episodes; "gain" is the mIoU minus that without any emptying.
    """
    tried, draws = {}, resample(len(labels), np.random.default_rng(0))
    full = [look.counts for look in shown]
    for least in np.linspace(0, 0.95, 20).round(2):
        kept = [look.counts if look.presence >= least else look.empty for look in shown]
        gone, missed = (
            np.array([look.presence < least or not look.found for look in some])
            for some in (free, shown)
        )
        boot = [weighted_miou(np.array(counts), labels, draws) for counts in (kept, full)]
        tried[f"{least:.2f}"] = {
            "empty": round(float(gone.mean()), 4),
            "empty_interval": _rounded(interval(draws @ gone / len(gone))),
            "missed": round(float(missed.mean()), 4),
            "miou": round(mean_iou(np.array(kept), labels), 5),
            "gain_interval": _rounded(interval(boot[0] - boot[1])),
        }
    return tried


def _rounded(ends: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in ends]


class EveryClass:
    """All twenty classes of VOC's validation photographs, as one data set.

    without: folds whose classes are left out, and every photograph that shows one of them.
    """

    def __init__(self, root: str, without: Collection[int] = ()):
        parts = [Pascal5i(root, fold, "novel", protocol=ALONE) for fold in range(4)]
        self.classes = parts[0].classes
        banned = {s for f in without for i in range(len(parts[f])) for s in parts[f].sources(i)}
        every = [(part, i) for part in parts for i in range(len(part))]
        self._items = [(part, i) for part, i in every if not part.sources(i) & banned]
        self.labels = [part.labels[i] for part, i in self._items]

    def sources(self, index: int) -> frozenset:
        part, item = self._items[index]
        return part.sources(item)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part, item = self._items[index]
        return part[item]
