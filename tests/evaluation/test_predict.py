"""Finding an object in somebody's own photographs: files in, masks out, nothing lost."""

import csv
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from scl.__main__ import main
from scl.datasets.fit import Fit
from scl.evaluation import predict
from scl.evaluation.named import HEADS, notes_named
from scl.evaluation.named import names as model_names
from scl.evaluation.outputs import name_outputs
from scl.evaluation.overlay import PREDICTED, TRUTH, rgb
from scl.evaluation.predict import (
    describe,
    expand,
    find_object,
    odd_one_out,
    predict_files,
    read_support,
    split_pair,
)
from scl.method.rules import RELEASED_PFENET
from scl.models.build import ModelConfig, build_model, full_size
from scl.models.checkpoint import save_checkpoint
from tests.helpers.models import tiny_model
from tests.oracles.golden import released_state

torch.set_num_threads(1)

RED, GREY = (220, 30, 40), (90, 100, 110)
ORIENTATION = 0x0112
FIT = Fit(97)


class Colours(nn.Module):
    """A model that knows the object by its mean colour; it counts how often it is shown one."""

    backbone = SimpleNamespace(inputs="unit")

    def __init__(self):
        super().__init__()
        self.shown = 0

    def condition(self, images, masks):
        self.shown += 1
        pixels = torch.cat([x[:, m == 1] for x, m in zip(images, masks, strict=True)], dim=1)
        k = len(images)
        return SimpleNamespace(
            colour=pixels.mean(dim=1), scores=torch.ones(1, k), mutual=torch.ones(1, k, k)
        )

    def segment(self, support, query, fusion):
        distance = (query - support.colour[:, None, None]).norm(dim=1)
        return SimpleNamespace(fused_logits=torch.stack([distance - 0.4, 0.4 - distance], dim=1))


def paint(path, size=(120, 80), box=(30, 20, 75, 60), turn=1, **options):
    """A photograph of a red block, and its mask as it looks upright [H, W]."""
    picture = Image.new("RGB", size, GREY)
    picture.paste(RED, box)
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    # As a camera held otherwise stores it: turned, with a note how to turn it back.
    stored = {1: None, 3: 3, 6: 2, 8: 4}[turn]
    ways = {2: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}
    ways[4] = Image.Transpose.ROTATE_270
    picture = picture if stored is None else picture.transpose(ways[stored])
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif, **options)
    mask.save(path.with_name(f"{path.stem}-truth.png"))
    return np.asarray(mask) > 0


def supports(folder, count=1):
    """Photographs of differing sizes, each with its mask."""
    pairs = []
    for i in range(count):
        path = folder / f"support{i}.jpg"
        paint(path, (100 + 31 * i, 90 - 7 * i), (20 + 3 * i, 15, 70, 60))
        pairs.append((path, folder / f"support{i}-truth.png"))
    return pairs


def written(*stems, supports=1):
    """What predict writes for queries, and always."""
    always = {f"support-{i + 1}-support{i}.jpg" for i in range(supports)} | {"predictions.csv"}
    return always | {f"{s}-{end}" for s in stems for end in ("found.png", "overlay.jpg")}


def predicted(pairs, queries, out, **options):
    return predict_files(Colours(), pairs, queries, out, FIT, device="cpu", **options)


# ----------------------------------------------------------------------- one object


