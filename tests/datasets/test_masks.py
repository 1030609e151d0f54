"""One reader for masks of every kind: read as they are meant, or refused with what to do."""

import base64
import io
import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco

from scl.datasets.photos import read_image, read_pair
from tests.helpers.trees import compressed, palette_png, run_lengths

SHARED = Path(__file__).resolve().parents[3] / "shared"
WIDTH, HEIGHT = 96, 72
MUTATIONS = int(os.environ.get("SCL_MUTATIONS", 200))  # 2,000 were tried once; CI takes fewer
BOX = (20, 15, 65, 55)  # left, top, right, bottom of the object, inside


def truth() -> np.ndarray:
    """A box with a round head: no symmetry that a turn could hide behind."""
    picture = Image.new("L", (WIDTH, HEIGHT), 0)
    draw = ImageDraw.Draw(picture)
    draw.rectangle(BOX, fill=255)
    draw.ellipse((58, 8, 84, 34), fill=255)
    return np.asarray(picture) > 0


TRUE = truth()
WHITE = (TRUE * 255).astype(np.uint8)


def photograph(path: Path, size=(WIDTH, HEIGHT), **options) -> np.ndarray:
    """A noisy photograph with a reddish object."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(60, 200, (HEIGHT, WIDTH, 3))
    pixels[TRUE] += np.array([50, -50, -50])
    picture = Image.fromarray(pixels.astype(np.uint8)).resize(size)
    picture.save(path, **options)
    return np.asarray(picture)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "cup.png"
    photograph(path)
    return path


def blurred(radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(radius)))


def antialiased() -> np.ndarray:
    large = Image.fromarray(WHITE).resize((4 * WIDTH, 4 * HEIGHT)).filter(ImageFilter.ModeFilter(9))
    return np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def coloured(colour, back=(0, 0, 0)) -> np.ndarray:
    return np.where(TRUE[..., None], colour, back).astype(np.uint8)


def layer(colour, alpha=WHITE) -> np.ndarray:
    return np.dstack([np.broadcast_to(np.uint8(colour), (HEIGHT, WIDTH, 3)), alpha])


def ring(width: int = 3) -> np.ndarray:
    """The pixels around the object."""
    grown = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.MaxFilter(2 * width + 1))) > 0
    return grown & ~TRUE


def save(array, **options):
    return lambda path: Image.fromarray(array).save(path, **options)


def indexed(labels, colours=None, **options):
    """A palette picture, of VOC's colours or of others."""

    def write(path):
        if colours is None:
            palette_png(path, labels.astype(np.uint8))
            return
        picture = Image.fromarray(labels.astype(np.uint8))
        picture.putpalette([level for colour in colours for level in colour])
        picture.save(path, **options)

    return write


GREY_ALPHA = np.dstack([np.full_like(WHITE, 255), WHITE])
LABELS = np.where(TRUE, 8, 0).astype(np.uint8)
BORDERED = np.where(ring(2), 255, LABELS).astype(np.uint8)
TWO = LABELS.copy()
TWO[60:70, 5:15] = 3
OTHER = np.zeros_like(TRUE)
OTHER[60:70, 5:15] = True

