"""The paper, Eq. 1-17: from an episode to a mask, its losses and its score. Imports scl.device.

First reading, in this order: records (what flows), rules (what can be chosen), episode, vectors,
heads, losses, scl, fusion, metric. Second reading: contracts (what a head and a method are),
pfenet, refine (CANet's repeated passes), checks and words (what is refused).
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "episode": "EpisodeSampler load_episodes",
        "fusion": "confidence pair_iou",
        "metric": "count_pixels verdict",
        "rules": "V_S Rules",
        "scl": "SCL",
        "vectors": "masked_gap shrink_mask split_regions",
    },
)
