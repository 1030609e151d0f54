"""Data sets of (image, mask, class): Toyshop scenes, and folders of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scl.photos import open_image, open_mask, square
from scl.toyshop import CLASSES, Atlas, Scene, compose

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


class ToyshopSet:
    """Scenes of Toyshop-5^i, composed when first asked for and then kept.

    labels: the classes that get scenes; per_class: scenes for each; allowed: classes that may
    stand about as distractors (for training: base classes only; for novel scenes: all);
    seed: another seed, other scenes; size: pixels a side; start: index of the first scene.
    """

    classes = CLASSES

    def __init__(
        self,
        atlas: Atlas,
        labels: Sequence[int],
        per_class: int,
        seed: int = 0,
        allowed: Sequence[int] | None = None,
        size: int = 128,
        start: int = 0,
    ):
        if per_class < 1:
            raise ValueError(f"per_class={per_class}: expected at least 1 scene a class")
        self.atlas, self.seed, self.size = atlas, seed, size
        self.labels = [int(label) for label in labels for _ in range(per_class)]
        self._index = [start + i for _ in labels for i in range(per_class)]
        every = range(len(CLASSES))
        self._allowed = tuple(CLASSES[i] for i in (every if allowed is None else allowed))
        self._scenes: dict[int, Scene] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def scene(self, index: int) -> Scene:
        """The whole scene: image, objects, parts."""
        if index not in self._scenes:
            name = CLASSES[self.labels[index]]
            self._scenes[index] = compose(
                self.atlas, self.seed, name, self._index[index], self._allowed, self.size
            )
        return self._scenes[index]

    def sources(self, index: int) -> frozenset:
        """The atlas views that a scene shows."""
        return self.scene(index).views

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        scene = self.scene(index)
        return scene.image, scene.mask

    def wrong_mask(self, index: int) -> np.ndarray:
        """The mask of the largest *other* object: a support painted by mistake."""
        objects = self.scene(index).objects
        sizes = np.bincount(objects.ravel(), minlength=3)
        sizes[:2] = 0
        if sizes.max() == 0:
            raise ValueError(f"scene {index} shows no object but its target")
        return (objects == sizes.argmax()).astype(np.uint8)


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
