"""PFENet's head: features enriched at several scales, under a prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.device import full_precision
from scl.method.contracts import Features, Head, Role, Shared, built
from scl.method.layers import Conv, Gather, Merge, resized
from scl.method.records import Maps, Prediction, SupportGroup
from scl.method.words import expect


class Classifier(nn.Sequential):
    """PFENet's classifier: 3 x 3, ReLU, dropout of whole channels, 1 x 1 to two score maps."""

    def __init__(self, d: int, norm: bool, dropout: float = 0.0):
        super().__init__(Conv(d, d, 3, norm=norm, bias=False), nn.Conv2d(d, 2, 1))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return self[1](F.dropout2d(self[0](x), self.dropout, self.training))


class PFENetHead(Head):
    """PFENet's feature enrichment at several scales, with SCL's multi-scale support FPM.

    Source: Tian et al., TPAMI 2020; Section 5.1 of the paper.

    scales: cells of each scale (whole numbers) or multiples of the map's size (floats; rounded
    up). The query's merges also receive the prior; the support's do not. All else is shared.
    in_channels, n, d, norm, dropout, support_fpm: as for CANetHead. inner: give every scale its
    own classifier, for the auxiliary losses; without those they would never learn.
    classifier_dropout: within the classifiers (0.1 in PFENet).
    """

    hint_channels, needs_high = 1, True  # the prior

    def __init__(
        self,
        in_channels: int,
        n: int = 2,
        d: int = 32,
        scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125),
        norm: bool = True,
        dropout: float = 0.0,
        inner: bool = True,
        support_fpm: bool = True,
        classifier_dropout: float = 0.0,
    ):
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales={scales!r}: expected one or more numbers above 0")
        self.dropout = nn.Dropout2d(dropout)
        self.n, self.scales = n, tuple(scales)
        several = range(len(self.scales))
        two = [Conv(d, d, 3, norm=norm, bias=False) for _ in range(2)]
        self.reducers = nn.ModuleDict(
            {role: Conv(in_channels, d, norm=norm, bias=False) for role in ("support", "query")}
        )
        self.query_merge = nn.ModuleList(
            Merge(d, n, d, maps=1, norm=norm, bias=False) for _ in several
        )
        self.support_merge = nn.ModuleList(
            Merge(d, n, d, norm=norm, bias=False) for _ in several if support_fpm
        )
        self.alpha = nn.ModuleList(Conv(2 * d, d, norm=norm, bias=False) for _ in several[1:])
        self.beta = nn.ModuleList(
            nn.Sequential(*(Conv(d, d, 3, norm=norm, bias=False) for _ in range(2)))
            for _ in several
        )
        self.inner = nn.ModuleList(
            Classifier(d, norm, classifier_dropout) for _ in several if inner
        )
        self.gather = Gather(len(self.scales) * d, d, norm=norm, bias=False)
        self.refine = nn.Sequential(*two)
        self.classify = Classifier(d, norm, classifier_dropout)

    def reduce(self, mid: Tensor, role: Role) -> Tensor:
        return self.dropout(self.reducers[role](mid))

    def share(self, features: Tensor, role: Role) -> Shared:
        sizes = self._sizes(features.shape[-2:])
        scales = (F.adaptive_avg_pool2d(features, size) for size in sizes)
        merges = zip(self._merges(role), scales, strict=True)
        return features, *(expect(Merge, merge).share(x) for merge, x in merges)

    def _merges(self, role: Role) -> nn.ModuleList:
        return built(self.support_merge) if role == "support" else self.query_merge

    def support(
        self, features: Features, vectors: Tensor, pyramid: tuple[Tensor, ...] = ()
    ) -> Prediction:
        return self._decode(features, vectors, "support", None, pyramid)

    def query(self, features: Features, vectors: Tensor, hint: Tensor) -> Prediction:
        return self._decode(features, vectors, "query", hint, ())

    def hints(self, query: Maps, group: SupportGroup) -> Tensor:
        """Make the prior of each pair of a query and a support, which may differ in size."""
        if query.high is None or group.maps.masked is None:
            raise ValueError(
                "maps without the high-level maps that PFENet's prior compares: make those of "
                "queries by encode(images), those of supports by encode(images, masks)"
            )
        (b, i), k = query.mid.shape[:2], group.mask.shape[1]
        # One set of supports serves all queries, or each has its own.
        masked, mask = (x.expand(b, *x.shape[1:]) for x in (group.maps.masked, group.mask))
        pairs = [
            (cells.flatten(1), known.flatten(1), covered.flatten())
            for queries, *supports in zip(query.high, masked, mask, strict=True)
            for known, covered in zip(*supports, strict=True)
            for cells in queries
        ]
        return _priors(pairs, query.high.device).reshape(b, k, i, 1, *query.high.shape[3:])

    def _sizes(self, size: tuple[int, ...]) -> list[tuple[int, int]]:
        """Count the cells of each scale for a map of this size."""

        def cells(scale: float, side: int) -> int:
            whole = isinstance(scale, Integral)
            return int(scale) if whole else max(1, math.ceil(scale * side))

        h, w = size
        return [(cells(scale, h), cells(scale, w)) for scale in self.scales]

    def _decode(
        self,
        features: Features,
        vectors: Tensor,
        role: Role,
        prior: Tensor | None,
        above: tuple[Tensor, ...],
    ) -> Prediction:
        """Enrich the features from fine to coarse, each scale by the one before it.

        above: another pass's pyramid to be read instead of this one's own (released code).
        """
        shared = self.share(features, role) if isinstance(features, Tensor) else features
        merges, full, small = self._merges(role), shared[0].shape[-2:], list[Tensor]()
        own, inner = list[Tensor](), list[Tensor]()
        for index, size in enumerate(self._sizes(full)):
            maps = () if prior is None else (resized(prior, size).to(shared[0].dtype),)
            x = merges[index](shared[1 + index], vectors, *maps)
            if index > 0:
                before = (above or own)[index - 1]
                x = x + self.alpha[index - 1](torch.cat([x, resized(before, size)], dim=1))
            x = x + self.beta[index](x)
            if self.training and self.inner:
                inner.append(self.inner[index](x))
            small.append(x)
            own.append(resized(x, full))
        x = self.gather(small, full)
        x = x + self.refine(x)
        return Prediction(self.classify(x), tuple(own), tuple(inner))


