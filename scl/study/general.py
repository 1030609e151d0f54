"""How the general model is made, and how well it does on photographs it was not trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from scl.datasets.fit import Fit
from scl.datasets.folder import ClassFolder
from scl.datasets.kept import KeptCells
from scl.datasets.pascal import Pascal5i, PascalProtocol
from scl.datasets.toyshop import ToyshopSet
from scl.files import versions, write_json
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler
from scl.method.metric import count_pixels, mean_iou
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
LEAST = 0.12  # presence below which a mask is left empty: costs a point of mIoU at most
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
    backbone, fit = EfficientNetLite0(kept=ALL_STAGES), Fit(SIDE, "whole")
    chosen = EveryClass(root) if fold is None else Pascal5i(root, fold, "train", 1, protocol=ALONE)
    toys = ToyshopSet(Atlas.load(), range(len(CLASSES)), 40, seed=11)
    shares: dict[Dataset, int] = {chosen: plan.batch - TOYS, toys: TOYS // 2, Wild(toys): TOYS // 2}
    sources = [
        drawn_batches(KeptCells(Prototypes(backbone, "cosine"), data, fit, kept), n, seed, ABSENT)
        for seed, (data, n) in enumerate(shares.items(), plan.seed)
    ]
    started = time.process_time()
    batches = map(joined, zip(*sources, strict=True))
    model = learn({"general": CONFIG}, batches, plan, backbone)["general"]
    seconds = round(time.process_time() - started)
    sha = save_weights(model.head, folder / "weights.safetensors")
    record = {"config": asdict(CONFIG), "plan": asdict(plan), "side": USED, "resize": "whole"}
    record |= {"fusion": "cross", "least_presence": LEAST, "without_fold": fold}
    record |= {"cpu_seconds": seconds, "versions": versions(), "sha256": sha}
    write_json(folder / "record.json", record)
    return folder


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
    show the object, and the one-shot mIoU when masks of less presence are emptied.
    """
    bank = KeptCells(model, dataset, Fit(USED, "whole"), kept, truths=True)
    one = EpisodeSampler(dataset, 1).fixed(count, seed)
    several = EpisodeSampler(dataset, shots).fixed(count // 4, seed)
    found = {"1": summary(score({"m": model}, bank, one)["m", "cross"])}
    for setting, wrong in ((f"{shots}", 0), (f"{shots}-wrong", 1)):
        for (_, fusion), result in score({"m": model}, bank, several, FUSIONS, wrong).items():
            found[f"{setting} {fusion}"] = summary(result)
    generator = np.random.default_rng((seed, 2))
    free = [bank.without(episode, generator) for episode in one]
    found["absent"] = _thresholds(model, bank, one, free)
    return found


def _thresholds(
    model: SimilaritySCL,
    bank: KeptCells,
    shown: Sequence[EpisodeIndex],
    free: Sequence[EpisodeIndex],
) -> dict:
    """Try least presences on episodes that show the object, and on as many that do not."""
    rows: dict[str, list] = {"shown": [], "free": []}
    for name, episodes in (("shown", shown), ("free", free)):
        for episode in episodes:
            batch, truth = bank.batch([episode]), torch.from_numpy(bank.truth(episode))[None]
            support = model.condition(batch.support, batch.support_masks)
            done = model.segment(support, expect(Maps, batch.query), "cross", truth.shape[1:])
            there = float(expect(SimilaritySegmentation, done).presence)
            counts = count_pixels(done.mask, truth)[0].tolist()
            empty = count_pixels(torch.zeros_like(done.mask), truth)[0].tolist()
            rows[name].append((there, bool(done.mask.any()), counts, empty))
    labels, tried = np.array([e.label for e in shown]), {}
    for least in (0.0, *np.linspace(0.04, 0.4, 19).round(2)):
        kept = [row[2] if row[0] >= least else row[3] for row in rows["shown"]]
        gone = np.mean([row[0] < least or not row[1] for row in rows["free"]])
        missed = np.mean([row[0] < least or not row[1] for row in rows["shown"]])
        miou = mean_iou(np.array(kept), labels)
        tried[f"{least:.2f}"] = {
            "empty": round(float(gone), 4),
            "missed": round(float(missed), 4),
            "miou": round(miou, 5),
        }
    return tried


class EveryClass:
    """All twenty classes of VOC's validation photographs, as one data set."""

    def __init__(self, root: str):
        parts = [Pascal5i(root, fold, "novel", protocol=ALONE) for fold in range(4)]
        self.classes = parts[0].classes
        self._items = [(part, i) for part in parts for i in range(len(part))]
        self.labels = [part.labels[i] for part, i in self._items]

    def sources(self, index: int) -> frozenset:
        part, item = self._items[index]
        return part.sources(item)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part, item = self._items[index]
        return part[item]
