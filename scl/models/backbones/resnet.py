"""ResNet-50 and ResNet-101 of torchvision, dilated to stride 8, in the three forms in use.

All are torchvision's blocks; the two released forms change strides, dilations or the stem.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
from torch import Tensor, nn

from scl.method.records import Inputs
from scl.models.backbones.frozen import Frozen, under_mask
from scl.models.backbones.weights import torchvision_state

if TYPE_CHECKING:
    from torchvision import models
    from torchvision.models.resnet import Bottleneck

Form = Literal["torchvision", "pfenet", "canet"]
FORMS: tuple[Form, ...] = get_args(Form)
DEPTHS = (50, 101)
LAYER2, LAYER3 = 512, 1024  # channels
# Layers of the stem by their places in it; a deep stem has all of them.
STEM = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}


class ResNet(Frozen):
    """Mid-level maps are layer2 and layer3, high-level ones layer4; all of stride 8.

    Source: He et al., CVPR 2016; blocks and weights of torchvision.
    images: [N, 3, H, W], see `inputs`; mid: [N, 512 + 1024, h, w]; high: [N, 2048, h, w], where
    h = ceil(H / 8); the form "canet" may have a cell more, for its pooling rounds up.
    form: "torchvision" puts dilation 1, 2, 2, ... in layer3 and 2, 4, 4 in layer4, so that every
    second cell equals the undilated network; "pfenet" has a stem of three 3 x 3 convolutions (64,
    64, 128 channels), dilation 2 and 4 in all blocks; "canet" has the strides on the first 1 x 1
    convolution of a block, dilation 2 in all blocks of layer3, and a pooling that rounds up.
    weights: torchvision's name, such as "IMAGENET1K_V1" (fetched at first use); None: random.
    high_level: build layer4, which only PFENet's prior reads.
    """

    second_channels = LAYER2
    mid_channels = LAYER2 + LAYER3
    stride = 8

    def __init__(
        self,
        depth: int = 50,
        form: Form = "torchvision",
        weights: str | None = None,
        inputs: Inputs = "unit",
        high_level: bool = True,
    ):
        super().__init__()
        if depth not in DEPTHS or form not in FORMS:
            raise ValueError(
                f"ResNet-{depth} of form {form!r}: expected a depth of {DEPTHS} and a "
                f"form of {FORMS}"
            )
        if weights is not None and form == "pfenet":
            raise ValueError(
                f"weights={weights!r}: torchvision has none for PFENet's deep stem; use form "
                "'torchvision', name a file of them (backbone_weights=FILE), or load a released "
                "checkpoint"
            )
        self.inputs, self.depth = inputs, depth
        from torchvision import models  # here, for it is slow to import

        build = {50: models.resnet50, 101: models.resnet101}[depth]
        net = build(replace_stride_with_dilation=(False, True, True))
        if weights is not None:
            net.load_state_dict(torchvision_state(f"resnet{depth}", weights))
        {"torchvision": lambda net: None, "pfenet": _as_pfenet, "canet": _as_canet}[form](net)
        stem = net.conv1 if form == "pfenet" else nn.Sequential(net.conv1, net.bn1, net.relu)
        self.stem = nn.Sequential(*stem, net.maxpool)
        self.layer1, self.layer2, self.layer3 = net.layer1, net.layer2, net.layer3
        self.layer4 = net.layer4 if high_level else None
        self.freeze()

    def mid(self, images: Tensor) -> Tensor:
        second = self.layer2(self.layer1(self.stem(self.normalise(images))))
        return torch.cat([second, self.layer3(second)], dim=1)

    def names_in_file(self, ours: str) -> Sequence[str]:
        """List torchvision's name, and the released models', whose stem is a layer0."""
        part, place, *rest = ours.split(".")
        if part != "stem":
            return (ours,)
        return ".".join([STEM[place], *rest]), ".".join(["layer0", place, *rest])

    def left_out(self) -> Sequence[str]:
        return (*super().left_out(), *(("layer4.",) if self.layer4 is None else ()))

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.layer4 is None:
            raise ValueError("this ResNet was built without layer4: pass high_level=True")
        deep = under_mask(mid[:, -LAYER3:], mask)
        # Where a mask lies, a GPU would have to be waited for; a batch's statistics need all cells.
        if mask is None or mid.device.type != "cpu" or self.training:
            return self.layer4(deep)
        pairs = zip(deep.split(1), mask, strict=True)
        return torch.cat([_near(self.layer4, *pair) for pair in pairs])


def _near(layer: nn.Sequential, maps: Tensor, mask: Tensor) -> Tensor:
    """Compute a layer [1, c, h, w] exactly where a mask [h, w] is, and 0 far from it.

    Nobody reads the rest (PFENet's prior compares under the mask). The border of a crop changes
    what lies within a block's reach of it, so each crop is wider than the mask by the reach of
    its block and of those to come.
    """
    blocks, seen = cast("list[Bottleneck]", [*layer]), mask > 0
    reach = sum(block.conv2.dilation[0] for block in blocks)
    if not seen.any():
        return maps.new_zeros(1, blocks[-1].conv3.out_channels, *mask.shape)
    for block in blocks:
        rows, columns = (_around(seen.any(dim=other), reach) for other in (1, 0))
        found = maps.new_zeros(1, block.conv3.out_channels, *mask.shape)
        found[:, :, rows, columns] = block(maps[:, :, rows, columns])
        maps, reach = found, reach - block.conv2.dilation[0]
    return maps


def _around(seen: Tensor, reach: int) -> slice:
    """Span the places [n] where something is seen, and `reach` more at either end."""
    where = seen.nonzero()
    return slice(max(0, int(where[0]) - reach), int(where[-1]) + reach + 1)


def _dilate(layer: Iterable[Bottleneck], dilation: int) -> None:
    for block in layer:
        block.conv2.dilation = block.conv2.padding = (dilation, dilation)


def _as_pfenet(net: models.ResNet) -> None:
    _dilate(net.layer3, 2)
    _dilate(net.layer4, 4)
    stem: list[nn.Module] = []
    for c_in, c_out, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
        conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        stem += [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    net.conv1 = nn.Sequential(*stem)
    first = net.layer1[0]
    first.conv1 = nn.Conv2d(128, first.conv1.out_channels, 1, bias=False)
    first.downsample[0] = nn.Conv2d(128, first.downsample[0].out_channels, 1, bias=False)


def _as_canet(net: models.ResNet) -> None:
    _dilate(net.layer3, 2)
    net.maxpool.ceil_mode = True
    for block in net.layer2:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
