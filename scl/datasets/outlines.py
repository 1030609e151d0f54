"""Masks in text files: labelme's and COCO's JSON, and YOLO's polygons, drawn as pixels."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image, ImageDraw

from scl.datasets.coco import run_lengths
from scl.datasets.files import reading
from scl.datasets.pictures import Frame

OUTLINE_ENDINGS = (".json", ".txt")
LARGEST = 2**26  # pixels of a drawn mask, against numbers that fill the memory

Size = tuple[int, int]  # width and height
Draw = Callable[[Size], np.ndarray]  # draws a region [H, W] of true and false


@dataclass(frozen=True)
class Shape:
    """One outlined region: the names that its label goes by, and what draws it."""

    names: tuple[str, ...]
    draw: Draw


def read_outlines(
    path: Path, photo: Path, frame: Frame, label: str | None, remedy: str
) -> tuple[np.ndarray, str, str]:
    """Draw the mask [H, W] of 0 and 1 that a text file outlines; say how, and name the object.

    Shapes of one label are one object; where there are several labels, `label` says which.
    """
    with reading(path, "a mask", remedy):
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        text = path.read_text(encoding="utf-8-sig")
        read = _yolo if path.suffix.lower() == ".txt" else _json
        kind, size, shapes = read(path, text, photo)
        _check_lie(path, size, frame)
        if frame.seen[0] * frame.seen[1] > LARGEST:
            raise ValueError(f"its photograph has more than {LARGEST} pixels; make it smaller")
        wanted = _wanted(path, shapes, label)
        mask = np.zeros(frame.seen[::-1], np.uint8)
        for shape in wanted:
            mask[shape.draw(frame.seen)] = 1
    name = wanted[0].names[0]
    count = f", {len(wanted)} shapes" if len(wanted) > 1 else ""
    return mask, f"{kind} {name!r}{count}", name


def _check_lie(path: Path, size: Size | None, frame: Frame) -> None:
    """Raise unless outlines were drawn on a picture of the photograph's size as it is seen."""
    width, height = frame.seen
    if size is None and frame.turn > 1:
        raise ValueError(
            f"{path} does not say the size of its picture, and EXIF (orientation {frame.turn}) "
            "turns the photograph when it is shown: save the photograph as PNG without EXIF, and "
            "draw the outline on that"
        )
    if size is None or (size == (width, height) and not frame.undecided(Frame(size))):
        return
    exif = ""
    if size == frame.size:
        exif = f"; EXIF (orientation {frame.turn}) turns the photograph: save it without, and draw"
        exif += " the outline on that"
    raise ValueError(
        f"{path} was made for a picture of {size[0]} x {size[1]} and its image is {width} x "
        f"{height} pixels: a mask has the size of its image{exif}"
    )


def _wanted(path: Path, shapes: Sequence[Shape], label: str | None) -> list[Shape]:
    """Pick the shapes of one label."""
    names = list(dict.fromkeys(shape.names[0] for shape in shapes))
    some = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    if not shapes:
        raise ValueError(f"{path} outlines no object in this photograph: draw a polygon around it")
    if label is None and len(names) > 1:
        raise ValueError(
            f"{path} outlines {some}, and nothing says which is the object: pass --mask-label with "
            "one of them"
        )
    wanted = [shape for shape in shapes if label is None or label in shape.names]
    if not wanted:
        raise ValueError(f"{path} outlines no {label!r}: expected --mask-label with one of {some}")
    return wanted


# ------------------------------------------------------------------------------- shapes


def polygon(points: object, unit: Size | None = None) -> Draw:
    """Make what fills a polygon of points [[x, y], ...]; unit: points are shares of the picture."""
    ring = _points(points, 3)

    def draw(size: Size) -> np.ndarray:
        return _filled(size, ring, lambda canvas, xy: canvas.polygon(xy, fill=1, outline=1), unit)

    return draw


def _points(points: object, least: int) -> list[tuple[float, float]]:
    """Check a list of points."""
    if not isinstance(points, list) or len(points) < least:
        raise ValueError(f"a shape has {str(points)[:40]}: expected {least} points or more")
    for point in points:
        good = isinstance(point, list | tuple) and len(point) == 2
        if not good or not all(type(v) in (int, float) and math.isfinite(v) for v in point):
            raise ValueError(f"a shape has the point {str(point)[:40]}: expected two numbers x, y")
    return [(float(x), float(y)) for x, y in points]