@pytest.mark.parametrize("size", [(120, 80), (60, 200), (97, 97), (31, 24)])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_the_mask_has_the_query_s_upright_size_and_is_where_the_object_is(tmp_path, size, turn):
    box = (size[0] // 5, size[1] // 4, size[0] * 3 // 4, size[1] * 5 // 6)
    truth = paint(tmp_path / "q.jpg", size, box, turn, quality=95)
    (done,) = predicted(supports(tmp_path), [tmp_path / "q.jpg"], tmp_path / "out").done
    with Image.open(done.mask) as mask:
        assert (mask.mode, mask.size, mask.format) == ("L", size, "PNG")
        assert set(np.unique(mask)) == {0, 255}
        found = np.asarray(mask) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert done.share == pytest.approx(found.mean())
    with Image.open(done.overlay) as view:
        assert (view.size, view.format) == (size, "JPEG")
        inside = np.asarray(view, float)[truth].mean(axis=0)
    assert np.abs(inside - (0.4 * np.array(RED) + 0.6 * rgb(PREDICTED))).max() < 30


@pytest.mark.parametrize("method", ["exact", "released", "native"])
@pytest.mark.parametrize("head", ["canet", "pfenet"])
def test_supports_of_any_sizes_guide_together(tmp_path, method, head):
    paint(tmp_path / "q.png", (77, 50))
    pairs, model, fit = supports(tmp_path, 3), tiny_model(head), Fit(64, method)
    report = predict_files(model, pairs, [tmp_path / "q.png"], tmp_path / "out", fit, device="cpu")
    read = [read_support(*pair, fit) for pair in pairs]
    support = model.condition([i for i, _ in read], [m for _, m in read])
    image = np.asarray(Image.open(tmp_path / "q.png"))
    done = model.segment(support, fit.to_network(image)[0][None])
    scores = fit.logits_back(done.fused_logits[0], (50, 77))
    with Image.open(report.done[0].mask) as mask:
        assert np.array_equal(np.asarray(mask) > 0, (scores[1] > scores[0]).numpy())
    assert report.scores == pytest.approx(done.scores[0].tolist())


def test_a_large_photograph_keeps_its_size_and_its_overlay_does_not(tmp_path):
    truth = paint(tmp_path / "q.jpg", (2400, 1200), (900, 300, 1700, 1000))
    (done,) = predicted(supports(tmp_path), [tmp_path / "q.jpg"], tmp_path / "out").done
    with Image.open(done.mask) as mask, Image.open(done.overlay) as view:
        assert mask.size == (2400, 1200) and view.size == (1600, 800)
        found = np.asarray(mask) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_grey_and_transparent_photographs_are_read_as_colours(tmp_path):
    names = []
    for mode in ("L", "LA", "RGBA", "P", "1", "CMYK"):
        names.append(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
        Image.new("RGB", (40, 30), RED).convert(mode).save(names[-1])
    report = predicted(supports(tmp_path), names, tmp_path / "out")
    assert len(report.done) == 6 and not report.failed
    assert {d.query.stem: d.share for d in report.done}["RGBA"] == 1


def test_nothing_found_is_said(tmp_path):
    Image.new("RGB", (40, 30), GREY).save(tmp_path / "q.png")
    report = predicted(supports(tmp_path), [tmp_path / "q.png"], tmp_path / "out")
    assert report.done[0].share == 0
    assert "q.png: nothing found" in describe(report, supports(tmp_path))


# ---------------------------------------------------------------- many files, no harm


def test_supports_are_read_once_for_all_queries(tmp_path):
    queries = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(queries):
        paint(path, (50 + i, 40))
    model = Colours()
    report = predict_files(
        model, supports(tmp_path), queries, tmp_path / "out", FIT, device="cpu", progress=False
    )
    assert model.shown == 1 and [d.query for d in report.done] == queries


def spoiled(folder):
    """Queries that cannot be read, by name."""
    paint(folder / "cut.jpg", (300, 200))
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:700])
    paint(folder / "flipped.png", (300, 200))
    data = bytearray((folder / "flipped.png").read_bytes())
    data[60:70] = bytes(10)
    (folder / "flipped.png").write_bytes(data)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "folder.jpg").mkdir()
    return [folder / f"{n}" for n in ("cut.jpg", "flipped.png", "empty.jpg", "text.png")] + [
        folder / "folder.jpg",
        folder / "none.jpg",
    ]


def test_bad_queries_do_not_lose_the_others(tmp_path):
    bad = spoiled(tmp_path)
    good = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in good:
        paint(path)
    mixed = [good[0], *bad, good[1]]
    report = predicted(supports(tmp_path), mixed, tmp_path / "out")
    assert [d.query for d in report.done] == good and list(report.failed) == bad
    for path, said in report.failed.items():
        assert str(path) in said and "\n" not in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == written("a", "b")


def test_a_picture_of_absurd_size_is_left_out(tmp_path, monkeypatch):
    paint(tmp_path / "bomb.png", (300, 200))
    paint(tmp_path / "q.png")
    pairs = supports(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10000)
    report = predicted(pairs, [tmp_path / "bomb.png", tmp_path / "q.png"], tmp_path / "out")
    assert "bomb.png cannot be read as a picture" in report.failed[tmp_path / "bomb.png"]
    assert [d.query.name for d in report.done] == ["q.png"]


