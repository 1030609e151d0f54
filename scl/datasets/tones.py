"""Which pixels of a picture are the object: of black and white, labels, colours or layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor

from scl.method.vectors import IGNORE

NOTHING = -1  # the code of a transparent pixel
DARK, NEAR = 24, 40  # levels that count as black; and as the colour of the object, in soft masks
SOFT = 0.25  # of a picture: more steps between black and white make no mask
FEW = 32  # values that a map of labels, in which every value has a meaning, may have

Code = int


@dataclass(frozen=True)
class Marks:
    """What the pixels of a mask hold.

    codes: [H, W], a number for every value or colour; empty: the code that marks nothing (None: it
    has none); kind: "value", "index", "colour" or "transparency"; pixels: [H, W, 1 or 3] uint8,
    what is seen, where steps between two colours are soft edges; lossy: values are not exact;
    colours: of the indices, [n, 3].
    """

    codes: np.ndarray
    empty: Code | None
    kind: str
    pixels: np.ndarray | None = None
    lossy: bool = False
    colours: np.ndarray | None = None

    def name(self, code: Code) -> str:
        """Say a code as the user would pass it."""
        return f"#{code:06x}" if self.kind == "colour" and code != NOTHING else str(code)


# ---------------------------------------------------------------------- what there is


def marks_of(image: Image.Image, lossy: bool = False) -> Marks:
    """Look at a mask, upright; transparency counts where there is any, as paint programs use it."""
    if image.mode in ("P", "PA"):
        return _of_palette(image)
    if image.mode in ("LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
        if alpha.min() < 255:
            return _of_layer(np.array(image.convert("RGB")), alpha)
    if image.mode.startswith(("I", "F")):
        return of_numbers(np.array(image))
    return _of_colours(np.array(image.convert("L" if image.mode in "1L" else "RGB")), lossy)


def of_numbers(values: np.ndarray) -> Marks:
    """Take deep numbers as labels, and as tones where they go up to 16 bits or are fractions."""
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"its values begin at {values.min():g}, expected 0 or more")
    whole = np.array_equal(values, values.round())
    white = 1 if not whole and values.max() <= 1 else 255 if values.max() <= 255 else 2**16 - 1
    pixels = (255 * (values / white).clip(0, 1)).round().astype(np.uint8)
    codes = values.astype(np.int64) if whole else pixels.astype(np.int64)
    return Marks(codes, 0, "value", pixels[..., None])


def _of_colours(pixels: np.ndarray, lossy: bool) -> Marks:
    """Take greys as values, also where they are stored as colours; black marks nothing."""
    if pixels.ndim == 2:
        return Marks(pixels, 0, "value", pixels[..., None], lossy)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    if not spread.any() or (lossy and np.quantile(spread, 0.999) <= DARK):
        grey = pixels.max(axis=2)
        return Marks(grey, 0, "value", grey[..., None], lossy)
    return Marks(_coded(pixels), 0, "colour", pixels, lossy)


def _of_palette(image: Image.Image) -> Marks:
    """Take the indices, or the greys that they stand for; transparent ones mark nothing."""
    codes = np.array(image.getchannel("P") if image.mode == "PA" else image).astype(np.int64)
    if image.mode == "PA" or "transparency" in image.info:
        full = image.convert("RGBA")
        alpha = np.array(full.getchannel("A"))
        if alpha.min() < 255:
            return _of_layer(np.array(full.convert("RGB")), alpha)
    stored = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(stored)] = stored[:256]
    used = np.unique(codes)
    shown = colours[used]
    different = len(np.unique(shown, axis=0)) == len(used)
    labels = set(used.tolist()) == {0, 1, IGNORE}  # as VOC and the painter store a mask
    if different and not labels and (shown == shown[:, :1]).all():  # greys, stored as a palette
        grey = colours[codes][..., 0]
        return Marks(grey, 0, "value", grey[..., None])
    black = used[(shown == 0).all(axis=1)]
    empty = int(black[0]) if len(black) == 1 else 0 if 0 in black or not different else None
    return Marks(codes, empty, "index", colours=colours)


def _of_layer(pixels: np.ndarray, alpha: np.ndarray) -> Marks:
    """Take what a layer shows: a cut-out or one colour by its transparency, else by its colours."""
    if alpha.max() == 0:
        raise ValueError("all of it is transparent")
    shown = alpha > alpha.max() // 2  # a brush need not be opaque
    if alpha.min() == alpha.max():  # a layer seen through: its colours say what is what
        return _of_colours(pixels, False)
    codes = _coded(pixels)
    kinds, counts = np.unique(codes[shown], return_counts=True)
    flat = counts >= 0.02 * shown.sum()
    if flat.sum() > 1 and counts[flat].sum() >= 0.8 * shown.sum():
        return Marks(np.where(shown, codes, NOTHING), NOTHING, "colour")
    full = (255 * (alpha / alpha.max())).round().astype(np.uint8)
    return Marks(alpha, 0, "transparency", full[..., None])


def _coded(pixels: np.ndarray) -> np.ndarray:
    """Write colours [H, W, 3] as numbers 0xRRGGBB."""
    red, green, blue = (pixels[..., i].astype(np.int32) for i in range(3))
    return (red << 16) | (green << 8) | blue


# ----------------------------------------------------------------- what is the object


class Chosen(NamedTuple):
    """A mask [H, W] of 0, 1 and 255, how it was read, and the name of what is the object in it."""

    mask: np.ndarray
    how: str
    name: str


def choose(marks: Marks, label: str | None = None) -> Chosen:
    """Make the mask of what a picture marks, and say how it was read.

    An error begins after the name of the file: "holds ...".
    """
    found, counts = np.unique(marks.codes, return_counts=True)
    if label is not None:
        return _labelled(marks, label, found)
    if len(found) == 1:
        raise ValueError(_uniform(marks, int(found[0])))
    real = [int(code) for code in found if code != marks.empty]
    known = len(real) < len(found)
    if not marks.lossy and len(real) == 1 and known:
        inside = (marks.codes == real[0]).astype(np.uint8)
        return Chosen(inside, _said(marks, real[0]), marks.name(real[0]))
    if not marks.lossy and len(real) == 2 and known:
        banded = _with_band(marks, *real)
        if banded is not None:
            return banded
    labels = real == [1, IGNORE] or (len(found) <= FEW and len(flat_codes(marks)) > 2)
    soft = None if labels and not marks.lossy else _two_tones(marks)
    if soft is not None:
        how = "transparency" if marks.kind == "transparency" else "light on dark"
        return Chosen(soft[0], f"{how}, with soft edges", marks.name(soft[1]))
    raise ValueError(_several(marks, found, counts))


def _uniform(marks: Marks, code: Code) -> str:
    """Say what is wrong with a mask of one value."""
    if code == marks.empty:
        return "shows no object: paint it white (255) on black, or remove both files"
    if marks.kind == "value" and code <= 127:
        return (
            f"has no pixel above 127 (the brightest is {code}) and no other value: paint the "
            "object white (255) on black"
        )
    return f"covers the whole picture ({marks.name(code)}): paint the object white (255) on black"


def _said(marks: Marks, code: Code) -> str:
    """Say what was taken for the object."""
    if marks.kind == "value" and code == 255:
        return "white on black"
    return "transparency" if marks.kind == "transparency" else f"{marks.kind} {marks.name(code)}"


def _with_band(marks: Marks, one: Code, other: Code) -> Chosen | None:
    """Take a thin border around the object, which labelling tools leave open, as not counted."""
    # 1 and 255 are what this package writes, wherever "not sure" was painted.
    ours = (one, other) == (1, IGNORE) and marks.kind in ("value", "index")
    for main, band in ((one, other), (other, one))[: 1 if ours else 2]:
        inside, border = marks.codes == main, marks.codes == band
        # A palette with a colour for 255 says what is meant, however small the object is.
        small = is_thin(inside) and not (ours and marks.kind == "index")
        if not small and (ours or (is_thin(border) and _beside(border, inside))):
            mask = np.where(border, IGNORE, inside).astype(np.uint8)
            how = f"{_said(marks, main)}; what is {marks.name(band)} is not counted"
            return Chosen(mask, how, marks.name(main))
    return None


def is_thin(region: np.ndarray, width: float = 0.01, core: float = 0.01) -> bool:
    """Say whether a region [H, W] is a line: little is left where its edge is taken away.

    width: of that edge, as a part of the picture's longer side; core: what may be left.
    """
    reach = max(2, round(width * max(region.shape)))
    inner = ~near(~region, reach)
    return bool(inner.sum() <= core * region.sum())


def near(region: np.ndarray, reach: int) -> np.ndarray:
    """Grow a region [H, W] of true and false by `reach` pixels to all sides, as a square does.

    Here, because SciPy's filters do the same, but take long to import.
    """
    grown = region.copy()
    for lines in (grown, grown.T):
        done = 0
        while done < reach:
            step = min(done + 1, reach - done)  # twice as wide each time
            before, done = lines.copy(), done + step
            lines[step:] |= before[:-step]
            lines[:-step] |= before[step:]
    return grown


def _beside(border: np.ndarray, inside: np.ndarray) -> bool:
    """Say whether a border stays close to the region that it would surround."""
    reach = max(5, round(0.03 * max(border.shape)))
    return bool((border & ~near(inside, reach)).sum() <= 0.05 * border.sum())


def flat_codes(marks: Marks) -> np.ndarray:
    """List the codes that fill areas, not only the steps of an edge."""
    from scipy import ndimage  # here, for it is slow to import

    codes = marks.codes
    same = ndimage.maximum_filter(codes, 3) == ndimage.minimum_filter(codes, 3)
    kinds, counts = np.unique(codes[same], return_counts=True)
    return kinds[counts >= max(4, 0.001 * codes.size)]


def _two_tones(marks: Marks) -> tuple[np.ndarray, Code] | None:
    """Split a picture of black and one colour halfway, if nothing but soft edges lies between.

    Returns the mask [H, W] of 0 and 1, and the code of the colour. Every step between must be near
    both, so that a photograph, or a picture of a third tone, is none of these.
    """
    if marks.pixels is None:
        return None
    pixels = marks.pixels.astype(np.int16)
    bright = pixels.max(axis=2)
    if bright.max() < 128:
        return None
    upper = bright > bright.max() // 2
    colour = np.median(pixels[upper], axis=0)
    light, dark = (np.abs(pixels - colour) <= NEAR).all(axis=2), bright <= DARK
    steps = ~(light | dark)
    if not dark.any() or steps.mean() > SOFT or not light.any() or _third_tone(bright[steps]):
        return None
    reach = max(8, round(0.02 * max(steps.shape)))
    astray = (steps & ~(near(light, reach) & near(dark, reach))).sum()
    if astray > max(0.1 * steps.sum(), 0.0005 * steps.size):
        return None
    code = int(_coded(colour.astype(np.uint8))) if len(colour) == 3 else int(colour[0])
    return (bright > colour.max() / 2).astype(np.uint8), code


def _third_tone(steps: np.ndarray) -> bool:
    """Say whether levels between black and a colour are one tone, as a trimap's, and no ramp."""
    tone = np.median(steps) if len(steps) else 0  # what a lossy format spreads is near black
    return 64 <= tone < 192 and bool((np.abs(steps - tone) <= DARK).mean() > 0.6)