def _filled(
    size: Size,
    points: Sequence[tuple[float, float]],
    fill: Callable[[ImageDraw.ImageDraw, list], None],
    unit: Size | None = None,
) -> np.ndarray:
    """Fill a shape on a canvas of the photograph's size, after a look at where it lies."""
    scale = size if unit else (1, 1)
    # Shares are written with few digits: a corner just short of a pixel means that pixel.
    placed = [(round(x * scale[0], 2), round(y * scale[1], 2)) for x, y in points]
    # labelling tools let an outline end a little outside
    for at, (x, y) in enumerate(placed):
        if not (-0.05 * size[0] - 2 <= x <= 1.05 * size[0] + 2) or not (
            -0.05 * size[1] - 2 <= y <= 1.05 * size[1] + 2
        ):
            raise ValueError(
                f"a shape has the point {points[at]}, outside of the picture of {size[0]} x "
                f"{size[1]} pixels; it was drawn on another one, or in other units"
            )
    canvas = Image.new("L", size, 0)
    fill(ImageDraw.Draw(canvas), placed)
    return np.array(canvas) > 0


def _unfit(complaint: str) -> Draw:
    """Make what complains where a region is wanted: it may be another object's."""

    def draw(size: Size) -> np.ndarray:
        raise ValueError(complaint)

    return draw


def _run_length(segment: Mapping) -> Draw:
    """Make what fills COCO's run lengths, compressed or not: down the columns, background first."""
    counts, size = segment.get("counts"), segment.get("size")
    counts = run_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("run lengths are not whole numbers from 0 on")
    if not isinstance(size, list) or len(size) != 2 or sum(counts) != size[0] * size[1]:
        raise ValueError("run lengths do not fill their picture")

    def draw(wanted: Size) -> np.ndarray:
        if tuple(size) != wanted[::-1]:
            raise ValueError(
                f"run lengths are of {size[1]} x {size[0]} pixels, and the photograph has "
                f"{wanted[0]} x {wanted[1]}"
            )
        inside = np.arange(len(counts)) % 2 == 1
        return np.repeat(inside, counts).reshape(size[1], size[0]).T

    return draw


# ------------------------------------------------------------------------------- formats


def _yolo(path: Path, text: str, photo: Path) -> tuple[str, None, list[Shape]]:
    """Read YOLO's lines: a class number and x y x y ... as shares of width and height."""
    shapes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words[1:]]
            name = f"{float(words[0]):g}"  # some tools write 0.0
            int(name)
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {line[:40]!r}: expected a class number and x y x y ... "
                "in 0..1, YOLO's polygons"
            ) from None
        if len(values) == 4:
            complaint = f"{path}, line {number}: a box, which no mask is: export polygons (YOLO's "
            shapes.append(Shape((name,), _unfit(f"{complaint}segmentation format)")))
            continue
        if len(values) % 2 or not all(-0.05 <= value <= 1.05 for value in values):
            raise ValueError(
                f"{path}, line {number}: expected pairs x y in 0..1 after the class number, "
                f"{len(values)} numbers were found"
            )
        pairs = [[x, y] for x, y in zip(values[::2], values[1::2], strict=True)]
        shapes.append(Shape((name,), polygon(pairs, unit=(1, 1))))
    return "YOLO's class", None, shapes


def _json(path: Path, text: str, photo: Path) -> tuple[str, Size | None, list[Shape]]:
    """Read labelme's or COCO's JSON, told apart by their keys."""
    record = json.loads(text)
    if isinstance(record, dict) and isinstance(record.get("shapes"), list):
        return _labelme(path, record)
    if isinstance(record, dict) and "counts" in record:
        record = [{"segmentation": record}]
    if isinstance(record, dict) and "segmentation" in record:
        record = [record]
    if isinstance(record, list):
        record = {"annotations": record}
    if isinstance(record, dict) and isinstance(record.get("annotations"), list):
        return _coco(path, record, photo)
    raise ValueError(
        f"{path} is neither labelme's nor COCO's JSON (it has no list of shapes or annotations): "
        "export one of them, or a PNG"
    )


def _labelme(path: Path, record: Mapping) -> tuple[str, Size | None, list[Shape]]:
    """Read labelme's shapes: polygons, rectangles, circles and masks."""
    size = _size(record, "imageWidth", "imageHeight")
    shapes = [_labelme_shape(path, entry) for entry in record["shapes"]]
    return "labelme's label", size, shapes