def _nearest_cosine(cells: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """Find the largest cosine of each cell, [C, m], to the others, [C, n], under a mask [n]: [m].

    The cosines lie close together and are stretched to 0..1 afterwards, so sums are kept in single
    precision. A GPU multiplies bfloat16 exactly on the way there; so the mask is a factor of its
    own, outside of the product.
    """
    single = torch.promote_types(cells.dtype, torch.float32)
    if cells.is_cuda and cells.dtype == others.dtype != single:
        products = torch.mm(cells.T, others, out_dtype=single)
    else:
        products = cells.T.to(single) @ others.to(single)
    of_cells, of_others = (x.norm(dim=0, dtype=single) for x in (cells, others))
    lengths = of_cells[:, None] * (of_others * mask)
    return products.mul_(mask).div_(lengths.add_(1e-7)).amax(dim=1)


def _under_mask(cells: Tensor, others: Tensor, mask: Tensor) -> Tensor:
    """Do the same, comparing with no cell outside of the mask, whose product with it is 0."""
    seen = mask > 0
    if not seen.any():
        return cells.new_zeros(cells.shape[1])
    best = _nearest_cosine(cells, others[:, seen], mask[seen])
    return best if seen.all() else best.clamp(min=0)


def prior_mask(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """PFENet's prior (Tian et al., TPAMI 2020): the cosine to the nearest support cell.

    query: [N, C, h, w] high-level features; support: [N, C, h', w'], computed from the masked
    image; mask: [N, h', w']. Returns [N, 1, h, w], scaled to 0..1 image by image.
    """
    images = zip(query.flatten(2), support.flatten(2), mask.flatten(1), strict=True)
    return _priors([*images], query.device).reshape(len(query), 1, *query.shape[2:])


def _priors(pairs: Sequence[tuple[Tensor, Tensor, Tensor]], device: torch.device) -> Tensor:
    """Compare cells [C, m] with others [C, n] under a mask [n], pair by pair: [N, m] in 0..1.

    All their cosines at once, [N, m, n], would fill a memory.
    """
    # To know how many cells a mask has, a program must wait for a GPU; and "meta" has no values.
    nearest = _under_mask if device.type == "cpu" else _nearest_cosine
    with full_precision(device):
        best = torch.stack([nearest(*pair) for pair in pairs])
    low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
    return (best - low) / (high - low + 1e-7)
