"""python -m scl bench cpu: what an episode costs a processor, beside a plain reading of it.

Both readings run in turn in one process and give the same masks; ratios of their seconds hold on
other machines, the seconds do not. Peak memory is of a process of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from scl.bench.plain import plain_episode, plainly
from scl.evaluation.protocol import ready
from scl.files import versions, write_json
from scl.method.contracts import Method
from scl.method.episode import Episodes
from scl.method.records import Maps
from scl.method.rules import PAPER, RELEASED_CANET, RELEASED_PFENET, SELF_GUIDED
from scl.method.scl import SCL
from scl.models.build import ModelConfig, build_model, full_size
from scl.models.general import load_general
from scl.training.trainer import EpisodeLosses, TrainConfig, Trainer

Reading = Literal["package", "plain"]
FOREGROUND = 0.24  # of a support, in the middle of what PASCAL's objects cover


@dataclass(frozen=True)
class Case:
    """An episode: system ("pfenet", "canet", "maps"), rules, shots, pixels."""

    system: str
    rules: str
    shots: int
    size: tuple[int, int] = (473, 473)


CASES = (
    Case("pfenet", "released", 1),
    Case("pfenet", "released", 5),
    Case("pfenet", "paper", 5),
    Case("canet", "released", 1, (375, 500)),
    Case("canet", "released", 5, (375, 500)),
    Case("maps", "general", 1, (256, 256)),
    Case("maps", "general", 5, (256, 256)),
)
SHOTS = (1, 2, 3, 5, 8, 12, 16, 20)  # whose growth is measured, at GROWTH pixels
GROWTH = (161, 161)


def model_of(case: Case, d: int = 256) -> Method:
    """Build the system of a case at full width; weights do not matter to its costs."""
    if case.system == "maps":
        return ready(load_general(), torch.device("cpu"))
    released = {"pfenet": RELEASED_PFENET, "canet": RELEASED_CANET}[case.system]
    rules = PAPER if case.rules == "paper" else released
    config = full_size(case.system, f"resnet50_{case.system}", SELF_GUIDED, rules, d=d)
    return ready(build_model(config), torch.device("cpu"))


def episode(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Make up supports [1, K, 3, H, W], their masks (a disc each), and a query [1, 3, H, W]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, case.shots + 1, 3, *case.size, generator=generator)
    axes = (torch.linspace(-1, 1, side) for side in case.size)
    y, x = torch.meshgrid(*axes, indexing="ij")
    disc = (x**2 + y**2 < 4 * FOREGROUND / torch.pi).to(torch.uint8)
    masks = torch.stack([disc.roll(10 * k, dims=1) for k in range(case.shots)])
    return images[:, :-1], masks[None], images[:, -1]


def work_of(case: Case, model: Method, reading: Reading) -> Callable[[], Tensor]:
    """Give what one reading does with an episode; it returns the fused score maps."""
    images, masks, query = episode(case)
    if reading == "plain":
        assert isinstance(model, SCL)
        model = plainly(model)
        if model.rules.mutual == "support" and model.zooms == (1.0,):
            plain = model
            return lambda: plain_episode(plain, images[0], masks[0], query[0])[None]
    return lambda: model.segment(model.condition(images, masks), query).fused_logits


def seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def gflop(work: Callable[[], object]) -> float:
    """Count 10^9 operations."""
    from torch.utils.flop_counter import FlopCounterMode  # takes 300 MiB, which are not measured

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def peak_gib(case: Case, reading: Reading, d: int) -> float | None:
    """The most memory that this process has held after an episode; None where unknown."""
    torch.set_num_threads(1)
    work_of(case, model_of(case, d), reading)()
    status = Path("/proc/self/status")  # of Linux; getrusage there counts the parent's memory, too
    if not status.is_file():
        return None
    (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
    return round(int(line.split()[1]) / 2**20, 2)


def measure(case: Case, repeats: int, d: int = 256) -> dict[str, object]:
    """Measure a case; the readings take turns."""
    model = model_of(case, d)
    readings: tuple[Reading, ...] = ("package",) if case.system == "maps" else ("package", "plain")
    works = {reading: work_of(case, model, reading) for reading in readings}
    row: dict[str, object] = {"case": f"{case.system}, {case.rules}", "shots": case.shots}
    row["gflop"] = {name: round(gflop(work)) for name, work in works.items()}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        taken = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
        middle = {name: statistics.median(t[name] for t in taken) for name in works}
        row[f"cpu_seconds_{threads}"] = {name: round(value, 2) for name, value in middle.items()}
    torch.set_num_threads(1)
    images, masks, query = episode(case)
    support = model.condition(images, masks)
    once_more = partial(model.segment, support, query)
    again = [seconds(once_more) for _ in range(repeats)]
    row["further_query"] = {
        "gflop": round(gflop(once_more)),
        "cpu_seconds": round(statistics.median(again), 2),
    }
    row["peak_gib"] = {name: in_a_process(peak_gib, case, name, d) for name in readings}
    return row


def in_a_process(function: Callable[..., float | None], *arguments: object) -> float | None:
    """Call a function in a fresh process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def growth(d: int, shots: tuple[int, ...]) -> list[dict[str, float]]:
    """CPU-seconds to read K supports, and to segment a query under them, on one thread."""
    torch.set_num_threads(1)
    model, rows = model_of(Case("pfenet", "released", 1), d), []
    for k in shots:
        images, masks, query = episode(Case("pfenet", "released", k, GROWTH))
        reading = seconds(partial(model.condition, images, masks))
        support = model.condition(images, masks)
        using = seconds(partial(model.segment, support, query))
        rows.append({"shots": k, "support": round(reading, 2), "query": round(using, 2)})
    return rows


