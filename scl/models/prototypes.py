"""Rules without training on similarity maps: how far averages alone carry.

All compare the centred unit stages of a query (similarity.py) with a few vectors of the supports,
and call a cell object where the score is above a threshold that base classes chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.method.contracts import Method
from scl.method.losses import resize_logits
from scl.method.records import Fusion, Images, Maps, Masks, Segmentation, Support
from scl.method.similarity import (
    BACKGROUND,
    Staged,
    centred,
    in_picture,
    sure_regions,
    two_clusters,
    two_sided,
    unit_stages,
)
from scl.method.vectors import masked_gap, shrink_mask

Rule = Literal["cosine", "two-sided", "self-support", "k-means", "em"]
RULES: tuple[Rule, ...] = get_args(Rule)
DEEP = slice(3, 5)  # the stages that are compared: 112 and 192 channels of EfficientNet-Lite0


class Prototypes(Method):
    """Segment by the nearest of a few averages.

    rule: "cosine" (to v_s), "two-sided" (to v_s less to the background's average, as PANet; Wang et
    al., ICCV 2019), "self-support" (that, and once more with averages of what it was sure of in the
    query; SSP, Fan et al., ECCV 2022), "k-means" (nearer of two clusters of the object's cells, as
    PPNet; Liu et al., ECCV 2020, less the background's average), "em" (that with soft clusters, as
    RPMMs; Yang et al., ECCV 2020). threshold: a cell with a higher score is object.
    """

    def __init__(self, backbone: Staged, rule: Rule, threshold: float = 0.0, sharpness: float = 10):
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"rule={rule!r}: expected one of {RULES}")
        self.backbone, self.rule = backbone, rule
        self.threshold, self.sharpness = threshold, sharpness
        self.widths = tuple(backbone.widths)

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None, high: bool = True) -> Maps:
        return Maps(unit_stages(centred(self.backbone.mid(images)), self.widths))

    def deep(self, cells: Tensor) -> Tensor:
        """Take the compared stages of unit stages [N, C, h, w], of unit length together."""
        return F.normalize(torch.cat(cells.split(self.widths, 1)[DEEP], dim=1), dim=1)

    @torch.no_grad()
    def condition(self, images: Images, masks: Masks) -> Support:
        """Read a support set: vectors [B, K, n, c], the object's and then the background's."""
        vectors = []
        for maps, some in self.read_supports(images, masks):
            for mid, truth in zip(maps.mid.unbind(dim=1), some.unbind(dim=1), strict=True):
                cells, there = self.deep(mid), in_picture(mid)
                cover = shrink_mask(truth, cells.shape[-2:])
                rest = (cover < BACKGROUND).to(cells.dtype) * there.squeeze(1)
                vectors.append(torch.stack([*self.parts(cells, cover), masked_gap(cells, rest)], 1))
        return Support.unscored(torch.stack(vectors, dim=1))

    def parts(self, cells: Tensor, cover: Tensor) -> Sequence[Tensor]:
        """Average an object's cells, or two clusters of them: [N, c] each."""
        if self.rule == "k-means":
            return [masked_gap(cells, part) for part in two_clusters(cells, cover)]
        if self.rule != "em":
            return [masked_gap(cells, cover)]
        centres = [masked_gap(cells, part) for part in two_clusters(cells, cover)]
        for _ in range(5):
            likeness = torch.stack([self._cosine(cells, centre) for centre in centres], dim=1)
            belongs = (20 * likeness).softmax(dim=1).unbind(dim=1)
            centres = [masked_gap(cells, cover * share) for share in belongs]
        return centres

    def _cosine(self, cells: Tensor, vector: Tensor) -> Tensor:
        """Compare cells [N, c, h, w] of unit length with vectors [N, c]: [N, h, w]."""
        return (F.normalize(vector, dim=1).unsqueeze(1) @ cells.flatten(2)).view(
            len(cells), *cells.shape[-2:]
        )

    def score(self, cells: Tensor, vectors: Sequence[Tensor]) -> Tensor:
        """Score cells [N, c, h, w] under vectors [N, c], the background's last: [N, h, w]."""
        *objects, rest = [self._cosine(cells, vector) for vector in vectors]
        best = torch.stack(objects).amax(dim=0)
        return best if self.rule == "cosine" else best - rest

    @torch.no_grad()
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, ...] | None = None,
    ) -> Segmentation:
        """Segment B queries by the average of the supports' vectors, whatever the fusion."""
        maps, size = self.read_query(query, size)
        cells, there = self.deep(maps.mid), in_picture(maps.mid).squeeze(1)
        scores, mutual, vectors = support.for_queries(len(cells))
        some = list(vectors.mean(dim=1).unbind(dim=1))
        score = self.score(cells, some)
        if self.rule == "self-support":
            chance = (self.sharpness * (score - self.threshold)).sigmoid()
            sure = [masked_gap(cells, region) for region in sure_regions(chance, there)]
            mixed = [
                F.normalize(a, dim=1) + F.normalize(b, dim=1)
                for a, b in zip(some, sure, strict=True)
            ]
            score = self.score(cells, mixed)
        above = two_sided(self.sharpness * (score - self.threshold))
        logits = resize_logits(above.unsqueeze(1), size, "centres")
        return Segmentation(scores, mutual, logits, logits[:, 0])
