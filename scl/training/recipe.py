"""What a training run is: model, data, schedule. Read from a TOML file, changed by flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from scl.datasets.fit import METHODS as RESIZES
from scl.datasets.fit import Method as Resize
from scl.datasets.registry import DataConfig
from scl.evaluation.walk import WALKS, Walk
from scl.method.records import Fusion
from scl.method.rules import PRESETS, SELF_GUIDED, V_S, V_S_L1, Rules
from scl.models.build import ModelConfig, full_size
from scl.models.checkpoint import READINGS, Reading
from scl.training.trainer import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = files("scl.training") / "recipes"
METHODS = {"scl": SELF_GUIDED, "baseline": V_S, "baseline+L1": V_S_L1}
SELECTIONS = ("validation", "last", "novel")
SECTIONS = ("model", "data", "train", "run", "test")
Section = TypeVar("Section", DataConfig, TrainConfig, "RunConfig", "TestConfig")


@dataclass(frozen=True)
class RunConfig:
    """How a run is watched and kept.

    seed: of the initial weights and of everything drawn; epochs: decides train.steps by the number
    of images (None: train.steps counts); save_every: steps between states to resume from;
    log_every: steps between rows of the log; select: keep the best checkpoint by "validation" (base
    classes, see DataConfig.held_out), take the "last" and score nothing, or choose by "novel"
    classes, which flatters the result; validate_every: steps between scores, over so many episodes;
    tensorboard: write the log's rows for TensorBoard, too, which has to be installed; graph: on
    CUDA, replay each step as a CUDA graph; store_backbone: keep a backbone whose weights are from
    a file (model.backbone_weights) in the checkpoints, which then open without it.
    """

    seed: int = 0
    epochs: int | None = None
    save_every: int = 500
    log_every: int = 20
    validate_every: int = 1000
    validate_episodes: int = 200
    select: Literal["validation", "last", "novel"] = "validation"
    tensorboard: bool = False
    graph: bool = True
    store_backbone: bool = True

    def __post_init__(self) -> None:
        for name in ("save_every", "log_every", "validate_every", "validate_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name}={getattr(self, name)!r}: expected at least 1")
        if self.select not in SELECTIONS:
            raise ValueError(f"run.select={self.select!r}: expected one of {SELECTIONS}")


@dataclass(frozen=True)
class TestConfig:
    """How the model is meant to be used; its checkpoints say so, and `evaluate` follows.

    fusion: how several supports become one answer: "cross" (SCL, Eq. 17), the "average" of the
    predictions (CANet), or of "vectors" and priors (PFENet). resize: how images come to the network
    and score maps back, see scl.datasets.fit.Fit. walk: how episodes follow each other, see
    ProtocolConfig.
    """

    __test__ = False  # no test, whatever pytest takes from the name

    fusion: Fusion = "cross"
    resize: Resize = "exact"
    walk: Walk = "uniform"

    def __post_init__(self) -> None:
        for name, known in (("fusion", get_args(Fusion)), ("resize", RESIZES), ("walk", WALKS)):
            if getattr(self, name) not in known:
                raise ValueError(f"test.{name}={getattr(self, name)!r}: expected one of {known}")


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    name: of the recipe; reading: whether it is followed as the "paper" has it or as the code was
    "released" (None: it has one form only, or was written before there were two).
    """

    model: ModelConfig = field(default_factory=full_size)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)
    test: TestConfig = field(default_factory=TestConfig)
    name: str | None = None
    reading: Reading | None = None

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        values = asdict(self)
        return {"recipe": values.pop("name"), "as": values.pop("reading"), **values}

    @classmethod
    def from_dict(cls, values: Mapping) -> Recipe:
        """The inverse of to_dict; a run that was started by an older version has fewer values."""
        values = dict(values)
        name, reading = values.pop("recipe", None), values.pop("as", None)
        if reading not in (None, *READINGS):
            raise ValueError(f"recipe: as={reading!r}: expected one of {READINGS}")
        parts = _sections(values)
        return cls(
            ModelConfig.from_dict(parts["model"]),
            _filled(DataConfig, "data", parts["data"]),
            _filled(TrainConfig, "train", parts["train"]),
            _filled(RunConfig, "run", parts["run"]),
            _filled(TestConfig, "test", parts["test"]),
            name,
            reading,
        )


