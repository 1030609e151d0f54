"""A training run in a folder: state to resume from, a log, checkpoints.

    recipe.json          everything the run was asked to do
    state.safetensors    weights, optimiser, schedule and place of the last saved step, one file
    log.csv              losses and learning rate, and scores where they are asked for
    best.safetensors     the checkpoint that validation chose (with best.json)
    last.safetensors     the checkpoint of the last step (with last.json)

The state is one file that is renamed into place, so a run that dies at any moment leaves a whole
one. What a step draws depends on (seed, step, process) alone, so a resumed run needs no more.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scl.device import Workers
from scl.files import versions, write_atomically, write_json
from scl.method.episode import Episodes
from scl.method.scl import SCL
from scl.models.build import build_model
from scl.models.checkpoint import save_checkpoint
from scl.training.recipe import Recipe
from scl.training.stream import STEP
from scl.training.trainer import Trainer, steps_shown

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RECIPE, STATE, LOG = "recipe.json", "state.safetensors", "log.csv"
COLUMNS = ("step", "lr", "q", "s1", "s2", "total", "seconds", "miou")

# Batches from a step on: the part of each that this process learns from.
Batches = Callable[[int], Iterator[Episodes]]
Score = Callable[[SCL], float]


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps done, seconds spent, best score so far (in 0..1) and its step."""

    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    best_step: int = 0


