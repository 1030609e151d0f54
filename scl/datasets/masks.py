"""Masks as people have them: whatever marks one object in a photograph, read as 0, 1 and 255.

A picture of any kind (scl.datasets.tones says which of its values are the object), or a text file
of outlines (scl.datasets.outlines). Where a mask can be read in two ways, nothing is guessed: the
error says what it holds, and `label` or `invert` says how it is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scl.datasets.files import reading
from scl.datasets.outlines import OUTLINE_ENDINGS, read_outlines
from scl.datasets.pictures import Frame, frame_of, opened
from scl.datasets.tones import Chosen, Marks, choose, is_thin, marks_of, of_numbers
from scl.method.vectors import IGNORE

LARGE = 2 / 3  # of a picture: a mask that covers more is rarely meant so
SPECKLED = 0.35  # changes from pixel to pixel, as a part of those of points that never touch
LOOKED_AT = 512  # pixels a side at which the shape of a mask is judged
SMALL, CLEARLY = 256, 1.3  # pixels a side at which contrast is compared, and how much is enough

# What turns a stored picture as its EXIF orientation says, and which of these turns it back.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = {6: 8, 8: 6}

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jpg", ".jpeg", *OUTLINE_ENDINGS)


@dataclass(frozen=True)
class ReadMask:
    """A mask as it was read.

    mask: [H, W] uint8, of the photograph's size as seen: 1 object, 0 other, 255 not counted;
    how: what was taken for the object, in words; doubt: what in its shape looks like a mistake,
    and what to do about it, or None.
    """

    mask: np.ndarray
    how: str
    doubt: str | None = None

    @property
    def share(self) -> float:
        """Give the part of the picture that the object covers, 0..1."""
        return float((self.mask == 1).mean())


def read_mask(
    path: Path,
    photo: Path,
    image: np.ndarray,
    frame: Frame,
    label: str | None = None,
    invert: bool = False,
    remedy: str = "restore it",
) -> ReadMask:
    """Read the mask of a photograph; one that cannot be the mask of one object is refused.

    photo, image, frame: the photograph's file, its pixels [H, W, 3] as seen, and how it is stored;
    label: which value, colour or name is the object, where there are several; invert: the object is
    what the mask leaves out.
    """
    if path.suffix.lower() in OUTLINE_ENDINGS:
        mask, how, name = read_outlines(path, photo, frame, label, remedy)
    elif path.suffix.lower() == ".npy":
        mask, how, name = _from_array(path, frame, label, remedy)
    else:
        mask, how, name = _from_picture(path, image, frame, label, remedy)
    if invert:
        mask, how = np.where(mask == IGNORE, mask, 1 - mask).astype(np.uint8), f"{how}, inverted"
    for value, what in ((1, "shows no object"), (0, "covers the whole picture")):
        if not (mask == value).any():
            raise ValueError(
                f"{path} {what} ({how}): paint the object white (255) on black, or remove both "
                "files"
            )
    return ReadMask(mask, how, doubt_of(mask, name))


def _from_picture(
    path: Path, image: np.ndarray, frame: Frame, label: str | None, remedy: str
) -> Chosen:
    """Read a mask that is a picture, lying as the photograph does."""
    what = "a PNG" if path.suffix.lower() == ".png" else "a picture"
    with reading(path, what, remedy), opened(path) as picture:
        own = frame_of(picture)
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format != "MPO":  # in which phones keep a preview, too
            raise ValueError(f"it holds {frames} pictures; save the mask alone")
        check_size(path, own, frame)
        lossy = picture.format in ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
        marks = marks_of(ImageOps.exif_transpose(picture), lossy)
    if _is_photograph(marks, image):
        raise ValueError(
            f"{path} shows the photograph itself, not a mask of it: paint the object white (255) "
            "on black, or keep what is around it transparent"
        )
    try:
        chosen = choose(marks, label)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    if frame.undecided(own):
        _check_turn(path, image, chosen.mask, frame, own)
        seen = "EXIF turns the photograph, and the mask fits what is seen"
        return chosen._replace(how=f"{chosen.how}; {seen}")
    return chosen


def _from_array(path: Path, frame: Frame, label: str | None, remedy: str) -> Chosen:
    """Read a mask that numpy.save wrote, [H, W] of numbers or of true and false."""
    with reading(path, "an array", remedy):
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        values = np.load(path, allow_pickle=False)
        if values.dtype.kind not in "biuf" or values.ndim != 2 or not values.size:
            raise ValueError(
                f"it has the shape {values.shape} and holds {values.dtype}; save one mask [H, W]"
            )
        # Like a picture without EXIF: where the photograph is turned, its lie is not known.
        check_size(path, Frame(values.shape[::-1]), frame)
        if frame.turn > 1:
            raise ValueError("EXIF turns its photograph; save that without EXIF, lying as the mask")
        marks = of_numbers(values.astype(np.uint8) if values.dtype == bool else values)
    try:
        return choose(marks, label)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


# -------------------------------------------------------------------------- sizes and turns


def check_size(path: Path, own: Frame, frame: Frame) -> None:
    """Raise unless a mask has the size of its photograph, each as it is seen."""
    if own.seen == frame.seen:
        return
    width, height = own.seen
    text = f"{path} is {width} x {height} and its image {frame.seen[0]} x {frame.seen[1]} pixels"
    if own.size == frame.size:
        turned = "photograph" if frame.turn > 1 else "mask"
        raise ValueError(
            f"{text} as they are seen: EXIF (orientation {max(frame.turn, own.turn)}) turns the "
            f"{turned} when it is shown, and the other was not turned with it; open the {turned} "
            "in a viewer, save it as PNG without EXIF, and draw the mask on that"
        )
    raise ValueError(f"{text}: a mask has the size of its image; export both at one size")


def _check_turn(path: Path, image: np.ndarray, mask: np.ndarray, frame: Frame, own: Frame) -> None:
    """Raise unless the contrast along its edge shows that a mask lies as the photograph is seen.

    One of the two says in EXIF that it is to be turned, and both ways have the same size.
    """
    picture = Image.fromarray(mask)
    for turn in (BACK.get(own.turn, own.turn), frame.turn):
        picture = picture if turn == 1 else picture.transpose(TURNS[turn])
    step = -(-max(mask.shape) // SMALL)
    small, seen, other = (x[::step, ::step] for x in (image, mask, np.array(picture)))
    if _contrast(small, seen) < CLEARLY * _contrast(small, other):
        raise ValueError(
            f"{path}: EXIF (orientation {max(frame.turn, own.turn)}) turns the photograph or its "
            "mask when it is shown, and their sizes do not tell whether the other was turned with "
            "it; save both without EXIF, lying alike"
        )


def _contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """Measure how much an image [H, W, 3] changes, on average, where a mask [H, W] does."""
    total, count = 0.0, 0
    for axis in (0, 1):
        edge = np.diff((mask == 1).astype(np.int8), axis=axis) != 0
        total += np.abs(np.diff(image.astype(float), axis=axis)).sum(axis=2)[edge].sum()
        count += int(edge.sum())
    return total / max(count, 1)


# ------------------------------------------------------------------------------ mistakes


def _is_photograph(marks: Marks, image: np.ndarray) -> bool:
    """Say whether a mask has the photograph's own pixels, or cuts them out of black or white."""
    if marks.pixels is None:
        return False
    step = -(-max(image.shape) // LOOKED_AT)
    image, pixels = image[::step, ::step], marks.pixels[::step, ::step]
    pixels = pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)
    inner = ((pixels > 24) & (pixels < 231)).any(axis=2)
    if inner.mean() < 0.02 or pixels[inner].std(axis=0).max() < 8:
        return np.array_equal(pixels, image)
    return float(np.abs(pixels[inner].astype(int) - image[inner]).mean()) < 12


