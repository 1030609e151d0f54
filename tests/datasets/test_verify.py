"""The verifier: published numbers, leaks, broken files, and a line that says what to do."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scl.__main__ import main
from scl.datasets.fetch import findings as reports
from scl.datasets.fetch.sums import check_sums
from scl.datasets.fetch.verify import verify
from scl.datasets.registry import names
from tests.helpers.trees import (
    HEIGHT,
    TREES,
    WIDTH,
    class_folders,
    coco_tree,
    folder_tree,
    fss_tree,
    palette_png,
    pascal_tree,
    photograph,
    two_classes,
    write_lines,
)

SIZES = {  # of the tiny trees, in place of the published ones
    "SBD training images": 11,
    "VOC training images": 8,
    "training images in both": 3,
    "training images": 16,
    "validation images": 5,
    "images of train2014": 12,
    "images of val2014": 4,
    "class folders": 7,
    "train classes": 3,
    "validation classes": 2,
    "test classes": 2,
    "pairs": 21,
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(reports, "PUBLISHED", SIZES)


def findings(kind, root, **options):
    report = verify(kind, root, 0, subset=True, **options)
    assert report.ok == (not report.findings)
    return report.findings


@pytest.mark.parametrize("kind", ["pascal", "coco", "fss"])
def test_a_tree_of_the_published_numbers_passes(tmp_path, tiny, kind):
    report = verify(kind, TREES[kind](tmp_path), 0)
    assert report.ok, report.findings
    assert sum(expected is not None for _, _, expected in report.rows) >= 4
    assert report.classes and report.text().endswith("all well")


def test_leaks_of_the_validation_part_alone_are_found(tmp_path):
    root = TREES["pascal-val"](tmp_path)
    report = verify("pascal-val", root)
    assert report.ok and ("fold 2: training photographs", 15, None) in report.rows
    path = next(root.rglob("base_only_fold2.txt"))
    path.write_text(path.read_text("utf-8") + "2007_000010\n2007_000099\n", encoding="utf-8")
    one, two = verify("pascal-val", root, 2).findings
    assert "1 fold 2: training photographs not in val.txt, expected 0" in one
    assert "1 fold 2: training photographs with novel classes, expected 0" in two
    assert verify("pascal-val", root, 1).ok
    path.unlink()
    (finding,) = verify("pascal-val", root).findings
    assert "base_only_fold2.txt" in finding


def test_a_list_that_fss_lacks_is_a_finding(tmp_path, tiny):
    root = fss_tree(tmp_path)
    (root / "train.txt").unlink()
    (finding,) = verify("fss", root).findings
    assert "train.txt is missing: write the train classes into it" in finding


@pytest.mark.parametrize("kind", ["pascal", "coco", "fss"])
def test_other_numbers_than_the_published_are_findings(tmp_path, kind):
    report = verify(kind, TREES[kind](tmp_path), 0)
    assert not report.ok and all("expected" in line for line in report.findings)
    assert any("or pass --subset" in line for line in report.findings)


def test_the_published_numbers_are_those_of_the_papers():
    published = reports.PUBLISHED
    assert (
        published["SBD training images"]
        + published["VOC training images"]
        - published["training images in both"]
        == published["training images"]
        == 5953
    )
    assert sum(published[f"{split} classes"] for split in ("train", "validation", "test")) == 1000


@pytest.mark.parametrize("kind", names("verify"))
def test_the_command_prints_a_table_and_tells_by_its_status(tmp_path, capsys, kind):
    root = TREES[kind](tmp_path / "data")
    command = ["data", "verify", "--data", kind, "--root", str(root), "--fold", "0", "--subset"]
    sums = tmp_path / "sums.txt"
    assert main([*command, "--sums", str(sums)]) == 0
    out = capsys.readouterr().out
    assert "check" in out and out.endswith("all well\n") and sums.is_file()
    photo = next(root.rglob("*.jpg"))
    photo.write_bytes(photo.read_bytes()[:100])
    assert main([*command, "--sums", str(sums)]) == 1
    out = capsys.readouterr().out
    assert f"- {photo} cannot be read" in out and f"- {photo} has changed since {sums}" in out


def test_bad_arguments_are_one_line(tmp_path, capsys):
    command = ["data", "verify", "--data", "folder", "--root", str(tmp_path / "nowhere")]
    assert main(command) == 1 and "is no folder" in capsys.readouterr().err
    command = ["data", "verify", "--data", "pascal", "--root", str(tmp_path), "--fold", "7"]
    assert main(command) == 1 and "fold=7" in capsys.readouterr().err
    with pytest.raises(ValueError, match="data='voc'"):
        verify("voc", tmp_path)


def test_every_trouble_of_pascal_is_found_at_once(tmp_path):
    root = pascal_tree(tmp_path)
    voc = root / "VOCdevkit" / "VOC2012"
    masks, photos = voc / "SegmentationClass", voc / "JPEGImages"
    strange = two_classes(5, 6)
    strange[0, 0] = 99
    palette_png(masks / "2007_000000.png", strange)
    photograph(photos / "2007_000001.jpg", 1, (WIDTH, 50))
    (photos / "2007_000002.jpg").unlink()
    (masks / "2007_000003.png").write_bytes(b"no picture")
    (masks / "2007_000100.png").unlink()
    found = findings("pascal", root)
    for name, what in [
        ("2007_000000.png", "holds the value 99"),
        ("2007_000001.jpg", "is 96 x 50 and its mask 96 x 64"),
        ("2007_000002.jpg", "is missing"),
        ("2007_000003.png", "cannot be read"),
        ("2007_000100.png", "is missing"),
    ]:
        assert sum(name in line and what in line for line in found) == 1, (name, found)


def test_an_overlap_of_training_and_validation_is_found(tmp_path):
    root = pascal_tree(tmp_path)
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    with open(lists / "train.txt", "a", encoding="utf-8") as file:
        file.write("2007_000101\n")
    assert any("(2007_000101 is in both)" in line for line in findings("pascal", root))
    root = coco_tree(tmp_path / "coco")
    path = root / "annotations" / "instances_val2014.json"
    record = json.loads(path.read_text())
    record["images"].append(record["images"][0] | {"id": 70, "file_name": "new.jpg"})
    path.write_text(json.dumps(record))
    photograph(root / "val2014" / "new.jpg", 1)
    assert any("1 images in training and validation" in line for line in findings("coco", root))


def test_novel_classes_among_the_training_labels_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("scl.datasets.fetch.verify.wanted_classes", lambda *arguments: (5, 6))
    found = findings("pascal", pascal_tree(tmp_path))
    assert any("5 fold 0: training items of novel classes, expected 0" in line for line in found)


def test_training_images_with_unmarked_novel_classes_are_counted(tmp_path):
    rows = verify("pascal", pascal_tree(tmp_path), 0, subset=True).rows
    assert dict(row[:2] for row in rows)["fold 0: training images with novel classes unmarked"] == 1


def test_broken_outlines_of_coco_are_found_by_image(tmp_path):
    root = coco_tree(tmp_path)
    path = root / "annotations" / "instances_train2014.json"
    record = json.loads(path.read_text())
    for place in (0, 20):
        record["annotations"][place]["segmentation"] = [[1, 2, 3]]
    path.write_text(json.dumps(record))
    found = findings("coco", root)
    assert sum("cannot be read as COCO's instances (annotation" in line for line in found) == 2


def test_classes_of_fss_in_two_lists_and_empty_folders_are_found(tmp_path):
    root = fss_tree(tmp_path)
    write_lines(root / "test.txt", ["egg", "fox", "bus", "gnu"])
    (root / "fewshot_data" / "owl").mkdir()
    (root / "fewshot_data" / "cat" / "9.png").write_bytes(b"")
    found = findings("fss", root)
    for what in ("both list 'bus'", "gnu is missing", "owl holds no image", "9.png has no photog"):
        assert any(what in line for line in found), what


def test_one_picture_in_two_classes_is_a_leak_of_a_folder(tmp_path):
    root = folder_tree(tmp_path)
    photo = (root / "mug" / "1.jpg").read_bytes()
    (root / "pot" / "2.jpg").write_bytes(photo)
    assert not findings("folder", root), "both are base classes of fold 0"
    (leak,) = verify("folder", root, fold=1).findings
    assert "mug/1.jpg and" in leak and "are the same picture in two classes" in leak
    assert len(verify("folder", root).findings) == 1


def test_a_list_of_checksums_shows_what_no_format_can(tmp_path):
    root, sums = coco_tree(tmp_path / "data"), tmp_path / "sums.txt"
    assert not findings("coco", root, sums=sums)
    path = root / "annotations" / "instances_train2014.json"
    text = path.read_text()
    path.write_text(text.replace("[1, 1, ", "[2, 1, ", 1) if "[1, 1, " in text else text + " ")
    (line,) = findings("coco", root, sums=sums)
    assert f"{path} has changed since" in line
    path.unlink()
    assert any(f"{path} is missing, but {sums} lists it" in line for line in check_sums(root, sums))
    sums.write_text("nonsense\n")
    assert any("is no list of checksums" in line for line in findings("coco", root, sums=sums))


def test_masks_that_are_pictures_are_refused(tmp_path):
    root = pascal_tree(tmp_path)
    path = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000000.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)
    assert any("a PNG of mode RGB: expected a palette" in line for line in findings("pascal", root))


def spoilt_folder(root):
    """A folder of somebody's own with everything in it that can be wrong unseen."""
    folder_tree(root)
    cup, mug = root / "cup", root / "mug"
    Image.eval(Image.open(cup / "1.png"), lambda value: 255 - value).save(cup / "1.png")
    line = Image.new("L", (40, 40), 0)
    ImageDraw.Draw(line).ellipse((5, 5, 35, 35), outline=255)
    line.save(cup / "2.png")
    (mug / "3.jpg").write_bytes((mug / "1.jpg").read_bytes())
    (mug / "3.png").write_bytes((mug / "1.png").read_bytes())
    (mug / "4.heic").write_bytes(b"\0")
    (root / "pan" / "1.jpeg").write_bytes((root / "pan" / "1.jpg").read_bytes())
    for name in ("2.jpg", "2.png"):
        (root / "pot" / name).unlink()
    large = Image.new("L", (40, 40), 0)
    large.paste(255, (0, 0, 34, 34))
    large.save(root / "pot" / "1.png")
    return root


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("cup/1.png", "as an inverted mask does: mend it, or keep it"),
        ("cup/2.png", "is an outline alone"),
        ("mug/1.jpg", "3.jpg are the same picture: a query must not be its own support"),
        ("mug/4.heic", "is not read: save it as JPEG or PNG"),
        ("pan/1.jp", "would share one mask"),
        ("class 'pot'", "has 1 photograph, and an episode of one shot and a query needs 2"),
        ("pot/1.png", "covers 72 % of its picture (white on black): look whether"),
    ],
)
def test_what_is_wrong_unseen_in_a_folder_is_found(tmp_path, where, what):
    lines = verify("folder", spoilt_folder(tmp_path)).findings
    assert sum(where in line and what in line for line in lines) == 1, lines


def test_a_folder_of_any_number_of_classes_is_verified(tmp_path):
    for place in (".DS_Store", "__MACOSX/._1.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"\0")
    class_folders(tmp_path, ("a", "b", "c", "d", "e"), pairs=2)
    for place, mask in enumerate(sorted(tmp_path.glob("*/1.jpg"))):
        Image.new("RGB", (40, 40), (50 * place, 9, 9)).save(mask)
    for fold in (None, 0, 3):
        assert verify("folder", tmp_path, fold).ok
