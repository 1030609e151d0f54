"""COCO-20^i: the eighty classes of COCO, their masks painted from its annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from scl.datasets.files import RESTORE, Transform, check_files, first_folder, optional, reading
from scl.datasets.items import wanted_classes
from scl.datasets.listed import ListedItems
from scl.method.vectors import IGNORE

YEARS = ("2014", "2017")
IDS = {"id": int, "image_id": int, "category_id": int}
FIELDS: dict[str, dict[str, Any]] = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {**IDS, "iscrowd": int, "segmentation": (list, dict)},
}
LARGEST = 1 << 14  # pixels a side; a broken size must not ask for all memory


@lru_cache(maxsize=1)
def coco_categories() -> dict[int, str]:
    """List the eighty categories, id to name, by id, as torchvision has them."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return {i: name for i, name in enumerate(names) if i and name != "N/A"}


# -------------------------------------------------------------------- annotations


@dataclass(frozen=True)
class Picture:
    """One image as the annotations describe it, with the objects in it: label to annotations."""

    file_name: str
    width: int
    height: int
    objects: dict[int, list[dict]]


def read_instances(path: Path) -> dict[int, Picture]:
    """Read the images of an instances_*.json by id, in its order, with annotations by label."""
    with reading(path, "COCO's instances"):
        record = json.loads(path.read_bytes())
        categories, images, annotations = (_records(path, record, name) for name in FIELDS)
    found, expected = {c["id"]: c["name"] for c in categories}, coco_categories()
    if found != expected:
        odd = min(set(found.items()) ^ set(expected.items()))
        raise ValueError(
            f"{path} has other categories than COCO's eighty (see {odd[0]}, {odd[1]!r}): expected "
            "the ids and names of the published instances"
        )
    pictures = {entry["id"]: _picture(path, entry) for entry in images}
    if len({picture.file_name for picture in pictures.values()}) < len(images):
        raise ValueError(f"{path}: two images have one file name: expected one each; {RESTORE}")
    labels = {category: label for label, category in enumerate(expected)}
    for entry in annotations:
        image, category, crowd = entry["image_id"], entry["category_id"], entry["iscrowd"]
        if image not in pictures or category not in labels or crowd not in (0, 1):
            raise ValueError(
                f"{path}: annotation {entry['id']} is of image {image} and category {category}, "
                f"iscrowd {crowd}: expected ones that the file lists, and 0 or 1; {RESTORE}"
            )
        pictures[image].objects.setdefault(labels[category], []).append(entry)
    return pictures


