"""SCL: the self-guided and cross-guided model, one class for any number of shots.

Two ways in. Training takes episodes: `losses` (Eq. 1-14). Use takes two steps: `condition` reads
the support set once, `segment` then segments any number of queries with it (Eq. 11-17).
B episodes, K shots, n guiding vectors, d channels, h x w cells, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.method.checks import check_query, check_support, group_supports
from scl.method.fusion import confidence, fuse_logits, pair_iou
from scl.method.heads import Head, Prediction
from scl.method.losses import likelier, resize_logits, segmentation_loss
from scl.method.records import Backbone, Maps, Segmentation, SelfGuide, Support, join
from scl.method.rules import Guidance, Rules
from scl.method.vectors import guiding_vectors, masked_gap, prior_mask, shrink_mask, split_regions

__all__ = ["SCL", "Fusion", "Maps", "Segmentation", "SelfGuide", "Support"]

Fusion = Literal["cross", "average", "vectors"]


class SCL(nn.Module):
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
        if head.n != len(guidance.vectors):
            raise ValueError(
                f"the head takes {head.n} vectors and the guidance names {guidance.vectors}: "
                f"build the head with n={len(guidance.vectors)}"
            )
        if iterations < 1:
            raise ValueError(f"iterations={iterations}: expected at least 1")
        if not 0 <= history_dropout <= 1:
            raise ValueError(f"history_dropout={history_dropout}: expected a chance in 0..1")
        if not zooms or min(zooms) <= 0:
            raise ValueError(f"zooms={zooms!r}: expected one or more numbers above 0")
        self.backbone, self.head = backbone, head
        self.guidance, self.rules, self.iterations = guidance, rules, iterations
        self.history_dropout, self.zooms = history_dropout, tuple(zooms)

    def train(self, mode: bool = True) -> SCL:
        """Training or evaluation mode; the backbone stays in the latter (rule statistics)."""
        super().train(mode)
        # A backbone without normalisation has no statistics to choose.
        if self.rules.statistics == "batch" and hasattr(self.backbone, "batch_statistics"):
            self.backbone.batch_statistics(mode)
        return self

    # ---------------------------------------------------------------- features

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None, high: bool = True) -> Maps:
        """Frozen features of [N, 3, H, W] images; with [N, H, W] masks, as supports.

        high: compute the high-level maps of the whole image, which only a query needs.
        """
        mid = self.backbone.mid(images)
        if self.head.hint != "prior":
            return Maps(mid)
        whole = self.backbone.high(mid) if high else None
        if masks is None:
            return Maps(mid, whole)
        small = shrink_mask(masks, mid.shape[-2:], self.rules)
        return Maps(mid, whole, self.backbone.high(mid, small))

    # ------------------------------------------------------------ one support

    def self_guide(self, features: Tensor, mask: Tensor, first_pass: bool = False) -> SelfGuide:
        """Eq. 1-6 for N supports: features [N, d, h, w] and shrunk masks [N, h, w].

        first_pass: predict the support even where no guiding vector needs it (the loss L_s1 of
        a model guided by v_s alone).
        """
        v_s = masked_gap(features, mask, self.rules.epsilon)
        first, found, lost = None, mask, torch.zeros_like(mask)
        if self.guidance.splits or first_pass:
            repeated = v_s.unsqueeze(1).expand(-1, self.head.n, -1)
            first = self.head.support(features, repeated)
            # argmax passes no gradient: the regions are constants, the pooled features are not.
            found, lost = split_regions(mask, likelier(first.logits), self.rules)
        vectors = guiding_vectors(features, v_s, found, lost, self.guidance, self.rules)
        return SelfGuide(v_s, first, found, lost, vectors)

    def second_pass(
        self, features: Tensor, vectors: Tensor, first: Prediction | None
    ) -> Prediction:
        """Eq. 8-9: the support image once more, under the guiding vectors."""
        borrowed = first.pyramid if self.rules.second_pyramid == "first" and first else ()
        return self.head.support(features, vectors, borrowed)

    def _query_pass(
        self, features: Tensor, vectors: Tensor, prior: Tensor | None, history: Tensor | None = None
    ) -> Prediction:
        """Eq. 11-12, repeated with the previous prediction where the head asks for one.

        history: [N, 2, h, w], a previous prediction to refine in a single pass (default: start
        from zeros and repeat).
        """
        if self.head.hint == "prior":
            return self.head.query(features, vectors, prior)
        hint = _no_history(features) if history is None else history
        for _ in range(0 if history is not None else self._repeats()):
            with torch.no_grad():
                hint = self.head.query(features, vectors, hint).logits.softmax(dim=1)
        if self.training and self.history_dropout:
            kept = torch.rand(len(hint), 1, 1, 1, device=hint.device) >= self.history_dropout
            hint = hint * kept
        return self.head.query(features, vectors, hint)

    def _repeats(self) -> int:
        """Passes before the last; in training one, in place of CANet's cache of the last epoch."""
        return min(self.iterations - 1, 1) if self.training else self.iterations - 1

    def _prior(self, query: Tensor, support: Support) -> Tensor | None:
        """PFENet's prior of I images under each support, [B, K, I, 1, h, w]; None for others.

        query: high-level maps [B, I, c, h, w]. Supports may differ in size from it.
        """
        if self.head.hint != "prior":
            return None
        b, i = query.shape[:2]
        priors = []
        for group in support.groups:
            k = group.mask.shape[1]
            high, masked, mask = (
                x.expand(b, k, i, *x.shape[3:]).flatten(0, 2)
                for x in (query[:, None], group.maps.masked[:, :, None], group.mask[:, :, None])
            )
            priors.append(prior_mask(high, masked, mask).unflatten(0, (b, k, i)))
        return torch.cat(priors, dim=1)

    # ---------------------------------------------------------------- training

    def passes(
        self, support: Maps, support_masks: Tensor, query: Maps, history: Tensor | None = None
    ) -> dict[str, Prediction]:
        """The predictions that Eq. 14 compares with the truth, for B one-shot episodes.

        support, query: maps with leading dimension [B]; support_masks: [B, H, W]; history:
        [B, 2, h, w], the query's previous prediction where the head refines one (CANet).
        Returns "q" (Eq. 12) and, where their losses are switched on, "s1" (Eq. 3), "s2" (Eq. 9).
        """
        mask = shrink_mask(support_masks, support.mid.shape[-2:], self.rules)
        features = self.head.reduce(support.mid, "support")
        guide = self.self_guide(features, mask, self.guidance.loss_s1)
        reduced = self.head.reduce(query.mid, "query")
        prior = None
        if self.head.hint == "prior":
            prior = prior_mask(query.high, support.masked, mask)
        passes = {"q": self._query_pass(reduced, guide.vectors, prior, history)}
        if self.guidance.loss_s1:
            passes["s1"] = guide.first
        if self.guidance.loss_s2:
            passes["s2"] = self.second_pass(features, guide.vectors, guide.first)
        return passes

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

    def sum_losses(self, passes: dict[str, tuple[Prediction, Tensor]]) -> dict[str, Tensor]:
        """Eq. 14 from predictions, each with its truth [B, H, W]; see losses."""
        losses = {
            name: segmentation_loss(prediction.logits, mask, self.rules)
            for name, (prediction, mask) in passes.items()
        }
        total = sum(losses.values())
        if self.rules.auxiliary_loss:
            for prediction, mask in passes.values():
                inner = [segmentation_loss(x, mask, self.rules) for x in prediction.inner]
                if inner:
                    total = total + self.rules.auxiliary_loss * sum(inner) / len(inner)
        return {**losses, "total": total}

    # --------------------------------------------------------------------- use

    @torch.no_grad()
    def condition(
        self, images: Tensor | Maps | Sequence[Tensor], masks: Tensor | Sequence[Tensor]
    ) -> Support:
        """Read a support set once: Eq. 1-6 for each support, Eq. 15-16 among them.

        images: [B, K, 3, H, W], or their maps, or K tensors [3, H, W] or [B, 3, H, W] that may
        differ in size; masks: [B, K, H, W] or K tensors alike, with 0, 1, 255. Values of images:
        0..1, or as backbone.inputs says.
        """
        groups = [(images, masks)]
        if not isinstance(images, Maps):
            groups = group_supports(images, masks)
        elif self.head.hint == "prior" and images.masked is None:
            raise ValueError(
                "support maps without high-level maps under the mask: PFENet's prior needs them; "
                "make the maps by encode(images, masks)"
            )
        for some, their_masks in groups:
            check_support(some, their_masks, self.backbone, _precision(self))
        count = sum(m.shape[1] for _, m in groups)
        support = join([self._read(some, m, count) for some, m in groups])
        return support if count == 1 else self._cross_guide(support, [m for _, m in groups])

    def _read(self, images: Tensor | Maps, masks: Tensor, count: int) -> Support:
        """Supports of one size, not yet compared; count: K of the whole set."""
        maps, shots = images, masks.shape[:2]
        if not isinstance(images, Maps):
            # A support is seen as a query only where others predict it by the whole model.
            as_query = count > 1 and self.rules.mutual == "model"
            flat = self.encode(images.flatten(0, 1), masks.flatten(0, 1), high=as_query)
            maps = Maps(*(None if m is None else m.unflatten(0, shots) for m in flat))
        mask = shrink_mask(masks.flatten(0, 1), maps.mid.shape[-2:], self.rules)
        features = self.head.reduce(maps.mid.flatten(0, 1), "support")
        guide = self.self_guide(features, mask)
        ones = torch.ones(shots, device=masks.device)  # single precision, autocast or not
        return Support(
            features.unflatten(0, shots),
            mask.unflatten(0, shots),
            guide,
            guide.vectors.unflatten(0, shots),
            maps,
            ones.unsqueeze(2).expand(-1, -1, shots[1]),
            ones,
        )

    def _cross_guide(self, support: Support, masks: Sequence[Tensor]) -> Support:
        """Eq. 15-16: every support predicts every support; those of one size all at once."""
        columns = []
        for group, truth in zip(support.groups, masks, strict=True):
            logits = self.mutual_logits(support, group)
            enlarged = resize_logits(logits.flatten(0, 2), truth.shape[-2:], self.rules.enlarge)
            predicted = likelier(enlarged).unflatten(0, logits.shape[:3])
            columns.append(pair_iou(predicted, truth[:, None].expand_as(predicted), self.rules))
        mutual = torch.cat(columns, dim=2)
        return replace(support, mutual=mutual, scores=confidence(mutual, self.rules))

    def mutual_logits(self, support: Support, group: Support | None = None) -> Tensor:
        """Eq. 15 before its argmax: [B, K, I, 2, h, w], entry [b, k, i] = G(I_i | I_k).

        group: I supports of one size to be predicted (default: all K, which are of one size).
        """
        group = group or support
        (b, i), k = group.mask.shape[:2], support.vectors.shape[1]
        vectors = support.vectors.unsqueeze(2).expand(-1, -1, i, -1, -1).flatten(0, 2)

        def repeated(x: Tensor) -> Tensor:
            """[B I, ...] to [B K I, ...]: the same images under each of K supports."""
            x = x.unflatten(0, (b, 1, i))
            return x.expand(b, k, *x.shape[2:]).flatten(0, 2)

        if self.rules.mutual == "support":
            first = group.guide.first
            if first is not None:
                first = Prediction(first.logits, tuple(repeated(p) for p in first.pyramid))
            features = repeated(group.features.flatten(0, 1))
            return self.second_pass(features, vectors, first).logits.unflatten(0, (b, k, i))
        queries = repeated(self.head.reduce(group.maps.mid.flatten(0, 1), "query"))
        prior = self._prior(group.maps.high, support)
        prior = None if prior is None else prior.flatten(0, 2)
        return self._query_pass(queries, vectors, prior).logits.unflatten(0, (b, k, i))

    @torch.no_grad()
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Segment B queries: Eq. 11-12 under each support, then Eq. 17.

        query: [B, 3, H, W], values as for condition, or maps. fusion: "cross" (Eq. 17), "average"
        (of the predictions) or "vectors" (average of the guiding vectors, one prediction).
        size: H x W of the result; the image's own if not given, the feature map's for maps.
        """
        if fusion not in ("cross", "average", "vectors"):
            raise ValueError(f"fusion={fusion!r}: expected 'cross', 'average' or 'vectors'")
        if not isinstance(query, Maps):
            check_query(query, self.backbone, _precision(self))
            size = size or tuple(query.shape[-2:])
        views = self._views(query)
        size = size or tuple(views[0].mid.shape[-2:])
        scores, mutual = self._for_queries(support, len(views[0].mid))
        weights = scores if fusion == "cross" else torch.ones_like(scores)
        logits = self._refine(views, support, weights, fusion, size)
        fused = fuse_logits(logits, weights[:, : logits.shape[1]], self.rules)
        return Segmentation(scores, mutual, logits, fused)

    def _views(self, query: Tensor | Maps) -> list[Maps]:
        """The maps of the query at each zoom."""
        if isinstance(query, Maps):
            if self.zooms != (1.0,):
                raise ValueError(f"zooms={self.zooms}: expected the query as images, not as maps")
            return [query]
        smallest = int(min(query.shape[-2:]) * min(self.zooms))
        if smallest < 1:
            raise ValueError(
                f"zooms={self.zooms} leave no pixel of a query of {tuple(query.shape[-2:])}: "
                "expected a larger query, or larger zooms"
            )
        return [self.encode(_zoom(query, zoom)) for zoom in self.zooms]

    def _for_queries(self, support: Support, b: int) -> tuple[Tensor, Tensor]:
        """Scores and mutual IOUs for b queries: one set for all, or one for each."""
        if len(support.vectors) not in (1, b):
            raise ValueError(
                f"{b} queries for {len(support.vectors)} support sets: expected as many queries "
                "as support sets, or one support set for all queries"
            )
        return tuple(x.expand(b, *x.shape[1:]) for x in (support.scores, support.mutual))

    def _refine(
        self,
        views: list[Maps],
        support: Support,
        weights: Tensor,
        fusion: Fusion,
        size: tuple[int, int],
    ) -> Tensor:
        """Score maps of every iteration in turn, the last returned: [B, K, 2, H, W].

        With fusion="vectors" the vectors (and priors) are averaged first, and K is 1.
        """
        b = len(views[0].mid)
        vectors = support.vectors.expand(b, -1, -1, -1)
        features = [self.head.reduce(view.mid, "query") for view in views]
        hints = [self._first_hint(f, v, support) for f, v in zip(features, views, strict=True)]
        if fusion == "vectors":
            vectors = vectors.mean(dim=1, keepdim=True)
            hints = [hint.mean(dim=1, keepdim=True) for hint in hints]
        for left in reversed(range(self.iterations if self.head.hint == "history" else 1)):
            small = [self._under_each(f, vectors, h) for f, h in zip(features, hints, strict=True)]
            logits = sum(self._enlarge(s, size) for s in small)
            if left:
                hints = self._histories(small, logits, weights)
        return logits

    def _first_hint(self, features: Tensor, view: Maps, support: Support) -> Tensor:
        """What the query branch sees under each support: [B, K, 1 or 2, h, w]."""
        if self.head.hint == "prior":
            return self._prior(view.high.unsqueeze(1), support)[:, :, 0]
        zeros = _no_history(features).unsqueeze(1)
        return zeros.expand(-1, support.vectors.shape[1], -1, -1, -1)

    def _under_each(self, features: Tensor, vectors: Tensor, hints: Tensor) -> Tensor:
        """Eq. 12 for [B, d, h, w] under vectors [B, K, n, d]: [B, K, 2, h, w]."""
        repeated = features.repeat_interleave(vectors.shape[1], dim=0)
        result = self.head.query(repeated, vectors.flatten(0, 1), hints.flatten(0, 1))
        return result.logits.unflatten(0, vectors.shape[:2])

    def _enlarge(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        enlarged = resize_logits(logits.flatten(0, 1), size, self.rules.enlarge)
        return enlarged.unflatten(0, logits.shape[:2])

    def _histories(self, small: list[Tensor], logits: Tensor, weights: Tensor) -> list[Tensor]:
        """The predictions that the next iteration refines, for each zoom (rule history)."""
        if self.rules.history == "own":
            return [s.softmax(dim=2) for s in small]
        fused = fuse_logits(logits, weights[:, : logits.shape[1]], self.rules).softmax(dim=1)
        return [fused.unsqueeze(1).expand_as(logits) for _ in small]


def _no_history(features: Tensor) -> Tensor:
    return features.new_zeros(len(features), 2, *features.shape[-2:])


def _zoom(images: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return images
    return F.interpolate(images, scale_factor=factor, mode="bilinear", align_corners=False)


def _precision(model: nn.Module) -> torch.dtype:
    return next(model.parameters(), torch.empty(0)).dtype
