"""What can be chosen: which vectors guide the query, which losses train, which reading is followed.

Both classes are frozen, so a configuration can be a key, a line of JSON and a promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scl.method.words import check_words

VECTOR_NAMES = ("s", "pri", "aux")


@dataclass(frozen=True)
class Guidance:
    """Which support vectors guide the query (Table 5) and which losses train (Table 6).

    vectors: names among "s" (Eq. 1), "pri" (Eq. 5), "aux" (Eq. 6), in the order of concatenation.
    loss_s1: train the first support prediction (Eq. 7).
    loss_s2: train the second support prediction (Eq. 10).
    """

    vectors: tuple[str, ...] = ("pri", "aux")
    loss_s1: bool = True
    loss_s2: bool = True

    def __post_init__(self) -> None:
        # Lists come from JSON; a tuple keeps the configuration hashable and equal to itself.
        object.__setattr__(self, "vectors", tuple(self.vectors))
        unknown = [name for name in self.vectors if name not in VECTOR_NAMES]
        if unknown or not self.vectors:
            raise ValueError(
                f"guidance vectors {self.vectors!r}: expected one or more of {VECTOR_NAMES}"
            )

    @property
    def splits(self) -> bool:
        """Tell whether a guiding vector needs the split into found and lost."""
        return "pri" in self.vectors or "aux" in self.vectors


V_S = Guidance(vectors=("s",), loss_s1=False, loss_s2=False)
V_S_L1 = Guidance(vectors=("s",), loss_s1=True, loss_s2=False)
SELF_GUIDED = Guidance()


@dataclass(frozen=True)
class Rules:
    """Every place where the paper and the released code part, or where the paper is silent.

    The defaults are the paper's reading. The model alone reads them; a function
    that is named here takes the value, under the same name.

    mask_resize      vectors.shrink_mask: "binary" (majority of the cell, never empty), or
                     "bilinear" (released: soft values, corners aligned).
    regions          vectors.split_regions: "partition" (Eq. 5-6), or the two released tests on
                     prediction + mask: "exact" (PFENet variant), "truncated" (CANet variant).
    epsilon          vectors.masked_gap: added to the area; 0 in the paper, 0.0005 released.
    empty            vectors.guiding_vectors: what stands in for an empty region, on which the
                     paper is silent: "initial" (v_s) or "zero" (released, in effect).
    second_pyramid   SCL.second_pass: pyramid that PFENet's second support pass reads:
                     its "own", or that of the "first" pass (released).
    mutual           SCL.mutual_logits: predictions of Eq. 15 by the whole "model" or by the
                     "support" branch (released).
    iou              fusion.pair_iou: IOU of Eq. 16 on the "foreground", or the "mean" of
                     foreground and background (released, PFENet variant).
    own_score        fusion.confidence: keep the term i = k of Eq. 16.
    fused            fusion.fuse_logits: what Eq. 17 averages, "logits" or "probabilities".
    divisor          fusion.fuse_logits: None for K (Eq. 17); the released code has a literal 5
                     (for K > 1).
    no_score         fusion.fuse_logits: when every score of Eq. 16 is zero, take the plain
                     "average", or score maps of "zero" (released, in effect).
    history          SCL.segment: what CANet's query branch refines: each support's "own" previous
                     prediction, or the "fused" one (released).
    enlarge          losses.resize_logits in use: score maps are brought to image size with corners
                     "aligned" (both released training codes, and PFENet's test), or cell "centres"
                     (CANet's test).
    loss_size        losses.segmentation_loss: the paper's h x w are the "feature" map's; the
                     released code compares at "image" size.
    auxiliary_loss   SCL.sum_losses: weight of PFENet's inner classifiers; 0 in Eq. 14, 1 in PFENet
                     itself (so in its recipes, Section 5.1) and in the released code.
    statistics       SCL.train: in training, the batch normalisation of the backbone keeps its
                     "frozen" statistics, or takes those of the "batch" (released).
    """

    mask_resize: Literal["binary", "bilinear"] = "binary"
    regions: Literal["partition", "exact", "truncated"] = "partition"
    epsilon: float = 0.0
    empty: Literal["initial", "zero"] = "initial"
    second_pyramid: Literal["own", "first"] = "own"
    mutual: Literal["model", "support"] = "model"
    iou: Literal["foreground", "mean"] = "foreground"
    own_score: bool = True
    fused: Literal["logits", "probabilities"] = "logits"
    divisor: float | None = None
    no_score: Literal["average", "zero"] = "average"
    history: Literal["own", "fused"] = "own"
    enlarge: Literal["aligned", "centres"] = "aligned"
    loss_size: Literal["feature", "image"] = "feature"
    auxiliary_loss: float = 0.0
    statistics: Literal["frozen", "batch"] = "frozen"

    def __post_init__(self) -> None:
        check_words(type(self), vars(self), "rule ")
        for name in ("epsilon", "auxiliary_loss"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"rule {name}={getattr(self, name)!r}: expected a number of at least 0"
                )
        if self.divisor is not None and self.divisor <= 0:
            raise ValueError(f"rule divisor={self.divisor!r}: expected a number above 0, or None")


PAPER = Rules()
RELEASED_PFENET = Rules(
    mask_resize="bilinear",
    regions="exact",
    epsilon=0.0005,
    empty="zero",
    second_pyramid="first",
    mutual="support",
    iou="mean",
    divisor=5.0,
    no_score="zero",
    loss_size="image",
    auxiliary_loss=1.0,
    statistics="batch",
)
RELEASED_CANET = Rules(
    mask_resize="bilinear",
    regions="truncated",
    epsilon=0.0005,
    empty="zero",
    mutual="support",
    no_score="zero",
    history="fused",
    enlarge="centres",
    loss_size="image",
    statistics="batch",
)
PRESETS = {"paper": PAPER, "released_pfenet": RELEASED_PFENET, "released_canet": RELEASED_CANET}
