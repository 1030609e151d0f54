"""Everything that becomes a ready model: backbones, presets, checkpoints, released weights.

It may import `scl.method` and what stands below it.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "backbones": "EfficientNetLite0",
        "build": "ModelConfig build_model",
        "checkpoint": "load_checkpoint save_checkpoint",
        "general": "load_general",
        "untrained": "all_foreground cosine_guides cosine_method",
    },
)