def doubt_of(mask: np.ndarray, name: str) -> str | None:
    """Say what in the shape of a mask [H, W] looks like a mistake, and what to do; or None.

    name: what the object goes by in the file.
    """
    step = -(-max(mask.shape) // LOOKED_AT)
    inside = _pooled(mask == 1, step)  # so that thin lines stay closed
    share = (mask == 1).mean()
    frame = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).mean()
    corners = inside[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    if frame >= 0.95 or (frame > 0.5 and (corners or share > LARGE)):
        return (
            f"covers {100 * share:.0f} % of the picture and most of its border, as an "
            "inverted mask does: pass --invert if the object is what it leaves out, or "
            f"--mask-label '{name}' if it is right as it is"
        )
    if is_thin(inside, 0.02, 0.15) and _enclosed(inside) > inside.sum():
        return (
            f"is an outline alone: fill the object, or pass --mask-label '{name}' if the thin "
            "line is the object"
        )
    region = mask == 1
    changes = sum(int(np.diff(region, axis=axis).sum()) for axis in (0, 1)) / 2
    if changes > SPECKLED * 2 * min(share, 1 - share) * mask.size:
        return (
            "is speckled all over, as a photograph in black and white is: paint the object white "
            f"(255) on black, or pass --mask-label '{name}' if it is right as it is"
        )
    return None


def _enclosed(inside: np.ndarray) -> int:
    """Count the cells that a line [H, W] encloses, together with the sides that it ends at."""
    from scipy import ndimage  # here, for it is slow to import

    walled = np.pad(inside, 1)
    walls = [walled[0], walled[-1], walled[:, 0], walled[:, -1]]
    sides = [inside[0], inside[-1], inside[:, 0], inside[:, -1]]
    for wall, side in zip(walls, sides, strict=True):
        wall[:] = side.any()
    return int(ndimage.binary_fill_holes(walled)[1:-1, 1:-1].sum() - inside.sum())


def _pooled(inside: np.ndarray, step: int) -> np.ndarray:
    """Shrink a region [H, W] by a whole number; a cell is inside where any of its pixels is."""
    high, wide = (-n % step for n in inside.shape)
    padded = np.pad(inside, ((0, high), (0, wide)), mode="edge")
    rows, columns = (n // step for n in padded.shape)
    return np.any(padded.reshape(rows, step, columns, step), axis=(1, 3))
