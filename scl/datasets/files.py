"""Reading the files of a data set: whatever is wrong with one, the complaint names it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from scl.method.checks import LABELS
from scl.method.vectors import IGNORE

RESTORE = "restore it from its archive"

Transform = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@contextmanager
def reading(path: Path, what: str, remedy: str = RESTORE) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ValueError that names the file and what to do.

    what: the kind of file expected, for the message ("a label map").
    """
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {remedy}") from None
    except Exception as error:  # decoders of broken files fail in more ways than can be listed
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {what} ({reason}): {remedy}") from None


def optional(module: str, package: str) -> ModuleType:
    """Import a module that only the benchmarks need, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"{package} is not installed, and this data set needs it: python -m pip install "
            "-c constraints.txt -e '.[benchmarks]'"
        ) from None


def first_folder(places: Sequence[Path], marker: str) -> Path | None:
    """Return the first of the folders that holds the file or folder `marker`."""
    return next((place for place in places if (place / marker).exists()), None)


def read_names(path: Path, form: str, example: str) -> list[str]:
    """Read the names of a list in their order: one a line, each once, of the form (a pattern)."""
    with reading(path, "a list of names"):
        lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if not re.fullmatch(form, name):
            raise ValueError(f"{path} lists {name!r}: expected names like {example!r}, one a line")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{path} lists {twice!r} twice: expected each name once; {RESTORE}")
    if not names:
        raise ValueError(f"{path} is empty: expected names like {example!r}; {RESTORE}")
    return names


def check_files(files: Iterable[tuple[Path, Path]]) -> None:
    """Raise unless all files exist, each given with the file that lists it; the first is named."""
    missing = [(path, listed_in) for path, listed_in in files if not path.is_file()]
    if missing:
        (path, listed_in), more = missing[0], len(missing) - 1
        raise ValueError(
            f"{path} is missing{f' (and {more} more)' if more else ''}, but {listed_in} lists it: "
            f"{RESTORE}"
        )


def transformed(
    transform: Transform | None, image: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a transform to image and mask together, and hold it to the protocol of a data set."""
    if transform is None:
        return image, mask
    image, mask = transform(image, mask)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"the transform made an image {image.shape} of {image.dtype}: expected H x W x 3 uint8"
        )
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        raise ValueError(
            f"the transform made a mask {mask.shape} of {mask.dtype}: expected uint8 of the "
            f"image's {image.shape[:2]}"
        )
    strange = sorted(set(np.unique(mask).tolist()) - set(LABELS))
    if strange:
        raise ValueError(
            f"the transform put {strange[0]} into a mask: expected 0, 1 and {IGNORE} alone; "
            "resize masks with nearest neighbours"
        )
    return image, mask
