"""Toyshop as a data set, and folders of photographs with everything that can be wrong in them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scl.datasets.folder import FolderDataset, open_folder
from scl.datasets.folds import split_classes
from scl.datasets.photos import read_photo
from scl.datasets.toyshop import ToyshopSet
from scl.method.episode import EpisodeSampler
from scl.toyshop import CLASSES, Atlas

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "photos" / "eth80-scenes"


@pytest.fixture(scope="module")
def toys():
    split = split_classes(20, 1)
    return ToyshopSet(Atlas.load(), split.base[:3], 10, seed=3, allowed=split.base, size=64)


def test_toyshop_items_and_their_order(toys):
    assert len(toys) == 30 and toys.labels[:11] == [0] * 10 + [1]
    image, mask = toys[12]
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert mask.shape == (64, 64) and set(np.unique(mask)) == {0, 1}
    again = ToyshopSet(toys.atlas, toys.labels[:30:10], 10, 3, split_classes(20, 1).base, 64)
    assert np.array_equal(again[12][0], image)


def test_training_scenes_hold_base_classes_alone(toys):
    novel = {CLASSES[i] for i in split_classes(20, 1).novel}
    seen = {name for i in range(30) for name, _ in toys.sources(i)}
    assert not seen & novel and len(seen) > 5


def test_a_support_and_its_query_share_no_view(toys):
    for episode in EpisodeSampler(toys, 3).fixed(60, 0):
        for support in episode.supports:
            assert not toys.sources(support) & toys.sources(episode.query)


def test_a_wrong_mask_shows_another_object(toys):
    for index in range(0, 30, 7):
        wrong, mask = toys.wrong_mask(index), toys[index][1]
        assert wrong.sum() > 0 and (wrong * mask == 0).all()


def photo(folder: Path, name: str, size=(40, 30), mask_size=None, mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    pixels = rng.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(folder / f"{name}.jpg")
    mask = Image.new("L", mask_size or size, 0)
    mask.paste(255, (10, 5, 30, 25))
    mask.save(folder / f"{name}.png")


def test_a_folder_is_read_letterboxed_with_padding_ignored(tmp_path):
    photo(tmp_path / "cup", "one", (40, 30))
    photo(tmp_path / "cup", "grey", (20, 40), mode="L")
    data = FolderDataset(tmp_path, size=80)
    image, mask = data[1]
    assert image.shape == (80, 80, 3) and mask.shape == (80, 80)
    assert (mask[60:] == 255).all() and (mask[:60] != 255).all()
    assert (mask == 1).sum() == 40 * 40  # 20 x 20 pixels, enlarged twice
    assert data.classes == ("cup",) and data.labels == [0, 0]
    assert data[0][1].shape == (80, 80) and (data[0][1][:, 40:] == 255).all()


def test_what_is_wrong_in_a_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        FolderDataset(tmp_path / "nowhere")
    photo(tmp_path / "cup", "one")
    with pytest.raises(ValueError, match=r"no class folder \['mug'\]"):
        FolderDataset(tmp_path, classes=["mug"])
    (tmp_path / "cup" / "one.png").unlink()
    with pytest.raises(ValueError, match="has no mask: expected one.png"):
        FolderDataset(tmp_path)
    photo(tmp_path / "cup", "one", mask_size=(10, 10))
    with pytest.raises(ValueError, match="is 10 x 10 and its image 40 x 30"):
        FolderDataset(tmp_path)[0]
    (tmp_path / "pot").mkdir()
    with pytest.raises(ValueError, match="pot holds no image"):
        FolderDataset(tmp_path)


def test_a_truncated_or_vanished_image_is_named(tmp_path):
    photo(tmp_path / "cup", "one", (200, 150))
    photo(tmp_path / "cup", "two")
    data = FolderDataset(tmp_path)
    whole = (tmp_path / "cup" / "one.jpg").read_bytes()
    (tmp_path / "cup" / "one.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="one.jpg cannot be read"):
        data[0]
    (tmp_path / "cup" / "two.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="two.jpg cannot be read"):
        data[1]
    os.remove(tmp_path / "cup" / "two.jpg")
    with pytest.raises(ValueError, match="two.jpg is missing"):
        data[1]


def test_a_turned_photograph_is_read_upright(tmp_path):
    photo(tmp_path / "cup", "one", (40, 30))
    image = Image.open(tmp_path / "cup" / "one.jpg")
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter when shown
    image.rotate(90, expand=True).save(tmp_path / "cup" / "one.jpg", exif=exif)
    pixels, mask = FolderDataset(tmp_path, size=40)[0]
    assert (mask[30:] == 255).all() and (mask[:30] != 255).all()
    assert np.abs(pixels[:30].astype(int) - np.asarray(image)).mean() < 30


@pytest.mark.parametrize("value", [1, 38])
def test_a_mask_that_is_not_white_is_explained(tmp_path, value):
    photo(tmp_path / "cup", "one")
    Image.new("L", (40, 30), value).save(tmp_path / "cup" / "one.png")
    with pytest.raises(ValueError, match=f"brightest is {value}.*white"):
        FolderDataset(tmp_path)[0]


@pytest.mark.parametrize("size", [(40, 30), (31, 97), (64, 64)])
def test_a_mask_returns_to_the_size_of_its_photograph(tmp_path, size):
    photo(tmp_path, "one", size)
    read = read_photo(tmp_path / "one.jpg", tmp_path / "one.png", size=128)
    assert read.image.shape == (3, 128, 128) and read.mask.shape == (128, 128)
    scores = torch.stack([read.mask != 1, read.mask == 1]).float()
    back = np.asarray(read.restore(scores)) > 127
    truth = np.asarray(Image.open(tmp_path / "one.png")) > 127
    assert back.shape == truth.shape == size[::-1]
    assert (back & truth).sum() / (back | truth).sum() > 0.85
    assert read_photo(tmp_path / "one.jpg").mask is None


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photographs (ETH-80 scenes) are not here")
def test_photographs_make_episodes():
    data = FolderDataset(PHOTOS)
    assert len(data.classes) == 8 and len(data) == 640
    split = split_classes(8, 0)
    for index in EpisodeSampler(data, 2, split.novel).fixed(5, 0):
        image, mask = data[index.query]
        assert image.shape == (128, 128, 3) and (mask == 1).any()


# ------------------------------------------------------------------ layouts and names


def pair(image: Path, mask: Path, seed: int = 0, value: int = 255):
    """A photograph of its own and a mask, in the formats that their names say."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(image)
    marks = Image.new("L", (40, 30), 0)
    marks.paste(value, (10, 5, 30, 25))
    marks.save(mask)


