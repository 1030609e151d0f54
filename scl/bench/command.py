"""python -m scl bench."""

from __future__ import annotations

import argparse

from scl.bench import gpu
from scl.study.grid import RESULTS


def bench(options: argparse.Namespace) -> None:
    """Measure every part in a process of its own, and print the table; or one part in this one."""
    strange = [name for name in options.part if name not in gpu.PARTS]
    if strange:
        raise ValueError(f"--part {strange[0]!r}: expected some of {list(gpu.PARTS)}")
    out, rest = options.out or RESULTS / "devices", (options.rehearse, options.pascal)
    if len(options.part) == 1:
        gpu.measure_part(options.part[0], out, options.device, *rest)
        return
    print(gpu.table(gpu.measure(out, options.device, *rest, options.part)))
