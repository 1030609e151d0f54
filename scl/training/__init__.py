"""Teach a method: the optimiser, recipes, augmentation, and the folders of runs.

It may import `scl.evaluation`, `scl.datasets` and what stands below them.
"""

from scl import offer

__getattr__, __dir__ = offer(__name__, {"trainer": "TrainConfig train"})
