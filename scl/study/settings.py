"""The settings of the paper's systems as one table: the paper, the released code, ours by default.

What a recipe holds is read from the recipes, in both their readings; what no recipe holds (which
episodes, how images are resized, what is counted) is said in words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from scl.datasets.items import MIN_AREA
from scl.evaluation.protocol import ProtocolConfig
from scl.study.paper_tables import ROWS_OF_RECIPES
from scl.study.tables import markdown
from scl.training.launch import AUGMENTS
from scl.training.recipe import Reading, Recipe, read_recipe

HEADER = ["setting", "paper", "released code", "ours by default", "where it is read"]
BASELINES = "the baselines' (Section 5.1), no number"
SILENT = "not said"

# What some of the recipes have in common.
GROUPS: dict[str, Callable[[str], bool]] = {
    "PFENet": lambda name: name.endswith("pfenet"),
    "CANet": lambda name: name.endswith("canet"),
    "PASCAL": lambda name: name.startswith("pascal"),
    "COCO": lambda name: name.startswith("coco"),
    "PFENet, PASCAL": lambda name: name.startswith("pascal") and name.endswith("pfenet"),
    "SCL": lambda name: "scl" in name,
    "PFENet alone": lambda name: name in ("pascal-pfenet", "coco-pfenet"),
    "CANet alone": lambda name: name == "pascal-canet",
    "SCL (CANet)": lambda name: name == "pascal-scl-canet",
}


class Setting(NamedTuple):
    """A row: its name, where it is read (module:name), and the cells of its three columns.

    place: of the value, SECTION.NAME of a recipe, "augment.NAME" of what its data.augment names,
    or "protocol.NAME" of an evaluation's defaults; "{}" in a cell is that value, in the paper's
    reading, the released one, and by default. of: only recipes of this group have it.
    """

    name: str
    read: str
    place: str = ""
    paper: str = "{}"
    released: str = "{}"
    ours: str = "{}"
    of: str = ""


TRAINER, LAUNCH, RULES = "scl.training.trainer", "scl.training.launch", "scl.method.scl:SCL"
OPTIMISER, AUGMENT = f"{TRAINER}:make_optimiser", "scl.training.augment:AugmentConfig"
STATED = "{} (Section 5.1)"
SETTINGS = (
    Setting(
        "backbone",
        "scl.models.backbones:build_backbone",
        "model.backbone",
        "ResNet-50 on PASCAL, ResNet-101 on COCO (Tables 1, 2)",
        "PFENet: ResNet with a stem of three convolutions; CANet: strides on the first convolution "
        "of a block",
    ),
    Setting("optimiser", OPTIMISER, "train.optimiser", BASELINES),
    Setting("momentum", OPTIMISER, "train.momentum", BASELINES),
    Setting("learning rate", OPTIMISER, "train.lr", STATED),
    Setting("its schedule", f"{TRAINER}:make_schedule", "train.schedule", BASELINES),
    Setting("weight decay", OPTIMISER, "train.weight_decay", STATED),
    Setting("batch", f"{LAUNCH}:feed_of", "train.batch", STATED),
    Setting("epochs", f"{LAUNCH}:with_steps", "run.epochs", STATED),
    Setting(
        "an epoch goes once through every",
        "scl.training.stream:TrainingEpisodes",
        "data.order",
        SILENT,
    ),
    Setting(
        "steps of an epoch",
        f"{LAUNCH}:with_steps",
        "",
        SILENT,
        "PFENet: rounded down (the rest is dropped); CANet: rounded up",
        "rounded up",
    ),
    Setting(
        "weight of the inner classifiers' loss",
        f"{RULES}.sum_losses",
        "model.rules.auxiliary_loss",
        "none in Eq. 14, but PFENet's settings (Section 5.1)",
        of="PFENet",
    ),
    Setting(
        "losses compare at the size of the",
        f"{RULES}.sum_losses",
        "model.rules.loss_size",
        "{} map (Eq. 7, 10, 13)",
    ),
    Setting(
        "statistics of the frozen backbone, in training",
        f"{RULES}.train",
        "model.rules.statistics",
        SILENT,
    ),
    Setting("initial weights", "scl.models.build:build_model", "model.init", BASELINES),
    Setting(
        "drop-out of the history",
        "scl.method.refine:query_pass",
        "model.history_dropout",
        BASELINES,
        of="CANet",
    ),
    Setting(
        "history in training",
        "scl.method.refine:query_pass",
        "",
        "the previous iteration's prediction (Section 5.1)",
        "what was predicted of the same pair an epoch ago",
        "what a pass before, without gradients, predicts",
        of="CANet",
    ),
    Setting(
        "precision of training",
        "scl.device:autocast",
        "train.precision",
        SILENT,
        "`float32`",
        "{}: bfloat16 on CUDA, else float32",
    ),
    Setting(
        "precision of evaluation", "scl.device:autocast", "protocol.precision", SILENT, "`float32`"
    ),
    Setting("the checkpoint is chosen by", f"{LAUNCH}:score_of", "run.select", SILENT),
    Setting("training images, pixels a side", f"{LAUNCH}:feed_of", "data.side", BASELINES),
    Setting("an image's size before it is scaled", AUGMENT, "augment.resize", BASELINES),
    Setting("scaled by", AUGMENT, "augment.scale", BASELINES),
    Setting("turned by at most (degrees)", AUGMENT, "augment.rotation", BASELINES),
    Setting("chance to be turned", AUGMENT, "augment.rotation_chance", BASELINES),
    Setting("chance to be blurred", AUGMENT, "augment.blur_chance", BASELINES),
    Setting("chance to be mirrored", AUGMENT, "augment.flip_chance", BASELINES),
    Setting("share of the object that a crop keeps", AUGMENT, "augment.keep", BASELINES),
    Setting("crops after the first to find it", AUGMENT, "augment.retries", BASELINES),
    Setting(
        "if no crop keeps that share",
        "scl.training.augment:draw",
        "",
        SILENT,
        "the last one",
        "the one that keeps most; never one without the object",
    ),
    Setting(
        "smallest object of an image",
        "scl.datasets.items:ItemSet",
        "",
        SILENT,
        f"PFENet: {MIN_AREA} pixels of the original, but any other class of a query may be drawn "
        "(`released` episodes follow it, training does not); CANet: lists made beforehand",
        f"{MIN_AREA} pixels of the original",
    ),
    Setting(
        "folds of COCO",
        "scl.datasets.folds:split_classes",
        "data.grouping",
        "as in FWB (Section 5.2)",
        of="COCO",
    ),
    Setting(
        "episodes of a seed",
        "scl.evaluation.protocol:draw_episodes",
        "protocol.episodes",
        "1000 (Section 5.2)",
        "PFENet: by script, 2001 to 5001 on PASCAL, 3001 or 20001 on COCO; CANet: 1000",
    ),
    Setting(
        "seeds",
        "scl.evaluation.protocol:draw_episodes",
        "protocol.seeds",
        "five, averaged (Section 5.1)",
        "PFENet: one, 321; CANet: none",
    ),
    Setting(
        "episodes (`--walk`)",
        "scl.evaluation.walk:sampler_of",
        "test.walk",
        "pairs drawn at random (Section 5.2): {}",
        "{} (the next pair of the list, shuffled from the second round on; the next image, and one "
        "of its novel classes at random)",
        "{}: one class at random, all alike, and one of its images",
    ),
    Setting(
        "images in evaluation",
        "scl.datasets.fit:Fit",
        "test.resize",
        BASELINES,
        "{}; PFENet at 473 pixels (COCO: 641)",
        "{}; PFENet at the training size",
    ),
    Setting("sizes of the query, added up", RULES, "model.zooms", BASELINES),
    Setting("passes over a query, in use", RULES, "model.iterations", BASELINES),
    Setting(
        "enlarged score maps match in corners (`aligned`) or cells' `centres`",
        f"{RULES}.segment",
        "model.rules.enlarge",
        SILENT,
        "{} (in training `aligned`)",
    ),
    Setting(
        "several supports",
        f"{RULES}.segment",
        "test.fusion",
        "SCL: Eq. 17; baselines: as they were published",
    ),
    Setting(
        "pixels are counted at",
        "scl.evaluation.protocol:count_episodes",
        "",
        SILENT,
        "the image's own size",
        "the image's own size",
    ),
    Setting(
        "label 255",
        "scl.method.metric:count_pixels",
        "",
        SILENT,
        "not counted; background for a support's vectors",
        "not counted; background for a support's vectors",
    ),
    Setting(
        "mIoU",
        "scl.method.metric:mean_iou",
        "",
        "as in [30] (Section 5.2)",
        "mean over classes of summed intersection over summed union",
        "mean over classes of summed intersection over summed union",
    ),
    Setting(
        "FB-IoU",
        "scl.method.metric:fb_iou",
        "",
        "as in [30] (Section 5.2)",
        "foreground and background, each pooled over all episodes, averaged",
        "foreground and background, each pooled over all episodes, averaged",
    ),
)


def settings_table() -> str:
    """Tabulate every setting: what the paper says, what was released, what is done by default."""
    return markdown(HEADER, [_row(setting) for setting in SETTINGS])


def _row(setting: Setting) -> list[str]:
    columns: tuple[tuple[str, Reading | None], ...] = (
        (setting.paper, "paper"),
        (setting.released, "released"),
        (setting.ours, None),
    )
    cells = [_cell(setting, text, reading) for text, reading in columns]
    module, _, name = setting.read.partition(":")
    return [setting.name, *cells, f"`{name}` of [{module}]({_file(module)})"]


def _file(module: str) -> str:
    """Where a module lies, as seen from docs/; a package is its folder."""
    found = find_spec(module)
    package = found is not None and found.submodule_search_locations is not None
    return f"../{module.replace('.', '/')}" + ("" if package else ".py")


def _cell(setting: Setting, text: str, reading: Reading | None) -> str:
    """Write a column's text, with the value of every group of recipes that share one."""
    if "{}" not in text:
        return text
    among = [name for name in ROWS_OF_RECIPES if not setting.of or GROUPS[setting.of](name)]
    found: dict[str, set[str]] = {}
    for name in among:
        found.setdefault(_value(_read(name, reading), setting.place), set()).add(name)
    if len(found) == 1:
        return text.format(*found)
    parts = (f"{_group(names, among)}: {value}" for value, names in found.items())
    return text.format("; ".join(parts))


def _group(names: set[str], among: list[str]) -> str:
    for group, holds in GROUPS.items():
        if {name for name in among if holds(name)} == names:
            return group
    return ", ".join(f"`{name}`" for name in sorted(names))


@cache
def _read(name: str, reading: Reading | None) -> Recipe:
    return read_recipe(name, reading=reading)


def _value(recipe: Recipe, place: str) -> str:
    """Write the value at SECTION.NAME; what differs between supports and queries, says both."""
    section, _, path = place.partition(".")
    if section == "augment":
        support, query = (_word(_at(a, path)) for a in AUGMENTS[recipe.data.augment])
        return support if support == query else f"{support} (supports), {query} (queries)"
    return _word(_at(ProtocolConfig() if section == "protocol" else getattr(recipe, section), path))


def _at(owner: Any, path: str) -> Any:
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"`{value}`" if isinstance(value, str) else str(value)
