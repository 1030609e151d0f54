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
from scl.datasets.kept import KeptCells
from scl.datasets.pascal import Pascal5i
from scl.datasets.toyshop import ToyshopSet
from scl.files import versions, write_json
from scl.method.episode import Dataset, Episodes
from scl.method.records import Maps
from scl.method.similarity import SimilarityConfig
from scl.method.vectors import IGNORE
from scl.method.words import expect
from scl.models.backbones.lite0 import ALL_STAGES, EfficientNetLite0
from scl.models.checkpoint import save_weights
from scl.models.general import FOLDER
from scl.models.prototypes import Prototypes
from scl.study.side_by_side import drawn_batches, learn
from scl.toyshop import CLASSES, Atlas
from scl.training.trainer import TrainConfig

SIDE = 256
CONFIG = SimilarityConfig()
PLAN = TrainConfig(steps=600, batch=16, lr=3e-3)
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


def make(root: str, kept: Path, folder: Path = FOLDER, plan: TrainConfig = PLAN) -> Path:
    """Train the general model on VOC's validation photographs and on toys; write it to a folder."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    backbone = EfficientNetLite0(kept=ALL_STAGES)
    encoder, fit = Prototypes(backbone, "cosine"), Fit(SIDE, "whole")
    photographs = KeptCells(encoder, EveryClass(root), fit, kept, progress=True)
    toys = ToyshopSet(Atlas.load(), range(len(CLASSES)), 40, seed=11)
    scenes = KeptCells(encoder, toys, fit, kept, progress=True)
    wild = KeptCells(encoder, Wild(toys), fit, kept, progress=True)
    print("features", round(time.perf_counter() - start), flush=True)
    start = time.process_time()
    sources = [
        drawn_batches(photographs, plan.batch - TOYS, plan.seed, ABSENT),
        drawn_batches(scenes, TOYS // 2, plan.seed + 1, ABSENT),
        drawn_batches(wild, TOYS // 2, plan.seed + 2, ABSENT),
    ]
    batches = map(joined, zip(*sources, strict=True))
    model = learn({"general": CONFIG}, batches, plan, backbone)["general"]
    seconds = round(time.process_time() - start)
    sha = save_weights(model.head, folder / "weights.safetensors")
    record = {"config": asdict(CONFIG), "plan": asdict(plan), "side": SIDE, "resize": "whole"}
    record |= {"fusion": "cross", "cpu_seconds": seconds, "versions": versions(), "sha256": sha}
    write_json(folder / "record.json", record)
    return folder


class EveryClass:
    """All twenty classes of VOC's validation photographs, as one data set."""

    def __init__(self, root: str):
        parts = [Pascal5i(root, fold, "novel", protocol="val-only") for fold in range(4)]
        self.classes = parts[0].classes
        self._items = [(part, i) for part in parts for i in range(len(part))]
        self.labels = [part.labels[i] for part, i in self._items]

    def sources(self, index: int) -> frozenset:
        part, item = self._items[index]
        return part.sources(item)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part, item = self._items[index]
        return part[item]
