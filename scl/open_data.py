"""From a name to a data set: the benchmarks, a class folder, or Toyshop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from scl.datasets import ToyshopSet
from scl.episode import Dataset
from scl.experiments import Protocol
from scl.folds import split_classes
from scl.toyshop import CLASSES, Atlas

if TYPE_CHECKING:
    from scl.recipe import DataConfig

Transform = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NAMES = ("pascal", "coco", "fss", "folder", "toyshop")


def open_data(
    data: DataConfig, split: str, shots: int = 1, transform: Transform | None = None
) -> Dataset:
    """A split of a data set: "train" (base classes), "validation" (held out) or "novel".

    Items are at their original size unless a transform changes them; Toyshop's scenes are composed
    at data.side.
    """
    if data.name not in NAMES:
        raise ValueError(f"data={data.name!r}: expected one of {NAMES}")
    if data.name == "toyshop":
        return _toyshop(data, split)
    if data.root is None:
        raise ValueError(f"data={data.name!r} without a root: name its folder by --root")
    return _BENCHMARKS[data.name](data, split, shots, transform)


def _toyshop(data: DataConfig, split: str) -> ToyshopSet:
    """Scenes as the stored tables have them: training and test scenes share no seed."""
    parts, sizes = split_classes(len(CLASSES), data.fold, data.held_out), Protocol()
    if split == "train":
        labels, count, seed, about = parts.base, sizes.per_class, 0, parts.base
    else:
        # No validation scene may show a novel class, not even standing about.
        known = parts.base + parts.validation
        labels, about = {"validation": (parts.validation or known, known)}.get(
            split, (parts.novel, None)
        )
        count, seed = sizes.novel_per_class, 1
    return ToyshopSet(Atlas.load(), labels, count, seed, about, data.side)


def _pascal(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    from scl.benchmarks import Pascal5i

    return Pascal5i(data.root, data.fold, split, shots, transform, held_out=data.held_out)


def _coco(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    from scl.benchmarks import Coco20i

    return Coco20i(
        data.root,
        data.fold,
        split,
        shots,
        transform,
        grouping=data.grouping,
        held_out=data.held_out,
    )


def _fss(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    from scl.benchmarks import FSS1000

    return FSS1000(data.root, split, shots, transform)


def _folder(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    """A folder of class folders: its classes in order of name, a quarter of them novel."""
    from scl.benchmarks import ClassFolder

    names = ClassFolder(data.root).classes
    parts = split_classes(len(names), data.fold, data.held_out)
    if split == "validation" and not parts.validation:
        raise ValueError(
            "a folder has no images apart from those that train: expected classes to select a "
            "checkpoint by (data.held_out=1 or more), or run.select=last"
        )
    wanted = {"train": parts.base, "validation": parts.validation}.get(split, parts.novel)
    return ClassFolder(data.root, [names[i] for i in wanted], shots, transform)


_BENCHMARKS = {"pascal": _pascal, "coco": _coco, "fss": _fss, "folder": _folder}
