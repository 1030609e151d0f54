"""Do a notebook's stored outputs say what a fresh run says? Comparisons only; nothing is run here.

Texts must be equal to the letter, figures but for what compression changes. The cells tagged
`trained` or `timed` depend on the machine: there, numbers are masked, figures only keep their
size, and a number printed with its interval, `32.9 [29.1, 36.8]`, must lie inside the stored one.
"""

from __future__ import annotations

import base64
import difflib
import io
import json
import re
from itertools import zip_longest
from typing import Any

import numpy as np
from PIL import Image

MACHINE_TAGS = {"trained", "timed"}
# How far the pixels of a square may differ on average, in grey levels: side to limit. JPEG at any
# quality from 60 on stays below 30 and 12; the least of all changes of a digit, 3 for 8 in letters
# of 8 points, reaches 60 in the small square; the large one is for faint changes of a whole area.
LIMITS = {4: 45, 24: 14}

A_NUMBER = r"[-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
NUMBER = re.compile(A_NUMBER)
INTERVAL = re.compile(rf"({A_NUMBER})\s*%?\s*\[\s*({A_NUMBER})\s*,\s*({A_NUMBER})\s*\]")
VERDICT = re.compile(r"\bverdict\b.*$", re.IGNORECASE | re.MULTILINE)


