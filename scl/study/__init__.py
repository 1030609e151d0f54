"""What the course has measured: the grid of trained heads, its tables, what the paper published.

It may import `scl.training`, `scl.evaluation` and what stands below them.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "choices": "plateau_by_variant plateau_curves",
        "differences": "difference",
        "paper_tables": "paper_reading paper_table",
        "scores": "mean_score read_scores seed_noise stored",
        "shipped_heads": "shipped_model",
        "tables": "SWAP_NAMES five_shot_table one_shot_table reading swap_table",
    },
)
