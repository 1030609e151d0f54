"""A folder of photographs with masks, a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scl.datasets.photos import open_image, open_mask, square

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


class FolderDataset:
    """Photographs in the FSS-1000 layout: root/class/name.jpg with root/class/name.png.

    A mask pixel above 127 is the object. Each photograph is shrunk or enlarged until its longer
    side has `size` pixels, and padded to a square at the bottom and right; padding is ignored
    (255). classes: names to read, in this order (default: every folder, sorted).
    """

    def __init__(self, root: str | Path, size: int = 128, classes: Sequence[str] | None = None):
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is no folder: expected one folder per class in it")
        folders = sorted(p.name for p in root.iterdir() if p.is_dir())
        self.classes = tuple(classes or folders)
        missing = [name for name in self.classes if name not in folders]
        if missing or not self.classes:
            raise ValueError(f"{root} has no class folder {missing}: it has {folders}")
        self.root, self.size = root, size
        self.files: list[tuple[Path, Path]] = []
        self.labels: list[int] = []
        for label, name in enumerate(self.classes):
            pairs = _pairs(root / name)
            self.files += pairs
            self.labels += [label] * len(pairs)
        self._loaded: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def sources(self, index: int) -> frozenset:
        """A photograph shares material with itself alone."""
        return frozenset((str(self.files[index][0]),))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index not in self._loaded:
            path, mask_path = self.files[index]
            image = open_image(path, "RGB")
            self._loaded[index] = square(image, open_mask(mask_path, image.size), self.size)
        return self._loaded[index]


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Image and mask files of one class, by name; a .png beside a .jpg is its mask."""
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS[:2])
    lonely = [p for p in images if not p.with_suffix(".png").is_file()]
    if lonely:
        raise ValueError(f"{lonely[0]} has no mask: expected {lonely[0].stem}.png beside it")
    if not images:
        raise ValueError(f"{folder} holds no image: expected name.jpg with its mask name.png")
    return [(p, p.with_suffix(".png")) for p in images]
