"""The table of data sets: what it names is there, and a new entry is all a data set needs."""

import json

import numpy as np
import pytest
import torch

from scl.__main__ import main
from scl.datasets import registry
from scl.datasets.registry import DATA_SETS, DataConfig, Entry, canvas_of, open_data
from scl.models.build import ModelConfig, build_model
from scl.models.checkpoint import save_checkpoint
from tests.helpers.trees import TREES

torch.set_num_threads(1)


class Discs:
    """Twelve pictures of one of two colours, the object a square in the middle."""

    classes = ("red", "sky")

    def __init__(self, transform=None):
        self.labels, self.transform = [0, 1] * 6, transform

    def sources(self, index):
        return frozenset((f"{index}.jpg",))

    def __getitem__(self, index):
        image = np.full((40, 56, 3), 20 * index, np.uint8)
        mask = np.zeros((40, 56), np.uint8)
        mask[10:30, 14:42] = 1
        image[mask == 1] = ((200, 30, 40), (60, 120, 220))[self.labels[index]]
        return (image, mask) if self.transform is None else self.transform(image, mask)


def check_discs(found, root, fold, year):
    found.count("discs", len(Discs().labels), root, 12)


DISCS = Entry(
    lambda split, shots, transform: Discs(transform),
    verify=check_discs,
    takes=(),
    classes=2,
    canvas=48,
    folds="none",
)


@pytest.fixture
def discs(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "discs", DISCS)


def test_a_new_entry_is_evaluated_verified_and_trained_on_by_the_command_line(
    discs, tmp_path, capsys
):
    config = ModelConfig(d=8)
    head = save_checkpoint(build_model(config, 3), config, tmp_path / "head", seed=3, side=64)
    out = tmp_path / "out.json"
    words = ["evaluate", "--checkpoint", head, "--data", "discs", "--episodes", 4, "--seeds", 1]
    assert main([str(word) for word in (*words, "--device", "cpu", "--out", out)]) == 0
    assert set(json.loads(out.read_text())["per_class"]) <= {"red", "sky"}
    assert main(["data", "verify", "--data", "discs", "--root", str(tmp_path)]) == 0
    assert "discs" in capsys.readouterr().out
    small = ["data.name=discs", "data.side=64", "data.workers=0", "train.batch=2"]
    words = ["train", "--config", "toyshop-small", "--steps", "2", "--out", str(tmp_path / "run")]
    assert main([*words, "--device", "cpu", "--set", *small, "run.select=last"]) == 0


def test_the_canvas_is_the_entry_s_unless_the_recipe_names_one(discs):
    assert canvas_of(DataConfig("discs", side=64)) == 48
    assert canvas_of(DataConfig("discs", side=64, canvas=90)) == 90
    assert [canvas_of(DataConfig(name)) for name in DATA_SETS] == [500, 500, 640, 224, 473, 473, 48]


def test_every_function_that_the_table_names_is_there():
    for name in registry.names():
        entry = registry.find(name)
        for function in (entry.open, entry.verify, entry.fetch):
            assert function is None or callable(registry.resolve(function))
        if name in TREES:
            assert "root" in entry.takes and entry.verify


@pytest.mark.parametrize("name", TREES)
def test_every_tree_is_opened_by_its_name(tmp_path, name):
    root = TREES[name](tmp_path)
    data = open_data(DataConfig(name, str(root)), "train")
    assert len(data.labels) and data[0][0].ndim == 3
    with pytest.raises(ValueError, match=f"--data {name} needs --root: name its folder by --root"):
        open_data(DataConfig(name), "train")


def test_unknown_names_and_what_a_data_set_cannot_do_are_explained(tmp_path):
    with pytest.raises(ValueError, match="data='voc': expected one of pascal, pascal-val"):
        registry.find("voc")
    from scl.datasets.fetch.verify import verify

    with pytest.raises(ValueError, match="data='toyshop' cannot be verified: expected one of pasc"):
        verify("toyshop", tmp_path)
