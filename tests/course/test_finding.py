"""What chapter 00 draws and keeps: numbers in titles are those of the finder, files are safe."""

import numpy as np
import pytest
import torch
from PIL import Image

from scl.course import draw, finding
from scl.course.explorers.finding import finding_figure, finding_look
from scl.course.explorers.fusion import LEFT_OUT
from scl.course.painter.control import paint
from scl.course.painter.pixels import to_runs
from scl.datasets.fit import Fit
from scl.evaluation.finder import Finder, Found
from scl.evaluation.outputs import written_here
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from tests.helpers.models import Stages
from tests.helpers.models import texts as written


@pytest.fixture(scope="module")
def finder():
    torch.manual_seed(0)
    model = SimilaritySCL(Stages(), SimilarityConfig(features=0, width=8))
    return Finder(model, Fit(64, "whole"), device="cpu")


def block(size=(60, 40), box=(10, 8, 30, 32)):
    """A red block on noise [H, W, 3], and its mask [H, W]."""
    noise = np.random.default_rng(0).integers(80, 120, (size[1], size[0], 3)).astype(np.uint8)
    picture, mask = Image.fromarray(noise), Image.new("L", size, 0)
    picture.paste((220, 30, 40), box)
    mask.paste(1, box)
    return np.asarray(picture), np.asarray(mask)


def test_overlap_is_counted_pixel_by_pixel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.random((2, 5, 7)) > 0.5
        both = sum(a and b for a, b in zip(one.flat, other.flat, strict=True))
        either = sum(a or b for a, b in zip(one.flat, other.flat, strict=True))
        assert finding.overlap(one, other) == pytest.approx(both / either)
    nothing = np.zeros((3, 3))
    assert finding.overlap(nothing, nothing) == 0
    assert finding.overlap(nothing + 1, np.where(np.eye(3), 255, 1)) == pytest.approx(6 / 9)