def _several(marks: Marks, found: np.ndarray, counts: np.ndarray) -> str:
    """Say what a mask of more than one object, or of none, holds, and what to do."""
    if len(found) <= FEW:
        shares = sorted(zip(counts, found, strict=True), reverse=True)[:6]
        what = ", ".join(
            f"{'transparent' if c == NOTHING else marks.name(int(c))} "
            f"({100 * n / marks.codes.size:.1f} %)"
            for n, c in shares
        )
        more, rarest = ", ..." if len(found) > 6 else "", marks.name(int(shares[-1][1]))
        word = {"index": "indices"}.get(marks.kind, f"{marks.kind}s")
        return (
            f"holds the {word} {what}{more}, and nothing says which is the object: pass "
            f"--mask-label with one of them, such as --mask-label '{rarest}'"
        )
    return (
        f"holds {len(found)} different tones: a photograph, or one with paint on it, is no mask; "
        "paint the object white (255) on black or on a transparent layer, and save that alone (are "
        "photograph and mask swapped?)"
    )


# ------------------------------------------------------------- what the user says it is


def _labelled(marks: Marks, label: str, found: np.ndarray) -> Chosen:
    """Take the pixels of one value or colour as the object; 255 is not counted among labels."""
    code = _code_of(marks, label)
    name = marks.name(code)
    exact = len(found) <= FEW and not marks.lossy
    soft = None if exact else _two_tones(marks)
    if soft is not None and any(_alike(marks, code, other) for other in (soft[1], 0)):
        inside = soft[0] if _alike(marks, code, soft[1]) else 1 - soft[0]
        return Chosen(inside, f"{marks.kind} {name} and what is near it", name)
    if marks.lossy and marks.pixels is not None:
        wanted = _channels(marks, code)
        inside = (np.abs(marks.pixels.astype(np.int16) - wanted) <= NEAR).all(axis=2)
    else:
        inside = marks.codes == code
    if not inside.any():
        names = ", ".join(marks.name(int(c)) for c in found[:8] if c != NOTHING)
        raise ValueError(
            f"has no {marks.kind} {label!r}: expected --mask-label with one that it holds, such as "
            f"{names}"
        )
    mask, border = inside.astype(np.uint8), marks.codes == IGNORE
    if (
        exact
        and marks.kind in ("index", "value")
        and code != IGNORE
        and not (inside | border).all()
    ):
        mask[border] = IGNORE
    return Chosen(mask, f"{marks.kind} {name}", name)