def test_nothing_is_overwritten_unless_asked_for(tmp_path):
    paint(tmp_path / "q.png")
    pairs, out = supports(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "q-overlay.jpg").write_text("mine")
    with pytest.raises(ValueError, match=r"q-overlay.jpg exists: pass --overwrite"):
        predicted(pairs, [tmp_path / "q.png"], out)
    assert [p.name for p in out.iterdir()] == ["q-overlay.jpg"]
    with pytest.raises(ValueError, match="q-overlay.jpg was not written by predict"):
        predicted(pairs, [tmp_path / "q.png"], out, overwrite=True)
    assert (out / "q-overlay.jpg").read_text() == "mine"
    (out / "q-overlay.jpg").unlink()
    predicted(pairs, [tmp_path / "q.png"], out)
    with pytest.raises(ValueError, match=r"support0.jpg \(and 3 more\) exists: pass --overwrite"):
        predicted(pairs, [tmp_path / "q.png"], out)
    predicted(pairs, [tmp_path / "q.png"], out, overwrite=True)


def test_what_is_read_is_never_overwritten(tmp_path):
    paint(tmp_path / "q.png")
    pairs = supports(tmp_path)
    own = tmp_path / "q-found.png"
    pairs[0][1].rename(own)
    before = own.read_bytes()
    with pytest.raises(ValueError, match="q-found.png is read here"):
        predicted([(pairs[0][0], own)], [tmp_path / "q.png"], tmp_path, overwrite=True)
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(ValueError, match="q-found.png is read here"):
        predicted([(pairs[0][0], own)], [tmp_path / "q.png"], tmp_path / "link", overwrite=True)
    assert own.read_bytes() == before


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    paint(tmp_path / "q.png")
    pairs = supports(tmp_path)
    save = Image.Image.save

    def full(self, path, *args, **options):
        save(self, path, *args, **options)
        if "overlay" in Path(path).name:
            Path(path).write_bytes(Path(path).read_bytes()[:9])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    report = predicted(pairs, [tmp_path / "q.png"], tmp_path / "out")
    assert "No space left" in report.failed[tmp_path / "q.png"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == written()


@pytest.mark.parametrize(
    ("queries", "stems"),
    [
        (["a/1.jpg", "b/1.jpg", "b/2.jpg"], ["a-1", "b-1", "2"]),
        (["a/x/1.jpg", "b/x/1.jpg"], ["a-x-1", "b-x-1"]),
        (["a/1.jpg", "a/1.png"], ["a-1-jpg", "a-1-png"]),
        (["x/a/1.webp", "x/a/1.bmp", "1.jpg"], ["a-1-webp", "a-1-bmp", "work-1"]),
        (["a/1.jpg", "a/1.jpg", "a/../a/1.jpg"], ["1"]),
        (["a/Cup.jpg", "b/cup.jpg"], ["a-Cup", "b-cup"]),
        (["a-b/1.jpg", "a/b-1.jpg", "c/1.jpg"], ["a-b-1", "b-1", "c-1"]),
        (["mug", "a/mug"], ["work-mug", "a-mug"]),
    ],
)
def test_queries_of_one_name_are_told_apart(tmp_path, monkeypatch, queries, stems):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    named = name_outputs([Path(q) for q in queries], Path("out"))
    found = [names.mask.name.removesuffix("-found.png") for names in named.values()]
    assert len(found) == len(stems)
    for name, stem in zip(found, stems, strict=True):
        assert name == stem
    outputs = [path for pair in named.values() for path in pair]
    assert len({str(path).casefold() for path in outputs}) == len(outputs)
    assert all(path.parent == Path("out") for path in outputs)


def test_any_number_of_names_stay_apart(tmp_path):
    rng, parts = np.random.default_rng(0), ("a", "b", "a-b", "A", "1", "a-1")
    for _ in range(200):
        drawn = ["/".join(rng.choice(parts, rng.integers(1, 4))) for _ in range(8)]
        endings = rng.choice([".jpg", ".png", ""], 8)
        queries = {Path("/") / f"{d}{e}" for d, e in zip(drawn, endings, strict=True)}
        named = name_outputs(sorted(queries), tmp_path)
        assert len({str(names.mask).casefold() for names in named.values()}) == len(queries)


def test_a_mask_painted_by_hand_is_never_replaced(tmp_path):
    paint(tmp_path / "table.png")
    pairs = supports(tmp_path)
    for name in ("table-mask.png", "table-found.png"):
        Image.new("L", (120, 80), 255).save(tmp_path / name)
    with pytest.raises(ValueError, match="table-found.png was not written by predict"):
        predicted(pairs, [tmp_path / "table.png"], tmp_path, overwrite=True)
    (tmp_path / "table-found.png").unlink()
    before = (tmp_path / "table-mask.png").read_bytes()
    (done,) = predicted(pairs, [tmp_path / "table.png"], tmp_path).done
    predicted(pairs, [tmp_path / "table.png"], tmp_path, overwrite=True)
    assert (tmp_path / "table-mask.png").read_bytes() == before
    with Image.open(done.mask) as mask:  # corrected in a paint program that keeps its notes
        notes = PngInfo()
        for name, text in mask.text.items():
            notes.add_text(name, text)
        mask.load()
    mask.putpixel((0, 0), 255)
    mask.save(done.mask, pnginfo=notes)
    with pytest.raises(ValueError, match="was changed since"):
        predicted(pairs, [tmp_path / "table.png"], tmp_path, overwrite=True)


def test_queries_are_files_patterns_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.JPG", ".hidden.jpg", "in/c.png", "in/c_mask.png", "in/._c.png"):
        paint(tmp_path / name)
        (tmp_path / name).with_name(f"{Path(name).stem}-truth.png").unlink()
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    assert expand([Path("*.jpg")]) == [Path("a.jpg")]
    assert expand([Path("in"), Path("b.JPG")]) == [Path("in/c.png"), Path("b.JPG")]
    assert expand([Path("**/[ab].*")]) == [Path("a.jpg"), Path("b.JPG")]
    predicted(supports(tmp_path / "shown"), [Path("a.jpg")], Path("."))
    found = expand([Path("*.[jp][pn]g")])
    assert found == [Path("a.jpg")], "not what predict wrote itself"
    for nothing in ("*.webp", "shown/nothing*"):
        with pytest.raises(ValueError, match="holds no photograph"):
            expand([Path(nothing)])
    assert expand([Path("none.jpg")]) == [Path("none.jpg")], "reported when it is read"


def test_chances_shares_and_trust_are_written(tmp_path):
    truth = paint(tmp_path / "q.png")
    pairs, out = supports(tmp_path, 2), tmp_path / "out"
    queries = [tmp_path / "q.png", tmp_path / "none.png"]
    report = predicted(pairs, queries, out, probabilities=True)
    with Image.open(out / "q-probability.png") as picture:
        assert picture.mode == "I;16" and picture.size == (120, 80)
        chance = np.asarray(picture) / 65535
    with Image.open(out / "q-found.png") as mask:
        assert np.array_equal(chance > 0.5, np.asarray(mask) > 0)
    assert chance[truth].mean() > 0.5 > chance[~truth].mean()
    with open(out / "predictions.csv", newline="") as file:
        good, bad = csv.DictReader(file)
    assert set(good) == {"query", "share", "presence", "mask", "note"} | {
        f"{name}_{k}" for name in ("own_iou", "score") for k in (1, 2)
    }
    assert float(good["share"]) == pytest.approx(report.done[0].share, abs=1e-6)
    assert (good["query"], good["own_iou_2"]) == (str(tmp_path / "q.png"), "1.0000")
    (alone,) = predicted(pairs[:1], queries[:1], tmp_path / "alone").own
    assert 0.9 < alone < 1, "measured, where there is one"
    assert bad["share"] == "" and "is missing" in bad["note"]


def test_the_masks_of_supports_are_shown_as_they_were_read(tmp_path):
    paint(tmp_path / "q.png")
    pairs = supports(tmp_path)
    report = predicted(pairs, [tmp_path / "q.png"], tmp_path / "out")
    inside = np.asarray(Image.open(pairs[0][1])) > 0
    seen = np.asarray(Image.open(tmp_path / "out" / "support-1-support0.jpg"), float)
    assert seen.shape[:2] == inside.shape and seen[inside].mean() != seen[~inside].mean()
    tinted = np.abs(seen[inside].mean(axis=0) - (0.4 * np.array(RED) + 0.6 * rgb(TRUTH)))
    assert tinted.max() < 30
    said = describe(report, pairs)
    assert f"support0-truth.png: covers {100 * inside.mean():.1f} % of " in said
    assert "(read as white on black)" in said


def test_masks_are_read_as_the_user_says(tmp_path):
    paint(tmp_path / "q.png")
    ((image, mask),) = supports(tmp_path)
    labels = np.where(np.asarray(Image.open(mask)) > 0, 8, 0).astype(np.uint8)
    labels[2:12, 2:12] = 3
    Image.fromarray(labels).save(mask)
    asked = [(image, mask)], [tmp_path / "q.png"], tmp_path / "out"
    with pytest.raises(ValueError, match="pass --mask-label with one of them"):
        predicted(*asked)
    assert predicted(*asked, label="8").read[0].share == pytest.approx((labels == 8).mean())


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")]
)
def test_too_little_memory_is_said_in_a_line(tmp_path, monkeypatch, error):
    paint(tmp_path / "q.png")

    def full(*asked):
        raise error

    pairs = supports(tmp_path)
    monkeypatch.setattr(predict, "find_object", full)
    report = predicted(pairs, [tmp_path / "q.png"], tmp_path / "out")
    assert "out of memory: pass --side with fewer" in report.failed[tmp_path / "q.png"]
    monkeypatch.setattr(predict, "show", full)
    with pytest.raises(ValueError, match="out of memory: pass --side"):
        predicted(pairs, [tmp_path / "q.png"], tmp_path / "other")
    monkeypatch.setattr(predict, "show", lambda *asked: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predicted(pairs, [tmp_path / "q.png"], tmp_path / "other")


# -------------------------------------------------------------------- support masks


def test_support_files_are_split_where_both_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a.jpg", "a.png", "C:\\a.jpg", "C:\\a.png", "at 12:30.jpg", "at 12:30:mask.png"]
    for name in names:
        (tmp_path / name).write_text("")
    for image, mask in zip(names[::2], names[1::2], strict=True):
        assert split_pair(f"{image}:{mask}") == (Path(image), Path(mask))
    assert split_pair("C:\\a.jpg:a.png") == (Path("C:\\a.jpg"), Path("a.png"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.jpg", "there are no such files; expected IMAGE:MASK"),
        ("a.jpg:b.png", "b.png is missing"),
        ("b.jpg:a.png", "b.jpg is missing"),
        ("b.jpg:b.png", "there are no such files"),
        (":a.png", "there are no such files"),
        ("", "there are no such files"),
        ("x:y:z", "names two files in 2 ways"),
    ],
)
def test_a_support_that_is_not_two_files_is_explained(tmp_path, monkeypatch, text, complaint):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.png", "x", "y:z", "x:y", "z"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=complaint):
        split_pair(text)


def test_bad_supports_are_named_before_anything_is_written(tmp_path):
    (image, mask), *_ = supports(tmp_path)
    paint(tmp_path / "q.png", (60, 50))
    Image.new("L", (100, 90), 0).save(tmp_path / "black.png")
    Image.new("L", (100, 90), 1).save(tmp_path / "dim.png")
    (tmp_path / "text.png").write_text("no picture")
    cases = {
        "black.png": "black.png shows no object: paint it white",
        "dim.png": "dim.png has no pixel above 127",
        "q.png": "q.png is 60 x 50 and its image 100 x 90",
        "text.png": "text.png cannot be read",
    }
    for name, complaint in cases.items():
        with pytest.raises(ValueError, match=complaint):
            predicted([(image, tmp_path / name)], [tmp_path / "q.png"], tmp_path / "out")
    with pytest.raises(ValueError, match="text.png cannot be read"):
        predicted([(tmp_path / "text.png", mask)], [tmp_path / "q.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def agreement(count, odd=None, others=0.8, lone=0.1):
    """Mutual IOUs in which one support disagrees with all others."""
    mutual = torch.full((count, count), others)
    if odd is not None:
        mutual[odd, :] = mutual[:, odd] = lone
    mutual.fill_diagonal_(0.9)
    return mutual


def test_a_support_is_odd_only_where_the_others_agree_without_it():
    for odd in range(4):
        assert odd_one_out(agreement(4, odd)) == odd
    assert odd_one_out(agreement(3, 1)) == 1
    assert odd_one_out(agreement(2, 1)) is None, "two cannot outvote each other"
    assert odd_one_out(agreement(1)) is None
    assert odd_one_out(agreement(5)) is None, "all agree"
    assert odd_one_out(agreement(5, 2, others=0.3, lone=0.01)) is None, "the model is at a loss"
    assert odd_one_out(agreement(5, 2, lone=0.3)) is None, "only a little odd"
    assert odd_one_out(torch.zeros(4, 4)) is None
    lopsided = agreement(4, 3)
    lopsided[3] = 0.5  # it predicts the others, and they do not predict it
    assert odd_one_out(lopsided) is None


def test_the_odd_support_is_named_and_scores_only_where_there_are_several(tmp_path):
    paint(tmp_path / "q.png")
    pairs = supports(tmp_path, 3)
    report = predicted(pairs, [tmp_path / "q.png"], tmp_path / "out")
    assert "Eq. 16" in describe(report, pairs) and "look at" not in describe(report, pairs)
    report.odd = 2
    assert f"{pairs[2][0]} fits none of the others: look at its mask" in describe(report, pairs)
    single = predicted(pairs[:1], [tmp_path / "q.png"], tmp_path / "single")
    assert "Eq. 16" not in describe(single, pairs[:1])


# --------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "head"
    return save_checkpoint(build_model(ModelConfig(d=8), 3), ModelConfig(d=8), path, 3, side=64)


def run(*words):
    return main([str(word) for word in words])


def words(head, pairs, queries, out, *more):
    shown = [word for a, b in pairs for word in ("--support", f"{a}:{b}")]
    return ["predict", "--checkpoint", head, *shown, "--query", *queries, "--out", out, *more]


def test_predict_writes_masks_and_says_what_it_found(head, tmp_path, capsys):
    queries = [tmp_path / "a" / "q.png", tmp_path / "b" / "q.png"]
    for path in queries:
        paint(path, (70, 50))
    pairs = supports(tmp_path, 2)
    assert run(*words(head, pairs, queries, tmp_path / "out", "--device", "cpu")) == 0
    said = capsys.readouterr()
    assert "confidence of the supports" in said.out and "a-q-found.png" in said.out
    assert "100%" in said.err
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == written("a-q", "b-q", supports=2)
    assert run(*words(head, pairs, queries, tmp_path / "out", "--device", "cpu")) == 1
    assert "exists: pass --overwrite" in capsys.readouterr().err
    assert run(*words(head, pairs, queries, tmp_path / "out", "--overwrite")) == 0


def test_predict_takes_the_side_that_the_checkpoint_names(head, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        predict, "predict_files", lambda *args, **more: seen.append(args[4]) or 1 / 0
    )
    pairs = supports(tmp_path)
    for more in ([], ["--side", "80"], ["--resize", "native"]):
        with pytest.raises(ZeroDivisionError):
            run(*words(head, pairs, ["q.png"], tmp_path / "out", *more))
    assert seen == [Fit(64), Fit(80), Fit(64, "native")]


def test_predict_ends_with_1_where_a_query_was_left_out(head, tmp_path, capsys):
    paint(tmp_path / "q.png")
    queries = [tmp_path / "none.jpg", tmp_path / "q.png"]
    assert run(*words(head, supports(tmp_path), queries, tmp_path / "out")) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        f"scl: left out: {tmp_path / 'none.jpg'} is missing: expected a picture"
    )
    assert "q-found.png" in said.out and (tmp_path / "out" / "q-found.png").is_file()


def test_predict_refuses_in_one_line(head, tmp_path, capsys):
    paint(tmp_path / "q.png")
    pairs, queries = supports(tmp_path), [tmp_path / "q.png"]
    other = [(pairs[0][0], tmp_path / "none.png")]
    assert run(*words(head, other, queries, tmp_path / "out")) == 1
    assert run(*words(tmp_path / "none.pth", pairs, queries, tmp_path / "out")) == 1
    assert run(*words(head, pairs, queries, tmp_path / "q.png")) == 1
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("scl:")]
    for line, part in zip(errors, ("none.png is missing", "none.pth is missing"), strict=False):
        assert part in line
    assert "cannot write" in errors[2] or "left out" in errors[2]


def test_predict_interrupted_keeps_what_is_done(head, tmp_path, monkeypatch, capsys):
    queries = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in queries:
        paint(path)

    def interrupted(model, support, image, *rest, done=[]):  # noqa: B006
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return find_object(model, support, image, *rest)

    monkeypatch.setattr(predict, "find_object", interrupted)
    assert run(*words(head, supports(tmp_path), queries, tmp_path / "out")) == 130
    assert "scl: interrupted; what is done is in" in capsys.readouterr().err
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == written("a") - {"predictions.csv"}, "the table comes last"


def test_predict_reads_released_checkpoints_and_warns_of_random_backbones(tmp_path, capsys):
    paint(tmp_path / "q.png", (50, 40))
    config = full_size("pfenet", "vgg16_bn", rules=RELEASED_PFENET, d=8, stride=16)
    model = build_model(config)
    torch.save(released_state(model, "pfenet", "s9:"), tmp_path / "released.pth")
    path = save_checkpoint(model, config, tmp_path / "random", seed=0)
    pairs, queries = supports(tmp_path), [tmp_path / "q.png"]
    few = ["--side", "49", "--resize", "released"]
    assert run(*words(tmp_path / "released.pth", pairs, queries, tmp_path / "one", *few)) == 0
    assert "random weights" not in capsys.readouterr().err
    assert run(*words(path, pairs, queries, tmp_path / "two", *few)) == 0
    assert "(vgg16_bn) has random weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cosine", "toyshop-canet-scl-f0-s0", "toyshop-canet-v_s-f1-s0"])