@pytest.mark.parametrize("size", [(300, 200), (40, 90), (64, 64)])
def test_a_tile_keeps_the_shape_of_its_photograph(size):
    image, mask = block(size, (0, 0, size[0], size[1]))
    shown = finding.tile(image, mask)
    assert shown.shape == (draw.SIDE, draw.SIDE, 3)
    height, width = (round(x * draw.SIDE / max(size)) for x in size[::-1])
    inside = (shown != 255).any(axis=2)
    assert inside.sum() == pytest.approx(height * width, rel=0.02)
    half = np.zeros_like(mask)
    half[:, : size[0] // 2] = 1
    red = finding.tile(image, half)[..., 0].astype(int)
    columns = np.nonzero(inside)[1]
    middle = (columns.min() + columns.max()) // 2
    assert red[inside & (np.indices(inside.shape)[1] < middle - 3)].mean() > red[
        inside & (np.indices(inside.shape)[1] > middle + 3)].mean() + 30  # fmt: skip


def test_squared_puts_what_it_is_given_in_the_middle():
    for shape in ((3, 6), (6, 3), (4, 4), (5, 2, 3)):
        picture = np.random.default_rng(0).random(shape)
        square = draw.squared(picture, 0)
        assert square.shape[:2] == (max(shape[:2]),) * 2 and square.shape[2:] == shape[2:]
        top, left = ((max(shape[:2]) - x) // 2 for x in shape[:2])
        assert np.array_equal(square[top : top + shape[0], left : left + shape[1]], picture)
        assert square.sum() == pytest.approx(picture.sum())


def texts(figure) -> list[str]:
    """Everything written in a figure, without an empty title at its end."""
    words = written(figure)
    return words if words[-1] else words[:-1]


def test_titles_tell_the_finders_own_numbers(finder):
    image, mask = block()
    finder.fit(image, mask)
    assert texts(finding.shown_figure(finder)) == [f"1: itself {finder.trust.own[0]:.2f}"]
    finder.add(*block((50, 50)))
    own, scores = finder.trust
    assert texts(finding.shown_figure(finder)) == [
        f"{k}: itself {own[k - 1]:.2f}, others {scores[k - 1]:.2f}" for k in (1, 2)
    ]
    found = finder.predict([image, image])
    words = texts(finding.found_figure(finder, [image, image], found, ["a", "b"], maps=True))
    told = [f"{n}: {f.share:.0%} of the picture" for n, f in zip("ab", found, strict=True)]
    present = [f"presence {f.presence:.2f}" for f in found]
    assert words == ["marked", "marked", *told, "", "", *present]
    few = texts(finding.found_figure(finder, [image], found[:1], ["a"]))
    assert few == ["marked", "marked", told[0]]


def test_found_and_lost_of_the_first_look_are_what_the_method_measures(finder):
    image, mask = block((64, 64), (8, 16, 40, 56))  # on whole cells
    finder.fit(image, mask)
    marked, chance = finding.first_look(finder)
    assert marked.shape == chance.shape == (8, 8)
    assert np.array_equal(marked, mask[4::8, 4::8] == 1)
    logits = torch.from_numpy(np.log(chance / (1 - chance)))[None, None]
    large = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear")[0, 0] > 0
    assert finding.overlap(large.numpy(), mask) == pytest.approx(finder.trust.own[0], abs=0.02)
    share = chance[marked] > 0.5
    words = texts(finding.first_look_figure(finder, 0, "mug"))
    assert words[0] == "mug; dashed: mask"
    assert f"lost: {100 * (1 - share.mean()):.0f} %" in words


# ------------------------------------------------------------------ own photographs


def folder_of(folder, count=3):
    for number in range(count):
        Image.fromarray(block()[0] + np.uint8(number)).save(folder / f"mug-{number}.png")
    return folder


def test_masks_and_what_was_written_are_no_photographs(tmp_path):
    names = ["mug-0.png", "mug-1.png", "mug-2.png"]
    folder_of(tmp_path)
    for name in (".hidden.png", "mug-1-mask.png", "note.txt"):
        (tmp_path / name).write_bytes((tmp_path / "mug-0.png").read_bytes())
    painter = paint(tmp_path / "mug-0.png")
    change = {"kind": "patch", "version": 0, "place": [0, 0, 60, 40]}
    painter._receive(None, change, [memoryview(to_runs(block()[1]))])
    assert painter.path.exists() and painter.mask.any()
    photos = finding.photographs(tmp_path)
    assert [path.name for path in photos] == names
    found = [Found(block()[1] == 1, np.zeros((40, 60)), 0.5) for _ in photos]
    finding.export(photos, found, tmp_path)
    assert [path.name for path in finding.photographs(tmp_path)] == names


@pytest.mark.parametrize(("count", "words"), [(0, "holds no photograph"), (1, "two or more")])
def test_too_few_photographs_are_refused_with_a_remedy(tmp_path, count, words):
    with pytest.raises(ValueError, match=words):
        finding.photographs(folder_of(tmp_path, count))
    with pytest.raises(ValueError, match="is no folder: put two or more photographs"):
        finding.photographs(tmp_path / "nowhere")


def test_what_is_exported_reads_back_and_replaces_only_itself(tmp_path):
    photos, out = finding.photographs(folder_of(tmp_path)), tmp_path / "found"
    masks = [np.random.default_rng(k).random((40, 60)) > 0.5 for k in range(3)]
    found = [Found(mask, mask.astype(np.float32), 1.0) for mask in masks]
    files = finding.export(photos, found, out)
    assert sorted(files) == sorted(out.iterdir()) and all(map(written_here, files))
    for mask, path in zip(masks, files[::2], strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), mask * np.uint8(255))
    finding.export(photos, found[::-1], out)
    assert np.array_equal(np.asarray(Image.open(files[0])), masks[2] * np.uint8(255))
    Image.fromarray(masks[1]).save(files[0])  # somebody has touched it up
    with pytest.raises(ValueError, match="was changed since"):
        finding.export(photos, found, out)
    assert np.array_equal(np.asarray(Image.open(files[0])), masks[1])


# ------------------------------------------------------------------ the explorer's record


def test_spoiled_supports_are_what_a_finder_is_shown(world, finder):
    toys, (a, b, c), query = world[0], world[5].supports, world[5].query
    before = finder.fit(*toys[a]).supports
    view = finding_look(finder, toys, (a, b, c), query, ("clean", LEFT_OUT, "eroded"))
    assert finder.supports is before, "the finder that lends its model keeps its own supports"
    assert np.array_equal(view.masks[0], toys[a][1]) and view.masks[2].sum() < toys[c][1].sum()
    other = Finder(finder.model, finder.framing, device="cpu")
    other.fit([toys[a][0], toys[c][0]], [view.masks[0], view.masks[2]])
    assert np.array_equal(view.found.mask, other.find(toys[query][0]).mask)
    assert [view.own[0], view.own[2]] == other.trust.own and np.isnan(view.own[1])
    assert [view.scores[0], view.scores[2]] == other.trust.scores and np.isnan(view.scores[1])
    assert view.overlap == finding.overlap(view.found.mask, toys[query][1])
    words = texts(finding_figure(view))
    assert words[1] == "2 left out" and words[-1] == f"found: overlap {view.overlap:.2f}"


def test_nothing_to_guide_is_said(world, finder):
    with pytest.raises(ValueError, match="put at least one back"):
        finding_look(finder, world[0], world[5].supports, world[5].query, [LEFT_OUT] * 3)
