"""Run, compare and tell any answer; the exercises themselves lie in the chapters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor

Function = Callable[..., Any]


class Mistake(Exception):
    """An answer is not right; the text says why."""


class Case(NamedTuple):
    """One call of the learner's function: what is special about it, and the arguments."""

    given: str
    inputs: tuple[Any, ...]


class Slip(NamedTuple):
    """A typical wrong answer, and what to say to it; a part that is None may be anything."""

    answer: Function
    says: str


# ------------------------------------------------------------------ telling


def told(judge: Callable[..., str]) -> Callable[..., bool]:
    """Let a judge of answers, which praises or raises Mistake, print what it has to say."""

    @wraps(judge)
    def tell(*answer: Any, **named: Any) -> bool:
        try:
            said = judge(*answer, **named)
        except Mistake as mistake:
            # On the error stream, because nbgrader gives full points to a cell without errors.
            print(mistake, file=sys.stderr)
            return False
        print(f"right: {said}")
        return True

    return tell


def kind_of(value: Any) -> str:
    """Say in words what a value is."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


# What PyTorch says to a common slip, and what to look at.
HINTS = {
    "bitwise_": "The signs & | ~ work on True and False, and these are numbers: ask first where "
    "they are 1.",
    "must match the size": "Write the two shapes below each other, right sides aligned: which "
    "axis does one of them lack?",
}


def _explain(error: Exception, given: str) -> str:
    """Say in words what the learner's function raised."""
    text = (str(error).strip().splitlines() or ["no message"])[0]
    # PyTorch raises the same type where an operation does not exist for a type of number.
    if isinstance(error, NotImplementedError) and "not implemented for" not in text:
        return "not written yet"
    place = f" when given {given}" if given else ""
    hint = "".join(f". {words}" for said, words in HINTS.items() if said in text)
    return f"Your function raised {type(error).__name__}{place}: {text[:200]}{hint}"


# ------------------------------------------------------------------ running


def generator(seed: int) -> torch.Generator:
    """Make random numbers for the cases of an exercise, the same each time."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def same_chance() -> Iterator[None]:
    """Let what is random inside come out the same each time, and change nothing outside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def run(function: Function, given: str, *inputs: Any) -> Any:
    """Call the learner's function on copies; whatever goes wrong becomes a Mistake."""
    if not callable(function):
        raise Mistake(
            f"Hand over the function itself, by its name and without brackets: "
            f"this is {kind_of(function)}."
        )
    copies = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
    try:
        with same_chance():
            result = function(*copies)
    except Exception as error:
        raise Mistake(_explain(error, given)) from None
    for copy, original in zip(copies, inputs, strict=True):
        if isinstance(copy, Tensor) and not torch.equal(copy, original):
            raise Mistake(
                "Your function changes a tensor that it was given. The caller still needs it: "
                "compute with new tensors, and mind operations that work in place."
            )
    return result


def value_of(answer: Any) -> Any:
    """Take the answer itself, or what it returns where it is a function without arguments."""
    return run(answer, "") if callable(answer) else answer


def values_of(answer: tuple[Any, ...], names: Sequence[str]) -> tuple[Any, ...]:
    """Take values given one by one, in a tuple, or by a function without arguments."""
    values = value_of(answer[0]) if len(answer) == 1 else answer
    if not isinstance(values, (tuple, list)) or len(values) != len(names):
        raise Mistake(f"Expected {len(names)} tensors: {', '.join(names)}.")
    return tuple(values)


def parts_of(result: Any, names: Sequence[str]) -> tuple[Tensor, ...]:
    """Take what came back as a tuple of tensors, one for each name."""
    if len(names) == 1:
        return (_tensor(result, names[0]),)
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        count = f"{len(result)} of them" if isinstance(result, (tuple, list)) else kind_of(result)
        raise Mistake(f"Expected {len(names)} tensors, {' and '.join(names)}; got {count}.")
    return tuple(_tensor(part, name) for part, name in zip(result, names, strict=True))


def finite(value: Any, name: str, shape: Sequence[int | None]) -> Tensor:
    """Take a value that is a tensor of this shape (None: any size) and of finite numbers."""
    tensor = _tensor(value, name)
    sizes_fit = all(s in (None, n) for s, n in zip(shape, tensor.shape, strict=False))
    if tensor.dim() != len(shape) or not sizes_fit or 0 in tensor.shape:
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        raise Mistake(f"{name} has shape {list(tensor.shape)}, expected [{wanted}].")
    if not tensor.isfinite().all():
        raise Mistake(f"{name} holds NaN or an infinite number.")
    return tensor


def check_holds(tensor: Tensor, name: str, *allowed: int) -> None:
    """Refuse any but the allowed numbers."""
    if not torch.isin(tensor, torch.tensor(allowed, dtype=tensor.dtype)).all():
        *first, last = map(str, allowed)
        raise Mistake(f"{name} must hold nothing but {', '.join(first)} and {last}.")


def _tensor(value: Any, name: str) -> Tensor:
    """Take a value that is a tensor of numbers."""
    if value is None:
        raise Mistake(f"Expected a tensor for {name}, got None: is there a return?")
    if not isinstance(value, Tensor):
        raise Mistake(f"Expected a tensor for {name}, got {kind_of(value)}.")
    return value.detach().cpu().double()


# ------------------------------------------------------------------ comparing


@told
def compare(
    function: Function,
    right: Function,
    cases: Sequence[Case],
    slips: Sequence[Slip],
    well: str,
    parts: Sequence[str] = ("the result",),
) -> str:
    """Tell whether a function agrees with the right one on all cases, and if not, which slip it is.

    well: what to say if it does; parts: names of what it returns.
    """
    for case in cases:
        got = parts_of(run(function, case.given, *case.inputs), parts)
        wanted = _as_tuple(right(*case.inputs))
        if _matches(got, wanted):
            continue
        for slip in slips:
            wrong = _as_tuple(slip.answer(*case.inputs))
            if _matches(got, wrong) and not _matches(wanted, wrong):
                raise Mistake(slip.says)
        triples = zip(parts, got, wanted, strict=True)
        name, a, b = next(x for x in triples if not _matches((x[1],), (x[2],)))
        raise Mistake(f"Given {case.given}, {_difference(name, a, b.double())}.")
    return well


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _matches(got: Sequence[Tensor], wanted: Sequence[Tensor | None]) -> bool:
    """Tell what is equal up to rounding; NaN equals NaN, and None, not asked for, anything."""
    return all(
        b is None
        or a.shape == b.shape
        and torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-4, equal_nan=True)
        for a, b in zip(got, wanted, strict=True)
    )


def _difference(name: str, got: Tensor, wanted: Tensor) -> str:
    """Say where a result is furthest from what was expected."""
    if got.shape != wanted.shape:
        return f"{name} has shape {list(got.shape)}, expected {list(wanted.shape)}"
    gap = (got - wanted).abs().nan_to_num(nan=torch.inf)
    where = (gap == gap.max()).nonzero()[0].tolist()
    place = f"{name} at {where}" if where else name
    one, other = float(got[tuple(where)]), float(wanted[tuple(where)])
    return f"{place} is {one:.3f}, expected about {other:.3f}"
