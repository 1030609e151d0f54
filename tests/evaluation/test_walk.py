"""The released walk over a list of images, against a slow and plain reading of what it does."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from scl.__main__ import main
from scl.datasets.coco import Coco20i
from scl.datasets.listed import as_listed
from scl.datasets.pascal import Pascal5i
from scl.evaluation.counts import completed
from scl.evaluation.episode_list import item_name, read_episodes, read_walk, write_episodes
from scl.evaluation.protocol import ProtocolConfig, draw_episodes, evaluate_protocol
from scl.evaluation.walk import WALKS, ReleasedWalk
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import save_checkpoint
from tests.helpers.models import tiny_model
from tests.helpers.trees import (
    HEIGHT,
    VALIDATION,
    WIDTH,
    coco_tree,
    palette_png,
    pascal_tree,
    photograph,
    write_lines,
)

NOVEL = range(5)  # of fold 0
LARGE = 2 * 32 * 32
# Beside the tree's own images, whose two novel classes are large: the classes of further ones, with
# their pixels. The first shows nothing large that is novel, the second a large one and a small one.
MORE = {
    "2008_000200": {7: 2600, 3: 90},
    "2008_000201": {2: 2047, 4: 2048},
    "2008_000202": {0: 2100, 1: 50, 2: 60},
    "2008_000203": {1: 2048, 2: 2048},
    "2008_000204": {9: 3000, 3: 2050},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = pascal_tree(tmp_path_factory.mktemp("pascal"))
    voc = root / "VOCdevkit" / "VOC2012"
    for place, (name, sizes) in enumerate(MORE.items()):
        photograph(voc / "JPEGImages" / f"{name}.jpg", 50 + place)
        labels = np.zeros(HEIGHT * WIDTH, np.uint8)
        start = 0
        for label, pixels in sizes.items():
            labels[start : start + pixels] = label + 1
            start += pixels
        palette_png(voc / "SegmentationClass" / f"{name}.png", labels.reshape(HEIGHT, WIDTH))
    # Not in the order of their names, as a list need not be.
    write_lines(voc / "ImageSets" / "Segmentation" / "val.txt", [*MORE, *VALIDATION][::-1])
    return root


def read_plainly(root):
    """The images of the list that show something large, the classes of each; class to images."""
    voc, images, large = root / "VOCdevkit" / "VOC2012", {}, {label: [] for label in NOVEL}
    for name in (voc / "ImageSets" / "Segmentation" / "val.txt").read_text().split():
        labels = np.array(Image.open(voc / "SegmentationClass" / f"{name}.png"))
        shown = [label for label in NOVEL if (labels == label + 1).any()]
        usable = [label for label in shown if (labels == label + 1).sum() >= LARGE]
        if usable:
            images[name] = shown
        for label in usable:
            large[label].append(name)
    return images, large


def walk_plainly(root, count, shots, seed):
    """Query, class and supports of every episode, by names."""
    images, large = read_plainly(root)
    names = list(images)
    for place in range(count):
        query, rng = names[place % len(names)], np.random.default_rng((seed, place))
        label = images[query][rng.integers(len(images[query]))]
        supports = [large[label][i] for i in rng.permutation(len(large[label]))]
        yield query, label, tuple(name for name in supports if name != query)[:shots]


def by_names(dataset, episodes):
    def name(item):
        return item_name(dataset, item).removesuffix(".jpg")

    return [(name(e.query), e.label, tuple(map(name, e.supports))) for e in episodes]


@pytest.mark.parametrize("shots", [1, 2])
def test_the_released_walk_is_that_of_a_plain_reading(tree, shots):
    data = as_listed(Pascal5i(tree, 0, "novel"))
    drawn = draw_episodes(data, ProtocolConfig(60, (0, 3), shots, walk="released"))
    plain = {seed: list(walk_plainly(tree, 60, shots, seed)) for seed in (0, 3)}
    assert {seed: by_names(data, some) for seed, some in drawn.items()} == plain


def test_small_objects_are_queries_and_never_supports(tree):
    data = as_listed(Pascal5i(tree, 0, "novel"))
    episodes = draw_episodes(data, ProtocolConfig(900, (0,), walk="released"))[0]
    found = by_names(data, episodes)
    queries = Counter((query, label) for query, label, _ in found)
    # 9 images: 100 times each, and each of its classes as often as any other.
    assert {query for query, _ in queries} == {*VALIDATION, *MORE} - {"2008_000200"}
    for label in (0, 1, 2):
        assert 20 < queries["2008_000202", label] < 50
    assert 35 < queries["2008_000201", 2] < 65
    supports = {(name, label) for _, label, names in found for name in names}
    assert not supports & {("2008_000201", 2), ("2008_000202", 1), ("2008_000202", 2)}
    assert ("2008_000201", 4) in supports and ("2008_000202", 0) in supports
    image, mask = data[
        episodes[found.index(next(f for f in found if f[:2] == ("2008_000202", 1)))].query
    ]
    assert image.shape == (HEIGHT, WIDTH, 3) and (mask == 1).sum() == 50


def test_drawing_alike_takes_neither_small_objects_nor_the_lists_order(tree):
    data = Pascal5i(tree, 0, "novel")
    episodes = draw_episodes(data, ProtocolConfig(400, (0,)))[0]
    classes = Counter(e.label for e in episodes)
    assert set(classes) == set(NOVEL) and max(classes.values()) < 2 * min(classes.values())
    queries = {found[:2] for found in by_names(data, episodes)}
    assert not queries & {("2008_000201", 2), ("2008_000202", 1), ("2008_000202", 2)}


def test_pairs_are_walked_in_order_then_shuffled(tree):
    data = Pascal5i(tree, 0, "novel")
    count, seed = len(data.labels), 5
    drawn = ReleasedWalk(data, 1, pairs=True).fixed(3 * count, seed)
    plain = list(range(count))
    for lap in (1, 2):
        plain += np.random.default_rng((seed, lap, 1)).permutation(count).tolist()
    assert [e.query for e in drawn] == plain and plain[count : 2 * count] != plain[2 * count :]
    assert all(data.labels[e.query] == data.labels[e.supports[0]] == e.label for e in drawn)
    assert all(data.keys[e.query] != data.keys[e.supports[0]] for e in drawn)


def test_an_episode_depends_on_its_seed_and_place_alone(tree):
    data = as_listed(Pascal5i(tree, 0, "novel"))
    for walk in WALKS:
        long = draw_episodes(data, ProtocolConfig(40, (0, 1), walk=walk))
        assert draw_episodes(data, ProtocolConfig(11, (1,), walk=walk))[1] == long[1][:11]
        assert long[0] != long[1]


def test_coco_lists_its_items_image_by_image(tmp_path):
    data = Coco20i(coco_tree(tmp_path), 0, "novel")
    laid = as_listed(data)
    assert as_listed(laid) is laid and laid.keys == sorted(laid.keys, key=list(laid.areas).index)
    large = {
        pair
        for i, pair in enumerate(zip(laid.keys, laid.labels, strict=True))
        if i not in laid.small
    }
    assert large == set(zip(data.keys, data.labels, strict=True))
    for index in range(len(laid)):
        assert (laid[index][1] == 1).any()


def test_a_data_set_that_is_not_laid_out_is_refused(tree):
    with pytest.raises(ValueError, match=r"expected as_listed\(dataset\)"):
        draw_episodes(Pascal5i(tree, 0, "novel"), ProtocolConfig(2, (0,), walk="released"))
    for name, value in (("walk", "random"), ("reading", "ours")):
        with pytest.raises(ValueError, match=f"{name}='{value}': expected one of"):
            ProtocolConfig(**{name: value})


# ------------------------------------------------------------------- written, replayed, recorded


@pytest.mark.parametrize("walk", WALKS)
def test_each_walk_is_written_replayed_and_recorded(tree, tmp_path, walk):
    config = ProtocolConfig(9, (0, 2), walk=walk)
    data = Pascal5i(tree, 0, "novel")
    laid = as_listed(data) if walk == "released" else data
    drawn = draw_episodes(laid, config)
    path = write_episodes(tmp_path / "e.json", laid, drawn, walk)
    assert read_walk(path) == walk and read_episodes(path, laid) == drawn
    given = tiny_model(), data, config, None, "cpu", False
    record, replayed = (
        evaluate_protocol(*given),
        evaluate_protocol(*given, read_episodes(path, laid)),
    )
    assert record["evaluated"] == replayed["evaluated"] and record["seeds"] == replayed["seeds"]
    assert record["evaluated"]["protocol"]["walk"] == walk
    assert record["evaluated"]["data"] == {"kind": "Pascal5i", "items": len(laid.labels)}


def test_older_lists_and_records_are_read(tree, tmp_path):
    data, out = Pascal5i(tree, 0, "novel"), tmp_path / "out.json"
    config = ProtocolConfig(4, (0,), reading="paper")
    path = write_episodes(tmp_path / "e.json", data, draw_episodes(data, config))
    path.write_text(path.read_text().replace(' "walk": "uniform",', ""))
    assert read_walk(path) == "uniform"
    given = tiny_model(), data, config, out, "cpu", False
    record = evaluate_protocol(*given)
    assert record["evaluated"]["as"] == "paper"
    del record["evaluated"]["as"], record["evaluated"]["protocol"]["walk"]
    out.write_text(json.dumps(record))
    assert evaluate_protocol(*given) == record
    with pytest.raises(ValueError, match="is the record of another evaluation"):
        evaluate_protocol(*given[:2], ProtocolConfig(4, (0,), walk="released-pairs"), *given[3:])
    assert completed("no", {"as": None}) == "no" and completed({"protocol": 3}, {}) == {
        "protocol": 3
    }


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One that says nothing of its recipe, and one of a recipe that was followed as released."""
    folder, config = tmp_path_factory.mktemp("heads"), ModelConfig(d=8)
    model, notes = build_model(config, 3), {"as": "released", "walk": "released"}
    save_checkpoint(model, config, folder / "plain", 3, side=64)
    save_checkpoint(model, config, folder / "noted", 3, side=64, notes=notes)
    return folder


