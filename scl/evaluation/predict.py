"""Somebody's own photographs: a few with painted masks, and any number to find the object in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from scl.datasets.fit import Fit, shrink
from scl.datasets.photos import read_image, read_pair
from scl.device import pick_device
from scl.evaluation.overlay import PREDICTED, overlay
from scl.evaluation.protocol import ProtocolConfig, find, ready, show
from scl.files import write_atomically
from scl.method.contracts import Method
from scl.method.records import Fusion, Support

LARGEST_OVERLAY = 1600  # pixels of its longer side: a view, not a measurement
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


# ---------------------------------------------------------------------- one object


def read_query(path: Path) -> np.ndarray:
    """Read a photograph, upright as its camera says, H x W x 3 uint8."""
    if not path.exists():
        raise ValueError(f"{path} is missing: expected a picture")
    return read_image(path, "RGB", REPLACE)


def read_support(image: Path, mask: Path, fit: Fit) -> tuple[Tensor, Tensor]:
    """Read a photograph and the mask painted on it (white is the object), at network size."""
    return fit.to_network(*read_pair(image, mask, REPLACE))


def find_object(
    model: Method, support: Support, image: np.ndarray, config: ProtocolConfig
) -> np.ndarray:
    """Find where the object is in an image [H, W, 3] uint8: [H, W] of true and false."""
    query, (height, width, _) = config.fit.to_network(image)[0], image.shape
    (found,) = find(model, support, query[None], [(height, width)], config)
    return found.bool().cpu().numpy()


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
    """One query: the files written, and the object's share of its pixels, 0..1."""

    query: Path
    mask: Path
    overlay: Path
    share: float


@dataclass
class Predictions:
    """What predict_files did.

    scores: confidence of each support (U of Eq. 16, 0..1; 1 for a single one); odd: see
    odd_one_out; done: query by query; failed: query to what was wrong, in words that name it.
    """

    scores: list[float]
    odd: int | None
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
) -> Predictions:
    """Find the object of the supports in every query; write a mask and an overlay of each.

    A mask is a PNG of the query's own upright size, white (255) on black; the overlay beside it
    is to look at. Nothing is overwritten unless asked for, and never a photograph that was read.
    A query that cannot be read is reported and the others are done.
    """
    fit, targets = fit or Fit(), name_outputs(queries, out)
    inputs = [path for pair in supports for path in pair] + list(targets)
    _check_outputs([path for pair in targets.values() for path in pair], inputs, overwrite)
    config = ProtocolConfig(shots=len(supports), fusion=fusion, fit=fit, precision="auto")
    shown = [read_support(image, mask, fit) for image, mask in supports]
    ready(model, pick_device(device))
    images, masks = zip(*shown, strict=True)
    support = show(model, images, masks)
    made = Predictions(support.scores[0].tolist(), odd_one_out(support.mutual[0].float().cpu()))
    bar = tqdm(targets.items(), desc="queries", disable=not progress)
    for query, (mask, view) in bar:
        try:
            image = read_query(query)
            found = find_object(model, support, image, config)
            write_found(image, found, mask, view)
            made.done.append(Predicted(query, mask, view, float(found.mean())))
        except (ValueError, OSError) as error:
            named = "" if str(query) in str(error) else f"{query}: "
            made.failed[query] = f"{named}{error}"
    return made


def name_outputs(queries: Sequence[Path], out: Path) -> dict[Path, tuple[Path, Path]]:
    """Name a mask and an overlay in `out` after each query, which counts once.

    Queries of one name are told apart by their folders, or else by their endings.
    """
    given = {Path(os.path.abspath(query)): Path(query) for query in queries}
    stems = {path: path.stem for path in given}
    for depth in range(2, max((len(path.parts) for path in given), default=0)):
        for path in _clashing(stems):
            stems[path] = "-".join((*path.parts[-depth:-1], path.stem))
    for path in _clashing(stems):
        stems[path] += path.suffix.replace(".", "-")
    while clashing := _clashing(stems):
        stems |= {path: f"{stems[path]}-{number}" for number, path in enumerate(clashing, 1)}
    return {
        given[path]: (out / f"{stem}-mask.png", out / f"{stem}-overlay.jpg")
        for path, stem in stems.items()
    }


def _clashing(stems: Mapping[Path, str]) -> list[Path]:
    """Find the paths whose names would meet; some file systems do not tell A from a."""
    count = Counter(stem.casefold() for stem in stems.values())
    return [path for path, stem in stems.items() if count[stem.casefold()] > 1]


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    """Raise where a file would be overwritten that should not."""
    read = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        if os.path.realpath(path) in read:
            raise ValueError(f"{path} is read here, and would be overwritten: choose another --out")
    there = [path for path in outputs if path.exists()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise ValueError(f"{there[0]}{more} exists: pass --overwrite, or choose another --out")


def write_found(image: np.ndarray, found: np.ndarray, mask: Path, view: Path) -> None:
    """Write a mask [H, W], black and white, and an overlay on its image [H, W, 3] uint8."""
    picture = Image.fromarray(found.astype(np.uint8) * 255)
    write_atomically(mask, lambda path: picture.save(path, "PNG"))
    small, region = shrink(image, found.astype(np.uint8), LARGEST_OVERLAY)
    tinted = Image.fromarray(overlay(small, {PREDICTED: region}))
    write_atomically(view, lambda path: tinted.save(path, "JPEG", quality=88))


def describe(made: Predictions, supports: Sequence[tuple[Path, Path]]) -> str:
    """Say what was written and how far the supports agree, for people."""
    lines = []
    if len(supports) > 1:
        lines.append("confidence of the supports (Eq. 16), 0 to 1:")
        names = [str(image) for image, _ in supports]
        lines += [f"  {s:.2f}  {name}" for s, name in zip(made.scores, names, strict=True)]
        if made.odd is not None:
            lines.append(f"{names[made.odd]} fits none of the others: look at its mask")
    for query, mask, _, share in made.done:
        found = f"{100 * share:.1f} % of it is the object" if share else "nothing found"
        lines.append(f"{query}: {found}, {mask}")
    return "\n".join(lines)
