"""Training augmentation: scale, turn, mirror and crop as one affine map, on any device.

What happens to a sample is drawn on the CPU (`draw`) and done where its pixels are (`apply`), so a
seed means the same on the CPU and on CUDA, and however a batch is split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.device import send
from scl.method.vectors import IGNORE
from scl.models.backbones.frozen import MEAN

Resize = Literal["own", "fit", "stretch"]

# OpenCV's Gaussian of five pixels, which the released code blurs with.
GAUSSIAN = (1, 4, 6, 4, 1)

# So many pixels of an object say how much of it a crop keeps, to about two per cent.
PLACES = 1024


@dataclass(frozen=True)
class AugmentConfig:
    """What may happen to an image and its mask.

    size: pixels a side of what comes out. resize: what scale 1 means: "own" (the image's own
    size), "fit" (its longer side gets `size`), "stretch" (both sides get `size`). scale: lowest
    and highest factor. rotation: degrees, at most, either way. The chances are probabilities.
    centre: an image smaller than `size` lies in the middle of its padding, else at the top left.
    keep: the share of the foreground that a crop must keep, or it is drawn again, at most
    `retries` times; if none keeps enough, the one that keeps most is taken.
    """

    size: int = 473
    resize: Resize = "fit"
    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    rotation_chance: float = 0.0
    blur_chance: float = 0.0
    flip_chance: float = 0.0
    centre: bool = False
    keep: float = 0.0
    retries: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))  # a list comes from JSON
        if self.size < 8:
            raise ValueError(f"size={self.size!r}: expected at least 8 pixels")
        if self.resize not in ("own", "fit", "stretch"):
            raise ValueError(f"resize={self.resize!r}: expected 'own', 'fit' or 'stretch'")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale={self.scale!r}: expected two positive numbers, lower first")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation={self.rotation!r}: expected 0 to 180 degrees")
        for name in ("rotation_chance", "blur_chance", "flip_chance", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected 0 to 1")
        if self.retries < 0:
            raise ValueError(f"retries={self.retries!r}: expected 0 or more")

    @property
    def random(self) -> bool:
        """Whether it leaves anything to chance."""
        chances = self.rotation_chance + self.blur_chance + self.flip_chance
        return chances > 0 or self.scale != (1.0, 1.0) or self.resize == "own"

    def frame(self, height: int, width: int, share: float) -> tuple[int, int]:
        """Height and width after scaling; share: 0 gives the lowest factor, 1 the highest."""
        low, high = self.scale
        factor = low + (high - low) * share
        if self.resize == "stretch":
            height = width = self.size
        elif self.resize == "fit":
            factor *= self.size / max(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))


# The whole image, its longer side `size`, as scl.datasets.fit.Fit places it.
NONE = AugmentConfig()

# As released, for supports and queries alike: a crop, and up to 31 more if it keeps too little.
# What differs: released, what leaves the image's frame by rotation is cut off (here it stays where
# there is room), and if no crop keeps 85 % the last is taken (here the best).
PFENET = AugmentConfig(
    size=473,
    resize="own",
    scale=(0.9, 1.1),
    rotation=10.0,
    rotation_chance=0.5,
    blur_chance=0.5,
    flip_chance=0.5,
    centre=True,
    keep=0.85,
    retries=31,
)
PFENET_COCO = replace(PFENET, size=641, scale=(0.8, 1.25))

# As released, for supports: stretched to a square of 1 to 1.5 times 321, mirrored, cropped anywhere
# (whatever is left of the object). Queries are stretched to 321 x 321 and nothing else.
CANET = AugmentConfig(size=321, resize="stretch", scale=(1.0, 1.5), flip_chance=0.5)
CANET_QUERY = AugmentConfig(size=321, resize="stretch")


@dataclass(frozen=True)
class Transform:
    """What happens to one sample, in this order.

    The image is resized by `scale` (vertical, horizontal) to `frame` (height, width in pixels),
    turned about its centre by `angle` degrees (counter-clockwise), mirrored left to right if
    `flip`, and the square of `size` pixels whose corner lies at (top, left) is cut out; what is
    not image there is padding. blur: a Gaussian of 5 x 5 pixels at the end.
    """

    size: int
    frame: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    angle: float = 0.0
    flip: bool = False
    blur: bool = False
    top: int = 0
    left: int = 0

    def matrix(self) -> np.ndarray:
        """[2, 3]: from a pixel (column, row, 1) that comes out to the place (x, y) it shows.

        Whole numbers are the centres of pixels.
        """
        (height, width), (tall, wide) = self.frame, self.scale
        cos, sin = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        mirror = -1 if self.flip else 1
        linear = np.array([[mirror * cos / wide, -sin / wide], [mirror * sin / tall, cos / tall]])
        # The frame's centre, where it comes out, and the same point in the image.
        out = np.array([width / 2 - self.left - 0.5, height / 2 - self.top - 0.5])
        image = np.array([width / wide / 2 - 0.5, height / tall / 2 - 0.5])
        return np.column_stack([linear, image - linear @ out])


@dataclass(frozen=True)
class Foreground:
    """Where an object lies, small enough to be kept on the CPU for every item.

    places: [n, 2] (x, y), its pixels or, of a large object, 1024 of them; bits: the mask, eight
    pixels a byte; width: of the mask, in pixels.
    """

    places: np.ndarray
    bits: np.ndarray
    width: int

    @classmethod
    def of(cls, mask: np.ndarray) -> Foreground:
        """The object of a mask [h, w] with 0, 1 and 255."""
        inside = mask == 1
        pixels = np.flatnonzero(inside)
        if len(pixels) > PLACES:
            # At random: a regular choice could miss a thin object. The same for the same mask.
            pixels = pixels[np.random.default_rng(0).integers(len(pixels), size=PLACES)]
        width = mask.shape[1]
        places = np.column_stack([pixels % width, pixels // width]).astype(np.int16)
        return cls(places, np.packbits(inside), width)

    def shows(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether pixels inside the mask belong to the object."""
        pixel = y.astype(np.int64) * self.width + x
        return (self.bits[pixel >> 3] >> (7 - (pixel & 7))) & 1 == 1


