"""The paper, Eq. 1-17: from an episode to a mask, its losses and its score. Imports scl.device.

First reading, in this order: episode, vectors, heads, losses, scl, fusion, metric; records say what
flows, rules what can be chosen. Second reading: contracts (what a head and a method are), pfenet,
refine (CANet's repeated passes), checks and words (what is refused).
"""
