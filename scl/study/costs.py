"""How much arithmetic an episode and a training step cost, counted without doing it.

The model and the images live on torch's meta device: shapes without values. Counted are matrix
products and convolutions, two operations for a multiply-add.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from scl.files import versions, write_json
from scl.method.episode import Episodes
from scl.method.rules import PAPER, RELEASED_CANET, RELEASED_PFENET, SELF_GUIDED, V_S
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model, full_size
from scl.training.recipe import Recipe, read_recipe, recipes
from scl.training.trainer import EpisodeLosses

SIDE = 473  # pixels, as PFENet's images
# The released code's count for the same episodes, where it was counted.
RELEASED_COUNT = {
    ("pfenet", "baseline", 1): 466,
    ("pfenet", "scl", 1): 501,
    ("pfenet", "scl", 5): 2588,
}
# For the estimate of hours: what a data-centre GPU may reach on such convolutions in bfloat16. An
# assumption, not a measurement.
TFLOP_PER_SECOND = 50
# Training images of a benchmark, all folds' classes together: at least as many as a fold uses.
IMAGES = {"pascal": 5953, "coco": 82081}


@dataclass(frozen=True)
class Case:
    """One system: head, "baseline" or "scl", "paper" or "released" rules, shots."""

    head: str
    method: str
    rules: str
    shots: int

    def config(self) -> ModelConfig:
        """Take ResNet-50 of the released form, one zoom and one iteration (as in training)."""
        released = {"pfenet": RELEASED_PFENET, "canet": RELEASED_CANET}[self.head]
        return full_size(
            self.head,
            f"resnet50_{self.head}",
            SELF_GUIDED if self.method == "scl" else V_S,
            PAPER if self.rules == "paper" else released,
            iterations=1,
            zooms=(1.0,),
        )


CASES = tuple(
    Case(head, method, rules, shots)
    for head in ("pfenet", "canet")
    for method, shots in (("baseline", 1), ("scl", 1), ("scl", 5))
    for rules in ("released", "paper")
)


def episode_gflop(model: SCL, shots: int, side: int = SIDE, queries: int = 1) -> dict[str, float]:
    """Count 10^9 operations to condition on `shots` supports and to segment queries, by part."""
    model = model.to("meta").eval()
    images = torch.empty(1, shots, 3, side, side, device="meta")
    masks = torch.empty(1, shots, side, side, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as support_side:
        support = model.condition(images, masks)
    with FlopCounterMode(display=False) as query_side:
        model.segment(support, torch.empty(queries, 3, side, side, device="meta"))
    support, query = (c.get_total_flops() / 1e9 for c in (support_side, query_side))
    return {"support": support, "query": query, "total": support + query}


def count() -> list[dict]:
    """Record the operations of every case, with the released code's count where there is one."""
    records = []
    for case in CASES:
        parts = episode_gflop(build_model(case.config()), case.shots)
        known = RELEASED_COUNT.get((case.head, case.method, case.shots))
        rounded = {name: round(value, 1) for name, value in parts.items()}
        records.append({**asdict(case), **rounded, "released_code": known})
    return records


def step_gflop(recipe: Recipe) -> float:
    """Count 10^9 operations of one training step, forward and backward."""
    model = build_model(replace(recipe.model, weights=None)).to("meta").train()
    batch, side = recipe.train.batch, recipe.data.side
    images = torch.empty(batch, 3, side, side, device="meta")
    masks = torch.empty(batch, side, side, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter:
        support, support_masks = images[:, None], masks[:, None]
        labels = torch.empty(batch, device="meta")
        episodes = Episodes(support, support_masks, images, masks, labels)
        EpisodeLosses(model)(episodes)["total"].backward()
    return counter.get_total_flops() / 1e9


def count_training() -> list[dict]:
    """Record steps, operations and estimated hours of every recipe of the paper's tables."""
    records = []
    for name in recipes():
        recipe = read_recipe(name)
        if recipe.run.epochs is None:
            continue
        steps = recipe.run.epochs * math.ceil(IMAGES[recipe.data.name] / recipe.train.batch)
        gflop = step_gflop(recipe)
        hours = round(gflop * steps / TFLOP_PER_SECOND / 1e3 / 3600, 1)
        work = {"gflop_per_step": round(gflop), "steps": steps, "hours": hours}
        records.append({"recipe": name, **work})
    return records


def write_record(results: Path) -> Path:
    """Count every case and every recipe into results/flops.json."""
    record = {
        "side": SIDE,
        "backbone": "ResNet-50",
        "cases": count(),
        "assumed_tflop_per_second": TFLOP_PER_SECOND,
        "training": count_training(),
        "versions": versions(),
    }
    write_json(results / "flops.json", record)
    return results / "flops.json"
