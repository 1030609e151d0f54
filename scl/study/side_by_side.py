"""The same questions on photographs: rows of methods on PASCAL-5^i, trained side by side.

A run is a (data, fold, seed): all its trained rows learn from the same batches, and all rows are
scored on the same episodes, which are read once. "pascal" is PASCAL-5^i of VOC's validation part
alone (scl.datasets.pascal, protocol "val-only"): training on images without a novel object, a fifth
as many as published. "toyshop" is Toyshop-5^i. Scores count every pixel at the pictures' own size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit
from scl.datasets.folds import split_classes
from scl.datasets.kept import KeptCells
from scl.datasets.pascal import Pascal5i
from scl.datasets.toyshop import NOVEL_PER_CLASS, PER_CLASS, ToyshopSet
from scl.evaluation.evaluate import THRESHOLDS, Result
from scl.files import versions, write_json
from scl.method.contracts import Method
from scl.method.episode import Dataset, EpisodeIndex, Episodes, EpisodeSampler
from scl.method.metric import count_pixels
from scl.method.records import Fusion, Maps
from scl.method.scl import SCL
from scl.method.similarity import SimilarityConfig, SimilaritySCL
from scl.method.words import expect
from scl.models.backbones.lite0 import ALL_STAGES, EfficientNetLite0
from scl.models.build import ModelConfig, build_model
from scl.models.prototypes import Prototypes, Rule
from scl.models.untrained import all_foreground, cosine_method
from scl.study.compute import summary
from scl.study.grid import CORE, FUSIONS, GUIDED, RESULTS
from scl.study.scores import Scores
from scl.toyshop import CLASSES, Atlas
from scl.training.trainer import TrainConfig, Trainer

DATA = ("pascal", "toyshop")
TRAINED: dict[str, SimilarityConfig] = {
    "v_s": SimilarityConfig("none", self_guide=False),
    "v_s+L1": SimilarityConfig("none"),
    "scl": SimilarityConfig(),
    "inside-edge": SimilarityConfig("inside-edge"),
    "k-means": SimilarityConfig("k-means"),
    "v_s-maps": SimilarityConfig("none", self_guide=False, features=0),
    "scl-maps": SimilarityConfig(features=0),
}
RULES: dict[str, Rule] = {
    "centred": "cosine",
    "two-sided": "two-sided",
    "self-support": "self-support",
    "parts-k-means": "k-means",
    "parts-em": "em",
}
UNTRAINED = ("foreground", "cosine", *RULES)
ROWS = (*UNTRAINED, *TRAINED)
# The paper's heads, as small as the course's, with the rows of Tables 4 to 6: only when asked for.
GROUPS: dict[str, dict[str, ModelConfig]] = {
    head: {f"{head}-{v}": ModelConfig(head=head, guidance=GUIDED[v]) for v in variants}
    for head, variants in (("canet", [v for v in GUIDED if v != "v_s-seconds"]), ("pfenet", CORE))
}
PAPER_ROWS = {row: config for group in GROUPS.values() for row, config in group.items()}
FIVE_SHOT = ("cosine", "v_s", "scl", "canet-scl", "pfenet-scl")
SIDES = {"pascal": 256, "toyshop": 128}  # toys are composed at this size: more shows nothing more


@dataclass(frozen=True)
class SideBudget:
    """How much is trained and tested in a run.

    plan: of every trained row; side: pixels of a picture's longer side (None: see SIDES).
    """

    plan: TrainConfig = TrainConfig(steps=350, batch=16, lr=3e-3)
    one_shot: int = 1000
    five_shot: int = 200
    chosen_on: int = 200  # episodes of base classes that choose a threshold
    side: int | None = None


class World:
    """The pictures of a fold, their features, and the methods' shared backbones."""

    def __init__(
        self, data: str, fold: int, seed: int, budget: SideBudget, root: str | None, kept: Path
    ):
        self.backbone = EfficientNetLite0(kept=ALL_STAGES)
        self.plain = EfficientNetLite0()
        self.fit, self.folder = Fit(budget.side or SIDES[data], "whole"), kept
        opened = {split: _opened(data, split, fold, seed, root) for split in ("train", "novel")}
        encoders = {"unit": Prototypes(self.backbone, "cosine"), "raw": all_foreground(self.plain)}
        self.banks = {
            (split, kind): KeptCells(encoder, dataset, self.fit, kept, split == "novel")
            for split, dataset in opened.items()
            for kind, encoder in encoders.items()
        }
        for split in opened:
            self.banks[split, "high"] = self.banks[split, "raw"].with_high(self.plain)