LAYOUTS = {
    "beside": ["cup/{}.jpg", "cup/{}.png"],
    "upper": ["cup/{}.JPG", "cup/{}.PNG"],
    "marked": ["cup/{}.jpg", "cup/{}_mask.png"],
    "dashed": ["cup/{}.jpeg", "cup/{}-mask.png"],
    "marked upper": ["cup/{}.PNG", "cup/{}_MASK.png"],
    "png photographs": ["cup/{}.png", "cup/{}_mask.png"],
    "webp": ["cup/{}.webp", "cup/{}.png"],
    "bmp": ["cup/{}.bmp", "cup/{}_mask.bmp"],
    "twins in a class": ["cup/images/{}.jpg", "cup/masks/{}.png"],
    "twins of png": ["cup/images/{}.png", "cup/masks/{}.png"],
    "twins around classes": ["images/cup/{}.jpg", "masks/cup/{}.png"],
    "twins, upper and marked": ["Images/cup/{}.jpg", "Masks/cup/{}_mask.png"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_photographs_and_masks_lie_as_people_lay_them(tmp_path, layout):
    image, mask = LAYOUTS[layout]
    for place in range(2):
        pair(tmp_path / image.format(place), tmp_path / mask.format(place), place)
    for left in (".DS_Store", "Thumbs.db", "__MACOSX/._cup", ".git/config", "notes.txt"):
        (tmp_path / left).parent.mkdir(exist_ok=True)
        (tmp_path / left).write_bytes(b"\0")
        beside = (tmp_path / image).parent / f"._{Path(left).name}.jpg"
        beside.write_bytes(b"\0")
    data = FolderDataset(tmp_path, size=40)
    assert data.classes == ("cup",) and len(data) == 2
    assert all((data[i][1] == 1).sum() == 400 for i in range(2))
    assert [p.name for p, _ in data.files] == [Path(image.format(i)).name for i in range(2)]


def test_twins_without_classes_are_one_class(tmp_path):
    pair(tmp_path / "mugs" / "images" / "1.jpg", tmp_path / "mugs" / "masks" / "1.png")
    assert FolderDataset(tmp_path / "mugs").classes == ("mugs",)


def test_outlines_are_masks_of_a_folder_too(tmp_path):
    for place in range(2):
        pair(tmp_path / f"cup/{place}.jpg", tmp_path / f"cup/{place}.png", place)
    (tmp_path / "cup/1.png").unlink()
    shape = {"label": "cup", "points": [[10, 5], [29, 5], [29, 24], [10, 24]]}
    (tmp_path / "cup/1.json").write_text(json.dumps({"shapes": [shape]}))
    (tmp_path / "cup/0.txt").write_text("a note beside a mask")
    data = FolderDataset(tmp_path, size=40)
    assert [(data[i][1] == 1).sum() for i in range(2)] == [400, 400]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["1.jpg", "1.jpeg", "1.png"], "1.jpe?g and 1.jpe?g would share one mask"),
        (["1.jpg", "1.JPG", "1.png"], "would share one mask"),
        (["1.jpg", "1.png", "1_mask.png"], "1.jpg has 2 masks, 1.png and 1_mask.png"),
        (["1.png", "1_mask.png", "2.png"], "2.png has no mask: expected 2_mask.png beside it"),
        (["images/1.jpg", "masks/2.png"], "1.jpg has no mask: expected 1.png in .*masks"),
        (["gas_mask.jpg", "gas_mask.png"], None),
        (["1.jpg", "1.png", "9.png"], None),
    ],
)
def test_names_that_say_too_little_are_refused(tmp_path, names, complaint):
    for place, name in enumerate(names):
        pair(tmp_path / "cup" / name, tmp_path / "other.png", place)
    if complaint is None:
        assert len(FolderDataset(tmp_path)) == 1
        return
    with pytest.raises(ValueError, match=complaint):
        FolderDataset(tmp_path)


