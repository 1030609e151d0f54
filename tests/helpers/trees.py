"""Tiny copies of the published benchmarks, in exactly the formats that their archives hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as masks
from scipy import sparse
from scipy.io import savemat

from scl.datasets.coco import coco_categories

WIDTH, HEIGHT = 96, 64
PASCAL_FOLD = 0  # the fold whose novel classes the tiny validation images show

# Training images of the PASCAL tree by where their masks lie, each with its two classes.
VOC_ONLY = {f"2007_{k:06}": (5 + k, 6 + k) for k in range(5)}
IN_BOTH = {f"2008_{k:06}": (5 + k, 6 + k) for k in range(5, 8)}
SBD_ONLY = {f"2009_{k:06}": (5 + k, 5 + (k + 1) % 15) for k in range(8, 15)}
WITH_NOVEL = {"2010_000001": (5, 0)}  # class 0 is novel in fold 0
VALIDATION = {f"2007_{100 + k:06}": (k, (k + 1) % 5) for k in range(5)}
EXCLUDED = ("2007_000100", "2011_000001")  # SBD's images in VOC's val, and in Main/val alone


def photograph(path: Path, seed: int, size=(WIDTH, HEIGHT), mode="RGB", **options) -> None:
    """A smooth JPEG (or what the ending says) of its own colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    picture = Image.fromarray(small).resize(size, Image.Resampling.BILINEAR).convert(mode)
    picture.save(path, options.pop("kind", None), **options)


