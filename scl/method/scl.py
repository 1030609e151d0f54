"""SCL: the self-guided and cross-guided model, one class for any number of shots.

Two ways in. Training takes episodes: `losses` (Eq. 1-14). Use takes two steps: `condition` reads
the support set once, `segment` then segments any number of queries with it (Eq. 11-17).
B episodes, K shots, n guiding vectors, d channels, h x w cells, H x W pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from scl.method.checks import check_query, check_vectors
from scl.method.contracts import Backbone, Features, Head, Method, in_chunks
from scl.method.fusion import confidence, fuse_logits, pair_iou
from scl.method.losses import likelier, resize_logits, segmentation_loss
from scl.method.records import (
    Fusion,
    Images,
    Maps,
    Masks,
    Prediction,
    Segmentation,
    SelfGuide,
    Support,
    SupportGroup,
)
from scl.method.refine import check_refinement, histories, query_pass, zoomed
from scl.method.rules import Guidance, Rules
from scl.method.vectors import guiding_vectors, masked_gap, shrink_mask, split_regions


class SCL(Method):
    """A backbone, a head, and the choices of guidance and rules.

    iterations: passes of the query's decoder, each receiving the previous prediction (CANet);
    1 leaves the history at zero. history_dropout: chance in training that a query's previous
    prediction is taken away (0.7 in CANet). zooms: sizes of the query, as multiples of its own,
    whose score maps are added up in use (0.7, 1 and 1.3 in CANet).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        guidance: Guidance = Guidance(),
        rules: Rules = Rules(),
        iterations: int = 1,
        history_dropout: float = 0.0,
        zooms: Sequence[float] = (1.0,),
    ):
        super().__init__()
        check_vectors(head.n, guidance)
        check_refinement(iterations, history_dropout, zooms)
        self.backbone, self.head = backbone, head
        self.guidance, self.rules, self.iterations = guidance, rules, iterations
        self.history_dropout, self.zooms = history_dropout, tuple(zooms)

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None, high: bool = True) -> Maps:
        """Compute frozen features of [N, 3, H, W] images; with [N, H, W] masks, of supports.

        high: compute the high-level maps of the whole image, which only a query needs.
        """
        mid = self.backbone.mid(images)
        if not self.head.needs_high:
            return Maps(mid)
        whole = self.backbone.high(mid) if high else None
        if masks is None:
            return Maps(mid, whole)
        return Maps(mid, whole, self.backbone.high(mid, self.shrink(masks, mid)))

    def shrink(self, masks: Tensor, maps: Tensor) -> Tensor:
        """Bring masks [N, H, W] to the size of maps [N, c, h, w]."""
        return shrink_mask(masks, maps.shape[-2:], self.rules.mask_resize)

    def self_guide(self, features: Tensor, mask: Tensor, first_pass: bool = False) -> SelfGuide:
        """Eq. 1-6 for N supports: features [N, d, h, w] and shrunk masks [N, h, w].

        first_pass: predict the support even where no guiding vector needs it (the loss L_s1 of
        a model guided by v_s alone).
        """
        epsilon = self.rules.epsilon
        v_s = masked_gap(features, mask, epsilon)
        first, found, lost = None, mask, torch.zeros_like(mask)
        if self.guidance.splits or first_pass:
            repeated = v_s.unsqueeze(1).expand(-1, self.head.n, -1)
            first = self.head.support(features, repeated)
            # argmax passes no gradient: the regions are constants, the pooled features are not.
            found, lost = split_regions(mask, likelier(first.logits), self.rules.regions)
        names, empty = self.guidance.vectors, self.rules.empty
        vectors = guiding_vectors(features, v_s, found, lost, names, epsilon, empty)
        return SelfGuide(v_s, first, found, lost, vectors)

    def second_pass(
        self, features: Features, vectors: Tensor, first: Prediction | None
    ) -> Prediction:
        """Eq. 8-9: the support image once more, under the guiding vectors."""
        borrowed = first.pyramid if self.rules.second_pyramid == "first" and first else ()
        return self.head.support(features, vectors, borrowed)

    def read(self, maps: Maps, masks: Tensor, first_pass: bool = False) -> SupportGroup:
        """Eq. 1-6 for supports of one size: maps [B, K, ...] and masks [B, K, H, W]."""
        if self.head.needs_high and maps.masked is None:
            raise ValueError(
                "support maps without high-level maps under the mask: PFENet's prior needs them; "
                "make the maps by encode(images, masks)"
            )
        mid, shots = maps.mid.flatten(0, 1), masks.shape[:2]
        mask, features = self.shrink(masks.flatten(0, 1), mid), self.head.reduce(mid, "support")
        guide = self.self_guide(features, mask, first_pass)
        return SupportGroup(features.unflatten(0, shots), mask.unflatten(0, shots), guide, maps)

    # ---------------------------------------------------------------- training

    def losses(
        self,
        support: Maps,
        support_masks: Tensor,
        query: Maps,
        query_masks: Tensor,
        history: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Eq. 7, 10, 13 and their sum, Eq. 14, for B one-shot episodes (see passes).

        query_masks: [B, H, W]. Returns scalars by name: "q", "s1" and "s2" where they are
        switched on, and "total".
        """
        truth = {"q": query_masks, "s1": support_masks, "s2": support_masks}
        found = self.passes(support, support_masks, query, history)
        return self.sum_losses({name: (p, truth[name]) for name, p in found.items()})

    def passes(
        self, support: Maps, support_masks: Tensor, query: Maps, history: Tensor | None = None
    ) -> dict[str, Prediction]:
        """Make the predictions that Eq. 14 compares with the truth, for B one-shot episodes.

        support, query: maps with leading dimension [B]; support_masks: [B, H, W]; history:
        [B, 2, h, w], the query's previous prediction where the head refines one (CANet).
        Returns "q" (Eq. 12) and, where their losses are switched on, "s1" (Eq. 3), "s2" (Eq. 9).
        """
        one, single = (maps.apply(lambda m: m.unsqueeze(1)) for maps in (support, query))
        group = self.read(one, support_masks.unsqueeze(1), self.guidance.loss_s1)
        features, vectors = self.head.reduce(query.mid, "query"), group.guide.vectors
        hint = self.head.hints(single, group).flatten(0, 2)
        refinement = self.iterations, self.history_dropout, history
        passes = {"q": query_pass(self.head, features, vectors, hint, *refinement)}
        if self.guidance.loss_s1 and group.guide.first is not None:
            passes["s1"] = group.guide.first
        if self.guidance.loss_s2:
            passes["s2"] = self.second_pass(group.features[:, 0], vectors, group.guide.first)
        return passes

    def sum_losses(self, passes: dict[str, tuple[Prediction, Tensor]]) -> dict[str, Tensor]:
        """Eq. 14 from predictions, each with its truth [B, H, W]; see losses."""
        size = self.rules.loss_size
        losses = {n: segmentation_loss(p.logits, mask, size) for n, (p, mask) in passes.items()}
        total = functools.reduce(torch.add, losses.values())
        if self.rules.auxiliary_loss:
            for prediction, mask in passes.values():
                inner = [segmentation_loss(x, mask, size) for x in prediction.inner]
                if inner:
                    total = total + self.rules.auxiliary_loss * sum(inner) / len(inner)
        return {**losses, "total": total}

    # --------------------------------------------------------------------- use

    @torch.no_grad()
    def condition(self, images: Images, masks: Masks) -> Support:
        """Read a support set once: Eq. 1-6 for each support, Eq. 15-16 among them.

        images, masks: see Method.condition.
        """
        # A support is seen as a query only where others predict it by the whole model.
        read = self.read_supports(images, masks, high=self.rules.mutual == "model")
        groups = [self.read(*group) for group in read]
        support = Support.unscored(torch.cat([g.vectors for g in groups], dim=1), groups)
        if support.scores.shape[1] == 1:
            return support
        columns = []  # of supports that are predicted, [B, K, I] each
        for group, (_, truth) in zip(groups, read, strict=True):
            logits = self.mutual_logits(support, group)
            predicted = likelier(resize_logits(logits, truth.shape[-2:], self.rules.enlarge))
            truth = truth[:, None].expand_as(predicted)
            columns.append(pair_iou(predicted, truth, self.rules.iou))
        mutual, own_score = torch.cat(columns, dim=2), self.rules.own_score
        return replace(support, mutual=mutual, scores=confidence(mutual, own_score=own_score))

    def mutual_logits(self, support: Support, group: SupportGroup | None = None) -> Tensor:
        """Eq. 15 before its argmax: [B, K, I, 2, h, w], entry [b, k, i] = G(I_i | I_k).

        group: I supports of one size to be predicted (default: all K, which are of one size).
        """
        group = group or support.group
        b, i = group.mask.shape[:2]
        if self.rules.mutual == "support":
            known, first = (
                self.head.share(group.features.flatten(0, 1), "support"),
                group.guide.first,
            )
        else:
            features = self.head.reduce(group.maps.mid.flatten(0, 1), "query")
            known, hint = self.head.share(features, "query"), self.hints(group.maps, support)

        def under(k: int, seen: Features, some: slice) -> Tensor:
            """Predict some of the B I images under support k."""
            vectors = support.vectors[:, k].repeat_interleave(i, dim=0)[some]
            if self.rules.mutual == "support":
                own = first and first._replace(pyramid=tuple(p[some] for p in first.pyramid))
                return self.second_pass(seen, vectors, own).logits
            refinement = self.iterations, self.history_dropout
            seen_hint = hint[:, k].flatten(0, 1)[some]
            return query_pass(self.head, seen, vectors, seen_hint, *refinement).logits

        shots = range(support.vectors.shape[1])
        rows = [in_chunks(partial(under, k), known, b * i) for k in shots]
        return torch.stack([row.unflatten(0, (b, i)) for row in rows], dim=1)

    def hints(self, query: Maps, support: Support) -> Tensor:
        """Gather what I queries [B, I, ...] first see under K supports: [B, K, I, c, h, w]."""
        return torch.cat([self.head.hints(query, group) for group in support.groups], dim=1)

    @torch.no_grad()
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, ...] | None = None,
    ) -> Segmentation:
        """Segment B queries: Eq. 11-12 under each support, then Eq. 17.

        query, fusion, size: see Method.segment.
        """
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion={fusion!r}: expected 'cross', 'average' or 'vectors'")
        if isinstance(query, Tensor):
            check_query(query, self.backbone, self.dtype)
            size = size or query.shape[-2:]
        views = [v if isinstance(v, Maps) else self.encode(v) for v in zoomed(query, self.zooms)]
        size = size or views[0].mid.shape[-2:]
        scores, mutual, vectors = support.for_queries(len(views[0].mid))
        weights = scores if fusion == "cross" else torch.ones_like(scores)
        features = [self.head.share(self.head.reduce(v.mid, "query"), "query") for v in views]
        hints = [self.hints(v.apply(lambda m: m.unsqueeze(1)), support)[:, :, 0] for v in views]
        if fusion == "vectors":
            vectors, weights = vectors.mean(dim=1, keepdim=True), weights[:, :1]
            hints = [hint.mean(dim=1, keepdim=True) for hint in hints]

        def under_each(known: Features, hint: Tensor) -> Tensor:
            """Eq. 12 for B queries under each of K supports: [B, K, 2, h, w]."""

            def under(k: int, seen: Features, some: slice) -> Tensor:
                return self.head.query(seen, vectors[some, k], hint[some, k]).logits

            each = range(vectors.shape[1])
            return torch.stack([in_chunks(partial(under, k), known, len(hint)) for k in each], 1)

        for left in reversed(range(self.iterations if self.head.refines else 1)):
            small = [under_each(f, h) for f, h in zip(features, hints, strict=True)]
            enlarged = (resize_logits(s, size, self.rules.enlarge) for s in small)
            logits = functools.reduce(torch.add, enlarged)
            if left:
                own = self.rules.history == "own"
                hints = histories(small, None if own else self.fuse(logits, weights))
        return Segmentation(scores, mutual, logits, self.fuse(logits, weights))

    def fuse(self, logits: Tensor, scores: Tensor) -> Tensor:
        """Eq. 17 before its softmax: [B, K, 2, H, W] and [B, K] to [B, 2, H, W]."""
        rules = self.rules
        return fuse_logits(logits, scores, rules.fused, rules.divisor, rules.no_score)

    # -------------------------------------------------- what the other rooms ask

    def train(self, mode: bool = True) -> SCL:
        """Switch to training or evaluation; the backbone stays in the latter (rule statistics)."""
        super().train(mode)
        # A backbone without normalisation has no statistics to choose.
        if self.rules.statistics == "batch" and hasattr(self.backbone, "batch_statistics"):
            self.backbone.batch_statistics(mode)
        return self

    def trainable(self) -> Head:
        """Return the head: the backbone does not learn."""
        return self.head

    def moving_statistics(self) -> dict[str, Tensor]:
        """Name the backbone's batch statistics, where training changes them (rule statistics)."""
        if self.rules.statistics != "batch":
            return {}
        weights = dict(self.backbone.named_parameters())
        return {n: v for n, v in self.backbone.state_dict().items() if n not in weights}

    def settings(self) -> dict[str, Any]:
        """List guidance, rules and refinement, as plain values."""
        chosen = {"rules": asdict(self.rules), "guidance": asdict(self.guidance)}
        return {**chosen, "iterations": self.iterations, "zooms": self.zooms}
