"""SCL on similarity maps: a head that is told how like a cell is, not what it looks like.

A head on concatenated features (heads.py) learns what the base classes look like. This one sees
cosines: to v_s and to the background's average, to v_pri and v_aux, and to the nearest single
cells. What it learns about cosines holds for things that it has never met. With `features` it sees
some of the features as well.

Three heads look one after the other. The first knows v_s alone; it predicts the support itself, so
that its foreground splits into found and lost (Eq. 3-6). The second also sees v_pri and v_aux
(Eq. 11-12). The third also sees how like each cell is to what the second was sure of in the query
(self-support; Fan et al., ECCV 2022).

N images, B episodes, K shots, S stages of the backbone, C channels of all stages together, n
vectors, h x w cells, M cells of all supports together. A cell whose features are all zero is none:
it lies outside of its picture, in a batch of pictures of several shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.contracts import Backbone, Method
from scl.method.fusion import confidence, pair_iou
from scl.method.losses import likelier, resize_logits
from scl.method.presence import OF_LOGITS, PresenceHead, found_of, logit_signals, stage_cosines
from scl.method.records import Fusion, Images, Maps, Masks, Segmentation, Support
from scl.method.vectors import IGNORE, split_regions

Split = Literal["none", "found-lost", "inside-edge", "k-means"]

SHARPNESS = 10.0  # of the softmax over single cells, as one over its temperature
BACKGROUND = 0.1  # a cell that is covered less is background
FEATURES = (1, 3)  # the stages that are reduced: 40 and 112 channels of EfficientNet-Lite0
MOST = 20  # supports of more cells a side are averaged 2 x 2 before single cells are compared


class Staged(Backbone, Protocol):
    """A backbone whose maps are several stages side by side."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Tell the channels of each stage."""


@dataclass(frozen=True)
class SimilarityConfig:
    """What the heads see, and how large they are.

    split: what makes two more vectors: nothing, what was found and lost of the support (Eq. 5-6),
    or a control: its inside and its edge, or two clusters of its cells. self_guide: have the first
    head, whose map of the query the second sees ("found-lost" needs it). features: how many
    channels of reduced features join the maps. width: channels inside of the second and third head.
    dropout: of whole channels of the features. refine: have the third head. presence: have learned
    whether the object is there (presence.py); older records have not.
    """

    split: Split = "found-lost"
    self_guide: bool = True
    features: int = 24
    width: int = 24
    dropout: float = 0.3
    refine: bool = True
    presence: bool = False

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split={self.split!r}: expected one of {get_args(Split)}")
        if self.split == "found-lost" and not self.self_guide:
            raise ValueError("split='found-lost' without self_guide: nothing would be found")


# ------------------------------------------------------------------------ maps


def unit_stages(features: Tensor, widths: Sequence[int]) -> Tensor:
    """Give each stage's part of a cell length 1, so that products are cosines: [N, C, ...]."""
    return torch.cat([F.normalize(part, dim=1) for part in features.split(tuple(widths), 1)], 1)


def centred(features: Tensor) -> Tensor:
    """Take each image's mean out of its features [N, C, h, w].

    What all cells of a picture share does not tell the object from the rest.
    """
    return features - features.mean(dim=(2, 3), keepdim=True)


def in_picture(cells: Tensor) -> Tensor:
    """Tell which cells there are: [N, C, h, w] to [N, 1, h, w] of 0 and 1."""
    return (cells[:, :8] != 0).any(dim=1, keepdim=True).to(cells.dtype)


def averages(cells: Tensor, regions: Sequence[Tensor]) -> Tensor:
    """Eq. 1 for n regions at once: cells [N, C, h, w] and [N, h, w] each give [N, n, C].

    The average of an empty region is zero, as in masked_gap.
    """
    weights = torch.stack([*regions], dim=1).flatten(2)  # [N, n, h w]
    area = weights.sum(dim=2, keepdim=True)
    return weights @ cells.flatten(2).transpose(1, 2) / torch.where(area > 0, area, 1.0)