def draw(
    config: AugmentConfig,
    height: int,
    width: int,
    foreground: Foreground | None,
    generator: np.random.Generator,
) -> Transform:
    """Draw what happens to an image of height x width pixels; the generator decides everything.

    foreground: of its mask, for the crop; None: any crop will do. Every call with one config takes
    equally many random numbers. An object never gets lost: if nothing of it would come out, the
    crop is the one around its middle, at the image's own scale and not turned.
    """
    scale, turned, angle, blur, flip = generator.random(5)
    tries = generator.random((config.retries + 1, 2))
    frame = config.frame(height, width, scale)
    whole = Transform(
        config.size,
        frame,
        (frame[0] / height, frame[1] / width),
        config.rotation * (2 * angle - 1) if turned < config.rotation_chance else 0.0,
        bool(flip < config.flip_chance),
        bool(blur < config.blur_chance),
    )
    if foreground is None or not len(foreground.places):
        return _crop(config, whole, None, tries)
    drawn = _crop(config, whole, foreground, tries)
    if _keeps_object(drawn, foreground, height, width):
        return drawn
    return _around_object(whole, foreground, height, width)


def _crop(
    config: AugmentConfig, whole: Transform, foreground: Foreground | None, tries: np.ndarray
) -> Transform:
    """The first crop that keeps enough of the foreground, or the one that keeps most.

    tries: [t, 2] in 0..1, one crop each.
    """
    spare = np.array(whole.frame) - config.size
    first = np.where((spare < 0) & config.centre, -(-spare // 2), 0)
    corners = first + np.floor(tries * (np.maximum(spare, 0) + 1)).astype(int)
    chosen = 0
    if foreground is not None and len(tries) > 1 and spare.max() > 0:
        points = _forward(whole, foreground.places).T[::-1, None] + 0.5  # [2, 1, n] row, column
        for judged in (corners[:1], corners):  # most often the first will do
            low = judged.T[:, :, None].astype(float)
            rows, columns = (points >= low) & (points < low + config.size)
            kept = (rows & columns).mean(axis=1)
            if kept[0] >= config.keep:
                break
        chosen = int(np.argmax(kept >= config.keep if kept.max() >= config.keep else kept))
    top, left = corners[chosen].tolist()
    return replace(whole, top=top, left=left)


def _forward(transform: Transform, places: np.ndarray) -> np.ndarray:
    """Where places [n, 2] (x, y) of the image come out, as (column, row)."""
    matrix = transform.matrix()
    return (places - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def _keeps_object(transform: Transform, foreground: Foreground, height: int, width: int) -> bool:
    """Whether at least one pixel that comes out shows the object."""
    pixels = np.rint(_forward(transform, foreground.places))
    pixels = pixels[((pixels >= 0) & (pixels < transform.size)).all(axis=1)].astype(np.float32)
    # The same numbers in the same precision as in `apply`, which decides what comes out.
    x, y = _shown(transform.matrix().astype(np.float32), pixels[:, 0], pixels[:, 1])
    x, y = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    image = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return bool(foreground.shows(x[image], y[image]).any())


def _around_object(whole: Transform, foreground: Foreground, height: int, width: int) -> Transform:
    """A crop at the image's own scale, with the object's pixel nearest to its middle inside."""
    away = np.abs(foreground.places - np.median(foreground.places, axis=0)).sum(axis=1)
    x, y = foreground.places[np.argmin(away)].tolist()
    x = width - 1 - x if whole.flip else x
    top, left = (
        min(max(place - whole.size // 2, 0), length - whole.size)
        if length > whole.size
        else -((whole.size - length) // 2)
        for place, length in ((y, height), (x, width))
    )
    return replace(whole, frame=(height, width), scale=(1.0, 1.0), angle=0.0, top=top, left=left)


def _shown(matrix, column, row):
    """The places (x, y) that pixels show; matrix: [2, 3], or [2, 3, ...] for many."""
    # Products and sums one by one give the same bits on every device; a matrix product does not.
    (a, b, c), (d, e, f) = matrix
    return a * column + b * row + c, d * column + e * row + f


@torch.no_grad()
def apply(
    images: Tensor, masks: Tensor, sizes: Tensor | np.ndarray, transforms: Sequence[Transform]
) -> tuple[Tensor, Tensor]:
    """Do to N samples what was drawn for them, on the device they are on.

    images: uint8 [N, 3, S, S]; masks: uint8 [N, S, S] with 0, 1, 255; sizes: [N, 2], height and
    width of the true image, at the top left of its canvas. Returns images in 0..1
    [N, 3, size, size] and masks uint8 [N, size, size]; padding has ImageNet's mean colour and 255.
    Shrinking does not smooth: keep images at about the size they are used at.
    """
    size = _check(images, masks, sizes, transforms)
    matrices = np.stack([t.matrix() for t in transforms], axis=2).astype(np.float32)
    line = torch.arange(size, dtype=torch.float32, device=images.device)
    x, y = _shown(send(matrices, images.device)[..., None, None], line, line[:, None])
    height, width = send(sizes, images.device).float().T[:, :, None, None]
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    # Beyond the outermost pixel's centre its colour goes on: the canvas's padding never shows.
    x, y = torch.minimum(x.clamp(min=0), width - 1), torch.minimum(y.clamp(min=0), height - 1)
    pictures = _blur(_bilinear(images, x, y), [t.blur for t in transforms]) / 255
    mean = send(torch.tensor(MEAN), images.device)[:, None, None]
    pictures = torch.where(inside[:, None], pictures, mean)
    labels = _nearest(masks, x, y)
    return pictures, labels.masked_fill_(~inside, IGNORE)


def each(
    generator: np.random.Generator | Sequence[np.random.Generator], count: int
) -> list[np.random.Generator]:
    """`count` generators: those given, or so many times the one given."""
    if isinstance(generator, np.random.Generator):
        return [generator] * count
    if len(generator) != count:
        raise ValueError(f"{len(generator)} generators for {count}: expected one for each")
    return list(generator)


def _check(
    images: Tensor, masks: Tensor, sizes: Tensor | np.ndarray, transforms: Sequence[Transform]
) -> int:
    """The one size that comes out; raise unless everything fits together."""
    n, canvas = len(transforms), tuple(images.shape[-2:])
    if images.dtype != torch.uint8 or tuple(images.shape) != (n, 3, *canvas):
        raise ValueError(
            f"images are {tuple(images.shape)} of {images.dtype}: expected uint8 [N, 3, S, S] with "
            f"N = {n}, one for each transform"
        )
    if masks.dtype != torch.uint8 or tuple(masks.shape) != (n, *canvas):
        raise ValueError(
            f"masks are {tuple(masks.shape)} of {masks.dtype}: expected uint8 "
            f"{(n, *canvas)}, as the images"
        )
    if tuple(sizes.shape) != (n, 2):
        raise ValueError(
            f"sizes are {tuple(sizes.shape)}: expected {(n, 2)}, height and width of each image"
        )
    found = sorted({t.size for t in transforms})
    if len(found) != 1:
        raise ValueError(f"transforms to {found} pixels: expected one size in a batch")
    return found[0]


def _bilinear(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Colours 0..255 [N, 3, s, s] at places x, y [N, s, s], as whole grey levels."""
    height, width = images.shape[-2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    sampled = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    # The grid's own rounding moves places by 1e-5 pixels; whole grey levels do not show it.
    return sampled.round_()


def _nearest(masks: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Labels [N, s, s] at the pixels nearest to places x, y [N, s, s]."""
    pixel = (y + 0.5).long() * masks.shape[-1] + (x + 0.5).long()
    return masks.flatten(1).gather(1, pixel.flatten(1)).reshape(x.shape)


def _blur(images: Tensor, chosen: Sequence[bool]) -> Tensor:
    """Blur the chosen ones of the images [N, 3, s, s], in place."""
    index = np.flatnonzero(chosen)
    if len(index):
        place = send(index, images.device)
        # Whole grey levels times whole 256ths add up without rounding, on every device.
        kernel = send(np.outer(GAUSSIAN, GAUSSIAN).astype(np.float32) / 256, images.device)
        padded = F.pad(images[place], (2, 2, 2, 2), mode="reflect")
        # All images as the channels of one: ten times as fast on a CPU as image by image.
        planes = padded.flatten(0, 1)[None]
        blurred = F.conv2d(planes, kernel.expand(planes.shape[1], 1, 5, 5), groups=planes.shape[1])
        images[place] = blurred.reshape(len(index), *images.shape[1:])
    return images