def test_a_mask_that_looks_inverted_is_warned_of_and_read(tmp_path):
    pair(tmp_path / "cup/1.jpg", tmp_path / "cup/1.png")
    Image.eval(Image.open(tmp_path / "cup/1.png"), lambda v: 255 - v).save(tmp_path / "cup/1.png")
    with pytest.warns(UserWarning, match="1.png covers 67 % .*mend it, or keep it if it is right"):
        FolderDataset(tmp_path)[0]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 9])
def test_a_folder_of_any_number_of_classes_has_folds(tmp_path, count):
    for place in range(count):
        for copy in range(2):
            pair(tmp_path / f"c{place}/{copy}.jpg", tmp_path / f"c{place}/{copy}.png", copy)
    novel = []
    for fold in range(4):
        if count == 1 and fold == 0:
            with pytest.raises(ValueError, match="fold 0 of one class.*--fold 3"):
                open_folder(tmp_path, "train", 1, None, fold, 0)
            novel += ["c0"]
            continue
        base = open_folder(tmp_path, "train", 1, None, fold, 0).classes
        try:
            held = open_folder(tmp_path, "novel", 1, None, fold, 0).classes
        except ValueError as error:
            assert count < 4 and f"fold {fold} of the {count} classes" in str(error)
            held = ()
        assert sorted((*base, *held)) == [f"c{i}" for i in range(count)]
        novel += held
    assert novel == [f"c{i}" for i in range(count)]
