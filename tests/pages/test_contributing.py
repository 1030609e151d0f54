"""The page on contributing: its example is a method, and does what it says."""

import re
from pathlib import Path

import pytest
import torch

from scl.datasets.fit import Fit
from scl.evaluation.evaluate import evaluate
from scl.evaluation.protocol import ProtocolConfig, evaluate_protocol
from scl.method.episode import EpisodeSampler
from scl.models.untrained import all_foreground
from tests.helpers.models import TinyBackbone

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "contributing.md").read_text("utf-8")


def made(backbone):
    """The method of the page, on a backbone."""
    names = {"__name__": "contributing"}
    code = re.search(r"```python\n(.*?)```", PAGE, re.S).group(1)
    exec(compile(code, "contributing.md", "exec"), names)
    return names["TwoSides"](backbone).eval()


@pytest.mark.parametrize("shots", [1, 3])
def test_the_method_is_better_than_all_foreground_on_kept_features(world, shots):
    toys, models, banks, *_ = world
    backbone, bank = models["canet"].backbone, banks["canet"]
    episodes = EpisodeSampler(toys, shots).fixed(12, 0)
    found, every = (
        evaluate(method, bank, episodes)["cross"].miou
        for method in (made(backbone), all_foreground(backbone))
    )
    assert found > every + 0.05


def test_the_method_is_evaluated_by_the_papers_protocol(world):
    toys, models, *_ = world
    config = ProtocolConfig(episodes=6, seeds=(0, 1), shots=2, fit=Fit(64, "native"))
    method = made(models["canet"].backbone)
    record = evaluate_protocol(method, toys, config, device="cpu", progress=False)
    assert record["miou"] > record["everything_is_foreground"]["miou"] + 0.05


def test_the_method_is_the_loop_over_cells_and_leaves_out_what_is_ignored():
    method = made(TinyBackbone())
    g = torch.Generator().manual_seed(0)
    images, query = torch.rand(1, 1, 3, 32, 40, generator=g), torch.rand(1, 3, 32, 40, generator=g)
    mask = torch.zeros(1, 1, 32, 40)
    mask[..., 8:24, 8:24], mask[..., 24:] = 1, 255
    found = method.segment(method.condition(images, mask), query, size=(4, 5)).fused_logits[0]
    seen, asked = method.backbone.mid(images[0])[0], method.backbone.mid(query)[0]
    cells = mask[0, 0, ::8, ::8]  # each cell shows one label alone
    for side in (0, 1):
        places = [(y, x) for y in range(4) for x in range(5) if cells[y, x] == side]
        average = sum(seen[:, y, x] for y, x in places) / len(places)
        for y in range(4):
            for x in range(5):
                cosine = torch.cosine_similarity(asked[:, y, x], average, dim=0)
                assert torch.isclose(found[side, y, x], cosine, atol=1e-5)
