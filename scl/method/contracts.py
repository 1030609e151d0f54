"""What stands behind each name: a backbone, a head, and a method as the other rooms know it.

What evaluates, predicts or takes a training step knows `Method` alone; recipes, checkpoints and the
command line open SCL. To add a method that is not SCL, derive from `Method`, write `condition` and
`segment`, and hand it to them (docs/contributing.md shows one); to add a head, derive from `Head`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from scl.method.checks import check_query, check_support, group_supports
from scl.method.records import (
    Fusion,
    Images,
    Inputs,
    Maps,
    Masks,
    Prediction,
    Segmentation,
    Support,
    SupportGroup,
)

Role = Literal["support", "query"]
# What a head's first layers make of features alone, which serves under any vectors: leading
# dimension [N]. Where features are asked for, it may stand for them.
Shared: TypeAlias = tuple[Tensor, ...]
Features: TypeAlias = "Tensor | Shared"
FPM = TypeVar("FPM", nn.Sequential, nn.ModuleList)


# Numbers that a processor works on at a time: maps of about four megabytes stay in its cache.
CHUNK = 2**20
PIXELS = 2**18  # of the images that are encoded at a time, if several are


def in_chunks(work: Callable[[Features, slice], Tensor], features: Features, count: int) -> Tensor:
    """Do work on the features of `count` images a few at a time, and join the results.

    work: takes some of the features, and which these are. A GPU takes all at once.
    """
    maps = (features,) if isinstance(features, Tensor) else features
    few = count if maps[0].is_cuda else max(1, CHUNK // maps[0][0].numel())
    results = []
    for start in range(0, count, few):
        some = slice(start, start + few)
        part = tuple(x[some] for x in maps)
        results.append(work(part[0] if isinstance(features, Tensor) else part, some))
    return torch.cat(results)


class Backbone(Protocol):
    """What a method needs of a feature extractor, which is a torch module.

    mid_channels: of the mid-level maps; stride: pixels a cell; inputs: "unit" (images in 0..1) or
    "normalised" (mean and deviation of ImageNet already taken out, as the released code feeds).
    """

    stride: int
    inputs: Inputs

    @property
    def mid_channels(self) -> int: ...

    def mid(self, images: Tensor) -> Tensor:
        """Compute mid-level maps [N, mid_channels, h, w] of images [N, 3, H, W]."""

    def high(self, mid: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute high-level maps [N, c, h, w] of mid-level maps, under a mask [N, h, w]."""

    # What every torch module has.
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...


class Head(nn.Module, ABC):
    """What SCL needs of a head; what is written here suits a head without a hint.

    n: number of guiding vectors; hint_channels: of what the query's FPM sees beside them;
    needs_high: hints are made of high-level maps (PFENet); refines: a query's prediction can be
    the hint of another pass (CANet).
    """

    n: int
    hint_channels = 0
    needs_high = False
    refines = False

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        """Bring mid-level maps [N, c, h, w] to features [N, d, h, w]."""
        return mid

    def share(self, features: Tensor, role: Role) -> Features:
        """Do once what prediction does with features [N, d, h, w] under whatever vectors."""
        return features

    @abstractmethod
    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        """Predict D(FPM_s(.)) of Eq. 3 and 9: features [N, d, h, w] under vectors [N, n, d]."""

    def query(self, features: Features, vectors: Tensor, hint: Tensor) -> Prediction:
        """Predict D(FPM_q(.)) of Eq. 12, with a hint [N, c, h, w]."""
        return self.support(features, vectors)

    def hints(self, query: Maps, group: SupportGroup) -> Tensor:
        """Make the first hint of I queries [B, I, ...] under k supports: [B, k, I, c, h, w].

        Here nothing is known yet: zeros.
        """
        (b, i), k = query.mid.shape[:2], group.mask.shape[1]
        return query.mid.new_zeros(b, k, i, self.hint_channels, *query.mid.shape[-2:])


def built(support_fpm: FPM | None) -> FPM:
    """Return the support's FPM, or say that there is none."""
    if not support_fpm:
        raise ValueError(
            "this head was built without the support's FPM: pass support_fpm=True, or let the "
            "mutual predictions of K supports come from the whole model (rule mutual='model')"
        )
    return support_fpm


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
        raise NotImplementedError(f"{type(self).__name__} does not learn: use it as it is")

    def trainable(self) -> nn.Module:
        """Return the part that learns; no other weights change in training."""
        raise NotImplementedError(f"{type(self).__name__} does not learn: use it as it is")

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
                # One by one where they are large: what a backbone holds meanwhile fills a memory.
                few = (
                    len(some) * some.shape[1]
                    if some.is_cuda
                    else max(1, PIXELS // mask[0, 0].numel())
                )
                pairs = zip(
                    some.flatten(0, 1).split(few), mask.flatten(0, 1).split(few), strict=True
                )
                parts = [self.encode(*pair, high and several) for pair in pairs]
                some = Maps.joined(parts).shaped(mask.shape[:2])
            read.append((some, mask))
        return read

    def read_query(
        self, query: Tensor | Maps, size: tuple[int, ...] | None
    ) -> tuple[Maps, tuple[int, ...]]:
        """Check and encode what `segment` is given: maps [B, ...], and H x W of the result."""
        if isinstance(query, Maps):
            return query, size or query.mid.shape[-2:]
        check_query(query, self.backbone, self.dtype)
        return self.encode(query), size or query.shape[-2:]

    @property
    def dtype(self) -> torch.dtype:
        """Tell the precision of its weights."""
        return next(self.parameters(), torch.empty(0)).dtype