def step_of(model: SCL, side: int, batch: int) -> Callable[[], None]:
    """Give one step of training, forward and backward, on made-up one-shot episodes."""
    episodes = [episode(Case("pfenet", "released", 1, (side, side))) for _ in range(batch)]
    supports, masks, queries = (torch.cat(parts) for parts in zip(*episodes, strict=True))
    given = Episodes(supports, masks, queries, masks[:, 0], torch.zeros(batch))
    losses = EpisodeLosses(model.train())

    def step() -> None:
        model.zero_grad()
        losses(given)["total"].backward()

    return step


def course_step(head: str) -> Callable[[], object]:
    """Give one step of training as the course takes it: small heads on features that are kept."""
    model, generator = build_model(ModelConfig(head=head), 0), torch.Generator().manual_seed(0)
    plan = TrainConfig(steps=10, batch=16)

    def kept(channels: int, *leading: int) -> Tensor:
        return torch.rand(plan.batch, *leading, channels, 16, 16, generator=generator)

    deep = head == "pfenet"
    support = Maps(kept(152, 1), kept(320, 1) if deep else None, kept(320, 1) if deep else None)
    query = Maps(kept(152), kept(320) if deep else None)
    masks = (torch.rand(plan.batch, 1, 128, 128, generator=generator) < FOREGROUND).to(torch.uint8)
    given = Episodes(support, masks, query, masks[:, 0], torch.zeros(plan.batch))
    return partial(Trainer(model, plan, "cpu").step, given)


def shares_of(work: Callable[[], object], most: int = 4) -> dict[str, float]:
    """Name the operations that take most of a piece of work, each with its share of the time."""
    work()  # once before, so that nothing is set up any more
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    taken = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    largest = sorted(taken, key=lambda name: -taken[name])[:most]
    return {n.removeprefix("aten::"): round(taken[n] / sum(taken.values()), 3) for n in largest}


def training(d: int, side: int, batch: int, repeats: int) -> dict[str, object]:
    """Measure a step of training of SCL (PFENet) on one thread; the readings take turns.

    "shares": what takes its time, and that of a step of the course's small heads.
    """
    torch.set_num_threads(1)
    model = model_of(Case("pfenet", "released", 1), d)
    assert isinstance(model, SCL)
    works = {"plain": step_of(plainly(model), side, batch), "package": step_of(model, side, batch)}
    counted = {name: round(gflop(work)) for name, work in works.items()}
    taken = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    middle = {name: round(statistics.median(t[name] for t in taken), 2) for name in works}
    shares = {"full size": shares_of(works["package"])}
    for head in ("canet", "pfenet"):
        shares[f"course, {head}-style"] = shares_of(course_step(head))
    row = {"batch": batch, "side": side, "gflop": counted, "cpu_seconds_1": middle}
    return row | {"shares": shares}


def measure_all(out: Path, repeats: int, rehearse: bool = False) -> Path:
    """Measure every case and the growth with K, and write out/cpu.json."""
    d, side = (8, 49) if rehearse else (256, None)
    rows = []
    for case in CASES[1::4] if rehearse else CASES:  # a rehearsal takes one with each reading
        small = case if side is None else Case(case.system, case.rules, case.shots, (side, side))
        rows.append(measure(small, repeats, d))
        print(rows[-1], flush=True)
    record = {"foreground": FOREGROUND, "repeats": repeats, "cases": rows}
    record["training"] = training(d, side or 473, 1 if rehearse else 4, repeats)
    record |= {"growth_side": GROWTH[0], "growth": growth(d, SHOTS[:2] if rehearse else SHOTS)}
    path = out / f"cpu{'-rehearsal' if rehearse else ''}.json"
    write_json(path, {**record, "versions": versions()})
    return path