def _opened(data: str, split: str, fold: int, seed: int, root: str | None) -> Dataset:
    """Open a split; Toyshop's scenes, whose seed is the run's, are composed, PASCAL's are there."""
    if data == "pascal":
        if root is None:
            raise ValueError("--data pascal needs --root: name the folder of VOC 2012 by --root")
        return Pascal5i(root, fold, split, shots=5, protocol="val-only")
    parts, novel = split_classes(len(CLASSES), fold), split == "novel"
    labels, count = (parts.novel, NOVEL_PER_CLASS) if novel else (parts.base, PER_CLASS)
    allowed = None if novel else parts.base
    return ToyshopSet(Atlas.load(), labels, count, 2 * seed + novel, allowed)


# ------------------------------------------------------------------- learning


def learn(
    configs: Mapping[str, SimilarityConfig],
    batches: Iterator[Episodes],
    plan: TrainConfig,
    backbone: EfficientNetLite0,
) -> dict[str, SimilaritySCL]:
    """Train rows side by side on the same batches, whose single cells are compared once."""
    models = {}
    for name, config in configs.items():
        torch.manual_seed(plan.seed)
        models[name] = SimilaritySCL(backbone, config)
    comparing = next(iter(models.values()))
    train_together(models, (b._replace(query=with_cells(comparing, b)) for b in batches), plan)
    return models


def learn_paper(
    configs: Mapping[str, ModelConfig],
    batches: Iterator[Episodes],
    plan: TrainConfig,
    backbone: EfficientNetLite0,
) -> dict[str, SCL]:
    """Train rows of the paper's heads side by side on the same batches."""
    models = {name: build_model(c, plan.seed, backbone) for name, c in configs.items()}
    train_together(models, batches, plan)
    return models


def train_together(
    models: Mapping[str, Method], batches: Iterator[Episodes], plan: TrainConfig
) -> None:
    """Train models on the same batches, each as if it were alone; they end ready to test."""
    trainers = [Trainer(model, plan, "cpu") for model in models.values()]
    taken = tqdm(islice(batches, plan.steps), "training", plan.steps, leave=False, disable=None)
    for step, batch in enumerate(taken):
        for trainer in trainers:
            # Drop-out takes the same from every row, whatever other rows there are.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(plan.seed * 100_003 + step)
                trainer.step(batch)
    for model in models.values():
        model.eval()


@torch.no_grad()
def with_cells(model: SimilaritySCL, batch: Episodes) -> Maps:
    """Give the queries of one-shot episodes their cell maps, which need nothing learned."""
    one = batch.one_shot()
    support, masks = expect(Maps, one.support), expect(Tensor, one.support_masks)
    query = expect(Maps, one.query)
    return query._replace(high=model.compare(support, masks, query))


def drawn_batches(
    bank: KeptCells,
    size: int,
    seed: int,
    absent: float = 0.0,
    classes: Sequence[int] | None = None,
) -> Iterator[Episodes]:
    """Draw batches without end, of all classes or of some.

    absent: the share of episodes whose query does not show the object.
    """
    sampler, generator = EpisodeSampler(bank.dataset, 1, classes), np.random.default_rng((seed, 1))
    while True:
        episodes = [sampler.draw(generator) for _ in range(size)]
        gone = generator.random(size) < absent
        yield bank.batch(
            [bank.without(e, generator) if g else e for e, g in zip(episodes, gone, strict=True)],
            mirror=generator,
        )


# -------------------------------------------------------------------- scoring


@torch.inference_mode()
def score(
    methods: Mapping[str, Method],
    bank: KeptCells,
    episodes: Sequence[EpisodeIndex],
    fusions: Sequence[Fusion] = ("cross",),
    wrong: int = 0,
) -> dict[tuple[str, Fusion], Result]:
    """Score methods on the same episodes, which are read once; see scl.evaluation.evaluate."""
    counts: dict[tuple[str, Fusion], list] = {(n, f): [] for n in methods for f in fusions}
    for episode in episodes if methods else ():
        batch, truth = bank.batch([episode], wrong=wrong), torch.from_numpy(bank.truth(episode))
        query, compared = expect(Maps, batch.query), None
        for name, method in methods.items():
            if isinstance(method, SimilaritySCL) and len(episode.supports) == 1:
                compared = compared or with_cells(method, batch)
            support = method.condition(batch.support, batch.support_masks)
            for fusion in fusions:
                found = method.segment(support, compared or query, fusion, truth.shape)
                counts[name, fusion].append(count_pixels(found.mask, truth[None]))
    labels = np.array([e.label for e in episodes])
    return {key: Result(torch.cat(c).numpy(), labels) for key, c in counts.items()}


def choose(
    make: Callable[[float], Method], bank: KeptCells, episodes: Sequence[EpisodeIndex]
) -> float:
    """Find the threshold with the best mIoU on episodes of base classes, at the kept size."""
    methods = {str(t): make(t) for t in THRESHOLDS}
    bank.truths = [m.numpy() for m in bank.masks]
    found = score(methods, bank, episodes)
    return max(THRESHOLDS, key=lambda t: found[str(t), "cross"].miou)


