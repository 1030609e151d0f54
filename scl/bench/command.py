"""python -m scl bench."""

from __future__ import annotations

import argparse

from scl.bench import cpu, gpu
from scl.device import pick_device
from scl.study.devices import cpu_table, growth_table
from scl.study.grid import RESULTS


def bench(options: argparse.Namespace) -> None:
    """Measure parts, each in a process of its own, and print what was found."""
    if options.what == "cpu":
        path = cpu.measure_all(options.out or RESULTS, options.repeats, options.rehearse)
        print(cpu_table(path), growth_table(path), sep="\n\n")
        return
    strange = [name for name in options.part if name not in gpu.PARTS]
    if strange:
        raise ValueError(f"--part {strange[0]!r}: expected some of {list(gpu.PARTS)}")
    out, rest = options.out or RESULTS / "devices", (options.rehearse, options.pascal)
    if options.child:
        gpu.measure_part(options.part[0], out, options.device, *rest)
        return
    if pick_device(options.device).type == "cpu" and not (options.rehearse or options.part):
        raise ValueError(
            "this machine has no CUDA, and full sizes would take a CPU hours: add --rehearse, or "
            f"name parts by --part, some of {list(gpu.PARTS)}"
        )
    print(gpu.table(gpu.measure(out, options.device, *rest, options.part)))
