"""What the course has measured: the grid of runs, comparisons, tables, published numbers.

It may import `scl.training`, `scl.evaluation` and what stands below them.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "cells": "plateau_by_variant plateau_curves",
        "kept": "kept_model",
        "tables": "SWAP_NAMES difference five_shot_table mean_score one_shot_table paper_reading"
        " paper_table read_runs reading seed_noise stored swap_table",
    },
)
