"""Somebody's own photographs: a few with painted masks, and any number to find the object in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit
from scl.datasets.folder import photographs
from scl.datasets.masks import LARGE, ReadMask
from scl.datasets.photos import read_image, read_pair
from scl.device import pick_device
from scl.evaluation.closer import bring_support, look_closer
from scl.evaluation.outputs import (
    TABLE,
    Names,
    chance_file,
    check_outputs,
    mask_file,
    name_outputs,
    name_supports,
    table_file,
    view_file,
    written_here,
)
from scl.evaluation.overlay import TRUTH
from scl.evaluation.protocol import ProtocolConfig, ready, show
from scl.evaluation.trust import chances, find_scores, own_ious
from scl.files import Write, write_atomically, write_together
from scl.method.contracts import Method
from scl.method.records import Fusion, Support
from scl.method.similarity import SimilaritySupport

REPLACE = "replace it, or leave it out"

# When a support counts as out of place: see odd_one_out.
AGREEMENT, SHARE = 0.4, 0.3


def split_pair(text: str) -> tuple[Path, Path]:
    """Split IMAGE:MASK into two files; names may hold colons, as those of Windows drives do."""
    places = [i for i, letter in enumerate(text) if letter == ":"]
    pairs = [(Path(text[:i]), Path(text[i + 1 :])) for i in places if text[:i] and text[i + 1 :]]
    whole = [pair for pair in pairs if all(path.is_file() for path in pair)]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise ValueError(f"{text!r} names two files in {len(whole)} ways: rename one of them")
    half = [path for pair in pairs if any(p.is_file() for p in pair) for path in pair]
    missing = [str(path) for path in half if not path.is_file()]
    found = f"{missing[0]} is missing" if missing else "there are no such files"
    raise ValueError(f"{text!r}: {found}; expected IMAGE:MASK, such as mug.jpg:mug-mask.png")


def expand(queries: Sequence[Path]) -> list[Path]:
    """List the photographs that are asked for: files, patterns such as *.jpg, and whole folders.

    Of a pattern or a folder, what predict itself wrote is left out, and of a folder the masks
    beside its photographs.
    """
    found = []
    for query in queries:
        if query.is_dir():
            some = photographs(query)
        elif not query.exists() and any(letter in str(query) for letter in "*?["):
            some = [Path(name) for name in sorted(glob(str(query), recursive=True))]
            some = [path for path in some if path.is_file()]
        else:
            found.append(query)
            continue
        some = [path for path in some if not written_here(path)]
        if not some:
            raise ValueError(f"{query} holds no photograph: expected some, in JPEG or PNG")
        found += some
    return found


# ---------------------------------------------------------------------- one object


def read_query(path: Path) -> np.ndarray:
    """Read a photograph, upright as its camera says, H x W x 3 uint8."""
    if not path.exists():
        raise ValueError(f"{path} is missing: expected a picture")
    return read_image(path, REPLACE)


def read_support(
    image: Path, mask: Path, fit: Fit, label: str | None = None, invert: bool = False
) -> tuple[Tensor, Tensor]:
    """Read a photograph and its mask, at network size."""
    pixels, read = read_pair(image, mask, REPLACE, label, invert)
    return fit.to_network(pixels, read.mask)


class Given(NamedTuple):
    """A support as it is needed: at network size, how its mask was read, and what draws its view.

    Its pixels are let go of: those of large pictures fill the memory.
    """

    taken: tuple[Tensor, Tensor]
    read: ReadMask
    view: Write


def give(
    model: Method, image: Path, mask: Path, fit: Fit, label: str | None = None, invert: bool = False
) -> Given:
    """Read a photograph and its mask for a model."""
    pixels, read = read_pair(image, mask, REPLACE, label, invert)
    view = view_file(pixels, read.mask, TRUTH)
    return Given(bring_support(model, fit, pixels, read.mask), read, view)


def find_object(
    model: Method, support: Support, image: np.ndarray, config: ProtocolConfig, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Find where the object is in an image [H, W, 3] uint8: [H, W] of true and false.

    Returns also the chances [H, W], the softmax of the scores, 0..1, and the presence of the object
    (scl.evaluation.trust). least: the presence below which it is said not to be there.
    """

    presences = list[float]()

    def look(some: np.ndarray) -> tuple[np.ndarray, float]:
        scores, there, likeness = find_scores(model, support, some, config)
        presences.append(there)
        return scores, likeness

    scores, likeness = look(image)
    if isinstance(support, SimilaritySupport):  # whose likeness tells one place from another
        scores = look_closer(scores, likeness, look, image, config.fit.side)
    there = max(presences)  # a small thing may be told for the first time when it is seen closely
    return (scores > 0) & (there >= least), chances(scores), there


