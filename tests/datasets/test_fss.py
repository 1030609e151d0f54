"""FSS-1000 and folders of class folders, at their own size."""

import numpy as np
import pytest
from PIL import Image

from scl.datasets.fetch.download import fetch_fss
from scl.datasets.fit import Letterbox
from scl.datasets.folder import ClassFolder
from scl.datasets.fss import FSS1000
from scl.method.episode import EpisodeSampler, load_episodes
from tests.helpers.trees import (
    FSS_CLASSES,
    class_folders,
    folder_tree,
    fss_tree,
    photograph,
    write_lines,
)


@pytest.fixture
def root(tmp_path):
    return fss_tree(tmp_path)


@pytest.mark.parametrize("split", ["train", "validation", "test", "novel"])
def test_classes_are_those_of_the_list_in_its_order(root, split):
    data = FSS1000(root, split)
    names = FSS_CLASSES["test" if split == "novel" else split]
    assert data.classes == names and data.labels == [i for i in range(len(names)) for _ in "123"]
    image, mask = data[1]
    assert image.shape == (40, 40, 3) and image.dtype == mask.dtype == np.uint8
    expected = np.zeros((40, 40), np.uint8)
    expected[5:30, 6:26] = 1
    assert np.array_equal(mask, expected)
    index = EpisodeSampler(data, 1).draw(np.random.default_rng(0))
    assert load_episodes(data, [index]).query_masks.max() == 1


def test_lists_may_have_the_names_of_other_repositories_or_be_passed(root):
    (root / "splits").mkdir()
    (root / "train.txt").rename(root / "splits" / "trn.txt")
    (root / "test.txt").rename(root / "fss_test_set.txt")
    assert FSS1000(root, "train").classes == FSS_CLASSES["train"]
    assert FSS1000(root, "test").classes == FSS_CLASSES["test"]
    write_lines(root / "mine.txt", ["bus"])
    assert FSS1000(root, "train", listed=root / "mine.txt").classes == ("bus",)


def test_no_division_is_invented(root):
    (root / "train.txt").unlink()
    with pytest.raises(ValueError, match="holds no list of the train classes: expected train.txt"):
        FSS1000(root, "train")


def test_a_class_in_two_lists_or_without_a_folder_is_named(root):
    write_lines(root / "validation.txt", ["cat", "egg"])
    with pytest.raises(ValueError, match="validation.txt and .*test.txt both list 'egg'"):
        FSS1000(root, "train")
    write_lines(root / "validation.txt", ["cat", "gnu"])
    with pytest.raises(ValueError, match="gnu is missing .1 of 2 .*validation.txt lists it"):
        FSS1000(root, "validation")
    write_lines(root / "validation.txt", ["../cat"])
    with pytest.raises(ValueError, match="lists '../cat': expected names like 'bus'"):
        FSS1000(root, "validation")


def test_it_cannot_be_fetched_by_a_program(root):
    with pytest.raises(ValueError, match="fetched with a browser: pass its file with --archive"):
        fetch_fss(root)


def test_any_class_folder_is_read_at_its_own_size(tmp_path):
    class_folders(tmp_path, ("cup",), pairs=2, size=(40, 40))
    photograph(tmp_path / "cup" / "3.jpg", 3, (60, 50))
    mask = Image.new("RGBA", (60, 50), (0, 0, 0, 255))
    mask.paste((255, 255, 255, 255), (10, 10, 30, 30))
    mask.save(tmp_path / "cup" / "3.png")
    data = ClassFolder(tmp_path, shots=2)
    assert [data[i][1].shape for i in range(3)] == [(40, 40), (40, 40), (50, 60)]
    assert data[2][1].sum() == 400 and data[2][0].shape == (50, 60, 3)
    assert ClassFolder(tmp_path, transform=Letterbox(32))[2][1].shape == (32, 32)
    with pytest.raises(ValueError, match="class 'cup' has 3 usable images"):
        ClassFolder(tmp_path, shots=3)


def test_what_is_wrong_in_a_class_folder_is_named(tmp_path):
    folder_tree(tmp_path)
    data = ClassFolder(tmp_path)
    Image.new("L", (40, 40), 0).save(tmp_path / "cup" / "1.png")
    with pytest.raises(ValueError, match="cup/1.png shows no object"):
        data[0]
    Image.new("L", (40, 41), 255).save(tmp_path / "cup" / "1.png")
    with pytest.raises(ValueError, match="cup/1.png is 40 x 41 and its image 40 x 40"):
        data[0]
    whole = (tmp_path / "cup" / "2.png").read_bytes()
    (tmp_path / "cup" / "2.png").write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(ValueError, match="cup/2.png cannot be read as a PNG"):
        data[1]
    (tmp_path / "mug" / "1.png").unlink()
    with pytest.raises(ValueError, match="mug/1.jpg has no mask"):
        ClassFolder(tmp_path)
