"""PASCAL-5^i: twenty classes of VOC 2012, trained on with the masks of SBD as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from scl.datasets.files import Transform, check_files, first_folder, read_names
from scl.datasets.items import wanted_classes
from scl.datasets.listed import ListedItems
from scl.datasets.pictures import read_label_map
from scl.method.vectors import IGNORE

NAME, EXAMPLE = r"\d{4}_\d{6}", "2007_000032"
INSIDE = Path("benchmark_RELEASE") / "dataset"  # where SBD's archive keeps its data


@lru_cache(maxsize=1)
def pascal_classes() -> tuple[str, ...]:
    """List the names of classes 1..20, as torchvision has them; a label is one less."""
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    return tuple(FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"][1:])


PascalProtocol = Literal["published", "val-only"]


@dataclass(frozen=True)
class PascalTree:
    """Where the parts lie.

    voc: holds JPEGImages, SegmentationClass and ImageSets; sbd: holds cls, train.txt and val.txt,
    or None; aug: the folder SegmentationClassAug, or None; root: what was asked for.
    """

    root: Path
    voc: Path
    sbd: Path | None
    aug: Path | None

    def list_file(self, name: str, kind: str = "Segmentation") -> Path:
        """Say where a list of VOC lies, of its segmentations or of all objects (kind "Main")."""
        return self.voc / "ImageSets" / kind / f"{name}.txt"

    def names(self, name: str, kind: str = "Segmentation") -> list[str]:
        """Read the names in such a list."""
        return read_names(self.list_file(name, kind), NAME, EXAMPLE)

    def image_file(self, name: str) -> Path:
        """Say where a photograph lies; SBD's are all among VOC's."""
        return self.voc / "JPEGImages" / f"{name}.jpg"

    def own_masks(self) -> frozenset[str]:
        """List the images that VOC itself has masks for: those of its two lists."""
        lists = [name for name in ("train", "val") if self.list_file(name).is_file()]
        return frozenset(name for some in lists for name in self.names(some))

    def mask_file(self, name: str, own: frozenset[str]) -> Path:
        """Choose VOC's own mask where there is one, else SegmentationClassAug's, else SBD's.

        VOC's is drawn finer and marks doubtful borders with 255. SegmentationClassAug, which the
        published numbers used, was made in the same order of preference: from SBD's masks, with
        VOC's copied over them.
        """
        finest = self.voc / "SegmentationClass" / f"{name}.png"
        if finest.is_file():
            return finest
        # An image of VOC's lists whose mask is gone must not quietly get the coarser one.
        if name in own and finest.parent.is_dir():
            return finest
        if self.aug:
            return self.aug / f"{name}.png"
        return (self.sbd or self.root / INSIDE) / "cls" / f"{name}.mat"


def find_tree(root: str | Path) -> PascalTree:
    """Find VOC 2012 and SBD under a folder, in the layouts that their archives unpack to."""
    root = Path(root)
    voc = first_folder([root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"], "JPEGImages")
    if voc is None:
        raise ValueError(
            f"{root} holds no VOC 2012: expected VOCdevkit/VOC2012/JPEGImages in it; unpack "
            "VOCtrainval_11-May-2012.tar there, or run: python -m scl data download"
        )
    places = [root, root / "SBD", root / "sbd"]
    sbd = first_folder([*places, *(place / INSIDE for place in places)], "cls")
    aug = first_folder([voc, root], "SegmentationClassAug")
    return PascalTree(root, voc, sbd, aug and aug / "SegmentationClassAug")


def sbd_names(tree: PascalTree) -> dict[str, Path]:
    """List SBD's images outside VOC 2012's validation lists, in order, each with its list.

    The published list is train_noval.txt (5623 names). Where it is not at hand, the same is
    derived: all of SBD less whatever is in a validation list of VOC, the one of all objects
    (ImageSets/Main) included, sorted by name.
    """
    places = [place for place in (tree.sbd, tree.root, tree.list_file("x").parent) if place]
    published = first_folder(places, "train_noval.txt")
    if published:
        path = published / "train_noval.txt"
        return dict.fromkeys(read_names(path, NAME, EXAMPLE), path)
    if tree.sbd is None:
        raise ValueError(
            f"{tree.root} holds no list of SBD: expected benchmark_RELEASE/dataset (with cls, "
            "train.txt and val.txt) or train_noval.txt; unpack benchmark.tgz there, or run: "
            "python -m scl data download"
        )
    every: dict[str, Path] = {}
    for path in (tree.sbd / "val.txt", tree.sbd / "train.txt"):
        every |= dict.fromkeys(read_names(path, NAME, EXAMPLE), path)
    validation = {*tree.names("val"), *tree.names("val", "Main")}
    return {name: every[name] for name in sorted(set(every) - validation)}


def training_names(tree: PascalTree) -> dict[str, Path]:
    """List the training images (5953), each with its list: SBD's, then the others of VOC."""
    voc = dict.fromkeys(tree.names("train"), tree.list_file("train"))
    names = sbd_names(tree) | voc
    shared = set(names) & set(tree.names("val"))
    if shared:
        raise ValueError(
            f"{names[min(shared)]} lists {min(shared)}, which is in {tree.list_file('val')}: "
            "expected training and validation images apart; take the lists from their archives"
        )
    return names


