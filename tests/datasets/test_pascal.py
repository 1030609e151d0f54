"""PASCAL-5^i from tiny trees in VOC's and SBD's formats, with everything that can be wrong."""

import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scl.datasets import files
from scl.datasets.fit import Letterbox
from scl.datasets.items import wanted_classes
from scl.datasets.pascal import Pascal5i, find_tree, pascal_classes, training_names
from scl.datasets.pictures import open_picture, read_label_map
from scl.method.episode import EpisodeSampler, load_episodes
from tests.helpers.trees import (
    HEIGHT,
    IN_BOTH,
    SBD_ONLY,
    VALIDATION,
    VOC_ONLY,
    WIDTH,
    WITH_NOVEL,
    palette_png,
    pascal_tree,
    photograph,
    sbd_mat,
    two_classes,
    write_lines,
)

LAST = next(iter(WITH_NOVEL))


@pytest.fixture
def root(tmp_path):
    return pascal_tree(tmp_path)


def voc(root: Path) -> Path:
    return root / "VOCdevkit" / "VOC2012"


def sbd(root: Path) -> Path:
    return root / "benchmark_RELEASE" / "dataset"


def by_item(data: Pascal5i) -> dict:
    return {
        (key, label): i for i, (key, label) in enumerate(zip(data.keys, data.labels, strict=True))
    }


def test_items_are_pairs_at_their_own_size_with_all_three_values(root):
    data = Pascal5i(root, 0, "train")
    assert len(data) == 2 * 15 + 1 and data.classes == pascal_classes() and len(data.classes) == 20
    items = by_item(data)
    image, mask = data[items["2007_000003", 9]]
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8
    expected = two_classes(8, 9)
    assert np.array_equal(mask, np.where(expected == 255, 255, expected == 10))
    assert data.sources(items["2007_000003", 9]) == data.sources(items["2007_000003", 8])
    assert data.sources(items["2007_000003", 9]) != data.sources(items["2007_000002", 8])


def test_the_training_list_is_sbds_then_vocs_without_duplicates_or_validation(root):
    assert list(training_names(find_tree(root))) == [*IN_BOTH, *SBD_ONLY, *WITH_NOVEL, *VOC_ONLY]
    write_lines(sbd(root) / "train_noval.txt", ["2009_000010", *IN_BOTH])
    names = training_names(find_tree(root))
    assert list(names) == ["2009_000010", *IN_BOTH, *VOC_ONLY]
    assert [path.name for path in names.values()] == ["train_noval.txt", *["train.txt"] * 8]


def test_base_classes_train_and_novel_ones_are_tested_on_validation_images(root):
    train, novel = Pascal5i(root, 0, "train"), Pascal5i(root, 0, "novel")
    assert set(train.labels) == set(range(5, 20)) and set(novel.labels) == set(range(5))
    assert set(novel.keys) == set(VALIDATION) and not set(train.keys) & set(novel.keys)
    assert Pascal5i(root, 0, "test").keys == novel.keys


def test_held_out_base_classes_leave_the_training(root):
    for name, pair in {
        "2007_000200": (6, 5),
        "2007_000201": (5, 6),
        "2007_000202": (11, 16),
    }.items():
        photograph(voc(root) / "JPEGImages" / f"{name}.jpg", 1)
        palette_png(voc(root) / "SegmentationClass" / f"{name}.png", two_classes(*pair))
    lists = voc(root) / "ImageSets" / "Segmentation"
    write_lines(lists / "val.txt", [*VALIDATION, *(f"2007_00020{i}" for i in range(3))])
    validation = Pascal5i(root, 0, "validation", held_out=1)
    assert set(validation.labels) == {5} and len(validation) == 2
    assert set(Pascal5i(root, 0, "train", held_out=1).labels) == set(range(6, 20))
    with pytest.raises(ValueError, match="usable images"):
        Pascal5i(root, 0, "validation")  # all fifteen base classes, and few are in this tree
    assert wanted_classes("validation", 20, 0, 0, "contiguous") == tuple(range(5, 20))


def test_novel_pixels_in_training_images_are_background_and_their_images_stay(root):
    data = Pascal5i(root, 0, "train")
    items = [i for i, key in enumerate(data.keys) if key == LAST]
    assert [data.labels[i] for i in items] == [5]
    labels = two_classes(5, 0, shift=1, border=False)
    assert np.array_equal(data[items[0]][1], labels == 6)
    assert (labels == 1).sum() > 2048 and (data[items[0]][1][labels == 1] == 0).all()