# ------------------------------------------------------------------------ runs


def path_of(data: str, row: str, fold: int, seed: int, results: Path = RESULTS) -> Path:
    """Say where a row's record lies."""
    return results / "side" / f"{data}-{row}-f{fold}-s{seed}.json"


def missing(
    data: str, fold: int, seed: int, results: Path = RESULTS, rows: Sequence[str] = ROWS
) -> list[str]:
    """Pick the rows of a run without a record."""
    return [row for row in rows if not path_of(data, row, fold, seed, results).is_file()]


def run(
    data: str,
    fold: int,
    seed: int,
    budget: SideBudget,
    root: str | None,
    kept: Path,
    results: Path = RESULTS,
    rows: Sequence[str] = ROWS,
) -> list[Path]:
    """Compute the rows of a run that are missing, and write a record for each."""
    left = missing(data, fold, seed, results, rows)
    if not left:
        return []
    torch.set_num_threads(1)
    world, plan = World(data, fold, seed, budget, root, kept), replace(budget.plan, seed=seed)
    methods, notes = untrained(left, world, budget, seed)
    wanted = {name: config for name, config in TRAINED.items() if name in left}
    if wanted:
        batches = drawn_batches(world.banks["train", "unit"], plan.batch, seed)
        methods["unit"] |= learn(wanted, batches, plan, world.backbone)
        notes |= {name: {"steps": plan.steps, "config": asdict(c)} for name, c in wanted.items()}
    for kind, head in (("raw", "canet"), ("high", "pfenet")):
        heads = {name: config for name, config in GROUPS[head].items() if name in left}
        if heads:
            batches = drawn_batches(world.banks["train", kind], plan.batch, seed)
            methods.setdefault(kind, {}).update(learn_paper(heads, batches, plan, world.plain))
        taught = {"steps": plan.steps, "lr": plan.lr}
        notes |= {name: {**taught, "config": asdict(c)} for name, c in heads.items()}
    done = []
    for row, scores in scored(methods, world, budget, seed).items():
        what = {"data": data, "row": row, "fold": fold, "seed": seed, **notes[row]}
        done.append(path_of(data, row, fold, seed, results))
        write_json(done[-1], {**what, "versions": versions(), "scores": scores})
    return done


def untrained(
    rows: Sequence[str], world: World, budget: SideBudget, seed: int
) -> tuple[dict[str, dict[str, Method]], dict[str, dict]]:
    """Make the rules without training, each with the threshold that base classes choose.

    Returns them by kind of features and name, and what is noted of each.
    """
    makers: dict[str, tuple[str, Callable[[float], Method]]] = {
        name: ("unit", partial(Prototypes, world.backbone, rule)) for name, rule in RULES.items()
    }
    makers["cosine"] = "raw", partial(cosine_method, world.plain)
    base = EpisodeSampler(world.banks["train", "unit"].dataset, 1).fixed(budget.chosen_on, seed)
    methods: dict[str, dict[str, Method]] = {"unit": {}, "raw": {}}
    notes: dict[str, dict] = {}
    for name, (kind, make) in makers.items():
        if name in rows:
            best = choose(make, world.banks["train", kind], base)
            methods[kind][name], notes[name] = make(best), {"threshold": best}
    if "foreground" in rows:
        methods["raw"]["foreground"], notes["foreground"] = all_foreground(world.plain), {}
    return methods, notes


def scored(
    methods: Mapping[str, Mapping[str, Method]], world: World, budget: SideBudget, seed: int
) -> dict[str, dict[str, dict]]:
    """Score methods, given by kind of features and name: row to setting to summary."""
    scores: dict[str, dict[str, dict]] = {}
    for kind, some in methods.items():
        bank = world.banks["novel", kind]
        one, five = (
            EpisodeSampler(bank.dataset, shots).fixed(count, seed)
            for shots, count in ((1, budget.one_shot), (5, budget.five_shot))
        )
        for (name, _), result in score(some, bank, one).items():
            scores[name] = {"1": summary(result)}
        few = {name: method for name, method in some.items() if name in FIVE_SHOT}
        for setting, wrong in (("5", 0), ("5-wrong", 1)):
            for (name, fusion), result in score(few, bank, five, FUSIONS, wrong).items():
                scores[name][f"{setting} {fusion}"] = summary(result)
    return scores


def read_row(data: str, row: str, setting: str = "1", results: Path = RESULTS) -> Scores:
    """Read a row's scores in a setting, of every (fold, seed) that is stored."""
    found: Scores = {}
    for path in sorted((results / "side").glob(f"{data}-{row}-f?-s?.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if setting in record["scores"]:
            found[record["fold"], record["seed"]] = record["scores"][setting]
    return found
