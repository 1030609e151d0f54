"""Weights and images that follow from their names, and the numbers the released models gave.

The formula is described where the numbers come from; see arrays/README.md.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scl.method.scl import SCL
from scl.models.released import key_map

HERE = Path(__file__).resolve().parent / "arrays"
COMPLETE = Path(__file__).resolve().parents[3] / "shared" / "golden"
SALTS = {"pfenet": "s10:", "vgg": "s9:", "canet": "s0:"}


def arrays(name: str) -> dict[str, np.ndarray]:
    """The stored numbers of one model: all where the complete files are, else the small copy."""
    folder = COMPLETE if COMPLETE.is_dir() else HERE
    with np.load(folder / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def weight(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """The tensor of a released key."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    g = _generator(salt + key)
    if key.endswith("running_var"):
        return torch.from_numpy(np.asarray(1 + 0.1 * g.random(shape))).float()
    n = g.standard_normal(shape)
    if len(shape) == 4:
        value = n * np.sqrt(2 / np.prod(shape[1:]))
    elif key.endswith(".weight"):
        value = 0.5 + 0.1 * n
    else:
        value = 0.1 * n
    return torch.from_numpy(np.asarray(value)).float()


def released_state(model: SCL, head: str, salt: str) -> dict[str, Tensor]:
    """A state dict as the released code would write it, for a model of the same shape."""
    own = model.state_dict()
    names = key_map(model, head)
    return {theirs: weight(theirs, tuple(own[ours].shape), salt) for ours, theirs in names.items()}


def image(name: str, b: int, h: int, w: int) -> Tensor:
    """[b, 3, h, w]: coarse squares under fine noise."""
    g = _generator(name)
    noise = g.standard_normal((b, 3, h, w))
    coarse = g.standard_normal((b, 3, -(-h // 16), -(-w // 16)))
    squares = coarse.repeat(16, axis=2).repeat(16, axis=3)[:, :, :h, :w]
    return torch.from_numpy(squares + 0.5 * noise).float()


def label(name: str, b: int, h: int, w: int, ignore: bool) -> Tensor:
    """[b, h, w] int64: an ellipse of 1 in 0, with a rim of 255 where ignore is set."""
    g, out = _generator(name), np.zeros((b, h, w), np.int64)
    y, x = np.mgrid[:h, :w]
    for place in range(b):
        u = g.random(4)
        cy, cx = (0.35 + 0.3 * u[0]) * (h - 1), (0.35 + 0.3 * u[1]) * (w - 1)
        ry, rx = (0.22 + 0.15 * u[2]) * (h - 1), (0.22 + 0.15 * u[3]) * (w - 1)
        distance = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
        if ignore:
            out[place][distance <= 1.25] = 255
        out[place][distance <= 1] = 1
    return torch.from_numpy(out)


class Recorder:
    """Remembers every output of some parts of a model, in order."""

    def __init__(self, parts: dict[str, torch.nn.Module]):
        self.outputs: dict[str, list[Tensor]] = {name: [] for name in parts}
        for name, part in parts.items():
            part.register_forward_hook(self._keep(name))

    def _keep(self, name: str):
        def hook(module, inputs, output) -> None:
            self.outputs[name].append(output.detach().clone())

        return hook
