"""The page on the architecture names what exists, and its examples run."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from scl.method.rules import RELEASED_PFENET, Rules
from scl.models.backbones import BACKBONES
from scl.models.build import build_model, full_size
from tests.oracles import golden

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text("utf-8")
ROWS = [
    (re.findall(r"\(\.\./scl/([\w/]+?)/?(?:\.py)?\)", row), re.findall(r"`([\w.]+)`", row))
    for row in PAGE.splitlines()
    if row.startswith("| ") and "../scl/" in row
]


@pytest.mark.parametrize(("files", "names"), ROWS, ids=[row[0][0] for row in ROWS])
def test_each_step_names_what_its_files_hold(files, names):
    modules = [import_module(f"scl.{name.replace('/', '.')}") for name in files]
    assert names
    for name in names:
        first, *rest = name.split(".")
        owner = next(m for m in modules if hasattr(m, first))
        for part in (first, *rest):
            owner = getattr(owner, part)


def test_every_rule_and_backbone_is_on_the_page():
    for name in Rules.__dataclass_fields__:
        assert f"| `{name}` |" in PAGE
    for name in BACKBONES:
        assert f"`{name}`" in PAGE


def test_the_example_of_released_weights_runs(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[1]
    small = build_model(full_size("pfenet", "resnet50_pfenet", rules=RELEASED_PFENET, d=8))
    state = golden.released_state(small, "pfenet", "s10:")
    torch.save({"state_dict": state}, tmp_path / "checkpoint.pth")
    monkeypatch.chdir(tmp_path)
    masks = torch.zeros(1, 1, 65, 65)
    masks[..., 20:50, 20:50] = 1
    names = {"images": torch.rand(1, 1, 3, 65, 65), "masks": masks}
    names["query"] = torch.rand(1, 3, 65, 65)
    exec(compile(code, "architecture.md", "exec"), names)
    assert names["found"].mask.shape == (1, 65, 65)


def test_the_example_of_presets_runs():
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    names = {}
    exec(compile(code.replace('resnet50"', 'resnet50", d=8'), "architecture.md", "exec"), names)
    assert names["as_released"].rules == RELEASED_PFENET
    assert names["pfenet"].guidance.vectors == ("s",)
