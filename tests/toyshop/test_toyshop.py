"""The toy world: repeatable pictures, exact masks, and a guarded atlas."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from contact_sheet import contact_sheet
from PIL import Image

from scl.datasets.folds import split_classes
from scl.toyshop import (
    CLASSES,
    CLUTTER,
    PARTS,
    Atlas,
    compose,
    default_folder,
)
from toymaker import Comparison, agreement, compare, rebuild, render_view

NOVEL = tuple(CLASSES[i] for i in split_classes(len(CLASSES), 1).novel)
BASE = tuple(cls for cls in CLASSES if cls not in NOVEL)


@pytest.fixture(scope="module")
def atlas():
    return Atlas.load()


def _iou(one, two):
    return (one & two).sum() / max(1, (one | two).sum())


def _scenes(atlas, each=3, seed=5, **kwargs):
    return [compose(atlas, seed, cls, i, **kwargs) for cls in CLASSES for i in range(each)]


# -- classes and folds --------------------------------------------------------------------------


def test_folds_partition_the_twenty_classes():
    folds = [split_classes(len(CLASSES), i).novel for i in range(4)]
    assert [CLASSES[i] for i in sum(folds, ())] == list(CLASSES)
    assert len(set(CLASSES)) == 20


def test_every_class_has_three_to_seven_named_parts():
    assert all(3 <= len(set(PARTS[cls])) == len(PARTS[cls]) <= 7 for cls in CLASSES)


def test_the_renderer_waits_until_a_view_is_rendered():
    code = """