def class_areas(paths: Mapping[str, Path]) -> dict[str, dict[int, int]]:
    """Count the pixels of each class by image: {name: {label: pixels}}. The slow part."""
    bar = tqdm(paths.items(), desc="masks", leave=False, disable=None)
    return {name: pixels_of(read_label_map(path)) for name, path in bar}


def pixels_of(labels: np.ndarray) -> dict[int, int]:
    """Count the pixels of each class in a label map: {label: pixels}."""
    pixels = np.bincount(labels.ravel(), minlength=256)[1:21]
    return {label: int(count) for label, count in enumerate(pixels) if count}


def class_mask(labels: np.ndarray, label: int) -> np.ndarray:
    """Mark one class by 1, borders by 255; all other classes are background."""
    mask = (labels == label + 1).astype(np.uint8)
    mask[labels == IGNORE] = IGNORE
    return mask


class Pascal5i(ListedItems):
    """PASCAL-5^i: fold i holds out classes 5i..5i+4 of the twenty.

    root: a folder with VOC 2012 and SBD (see find_tree); split: "train" (base classes in SBD's and
    VOC's training images; those that also show novel classes are kept, with these as background),
    "novel" or "test" (novel classes in VOC's validation images), "validation" (base classes
    in VOC's validation images, to choose settings by: the `held_out` ones, which training leaves
    out, or all if held_out is 0);
    protocol: "published", or "val-only", which trains on validation images, too: on those that show
    no pixel of a novel class, listed in base_only_foldF.txt. Training and novel classes then share
    neither a class nor an image, but there are five times fewer images than in the published one;
    shots: every class must have images for episodes of so many supports; transform: changes image
    and mask together. Every mask is read at the start, to know which classes it shows.
    """

    def __init__(
        self,
        root: str | Path,
        fold: int,
        split: str,
        shots: int = 1,
        transform: Transform | None = None,
        held_out: int = 0,
        protocol: PascalProtocol = "published",
    ):
        classes = pascal_classes()
        wanted = wanted_classes(split, len(classes), fold, held_out, "contiguous")
        self.tree = tree = find_tree(root)
        self._own = tree.own_masks()
        where: object = tree.list_file("val")
        if protocol == "val-only":
            if split == "validation" and not held_out:
                raise ValueError(
                    "val-only: training takes every image without a novel class, so none is left "
                    "to choose settings by: hold base classes out (held_out=3)"
                )
            listed = "val" if split in ("novel", "test") else f"base_only_fold{fold}"
            where = tree.list_file(listed)
            names = dict.fromkeys(tree.names(listed), where)
        elif split == "train":
            names = training_names(tree)
            where = f"{tree.list_file('train')} and the lists in {tree.sbd or tree.root}"
        else:
            names = dict.fromkeys(tree.names("val"), tree.list_file("val"))
        masks = {name: self.mask_file(name) for name in names}
        check_files((tree.image_file(name), path) for name, path in names.items())
        check_files((masks[name], path) for name, path in names.items())
        super().__init__(classes, wanted, class_areas(masks), shots, transform, where)

    def image_file(self, key: str) -> Path:
        return self.tree.image_file(key)

    def mask_file(self, key: str) -> Path:
        return self.tree.mask_file(key, self._own)

    def mask(self, key: str, label: int) -> np.ndarray:
        return class_mask(read_label_map(self.mask_file(key)), label)


# The data set "pascal-val" of the registry: nothing but VOC's validation part is needed for it.
open_val_only = partial(Pascal5i, protocol="val-only")
