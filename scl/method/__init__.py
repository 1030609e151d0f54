"""The paper, Eq. 1-17: from an episode to a mask, its losses and its score.

It may import `scl.device`, `scl.files` and `scl.toyshop`.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "episode": "EpisodeSampler load_episode",
        "fusion": "confidence pair_iou",
        "metric": "count_pixels verdict",
        "rules": "V_S Rules",
        "scl": "SCL",
        "vectors": "masked_gap shrink_mask split_regions",
    },
)
