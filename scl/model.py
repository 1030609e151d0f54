"""SCL: the self-guided and cross-guided model, one class for any number of shots.

Two ways in. Training takes episodes: `losses` (Eq. 1-14). Use takes two steps: `condition` reads
the support set once, `segment` then segments any number of queries with it (Eq. 11-17).
B episodes, K shots, n guiding vectors, d channels, h x w cells, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from scl.backbones import Backbone
from scl.episode import check_images, check_support
from scl.fusion import confidence, fuse, pair_iou
from scl.heads import Head, Prediction
from scl.losses import likelier, resize_logits, segmentation_loss
from scl.rules import Guidance, Rules
from scl.vectors import guiding_vectors, masked_gap, prior_mask, shrink_mask, split_regions

Fusion = Literal["cross", "average", "vectors"]


class Maps(NamedTuple):
    """Frozen features of some images; leading dimensions are [N] or [B, K].

    mid: [..., c, h, w]; high: high-level maps of the whole image; masked: those of the image
    under its mask, which only a support has. high and masked are None where no prior is used.
    """

    mid: Tensor
    high: Tensor | None = None
    masked: Tensor | None = None

    def flat(self) -> Maps:
        """[B, K, ...] to [B K, ...]."""
        return Maps(*(None if m is None else m.flatten(0, 1) for m in self))

    def to(self, device: torch.device | str) -> Maps:
        """The same maps on another device."""
        return Maps(*(None if m is None else m.to(device) for m in self))


class SelfGuide(NamedTuple):
    """What self-guidance finds in N supports (Eq. 1-6).

    v_s: [N, d]; first: the first support prediction, None where nothing needs it;
    found, lost: [N, h, w], the regions of Eq. 5 and 6; vectors: [N, n, d], those that guide.
    """

    v_s: Tensor
    first: Prediction | None
    found: Tensor
    lost: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class Support:
    """A support set, read once.

    features: [B, K, d, h, w]; mask: [B, K, h, w], shrunk; guide: SelfGuide of the B K supports;
    vectors: [B, K, n, d]; maps: their frozen features; mutual: [B, K, K], mutual[b, k, i] = IOU
    of support i predicted under support k (Eq. 15-16); scores: [B, K], U of Eq. 16.
    For K = 1 there is nothing to compare: mutual and scores are 1.
    """

    features: Tensor
    mask: Tensor
    guide: SelfGuide
    vectors: Tensor
    maps: Maps
    mutual: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Segmentation:
    """What `segment` returns.

    scores: [B, K], U of Eq. 16; mutual: [B, K, K]; logits: [B, K, 2, H, W], one score map per
    support (one in all with fusion="vectors"); fused: [B, 2, H, W], probabilities of Eq. 17.
    """

    scores: Tensor
    mutual: Tensor
    logits: Tensor
    fused: Tensor

    @property
    def mask(self) -> Tensor:
        """The predicted mask, [B, H, W] with 0 or 1."""
        return likelier(self.fused)


class SCL(nn.Module):
    """A backbone, a head, and the choices of guidance and rules.

    iterations: passes of the query's decoder, each receiving the previous prediction (CANet);
    1 leaves the history at zero.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        guidance: Guidance = Guidance(),
        rules: Rules = Rules(),
        iterations: int = 1,
    ):
        super().__init__()
        if head.n != len(guidance.vectors):
            raise ValueError(
                f"the head takes {head.n} vectors and the guidance names {guidance.vectors}: "
                f"build the head with n={len(guidance.vectors)}"
            )
        if iterations < 1:
            raise ValueError(f"iterations={iterations}: expected at least 1")
        self.backbone, self.head = backbone, head
        self.guidance, self.rules, self.iterations = guidance, rules, iterations

    # ---------------------------------------------------------------- features

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor | None = None) -> Maps:
        """Frozen features of [N, 3, H, W] images in 0..1; with [N, H, W] masks, as supports."""
        mid = self.backbone.mid(images)
        if self.head.hint != "prior":
            return Maps(mid)
        high = self.backbone.high(mid)
        if masks is None:
            return Maps(mid, high)
        small = shrink_mask(masks, mid.shape[-2:], self.rules)
        return Maps(mid, high, self.backbone.high(mid, small))

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

    def _query_pass(self, features: Tensor, vectors: Tensor, prior: Tensor | None) -> Prediction:
        """Eq. 11-12, repeated with the previous prediction where the head asks for one."""
        if self.head.hint == "prior":
            return self.head.query(features, vectors, prior)
        hint = features.new_zeros(len(features), 2, *features.shape[-2:])
        for _ in range(self.iterations - 1):
            with torch.no_grad():
                hint = self.head.query(features, vectors, hint).logits.softmax(dim=1)
        return self.head.query(features, vectors, hint)

    def _prior(self, query: Maps, support: Maps, mask: Tensor) -> Tensor | None:
        if self.head.hint != "prior":
            return None
        return prior_mask(query.high, support.masked, mask)

    # ---------------------------------------------------------------- training

    def losses(
        self, support: Maps, support_masks: Tensor, query: Maps, query_masks: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 7, 10, 13 and their sum, Eq. 14, for B one-shot episodes.

        support, query: maps with leading dimension [B]; masks: [B, H, W].
        Returns scalars by name: "q", "s1" and "s2" where they are switched on, and "total".
        """
        mask = shrink_mask(support_masks, support.mid.shape[-2:], self.rules)
        features = self.head.reduce(support.mid, "support")
        guide = self.self_guide(features, mask, self.guidance.loss_s1)
        passes = {
            "q": (
                self._query_pass(
                    self.head.reduce(query.mid, "query"),
                    guide.vectors,
                    self._prior(query, support, mask),
                ),
                query_masks,
            )
        }
        if self.guidance.loss_s1:
            passes["s1"] = (guide.first, support_masks)
        if self.guidance.loss_s2:
            second = self.second_pass(features, guide.vectors, guide.first)
            passes["s2"] = (second, support_masks)
        return self._sum_losses(passes)

    def _sum_losses(self, passes: dict[str, tuple[Prediction, Tensor]]) -> dict[str, Tensor]:
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
    def condition(self, images: Tensor | Maps, masks: Tensor) -> Support:
        """Read a support set once: Eq. 1-6 for each support, Eq. 15-16 among them.

        images: [B, K, 3, H, W] in 0..1, or their maps; masks: [B, K, H, W] with 0, 1, 255.
        """
        check_support(images, masks)
        maps = images if isinstance(images, Maps) else self._encode_supports(images, masks)
        shots, flat = masks.shape[:2], maps.flat()
        mask = shrink_mask(masks.flatten(0, 1), flat.mid.shape[-2:], self.rules)
        features = self.head.reduce(flat.mid, "support")
        guide = self.self_guide(features, mask)
        ones = features.new_ones(*shots)
        support = Support(
            features.unflatten(0, shots),
            mask.unflatten(0, shots),
            guide,
            guide.vectors.unflatten(0, shots),
            maps,
            ones.unsqueeze(2).expand(-1, -1, shots[1]),
            ones,
        )
        return support if shots[1] == 1 else self._cross_guide(support, masks)

    def _encode_supports(self, images: Tensor, masks: Tensor) -> Maps:
        maps = self.encode(images.flatten(0, 1), masks.flatten(0, 1))
        return Maps(*(None if m is None else m.unflatten(0, masks.shape[:2]) for m in maps))

    def _cross_guide(self, support: Support, masks: Tensor) -> Support:
        """Eq. 15-16: every support predicts every support, all K x K at once."""
        size = masks.shape[-2:]
        logits = self.mutual_logits(support)
        predicted = likelier(resize_logits(logits.flatten(0, 2), size))
        predicted = predicted.unflatten(0, logits.shape[:3])
        truth = masks.unsqueeze(1).expand_as(predicted)
        mutual = pair_iou(predicted, truth, self.rules)
        return replace(support, mutual=mutual, scores=confidence(mutual, self.rules))

    def mutual_logits(self, support: Support) -> Tensor:
        """Eq. 15 before its argmax: [B, K, K, 2, h, w], entry [b, k, i] = G(I_i | I_k)."""
        b, k = support.vectors.shape[:2]
        vectors = support.vectors.unsqueeze(2).expand(-1, -1, k, -1, -1).flatten(0, 2)

        def as_query(x: Tensor) -> Tensor:
            return x.unsqueeze(1).expand(-1, k, *x.shape[1:]).flatten(0, 2)

        if self.rules.mutual == "support":
            first = support.guide.first
            own = (
                None
                if first is None
                else Prediction(
                    first.logits, tuple(as_query(p.unflatten(0, (b, k))) for p in first.pyramid)
                )
            )
            result = self.second_pass(as_query(support.features), vectors, own)
        else:
            maps = support.maps.flat()
            queries = self.head.reduce(maps.mid, "query").unflatten(0, (b, k))
            prior = self._mutual_prior(support, as_query)
            result = self._query_pass(as_query(queries), vectors, prior)
        return result.logits.unflatten(0, (b, k, k))

    def _mutual_prior(self, support: Support, as_query) -> Tensor | None:
        if self.head.hint != "prior":
            return None
        k = support.vectors.shape[1]

        def as_support(x: Tensor) -> Tensor:
            return x.unsqueeze(2).expand(-1, -1, k, *x.shape[2:]).flatten(0, 2)

        return prior_mask(
            as_query(support.maps.high), as_support(support.maps.masked), as_support(support.mask)
        )

    @torch.no_grad()
    def segment(
        self,
        support: Support,
        query: Tensor | Maps,
        fusion: Fusion = "cross",
        size: tuple[int, int] | None = None,
    ) -> Segmentation:
        """Segment B queries: Eq. 11-12 under each support, then Eq. 17.

        query: [B, 3, H, W] in 0..1, or maps. fusion: "cross" (Eq. 17), "average" (of the
        predictions) or "vectors" (average of the guiding vectors, one prediction).
        size: H x W of the result; the image's own if not given, the feature map's for maps.
        """
        if not isinstance(query, Maps):
            check_images(query, "query", "[B, 3, H, W]", 4)
            size = size or tuple(query.shape[-2:])
            query = self.encode(query)
        features = self.head.reduce(query.mid, "query")
        logits = self._logits_per_support(features, query, support, fusion)
        size = size or tuple(features.shape[-2:])
        logits = resize_logits(logits.flatten(0, 1), size).unflatten(0, logits.shape[:2])
        scores, mutual = (
            x.expand(len(features), *x.shape[1:]) for x in (support.scores, support.mutual)
        )
        weights = scores if fusion == "cross" else torch.ones_like(scores)
        fused = fuse(logits, weights[:, : logits.shape[1]], self.rules)
        return Segmentation(scores, mutual, logits, fused)

    def _logits_per_support(
        self, features: Tensor, query: Maps, support: Support, fusion: Fusion
    ) -> Tensor:
        """[B, K, 2, h, w], or [B, 1, 2, h, w] when the vectors are averaged first."""
        if fusion not in ("cross", "average", "vectors"):
            raise ValueError(f"fusion={fusion!r}: expected 'cross', 'average' or 'vectors'")
        b, k = len(features), support.vectors.shape[1]
        if len(support.vectors) not in (1, b):
            raise ValueError(
                f"{b} queries for {len(support.vectors)} support sets: expected as many queries "
                "as support sets, or one support set for all queries"
            )
        vectors = support.vectors.expand(b, -1, -1, -1)
        prior = self._prior_per_support(query, support, k)
        if fusion == "vectors":
            vectors = vectors.mean(dim=1, keepdim=True)
            prior = None if prior is None else prior.mean(dim=1, keepdim=True)
        repeated = features.repeat_interleave(vectors.shape[1], dim=0)
        prior = None if prior is None else prior.flatten(0, 1)
        result = self._query_pass(repeated, vectors.flatten(0, 1), prior)
        return result.logits.unflatten(0, vectors.shape[:2])

    def _prior_per_support(self, query: Maps, support: Support, k: int) -> Tensor | None:
        """PFENet's prior under each support, [B, K, 1, h, w]; None for other heads."""
        if self.head.hint != "prior":
            return None
        b = len(query.mid)
        high = query.high.repeat_interleave(k, dim=0)
        masked = support.maps.masked.expand(b, -1, -1, -1, -1).flatten(0, 1)
        mask = support.mask.expand(b, -1, -1, -1).flatten(0, 1)
        return prior_mask(high, masked, mask).unflatten(0, (b, k))