import sys
from scl.toyshop import CLASSES, Atlas, compose
compose(Atlas.load(), 0, "mug", 0, size=64)
print([name for name in sys.modules if name.startswith("toymaker")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_the_renderer_the_remedy_is_named(atlas, monkeypatch):
    monkeypatch.setitem(sys.modules, "toymaker", None)
    with pytest.raises(ValueError, match="tasks.py install"):
        atlas.view("mug", 0, size=57)


def test_every_name_has_a_family():
    from toymaker.families import FAMILIES

    assert tuple(FAMILIES) == tuple(PARTS) == (*CLASSES, *CLUTTER)


# -- views and the atlas ------------------------------------------------------------------------


def test_a_view_is_a_pure_function_of_its_arguments():
    one, two = render_view("robot", 3, size=40), render_view("robot", 3, size=40)
    assert np.array_equal(one.rgb, two.rgb)
    assert np.array_equal(one.parts, two.parts)
    other = render_view("robot", 4, size=40)
    assert other.rgb.shape != one.rgb.shape or not np.array_equal(other.rgb, one.rgb)


def test_a_view_shows_the_same_at_two_sizes():
    small, large = render_view("duck", 1, size=48), render_view("duck", 1, size=96)
    assert max(small.alpha.shape) == 48 and max(large.alpha.shape) == 96
    shrunk = Image.fromarray(large.alpha).resize(small.alpha.shape[::-1])
    assert _iou(np.asarray(shrunk) >= 128, small.alpha >= 128) > 0.96


def test_parts_lie_exactly_where_the_view_covers(atlas):
    for cls in (*CLASSES, *CLUTTER):
        view = atlas.view(cls, 2)
        assert np.array_equal(view.parts > 0, view.alpha >= 128)
        assert view.parts.max() <= len(PARTS[cls])
        assert not view.rgb[view.alpha == 0].any()
        assert max(view.alpha.shape) == atlas.scale


def test_every_part_occurs_in_the_atlas(atlas):
    for cls in CLASSES:
        seen = set().union(*(np.unique(atlas.view(cls, i).parts) for i in range(40)))
        assert seen - {0} == set(range(1, len(PARTS[cls]) + 1)), cls


def test_rendering_again_gives_the_shipped_views(atlas):
    close = covered = 0
    for number, cls in enumerate(CLASSES):
        view = (7 * number + 3) % atlas.count(cls)
        again = render_view(cls, view, atlas.seed, atlas.scale)
        near, total, iou = agreement(again, atlas.view(cls, view))
        assert iou >= 0.999, (cls, view)
        close, covered = close + near, covered + total
    assert close / covered >= 0.999


def test_the_atlas_is_small_and_has_sixty_views_a_class(atlas):
    files = [path for path in atlas.folder.iterdir() if path.suffix in (".json", ".webp", ".png")]
    assert len(files) == 1 + 2 * len(PARTS) == 49
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert all(atlas.count(cls) >= 60 for cls in CLASSES)


def test_the_atlas_is_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("SCL_DATA", raising=False)
    before = default_folder()
    monkeypatch.chdir(tmp_path)
    assert default_folder() == before
    monkeypatch.setenv("SCL_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="elsewhere"):
        Atlas.load()


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-50])


def _alter(path):
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize("name", ["mug.webp", "fir-tree-parts.png", "toyshop.json"])
@pytest.mark.parametrize("harm", [_truncate, _alter, lambda path: path.unlink()])
def test_a_damaged_atlas_names_the_file_and_the_remedy(atlas, tmp_path, name, harm):
    folder = tmp_path / "data"
    shutil.copytree(atlas.folder, folder)
    harm(folder / name)
    if name == "toyshop.json" and harm is _alter:
        (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=f"{name}.*python -m scl atlas --out"):
        Atlas.load(folder)


def test_rebuild_compares_equal_and_never_overwrites_in_silence(tmp_path, monkeypatch):
    for cls in set(PARTS) - {"mug", "car", "ball"}:
        monkeypatch.delitem(PARTS, cls)
    small = {"processes": 1, "progress": False, "views": 1, "scale": 24}
    one = rebuild(tmp_path / "one", **small)
    rebuild(one, **small)  # the same files again: nothing to lose
    assert not list(one.glob("*.part"))
    with pytest.raises(FileExistsError, match="overwrite"):
        rebuild(one, seed=7, **small)
    first = Atlas.load(one)
    assert compare(first, first) == Comparison(close=1, worst_iou=1)
    rebuild(one, overwrite=True, seed=7, **small)
    assert compare(first, Atlas.load(one)).worst_iou < 0.999


# -- scenes -------------------------------------------------------------------------------------


def test_a_scene_is_decided_by_its_arguments(atlas):
    one, two = (compose(Atlas.load(), 3, "car", 4, BASE + ("car",), 96) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.objects, two.objects)
    assert one.views == two.views
    for other in (compose(atlas, 4, "car", 4, size=96), compose(atlas, 3, "car", 5, size=96)):
        assert not np.array_equal(one.image, other.image)


def test_masks_agree_with_one_another(atlas):
    for scene in _scenes(atlas):
        assert np.array_equal(scene.parts > 0, scene.objects == 1)
        assert np.array_equal(scene.mask, scene.parts > 0)
        assert scene.parts.max() <= len(scene.part_names)
        assert set(np.unique(scene.objects)) - {0} == set(range(1, len(scene.classes) + 1))
        assert scene.image.shape == (128, 128, 3) and scene.image.dtype == np.uint8


def test_masks_follow_the_picture(atlas):
    """Repainting one toy changes the picture on its visible pixels, hardly anywhere else."""
    scene = compose(atlas, 5, "mug", 0)
    altered = Atlas.load()
    cls, view = next(pair for pair in scene.views if pair[0] == "mug")
    altered.view(cls, view)
    colour, parts = altered._sheets[cls]
    altered._sheets[cls] = (np.dstack([255 - colour[..., :3], colour[..., 3]]), parts)
    changed = compose(altered, 5, "mug", 0).image != scene.image
    assert _iou(changed.any(-1), scene.mask.astype(bool)) > 0.85


def test_the_target_stays_visible(atlas):
    for scene in _scenes(atlas, each=4):
        assert 2 <= len(scene.classes) <= 4
        assert scene.mask.mean() >= 0.03
        assert len(set(scene.classes)) == len(scene.classes)


def test_at_least_a_third_of_the_target_is_unhidden(atlas):
    from scl.toyshop import scenes

    for cls in CLASSES:
        others = [name for name in CLASSES if name != cls]
        layout = scenes._lay_out(atlas, 9, cls, 1, others)
        target = next(item for item in layout.items if item.label == 1)
        rgba, _ = scenes._sprite(atlas, target, 128)
        visible = compose(atlas, 9, cls, 1).mask.sum()
        assert visible >= 0.35 * (rgba[..., 3] >= 128).sum()


def test_training_scenes_hold_allowed_classes_only(atlas):
    for cls in BASE:
        for index in range(4):
            scene = compose(atlas, 1, cls, index, BASE, 48)
            assert set(scene.classes) <= set(BASE)
            assert {name for name, _ in scene.views} == set(scene.classes)


def test_a_scene_has_one_layout_at_every_size(atlas):
    for cls in ("table", "umbrella", "snowman"):
        small, large = (compose(atlas, 2, cls, 1, size=size) for size in (128, 256))
        assert small.classes == large.classes and small.views == large.views
        shrunk = np.asarray(Image.fromarray(large.mask * 255).resize((128, 128))) >= 128
        assert _iou(shrunk, small.mask.astype(bool)) > 0.9


def test_successive_scenes_show_different_views_of_the_target(atlas):
    views = set().union(*(compose(atlas, 0, "fish", i, size=32).views for i in range(20)))
    assert len({view for cls, view in views if cls == "fish"}) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cat", 0), "unknown class 'cat'; known: mug"),
        (("mug", -1), "negative"),
        (("mug", 0, ("mug",)), "no distractors"),
        (("mug", 0, ("mug", "cat")), "unknown class 'cat'"),
        (("mug", 0, CLASSES, 16), "too small"),
    ],
)
def test_bad_requests_are_named(atlas, arguments, message):
    with pytest.raises(ValueError, match=message):
        compose(atlas, 0, *arguments)


def test_the_contact_sheet_fits_a_page(atlas):
    sheet = contact_sheet(atlas, per_class=1, size=32)
    assert sheet.height > sheet.width
    assert 4 * (4 * 96 + 10) + 10 <= 1600  # the default's width