def _labelme_shape(path: Path, entry: object) -> Shape:
    if not isinstance(entry, dict):
        raise ValueError(f"{path} has the shape {str(entry)[:40]}: expected one of labelme")
    names, kind = (str(entry.get("label")),), entry.get("shape_type", "polygon")
    points = entry.get("points")
    if kind == "polygon" or (kind == "rectangle" and len(points or []) == 4):
        return Shape(names, polygon(points))
    if kind == "rectangle":
        (x0, y0), (x1, y1) = _points(points, 2)[:2]
        return Shape(names, polygon([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    if kind == "circle":
        centre, edge = _points(points, 2)[:2]
        return Shape(names, _circle(centre, math.dist(centre, edge)))
    if kind == "mask":
        (left, top), _ = _points(points, 2)[:2]
        return Shape(names, _pasted(entry.get("mask"), round(left), round(top)))
    complaint = f"{path} has the shape {kind!r} of {names[0]!r}, which fills no area"
    return Shape(names, _unfit(f"{complaint}: expected polygons, rectangles, circles or masks"))


def _circle(centre: tuple[float, float], radius: float) -> Draw:
    (x, y), r = centre, radius

    def draw(size: Size) -> np.ndarray:
        box = [x - r, y - r, x + r, y + r]
        return _filled(size, [centre], lambda canvas, xy: canvas.ellipse(box, fill=1, outline=1))

    return draw


def _pasted(coded: object, left: int, top: int) -> Draw:
    """Make what pastes labelme's cut-out mask, a PNG in base 64, at a corner."""
    if not isinstance(coded, str):
        raise ValueError("a mask shape holds no picture")
    with Image.open(io.BytesIO(base64.b64decode(coded)), formats=("PNG",)) as picture:
        part = picture.convert("L").point(lambda value: 255 * (value > 0))

    def draw(size: Size) -> np.ndarray:
        canvas = Image.new("L", size, 0)
        canvas.paste(part, (left, top))
        return np.array(canvas) > 0

    return draw


def _coco(path: Path, record: Mapping, photo: Path) -> tuple[str, Size | None, list[Shape]]:
    """Read COCO's annotations of one photograph: polygons and run lengths, by category."""
    images = record.get("images") or ([record["image"]] if "image" in record else [])
    entries = record["annotations"]
    if not all(isinstance(entry, dict) for entry in [*images, *entries]):
        raise ValueError(f"{path} lists what are no images and annotations of COCO: export it anew")
    image = _image_of(path, images, entries, photo)
    titles = {c["id"]: str(c.get("name")) for c in record.get("categories") or [] if "id" in c}
    shapes = []
    for place, entry in enumerate(entries, 1):
        if "id" in image and entry.get("image_id", image["id"]) != image["id"]:
            continue
        category = entry.get("category_id")
        # What has no category, such as a proposal of a model, goes by its place in the file.
        known = (str(place),) if category is None else (str(category),)
        names = (titles[category], *known) if category in titles else known
        shapes += [Shape(names, draw) for draw in _segments(path, entry)]
    return "COCO's category", _size(image, "width", "height"), shapes


def _image_of(path: Path, images: Sequence[Mapping], entries: Sequence, photo: Path) -> Mapping:
    """Find the entry of a photograph: the only one, or that of its name."""
    if len(images) == 1:
        return images[0]
    if not images:
        if len({entry.get("image_id") for entry in entries}) > 1:
            raise ValueError(
                f"{path} holds annotations of several images, and no list of these: export the "
                "one of this photograph"
            )
        return {}
    same = [i for i in images if _bare(str(i.get("file_name"))) == photo.name.casefold()]
    if len(same) != 1:
        some = ", ".join(str(i.get("file_name")) for i in images[:4])
        raise ValueError(
            f"{path} lists {len(images)} images (such as {some}), {len(same)} of them called "
            f"{photo.name}: expected one"
        )
    return same[0]


def _bare(name: str) -> str:
    """Leave of a file's name or address what a photograph beside it is called."""
    return PureWindowsPath(name.split("?")[0]).name.casefold()


def _segments(path: Path, entry: Mapping) -> list[Draw]:
    """Make what fills the region of one annotation."""
    segment = entry.get("segmentation")
    if isinstance(segment, dict):
        return [_run_length(segment)]
    if not isinstance(segment, list) or not segment:
        complaint = f"{path} has an annotation without an outline (a box alone is no mask)"
        return [_unfit(f"{complaint}: export polygons")]
    if not all(isinstance(ring, list) and len(ring) % 2 == 0 for ring in segment):
        raise ValueError(f"{path} has a polygon that is no list x, y, x, y, ...: export it anew")
    pairs = [[[x, y] for x, y in zip(r[::2], r[1::2], strict=True)] for r in segment]
    return [polygon(ring) for ring in pairs]


def _size(record: Mapping, wide: str, high: str) -> Size | None:
    """Return the size that a record says its picture has, if it does."""
    width, height = record.get(wide), record.get(high)
    return (width, height) if type(width) is int and type(height) is int else None
