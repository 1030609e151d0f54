"""COCO-20^i from tiny instances files: polygons, both run lengths, crowds, and broken ones."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as masks

from scl.datasets.coco import (
    Coco20i,
    coco_categories,
    find_coco,
    paint,
    read_instances,
    run_lengths,
)
from scl.datasets.fit import Letterbox
from scl.datasets.folds import FOLDS, split_classes
from scl.method.episode import EpisodeSampler, load_episodes
from tests.helpers.trees import HEIGHT, WIDTH, block, coco_tree, compressed, photograph, polygon
from tests.helpers.trees import run_lengths as uncompressed

NAMES = tuple(coco_categories().values())


@pytest.fixture
def root(tmp_path):
    return coco_tree(tmp_path)


def instances(root, name="train2014"):
    return root / "annotations" / f"instances_{name}.json"


def edit(root, change, name="train2014"):
    """Change the record of an instances file in place, and write it back."""
    path = instances(root, name)
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_fold_i_holds_out_every_fourth_category_by_id_from_i_on():
    assert len(NAMES) == 80 and NAMES[0] == "person" and NAMES[79] == "toothbrush"
    assert split_classes(80, 1, grouping="interleaved").novel == tuple(range(1, 80, 4))
    novel = [split_classes(80, fold, 3, "interleaved") for fold in range(FOLDS)]
    assert sorted(c for split in novel for c in split.novel) == list(range(80))
    for split in novel:
        assert sorted(split.base + split.validation + split.novel) == list(range(80))
    with pytest.raises(ValueError, match="grouping='zigzag': expected 'contiguous' or"):
        split_classes(80, 0, grouping="zigzag")


def test_items_of_every_coding_are_drawn_alike(root):
    data = Coco20i(root, 0, "train")
    assert len(data) == 120 and set(data.labels) == {c for c in range(80) if c % 4}
    image, mask = data[0]
    assert image.shape == (HEIGHT, WIDTH, 3) and mask.shape == (HEIGHT, WIDTH)
    for index in range(30):
        entries = data.pictures[data.keys[index]].objects[data.labels[index]]
        left, _, width, _ = entries[0]["bbox"]
        expected = block(left, left + width)
        if isinstance(entries[0]["segmentation"], list):
            expected[0], expected[63:] = False, False  # the rectangle spans rows 1 to 62
        assert np.array_equal(data[index][1], expected), entries[0]["segmentation"]


def test_novel_classes_are_tested_on_validation_images(root):
    data = Coco20i(root, 0, "novel")
    assert set(data.labels) == set(range(0, 80, 4)) and len(data) == 40
    assert all("val2014" in path for i in range(len(data)) for path in data.sources(i))
    with pytest.raises(ValueError, match="instances_val2014.json: class 'bicycle' has 0 usable"):
        Coco20i(root, 1, "test")
    with pytest.raises(ValueError, match="class 'bicycle' has 0 usable"):
        Coco20i(root, 0, "test", grouping="contiguous")


def test_a_mask_is_the_union_of_its_objects_and_a_crowd_is_ignored_around_them(root):
    def change(record):
        first = record["annotations"][0]
        for number, (shape, crowd) in enumerate(
            [
                ([polygon(0, 0, 10, HEIGHT), polygon(20, 0, 25, HEIGHT)], 0),
                (compressed(block(8, 15)), 0),
                (uncompressed(block(5, 40)), 1),
            ]
        ):
            more = {"id": 90_000 + number, "category_id": 44, "segmentation": shape}
            record["annotations"].append(first | more | {"iscrowd": crowd})

    path = edit(root, change)
    picture = read_instances(path)[70]
    bottle = NAMES.index("bottle")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, 5:40] = 255
    expected[:, :15] = expected[:, 20:25] = 1
    assert np.array_equal(paint(path, picture, bottle), expected)
    other = paint(path, picture, next(label for label in picture.objects if label != bottle))
    assert set(np.unique(other)) == {0, 1}, "another class's crowd is background"


def test_a_class_that_is_small_or_only_a_crowd_gives_no_item(root):
    def change(record):
        for entry in record["annotations"]:
            if entry["image_id"] == 70 and entry["category_id"] == 2:
                entry["segmentation"] = [polygon(0, 0, 32, 63)]  # 2016 pixels
        crowd = {"id": 95_000, "image_id": 71, "category_id": 6, "iscrowd": 1}
        whole = uncompressed(block(0, WIDTH))
        record["annotations"].append(record["annotations"][0] | crowd | {"segmentation": whole})
        large = {"category_id": 2, "segmentation": [polygon(0, 0, 90, 63)]}
        for place in (80_000, 80_001):
            where = {"id": place, "image_id": place - 80_000 + 72}
            record["annotations"].append(record["annotations"][0] | large | where)

    edit(root, change)
    found = Coco20i(root, 0, "train")
    items = set(zip(found.keys, found.labels, strict=True))
    assert (70, NAMES.index("bicycle")) not in items and (72, NAMES.index("bicycle")) in items
    assert (71, NAMES.index("bus")) not in items


def test_episodes_are_drawn_as_from_any_data_set(root):
    data = Coco20i(root, 0, "test", transform=Letterbox(32))
    for index in EpisodeSampler(data, 1).fixed(4, 0):
        assert load_episodes(data, [index]).query.shape == (1, 3, 32, 32)


# ------------------------------------------------------------ photographs, files


def test_photographs_must_be_there_and_of_the_size_that_is_written(root):
    path = root / "train2014" / "COCO_train2014_000000000003.jpg"
    photograph(path, 1, (WIDTH, 50))
    data = Coco20i(root, 0, "train")
    with pytest.raises(ValueError, match="000003.jpg is 96 x 50 and its mask 96 x 64"):
        data[data.keys.index(73)]
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(path, 1, (HEIGHT, WIDTH), exif=exif)
    assert data[data.keys.index(73)][0].shape == (HEIGHT, WIDTH, 3)
    path.unlink()
    with pytest.raises(
        ValueError, match="000003.jpg is missing, but .*instances_train2014.json lists"
    ):
        Coco20i(root, 0, "train")


def test_a_tree_that_is_incomplete_or_of_another_year_is_named(root):
    with pytest.raises(ValueError, match="expected the folder train2017 and annotations"):
        Coco20i(root, 0, "train", year="2017")
    with pytest.raises(ValueError, match="year='2015'"):
        Coco20i(root, 0, "train", year="2015")
    (root / "images").mkdir()
    (root / "val2014").rename(root / "images" / "val2014")
    assert len(Coco20i(root, 0, "test")) == 40
    instances(root, "val2014").unlink()
    with pytest.raises(ValueError, match="instances_val2014.json is incomplete"):
        find_coco(root, "val2014")


# ------------------------------------------------------------------ annotations

OUTLINES = {
    "box": [[0, 0, 20, 20]],
    "odd": [[0, 0, 20, 0, 20, 20, 3]],
    "empty": [],
    "no polygon": [[]],
    "text": [["0", "0", "20", "0", "20", "20"]],
    "far away": [polygon(0, 0, 1e9, 1e9)],
    "flat list": polygon(0, 0, 20, 20),
    "nan": [[0, 0, float("nan"), 0, 20, 20]],
    "infinite": [[0, 0, float("inf"), 0, 20, 20]],
    "short": {"size": [HEIGHT, WIDTH], "counts": [10, 20]},
    "long": {"size": [HEIGHT, WIDTH], "counts": [10, 20, HEIGHT * WIDTH]},
    "negative": {"size": [HEIGHT, WIDTH], "counts": [-10, 20, HEIGHT * WIDTH - 10]},
    "fraction": {"size": [HEIGHT, WIDTH], "counts": [0.5, HEIGHT * WIDTH - 0.5]},
    "turned": {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]},
    "no size": {"counts": [HEIGHT * WIDTH]},
    "no counts": {"size": [HEIGHT, WIDTH]},
    "cut text": {"size": [HEIGHT, WIDTH], "counts": "3"},
    "odd text": {"size": [HEIGHT, WIDTH], "counts": "3=\n"},
    "endless text": {"size": [HEIGHT, WIDTH], "counts": "o" * 40},
}


@pytest.mark.parametrize("name", OUTLINES)
def test_a_broken_outline_is_named_before_pycocotools_sees_it(root, name):
    path = edit(root, lambda r: r["annotations"][0].update(segmentation=OUTLINES[name]))
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as .*annotation 1\b"):
        Coco20i(root, 0, "train")


def broken(**change):
    return lambda record: record["annotations"][3].update(change)


RECORDS = {
    "annotations of no image": (broken(image_id=5), "annotation 4 is of image 5 and category"),
    "of no category": (broken(category_id=12), "of image 70 and category 12"),
    "one id twice": (broken(id=1), "two of annotations have one id"),
    "a text for a number": (broken(image_id="70"), "number 3 of annotations has image_id = '70'"),
    "truth for a number": (broken(category_id=True), "category_id = 'True': expected one of type"),
    "half a crowd": (broken(iscrowd=2), "annotation 4 is of .*, iscrowd 2: expected"),
    "no outline": (broken(segmentation=None), "has segmentation = 'None'"),
    "no list": (lambda r: r.pop("images"), "has no list 'images'"),
    "no records": (lambda r: r.update(images=[3]), "number 0 of images has id = 'None'"),
    "a renamed class": (
        lambda r: r["categories"][4].update(name="aeroplane"),
        r"other categories than COCO's eighty .see 5, 'a",
    ),
    "a missing class": (lambda r: r["categories"].pop(), "see 90, 'toothbrush'"),
    "a path for a name": (
        lambda r: r["images"][1].update(file_name="../../secret.jpg"),
        "names the image '../../secret.jpg': expected a plain file name",
    ),
    "one picture twice": (
        lambda r: r["images"][1].update(file_name=r["images"][0]["file_name"]),
        "two images have one file name",
    ),
    "a picture of no height": (lambda r: r["images"][1].update(height=0), "is 96 x 0 pixels"),
    "a picture beyond memory": (lambda r: r["images"][1].update(width=10**9), "1000000000 x 64"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_broken_record_is_named(root, name):
    change, message = RECORDS[name]
    path = edit(root, change)
    with pytest.raises(ValueError, match=message) as refusal:
        read_instances(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"images": []}', "\xff"])
def test_what_is_no_instances_file_is_named(root, text):
    path = instances(root)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="instances_train2014.json (cannot be read|has no list)"):
        read_instances(path)


def test_a_truncated_file_is_named(root):
    path = instances(root)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="cannot be read as COCO's instances"):
        Coco20i(root, 0, "train")


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**31))
def test_run_lengths_are_those_that_pycocotools_wrote(height, width, share, seed):
    region = np.random.default_rng(seed).random((height, width)) < share
    coded = masks.encode(np.asfortranarray(region.astype(np.uint8)))
    assert run_lengths(coded["counts"].decode()) == uncompressed(region)["counts"]


def test_a_record_is_not_changed_by_reading_it(root):
    data = Coco20i(root, 0, "train")
    before = copy.deepcopy(data.pictures)
    for index in range(10):
        data[index]
    assert data.pictures == before
