"""python -m scl run, table and flops."""

from __future__ import annotations

import argparse

from scl.files import write_text
from scl.study.cells import run_cell
from scl.study.costs import write_record
from scl.study.grid import KEPT, RESULTS, Cell, grid, missing, run_all
from scl.study.published import references
from scl.study.tables import fill, flop_table, published_table, report


def run(options: argparse.Namespace) -> int:
    """Compute the cells that are asked for, or list the missing ones."""
    results = options.results or RESULTS
    cells = [cell for cell in grid(options.data, options.head) if _wanted(cell, options)]
    if not cells:
        raise ValueError("no cell fits these options: see --help for folds, seeds and variants")
    if options.list:
        for cell in missing(cells, results):
            print(cell.command)
        return 0
    if options.all:
        failed = run_all(cells, options.jobs, results, options.root)
        print(f"{len(cells) - len(failed)} of {len(cells)} cells are there")
        return 1 if failed else 0
    kept = results.parent / KEPT.relative_to(RESULTS.parent)
    for cell in cells:
        done = run_cell(cell, None, results, options.root, progress=False, kept=kept)
        print(done, flush=True)
    return 0


def _wanted(cell: Cell, options: argparse.Namespace) -> bool:
    """Does a cell fit the options? One stage at a time, unless many cells are asked for."""
    stage = options.stage or (None if options.all or options.list else "final")
    return (
        (stage is None or cell.stage == stage)
        and (options.variant is None or cell.variant in options.variant)
        and (options.fold is None or cell.fold == options.fold)
        and (options.seed is None or cell.seed == options.seed)
    )


def table(options: argparse.Namespace) -> None:
    """Print the stored tables, put them into a page, or quote the paper's."""
    results = options.results or RESULTS
    if options.paper is not None:
        print(f"{published_table(options.paper)}\n\n{references(options.paper)}")
    elif options.fill:
        write_text(options.fill, fill(options.fill.read_text(encoding="utf-8"), results))
    else:
        print(report(options.data, options.head, results))


def flops(options: argparse.Namespace) -> None:
    """Count the arithmetic of one episode at full size, and print its table."""
    results = options.results or RESULTS
    path = write_record(results)
    print(f"{flop_table(results)}\n\nwritten to {path}")