def test_a_small_object_counts_as_absent_and_is_background(root):
    labels = two_classes(5, 6)
    labels[:20, 49:69] = 10  # 400 pixels of class 9
    labels[40:, :2] = 255
    palette_png(voc(root) / "SegmentationClass" / "2007_000000.png", labels)
    data = Pascal5i(root, 0, "train")
    assert {label for key, label in by_item(data) if key == "2007_000000"} == {5, 6}
    labels = np.repeat(np.uint8([6, 7, 10]), 2048).reshape(HEIGHT, WIDTH)
    palette_png(voc(root) / "SegmentationClass" / "2007_000000.png", labels)
    assert ("2007_000000", 9) in by_item(Pascal5i(root, 0, "train"))
    labels[-1, -1] = 255
    palette_png(voc(root) / "SegmentationClass" / "2007_000000.png", labels)
    assert ("2007_000000", 9) not in by_item(Pascal5i(root, 0, "train"))


def test_a_mask_of_background_alone_gives_no_item(root):
    name = "2007_000001"
    palette_png(
        voc(root) / "SegmentationClass" / f"{name}.png", np.zeros((HEIGHT, WIDTH), np.uint8)
    )
    photograph(voc(root) / "JPEGImages" / "2007_000900.jpg", 1)
    palette_png(voc(root) / "SegmentationClass" / "2007_000900.png", two_classes(6, 7))
    write_lines(
        voc(root) / "ImageSets" / "Segmentation" / "train.txt",
        [*VOC_ONLY, *IN_BOTH, "2007_000900"],
    )
    assert name not in Pascal5i(root, 0, "train").keys


def test_vocs_own_mask_wins_and_its_loss_is_not_papered_over(root):
    data, name = Pascal5i(root, 0, "train"), next(iter(IN_BOTH))
    item = next(i for i, key in enumerate(data.keys) if key == name)
    assert (data[item][1] == 255).any(), "SBD has no borders: this is VOC's"
    (voc(root) / "SegmentationClass" / f"{name}.png").unlink()
    with pytest.raises(ValueError, match=f"{name}.png is missing"):
        Pascal5i(root, 0, "train")


@pytest.mark.parametrize("kind", ["palette", "grey"])
def test_a_ready_folder_of_augmented_masks_takes_the_place_of_the_mat_files(root, kind):
    before = Pascal5i(root, 0, "train")
    expected = [before[i][1] for i in range(len(before))]
    folder = voc(root) / "SegmentationClassAug"
    folder.mkdir()
    for path in (sbd(root) / "cls").glob("*.mat"):
        labels = read_label_map(path)
        if kind == "palette":
            palette_png(folder / f"{path.stem}.png", labels)
        else:
            Image.fromarray(labels).save(folder / f"{path.stem}.png")
    shutil.rmtree(sbd(root) / "cls")
    write_lines(root / "train_noval.txt", sorted([*IN_BOTH, *SBD_ONLY, *WITH_NOVEL]))
    found = Pascal5i(root, 0, "train")
    assert found.keys == before.keys and found.labels == before.labels
    assert all(np.array_equal(found[i][1], mask) for i, mask in enumerate(expected))


def test_a_tree_may_start_at_voc_itself_and_testing_needs_no_sbd(root):
    shutil.rmtree(sbd(root))
    assert len(Pascal5i(voc(root), 0, "test")) == 10
    with pytest.raises(ValueError, match="holds no list of SBD.*benchmark.tgz"):
        Pascal5i(voc(root), 0, "train")
    with pytest.raises(ValueError, match="holds no VOC 2012"):
        Pascal5i(root / "nowhere", 0, "test")


# -------------------------------------------------------------- photographs


def test_grey_and_cmyk_photographs_become_colour(root):
    for name, mode in (("2007_000000", "L"), ("2007_000001", "CMYK")):
        path = voc(root) / "JPEGImages" / f"{name}.jpg"
        with Image.open(path) as stored:
            assert stored.mode == mode
            expected = np.asarray(stored.convert("RGB"))
        assert np.array_equal(open_picture(path, (WIDTH, HEIGHT)), expected)


def test_a_png_of_four_channels_under_the_name_of_a_jpeg_is_a_photograph(root):
    path = voc(root) / "JPEGImages" / "2007_000002.jpg"
    photograph(path, 3, mode="RGBA", kind="PNG")
    data = Pascal5i(root, 0, "train")
    assert data[data.keys.index("2007_000002")][0].shape == (HEIGHT, WIDTH, 3)