def _channels(marks: Marks, code: Code) -> np.ndarray:
    """Write a code as the levels of its pixels."""
    colour = [code >> 16, code >> 8 & 255, code & 255]
    return np.array(colour if marks.kind == "colour" else [code])


def _alike(marks: Marks, one: Code, other: Code) -> bool:
    """Say whether two codes are one tone, but for what a lossy format makes of it."""
    return bool((np.abs(_channels(marks, one) - _channels(marks, other)) <= NEAR).all())


def _code_of(marks: Marks, label: str) -> Code:
    """Turn what the user calls the object, a number or a colour, into a code."""
    if label.isdigit() and marks.kind != "colour":
        return int(label)
    try:
        colour = ImageColor.getrgb(f"rgb({label})" if label[:1].isdigit() else label)[:3]
    except ValueError:
        raise ValueError(
            f"has no {marks.kind} {label!r}: expected --mask-label with a number, or a colour such "
            "as white, red or '#ff0000'"
        ) from None
    if marks.kind == "colour":
        return int(_coded(np.array(colour, np.uint8)))
    if marks.colours is not None:
        same = np.flatnonzero((marks.colours == colour).all(axis=1))
        same = same[np.isin(same, marks.codes)]
        return int(same[0]) if len(same) else NOTHING - 1
    if len(set(colour)) > 1:
        return NOTHING - 1
    # The lightest value is called white, whatever its number: 1, 255 or 65535.
    return int(marks.codes.max()) if colour[0] == 255 else colour[0]
