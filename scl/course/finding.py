"""Pictures of what a finder was shown and what it found, and a folder of one's own photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from scl.course.draw import SIDE, found_lost_figure, heat, mosaic, squared
from scl.course.painter.keeping import painted_path
from scl.datasets.fit import longest
from scl.device import device_of, send
from scl.evaluation.finder import Finder, Found
from scl.evaluation.outputs import check_outputs, name_outputs
from scl.evaluation.overlay import PREDICTED, TRUTH, overlay
from scl.evaluation.predict import expand, read_query, write_found
from scl.method.similarity import SimilaritySCL
from scl.method.words import expect


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Compute the IoU of two masks: what both mark, as a share of what either marks."""
    found, truth = np.asarray(found) == 1, np.asarray(truth) == 1
    return float((found & truth).sum() / max((found | truth).sum(), 1))


# ------------------------------------------------------------------------- pictures


def tile(picture: np.ndarray, mask: np.ndarray, colour: str = PREDICTED) -> np.ndarray:
    """Bring a photograph [H, W, 3], tinted under a mask [H, W], to a mosaic's size, unstretched."""
    height, width = longest(picture.shape[:2], SIDE)
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return squared(overlay(np.asarray(small), {colour: mask}))


def shown_figure(finder: Finder) -> Figure:
    """Show the supports with their masks, and how far each can be trusted."""
    pictures = [tile(shown.image, shown.mask, TRUTH) for shown in finder.supports]
    own, scores = finder.trust
    titles = [f"{k}: itself {o:.2f}" for k, o in enumerate(own, 1)]
    if len(pictures) > 1:
        titles = [f"{title}, others {s:.2f}" for title, s in zip(titles, scores, strict=True)]
    return mosaic(pictures, titles, len(pictures))


def found_figure(
    finder: Finder,
    photos: Sequence[Path | np.ndarray],
    found: Sequence[Found],
    names: Sequence[str],
    maps: bool = False,
) -> Figure:
    """Show the supports, and where the thing was found in photographs, five pictures in a row.

    maps: in one row, with the probability of each pixel below it.
    """
    pictures: list[np.ndarray | None] = [tile(s.image, s.mask, TRUTH) for s in finder.supports]
    titles, blank = ["marked"] * len(pictures), [None] * len(pictures)
    for photo, one, name in zip(photos, found, names, strict=True):
        image = photo if isinstance(photo, np.ndarray) else read_query(photo)
        pictures.append(tile(image, one.mask))
        titles.append(f"{name}: {one.share:.0%} of the picture")
    if not maps:
        return mosaic(pictures, titles, min(5, len(pictures)))
    columns = len(pictures)
    pictures += [*blank, *(heat(squared(one.probability, 0)) for one in found)]
    titles += [*[""] * len(blank), *(f"presence {one.presence:.2f}" for one in found)]
    return mosaic(pictures, titles, columns)


def first_look(finder: Finder, place: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Look for a support in itself, by its average alone (Eq. 3): mask and probability, [h, w]."""
    model = expect(SimilaritySCL, finder.model)
    image, mask = finder.framing.to_network(*finder.supports[place])
    device = device_of(model)
    with torch.inference_mode():
        cells = model.encode(send(image[None], device)).mid
        cover = model.cover(cells, send(mask[None], device))
        first = expect(Tensor, model.guide(cells, cover).first)
    return (cover[0] > 0.5).cpu().numpy(), first[0].sigmoid().cpu().numpy()


def first_look_figure(finder: Finder, place: int = 0, label: str = "support") -> Figure:
    """Show what of a support its own average finds again, and what it loses."""
    mask, probability = first_look(finder, place)
    image = finder.supports[place].image
    height, width = longest(image.shape[:2], 2 * SIDE)
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    cells = squared(mask, 0), squared(probability, 0)
    return found_lost_figure(squared(small), *cells, label=label)


# ------------------------------------------------------------------------- own photographs


def photographs(folder: str | Path) -> list[Path]:
    """List the photographs in a folder by name; masks, and what was written here, are left out."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is no folder: put two or more photographs of a thing into one")
    every = expand([Path(folder)])
    painted = {painted_path(path) for path in every}
    found = [path for path in every if path not in painted]
    if len(found) < 2:
        raise ValueError(
            f"{folder} holds {len(found)} photographs: expected two or more, one to paint on and "
            "others to search"
        )
    return found


def export(photos: Sequence[Path], found: Sequence[Found], out: str | Path) -> list[Path]:
    """Write a mask and an overlay of each photograph to a folder; only earlier ones are replaced.

    Returns the files, photograph by photograph.
    """
    named = name_outputs(photos, Path(out))
    files = [path for names in named.values() for path in (names.mask, names.view)]
    check_outputs(files, list(photos), overwrite=True)
    for (photo, names), one in zip(named.items(), found, strict=True):
        write_found(read_query(photo), one.mask, names)
    return files
