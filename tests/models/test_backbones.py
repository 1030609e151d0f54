"""Our EfficientNet-Lite0 blocks against the package the weights were made for."""

import pytest
import torch
from torch.nn import functional as F

from scl.models.backbones import EfficientNetLite0, SameConv, build_backbone, lite0_weights


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
@torch.no_grad()
def test_undilated_blocks_equal_the_reference_package(size):
    reference_package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = reference_package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(lite0_weights())
    # Its own "static" padding is fixed at 224 pixels; at other sizes each convolution is padded
    # by the same rule, computed for the map it meets.
    for module in reference.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.static_padding = torch.nn.Identity()
            module.forward = SameConv.forward.__get__(_as_same(module))
    reference.eval()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    x = F.relu6(reference._bn0(reference._conv_stem((images * 255 - 127) / 128)))
    outputs = []
    for block in reference._blocks:
        x = block(x)
        outputs.append(x)
    net = EfficientNetLite0(stride=32)
    mid = net.mid(images)
    last = outputs[10]
    assert torch.allclose(mid[:, -112:], last, atol=1e-3 * last.abs().max())
    assert torch.allclose(net.high(mid), outputs[15], atol=1e-3 * outputs[15].abs().max())


def _as_same(conv):
    """The same weights in our convolution."""
    same = SameConv(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    same.weight, same.bias = conv.weight, conv.bias
    return same


@pytest.mark.parametrize("size", [224])
@torch.no_grad()
def test_the_reference_package_untouched_agrees_at_its_own_size(size):
    reference_package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = reference_package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(lite0_weights())
    reference.eval()
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    features = reference.extract_features((images * 255 - 127) / 128)
    net = EfficientNetLite0(stride=32)
    high = net.high(net.mid(images))
    ours = F.relu6(reference._bn1(reference._conv_head(high)))
    assert torch.allclose(ours, features, atol=1e-3)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@torch.no_grad()
def test_strides_and_odd_sizes(stride, size):
    net = EfficientNetLite0(stride, pretrained=False)
    mid = net.mid(torch.rand(2, 3, *size))
    # Two strides lie beyond the mid-level maps' stages, so 32 is first reached by the high ones.
    cells = tuple(-(-side // min(stride, 16)) for side in size)
    assert mid.shape == (2, net.mid_channels, *cells)
    high = net.high(mid, torch.ones(2, *cells))
    assert high.shape == (2, 320, *(-(-side // stride) for side in size))
    assert torch.equal(high, net.high(mid))


def test_the_backbone_is_frozen_and_never_leaves_evaluation():
    net = EfficientNetLite0(pretrained=False).train()
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match="stride=4"):
        EfficientNetLite0(stride=4)


@torch.no_grad()
def test_dilation_moves_no_cell():
    """At stride 8 a cell of the map looks at the same pixels as at stride 32, only more densely."""
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    dense, sparse = EfficientNetLite0(8).mid(images), EfficientNetLite0(32).mid(images)
    a, b = dense[:, -112:, ::2, ::2], sparse[:, -112:]
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    alike = F.cosine_similarity(a[inner], b[inner], dim=1).mean()
    assert alike > 0.3


@pytest.mark.parametrize("form", ["torchvision", "pfenet"])
@pytest.mark.parametrize("where", [(2, 4, 3, 6), (0, 1, 0, 1), (9, 13, 20, 26), (0, 13, 0, 26)])
@torch.no_grad()
def test_the_last_layer_is_exact_under_the_mask(form, where):
    """Rows and columns of a mask, in a map larger than the layer reaches."""
    net = build_backbone("resnet50" if form == "torchvision" else "resnet50_pfenet")
    top, bottom, left, right = where
    mid, mask = torch.randn(2, net.mid_channels, 13, 26), torch.zeros(2, 13, 26)
    mask[0, top:bottom, left:right] = 0.3
    ours = net.high(mid, mask)
    whole = net.layer4(mid[:, -1024:] * mask[:, None])
    inside = (mask > 0)[:, None].expand_as(whole)
    torch.testing.assert_close(ours[inside], whole[inside])
    assert not ours[1].any(), "under an empty mask there is nothing to compute"