def test_predict_takes_models_by_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "q.png")
    assert run(*words(name, supports(tmp_path), [tmp_path / "q.png"], tmp_path / "out")) == 0
    assert "support0-truth.png: covers" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "q-found.png") as mask:
        assert mask.size == (120, 80)


def test_names_of_heads_are_close_or_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "q.png")
    pairs, queries = supports(tmp_path), [tmp_path / "q.png"]
    assert run(*words("toyshop-canet-slc-f0-s0", pairs, queries, tmp_path / "out")) == 1
    said = capsys.readouterr().err
    assert "'toyshop-canet-slc-f0-s0' is neither a file nor a kept head" in said
    assert "toyshop-canet-scl-f0-s0" in said and said.count("\n") == 1
    assert notes_named(Path("toyshop-canet-scl-f0-s0")) == {"side": 128}


def test_every_kept_head_can_be_named():
    heads = {path.stem for path in HEADS.glob("*.safetensors")}
    assert heads and set(model_names()) == heads | {"cosine", "general"}


def test_predict_warns_of_masks_of_more_than_two_thirds(head, tmp_path, capsys):
    paint(tmp_path / "q.png")
    picture, mask = tmp_path / "near.png", tmp_path / "near-mask.png"
    paint(picture, box=(0, 0, 100, 74))
    (tmp_path / "near-truth.png").rename(mask)
    command = words(head, [(picture, mask)], [tmp_path / "q.png"], tmp_path / "out")
    assert run(*command) == 0
    said = capsys.readouterr()
    assert f"scl: warning: {mask} covers 77 % of {picture}" in said.err
    assert f"{mask}: covers 77.1 % of" in said.out
    assert run(*command, "--invert", "--overwrite", "--probabilities") == 0
    assert "covers 22.9 % of" in capsys.readouterr().out
    assert (tmp_path / "out" / "q-probability.png").is_file()
    Image.eval(Image.open(supports(tmp_path)[0][1]), lambda value: 255 - value).save(mask)
    command = words(head, [(tmp_path / "support0.jpg", mask)], [tmp_path / "q.png"], tmp_path / "o")
    assert run(*command) == 1
    assert "as an inverted mask does: pass --invert" in capsys.readouterr().err
    assert run(*command, "--mask-label", "white") == 0
