"""Is a data set on disk the published one, whole, and cleanly split? Every file is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from scl.datasets import coco, fss, pascal, registry
from scl.datasets.fetch.findings import Findings
from scl.datasets.fetch.sums import check_sums, write_sums
from scl.datasets.folder import (
    Pair,
    class_folders,
    lonely_masks,
    pairs_of,
    split_folder,
    unread,
)
from scl.datasets.folds import FOLDS, split_classes
from scl.datasets.items import MIN_AREA, Areas, ItemSet, wanted_classes
from scl.datasets.photos import read_pair, read_published
from scl.datasets.pictures import open_picture, read_label_map


def verify(
    data: str,
    root: str | Path,
    fold: int | None = None,
    subset: bool = False,
    year: str = "2014",
    sums: str | Path | None = None,
) -> Findings:
    """Read every file of a data set, compare its numbers and look for classes that leak.

    data: of the registry; fold: the one to look at (default: all four); subset: do not compare
    with the published numbers; year: of COCO; sums: a list of checksums to compare with, which is
    written where it does not exist yet and nothing was found.
    """
    checks = registry.find(data).verify
    if checks is None:
        expected = ", ".join(registry.names("verify"))
        raise ValueError(f"data={data!r} cannot be verified: expected one of {expected}")
    if fold is not None:
        split_classes(FOLDS, fold)  # complains about a fold that is none
    root, found = Path(root), Findings(compare=not subset)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected the one that holds the data set")
    registry.resolve(checks)(found, root, fold, year)
    if sums and Path(sums).exists():
        found.findings += found.attempt(check_sums, root, Path(sums)) or []
    elif sums and found.ok:
        found.count("files whose checksum was noted", write_sums(root, Path(sums)), Path(sums))
    return found


def verify_pascal(found: Findings, root: Path, fold: int | None, year: str) -> None:
    """Read VOC 2012 and SBD, and judge the folds of PASCAL-5^i."""
    tree = found.attempt(pascal.find_tree, root)
    parts = tree and [found.attempt(tree.names, name) for name in ("train", "val")]
    sbd = tree and found.attempt(pascal.sbd_names, tree)
    if not (tree and all(parts) and sbd):
        return
    voc, validation = parts
    training = list(dict.fromkeys([*sbd, *voc]))
    sbd_file = next(iter(sbd.values()))
    found.count("SBD training images", len(sbd), sbd_file)
    found.count("VOC training images", len(voc), tree.list_file("train"))
    found.count("training images in both", len(set(sbd) & set(voc)), sbd_file)
    found.count("training images", len(training), sbd_file)
    found.count("validation images", len(validation), tree.list_file("val"))
    found.apart(training, validation, sbd_file)
    areas = [_read_voc(found, tree, names) for names in (training, validation)]
    _judge(found, pascal.pascal_classes(), areas, fold, "contiguous", sbd_file)


def verify_pascal_val(found: Findings, root: Path, fold: int | None, year: str) -> None:
    """Read VOC 2012's validation part, and judge PASCAL-5^i trained and tested on it alone."""
    tree = found.attempt(pascal.find_tree, root)
    names = tree and found.attempt(tree.names, "val")
    if not (tree and names):
        return
    found.count("photographs", len(names), tree.list_file("val"))
    areas, classes = _read_voc(found, tree, names), pascal.pascal_classes()
    for place in range(FOLDS) if fold is None else (fold,):
        where = tree.list_file(f"base_only_fold{place}")
        training = found.attempt(tree.names, where.stem)
        if training is None:
            continue
        novel = wanted_classes("novel", len(classes), place, 0, "contiguous")
        shown = {name: set(areas[name]) & set(novel) for name in training if name in areas}
        what = f"fold {place}: training photographs"
        remedy = "list the photographs of val.txt that show no novel class"
        found.count(what, len(training), where)
        found.count(f"{what} not in val.txt", len({*training} - {*names}), where, 0, remedy)
        mixed = sum(map(bool, shown.values()))
        found.count(f"{what} with novel classes", mixed, where, 0, remedy)
        found.attempt(ItemSet, classes, novel, areas, 1, None, tree.list_file("val"))


def _read_voc(
    found: Findings, tree: pascal.PascalTree, names: Iterable[str]
) -> dict[str, dict[int, int]]:
    """Read photographs and masks, and count the pixels of each class by photograph."""
    own = tree.own_masks()

    def read(name: str) -> dict[int, int]:
        labels = read_label_map(tree.mask_file(name, own))
        open_picture(tree.image_file(name), labels.shape[::-1])
        return pascal.pixels_of(labels)

    return _read_each(found, read, names)


def verify_coco(found: Findings, root: Path, fold: int | None, year: str) -> None:
    """Read a year of COCO, and judge the folds of COCO-20^i."""
    parts = []
    for name in (f"train{year}", f"val{year}"):
        tree = found.attempt(coco.find_coco, root, name)
        pictures = tree and found.attempt(coco.read_instances, tree.instances)
        if not pictures:
            return
        found.count(f"images of {name}", len(pictures), tree.instances)
        parts.append((tree, pictures))
    where = parts[0][0].instances
    found.apart(parts[0][1], parts[1][1], where)

    def read(tree: coco.CocoTree, pictures: Mapping, key: int) -> dict[int, int]:
        picture = pictures[key]
        open_picture(tree.images / picture.file_name, (picture.width, picture.height))
        masks = {label: coco.paint(tree.instances, picture, label) for label in picture.objects}
        return {label: int((mask == 1).sum()) for label, mask in masks.items()}

    areas = [_read_each(found, partial(read, tree, pictures), pictures) for tree, pictures in parts]
    _judge(found, tuple(coco.coco_categories().values()), areas, fold, "interleaved", where)