def odd_one_out(mutual: Tensor) -> int | None:
    """Find a support that disagrees with all others while these agree: its mask may be wrong.

    mutual: [K, K], IOU of support i predicted under support k (Eq. 15). With two supports nobody
    could tell which is to blame, and where the others do not agree either (mean IOU below 0.4),
    the model is at a loss; both give None, as does a support that agrees with the others by more
    than 0.3 of what they agree among themselves.
    It is a hint: it stays silent on most spoiled sets, and now and then it names a good support.
    """
    count = len(mutual)
    if count < 3:
        return None
    both = (mutual + mutual.T) / 2
    both = both - torch.diag(both.diagonal())
    lone = both.sum(dim=1) / (count - 1)
    others = (both.sum() - 2 * both.sum(dim=1)) / ((count - 1) * (count - 2))
    odd = int((lone / others.clamp(min=1e-6)).argmin())
    return odd if others[odd] >= AGREEMENT and lone[odd] < SHARE * others[odd] else None


# ---------------------------------------------------------------------- many files


class Predicted(NamedTuple):
    """One query: the files written, the object's share of its pixels and its presence, 0..1."""

    query: Path
    mask: Path
    overlay: Path
    share: float
    presence: float


@dataclass
class Predictions:
    """What predict_files did.

    scores: confidence of each support (U of Eq. 16, 0..1; 1 for a single one); odd: see
    odd_one_out; own: IOU of each support as it is found under its own mask; read: how the masks
    of the supports were read; done: query by query; failed: query to what was wrong, in words that
    name it.
    """

    scores: list[float]
    odd: int | None
    own: list[float] = field(default_factory=list)
    read: list[ReadMask] = field(default_factory=list)
    done: list[Predicted] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


def predict_files(
    model: Method,
    supports: Sequence[tuple[Path, Path]],
    queries: Sequence[Path],
    out: Path,
    fit: Fit | None = None,
    fusion: Fusion = "cross",
    overwrite: bool = False,
    device: str | torch.device = "auto",
    progress: bool = True,
    label: str | None = None,
    invert: bool = False,
    probabilities: bool = False,
    least: float = 0.0,
) -> Predictions:
    """Find the object of the supports in every query; write a mask and an overlay of each.

    A mask is a PNG of the query's own upright size, white (255) on black; the overlay beside it is
    to look at, as is that of each support, which shows how its mask was read. Shares and scores go
    into a CSV. Nothing is overwritten unless asked for, and then only what was written here. A
    query that cannot be read is reported and the others are done. label, invert: how the masks are
    read, see scl.datasets.masks; probabilities: write the chance of the object, too; least: the
    presence (scl.evaluation.trust) below which a mask is left empty.
    """
    fit, targets = fit or Fit(), name_outputs(queries, out)
    views = name_supports([image for image, _ in supports], out)
    written = [*views, out / TABLE]
    written += [path for names in targets.values() for path in names[: 3 if probabilities else 2]]
    check_outputs(written, [path for pair in supports for path in pair] + list(targets), overwrite)
    config = ProtocolConfig(shots=len(supports), fusion=fusion, fit=fit, precision="auto")
    with room_for(fit):
        ready(model, pick_device(device))
        shown = [give(model, *pair, fit, label, invert) for pair in supports]
        taken = [support.taken for support in shown]
        support = show(model, [image for image, _ in taken], [mask for _, mask in taken])
    made = Predictions(support.scores[0].tolist(), odd_one_out(support.mutual[0].float().cpu()))
    made.read = [support.read for support in shown]
    with room_for(fit):
        made.own = own_ious(model, support, taken, config)
    write_together(dict(zip(views, (support.view for support in shown), strict=True)))
    for query, names in tqdm(targets.items(), desc="queries", disable=not progress):
        try:
            image = read_query(query)
            with room_for(fit):
                found, chance, there = find_object(model, support, image, config, least)
            write_found(image, found, names, chance if probabilities else None)
            share = float(found.mean())
            made.done.append(Predicted(query, names.mask, names.view, share, there))
        except (ValueError, OSError) as error:
            named = "" if str(query) in str(error) else f"{query}: "
            made.failed[query] = f"{named}{error}"
    write_atomically(out / TABLE, table_file(_rows(made), len(supports)))
    return made