SAME = {
    "white.png": save(WHITE),
    "one-bit.png": lambda path: Image.fromarray(WHITE).convert("1").save(path),
    "0-1.png": save(TRUE.astype(np.uint8)),
    "0-128.png": save((TRUE * 128).astype(np.uint8)),
    "0-38.png": save((TRUE * 38).astype(np.uint8)),
    "rgb-grey.png": save(np.dstack([WHITE] * 3)),
    "red.png": save(coloured((255, 0, 0))),
    "dark-red.png": save(coloured((128, 0, 0))),
    "voc-as-rgb.png": save(np.where(ring(1)[..., None], (224, 224, 192), coloured((64, 0, 0)))
                           .astype(np.uint8)),
    "16-bit.png": save(TRUE.astype(np.uint16) * 65535),
    "16-bit-id.png": save(TRUE.astype(np.uint16) * 300),
    "32-bit.tif": save(TRUE.astype(np.int32) * 70000),
    "float.tif": save(TRUE.astype(np.float32)),
    "probability.tif": save(blurred(1).astype(np.float32) / 255),
    "white.tif": save(WHITE),
    "white.bmp": save(WHITE),
    "white.gif": save(WHITE),
    "soft.png": save(blurred(2)),
    "steps.png": save(antialiased()),
    "soft-red.png": save(np.dstack([blurred(1), 0 * WHITE, 0 * WHITE])),
    "white.jpg": save(WHITE, quality=80),
    "soft.jpg": save(blurred(1), quality=70),
    "red.jpg": save(coloured((220, 20, 20)), quality=75),
    "white.webp": save(coloured((255, 255, 255)), quality=70),
    "jpeg-as.png": lambda path: as_png_from_jpeg(path),
    "grey-and-alpha.png": save(GREY_ALPHA),
    "white-layer.png": save(layer((255, 255, 255))),
    "black-layer.png": save(layer((0, 0, 0))),
    "brush-layer.png": save(layer((250, 20, 200))),
    "half-brush.png": save(layer((250, 20, 200), WHITE // 2)),
    "soft-layer.png": save(layer((255, 255, 255), blurred(2))),
    "soft-brush.png": save(layer((250, 20, 200), (0.4 * blurred(2)).astype(np.uint8))),
    "opaque-alpha.png": save(np.dstack([WHITE, WHITE, WHITE, np.full_like(WHITE, 255)])),
    "seen-through.png": save(np.dstack([WHITE, WHITE, WHITE, np.full_like(WHITE, 128)])),
    "index-1.png": indexed(TRUE * 1),
    "index-border.png": indexed(BORDERED),
    "index-grey-turned.png": indexed(TRUE == 0, [(255, 255, 255), (0, 0, 0)]),
    "index-of-a-paint-program.png": indexed(TRUE == 0, [(255, 0, 0), (0, 0, 0)]),
    "index-transparent.png": indexed(TRUE * 1, [(9, 9, 9), (200, 0, 0)], transparency=0),
    "labels-border.png": save(BORDERED),
    "not-sure.png": save(np.where(OTHER, 255, TRUE).astype(np.uint8)),
    "array.npy": lambda path: np.save(path, TRUE),
    "probability.npy": lambda path: np.save(path, blurred(1) / 255),
    "trimap.png": save(np.where(ring(1), 128, WHITE).astype(np.uint8)),
}  # fmt: skip


def as_png_from_jpeg(path):
    data = io.BytesIO()
    Image.fromarray(WHITE).save(data, "JPEG", quality=75)
    Image.open(data).save(path)


@pytest.mark.parametrize("name", SAME)
def test_masks_of_every_kind_are_the_same_mask(photo, tmp_path, name):
    SAME[name](tmp_path / name)
    _, read = read_pair(photo, tmp_path / name)
    assert read.mask.dtype == np.uint8 and set(np.unique(read.mask)) <= {0, 1, 255}
    assert read.how and read.doubt is None
    known = read.mask != 255
    exact = not any(word in name for word in ("soft", "jpg", "jpeg", "webp", "steps", "prob"))
    wrong = ((read.mask == 1) != TRUE) & known
    assert known.mean() > 0.85 and wrong.mean() <= (0 if exact else 0.02), read.how


def test_a_cut_out_is_read_by_its_transparency(photo, tmp_path):
    pixels = np.asarray(Image.open(photo))
    Image.fromarray(np.dstack([pixels, WHITE])).save(tmp_path / "cut-out.png")
    _, read = read_pair(photo, tmp_path / "cut-out.png")
    assert np.array_equal(read.mask == 1, TRUE) and read.how == "transparency"


REFUSED = {
    "black": (save(0 * WHITE), "shows no object"),
    "full": (save(0 * WHITE + 255), "covers the whole picture"),
    "full-layer": (save(layer((0, 0, 0), 0 * WHITE)), "all of it is transparent"),
    "inverted": (save(255 - WHITE), "as an inverted mask does: pass --invert"),
    "inverted-red": (save(coloured((0, 0, 0), (255, 0, 0))), "pass --invert"),
    "hole": (save(layer((9, 9, 9), 255 - WHITE)), "as an inverted mask does"),
    "dithered": (
        lambda path: Image.fromarray(np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1))
                                     .astype(np.uint8)).convert("1").save(path),
        "is speckled all over, as a photograph in black and white is",
    ),
    "outline": (save((ring(1) * 255).astype(np.uint8)), "is an outline alone: fill the object"),
    "two-labels": (save(TWO), r"holds the values 0 .*, 8 .*, 3 .*pass --mask-label"),
    "two-indices": (indexed(TWO), r"holds the indices.*--mask-label '3'"),
    "two-colours": (
        save(np.where(OTHER[..., None], (0, 255, 0), coloured((255, 0, 0))).astype(np.uint8)),
        "holds the colours #000000 .*pass --mask-label",
    ),
    "two-brushes": (
        save(np.dstack([coloured((255, 0, 0), (0, 255, 0)), ((TRUE | OTHER) * 255)
                        .astype(np.uint8)])),
        r"holds the colours transparent .*--mask-label '#00ff00'",
    ),
    "drawn-and-transparent": (
        save(np.dstack([WHITE, WHITE, WHITE, np.where(OTHER, 0, 255).astype(np.uint8)])),
        "holds the colours #000000",
    ),
    "red-on-white": (save(coloured((255, 0, 0), (255, 255, 255))), "--mask-label '#ff0000'"),
    "pets-trimap": (save(np.where(TRUE, 1, np.where(ring(3), 3, 2)).astype(np.uint8)),
                    "holds the values 2 .*, 1 .*, 3"),
    "not-sure-around-a-line": (
        save(np.where(ring(1), 1, WHITE).astype(np.uint8)), "holds the values|--mask-label"
    ),
    "three-tones": (save(np.where(OTHER, 128, WHITE).astype(np.uint8)), "holds the values"),
    "trimap-as-jpeg": (
        save(np.where(ring(2), 128, WHITE).astype(np.uint8), format="JPEG"),
        "holds [0-9]+ different tones",
    ),
    "16-bit-ids": (save(TWO.astype(np.uint16) * 1000), r"8000 .*pass --mask-label"),
    "negative": (save(TRUE.astype(np.int32) - 1, format="TIFF"), "its values begin at -1"),
    "dark-jpeg": (save(TRUE.astype(np.uint8) * 3, format="JPEG"), "has no pixel above 127|holds"),
    "index-colours-disagree": (
        indexed(TRUE * 1, [(255, 255, 255), (200, 0, 0)]), "holds the indices 0 .*, 1 ",
    ),
    "wide-border": (save(np.where(ring(12), 255, LABELS).astype(np.uint8)), "holds the values"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_with_the_remedy(photo, tmp_path, name):
    write, complaint = REFUSED[name]
    path = tmp_path / f"{name}.png"
    write(path)
    with pytest.raises(ValueError, match=complaint) as error:
        read_pair(photo, path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_photograph_is_no_mask(photo, tmp_path):
    pixels = np.asarray(Image.open(photo)).copy()
    with pytest.raises(ValueError, match="shows the photograph itself"):
        read_pair(photo, photo)
    Image.fromarray(np.where(TRUE[..., None], pixels, 0)).save(tmp_path / "on-black.png")
    with pytest.raises(ValueError, match="shows the photograph itself.*transparent"):
        read_pair(photo, tmp_path / "on-black.png")
    pixels[TRUE] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "painted.png")
    with pytest.raises(ValueError, match="shows the photograph itself"):
        read_pair(photo, tmp_path / "painted.png")
    rng = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    Image.fromarray(rng).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match="a photograph, or one with paint on it, is no mask"):
        read_pair(photo, tmp_path / "other.png")
    Image.fromarray(WHITE).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="swapped"):
        read_pair(tmp_path / "mask.png", photo)


