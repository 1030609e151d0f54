"""Everything that becomes a ready model: backbones, building, checkpoints, released weights, and
methods without training. Imports scl.method and below.
"""
