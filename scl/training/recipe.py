"""What a training run is: model, data, schedule. Read from a TOML file, changed by flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from scl.datasets.registry import DataConfig
from scl.method.rules import PRESETS, SELF_GUIDED, V_S, V_S_L1
from scl.models.build import ModelConfig, full_size
from scl.training.trainer import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = files("scl.training") / "recipes"
METHODS = {"scl": SELF_GUIDED, "baseline": V_S, "baseline+L1": V_S_L1}
SELECTIONS = ("validation", "last", "novel")
Section = TypeVar("Section", DataConfig, TrainConfig, "RunConfig")


@dataclass(frozen=True)
class RunConfig:
    """How a run is watched and kept.

    seed: of the initial weights and of everything drawn; epochs: decides train.steps by the number
    of images (None: train.steps counts); save_every: steps between states to resume from;
    log_every: steps between rows of the log; select: keep the best checkpoint by "validation" (base
    classes, see DataConfig.held_out), take the "last" and score nothing, or choose by "novel"
    classes, which flatters the result; validate_every: steps between scores, over so many episodes;
    tensorboard: write the log's rows for TensorBoard, too, which has to be installed; graph: on
    CUDA, replay each step as a CUDA graph.
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

    def __post_init__(self) -> None:
        for name in ("save_every", "log_every", "validate_every", "validate_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name}={getattr(self, name)!r}: expected at least 1")
        if self.select not in SELECTIONS:
            raise ValueError(f"run.select={self.select!r}: expected one of {SELECTIONS}")


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    model: ModelConfig = field(default_factory=full_size)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> Recipe:
        """The inverse of to_dict."""
        parts = _sections(values)
        return cls(
            ModelConfig.from_dict(parts["model"]),
            _filled(DataConfig, "data", parts["data"]),
            _filled(TrainConfig, "train", parts["train"]),
            _filled(RunConfig, "run", parts["run"]),
        )


def _sections(values: Mapping) -> dict[str, dict]:
    known = [f.name for f in fields(Recipe)]
    strange = sorted(set(values) - set(known))
    if strange or not all(isinstance(v, Mapping) for v in values.values()):
        raise ValueError(f"recipe: {strange or 'values'} outside of the sections {known}")
    return {name: dict(values.get(name, {})) for name in known}


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


def read_recipe(source: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, or of a shipped name, with changes such as "train.lr=0.01".

    In [model], `method` is "scl", "baseline" (v_s alone) or "baseline+L1", `rules` the name of a
    preset, and all else as in ModelConfig; what is left out is full size, as the paper has it.
    """
    values = _sections(_parse(_text(source), str(source)))
    for change in changes:
        place, _, text = change.partition("=")
        section, _, name = place.strip().partition(".")
        if section not in values or not name or not text:
            raise ValueError(
                f"{change!r}: expected SECTION.NAME=VALUE with a section of {list(values)}"
            )
        values[section][name] = _value(text.strip())
        if (section, name) == ("train", "steps"):
            values["run"].pop("epochs", None)  # a number of steps replaces one of epochs
    return _recipe(values)


def _recipe(values: dict[str, dict]) -> Recipe:
    model = values["model"]
    method, rules = model.pop("method", "scl"), model.pop("rules", "paper")
    for name, value, known in (("method", method, METHODS), ("rules", rules, PRESETS)):
        if value not in known:
            raise ValueError(f"recipe: model.{name}={value!r}: expected one of {list(known)}")
    # Sections checked before full_size, whose defaults depend on the head.
    ModelConfig.from_dict(model)
    config = full_size(**{"guidance": METHODS[method], "rules": PRESETS[rules], **model})
    return Recipe.from_dict({**values, "model": config.to_dict()})


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