class Run:
    """A training run and its folder; `train` starts it or goes on with it.

    recipe: with its steps decided; batches: see Batches; score: mIoU in 0..1 on validation
    episodes, if any; workers: the processes that share the run (the first one writes).
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        batches: Batches,
        score: Score | None = None,
        device: str | torch.device = "auto",
        workers: Workers | None = None,
        model: SCL | None = None,
    ):
        self.recipe, self.folder, self.batches, self.score = recipe, Path(folder), batches, score
        self.workers = workers or Workers()
        self.model = model or build_model(recipe.model, recipe.run.seed)
        self.trainer = Trainer(self.model, recipe.train, device, recipe.run.graph)
        self.at = Progress()
        self.board: SummaryWriter | None = None
        self._boards = recipe.run.tensorboard and self.workers.first

    def train(self, progress: bool = True) -> Progress:
        """Every step that is left; returns the final progress."""
        self.at = self._load()
        if self.workers.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._trim_log()
        self.board = _board(self.folder, self.at.step) if self._boards else None
        started, steps = time.perf_counter() - self.at.seconds, self.recipe.train.steps
        with steps_shown(range(self.at.step, steps), progress and self.workers.first) as bar:
            for step, batch in zip(bar, self.batches(self.at.step), strict=False):
                _seed(self.recipe.run.seed, step, self.workers.rank)
                losses = self.trainer.step(batch.to(self.trainer.device))
                self.at = replace(self.at, step=step + 1, seconds=time.perf_counter() - started)
                self._after_step(losses, bar)
        self.model.eval()
        if self.workers.first:
            self._save_model("last")
        if self.board:
            self.board.close()
        return self.at

    # ------------------------------------------------------------ after a step

    def _after_step(self, losses: dict[str, torch.Tensor], bar) -> None:
        run, step = self.recipe.run, self.at.step
        last = step == self.recipe.train.steps
        due = step % run.validate_every == 0 or last
        miou = self._validate(self.score) if self.score and due else None
        if self.workers.first:
            if miou is not None or last or step % run.log_every == 0:
                # Together: each number alone would make a GPU wait anew.
                numbers = torch.stack(list(losses.values())).tolist()
                row = dict(zip(losses, numbers, strict=True))
                bar.set_postfix(loss=f"{row['total']:.3f}")
                self._write_row(row, miou)
            if last or step % run.save_every == 0:
                self._save_state()

    def _validate(self, score: Score) -> float:
        """The score of this moment; keeps the checkpoint if it is the best so far."""
        self.model.eval()
        miou = score(self.model)
        self.model.train()
        if miou > self.at.best:
            self.at = replace(self.at, best=miou, best_step=self.at.step)
            if self.workers.first:
                self._save_model("best")
        return miou

    def _save_model(self, name: str) -> None:
        plan, path, side = self.recipe, self.folder / name, self.recipe.data.side
        notes = {"recipe": plan.name, "as": plan.reading, **vars(plan.test)}
        given = path, plan.run.seed, True, side, notes, plan.run.store_backbone
        save_checkpoint(self.model, plan.model, *given)

    # ----------------------------------------------------------------- the log

    def _write_row(self, losses: dict[str, float], miou: float | None) -> None:
        row: dict[str, float] = {
            "step": self.at.step,
            "lr": self.trainer.lr,
            "seconds": round(self.at.seconds, 2),
            **{name: round(value, 6) for name, value in losses.items()},
        }
        if miou is not None:
            row["miou"] = round(miou, 5)
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            if new:
                writer.writeheader()
            writer.writerow(row)
        for name, value in row.items():
            if self.board and name != "step":
                self.board.add_scalar(name, value, self.at.step)

    def _trim_log(self) -> None:
        """Drop the rows behind the state: those steps are taken again."""
        path, kept = self.folder / LOG, io.StringIO()
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a row may have been cut off
        writer = csv.DictWriter(kept, COLUMNS, restval="")
        writer.writeheader()
        for row in csv.DictReader(io.StringIO(whole)):
            with suppress(TypeError, ValueError):
                if int(row["step"]) <= self.at.step:
                    writer.writerow(row)
        write_atomically(
            path, lambda t: t.write_text(kept.getvalue(), encoding="utf-8", newline="")
        )

    # --------------------------------------------------------------- the state

    def _save_state(self) -> None:
        tensors, values = self.trainer.state()
        note = {"progress": vars(self.at), "values": values, "versions": versions()}
        tensors = {n: v.cpu().contiguous() for n, v in tensors.items()}
        write_atomically(
            self.folder / STATE,
            lambda path: save_file(tensors, path, {"note": json.dumps(note)}),
        )

    def _load(self) -> Progress:
        """Go on from the saved state, if there is one."""
        path = self.folder / STATE
        if not path.is_file():
            return Progress()
        try:
            with safe_open(path, framework="pt") as file:
                note = json.loads(file.metadata()["note"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.trainer.load_state(tensors, note["values"])
            return Progress(**note["progress"])
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} is no state of this run ({error}): restore it, or remove it to start anew"
            ) from None


def _board(folder: Path, step: int) -> SummaryWriter:
    """A writer for TensorBoard, which forgets what it has beyond a step."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "run.tensorboard=true needs the package tensorboard: install it, or leave it out "
            "(log.csv has the same rows)"
        ) from None
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)


def _seed(seed: int, step: int, rank: int) -> None:
    """What drop-out draws in a step depends on nothing but these three."""
    entropy = np.random.SeedSequence((seed, STEP, step, rank)).generate_state(2)
    torch.manual_seed(int(entropy[0]) << 32 | int(entropy[1]))


def refuse_used(folder: Path) -> None:
    """Raise if a folder holds a run."""
    if (Path(folder) / RECIPE).exists():
        raise ValueError(
            f"{folder} holds a run: go on with it by --resume {folder}, or choose another folder"
        )


def saved_step(folder: Path) -> int:
    """The step from which a run would go on."""
    try:
        with safe_open(Path(folder) / STATE, framework="pt") as file:
            return json.loads(file.metadata()["note"])["progress"]["step"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return 0


def start(folder: Path, recipe: Recipe) -> None:
    """Make the folder of a new run; one that holds a run is refused."""
    folder = Path(folder)
    refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, {**recipe.to_dict(), "versions": versions()})


def resumed(folder: Path) -> Recipe:
    """The recipe of a run that was started in a folder."""
    path = Path(folder) / RECIPE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("versions", None)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} holds no run to resume ({error})") from None
    return Recipe.from_dict(values)
