"""Self-guided and cross-guided few-shot segmentation (SCL, CVPR 2021), small and tested.

Data flow one way:

    toyshop, photos -> datasets -> episode -> backbones -> heads (vectors) -> model (fusion)
    -> bank -> train (losses), evaluate (metric)

Stored results: `experiments` says what is run, `runs` computes it, `tables` prints it, and `kept`
brings a stored head back. The chapters' own measurements are in `explore` (what vectors find),
`gradients`, `several_shots` and `intervals`; `looks` holds those behind the explorers. `draw`,
`panels`, `widgets` and the notebooks sit on top. `check` judges the answers to the notebooks'
exercises.
"""

__version__ = "0.1.0"