def _sections(values: Mapping, place: str = "recipe") -> dict[str, dict]:
    strange = sorted(set(values) - set(SECTIONS))
    if strange or not all(isinstance(v, Mapping) for v in values.values()):
        raise ValueError(f"{place}: {strange or 'values'} outside of the sections {list(SECTIONS)}")
    return {name: dict(values.get(name, {})) for name in SECTIONS}


def _filled(cls: type[Section], section: str, values: Mapping) -> Section:
    """A frozen configuration from a section; an unknown key is an error that names the known."""
    known = [f.name for f in fields(cls)]
    strange = sorted(set(values) - set(known))
    if strange:
        raise ValueError(f"recipe: [{section}] has no {strange[0]!r}: expected some of {known}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"recipe: [{section}] {error}") from None


def read_recipe(
    source: str | Path, changes: Sequence[str] = (), reading: Reading | None = None
) -> Recipe:
    """The recipe of a file, or of a shipped name, with changes such as "train.lr=0.01".

    In [model], `method` is "scl", "baseline" (v_s alone) or "baseline+L1"; `rules` the name of a
    preset, or a table with `preset` and the rules that differ from it; and all else as in
    ModelConfig. What is left out is full size, as the paper has it. The sections of a recipe are
    the paper's settings; what the released code has instead stands in [released.model] and so on,
    and takes their place by reading="released".
    """
    values = _parse(_text(source), str(source))
    released = values.pop("released", None)
    values = _sections(values)
    if released is None:
        if reading == "released":
            raise ValueError(f"{source} has one form only, no [released] sections: leave out --as")
        reading = None
    else:
        own = _sections(released, "recipe: [released]")  # a slip is seen in either reading
        reading = reading or "paper"
        if reading == "released":
            for section in SECTIONS:
                for name, value in own[section].items():
                    _put(values, section, name, value)
    for change in changes:
        _put(values, *_change(change))
    name = Path(source).name.removesuffix(".toml")
    return replace(_recipe(values), name=name, reading=reading)


def _change(text: str) -> tuple[str, str, object]:
    """Section, name and value of SECTION.NAME=VALUE."""
    place, _, value = text.partition("=")
    section, _, name = place.strip().partition(".")
    if section not in SECTIONS or not name or not value:
        raise ValueError(
            f"{text!r}: expected SECTION.NAME=VALUE with a section of {list(SECTIONS)}"
        )
    return section, name, _value(value.strip())


def _put(values: dict[str, dict], section: str, name: str, value: object) -> None:
    """Change a setting; steps replace epochs, and a file of weights those of a name."""
    values[section][name] = value
    if (section, name) == ("train", "steps"):
        values["run"].pop("epochs", None)
    if (section, name) == ("model", "backbone_weights"):
        values["model"].pop("weights", None)


def _recipe(values: dict[str, dict]) -> Recipe:
    model = values["model"]
    method, rules = model.pop("method", "scl"), _rules(model.pop("rules", "paper"))
    if method not in METHODS:
        raise ValueError(f"recipe: model.method={method!r}: expected one of {list(METHODS)}")
    # Sections checked before full_size, whose defaults depend on the head.
    ModelConfig.from_dict(model)
    config = full_size(**{"guidance": METHODS[method], "rules": rules, **model})
    return Recipe.from_dict({**values, "model": config.to_dict()})


def _rules(asked: Any) -> Rules:
    """A preset by its name, or a table: a preset (default: the paper's), and what differs."""
    own = dict(asked) if isinstance(asked, Mapping) else {"preset": asked}
    preset = own.pop("preset", "paper")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"recipe: model.rules={preset!r}: expected one of {list(PRESETS)}")
    try:
        return replace(PRESETS[preset], **own)
    except TypeError as error:
        raise ValueError(f"recipe: model.rules: {error}") from None


def _text(source: str | Path) -> str:
    path = Path(source)
    shipped = SHIPPED / f"{path.name.removesuffix('.toml')}.toml"
    if not path.is_file():
        if path.parent != Path(".") or not shipped.is_file():
            raise ValueError(
                f"{source} is no recipe: expected a TOML file, or one of {', '.join(recipes())}"
            )
        return shipped.read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): expected a TOML file") from None


def _parse(text: str, name: str) -> dict:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no TOML file ({error})") from None


def _value(text: str) -> object:
    """A value as TOML writes it; a bare word is a text."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(p.name.removesuffix(".toml") for p in SHIPPED.iterdir() if ".toml" in p.name)
