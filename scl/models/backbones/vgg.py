"""VGG-16 with batch normalisation, of torchvision, at stride 8 or 16."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.records import Inputs
from scl.models.backbones.frozen import Frozen, under_mask
from scl.models.backbones.weights import torchvision_state

# Each layer ends behind a pooling, but the last, which ends before it.
LAYERS = dict(stem=(0, 7), layer1=(7, 14), layer2=(14, 24), layer3=(24, 34), layer4=(34, 43))


class VGG16(Frozen):
    """Mid-level maps are the third and fourth block of convolutions, high-level ones the fifth.

    Source: Simonyan and Zisserman, ICLR 2015; layers and weights of torchvision.
    images: [N, 3, H, W], see `inputs`; mid: [N, 256 + 512, h, w]; high: [N, 512, h, w], where
    h = ceil(H / stride). stride: 16 is VGG's own and the released code's, which shrinks the finer
    maps to the coarser; 8 lets the fourth pooling go cell by cell and dilates what follows, so
    that every second cell equals the network of stride 16.
    weights: torchvision's name, such as "IMAGENET1K_V1" (fetched at first use); None: random.
    high_level: build the fifth block, which only PFENet's prior reads.
    """

    second_channels = 256
    mid_channels = 256 + 512

    def __init__(
        self,
        stride: int = 8,
        weights: str | None = None,
        inputs: Inputs = "unit",
        high_level: bool = True,
    ):
        super().__init__()
        if stride not in (8, 16):
            raise ValueError(f"stride={stride!r}: expected 8 or 16")
        self.stride, self.inputs = stride, inputs
        features = _features(weights)
        layers = (nn.Sequential(*features[start:stop]) for start, stop in LAYERS.values())
        self.stem, self.layer1, self.layer2, self.layer3, layer4 = layers
        self.layer4 = layer4 if high_level else None
        if stride == 8:
            # The zeros stand at the bottom and right; after a ReLU they are never the largest.
            self.layer3[-1] = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1))
            for module in self.layer4 or ():
                if isinstance(module, nn.Conv2d):
                    module.dilation = module.padding = (2, 2)
        self.freeze()

    def mid(self, images: Tensor) -> Tensor:
        second = self.layer2(self.layer1(self.stem(self.normalise(images))))
        third = self.layer3(second)
        if second.shape[-2:] != third.shape[-2:]:
            second = F.interpolate(second, third.shape[-2:], mode="bilinear", align_corners=True)
        return torch.cat([second, third], dim=1)

    def names_in_file(self, ours: str) -> Sequence[str]:
        """List torchvision's name, and the released models', whose stem is a layer0."""
        part, place, *rest = ours.split(".")
        theirs = f"features.{LAYERS[part][0] + int(place)}"
        layer = part.replace("stem", "layer0")
        return ".".join([theirs, *rest]), ".".join([layer, place, *rest])

    def left_out(self) -> Sequence[str]:
        fifth = ("layer4.", *(f"features.{place}." for place in range(*LAYERS["layer4"])))
        return (*super().left_out(), *(fifth if self.layer4 is None else ()))

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.layer4 is None:
            raise ValueError("this VGG was built without its fifth block: pass high_level=True")
        return self.layer4(under_mask(mid[:, -512:], mask))


def _features(weights: str | None) -> nn.Sequential:
    """Make VGG's convolutions alone: nobody reads the hundred million weights behind them."""
    from torchvision.models.vgg import cfgs, make_layers  # here, for it is slow to import

    features = make_layers(cfgs["D"], batch_norm=True)
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    if weights is not None:
        state, head = torchvision_state("vgg16_bn", weights), "features."
        kept = {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
        features.load_state_dict(kept)
    return features