@contextmanager
def room_for(fit: Fit) -> Iterator[None]:
    """Say what to do where the memory does not hold a picture at the network's size."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = ("out of memory", "can't allocate", "not enough memory")
        if not isinstance(error, MemoryError) and not any(w in str(error).lower() for w in full):
            raise
        raise ValueError(
            f"out of memory: pass --side with fewer pixels than {fit.side}, or other photographs"
        ) from None


def write_found(
    image: np.ndarray, found: np.ndarray, names: Names, chance: np.ndarray | None = None
) -> None:
    """Write a mask [H, W], its view on the image [H, W, 3] uint8, and its chances: all, or none."""
    files = {names.mask: mask_file(found), names.view: view_file(image, found)}
    write_together(files if chance is None else files | {names.chance: chance_file(chance)})


def _rows(made: Predictions) -> list[list[object]]:
    """List queries for the table; one that was left out has no share, but says why."""
    trust = [f"{value:.4f}" for value in (*made.own, *made.scores)]
    done: list[list[object]] = [
        [str(p.query), f"{p.share:.6f}", f"{p.presence:.4f}", str(p.mask), "", *trust]
        for p in made.done
    ]
    return done + [[str(q), "", "", "", why, *trust] for q, why in made.failed.items()]


def describe(made: Predictions, supports: Sequence[tuple[Path, Path]]) -> str:
    """Say how masks were read, what was written and how far the supports agree, for people."""
    names = [str(image) for image, _ in supports]
    lines = [
        f"{mask}: covers {100 * read.share:.1f} % of {image} (read as {read.how})"
        for (image, mask), read in zip(supports, made.read, strict=True)
    ]
    if len(supports) > 1:
        lines.append("confidence of the supports (Eq. 16), 0 to 1:")
        lines += [f"  {s:.2f}  {name}" for s, name in zip(made.scores, names, strict=True)]
        if made.odd is not None:
            lines.append(f"{names[made.odd]} fits none of the others: look at its mask")
    for query, mask, _, share, there in made.done:
        found = f"{100 * share:.1f} % of it is the object" if share else "nothing found"
        found += f" (presence {there:.2f})"
        lines.append(f"{query}: {found}, {mask}")
    return "\n".join(lines)


def large_masks(made: Predictions, supports: Sequence[tuple[Path, Path]]) -> list[str]:
    """Warn of masks that cover more than two thirds of their pictures."""
    return [
        f"{mask} covers {100 * read.share:.0f} % of {image}: look at its view, and pass --invert "
        "if the object is what it leaves out"
        for (image, mask), read in zip(supports, made.read, strict=True)
        if read.share > LARGE
    ]
