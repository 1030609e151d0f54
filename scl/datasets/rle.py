"""COCO's compressed run lengths, read only to check them before pycocotools draws them."""

from __future__ import annotations


def run_lengths(text: str) -> list[int]:
    """The run lengths of COCO's compressed form (background first), or a ValueError.

    Each character carries five bits, lowest first, and a sixth that says "more follows"; from the
    fourth number on, what is stored is the difference to the number two places before.
    """
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f"{character!r} is no character of compressed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return counts
