"""Images with masks: Toyshop, folders, the published benchmarks, their folds and kept features.

It may import `scl.models`, `scl.method`, `scl.toyshop` and what stands below them.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "bank": "FeatureBank take_maps",
        "folder": "FolderDataset",
        "folds": "split_classes",
        "photos": "read_photo",
        "toyshop": "ToyshopSet",
    },
)