def _records(path: Path, record: object, name: str) -> list[dict]:
    """Return one of the lists in the file, each entry with its fields and an id of its own."""
    entries = record.get(name) if isinstance(record, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"{path} has no list {name!r}: expected an instances_*.json of COCO")
    for place, entry in enumerate(entries):
        for field, kind in FIELDS[name].items():
            value = entry.get(field) if isinstance(entry, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(
                    f"{path}: number {place} of {name} has {field} = {str(value)[:40]!r}: expected "
                    f"one of type {kind}; {RESTORE}"
                )
    if len({entry["id"] for entry in entries}) < len(entries):
        raise ValueError(f"{path}: two of {name} have one id: expected each id once; {RESTORE}")
    return entries


def _picture(path: Path, entry: Mapping) -> Picture:
    """Return an image without objects yet, of a plain file name and a size that can be."""
    name, width, height = entry["file_name"], entry["width"], entry["height"]
    if name != Path(name).name or "\\" in name or name.startswith("."):
        raise ValueError(f"{path} names the image {name!r}: expected a plain file name")
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise ValueError(
            f"{path}: image {name} is {width} x {height} pixels: expected 1 to {LARGEST} a side; "
            f"{RESTORE}"
        )
    return Picture(name, width, height, {})


# -------------------------------------------------------------------------- masks


def region(path: Path, picture: Picture, label: int, crowd: bool) -> dict:
    """Unite a class's single objects (or its crowds) in an image, run-length coded."""
    masks = optional("pycocotools.mask", "pycocotools")
    entries = [e for e in picture.objects.get(label, []) if e["iscrowd"] == crowd]
    if entries:
        return masks.merge([_outline(path, entry, picture, masks) for entry in entries])
    return masks.encode(np.zeros((picture.height, picture.width), np.uint8, order="F"))


def paint(path: Path, picture: Picture, label: int) -> np.ndarray:
    """Paint a class's mask [H, W]: 1 on its objects, 255 on the rest of its crowds, 0 elsewhere."""
    masks = optional("pycocotools.mask", "pycocotools")
    mask = masks.decode(region(path, picture, label, crowd=False))
    crowd = masks.decode(region(path, picture, label, crowd=True))
    mask[(crowd == 1) & (mask == 0)] = IGNORE
    return mask


def class_areas(path: Path, pictures: Mapping[int, Picture]) -> dict[int, dict[int, int]]:
    """Count the pixels of each class in each image: {image id: {label: pixels}}. The slow part."""
    area = optional("pycocotools.mask", "pycocotools").area
    bar = tqdm(pictures.items(), desc="annotations", leave=False, disable=None)
    return {
        key: {label: int(area(region(path, p, label, crowd=False))) for label in p.objects}
        for key, p in bar
    }


def _outline(path: Path, entry: Mapping, picture: Picture, masks: Any) -> dict:
    """Code the region of one annotation by pycocotools, which trusts its input.

    It reads memory that is not its own, takes four numbers for a box, and NaN for a place: so
    polygons and run lengths are checked before, and therefore decoded here, too.
    """
    shape, size = entry["segmentation"], [picture.height, picture.width]
    with reading(path, f"COCO's instances (annotation {entry['id']})"):
        if isinstance(shape, list):
            if not shape or not all(_is_polygon(ring, picture) for ring in shape):
                raise ValueError("a polygon is not three or more points within reach of the image")
            return masks.merge(masks.frPyObjects(shape, *size))
        counts = shape.get("counts")
        counts = run_lengths(counts) if isinstance(counts, str) else counts
        if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("run lengths are not whole numbers from 0 on")
        if shape.get("size") != size or sum(counts) != size[0] * size[1]:
            raise ValueError("run lengths do not fill the image")
        return masks.frPyObjects({"size": size, "counts": counts}, *size)


def run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths (background first), or raise a ValueError.

    Each character carries five bits, lowest first, and a sixth that says "more follows"; from the
    fourth number on, what is stored is the difference to the number two places before.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f"{character!r} is no character of compressed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return counts


def _is_polygon(ring: object, picture: Picture) -> bool:
    """Check for numbers x, y, x, y, ...; as far outside as the image is large, they are drawn."""
    return (
        isinstance(ring, list)
        and len(ring) >= 6
        and len(ring) % 2 == 0
        and all(type(value) in (int, float) and math.isfinite(value) for value in ring)
        and all(abs(x - picture.width / 2) <= 1.5 * picture.width for x in ring[::2])
        and all(abs(y - picture.height / 2) <= 1.5 * picture.height for y in ring[1::2])
    )


# ----------------------------------------------------------------------- data set


@dataclass(frozen=True)
class CocoTree:
    """Where one set of images and its annotations lie."""

    images: Path
    instances: Path


def find_coco(root: str | Path, name: str) -> CocoTree:
    """Find images and instances of, say, train2014 under a folder."""
    root = Path(root)
    instances = root / "annotations" / f"instances_{name}.json"
    images = first_folder([root, root / "images"], name)
    if images is None or not instances.is_file():
        raise ValueError(
            f"{root if images is None else instances} is incomplete: expected the folder {name} "
            f"and annotations/instances_{name}.json in {root}; unpack COCO's archives there, or "
            "run: python -m scl data download"
        )
    return CocoTree(images / name, instances)


class Coco20i(ListedItems):
    """COCO-20^i: fold i holds out classes i, i + 4, i + 8, ... of the eighty, by category id.

    root: a folder with train2014, val2014 and annotations; split: "train" (base classes in the
    training images), "novel" or "test" (novel classes in the validation images), "validation"
    (base classes in the validation images: the `held_out` ones, which training leaves out, or
    all); grouping: "contiguous" is the other division in the literature (0..19, 20..39, ...); year:
    the images, "2014" in the literature; shots, transform: as in Pascal5i.

    A mask is the union of a class's objects. Where the class was annotated as a crowd, too many to
    outline, pixels are 255 unless an outlined object covers them: neither answer would be wrong.
    Crowds of other classes are background, as their single objects are.
    """

    def __init__(
        self,
        root: str | Path,
        fold: int,
        split: str,
        shots: int = 1,
        transform: Transform | None = None,
        grouping: str = "interleaved",
        year: str = "2014",
        held_out: int = 0,
    ):
        if year not in YEARS:
            raise ValueError(f"year={year!r}: expected {' or '.join(YEARS)}")
        names = tuple(coco_categories().values())
        wanted = wanted_classes(split, len(names), fold, held_out, grouping)
        self.tree = find_coco(root, f"{'train' if split == 'train' else 'val'}{year}")
        self.pictures = read_instances(self.tree.instances)
        areas = class_areas(self.tree.instances, self.pictures)
        super().__init__(names, wanted, areas, shots, transform, self.tree.instances)
        files = map(self.image_file, dict.fromkeys(self.keys))
        check_files((path, self.tree.instances) for path in files)

    def image_file(self, key: int) -> Path:
        return self.tree.images / self.pictures[key].file_name

    def mask_file(self, key: int) -> Path:
        return self.tree.instances

    def mask(self, key: int, label: int) -> np.ndarray:
        return paint(self.tree.instances, self.pictures[key], label)
