"""Self-guided and cross-guided few-shot segmentation (SCL, CVPR 2021), small and tested.

Data flow one way:

    toyshop, photos -> datasets -> episode -> backbones -> heads (vectors) -> model (fusion)
    -> bank -> train (losses), evaluate (metric)

At full size and on real data: `benchmarks` (PASCAL-5^i, COCO-20^i, FSS-1000), `augment`, `pixels`,
`recipe`, `runner` and `launch` train; `protocol`, `fit_size` and `predict` use what was trained;
`released` reads the released code's checkpoints.

Stored results: `experiments` says what is run, `runs` computes it, `tables` prints it, and `kept`
brings a stored head back. The chapters' own measurements are in `explore` (what vectors find),
`gradients`, `several_shots` and `intervals`; `looks` holds those behind the explorers. `draw`,
`panels`, `widgets` and the notebooks sit on top. `check` judges the answers to the notebooks'
exercises.
"""

__version__ = "0.1.0"

# What `scl.NAME` offers; imported when asked for, so that `import scl` stays quick.
_OFFERED = {
    "build_model": "scl.models.build",
    "full_size": "scl.models.build",
    "load_checkpoint": "scl.models.checkpoint",
    "load_released": "scl.models.released",
}


def __getattr__(name: str) -> object:
    if name not in _OFFERED:
        raise AttributeError(f"module 'scl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_OFFERED[name]), name)