def vector_maps(cells: Tensor, vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """Compare every cell with n vectors by cosine, stage by stage.

    cells: [N, C, h, w] of unit stages; vectors: [N, n, C]. Returns [N, n S, h, w].
    """
    widths = tuple(widths)
    parts = zip(cells.flatten(2).split(widths, 1), vectors.split(widths, 2), strict=True)
    cosines = [F.normalize(some, dim=2) @ part for part, some in parts]  # [N, n, h w] each
    return torch.stack(cosines, dim=2).flatten(1, 2).unflatten(2, cells.shape[-2:])


class Cells(NamedTuple):
    """The single cells of N supports (or of N sets of them).

    cells: [N, M, C] of unit stages; covered: [N, M], the share of each that is object, and -1 where
    there is no cell; trust: [N, M], how far a cell's support is trusted, 0..1.
    """

    cells: Tensor
    covered: Tensor
    trust: Tensor


def single_cells(cells: Tensor, covered: Tensor, widths: Sequence[int]) -> Cells:
    """Lay the cells of supports [N, C, h, w] in a row; covered: [N, h, w] in 0..1."""
    if max(cells.shape[-2:]) > MOST:
        cells = unit_stages(F.avg_pool2d(cells, 2, ceil_mode=True), widths)
        covered = F.avg_pool2d(covered.unsqueeze(1), 2, ceil_mode=True).squeeze(1)
    marks = torch.where(in_picture(cells).squeeze(1) > 0, covered, -1.0).flatten(1)
    return Cells(cells.flatten(2).transpose(1, 2), marks, torch.ones_like(marks))


def cell_maps(cells: Tensor, known: Cells, widths: Sequence[int]) -> Tensor:
    """Compare every cell of N queries with every single cell of their supports.

    cells: [N, C, h, w] of unit stages. Returns [N, 3 S, h, w], for each stage: the highest cosine
    to an object's cell; to a background's; and the object's share among the nearest cells, which is
    a softmax over all of them (cosine x 10) times how much each is covered.
    """
    covered, widths = known.covered, tuple(widths)
    fullest = covered.amax(dim=1, keepdim=True).clamp(0.02, 0.5)  # a thin object fills no cell
    objects = covered >= fullest
    rest = (covered >= 0) & (covered < BACKGROUND)
    # Added to cosines: far below all of them where a cell does not count.
    groups = objects, rest, covered >= 0
    far = [torch.where(on, known.trust - 1, -4.0).unsqueeze(1) for on in groups]
    share = covered.clamp(min=0).unsqueeze(2)
    maps = []
    parts = zip(cells.flatten(2).split(widths, 1), known.cells.split(widths, 2), strict=True)
    for part, own in parts:
        cosines = part.transpose(1, 2) @ own.transpose(1, 2)  # [N, h w, M]
        best = [(cosines + away).amax(dim=2) for away in far[:2]]
        near = (SHARPNESS * (cosines + far[2])).softmax(dim=2) @ share
        maps += [*best, near.squeeze(2)]
    return torch.stack(maps, dim=1).unflatten(2, cells.shape[-2:])


def sure_regions(probability: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Weigh the cells of a query that a prediction is sure of: object and background, [N, h, w].

    probability: [N, h, w] in 0..1; there: [N, h, w]. Sure is above 0.7, or in the highest fifth of
    what occurs; and the same at the other end.
    """
    p = torch.where(there > 0, probability, 0.0)
    high = p.amax(dim=(1, 2), keepdim=True)
    low = torch.where(there > 0, probability, 1.0).amin(dim=(1, 2), keepdim=True)
    upper = (low + 0.8 * (high - low)).clamp(max=0.7)
    lower = (low + 0.2 * (high - low)).clamp(min=0.3)
    return p * (p > upper), (1 - p) * (p < lower) * there


# -------------------------------------------------------------- other splits


def inside_and_edge(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Split an object by place: cells with object all around, and the others, [N, h, w] each."""
    solid = F.pad((mask > 0.5).to(mask.dtype).unsqueeze(1), (1, 1, 1, 1))
    inside = mask * -F.max_pool2d(-solid, 3, 1).squeeze(1)
    return inside, mask - inside


def two_clusters(cells: Tensor, mask: Tensor, rounds: int = 5) -> tuple[Tensor, Tensor]:
    """Split an object's cells into two clusters by cosine, the larger first: [N, h, w] each.

    cells: [N, C, h, w]; mask: [N, h, w] in 0..1. It starts from the average and the cell that is
    least like it.
    """
    flat, weight = cells.flatten(2), mask.flatten(1)
    mean = averages(cells, (mask,))[:, 0]
    likeness = (mean.unsqueeze(1) @ flat).squeeze(1)
    odd = likeness.masked_fill(weight <= 0, torch.inf).argmin(dim=1)
    centres = [mean, flat[torch.arange(len(flat), device=flat.device), :, odd]]
    for _ in range(rounds):
        one, other = (F.normalize(torch.stack(centres, 1), dim=2) @ flat).unbind(dim=1)
        parts = split_regions(mask, (one >= other).unflatten(1, mask.shape[-2:]))
        centres = [*averages(cells, parts).unbind(dim=1)]
    first, second = parts
    swap = (second.sum(dim=(1, 2)) > first.sum(dim=(1, 2)))[:, None, None]
    return torch.where(swap, second, first), torch.where(swap, first, second)


# ----------------------------------------------------------------------- heads


class Block(nn.Module):
    """Add to maps what two 3 x 3 convolutions of one dilation make of them."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.rings = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Change maps [N, width, h, w]; outside of a picture they stay zero, as beyond its rim."""
        inner = F.relu(self.norms[0](self.rings[0](x))) * there
        return F.relu(x + self.norms[1](self.rings[1](inner))) * there


class MapHead(nn.Module):
    """Turn c maps into a logit a cell: 1 x 1 to `width`, three dilated blocks, 1 x 1."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.scale = nn.BatchNorm2d(channels, affine=False)
        self.enter = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList(Block(width, dilation) for dilation in (1, 2, 4))
        self.leave = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Tensor, there: Tensor) -> Tensor:
        """Predict [N, h, w] from maps [N, c, h, w]; there: [N, 1, h, w]."""
        # Channels-last makes narrow convolutions on a CPU two to three times quicker.
        x = (self.scale(maps) * there).contiguous(memory_format=torch.channels_last)
        x = self.enter(x) * there
        for block in self.blocks:
            x = block(x, there)
        return self.leave(x).squeeze(1)


class Guide(NamedTuple):
    """What N supports tell: vectors [N, n, C], of the features [N, f], and first logits [N, h, w].

    vectors: v_s, the background's average and, of a split, v_pri and v_aux.
    """

    vectors: Tensor
    reduced: Tensor
    first: Tensor | None


@dataclass(frozen=True)
class SimilaritySupport(Support):
    """A support set as this method keeps it.

    vectors: [B, K, n, C]; known: the single cells of each support, of B sets; reduced: [B, K, f],
    the features' averages; own: [B, K], IOU of each support predicted under itself.
    """

    known: tuple[Cells, ...] = ()
    reduced: Tensor = torch.empty(0)
    own: Tensor = torch.empty(0)


@dataclass(frozen=True)
class SimilaritySegmentation(Segmentation):
    """What `segment` returns, and more of each query [B]: is the object there at all?

    likeness: the mean, 0..1, of two cosines at the deepest stage: the highest of any cell to a
    single cell of the object, and that of the average of what was found to v_s. signals: [B, n],
    what tells more of it (see `signals`); presence: 0..1, what was learned of these, or likeness.
    """

    presence: Tensor = torch.empty(0)
    likeness: Tensor = torch.empty(0)
    signals: Tensor = torch.empty(0)


class SimilaritySCL(Method):
    """A frozen backbone of several stages, and the heads on similarity maps."""

    def __init__(self, backbone: Staged, config: SimilarityConfig = SimilarityConfig()):
        super().__init__()
        self.backbone, self.config, self.widths = backbone, config, tuple(backbone.widths)
        stages, vectors = len(self.widths), 2 if config.split == "none" else 4
        seen = (vectors + 3) * stages + config.self_guide + 2 * config.features
        self.head = nn.ModuleDict({"second": MapHead(seen, config.width)})
        if config.self_guide:
            self.head["first"] = MapHead(2 * stages, 16)
        if config.refine:
            self.head["third"] = MapHead(seen + 1 + 2 * stages, config.width)
        if config.features:
            seen = sum(self.widths[stage] for stage in FEATURES)
            norm, narrow = nn.BatchNorm2d(seen, affine=False), nn.Conv2d(seen, config.features, 1)
            self.head["reduce"] = nn.Sequential(norm, narrow, nn.ReLU())
        self.dropout = nn.Dropout2d(config.dropout)
        if config.presence:
            self.head["presence"] = PresenceHead(3 * stages + OF_LOGITS)

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None, high: bool = True) -> Maps:
        """Compute unit stages [N, C, h, w] of images that fill their frame: [N, 3, H, W]."""
        return Maps(unit_stages(centred(self.backbone.mid(images)), self.widths))

    def reduce(self, cells: Tensor, there: Tensor) -> Tensor:
        """Reduce unit stages [N, C, h, w] to features [N, f, h, w]; f may be 0."""
        if "reduce" not in self.head:
            return cells[:, :0]
        stages = cells.split(self.widths, dim=1)
        return self.head["reduce"](torch.cat([stages[i] for i in FEATURES], dim=1)) * there

    # -------------------------------------------------------------- the support

    def cover(self, cells: Tensor, masks: Tensor) -> Tensor:
        """Shrink masks [N, H, W] to the share of each cell that is object, [N, h, w]."""
        inside = (masks == 1).to(cells.dtype).unsqueeze(1)
        h, w = cells.shape[-2:]
        return F.adaptive_avg_pool2d(inside, (h, w)).squeeze(1)

    def guide(self, cells: Tensor, mask: Tensor) -> Guide:
        """Eq. 1-6 for N supports: unit stages [N, C, h, w] and covered shares [N, h, w]."""
        there = in_picture(cells)
        rest = (mask < BACKGROUND).to(mask.dtype) * there.squeeze(1)
        vectors, first = averages(cells, (mask, rest)), None
        if "first" in self.head:
            first = self.head["first"](vector_maps(cells, vectors, self.widths), there)
        if self.config.split != "none":
            regions = self.regions(cells, mask, first)
            # A part smaller than half a cell tells nothing: v_s stands for it.
            some = torch.stack([r.sum(dim=(1, 2)) >= 0.5 for r in regions], dim=1).unsqueeze(2)
            parts = torch.where(some, averages(cells, regions), vectors[:, :1])
            vectors = torch.cat([vectors, parts], dim=1)
        reduced = averages(self.reduce(cells, there), (mask,))[:, 0]
        return Guide(vectors, reduced, first)

    def regions(self, cells: Tensor, mask: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Split an object in two, as the configuration says: [N, h, w] each."""
        if self.config.split == "inside-edge":
            return inside_and_edge(mask)
        if self.config.split == "k-means" or first is None:
            return two_clusters(cells, mask)
        return split_regions(mask, first > 0)

    # ---------------------------------------------------------------- the query

    def looks(
        self, cells: Tensor, compared: Tensor, guide: Guide, refine: bool = True
    ) -> list[Tensor]:
        """Predict N queries by each head in turn: logits [N, h, w].

        cells: [N, C, h, w]; compared: their cell_maps, [N, 3 S, h, w]; guide: of N supports;
        refine: let the third head look, too, if there is one.
        """
        there, found = in_picture(cells), []
        seen = vector_maps(cells, guide.vectors, self.widths)
        maps = [seen, compared]
        if "first" in self.head:
            found.append(self.head["first"](seen[:, : 2 * len(self.widths)], there))
            maps.append(found[0].detach().unsqueeze(1))
        if self.config.features:
            own = self.reduce(cells, there)
            spread = guide.reduced[:, :, None, None].to(own.dtype) * there
            maps.append(self.dropout(torch.cat([own, spread.expand_as(own)], dim=1)))
        maps = [torch.cat(maps, dim=1)]
        found.append(self.head["second"](maps[0], there))
        if refine and "third" in self.head:
            # A region of cells passes no gradient, as in Eq. 5-6.
            logits = found[-1].detach()
            sure = sure_regions(logits.sigmoid(), there.squeeze(1))
            own = vector_maps(cells, averages(cells, sure), self.widths)
            maps += [logits.unsqueeze(1), own]
            found.append(self.head["third"](torch.cat(maps, dim=1), there))
        return found

    def compare(self, support: Maps, support_masks: Tensor, query: Maps) -> Tensor:
        """Make the cell_maps of N one-shot episodes, which need nothing learned."""
        known = single_cells(support.mid, self.cover(support.mid, support_masks), self.widths)
        return cell_maps(query.mid, known, self.widths)

    def losses(
        self, support: Maps, support_masks: Tensor, query: Maps, query_masks: Tensor
    ) -> dict[str, Tensor]:
        """Compare every head with the truth: "q1", "q2", "q3" on the query, "s1" on the support.

        See Method.losses. query.high: what `compare` makes, if that is known already.
        """
        cells, truth = query.mid, query_masks
        compared = self.compare(support, support_masks, query) if query.high is None else query.high
        guide = self.guide(support.mid, self.cover(support.mid, support_masks))
        found = self.looks(cells, compared, guide)
        names = [n for n in ("first", "second", "third") if n in self.head]
        place = {"first": "q1", "second": "q2", "third": "q3"}
        losses = {place[n]: overlap_loss(z, truth) for n, z in zip(names, found, strict=True)}
        if guide.first is not None:
            losses["s1"] = overlap_loss(guide.first, support_masks)
        return {**losses, "total": torch.stack([*losses.values()]).sum()}

    # --------------------------------------------------------------------- use

    @torch.no_grad()
    def condition(self, images: Images, masks: Masks) -> Support:
        """Read a support set once: Eq. 1-6 for each support, Eq. 15-16 among them.

        See Method.condition. A support is scored by the others alone: in itself it finds every
        single cell again. How well its average alone finds it is `own`.
        """
        cells, truths = list[Tensor](), list[Tensor]()
        guides, known, own = list[Guide](), list[Cells](), list[Tensor]()
        for maps, some in self.read_supports(images, masks):
            for mid, truth in zip(maps.mid.unbind(dim=1), some.unbind(dim=1), strict=True):
                cover = self.cover(mid, truth)
                guides.append(self.guide(mid, cover))
                known.append(single_cells(mid, cover, self.widths))
                own.append(_iou(guides[-1].first, truth))
                cells.append(mid)
                truths.append(truth)
        vectors = torch.stack([g.vectors for g in guides], dim=1)
        reduced = torch.stack([g.reduced for g in guides], dim=1)
        plain = Support.unscored(vectors)
        ious = torch.stack(own, dim=1)
        mutual = plain.mutual.clone()
        for i, (mid, truth) in enumerate(zip(cells, truths, strict=True)):
            for k in range(len(cells)):
                if k != i:
                    compared = cell_maps(mid, known[k], self.widths)
                    logits = self.looks(mid, compared, guides[k], refine=False)
                    mutual[:, k, i] = _iou(logits[-1], truth)
        scores = plain.scores if len(cells) == 1 else confidence(mutual, own_score=False)
        return SimilaritySupport(vectors, mutual, scores, (), tuple(known), reduced, ious)

    @torch.no_grad()
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, ...] | None = None,
    ) -> Segmentation:
        """Segment B queries under one support set for all of them, or under one for each.

        See Method.segment. fusion: "vectors" pools vectors and cells of all supports and looks
        once; "cross" does so, each support counting as much as the others find it right (its score
        over the best one); "average" looks under each support alone and averages the logits.
        """
        assert isinstance(support, SimilaritySupport), "expected what condition returned"
        maps, size = self.read_query(query, size)
        count = len(maps.mid)
        scores, mutual, _ = support.for_queries(count)
        if fusion == "average":
            sets = [(guide, known) for guide, known in self._each(support, count)]
        else:
            sets = [self._pooled(support, count, weighted=fusion == "cross")]
        found, told = list[Tensor](), list[Tensor]()
        for guide, known in sets:
            compared = maps.high if len(support.known) == 1 else None
            if compared is None:
                compared = cell_maps(maps.mid, known, self.widths)
            found.append(self.looks(maps.mid, compared, guide)[-1])
            told.append(self.signals(maps.mid, compared, guide, found[-1]))
        logits = torch.stack([two_sided(z) for z in found], dim=1)  # [B, K or 1, 2, h, w]
        logits = resize_logits(logits, size, "centres")
        signals, stages = torch.stack(told).mean(dim=0), len(self.widths)
        likeness = signals[:, [stages - 1, 3 * stages - 1]].mean(dim=1).clamp(0, 1)
        presence = self.head["presence"](signals) if "presence" in self.head else likeness
        more = presence, likeness, signals
        return SimilaritySegmentation(scores, mutual, logits, logits.mean(dim=1), *more)

    def signals(self, cells: Tensor, compared: Tensor, guide: Guide, logits: Tensor) -> Tensor:
        """Tell by numbers [N, 3 S + 7] how like the object is what was found in N queries.

        For each stage: cosines of the average of what was found to v_s, and to the background's
        average, and the highest of any cell to a cell of the object; then logit_signals.
        """
        there = in_picture(cells).squeeze(1)
        average = averages(cells, (found_of(logits.sigmoid() * there),))[:, 0]
        alike = [stage_cosines(average, guide.vectors[:, i], self.widths) for i in (0, 1)]
        nearest = compared[:, ::3].flatten(2).amax(dim=2)
        return torch.cat([*alike, nearest, logit_signals(logits, there)], dim=1)

    def _each(self, support: SimilaritySupport, count: int) -> list[tuple[Guide, Cells]]:
        """Give what each support alone tells about `count` queries."""
        _, _, vectors = support.for_queries(count)
        reduced = support.reduced.expand(count, *support.reduced.shape[1:])
        sets = []
        for k, cells in enumerate(support.known):
            spread = Cells(*(x.expand(count, *x.shape[1:]) for x in cells))
            sets.append((Guide(vectors[:, k], reduced[:, k], None), spread))
        return sets

    def _pooled(
        self, support: SimilaritySupport, count: int, weighted: bool
    ) -> tuple[Guide, Cells]:
        """Give what all supports together tell about `count` queries."""
        scores, _, _ = support.for_queries(count)
        weights = scores if weighted else torch.ones_like(scores)
        weights = weights / weights.amax(dim=1, keepdim=True).clamp(min=1e-6)
        guides, cells = zip(*self._each(support, count), strict=True)
        share = (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)).unbind(dim=1)
        vectors, reduced = (
            sum(w.reshape(-1, *[1] * (x.dim() - 1)) * x for w, x in zip(share, parts, strict=True))
            for parts in ([g.vectors for g in guides], [g.reduced for g in guides])
        )
        trusted = [
            c._replace(trust=w.unsqueeze(1).expand_as(c.trust))
            for c, w in zip(cells, weights.unbind(dim=1), strict=True)
        ]
        together = Cells(*(torch.cat(parts, dim=1) for parts in zip(*trusted, strict=True)))
        return Guide(vectors, reduced, None), together

    def trainable(self) -> nn.Module:
        """Return the heads: the backbone does not learn."""
        return self.head

    def settings(self) -> dict[str, Any]:
        """List what the heads see."""
        return {"similarity": asdict(self.config)}