def two_classes(left: int, right: int, shift: int = 0, border: bool = True) -> np.ndarray:
    """A label map: two blocks of 44 columns, a border of 255 between them."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, 2 + shift : 46 + shift] = left + 1
    labels[:, 49 : 93 - shift] = right + 1
    if border:
        labels[:, 46:49] = 255
    return labels


def palette_png(path: Path, labels: np.ndarray) -> None:
    """A mask as VOC writes them: indices into the palette of VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[index, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    picture = Image.fromarray(labels)
    picture.putpalette(colours.tobytes())
    picture.save(path)


def sbd_mat(path: Path, labels: np.ndarray, compressed: bool = True) -> None:
    """A mask as SBD writes them: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = np.zeros(
        (1, 1),
        [("Boundaries", object), ("Segmentation", object), ("CategoriesPresent", object)],
    )
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = sparse.csc_matrix(labels.shape)
    present = np.setdiff1d(labels, [0]).astype(np.uint8)[:, None]
    truth[0, 0] = (boundaries, labels, present)
    savemat(path, {"GTcls": truth}, do_compression=compressed)


def write_lines(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def pascal_tree(root: Path) -> Path:
    """VOCdevkit/VOC2012 and benchmark_RELEASE/dataset; 16 training images, 5 for validation."""
    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    own, theirs = VOC_ONLY | IN_BOTH | VALIDATION, IN_BOTH | SBD_ONLY | WITH_NOVEL
    for place, name in enumerate(own | theirs):
        mode = {0: "L", 1: "CMYK"}.get(place, "RGB")
        photograph(voc / "JPEGImages" / f"{name}.jpg", place, mode=mode)
    for name, classes in own.items():
        palette_png(voc / "SegmentationClass" / f"{name}.png", two_classes(*classes))
    for name, classes in theirs.items():
        # SBD has no borders and draws a little differently.
        sbd_mat(sbd / "cls" / f"{name}.mat", two_classes(*classes, shift=1, border=False))
    lists = voc / "ImageSets"
    write_lines(lists / "Segmentation" / "train.txt", VOC_ONLY | IN_BOTH)
    write_lines(lists / "Segmentation" / "val.txt", VALIDATION)
    write_lines(lists / "Main" / "val.txt", EXCLUDED[1:])
    names = sorted([*theirs, *EXCLUDED])
    write_lines(sbd / "train.txt", names[1::2])
    write_lines(sbd / "val.txt", names[0::2])
    return root


def pascal_val_tree(root: Path) -> Path:
    """VOC's validation part alone: 20 photographs of two classes of a quarter, and four lists."""
    voc = root / "VOCdevkit" / "VOC2012"
    shown = {f"2007_{k:06}": (k, k // 5 * 5 + (k + 1) % 5) for k in range(20)}
    for place, (name, classes) in enumerate(shown.items()):
        photograph(voc / "JPEGImages" / f"{name}.jpg", place)
        palette_png(voc / "SegmentationClassAug" / f"{name}.png", two_classes(*classes))
    lists = voc / "ImageSets" / "Segmentation"
    write_lines(lists / "val.txt", shown)
    for fold in range(4):
        base = [name for name, classes in shown.items() if classes[0] // 5 != fold]
        write_lines(lists / f"base_only_fold{fold}.txt", base)
    return root


def polygon(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A rectangle as COCO writes polygons: x, y, x, y, ..."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(region: np.ndarray) -> dict:
    """A region [H, W] in COCO's uncompressed form: lengths down the columns, background first."""
    flat = region.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(region.shape), "counts": counts if not flat[0] else [0, *counts]}


def compressed(region: np.ndarray) -> dict:
    """A region [H, W] in COCO's compressed form."""
    coded = masks.encode(np.asfortranarray(region.astype(np.uint8)))
    return {"size": list(region.shape), "counts": coded["counts"].decode()}


def block(left: int, right: int) -> np.ndarray:
    """A region: some columns."""
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[:, left:right] = True
    return region


def coco_instances(names: list[str], rows: list[list[int]]) -> dict:
    """An instances file: image i shows the labels of row i, in polygons and both run lengths."""
    ids = sorted(coco_categories())
    annotations = []
    for image, labels in enumerate(rows):
        for place, label in enumerate(labels):
            left = (7 * place + image) % 40
            shape = [
                [polygon(left, 1, left + 50, 63)],
                run_lengths(block(left, left + 50)),
                compressed(block(left, left + 50)),
            ][place % 3]
            annotations.append(
                {
                    "id": 1000 * image + place + 1,
                    "image_id": 70 + image,
                    "category_id": ids[label],
                    "iscrowd": 0,
                    "area": 3200.0,
                    "bbox": [left, 0, 50, HEIGHT],
                    "segmentation": shape,
                }
            )
    return {
        "info": {"description": "tiny"},
        "licenses": [],
        "images": [
            {"id": 70 + i, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1}
            for i, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": "thing"}
            for i, name in coco_categories().items()
        ],
    }


def coco_tree(root: Path) -> Path:
    """train2014 with two images of every base class of fold 0, val2014 with its novel classes."""
    novel = list(range(0, 80, 4))
    base = [label for label in range(80) if label % 4]
    for name, labels, images in (("train2014", base, 12), ("val2014", novel, 4)):
        half = images // 2
        rows = [labels[i % half :: half] for i in range(images)]
        names = [f"COCO_{name}_{i:012}.jpg" for i in range(images)]
        for i, file in enumerate(names):
            photograph(root / name / file, i, mode="L" if i == 1 else "RGB")
        record = coco_instances(names, rows)
        if name == "val2014":  # image ids are unique in all of COCO
            for entry in record["images"]:
                entry["id"] += 500
            for entry in record["annotations"]:
                entry["image_id"] += 500
                entry["id"] += 500_000
        path = root / "annotations" / f"instances_{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record), encoding="utf-8")
    return root


def class_folders(root: Path, names, pairs: int = 3, size=(40, 40)) -> Path:
    """root/class/1.jpg with root/class/1.png, white on black."""
    for place, name in enumerate(names):
        for i in range(1, pairs + 1):
            photograph(root / name / f"{i}.jpg", 10 * place + i, size)
            mask = Image.new("L", size, 0)
            mask.paste(255, (4 + i, 5, 24 + i, 30))
            mask.save(root / name / f"{i}.png")
    return root


FSS_CLASSES = {
    "train": ("abacus", "abe's_flyingfish", "bus"),
    "validation": ("cat", "cd"),
    "test": ("egg", "fox"),
}


def fss_tree(root: Path) -> Path:
    """fewshot_data/class/1.jpg and 1.png, with a list of classes for each split."""
    for split, names in FSS_CLASSES.items():
        class_folders(root / "fewshot_data", names)
        write_lines(root / f"{split}.txt", names)
    return root


def folder_tree(root: Path) -> Path:
    """Class folders of somebody's own."""
    return class_folders(root, ("cup", "mug", "pan", "pot"), pairs=2)


TREES = {
    "pascal": pascal_tree,
    "pascal-val": pascal_val_tree,
    "coco": coco_tree,
    "fss": fss_tree,
    "folder": folder_tree,
}