def differences(
    stored: dict[str, Any], fresh: dict[str, Any], drawn_alike: bool = True
) -> list[str]:
    """Every way in which two notebooks in normal form disagree, a line each; none if they agree.

    `drawn_alike` is False where another matplotlib drew the fresh figures: its letters differ by
    more than a digit does, so that figures cannot be compared.
    """
    old, new = code_cells(stored), code_cells(fresh)
    found: list[str] = []
    matcher = difflib.SequenceMatcher(None, sources(old), sources(new), autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        for k, (a, b) in enumerate(zip_longest(old[i:i_end], new[j:j_end])):
            if kind == "equal":
                said = cell_differences(a, b, drawn_alike)
            else:
                said = [edited(a, b)]
            number, cell = (i + k + 1, a) if a else (j + k + 1, b)
            found += [f"stale: cell {number} `{first_line(cell)}`: {what}" for what in said]
    return found


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The code cells that are not empty; the n-th of them is Jupyter's [n]."""
    cells = notebook["cells"]
    return [c for c in cells if c["cell_type"] == "code" and as_text(c["source"]).strip()]


def sources(cells: list[dict[str, Any]]) -> list[str]:
    """What stands in the cells."""
    return [as_text(cell["source"]) for cell in cells]


def as_text(value: Any) -> str:
    """Notebook files hold a text as one string or as a list of lines, and data as data."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return json.dumps(value, sort_keys=True)


def first_line(cell: dict[str, Any]) -> str:
    """The beginning of a cell's source, to find it by."""
    return clipped(as_text(cell["source"]).strip().splitlines()[0], 0)


def edited(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    """Say what became of a cell whose source has no equal on the other side."""
    if new is None:
        return "it is stored, but not in the fresh run"
    if old is None:
        return "it is in the fresh run, but not stored"
    return "its source differs: " + first_difference(*sources([old, new]))


def cell_differences(old: dict[str, Any], new: dict[str, Any], drawn_alike: bool) -> list[str]:
    """What differs between the outputs of two runs of one cell."""
    kinds = [[kind_of(output) for output in cell["outputs"]] for cell in (old, new)]
    if kinds[0] != kinds[1]:
        was, now = ("; ".join(names) or "none" for names in kinds)
        return [f"the kinds of outputs differ: stored {was}, now {now}"]
    exact = not MACHINE_TAGS & set(old["metadata"].get("tags", []))
    found: list[str] = []
    for a, b in zip(old["outputs"], new["outputs"], strict=True):
        for (name, was), (_, now) in zip(parts(a), parts(b), strict=True):
            if not name.startswith("image/"):
                found += text_differences(name, as_text(was), as_text(now), exact)
            elif drawn_alike:
                found += figure_differences(was, now, exact)
    return found


def kind_of(output: dict[str, Any]) -> str:
    """An output's kind, in words for the report."""
    if output["output_type"] == "stream":
        return f"text on {output['name']}"
    if output["output_type"] == "error":
        return f"error {output['ename']}"
    return " + ".join([output["output_type"], *sorted(output["data"])])


def parts(output: dict[str, Any]) -> list[tuple[str, Any]]:
    """What one output shows: (name, value) pairs in an order that only its kind decides."""
    if output["output_type"] == "stream":
        return [("printed text", output["text"])]
    if output["output_type"] == "error":
        return [("error", output["evalue"])]
    data = [
        (mime if is_pixels(mime) else f"the {mime}", value)
        for mime, value in sorted(output["data"].items())
    ]
    return [*data, ("the description (alt)", json.dumps(output["metadata"], sort_keys=True))]


def is_pixels(mime: str) -> bool:
    """True for pictures of pixels; SVG is text."""
    return mime.startswith("image/") and mime != "image/svg+xml"


# ---------------------------------------------------------------------------- texts


def text_differences(name: str, old: str, new: str, exact: bool) -> list[str]:
    """Compare to the letter, or with numbers masked and held against their stored intervals."""
    if exact:
        return [] if old == new else [f"{name} differs: {first_difference(old, new)}"]
    was, now = masked(old), masked(new)
    if was != now:
        return [f"{name} differs, its numbers aside: {first_difference(was, now)}"]
    return outside_intervals(VERDICT.sub("", old), VERDICT.sub("", new))


def masked(text: str) -> str:
    """A text without its numbers, their signs and padding, and what follows the word verdict."""
    text = VERDICT.sub("verdict ...", text)
    return re.sub(rf"[ \t]*{A_NUMBER}[ \t]*", "<#>", text)


def outside_intervals(old: str, new: str) -> list[str]:
    """The fresh numbers outside the interval stored beside their stored selves.

    The texts are equal but for their numbers, so that the n-th of one is the n-th of the other.
    """
    values, found = NUMBER.findall(new), []
    for match in INTERVAL.finditer(old):
        value = values[len(NUMBER.findall(old[: match.start()]))]
        if not as_number(match[2]) <= as_number(value) <= as_number(match[3]):
            found.append(f"{value} lies outside the interval of the stored {match[0]}")
    return found


def as_number(text: str) -> float:
    """A matched number, whichever sign it uses for minus."""
    return float(text.replace("−", "-"))


def first_difference(old: str, new: str) -> str:
    """The first line that differs, in both wordings, and how many more there are."""
    pairs = list(zip_longest(old.splitlines(), new.splitlines()))
    unlike = [(a, b) for a, b in pairs if a != b]
    if not unlike:
        return "only in how its lines end"
    a, b = (line or "" for line in unlike[0])
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    more = f" (and {len(unlike) - 1} more lines)" if len(unlike) > 1 else ""
    return f"stored {clipped(a, place)!r}, now {clipped(b, place)!r}{more}"


def clipped(line: str, place: int, width: int = 90) -> str:
    """A line, or what stands around one place of it."""
    if len(line) <= width:
        return line
    start = max(0, min(place - width // 3, len(line) - width))
    end = start + width
    return ("..." if start else "") + line[start:end] + ("..." if end < len(line) else "")


# ---------------------------------------------------------------------------- figures


def figure_differences(old: str, new: str, exact: bool) -> list[str]:
    """Compare two pictures in base 64: their sizes, and their pixels where these must agree."""
    a, b = pixels(old), pixels(new)
    if a.shape != b.shape:
        was, now = (f"{x.shape[1]} x {x.shape[0]}" for x in (a, b))
        return [f"the figure's size differs: stored {was}, now {now}"]
    if not exact:
        return []
    distance = np.abs(a - b).mean(axis=2)
    for side, limit in LIMITS.items():
        worst, x, y = worst_square(distance, side)
        if worst > limit:
            place = f"near {x} from the left, {y} from the top"
            return [f"the figure differs by {worst:.0f} grey levels (more than {limit}) {place}"]
    return []


def pixels(encoded: str) -> np.ndarray:
    """A picture in base 64 as H x W x 3 in 0..255."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    return np.asarray(picture.convert("RGB"), dtype=float)


def worst_square(distance: np.ndarray, side: int) -> tuple[float, int, int]:
    """The largest mean of a map [H, W] over squares of one side, and where it is: x, y."""
    high, wide = (min(side, length) for length in distance.shape)
    total = np.pad(distance, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[y, x] / (high * wide)), int(x), int(y)