@pytest.mark.parametrize(
    ("write", "label", "expected"),
    [
        (save(TWO), "8", TRUE),
        (save(TWO), "3", OTHER),
        (indexed(TWO), "3", OTHER),
        (indexed(TWO), "#404040", None),
        (indexed(TWO), "rgb(64,0,0)", TRUE),
        (save(coloured((255, 0, 0), (255, 255, 255))), "red", TRUE),
        (save(coloured((255, 0, 0), (255, 255, 255))), "255,0,0", TRUE),
        (save(coloured((255, 0, 0), (255, 255, 255)), format="JPEG"), "red", TRUE),
        (save(WHITE, format="JPEG"), "white", TRUE),
        (save(255 - WHITE), "black", TRUE),
        (save(255 - blurred(2)), "0", TRUE),
        (save(TRUE.astype(np.uint8)), "white", TRUE),
        (save(TRUE.astype(np.uint8)), "7", None),
        (save(TRUE.astype(np.uint8)), "cup", None),
    ],
)
def test_the_user_says_which_is_the_object(photo, tmp_path, write, label, expected):
    path = tmp_path / "mask.png"
    write(path)
    if expected is None:
        with pytest.raises(ValueError, match=f"has no .*{label}.*expected --mask-label"):
            read_pair(photo, path, label=label)
        return
    _, read = read_pair(photo, path, label=label)
    assert ((read.mask == 1) != expected).mean() < 0.03


