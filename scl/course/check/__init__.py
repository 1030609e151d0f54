"""Exercises that check themselves.

A notebook's exercise cell defines a function, and the next cell hands it to the function of the
same purpose here, for example `check.masked_gap(my_masked_gap)`. It prints one line and returns
True, or prints what is wrong in the learner's terms and returns False. It never raises on account
of an answer, and never shows how the exercise is done.

Most exercises are a table: the right function, the cases to try it on, and the slips that people
make, each with the words that help. The open ones have many right answers, and judge what comes
out. `judge` runs, compares and tells; the exercises lie by chapter.
Shapes: N images, d channels, h x w cells, B episodes, K supports.
"""

from .chapter01 import averages_disagree, episodes_needed, miou
from .chapter02 import masked_gap, merge_averages, same_average
from .chapter03 import own_split, split_regions, two_vectors
from .chapter04 import LOSSES, PARTS, cross_entropy, loss_is_not_the_metric, who_learns
from .chapter05 import own_map, ranked_right, ring, several_priors
from .chapter06 import confidence, fuse, own_score
from .chapter07 import centred, own_rule, part_averages
from .chapter08 import honest_choice, released_regions, silent_switches
from .chapter09 import comparable, plan, share

__all__ = [
    "LOSSES", "PARTS", "averages_disagree", "centred", "comparable", "confidence",
    "cross_entropy", "episodes_needed", "fuse", "honest_choice", "loss_is_not_the_metric",
    "masked_gap", "merge_averages", "miou", "own_map", "own_rule", "own_score", "own_split",
    "part_averages", "plan", "ranked_right", "released_regions", "ring", "same_average",
    "several_priors", "share", "split_regions", "silent_switches", "two_vectors", "who_learns",
]  # fmt: skip