def two_sided(logits: Tensor) -> Tensor:
    """Turn a logit of the object [..., h, w] into score maps [..., 2, h, w] of the same softmax."""
    return torch.stack([-logits / 2, logits / 2], dim=-3)


def _iou(logits: Tensor | None, truth: Tensor) -> Tensor:
    """Compute IOU(., .) of Eq. 16 of logits [B, h, w] and masks [B, H, W]; 1 without a guess."""
    if logits is None:
        return torch.ones(len(truth), device=truth.device)
    return pair_iou(likelier(resize_logits(two_sided(logits), truth.shape[-2:], "centres")), truth)


def overlap_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of one logit a cell, for heads that see similarity maps.

    logits: [N, h, w]; mask: [N, H, W] with 0, 1, 255 (ignored). Returns a scalar. Dice, one less
    the overlap 2 |p m| / (|p| + |m|), counts small objects as much as large ones.
    """
    enlarged = F.interpolate(logits.float().unsqueeze(1), mask.shape[-2:], mode="bilinear")
    z, truth, known = enlarged.squeeze(1), (mask == 1).float(), (mask != IGNORE).float()
    entropy = F.binary_cross_entropy_with_logits(z, truth, known, reduction="sum")
    p = z.sigmoid() * known
    both, each = (p * truth).sum(dim=(1, 2)), (p + truth).sum(dim=(1, 2))
    return entropy / known.sum().clamp(min=1) + (1 - (2 * both + 1) / (each + 1)).mean()