def test_a_border_stays_open_where_a_label_is_named(photo, tmp_path):
    several = np.where(ring(2), 255, TWO).astype(np.uint8)
    palette_png(tmp_path / "voc.png", several)
    _, read = read_pair(photo, tmp_path / "voc.png", label="8")
    assert np.array_equal(read.mask == 1, TRUE) and np.array_equal(read.mask == 255, several == 255)


def test_an_inverted_mask_is_read_when_the_user_says_so(photo, tmp_path):
    Image.fromarray(255 - WHITE).save(tmp_path / "mask.png")
    _, read = read_pair(photo, tmp_path / "mask.png", invert=True)
    assert np.array_equal(read.mask == 1, TRUE) and "inverted" in read.how
    _, kept = read_pair(photo, tmp_path / "mask.png", label="white")
    assert np.array_equal(kept.mask == 1, ~TRUE) and kept.share > 0.6


# ---------------------------------------------------------------------- sizes and EXIF


@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (WIDTH // 2, HEIGHT // 2), (HEIGHT, WIDTH)])
def test_a_mask_of_another_size_is_refused(photo, tmp_path, size):
    Image.fromarray(WHITE).resize(size).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=f"is {size[0]} x {size[1]} and its image 96 x 72"):
        read_pair(photo, tmp_path / "mask.png")


BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held so would store


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(Image.Transpose(BACK[orientation]))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("side", [72, 96])
@pytest.mark.parametrize("orientation", BACK)
def test_a_mask_lies_as_the_photograph_is_seen_or_is_refused(tmp_path, orientation, side):
    picture, mask = Image.new("RGB", (side, 72), (90, 100, 110)), Image.new("L", (side, 72), 0)
    box = (5, 8, 40, 30)
    picture.paste((220, 30, 40), box)
    mask.paste(255, box)
    turned(picture, orientation).save(tmp_path / "a.png", exif=exif(orientation))
    mask.save(tmp_path / "seen.png")
    turned(mask, orientation).save(tmp_path / "stored.png")
    turned(mask, orientation).save(tmp_path / "both.png", exif=exif(orientation))
    for name in ("seen.png", "both.png"):
        image, read = read_pair(tmp_path / "a.png", tmp_path / name)
        assert np.array_equal(image, np.asarray(picture))
        assert np.array_equal(read.mask == 1, np.asarray(mask) > 0)
    with pytest.raises(ValueError, match="EXIF"):
        read_pair(tmp_path / "a.png", tmp_path / "stored.png")


