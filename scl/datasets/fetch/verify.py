"""Is a data set on disk the published one, whole, and cleanly split? Every file is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from scl.datasets import coco, fss, pascal, registry
from scl.datasets.fetch.download import digest
from scl.datasets.fetch.report import Report
from scl.datasets.fetch.sums import check_sums, write_sums
from scl.datasets.folder import class_folders, pairs_of, read_intact
from scl.datasets.folds import FOLDS, split_classes
from scl.datasets.items import MIN_AREA, ItemSet, wanted_classes
from scl.datasets.pictures import open_picture, read_label_map


def verify(
    data: str,
    root: str | Path,
    fold: int | None = None,
    subset: bool = False,
    year: str = "2014",
    sums: str | Path | None = None,
) -> Report:
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
    root, report = Path(root), Report(compare=not subset)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected the one that holds the data set")
    registry.resolve(checks)(report, root, fold, year)
    if sums:
        _compare_sums(report, root, Path(sums))
    return report


def _compare_sums(report: Report, root: Path, path: Path) -> None:
    """Compare with a list of checksums; make one of a data set in which nothing was found."""
    if path.exists():
        report.findings += report.attempt(check_sums, root, path) or []
    elif report.ok:
        report.count("files whose checksum was noted", write_sums(root, path), path)


# ----------------------------------------------------------------- PASCAL-5^i


def verify_pascal(report: Report, root: Path, fold: int | None, year: str) -> None:
    """Read VOC 2012 and SBD, and judge the folds of PASCAL-5^i."""
    tree = report.attempt(pascal.find_tree, root)
    parts = tree and [report.attempt(tree.names, name) for name in ("train", "val")]
    sbd = tree and report.attempt(pascal.sbd_names, tree)
    if not (tree and all(parts) and sbd):
        return
    voc, validation = parts
    training = list(dict.fromkeys([*sbd, *voc]))
    sbd_file = next(iter(sbd.values()))
    voc_file, val_file = tree.list_file("train"), tree.list_file("val")
    report.count("SBD training images", len(sbd), sbd_file)
    report.count("VOC training images", len(voc), voc_file)
    report.count("training images in both", len(set(sbd) & set(voc)), sbd_file)
    report.count("training images", len(training), sbd_file)
    report.count("validation images", len(validation), val_file)
    report.apart(training, validation, sbd_file)
    own = tree.own_masks()

    def areas(names: Sequence[str]) -> dict[str, dict[int, int]]:
        found = {name: report.attempt(_pascal_areas, tree, name, own) for name in _bar(names)}
        return {name: sizes for name, sizes in found.items() if sizes is not None}

    classes = pascal.pascal_classes()
    _judge(report, classes, areas(training), areas(validation), fold, "contiguous", sbd_file)


def _pascal_areas(tree: pascal.PascalTree, name: str, own: frozenset[str]) -> dict[int, int]:
    """Read an image and its mask; {label: pixels}."""
    labels = read_label_map(tree.mask_file(name, own))
    open_picture(tree.image_file(name), labels.shape[::-1])
    return pascal.pixels_of(labels)


# ------------------------------------------------------------------- COCO-20^i


def verify_coco(report: Report, root: Path, fold: int | None, year: str) -> None:
    """Read a year of COCO, and judge the folds of COCO-20^i."""
    found = []
    for name in (f"train{year}", f"val{year}"):
        tree = report.attempt(coco.find_coco, root, name)
        pictures = tree and report.attempt(coco.read_instances, tree.instances)
        if not pictures:
            return
        report.count(f"images of {name}", len(pictures), tree.instances)
        found.append((tree, pictures))
    (train_tree, train), (val_tree, validation) = found
    report.apart(train, validation, train_tree.instances)

    def areas(tree: coco.CocoTree, pictures: Mapping) -> dict[int, dict[int, int]]:
        read = {key: report.attempt(_coco_areas, tree, pictures[key]) for key in _bar(pictures)}
        return {key: sizes for key, sizes in read.items() if sizes is not None}

    names = tuple(coco.coco_categories().values())
    sizes = areas(train_tree, train), areas(val_tree, validation)
    _judge(report, names, *sizes, fold, "interleaved", train_tree.instances)


def _coco_areas(tree: coco.CocoTree, picture: coco.Picture) -> dict[int, int]:
    """Draw all masks of an image, and read it; {label: pixels}."""
    open_picture(tree.images / picture.file_name, (picture.width, picture.height))
    masks = {label: coco.draw(tree.instances, picture, label) for label in picture.objects}
    return {label: int((mask == 1).sum()) for label, mask in masks.items()}


# --------------------------------------------------------- FSS-1000 and folders


def verify_fss(report: Report, root: Path, fold: int | None, year: str) -> None:
    """Read the class folders of FSS-1000 and the lists of its splits."""
    lists = fss.class_lists(root)
    named = {split: report.attempt(fss.read_class_lists, {split: lists[split]}) for split in lists}
    named = {split: names[split] for split, names in named.items() if names}
    report.attempt(fss.read_class_lists, {split: lists[split] for split in named})
    for split in fss.LISTS if report.compare else ():
        if split not in lists:
            report.findings.append(
                f"{root / fss.LISTS[split][0]} is missing: write the {split} classes into it, one "
                "a line (the authors publish those of the test as fss_test_set.txt)"
            )
    folder = fss.find_fss(root)
    pairs, _ = _read_folder(report, folder)
    report.count("class folders", len(pairs), folder)
    report.count("pairs", sum(map(len, pairs.values())), folder)
    for split, names in named.items():
        report.count(f"{split} classes", len(names), lists[split])
        report.findings += [
            f"{folder / name} is missing, but {lists[split]} lists it: unpack the archive again"
            for name in names
            if name not in pairs
        ]


def verify_folder(report: Report, root: Path, fold: int | None, year: str) -> None:
    """Read class folders, and look for one picture in two classes (of the fold)."""
    pairs, seen = _read_folder(report, root)
    names = list(pairs)
    if not names:
        report.findings.append(
            f"{root} holds no class folder: expected CLASS/name.jpg with its mask CLASS/name.png"
        )
    report.count("classes", len(names), root)
    novel = set() if fold is None else {names[i] for i in split_classes(len(names), fold).novel}
    for files in seen.values():
        owners = {path.parent.name for path in files}
        if len(owners) > 1 and (fold is None or 0 < len(owners & novel) < len(owners)):
            report.findings.append(
                f"{files[0]} and {files[1]} are the same picture in two classes: a novel class "
                "must not be trained on; remove one of them"
            )


def _read_folder(
    report: Report, folder: Path
) -> tuple[dict[str, list[tuple[Path, Path]]], dict[str, list[Path]]]:
    """Read every pair of every class; the pairs by class, and the pictures by checksum."""
    pairs, seen = {}, {}
    names = [n for n in class_folders(folder) if not n.startswith(".") and n != "splits"]
    for name in _bar(names):
        pairs[name] = report.attempt(pairs_of, folder / name) or []
        masks = {mask for _, mask in pairs[name]}
        for lonely in sorted(set((folder / name).glob("*.png")) - masks) if masks else ():
            report.findings.append(f"{lonely} has no photograph: restore it, or remove the mask")
        good = [files for files in pairs[name] if report.attempt(read_intact, *files)]
        for path, _ in good:
            seen.setdefault(digest(path), []).append(path)
        report.classes.append((name, (len(good),)))
    return pairs, seen


# ---------------------------------------------------------------------- shared


def _bar(things: Iterable) -> Iterable:
    """With a progress bar on a terminal."""
    return tqdm(list(things), desc="reading", leave=False, disable=None)


def _judge(
    report: Report,
    classes: Sequence[str],
    training: Mapping,
    validation: Mapping,
    fold: int | None,
    grouping: str,
    where: Path,
) -> None:
    """Images per class, and for each fold that no novel class is among the training labels."""
    counts = [
        Counter(label for sizes in areas.values() for label, n in sizes.items() if n >= MIN_AREA)
        for areas in (training, validation)
    ]
    for label, name in enumerate(classes):
        report.classes.append((name, (counts[0][label], counts[1][label])))
    for place in range(FOLDS) if fold is None else (fold,):
        base, novel = (
            wanted_classes(split, len(classes), place, 0, grouping) for split in ("train", "novel")
        )
        items = report.attempt(ItemSet, classes, base, training, 1, None, where)
        report.attempt(ItemSet, classes, novel, validation, 1, None, where)
        if items:
            mixed = [k for k, sizes in training.items() if set(sizes) & set(novel)]
            report.count(f"fold {place}: training items (image, class)", len(items), where)
            report.count(
                f"fold {place}: training images with novel classes unmarked", len(mixed), where
            )
            leaked = int(np.isin(items.labels, novel).sum())
            remedy = "base and novel classes must not meet; see scl/datasets/folds.py"
            report.count(f"fold {place}: training items of novel classes", leaked, where, 0, remedy)