def turned(path: Path, size, orientation: int) -> np.ndarray:
    """A photograph stored with `size` that its EXIF says is to be turned; as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(path, 5, size, exif=exif, quality=95)
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_turned_photograph_lies_as_its_mask_does(tmp_path):
    path = tmp_path / "a.jpg"
    stored = turned(path, (HEIGHT, WIDTH), 6)
    assert np.array_equal(open_picture(path, (HEIGHT, WIDTH)), stored)
    assert np.array_equal(open_picture(path, (WIDTH, HEIGHT)), np.rot90(stored, 3))
    with pytest.raises(ValueError, match="is 64 x 96 and its mask 90 x 64"):
        open_picture(path, (90, 64))


@pytest.mark.parametrize("size, orientation", [((64, 64), 6), ((96, 64), 3), ((96, 64), 2)])
def test_where_the_size_cannot_tell_a_turned_photograph_is_refused(tmp_path, size, orientation):
    turned(tmp_path / "a.jpg", size, orientation)
    with pytest.raises(ValueError, match=f"a.jpg says in EXIF.*orientation {orientation}"):
        open_picture(tmp_path / "a.jpg", size)


def test_a_turned_photograph_in_the_tree(root):
    turned(voc(root) / "JPEGImages" / "2007_000000.jpg", (HEIGHT, WIDTH), 8)
    image, mask = Pascal5i(root, 0, "train")[0]
    assert image.shape[:2] == mask.shape == (HEIGHT, WIDTH)


def test_a_truncated_photograph_is_named(root):
    path = voc(root) / "JPEGImages" / "2007_000003.jpg"
    path.write_bytes(path.read_bytes()[:400])
    data = Pascal5i(root, 0, "train")
    with pytest.raises(ValueError, match="2007_000003.jpg cannot be read as a picture"):
        data[data.keys.index("2007_000003")]
    path.unlink()
    with pytest.raises(
        ValueError, match=r"2007_000003.jpg is missing, but .*Segmentation/train.txt lists"
    ):
        Pascal5i(root, 0, "train")


# -------------------------------------------------------------------- masks


def test_palettes_of_fewer_bits_are_indices_too(tmp_path):
    labels = two_classes(3, 9, border=False)
    picture = Image.fromarray(labels)
    picture.putpalette(list(range(48)))
    picture.save(tmp_path / "a.png", bits=4)
    assert np.array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_a_mask_that_lost_its_indices_is_refused(tmp_path, mode):
    labels = two_classes(3, 9)
    deep = Image.fromarray(labels.astype(np.uint16))
    picture = deep if mode == "I;16" else Image.fromarray(labels).convert(mode)
    picture.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"a.png is a PNG of mode {mode}: expected a palette"):
        read_label_map(tmp_path / "a.png")


def test_grey_of_four_bits_is_refused_because_it_would_be_stretched(tmp_path):
    # Colour type 0 (grey), depth 4, written by hand: Pillow writes no such file.
    def chunk(kind: bytes, data: bytes) -> bytes:
        ends = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return ends[0] + kind + data + ends[1]

    head = struct.pack(">IIBBBBB", 2, 2, 4, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x11\0\x11")
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="a.png is a PNG of mode L: expected.*8-bit grey"):
        read_label_map(tmp_path / "a.png")


def test_a_value_that_is_no_class_is_refused(root):
    labels = two_classes(5, 6)
    labels[0, 0] = 77
    palette_png(voc(root) / "SegmentationClass" / "2007_000000.png", labels)
    with pytest.raises(ValueError, match="2007_000000.png holds the value 77"):
        Pascal5i(root, 0, "train")


def test_every_flipped_bit_of_a_mask_is_noticed_or_changes_nothing(tmp_path):
    labels = two_classes(3, 9)
    palette_png(tmp_path / "a.png", labels)
    sbd_mat(tmp_path / "a.mat", labels)
    for path in (tmp_path / "a.png", tmp_path / "a.mat"):
        good, noticed = path.read_bytes(), 0
        for place in range(len(good)):
            bad = bytearray(good)
            bad[place] ^= 1 << place % 8
            path.write_bytes(bad)
            try:
                assert np.array_equal(read_label_map(path), labels)
            except ValueError as error:
                assert str(path) in str(error)
                noticed += 1
        assert noticed > 100


def test_a_mat_file_without_a_checksum_or_without_labels_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    sbd_mat(path, two_classes(1, 2), compressed=False)
    with pytest.raises(ValueError, match="a.mat holds an element of type 14: expected compressed"):
        read_label_map(path)
    sbd_mat(path, two_classes(1, 2).astype(float))
    with pytest.raises(ValueError, match="a.mat holds labels .* of float64"):
        read_label_map(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="a.mat cannot be read as a label map .no MATLAB 5 file"):
        read_label_map(path)


# -------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "text, message",
    [
        ("2007_000000\n2007_000000\n", "train.txt lists '2007_000000' twice"),
        ("2007_000000 1\n", "train.txt lists '2007_000000 1': expected names like"),
        ("../../etc/passwd\n", "expected names like '2007_000032'"),
        ("", "train.txt is empty"),
        ("2007_000100\n", "train.txt lists 2007_000100, which is in .*val.txt"),
        ("2007_009999\n", "2007_009999.jpg is missing"),
    ],
)
def test_a_broken_list_is_named(root, text, message):
    (voc(root) / "ImageSets" / "Segmentation" / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        Pascal5i(root, 0, "train")


def test_a_missing_list_is_named(root):
    (voc(root) / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"Main.val.txt is missing: restore"):
        Pascal5i(root, 0, "train")


def test_a_class_without_enough_images_is_named(root):
    with pytest.raises(ValueError, match=r"class 'aeroplane' has 2 usable.*3 shots.*needs 4"):
        Pascal5i(root, 0, "test", shots=3)
    with pytest.raises(ValueError, match=r"val.txt: class 'bus' has 0 usable images"):
        Pascal5i(root, 1, "test")
    with pytest.raises(ValueError, match="shots=0"):
        Pascal5i(root, 0, "test", shots=0)
    with pytest.raises(ValueError, match="split='trian'"):
        Pascal5i(root, 0, "trian")
    with pytest.raises(ValueError, match="fold=4"):
        Pascal5i(root, 4, "test")


# ------------------------------------------------------------------ episodes


def test_episodes_are_drawn_as_from_any_data_set(root):
    data = Pascal5i(root, 0, "train", transform=Letterbox(48))
    for index in EpisodeSampler(data, data.shots).fixed(5, 0):
        episode = load_episodes(data, [index])
        assert episode.query.shape == (1, 3, 48, 48)
        assert (episode.support_masks[:, :, 32:] == 255).all() and (episode.query_masks == 1).any()


def test_letterboxing_keeps_borders_ignored_and_objects_marked():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    labels = two_classes(0, 1)
    mask = np.where(labels == 255, 255, labels == 1).astype(np.uint8)
    pixels, small = Letterbox(WIDTH)(image, mask)
    assert pixels.shape == (WIDTH, WIDTH, 3) and np.array_equal(small[:HEIGHT], mask)
    assert (small[HEIGHT:] == 255).all()


@pytest.mark.parametrize(
    "transform, message",
    [
        (lambda image, mask: (image / 255, mask), "an image .* of float64: expected H x W x 3"),
        (lambda image, mask: (image[::2], mask), "a mask .64, 96. of uint8: expected uint8 of the"),
        (lambda image, mask: (image, mask + 126), "put 12[67] into a mask: expected 0, 1 and 255"),
    ],
)
def test_a_transform_is_held_to_the_protocol(root, transform, message):
    data = Pascal5i(root, 0, "train", transform=transform)
    with pytest.raises(ValueError, match=message):
        data[0]


def test_a_mask_that_changed_since_the_data_set_was_built_is_noticed(root):
    data = Pascal5i(root, 0, "train")
    labels = two_classes(5, 6)
    labels[:30, :46][labels[:30, :46] == 6] = 0  # class 5 falls below the area rule
    palette_png(voc(root) / "SegmentationClass" / "2007_000000.png", labels)
    with pytest.raises(ValueError, match="000.png shows less of class 'bus' than when this data"):
        data[by_item(data)["2007_000000", 5]]
    assert ("2007_000000", 5) not in by_item(Pascal5i(root, 0, "train"))


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    sbd_mat(tmp_path / "a.mat", two_classes(1, 2))

    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr(files.importlib, "import_module", fail)
    with pytest.raises(ValueError, match=re.escape("SciPy is not installed") + ".*benchmarks"):
        read_label_map(tmp_path / "a.mat")
