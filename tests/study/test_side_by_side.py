"""Rows that learn side by side: the same batches, the same episodes, and their tables."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch

from scl.__main__ import main
from scl.datasets.fit import Fit
from scl.datasets.kept import KeptCells
from scl.method.episode import EpisodeSampler
from scl.method.metric import count_pixels
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.models.prototypes import Prototypes
from scl.models.untrained import all_foreground
from scl.study import side_tables
from scl.study.grid import FUSIONS
from scl.study.side_by_side import (
    GROUPS,
    PAPER_ROWS,
    ROWS,
    TRAINED,
    choose,
    drawn_batches,
    learn,
    learn_paper,
    missing,
    path_of,
    read_row,
    score,
    with_cells,
)
from scl.training.trainer import TrainConfig
from tests.helpers.drawn import Blocks
from tests.helpers.models import Stages, TinyBackbone

PLAN = TrainConfig(steps=12, batch=4, lr=1e-2)
SMALL = {"features": 4, "width": 8}


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> KeptCells:
    encoder, folder = Prototypes(Stages(), "cosine"), tmp_path_factory.mktemp("kept")
    return KeptCells(encoder, Blocks(), Fit(64, "whole"), folder, truths=True)


def test_rows_learn_the_same_side_by_side_and_alone(bank):
    configs = {"scl": SimilarityConfig(**SMALL), "v_s": SimilarityConfig("none", False, **SMALL)}
    together = learn(configs, drawn_batches(bank, 4, 0), PLAN, Stages())
    alone = learn({"v_s": configs["v_s"]}, drawn_batches(bank, 4, 0), PLAN, Stages())
    for name, value in alone["v_s"].head.state_dict().items():
        torch.testing.assert_close(together["v_s"].head.state_dict()[name], value)


def test_a_head_learns_to_find_blocks(bank):
    plan = TrainConfig(steps=60, batch=6, lr=1e-2)
    made = learn({"scl": SimilarityConfig(**SMALL)}, drawn_batches(bank, 6, 0), plan, Stages())
    untrained = SimilaritySCL(Stages(), SimilarityConfig(**SMALL)).eval()
    episodes = EpisodeSampler(bank.dataset).fixed(20, 1)
    found = score({"after": made["scl"], "before": untrained}, bank, episodes)
    assert found["after", "cross"].miou > max(0.5, found["before", "cross"].miou + 0.2)


def test_scores_are_counted_at_the_pictures_own_size(bank):
    model = SimilaritySCL(Stages(), SimilarityConfig(**SMALL)).eval()
    (episode,) = EpisodeSampler(bank.dataset).fixed(1, 5)
    batch, truth = bank.batch([episode]), torch.tensor(bank.truth(episode))
    support = model.condition(batch.support, batch.support_masks)
    done = model.segment(support, with_cells(model, batch), size=truth.shape)
    expected = count_pixels(done.mask, truth[None])
    assert np.array_equal(score({"m": model}, bank, [episode])["m", "cross"].counts, expected)


def test_some_batches_have_queries_without_the_object(bank):
    batches = list(islice(drawn_batches(bank, 8, 0, absent=0.5), 6))
    empty = [not (mask == 1).any() for batch in batches for mask in batch.query_masks]
    assert 0.2 < np.mean(empty) < 0.8
    assert all((m == 1).any() for b in islice(drawn_batches(bank, 8, 0), 6) for m in b.query_masks)


def test_a_threshold_is_chosen_on_what_is_given(bank):
    episodes = EpisodeSampler(bank.dataset).fixed(6, 2)
    best = choose(lambda t: Prototypes(Stages(), "cosine", t), bank, episodes)
    found = {
        t: score({"m": Prototypes(Stages(), "cosine", t)}, bank, episodes)["m", "cross"].miou
        for t in (best, 0.5)
    }
    assert found[best] >= found[0.5]


def a_record(data: str, row: str, fold: int, seed: int, miou: float, results) -> None:
    episodes = [[fold * 5, 10, 20], [fold * 5 + 1, 5, 10]]
    scores = {"miou": miou, "fb_iou": 0.7, "per_class": {}, "episodes": episodes}
    path = path_of(data, row, fold, seed, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"data": data, "row": row, "fold": fold, "seed": seed, "steps": 350}
    path.write_text(json.dumps(record | {"scores": {"1": scores, "5 cross": scores}}))


def test_the_papers_heads_learn_side_by_side_and_answer(tmp_path):
    backbone, plan = TinyBackbone(), TrainConfig(steps=2, batch=3, lr=1e-2)
    raw = KeptCells(all_foreground(backbone), Blocks(), Fit(64, "whole"), tmp_path, truths=True)
    for head, bank in (("canet", raw), ("pfenet", raw.with_high(backbone))):
        configs = {f"{head}-{v}": PAPER_ROWS[f"{head}-{v}"] for v in ("scl", "v_s")}
        together = learn_paper(configs, drawn_batches(bank, 3, 0), plan, backbone)
        own = f"{head}-v_s"
        alone = learn_paper({own: configs[own]}, drawn_batches(bank, 3, 0), plan, backbone)
        for name, value in alone[own].head.state_dict().items():
            torch.testing.assert_close(together[own].head.state_dict()[name], value)
        episodes = EpisodeSampler(bank.dataset, 2).fixed(3, 1)
        found = score(together, bank, episodes, FUSIONS, wrong=1)
        assert len(found) == 6 and all(np.isfinite(r.miou) for r in found.values())


def test_the_papers_heads_are_run_when_asked_for(tmp_path, capsys):
    assert not set(PAPER_ROWS) & set(ROWS)
    assert [len(GROUPS[head]) for head in ("canet", "pfenet")] == [9, 3]
    for row in GROUPS["canet"]:
        a_record("pascal", row, 0, 0, 0.5, tmp_path)
    line = ["side", "--list", "--fold", "0", "--results", str(tmp_path), "--row"]
    assert main([*line, "canet"]) == 0 and capsys.readouterr().out == ""
    assert main([*line, "canet", "pfenet"]) == 0
    assert capsys.readouterr().out.endswith("--fold 0 --seed 0 --row canet pfenet\n")
    main([*line, "nets"])
    assert "pfenet" in capsys.readouterr().err


def test_the_table_of_the_papers_rows_says_what_is_not_run(tmp_path):
    assert "Not run yet" in side_tables.paper_rows_reading(tmp_path)
    assert side_tables.paper_rows_table(tmp_path).count("not run yet") == len(PAPER_ROWS)
    for fold in range(4):
        for seed in range(3):
            a_record("pascal", "canet-v_s", fold, seed, 0.4, tmp_path)
            a_record("pascal", "canet-scl", fold, seed, 0.45 + 0.001 * seed, tmp_path)
    assert "+5.1" in side_tables.paper_rows_table(tmp_path)
    (line,) = side_tables.paper_rows_reading(tmp_path).splitlines()
    assert "higher" in line and line.startswith("- CANet")
    assert "pascal: 0 of" in side_tables.side_count(tmp_path)


def test_what_is_missing_is_listed_and_the_rest_read(tmp_path):
    assert missing("pascal", 0, 0, tmp_path) == list(ROWS)
    a_record("pascal", "scl", 0, 0, 0.5, tmp_path)
    assert "scl" not in missing("pascal", 0, 0, tmp_path)
    assert read_row("pascal", "scl", "1", tmp_path)[0, 0]["miou"] == 0.5
    assert read_row("pascal", "v_s", "1", tmp_path) == {}
    assert read_row("pascal", "scl", "5-wrong cross", tmp_path) == {}


def test_tables_hold_every_row_and_say_what_is_not_run(tmp_path):
    for fold in range(4):
        for seed in range(3):
            for row, miou in (("scl", 0.5), ("v_s", 0.4), ("cosine", 0.3), ("self-support", 0.35)):
                a_record("pascal", row, fold, seed, miou + 0.01 * seed, tmp_path)
    table = side_tables.side_table("pascal", tmp_path)
    assert len(table.splitlines()) == 2 + len(ROWS) and "not run yet" in table
    assert "+15.0" in table  # scl against the best rule without training
    effects = side_tables.effect_table(tmp_path).splitlines()
    assert "+10.0" in effects[2] and effects[2].endswith("not run yet |")
    assert side_tables.effect_points(tmp_path) == {}, "nothing is known of toys"
    for row, miou in (("scl", 0.52), ("v_s", 0.5), ("cosine", 0.3)):
        a_record("toyshop", row, 0, 0, miou, tmp_path)
    points = side_tables.effect_points(tmp_path, most=12)
    ((x, y),) = points.values()  # the gain over the cosine is too large to be drawn
    assert list(points) == ["scl against v_s"]
    assert x[0] == pytest.approx(10) and y[0] == pytest.approx(2)
    assert "not run yet" in side_tables.side_fusion_table("pascal", "scl", tmp_path)
    assert f"pascal: 48 of {12 * len(ROWS)}" in side_tables.side_count(tmp_path)
    assert set(side_tables.NAMES) == set(ROWS) and set(TRAINED) <= set(ROWS)
