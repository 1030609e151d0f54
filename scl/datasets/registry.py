"""The data sets by name: one table that the command line, recipes and the verifier read.

A new data set is one entry here, and everything else follows from it; its class, a `Dataset` of
scl.method.episode, may turn a split into classes by scl.datasets.items.wanted_classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the table is read without importing what it names
    from scl.datasets.files import Transform
    from scl.method.episode import Dataset

Keep = Literal["auto", "features", "device", "memory", "loader"]


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    name: of an entry of DATA_SETS; root: its folder; fold: 0..3; grouping: of COCO's folds; side:
    pixels of a training image; augment: "pfenet", "pfenet-coco" (as released for COCO), "canet" or
    "none"; order: see TrainingEpisodes; keep: what is kept between steps, see below; canvas: pixels
    a side of a kept image (None: the data set's own); workers: processes of the loader; held_out:
    base classes that training leaves out, to select a checkpoint by (0: all base classes select it,
    in images that training does not see).

    keep is one of

    "features"  The backbone's maps of every item, computed once before the first step, and of those
                that validation shows, before its first time. Only where they are always the same:
                augment "none", and a backbone whose statistics are frozen (model.rules.statistics).
                At most half of the device's free memory, shared by the processes of a CPU; more is
                refused, or, of validation, computed again each time.
    "device"    Decoded images on the device; in memory, if it has no room for them.
    "memory"    Decoded images in memory.
    "loader"    Nothing: images are decoded anew, by processes beside the training.
    "auto"      Features, where they may be kept, fit, and are fewer than the images that the steps
                would encode; else decoded images where a GPU trains and they fit; else the loader.
    """

    name: str = "pascal"
    root: str | None = None
    fold: int = 0
    grouping: str = "interleaved"
    side: int = 473
    augment: str = "pfenet"
    order: Literal["image", "class", "pair"] = "image"
    keep: Keep = "auto"
    canvas: int | None = None
    workers: int = 2
    held_out: int = 0


@dataclass(frozen=True)
class Entry:
    """What the rest of the package knows of a data set.

    Functions are given themselves or as "module:name", which is imported when it is called.
    open: makes a Dataset from the keywords split, shots, transform and those fields of DataConfig
    that `takes` names; items have their original size unless the transform changes them. classes:
    how many (None: as many as the folder holds); canvas: pixels of the longest side of its images
    (None: the training size); folds: "needed", "optional" (without one: all classes, the split
    "all") or "none"; composed: pixels a side by default, of images that have no size of their own.
    verify: (Findings, root, fold or None, year); fetch: (root, archives at hand, year).
    """

    open: str | Callable[..., Dataset]
    verify: str | Callable[..., None] | None = None
    fetch: str | Callable[..., None] | None = None
    takes: tuple[str, ...] = ("root",)
    classes: int | None = None
    canvas: int | None = None
    folds: Literal["needed", "optional", "none"] = "needed"
    composed: int | None = None


def _benchmark(name: str, opened: str, *takes: str, **known) -> Entry:
    """Make the entry of a published benchmark, whose functions are named after it."""
    fetch = "scl.datasets.fetch"
    functions = f"{fetch}.verify:verify_{name}", f"{fetch}.download:fetch_{name}"
    return Entry(f"scl.datasets.{name}:{opened}", *functions, ("root", *takes), **known)


DATA_SETS: dict[str, Entry] = {
    "pascal": _benchmark("pascal", "Pascal5i", "fold", "held_out", classes=20, canvas=500),
    "pascal-val": Entry(
        "scl.datasets.pascal:open_val_only",
        verify="scl.datasets.fetch.verify:verify_pascal_val",
        takes=("root", "fold", "held_out"),
        classes=20,
        canvas=500,
    ),
    "coco": _benchmark("coco", "Coco20i", "fold", "held_out", "grouping", classes=80, canvas=640),
    "fss": _benchmark("fss", "FSS1000", classes=1000, canvas=224, folds="none"),
    "folder": Entry(
        "scl.datasets.folder:open_folder",
        verify="scl.datasets.fetch.verify:verify_folder",
        takes=("root", "fold", "held_out"),
        folds="optional",
    ),
    "toyshop": Entry(
        "scl.datasets.toyshop:open_toyshop",
        takes=("fold", "held_out", "side"),
        classes=20,
        composed=128,
    ),
}


def names(can: Literal["open", "verify", "fetch"] = "open") -> tuple[str, ...]:
    """List the data sets that can be opened, verified or fetched."""
    return tuple(name for name, entry in DATA_SETS.items() if getattr(entry, can) is not None)


def overview() -> str:
    """Say of every data set what it is and needs, for --help."""
    return "; ".join(
        f"{name}: {entry.classes or 'your own'} classes"
        + (", --root" if "root" in entry.takes else "")
        + {"needed": ", --fold", "optional": ", --fold if wanted", "none": ""}[entry.folds]
        for name, entry in DATA_SETS.items()
    )


def find(name: str) -> Entry:
    """Return the entry of a data set."""
    if name not in DATA_SETS:
        raise ValueError(f"data={name!r}: expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def resolve(function: str | Callable) -> Callable:
    """Return a function of an entry, imported where "module:name" stands for it."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def open_data(
    data: DataConfig, split: str, shots: int = 1, transform: Transform | None = None
) -> Dataset:
    """Open a split: "train" (base classes), "validation" (held out), "novel" or its own."""
    entry = find(data.name)
    own = {name: getattr(data, name) for name in entry.takes}
    if own.get("root", "") is None:
        raise ValueError(f"--data {data.name} needs --root: name its folder by --root")
    return resolve(entry.open)(split=split, shots=shots, transform=transform, **own)


def open_to_test(data: DataConfig, split: str, shots: int, fold: int | None) -> Dataset:
    """Open what an evaluation asks for; without a fold, all classes where folds are optional."""
    folds = find(data.name).folds
    if fold is None and folds == "needed":
        raise ValueError(f"--data {data.name} needs --fold: 0, 1, 2 or 3")
    return open_data(data, "all" if fold is None and folds == "optional" else split, shots)


def canvas_of(data: DataConfig) -> int:
    """Return the pixels a side of a kept image: as configured, or as its data set has them."""
    return data.canvas or find(data.name).canvas or data.side