def verify_fss(found: Findings, root: Path, fold: int | None, year: str) -> None:
    """Read the class folders of FSS-1000 and the lists of its splits."""
    lists = fss.class_lists(root)
    named = {split: found.attempt(fss.read_class_lists, {split: lists[split]}) for split in lists}
    named = {split: names[split] for split, names in named.items() if names}
    found.attempt(fss.read_class_lists, {split: lists[split] for split in named})
    found.findings += [
        f"{root / files[0]} is missing: write the {split} classes into it, one a line (the authors "
        "publish those of the test as fss_test_set.txt)"
        for split, files in fss.LISTS.items()
        if found.compare and split not in lists
    ]
    folder = fss.find_fss(root)
    pairs, _ = _read_folder(found, folder, lambda *pair: read_published(*pair)[0])
    found.count("class folders", len(pairs), folder)
    found.count("pairs", sum(map(len, pairs.values())), folder)
    for split, names in named.items():
        found.count(f"{split} classes", len(names), lists[split])
        found.findings += [
            f"{folder / name} is missing, but {lists[split]} lists it: unpack the archive again"
            for name in names
            if name not in pairs
        ]


def verify_folder(found: Findings, root: Path, fold: int | None, year: str) -> None:
    """Read class folders; look for one picture twice, and for what no episode can be made of."""

    def read(path: Path, mask: Path) -> np.ndarray:
        image, marks = read_pair(path, mask, strict=False)
        found.shape(mask, marks)
        return image

    pairs, seen = _read_folder(found, root, read)
    names = list(pairs)
    if not names:
        found.findings.append(
            f"{root} holds no class folder: expected CLASS/name.jpg with its mask CLASS/name.png"
        )
    found.count("classes", len(names), root)
    found.findings += [
        f"class {name!r} has 1 photograph, and an episode of one shot and a query needs 2: add "
        "one, or remove the folder"
        for name, own in pairs.items()
        if len(own) == 1
    ]
    novel = set() if fold is None else {names[i] for i in split_folder(len(names), fold).novel}
    for files in seen.values():
        owners = {name for name, _ in files}
        first, second = (path for _, path in files[:2])
        if len(owners) == 1:
            found.findings.append(
                f"{first} and {second} are the same picture: a query must not be its own support; "
                "remove one of them"
            )
        elif fold is None or 0 < len(owners & novel) < len(owners):
            found.findings.append(
                f"{first} and {second} are the same picture in two classes: a novel class "
                "must not be trained on; remove one of them"
            )


def _read_folder(
    found: Findings, folder: Path, read: Callable[[Path, Path], np.ndarray]
) -> tuple[dict[str, list[Pair]], dict[str, list[tuple[str, Path]]]]:
    """Read every pair of every class; the pairs by class, and what lies there more than once.

    read: returns the pixels of a pair's photograph. A picture that is there again, as a file of
    the same pixels, comes as [(class, file), ...] under its checksum.
    """
    pairs: dict[str, list[Pair]] = {}
    seen: dict[str, list[tuple[str, Path]]] = {}
    shelves = {n: shelf for n, shelf in class_folders(folder).items() if n != "splits"}
    for name, shelf in _bar(shelves.items()):
        pairs[name] = found.attempt(pairs_of, *shelf) or []
        for lonely in lonely_masks(shelf, pairs[name]):
            found.findings.append(f"{lonely} has no photograph: restore it, or remove the mask")
        for path in unread(shelf):
            found.findings.append(f"{path} is not read: save it as JPEG or PNG, or remove it")
        images = {path: found.attempt(read, path, mask) for path, mask in pairs[name]}
        sums = {p: sha256(x.tobytes()).hexdigest() for p, x in images.items() if x is not None}
        for path, key in sums.items():
            seen.setdefault(key, []).append((name, path))
        found.classes.append((name, (len(sums),)))
    return pairs, {key: files for key, files in seen.items() if len(files) > 1}


def _read_each(found: Findings, read: Callable, keys: Iterable) -> dict[Any, dict[int, int]]:
    """Read the images of these keys, and return the {label: pixels} of those that can be read."""
    areas = {key: found.attempt(read, key) for key in _bar(keys)}
    return {key: sizes for key, sizes in areas.items() if sizes is not None}


def _bar(things: Iterable) -> Iterable:
    """Show progress on a terminal."""
    return tqdm(list(things), desc="reading", leave=False, disable=None)


def _judge(
    found: Findings,
    classes: Sequence[str],
    areas: Sequence[Areas],
    fold: int | None,
    grouping: str,
    where: Path,
) -> None:
    """Count images per class, and look in each fold for novel classes among the training labels.

    areas: those of the training images, and of the validation images.
    """
    training, validation = areas
    large = [
        Counter(label for sizes in part.values() for label, n in sizes.items() if n >= MIN_AREA)
        for part in areas
    ]
    for label, name in enumerate(classes):
        found.classes.append((name, (large[0][label], large[1][label])))
    for place in range(FOLDS) if fold is None else (fold,):
        base, novel = (
            wanted_classes(split, len(classes), place, 0, grouping) for split in ("train", "novel")
        )
        items = found.attempt(ItemSet, classes, base, training, 1, None, where)
        found.attempt(ItemSet, classes, novel, validation, 1, None, where)
        if not items:
            continue
        mixed = sum(bool(set(sizes) & set(novel)) for sizes in training.values())
        leaked = int(np.isin(items.labels, novel).sum())
        remedy = "base and novel classes must not meet; see scl/datasets/folds.py"
        name = f"fold {place}: training"
        found.count(f"{name} items (image, class)", len(items), where)
        found.count(f"{name} images with novel classes unmarked", mixed, where)
        found.count(f"{name} items of novel classes", leaked, where, 0, remedy)
