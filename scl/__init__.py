"""Self-guided and cross-guided few-shot segmentation (SCL, CVPR 2021), small and tested.

Data flow one way:

    toyshop, photos -> datasets -> episode -> backbones -> heads (vectors) -> model (fusion)
    -> bank -> train (losses), evaluate (metric)

`experiments` and `tables` make and print the stored results; `draw`, `widgets` and the notebooks
sit on top. `check` judges the answers to the notebooks' exercises.
"""

__version__ = "0.1.0"
