"""Small parts that several tests build with: no images, no weights, small budgets."""

from __future__ import annotations

import torch
from torch import nn

from scl.method.heads import CANetHead
from scl.method.pfenet import PFENetHead
from scl.method.rules import Guidance, Rules
from scl.method.scl import SCL, Maps
from scl.study.grid import Budget

GUIDANCES = {
    "v_s": Guidance(("s",), False, False),
    "v_s+L1": Guidance(("s",), True, False),
    "pri": Guidance(("pri",)),
    "aux": Guidance(("aux",)),
    "all": Guidance(("s", "pri", "aux")),
    "scl": Guidance(),
}

# An experiment of the tables in a second or two.
TINY = Budget(
    ladder=(2, 3),
    tuning_steps=3,
    per_class=4,
    novel_per_class=8,
    one_shot=20,
    five_shot=6,
    held_out=3,
    size=64,
)


class TinyBackbone(nn.Module):
    """A frozen random convolution of stride 8, quick enough for hundreds of calls."""

    mid_channels, stride = 6, 8

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(6, 3, 8, 8, generator=g) / 8)
        self.register_buffer("deep", torch.randn(5, 6, 1, 1, generator=g))

    def mid(self, images):
        h, w = images.shape[-2:]
        padded = nn.functional.pad(images, (0, -w % 8, 0, -h % 8))
        return nn.functional.conv2d(padded, self.weight, stride=8)

    def high(self, mid, mask=None):
        mid = mid if mask is None else mid * mask.unsqueeze(1).to(mid.dtype)
        return nn.functional.conv2d(mid, self.deep).relu()


WIDTHS = (8, 9, 10, 11, 12, 13)  # six stages, small


class Stages(nn.Module):
    """A backbone of six stages, stride 8: fixed random projections of each cell's colours."""

    stride, inputs, widths = 8, "unit", WIDTHS
    mid_channels = sum(WIDTHS)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(sum(WIDTHS), 12, 1, 1, generator=generator))

    def mid(self, images: torch.Tensor) -> torch.Tensor:
        cells = nn.functional.avg_pool2d(images, 4)
        return nn.functional.conv2d(nn.functional.pixel_unshuffle(cells, 2), self.weights).tanh()

    def high(self, mid, mask=None):
        raise AssertionError("nobody asks for high-level maps")


def tiny_model(
    head: str = "canet",
    guidance: Guidance = Guidance(),
    rules: Rules = Rules(),
    seed: int = 0,
    norm: bool = True,
    iterations: int = 1,
) -> SCL:
    """A model of 8 channels on the tiny backbone, in evaluation mode."""
    torch.manual_seed(seed)
    build = {"canet": CANetHead, "pfenet": PFENetHead}[head]
    return SCL(
        TinyBackbone(),
        build(6, n=len(guidance.vectors), d=8, norm=norm),
        guidance,
        rules,
        iterations,
    ).eval()


def random_task(b: int = 2, k: int = 3, size: tuple[int, int] = (44, 52), seed: int = 0):
    """Support images and masks, query images and masks; each support mask shows something."""
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(b, k, 3, *size, generator=g)
    masks = torch.zeros(b, k, *size, dtype=torch.uint8)
    for i in range(b):
        for j in range(k):
            y, x = torch.randint(0, 12, (2,), generator=g).tolist()
            masks[i, j, y : y + 24, x : x + 30] = 1
    query = torch.rand(b, 3, *size, generator=g)
    return images, masks, query, masks[:, 0].clone()


def maps_of(model: SCL, images, masks) -> tuple[Maps, torch.Tensor]:
    """Support maps and masks of one-shot episodes, as training wants them."""
    return model.encode(images[:, 0], masks[:, 0]), masks[:, 0]


def texts(figure) -> list[str]:
    """Everything written in a figure."""
    own = [t.get_text() for t in figure.texts]
    return own + [t for a in figure.axes for t in (a.get_title(), *(x.get_text() for x in a.texts))]
