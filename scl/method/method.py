"""What a method is to the other rooms: SCL, or another in one file of its own.

Whoever evaluates, predicts or trains knows this class alone. To add a method, derive from it,
write `condition` and `segment`, and hand it to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from scl.method.checks import check_support, group_supports
from scl.method.records import Backbone, Fusion, Images, Maps, Masks, Segmentation, Support


class Method(nn.Module, ABC):
    """What the other rooms know of a method, SCL or one in a file of its own.

    backbone: the frozen extractor of its features. A method must `condition` and `segment`; one
    that learns also has `losses` and says what is `trainable`.
    """

    backbone: Backbone

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None, high: bool = True) -> Maps:
        """Compute frozen features of [N, 3, H, W] images; with [N, H, W] masks, of supports.

        high: compute the high-level maps of the whole image, if any are read.
        """
        return Maps(self.backbone.mid(images))

    @abstractmethod
    def condition(self, images: Images, masks: Masks) -> Support:
        """Read a support set once.

        images: [B, K, 3, H, W], or their maps, or K tensors [3, H, W] or [B, 3, H, W] that may
        differ in size; masks: [B, K, H, W] or K tensors alike, with 0, 1, 255. Values of images:
        0..1, or as backbone.inputs says.
        """

    @abstractmethod
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, ...] | None = None,
    ) -> Segmentation:
        """Segment B queries under one support set for all of them, or under one for each.

        query: [B, 3, H, W], values as for condition, or maps. fusion: "cross" (Eq. 17), "average"
        (of the predictions) or "vectors" (average of the guiding vectors, one prediction).
        size: H x W of the result; the image's own if not given, the feature map's for maps.
        """

    def losses(
        self, support: Maps, support_masks: Tensor, query: Maps, query_masks: Tensor
    ) -> dict[str, Tensor]:
        """Compare B one-shot episodes with the truth: scalars by name, "total" among them.

        support, query: maps with leading dimension [B]; the masks: [B, H, W].
        """
        raise NotImplementedError(f"{type(self).__name__} does not learn")

    def trainable(self) -> nn.Module:
        """Return the part that learns; no other weights change in training."""
        raise NotImplementedError(f"{type(self).__name__} does not learn")

    def moving_statistics(self) -> dict[str, Tensor]:
        """Name the stored statistics of the backbone that training changes."""
        return {}

    def settings(self) -> dict[str, Any]:
        """List what decides the results beside layers and weights, as plain values."""
        return {}

    def read_supports(
        self, images: Images, masks: Masks, high: bool = False
    ) -> list[tuple[Maps, Tensor]]:
        """Check and encode what `condition` is given: maps [B, k, ...] and masks [B, k, H, W].

        Returns the supports of one size together, or each alone. high: encode them as queries,
        too, if there are several.
        """
        groups = group_supports(images, masks)
        for some, mask in groups:
            check_support(some, mask, self.backbone, self.dtype)
        several, read = sum(mask.shape[1] for _, mask in groups) > 1, []
        for some, mask in groups:
            if isinstance(some, Tensor):
                flat = self.encode(some.flatten(0, 1), mask.flatten(0, 1), high and several)
                some = flat.shaped(mask.shape[:2])
            read.append((some, mask))
        return read

    @property
    def dtype(self) -> torch.dtype:
        """Tell the precision of its weights."""
        return next(self.parameters(), torch.empty(0)).dtype
