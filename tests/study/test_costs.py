"""The counts of operations: reproducible, below the released code's, and where they come from."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scl.models.build import ModelConfig, build_model
from scl.study.costs import CASES, RELEASED_COUNT, Case, count, count_training, episode_gflop
from scl.study.grid import RESULTS
from tests.helpers.models import random_task


@pytest.fixture(scope="module")
def counted():
    return {(r["head"], r["method"], r["rules"], r["shots"]): r for r in count()}


def test_the_stored_counts_are_those_of_this_code(counted):
    record = json.loads((RESULTS / "flops.json").read_text())
    stored = record["cases"]
    assert stored == list(counted.values()) and len(stored) == len(CASES)
    assert record["training"] == count_training()


@pytest.mark.parametrize("case", RELEASED_COUNT)
def test_the_released_preset_costs_no_more_than_the_released_code(counted, case):
    head, method, shots = case
    assert counted[head, method, "released", shots]["total"] <= RELEASED_COUNT[case]


def test_the_paper_reading_of_five_shots_is_below_the_plain_count(counted):
    """Eq. 15 by the whole model: 25 query passes with a prior each."""
    plain = 4450
    paper = counted["pfenet", "scl", "paper", 5]["total"]
    assert counted["pfenet", "scl", "released", 5]["total"] < paper < plain


def test_counting_without_values_equals_counting_with_them():
    config = ModelConfig("pfenet", d=8)
    images, masks, query, _ = random_task(b=1, k=3, size=(64, 64))
    masks = torch.ones_like(masks)  # under a smaller mask a CPU does less, and knows it by values
    model = build_model(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.segment(model.condition(images, masks), query)
    parts = episode_gflop(build_model(config), 3, side=64)
    assert parts["total"] == pytest.approx(counter.get_total_flops() / 1e9)
    assert parts["total"] == pytest.approx(parts["support"] + parts["query"])


def test_a_second_query_costs_no_support():
    one, three = (
        episode_gflop(build_model(Case("canet", "scl", "paper", 1).config()), 1, 97, n)
        for n in (1, 3)
    )
    assert three["support"] == one["support"]
    assert three["query"] == pytest.approx(3 * one["query"])