def evaluation(tree, checkpoint, out, *more):
    few = ["--episodes", 7, "--seeds", 1, "--device", "cpu", "--data", "pascal", "--fold", 0]
    return ["evaluate", "--checkpoint", checkpoint, "--root", tree, "--out", out, *few, *more]


def test_evaluate_walks_as_the_recipe_of_the_checkpoint_says(tree, checkpoints, tmp_path, capsys):
    def said(checkpoint, name, *more):
        assert run(*evaluation(tree, checkpoints / checkpoint, tmp_path / name, *more)) == 0
        evaluated = json.loads((tmp_path / name).read_text())["evaluated"]
        return evaluated["as"], evaluated["protocol"]["walk"]

    assert said("plain", "a.json") == (None, "uniform")
    assert ", walk" not in capsys.readouterr().out
    assert said("noted", "b.json", "--write-episodes", tmp_path / "e.json") == ("released",) * 2
    assert ", walk released" in capsys.readouterr().out
    assert said("noted", "c.json", "--walk", "uniform") == ("released", "uniform")
    assert said("plain", "d.json", "--walk", "released-pairs") == (None, "released-pairs")
    words = evaluation(tree, checkpoints / "plain", tmp_path / "f.json")[:-6]
    words += ["--data", "pascal", "--fold", 0, "--episodes-file", tmp_path / "e.json"]
    assert run(*words) == 0
    rows = [json.loads((tmp_path / f"{name}.json").read_text())["seeds"] for name in "bf"]
    assert rows[0] == rows[1]
    assert run(*words, "--walk", "uniform") == 1
    assert "lists episodes of the walk released; leave one" in capsys.readouterr().err


def test_a_list_of_no_known_walk_is_refused(tree, tmp_path):
    path = tmp_path / "e.json"
    path.write_text('{"items": 1, "walk": "drunken", "episodes": []}')
    with pytest.raises(ValueError, match="walk='drunken': expected one of"):
        read_walk(path)
