"""Self-guided and cross-guided few-shot segmentation (SCL, CVPR 2021), small and tested.

Data flow one way, and each module imports only what stands before it:

    toyshop, datasets -> episode -> backbones -> vectors -> heads -> model, fusion -> metric

`losses`, `train` and `evaluate` use them; `experiments` and `tables` make and print the stored
results; `draw`, `widgets` and the notebooks sit on top.
"""

__version__ = "0.1.0"
