"""The world of a chapter in one line: scenes of a fold, their features, heads trained there."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from scl.datasets.bank import FeatureBank
from scl.datasets.folds import split_classes
from scl.datasets.toyshop import ToyshopSet
from scl.device import pick_device
from scl.method.episode import EpisodeIndex, EpisodeSampler
from scl.method.scl import SCL
from scl.models.backbones import EfficientNetLite0
from scl.models.build import ModelConfig, build_model
from scl.study.shipped_heads import shipped_model
from scl.toyshop import CLASSES, Atlas


@dataclass(frozen=True)
class World:
    """One fold of Toyshop-5^i as a chapter uses it.

    novel, base: scenes of the classes held out, and of those that train; backbone: frozen, shared
    by every model of the chapter.
    """

    fold: int
    novel: ToyshopSet
    base: ToyshopSet
    backbone: EfficientNetLite0
    device: torch.device
    _banks: dict[str, FeatureBank] = field(default_factory=dict, repr=False)

    def scenes(self, split: str = "novel") -> ToyshopSet:
        """Return the scenes of a split: "novel" or "base"."""
        if split not in ("novel", "base"):
            raise ValueError(f"split={split!r}: expected 'novel' or 'base'")
        return self.novel if split == "novel" else self.base

    def names(self, split: str = "novel") -> list[str]:
        """Name the classes of a split."""
        return [CLASSES[label] for label in dict.fromkeys(self.scenes(split).labels)]

    def bank(self, split: str = "novel") -> FeatureBank:
        """Compute the features of every scene of a split, once."""
        if split not in self._banks:
            encoder = build_model(ModelConfig(), backbone=self.backbone)
            self._banks[split] = FeatureBank(encoder, self.scenes(split), device=self.device)
        return self._banks[split]

    def episodes(
        self, count: int, shots: int = 1, seed: int = 0, split: str = "novel"
    ) -> list[EpisodeIndex]:
        """Draw a fixed list of episodes."""
        return EpisodeSampler(self.scenes(split), shots).fixed(count, seed)

    def trained(self, row: str = "scl", head: str = "canet") -> SCL:
        """Load a head that the course keeps, trained on the base classes (see shipped_model)."""
        return shipped_model(row, self.fold, head, self.backbone).to(self.device)


def world(
    fold: int = 2, scenes: int = 14, seed: int = 1001, size: int = 128, device: str = "auto"
) -> World:
    """Open a fold of Toyshop: `scenes` of each class, of `size` pixels a side, yet to be drawn.

    seed: other scenes for another seed. The stored tables were made with seeds below 1000, so that
    from 1001 on every scene is new to them. Scenes of base classes take the seed after it and show
    no novel class.
    """
    atlas, split = Atlas.load(), split_classes(len(CLASSES), fold)
    novel = ToyshopSet(atlas, split.novel, scenes, seed, size=size)
    base = ToyshopSet(atlas, split.base, scenes, seed + 1, split.base, size)
    place = pick_device(device)
    return World(fold, novel, base, EfficientNetLite0().to(place), place)
