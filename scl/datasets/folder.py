"""Folders of photographs with masks, a folder a class, as FSS-1000 lays them out."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scl.datasets.files import Transform, transformed
from scl.datasets.fit import BLACK, Letterbox
from scl.datasets.folds import FOLDS, Split, split_classes
from scl.datasets.items import check_shots
from scl.datasets.masks import MASK_ENDINGS
from scl.datasets.outlines import OUTLINE_ENDINGS
from scl.datasets.photos import read_pair

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
UNREAD_ENDINGS = (".heic", ".heif", ".gif", ".avif", ".jp2", ".dng", ".cr2", ".nef", ".arw", ".psd")
MARKED = re.compile(r"(.+)[_-]masks?", re.IGNORECASE)  # the name of a mask beside its photograph
TWINS = ("images", "masks")  # folders of photographs and of the masks of the same names

Pair = tuple[Path, Path]
Shelf = tuple[Path, Path]  # where the photographs of a class lie, and where their masks do


class ClassFolder:
    """Photographs at their own size with their masks, in a folder a class.

    See pairs_of for the names of masks, class_folders for those of classes. Both files are read
    upright, as their EXIF says, and must then have one size. classes: names to read, in this order
    (default: every folder, sorted); shots: every class must have images for episodes of so many
    supports (None: nothing is asked); transform: changes image and mask together. For folds, give
    EpisodeSampler labels from split_classes.
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
            raise ValueError(f"{root} has no class folder {missing}: it has {list(folders)}")
        pairs = [pairs_of(*folders[name]) for name in self.classes]
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
        return transformed(self.transform, *self.read(*self.files[index]))

    def read(self, path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Read a photograph and its mask; one whose shape looks like a mistake is warned of."""
        image, read = read_pair(path, mask_path, strict=False)
        if read.doubt:
            warnings.warn(f"{mask_path} {in_a_folder(read.doubt)}", stacklevel=2)
        return image, read.mask


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


# ---------------------------------------------------------------------- which files


def class_folders(root: Path) -> dict[str, Shelf]:
    """Find the classes of a folder, sorted: name to where photographs and masks lie.

    A class is a folder; with root/images and root/masks it is a folder in each of both, or, where
    they hold pictures themselves, there is one class, called as the root is.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected one folder per class in it")
    twins = _twins(root)
    if twins is None:
        return {path.name: _twins(path) or (path, path) for path in _folders(root)}
    images, masks = twins
    inner = {path.name: (path, masks / path.name) for path in _folders(images)}
    return inner or {root.resolve().name: twins}


def visible(folder: Path) -> list[Path]:
    """List what lies in a folder, sorted, without hidden files and what a Mac leaves behind."""
    return sorted(p for p in folder.iterdir() if p.name[0] != "." and p.name != "__MACOSX")


def photographs(folder: Path) -> list[Path]:
    """List the pictures of a folder that are not the masks of others in it."""
    pictures = [p for p in visible(folder) if p.is_file() and p.suffix.lower() in IMAGE_ENDINGS]
    by_stem = defaultdict(list)
    for path in pictures:
        by_stem[path.stem.casefold()].append(path)

    def is_mask(path: Path) -> bool:
        marked = MARKED.fullmatch(path.stem)
        if marked and marked[1].casefold() in by_stem:
            return True
        others = [p for p in by_stem[path.stem.casefold()] if p.suffix.lower() != ".png"]
        return path.suffix.lower() == ".png" and bool(others)

    return [path for path in pictures if not is_mask(path)]


def pairs_of(folder: Path, masks: Path | None = None) -> list[Pair]:
    """List photographs and masks of one class, by name.

    The mask of name.jpg is name.png, name_mask.png or name-mask.png beside it (or, with these
    names, a file of outlines); a folder of masks may hold it under the same names. In a folder of
    such pairs, a single name.png is taken for a mask that has lost its photograph.
    """
    masks = masks or folder
    if not folder.is_dir() or not masks.is_dir():
        raise ValueError(f"{masks if folder.is_dir() else folder} is missing: expected a folder")
    images, known = photographs(folder), _by_photograph(masks)
    if masks == folder and any(p.suffix.lower() != ".png" for p in images):
        images = [p for p in images if p.suffix.lower() != ".png" or _masks(p, known)]
    if not images:
        raise ValueError(f"{folder} holds no image: expected name.jpg with its mask name.png")
    first: dict[str, Path] = {}
    for path in images:
        other = first.setdefault(path.stem.casefold(), path)  # some file systems take A for a
        if other != path:
            raise ValueError(
                f"{path} and {other.name} would share one mask: expected one photograph of each "
                "name; rename one of them and its mask"
            )
    return [(path, _mask_of(path, masks, known)) for path in images]


def lonely_masks(shelf: Shelf, pairs: Sequence[Pair]) -> list[Path]:
    """List the pictures of a class's masks that no photograph has, where some have one."""
    own = {path for pair in pairs for path in pair}
    kinds = {mask.suffix.lower() for _, mask in pairs} - set(OUTLINE_ENDINGS)
    masks = visible(shelf[1]) if pairs else []
    return [p for p in masks if p.suffix.lower() in kinds and p not in own]


def unread(shelf: Shelf) -> list[Path]:
    """List the pictures of a class that are of a kind which is not read."""
    return [p for p in visible(shelf[0]) if p.suffix.lower() in UNREAD_ENDINGS]


def _mask_of(path: Path, masks: Path, known: dict[str, list[Path]]) -> Path:
    """Find the one mask of a photograph."""
    own = _masks(path, known)
    if not own:
        beside = masks == path.parent
        name = f"{path.stem}{'_mask' if beside and path.suffix.lower() == '.png' else ''}.png"
        raise ValueError(
            f"{path} has no mask: expected {name} {'beside it' if beside else f'in {masks}'}"
        )
    if len(own) > 1:
        raise ValueError(
            f"{path} has {len(own)} masks, {own[0].name} and {own[1].name}: expected one; remove "
            "the others"
        )
    return own[0]


def _by_photograph(folder: Path) -> dict[str, list[Path]]:
    """List what may be masks by the name of the photograph that they would belong to."""
    known = defaultdict(list)
    for path in visible(folder):
        if path.is_file() and path.suffix.lower() in MASK_ENDINGS:
            marked = MARKED.fullmatch(path.stem)
            for stem in (path.stem, *(marked.groups() if marked else ())):
                known[stem.casefold()].append(path)
    return known


def _masks(path: Path, known: dict[str, list[Path]]) -> list[Path]:
    """Pick those that are masks of a photograph; outlines count where no picture does."""
    beside = [
        p
        for p in known.get(path.stem.casefold(), [])
        if p.parent != path.parent
        or p.stem.casefold() != path.stem.casefold()
        or (p != path and p.suffix.lower() in (".png", *OUTLINE_ENDINGS))
    ]
    return [p for p in beside if p.suffix.lower() not in OUTLINE_ENDINGS] or beside


def _folders(root: Path) -> list[Path]:
    return [path for path in visible(root) if path.is_dir()]


def _twins(root: Path) -> Shelf | None:
    """Find root/images and root/masks, in either case of letters."""
    named = {path.name.casefold(): path for path in _folders(root)}
    return (named[TWINS[0]], named[TWINS[1]]) if all(name in named for name in TWINS) else None


# ----------------------------------------------------------------- reading and splits


def in_a_folder(doubt: str) -> str:
    """Say a doubt about a mask without the options of predict, which a folder does not have."""
    return f"{doubt.partition(':')[0]}: mend it, or keep it if it is right"


def split_folder(classes: int, fold: int, held_out: int = 0) -> Split:
    """Split any number of classes: in order of name, a quarter of them is novel."""
    if classes == 1 and fold == 0:
        raise ValueError(
            "fold 0 of one class holds it out, and leaves none to train on: expected more classes, "
            f"or --fold {FOLDS - 1}, which trains on it"
        )
    return split_classes(classes, fold, held_out, even=False)


def open_folder(
    root: str | Path,
    split: str,
    shots: int,
    transform: Transform | None,
    fold: int,
    held_out: int,
) -> ClassFolder:
    """Open all class folders, or a split: its classes in order of name, a quarter of them novel."""
    names = list(class_folders(Path(root)))
    if split == "all":
        return ClassFolder(root, names, shots, transform)
    parts = split_folder(len(names), fold, held_out)
    if split == "validation" and not parts.validation:
        raise ValueError(
            "a folder has no images apart from those that train: expected classes to select a "
            "checkpoint by (data.held_out=1 or more), or run.select=last"
        )
    wanted = {"train": parts.base, "validation": parts.validation}.get(split, parts.novel)
    if not wanted:
        raise ValueError(
            f"fold {fold} of the {len(names)} classes in {root} holds out none: expected --fold 0, "
            "or --split train"
        )
    return ClassFolder(root, [names[i] for i in wanted], shots, transform)
