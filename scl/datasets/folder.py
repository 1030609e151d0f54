"""Folders of photographs with masks, a folder a class, as FSS-1000 lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scl.datasets.files import Transform, transformed
from scl.datasets.fit import BLACK, Letterbox
from scl.datasets.folds import split_classes
from scl.datasets.items import check_shots
from scl.datasets.photos import read_pair
from scl.datasets.pictures import intact_png

IMAGE_ENDINGS = (".jpg", ".jpeg")


class ClassFolder:
    """Photographs at their own size: root/class/name.jpg with its mask root/class/name.png.

    A mask pixel above 127 is the object. Both are read upright, as their EXIF says, and must then
    have one size. classes: names to read, in this order (default: every folder, sorted); shots:
    every class must have images for episodes of so many supports (None: nothing is asked);
    transform: changes image and mask together. For folds, give EpisodeSampler labels from
    split_classes.
    """

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str] | None = None,
        shots: int | None = 1,
        transform: Transform | None = None,
    ):
        self.root, self.shots, self.transform = Path(root), shots, transform
        folders = class_folders(self.root)
        self.classes = tuple(classes or folders)
        missing = [name for name in self.classes if name not in folders]
        if missing or not self.classes:
            raise ValueError(f"{root} has no class folder {missing}: it has {folders}")
        pairs = [pairs_of(self.root / name) for name in self.classes]
        self.files = [pair for own in pairs for pair in own]
        self.labels: Sequence[int] = [label for label, own in enumerate(pairs) for _ in own]
        if shots is not None:
            check_shots(self.classes, self.labels, range(len(self.classes)), shots, root)

    def __len__(self) -> int:
        return len(self.files)

    def sources(self, index: int) -> frozenset:
        """Name the photograph: it shares material with itself alone."""
        return frozenset((str(self.files[index][0]),))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return transformed(self.transform, *read_intact(*self.files[index]))


class FolderDataset(ClassFolder):
    """The photographs of the stored tables: squares of `size` pixels, kept once they are read.

    The longer side gets `size` pixels; the rest, at the bottom and right, is black and ignored.
    """

    def __init__(self, root: str | Path, size: int = 128, classes: Sequence[str] | None = None):
        super().__init__(root, classes, None, Letterbox(size, BLACK))
        self._read: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index not in self._read:
            self._read[index] = super().__getitem__(index)
        return self._read[index]


def class_folders(root: Path) -> list[str]:
    """List the names of the folders in a folder, sorted."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected one folder per class in it")
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    """List image and mask files of one class, by name; a .png beside a .jpg is its mask."""
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS)
    lonely = [p for p in images if not p.with_suffix(".png").is_file()]
    if lonely:
        raise ValueError(f"{lonely[0]} has no mask: expected {lonely[0].stem}.png beside it")
    if not images:
        raise ValueError(f"{folder} holds no image: expected name.jpg with its mask name.png")
    return [(p, p.with_suffix(".png")) for p in images]


def read_intact(path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a photograph and its mask, whose checksums must hold; see read_pair."""
    intact_png(mask_path)
    return read_pair(path, mask_path)


def open_folder(
    root: str | Path,
    split: str,
    shots: int,
    transform: Transform | None,
    fold: int,
    held_out: int,
) -> ClassFolder:
    """Open all class folders, or a split: its classes in order of name, a quarter of them novel."""
    names = class_folders(Path(root))
    if split == "all":
        return ClassFolder(root, names, shots, transform)
    parts = split_classes(len(names), fold, held_out)
    if split == "validation" and not parts.validation:
        raise ValueError(
            "a folder has no images apart from those that train: expected classes to select a "
            "checkpoint by (data.held_out=1 or more), or run.select=last"
        )
    wanted = {"train": parts.base, "validation": parts.validation}.get(split, parts.novel)
    return ClassFolder(root, [names[i] for i in wanted], shots, transform)