def test_where_neither_size_nor_contrast_tells_the_turn_it_is_refused(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (72, 72, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", exif=exif(6))
    Image.fromarray(WHITE[:, :72]).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="EXIF .orientation 6.*do not tell"):
        read_pair(tmp_path / "a.png", tmp_path / "mask.png")
    Image.fromarray(noise[:50]).save(tmp_path / "b.png")
    Image.fromarray(WHITE[:50, :72]).save(tmp_path / "tagged.png", exif=exif(6))
    with pytest.raises(ValueError, match="EXIF .orientation 6. turns the mask"):
        read_pair(tmp_path / "b.png", tmp_path / "tagged.png")


# --------------------------------------------------------------------- outlines in text


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def boxed() -> np.ndarray:
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[BOX[1] : BOX[3] + 1, BOX[0] : BOX[2] + 1] = True
    return region


def labelme(*shapes, **more):
    known = {"imagePath": "cup.png", "imageWidth": WIDTH, "imageHeight": HEIGHT}
    return known | {"version": "5.0", "shapes": list(shapes)} | more


def shape(label="cup", kind="polygon", points=None, **more):
    points = points or corners(*BOX)
    return {"label": label, "shape_type": kind, "points": points} | more


def coco_record(*segments, names=("cup",), files=("cup.png",), **more):
    annotations = [
        {"id": i, "image_id": 7, "category_id": 1 + i % len(names), "segmentation": s, **more}
        for i, s in enumerate(segments)
    ]
    return {
        "images": [
            {"id": 7 + i, "file_name": f"photos/{name}", "width": WIDTH, "height": HEIGHT}
            for i, name in enumerate(files)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        "annotations": annotations,
    }


def flat(ring):
    return [value for point in ring for value in point]


def coded(region):
    data = io.BytesIO()
    Image.fromarray(region).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


POLYGON = flat(corners(*BOX))
SIDES = [POLYGON[0] / WIDTH, POLYGON[1] / HEIGHT, POLYGON[2] / WIDTH, POLYGON[5] / HEIGHT]
YOLO = "0 " + " ".join(f"{value:.6f}" for value in flat(corners(*SIDES))) + "\n"
MIDDLE = (BOX[0] + BOX[2]) // 2

OUTLINES = {
    "labelme.json": labelme(shape()),
    "two-shapes.json": labelme(
        shape(points=corners(BOX[0], BOX[1], MIDDLE, BOX[3])),
        shape(points=corners(MIDDLE, BOX[1], BOX[2], BOX[3])),
    ),
    "rectangle.json": labelme(shape(kind="rectangle", points=[list(BOX[2:]), list(BOX[:2])])),
    "no-size.json": labelme(shape(), imageWidth=None, imageHeight=None),
    "cut.json": labelme(
        shape(kind="mask", points=[list(BOX[:2]), list(BOX[2:])],
              mask=coded(boxed()[BOX[1] : BOX[3] + 1, BOX[0] : BOX[2] + 1]))
    ),
    "coco.json": coco_record([POLYGON]),
    "runs.json": coco_record(run_lengths(boxed())),
    "compressed.json": coco_record(compressed(boxed()), iscrowd=1),
    "address.json": coco_record([POLYGON], files=("https://a.b/c/CUP.png?d=1", "table.png")),
    "many-images.json": coco_record([POLYGON], files=("cup.png", "table.png")),
    "bare.json": compressed(boxed()),
    "result.json": [{"image_id": 3, "category_id": 18, "segmentation": compressed(boxed())}],
    "proposal.json": {"image": {"image_id": 3, "width": WIDTH, "height": HEIGHT},
                      "annotations": [{"segmentation": compressed(boxed()), "bbox": [1, 2, 3, 4]}]},
    "cup.txt": YOLO,
    "fraction.txt": YOLO.replace("0 ", "0.0 ", 1),
}  # fmt: skip


def write(path: Path, record) -> Path:
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_drawn_where_they_lie(photo, tmp_path, name):
    _, read = read_pair(photo, write(tmp_path / name, OUTLINES[name]))
    assert np.array_equal(read.mask == 1, boxed()), read.how


def test_a_circle_is_round(photo, tmp_path):
    record = labelme(shape(kind="circle", points=[[40, 35], [60, 35]]))
    _, read = read_pair(photo, write(tmp_path / "a.json", record))
    assert read.mask.sum() == pytest.approx(np.pi * 20**2, rel=0.05)


def test_polygons_are_those_of_cocos_own_code_but_for_their_edge(photo, tmp_path):
    ring = [20.5, 10.25, 70.0, 22.5, 61.5, 60.0, 30.0, 55.5]
    _, read = read_pair(photo, write(tmp_path / "a.json", coco_record([ring])))
    theirs = coco.decode(coco.frPyObjects([ring], HEIGHT, WIDTH))[..., 0]
    both = (read.mask & theirs).sum() / (read.mask | theirs).sum()
    assert both > 0.95


OTHER_RING = [2, 2, 9, 2, 9, 9]
STRANGE = {
    "two-labels": (labelme(shape(), shape("saucer")), "outlines 'cup', 'saucer'.*--mask-label"),
    "line": (labelme(shape(kind="linestrip")), "'linestrip' of 'cup', which fills no area"),
    "empty": (labelme(), "outlines no object"),
    "other-size": (labelme(shape(), imageWidth=50), "for a picture of 50 x 72 and its image is 96"),
    "outside": (labelme(shape(points=corners(1, 1, 900, 900))), "outside of the picture"),
    "no-number": (labelme(shape(points=[[1, 2], [3, "x"], [4, 5]])), "expected two numbers"),
    "nan": (labelme(shape(points=[[1, 2], [float("nan"), 1], [4, 5]])), "expected two numbers"),
    "two-categories": (
        coco_record([POLYGON], [OTHER_RING], names=("cup", "pot")), "outlines 'cup', 'pot'"),
    "box-alone": (coco_record([]), "a box alone is no mask"),
    "other-image": (coco_record([POLYGON], files=("a.png", "b.png")), "0 of them called cup.png"),
    "short-runs": (coco_record({"size": [HEIGHT, WIDTH], "counts": [5]}), "do not fill"),
    "runs-of-another": (coco_record({"size": [2, 2], "counts": [1, 3]}), "are of 2 x 2 pixels"),
    "huge-runs": (coco_record({"size": [1 << 30, 1 << 30], "counts": [0, 1 << 60]}), "are of"),
    "proposals": ([{"segmentation": [POLYGON]}, {"segmentation": [OTHER_RING]}], "outlines '1', '"),
    "other-json": ({"a": 1}, "neither labelme's nor COCO's JSON"),
    "no-json": ("{", "cannot be read as a mask"),
    "number": ("7", "neither labelme's nor COCO's"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_outlines_that_cannot_be_read_are_named(photo, tmp_path, name):
    record, complaint = STRANGE[name]
    path = write(tmp_path / f"{name}.json", record)
    with pytest.raises(ValueError, match=complaint) as error:
        read_pair(photo, path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0 0.5 0.5 0.2 0.2\n", "line 1: a box"),
        (YOLO + YOLO.replace("0 ", "1 ", 1), "outlines '0', '1'"),
        ("0 10 10 20 20 30 30\n", "expected pairs x y in 0..1"),
        ("cup 0.1 0.1 0.2 0.2 0.3 0.1\n", "line 1: 'cup"),
        ("0.5 0.1 0.1 0.2 0.2 0.3 0.1\n", "line 1: '0.5"),
        (YOLO[:-1] + " 0.93\n", "expected pairs x y"),
        ("", "outlines no object"),
    ],
)
def test_lines_that_are_no_polygon_are_named(photo, tmp_path, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_pair(photo, write(tmp_path / "a.txt", text))


def test_what_fills_no_area_disturbs_no_other_label(photo, tmp_path):
    lone = labelme(shape(), shape("spot", kind="point", points=[[1, 1]]))
    mixed = coco_record([POLYGON], [], names=("cup", "pot"))
    for name, record, label in (
        ("a.json", lone, "cup"),
        ("b.json", mixed, "cup"),
        ("c.txt", YOLO + "1 0.5 0.5 0.2 0.2\n", "0"),
    ):
        path = write(tmp_path / name, record)
        _, read = read_pair(photo, path, label=label)
        assert np.array_equal(read.mask == 1, boxed())
        with pytest.raises(ValueError, match="--mask-label"):
            read_pair(photo, path)


def test_colours_of_a_brush_that_is_half_transparent_stay_apart(photo, tmp_path):
    thin = (100 * (TRUE | OTHER)).astype(np.uint8)
    colours = np.where(OTHER[..., None], (0, 0, 255), (255, 0, 0))
    save(np.dstack([colours, thin]).astype(np.uint8))(tmp_path / "a.png")
    with pytest.raises(ValueError, match="#0000ff"):
        read_pair(photo, tmp_path / "a.png")
    _, read = read_pair(photo, tmp_path / "a.png", label="red")
    assert np.array_equal(read.mask == 1, TRUE)


@pytest.mark.parametrize("array", [np.ones((1, 9, 9)), np.array([{}]), np.zeros((72, 96), complex)])
def test_arrays_that_are_no_mask_are_refused(photo, tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy cannot be read as an array"):
        read_pair(photo, tmp_path / "a.npy")


def test_the_user_names_the_label(photo, tmp_path):
    two = labelme(shape("saucer", points=corners(2, 2, 9, 9)), shape())
    _, read = read_pair(photo, write(tmp_path / "a.json", two), label="cup")
    assert np.array_equal(read.mask == 1, boxed()) and "'cup'" in read.how
    record = coco_record([OTHER_RING], [POLYGON], names=("pot", "cup"))
    for label in ("cup", "2"):
        _, read = read_pair(photo, write(tmp_path / "b.json", record), label=label)
        assert np.array_equal(read.mask == 1, boxed())
    with pytest.raises(ValueError, match="outlines no 'mug': expected --mask-label with one of"):
        read_pair(photo, write(tmp_path / "b.json", record), label="mug")


# --------------------------------------------------------------------------- photographs


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_deep_greys_are_scaled(tmp_path, depth):
    grey = np.linspace(0, 2**depth - 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(grey.astype(np.float32) / (2**depth - 1)).save(tmp_path / "b.tif")
    for name in ("a.png", "b.tif"):
        found = read_image(tmp_path / name)[..., 1]
        assert np.abs(found - 255 * grey / (2**depth - 1)).max() <= 1
    Image.fromarray(-grey.astype(np.float32)).save(tmp_path / "c.tif")
    with pytest.raises(ValueError, match="c.tif cannot be read as a picture .its values are"):
        read_image(tmp_path / "c.tif")


def test_what_is_no_picture_is_said(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match="HEIC, which is not read here: export it as JPEG"):
        read_image(tmp_path / "a.heic")
    with pytest.raises(ValueError, match="it is no file"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang(photo, tmp_path):
    for name in ("a.png", "a.json"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match="is no file"):
            read_pair(photo, tmp_path / name)


# ------------------------------------------------------------------- cases and mutations


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("name", ["eth80-scenes/cup/11", "eth80/horse/3", "eth80-scenes/car/21"])
def test_the_cases_are_read_as_expected(tmp_path, monkeypatch, name):
    path = SHARED / "photos" / f"{name}.jpg"
    arguments = ["make_cases.py", str(path), str(path.with_suffix(".png")), str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(SHARED / "cases" / "make_cases.py"), run_name="__main__")
    true = np.asarray(Image.open(tmp_path / "mask.png")) > 127
    for case, expected in json.loads((tmp_path / "expected.json").read_text()).items():
        if case == "photo-16-bit.png":
            grey = np.asarray(Image.open(tmp_path / "photo.jpg").convert("L"), float)
            assert np.abs(read_image(tmp_path / case)[..., 0] - grey).mean() < 2
            continue
        photo = tmp_path / ("photo-exif-6.jpg" if "exif-6" in case else "photo.jpg")
        if expected == "same":
            _, read = read_pair(photo, tmp_path / case)
            assert ((read.mask == 1) == true)[read.mask != 255].all(), case
        else:
            with pytest.raises(ValueError, match=case):
                read_pair(photo, tmp_path / case)
    _, read = read_pair(tmp_path / "photo.jpg", tmp_path / "mask-inverted.png", invert=True)
    assert np.array_equal(read.mask == 1, true)
    for case in ("photo.labelme.json", "photo.yolo.txt"):
        _, read = read_pair(tmp_path / "photo.jpg", tmp_path / case)
        ys, xs = np.nonzero(read.mask)
        rows, columns = np.nonzero(true)
        assert (ys.min(), xs.max()) == (rows.min(), columns.max())


def painted(draw, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Draw a way to store a mask: pixels, which are the object, and an ending."""
    values = draw(st.lists(st.integers(1, 255), min_size=2, max_size=2, unique=True))
    kind = draw(st.sampled_from(["grey", "colour", "layer", "alpha", "index", "deep", "jpeg"]))
    low, high = values
    if kind == "colour":
        colours = [draw(st.tuples(*[st.integers(0, 255)] * 3)) for _ in range(2)]
        back, front = ((0, 0, 0), colours[0]) if draw(st.booleans()) else colours
        return np.where(mask[..., None], front, back).astype(np.uint8), mask, "png"
    if kind == "deep":
        return (mask * np.uint16(high * 257 + 1)).astype(np.uint16), mask, "png"
    if kind == "layer":
        shade = np.full(mask.shape, low, np.uint8)
        return np.dstack([shade, shade, shade, (mask * high).astype(np.uint8)]), mask, "png"
    if kind == "alpha":
        grey = np.where(mask, high, low).astype(np.uint8)
        return np.dstack([grey, np.where(draw(st.booleans()), 255, mask * 255)]
                         ).astype(np.uint8), mask, "png"  # fmt: skip
    if kind == "index":
        return np.where(mask, high, low).astype(np.uint8), mask, "palette"
    if kind == "jpeg":
        return (mask * 255).astype(np.uint8), mask, "jpg"
    low = draw(st.sampled_from([0, low]))
    return np.where(mask, high, low).astype(np.uint8), mask, "png"


@st.composite
def mutated(draw):
    """A mask of some shape, stored in some way, then spoiled; and what it was before."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(draw(st.integers(1, 3))):
        top, left = draw(st.integers(0, HEIGHT - 12)), draw(st.integers(0, WIDTH - 12))
        mask[top : top + draw(st.integers(9, 50)), left : left + draw(st.integers(9, 60))] = True
    pixels, mask, ending = painted(draw, mask)
    spoil = draw(st.sampled_from(["none", "invert", "turn", "shift", "patch", "bytes", "cut"]))
    if spoil == "invert" and pixels.ndim == 2:
        pixels = pixels.max() - pixels
    if spoil == "turn":
        pixels = np.ascontiguousarray(np.rot90(pixels))
    if spoil == "patch":  # a second object, of another value
        top, left = draw(st.integers(0, HEIGHT - 10)), draw(st.integers(0, WIDTH - 10))
        pixels = pixels.copy()
        pixels[top : top + 9, left : left + 9] = draw(st.integers(0, 255))
    if spoil == "shift" and pixels.dtype == np.uint8:
        pixels = pixels // 2
    patch = np.zeros((HEIGHT, WIDTH), bool)
    if spoil == "patch":
        patch[top : top + 9, left : left + 9] = True
    harm = draw(st.lists(st.tuples(st.integers(8, 4000), st.integers(0, 255)), max_size=6))
    return pixels, mask, ending, spoil, harm, patch


def stored(folder: Path, pixels: np.ndarray, ending: str) -> Path:
    path = folder / f"mask.{'jpg' if ending == 'jpg' else 'png'}"
    if ending == "palette":
        palette_png(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return path


@settings(deadline=None, max_examples=MUTATIONS, suppress_health_check=list(HealthCheck))
@given(case=mutated())
def test_no_mutation_is_read_wrongly_in_silence(photo, tmp_path_factory, case):
    pixels, mask, ending, spoil, harm, patch = case
    path = stored(tmp_path_factory.mktemp("mutated"), pixels, ending)
    if spoil in ("bytes", "cut"):
        data = bytearray(path.read_bytes())
        for place, value in harm if spoil == "bytes" else ():
            data[place % len(data)] = value
        path.write_bytes(data[: harm[0][0] if harm and spoil == "cut" else None])
    try:
        _, read = read_pair(photo, path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    known = read.mask != 255
    assert set(np.unique(read.mask)) <= {0, 1, 255} and read.mask.shape == TRUE.shape
    if spoil in ("none", "shift", "cut") or (spoil == "bytes" and ending != "jpg"):
        wrong = (((read.mask == 1) != mask) & known).mean()
        assert wrong <= 0.03, (read.how, spoil)
    if spoil == "patch":
        wrong = (((read.mask == 1) != mask) & known & ~patch).mean()
        assert wrong <= 0.03, (read.how, spoil)
    inside = mask[1:-1, 1:-1].sum() == mask.sum()
    if spoil == "invert" and inside:
        assert not np.array_equal(read.mask == 1, ~mask), read.how


@settings(deadline=None, max_examples=MUTATIONS, suppress_health_check=list(HealthCheck))
@given(
    ending=st.sampled_from(["png", "jpg", "tif", "webp", "bmp", "gif"]),
    harm=st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.booleans(),
)
def test_no_mutation_of_a_photograph_is_a_traceback(tmp_path_factory, ending, harm, cut):
    path = tmp_path_factory.mktemp("photo") / f"a.{ending}"
    pixels = photograph(path)
    data = bytearray(path.read_bytes())
    for place, value in harm:
        data[place % len(data)] = value
    path.write_bytes(data[: harm[0][0] if cut else None])
    try:
        found = read_image(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert found.dtype == np.uint8 and found.ndim == 3
    if ending == "png":  # the others have no checksum
        assert np.array_equal(found, pixels)
