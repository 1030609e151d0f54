"""From a name to a data set: the benchmarks, a class folder, or Toyshop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scl.datasets.folds import split_classes
from scl.datasets.toyshop import NOVEL_PER_CLASS, PER_CLASS, ToyshopSet
from scl.method.episode import Dataset
from scl.toyshop import CLASSES, Atlas

Transform = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NAMES = ("pascal", "coco", "fss", "folder", "toyshop")


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    name: "pascal", "coco", "fss", "folder" or "toyshop"; root: its folder; fold: 0..3; grouping:
    of COCO's folds; side: pixels of a training image; augment: "pfenet", "canet" or "none"; order:
    see TrainingEpisodes; keep: decoded images on the "device", in "memory", decoded anew by a
    "loader", or "auto", the first that fits (on the CPU the loader); canvas: pixels a side of a
    kept image (None: the data set's largest); workers: processes of the loader; held_out: base
    classes that training leaves out, to select a checkpoint by (0: all base classes select it, in
    images that training does not see).
    """

    name: str = "pascal"
    root: str | None = None
    fold: int = 0
    grouping: str = "interleaved"
    side: int = 473
    augment: str = "pfenet"
    order: Literal["image", "class"] = "image"
    keep: Literal["auto", "device", "memory", "loader"] = "auto"
    canvas: int | None = None
    workers: int = 2
    held_out: int = 0


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
    parts = split_classes(len(CLASSES), data.fold, data.held_out)
    if split == "train":
        labels, count, seed, about = parts.base, PER_CLASS, 0, parts.base
    else:
        # No validation scene may show a novel class, not even standing about.
        known = parts.base + parts.validation
        labels, about = {"validation": (parts.validation or known, known)}.get(
            split, (parts.novel, None)
        )
        count, seed = NOVEL_PER_CLASS, 1
    return ToyshopSet(Atlas.load(), labels, count, seed, about, data.side)


def _pascal(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    from scl.datasets.pascal import Pascal5i

    return Pascal5i(data.root, data.fold, split, shots, transform, held_out=data.held_out)


def _coco(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    from scl.datasets.coco import Coco20i

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
    from scl.datasets.fss import FSS1000

    return FSS1000(data.root, split, shots, transform)


def _folder(data: DataConfig, split: str, shots: int, transform: Transform | None) -> Dataset:
    """A folder of class folders: its classes in order of name, a quarter of them novel."""
    from scl.datasets.folder import ClassFolder

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
