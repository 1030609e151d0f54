"""Refuse a word that nobody knows, such as mask_resize="nearest", and a value of another kind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args, get_type_hints

Function = TypeVar("Function", bound=Callable)
Kind = TypeVar("Kind")


def words_checked(function: Function) -> Function:
    """Make a function refuse words that its annotations (Literal) do not list."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_words(function, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return cast(Function, checked)


def check_words(annotated: Callable, values: Mapping[str, object], what: str = "") -> None:
    """Raise where a value is none of the words that its annotation lists."""
    for name, allowed in _words(annotated).items():
        if name in values and values[name] not in allowed:
            raise ValueError(f"{what}{name}={values[name]!r}: expected one of {allowed}")


@functools.cache
def _words(annotated: Callable) -> dict[str, list[str]]:
    """List the words that each annotation allows."""
    hints = {name: get_args(hint) for name, hint in get_type_hints(annotated).items()}
    return {name: list(args) for name, args in hints.items() if args and isinstance(args[0], str)}


def expect(kind: type[Kind], value: object) -> Kind:
    """Return a value where only one kind will do, such as Maps; raise if it is of another."""
    if not isinstance(value, kind):
        raise TypeError(f"a value of kind {type(value).__name__}: expected {kind.__name__} here")
    return value
