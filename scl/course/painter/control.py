"""The painter in a notebook: what is painted in the browser arrives here, and is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from scl.course.draw import panels, squared, with_still
from scl.course.painter.keeping import MaskFile, painted_path
from scl.course.painter.pixels import put_patch, reduced, to_jpeg, to_runs
from scl.datasets.photos import read_image
from scl.evaluation.overlay import ORANGE, TRUTH, grow, overlay
from scl.method.vectors import IGNORE

HERE = Path(__file__).parent


def paint(photo: str | Path, path: str | Path | None = None) -> Painter:
    """Open a photograph to paint a mask on it; one that was painted before is there again.

    path: where the mask is kept, after every stroke; by default beside the photograph, as
    mug-painted.png for mug.jpg. A file that the painter did not write is never touched.
    """
    if not isinstance(photo, (str, Path)):
        raise ValueError(
            f"a photograph of kind {type(photo).__name__}: expected a file, for the mask is kept "
            "beside it; save an array first: PIL.Image.fromarray(photo).save('mug.png')"
        )
    return Painter(Path(photo), Path(path) if path else painted_path(Path(photo)))


def painted_figure(picture: np.ndarray, mask: np.ndarray, name: str) -> Figure:
    """Draw a picture [h, w, 3] and beside it the mask painted on it [H, W]: the still twin."""
    picture = reduced(picture, 400)  # about what is printed, so that outlines show
    labels = grow(mask, picture.shape[:2])
    shown = overlay(picture, {TRUTH: labels == 1, ORANGE: labels == IGNORE})
    return panels([squared(picture), squared(shown)], [name, summary(mask)], side=3.2)


def summary(mask: np.ndarray) -> str:
    """Say how much of a picture is marked."""
    object_, unsure = (100 * np.count_nonzero(mask == v) / mask.size for v in (1, IGNORE))
    return f"{object_:.1f} % marked" + (f", {unsure:.1f} % not sure" if unsure else "")


class Painter(anywidget.AnyWidget):
    """A photograph to paint on. `mask` is what has been painted, `path` where it is kept."""

    _esm = HERE / "painter.js"
    _css = HERE / "painter.css"
    picture = traitlets.Bytes().tag(sync=True)  # a JPEG, reduced
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)  # width and height
    name = traitlets.Unicode().tag(sync=True)

    def __init__(self, photo: Path, path: Path) -> None:
        image = read_image(photo, "give paint() a photograph")
        self.photo, self._file = photo, MaskFile(path, image)
        self._mask, self._version = self._file.read(), 0
        self._shown = reduced(image)
        size = (image.shape[1], image.shape[0])
        super().__init__(picture=to_jpeg(self._shown), size=size, name=photo.name)
        self.on_msg(self._receive)

    @property
    def path(self) -> Path:
        """Say where the mask is kept; there is a file once something has been painted."""
        return self._file.path

    @property
    def mask(self) -> np.ndarray:
        """Copy what has been painted: H x W uint8 with 0, 1 (object) and 255 (not sure)."""
        return self._mask.copy()

    def figure(self) -> Figure:
        """Draw the photograph and the mask as a still picture."""
        return painted_figure(self._shown, self._mask, self.photo.name)

    def _receive(self, _: object, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """Answer the browser: it asks for the mask, or brings a rectangle that was painted."""
        if content["kind"] == "open":
            self._tell_mask(self._standing())
        elif content["version"] != self._version:
            # Painted on what another window has changed meanwhile: nobody's work is lost silently.
            self._tell_mask("Painted in another window meanwhile: paint this again.", True)
        else:
            put_patch(self._mask, tuple(content["place"]), bytes(buffers[0]))
            self._version += 1
            self.send({"kind": "saved", "version": self._version, "text": self._keep()})

    def _tell_mask(self, text: str, overtaken: bool = False) -> None:
        """Send the whole mask."""
        told = {"kind": "mask", "version": self._version, "text": text, "overtaken": overtaken}
        self.send(told, [to_runs(self._mask)])

    def _keep(self) -> str:
        """Write the file, and say so; or why not, in the painter itself, where it is seen."""
        try:
            self._file.write(self._mask)
        except ValueError as error:
            return f"NOT SAVED. {error}"
        return f"Saved as {self.path.name}: {summary(self._mask)}."

    def _standing(self) -> str:
        """Say what a painter that has just been opened shows."""
        if self._file.seen:
            return f"Opened {self.path.name}: {summary(self._mask)}."
        return f"Ready. The mask will be kept as {self.path.name} after every stroke."

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """Give a page without Python or controls a still picture in the painter's place."""
        words = f"{self.photo.name}, and the mask painted on it: {summary(self._mask)}"
        bundle = super()._repr_mimebundle_(**kwargs)
        return with_still(bundle, self.figure(), words, f"Painter of {words}")
