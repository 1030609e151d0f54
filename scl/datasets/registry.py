"""The data sets by name: one table that the command line, recipes and the verifier read.

A new data set is one entry here, and everything else follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the table is read without importing what it names
    from scl.datasets.files import Transform
    from scl.method.episode import Dataset


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    name: of an entry of DATA_SETS; root: its folder; fold: 0..3; grouping: of COCO's folds; side:
    pixels of a training image; augment: "pfenet", "canet" or "none"; order: see TrainingEpisodes;
    keep: decoded images on the "device", in "memory", decoded anew by a "loader", or "auto", the
    first that fits (on the CPU the loader); canvas: pixels a side of a kept image (None: the data
    set's own); workers: processes of the loader; held_out: base classes that training leaves out,
    to select a checkpoint by (0: all base classes select it, in images that training does not see).
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


@dataclass(frozen=True)
class Entry:
    """What the rest of the package knows of a data set.

    Functions are given themselves or as "module:name", which is imported when it is called.
    open: (DataConfig, split, shots, transform) to a Dataset; its items have their original size
    unless the transform changes them. classes: how many (None: as many as the folder holds);
    canvas: pixels of the longest side of its images (None: the training size); root: must a folder
    be named? folds: "needed", "optional" (without one: all classes, the split "all") or "none";
    composed: pixels a side by default, of images that are drawn at the size that is asked for.
    verify: (Verification, root, fold or None, year); fetch: (root, archives at hand, year).
    """

    open: str | Callable[..., Dataset]
    classes: int | None = None
    canvas: int | None = None
    root: bool = True
    folds: Literal["needed", "optional", "none"] = "needed"
    composed: int | None = None
    verify: str | Callable[..., None] | None = None
    fetch: str | Callable[..., None] | None = None


VERIFIERS, FETCHERS = "scl.datasets.fetch.verify", "scl.datasets.fetch.download"
DATA_SETS: dict[str, Entry] = {
    "pascal": Entry(
        "scl.datasets.pascal:open_pascal",
        classes=20,
        canvas=500,
        verify=f"{VERIFIERS}:verify_pascal",
        fetch=f"{FETCHERS}:fetch_pascal",
    ),
    "coco": Entry(
        "scl.datasets.coco:open_coco",
        classes=80,
        canvas=640,
        verify=f"{VERIFIERS}:verify_coco",
        fetch=f"{FETCHERS}:fetch_coco",
    ),
    "fss": Entry(
        "scl.datasets.fss:open_fss",
        classes=1000,
        canvas=224,
        folds="none",
        verify=f"{VERIFIERS}:verify_fss",
        fetch=f"{FETCHERS}:fetch_fss",
    ),
    "folder": Entry(
        "scl.datasets.folder:open_folder", folds="optional", verify=f"{VERIFIERS}:verify_folder"
    ),
    "toyshop": Entry("scl.datasets.toyshop:open_toyshop", classes=20, root=False, composed=128),
}


def names(can: Literal["open", "verify", "fetch"] = "open") -> tuple[str, ...]:
    """List the data sets that can be opened, verified or fetched."""
    return tuple(name for name, entry in DATA_SETS.items() if getattr(entry, can) is not None)


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
    if entry.root and data.root is None:
        raise ValueError(f"--data {data.name} needs --root: name its folder by --root")
    return resolve(entry.open)(data, split, shots, transform)


def canvas_of(data: DataConfig) -> int:
    """Say how many pixels a side an image needs when it is kept: as configured, or by the entry."""
    return data.canvas or find(data.name).canvas or data.side


def open_to_test(data: DataConfig, split: str, shots: int, fold: int | None) -> Dataset:
    """Open what an evaluation asks for; without a fold, all classes where folds are optional."""
    folds = find(data.name).folds
    if fold is None and folds == "needed":
        raise ValueError(f"--data {data.name} needs --fold: 0, 1, 2 or 3")
    return open_data(data, "all" if fold is None and folds == "optional" else split, shots)
