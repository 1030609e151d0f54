"""python -m scl run, table and flops."""

from __future__ import annotations

import argparse

from scl.files import kept_folder, write_json, write_text
from scl.models.general import general_record, load_general
from scl.study.compute import compute, compute_all
from scl.study.costs import write_record
from scl.study.grid import HEADS, RESULTS, Experiment, grid, missing
from scl.study.pages import every_table, fill, flop_table
from scl.study.paper_tables import published_table
from scl.study.published import references


def run(options: argparse.Namespace) -> int:
    """Run the experiments that are asked for, or list the missing ones."""
    results = options.results or RESULTS
    experiments = [each for each in grid(options.head) if _wanted(each, options)]
    if not experiments:
        raise ValueError("nothing fits these options: see --help for folds, seeds and variants")
    if options.list:
        for each in missing(experiments, results):
            print(each.command)
        return 0
    if options.all:
        failed = compute_all(experiments, options.jobs, results)
        print(f"{len(experiments) - len(failed)} of {len(experiments)} experiments are there")
        return 1 if failed else 0
    heads = results.parent / HEADS.relative_to(RESULTS.parent)
    for each in experiments:
        print(compute(each, results=results, heads=heads), flush=True)
    return 0


def _wanted(experiment: Experiment, options: argparse.Namespace) -> bool:
    """Does an experiment fit the options? One stage at a time, unless many are asked for."""
    stage = options.stage or (None if options.all or options.list else "final")
    return (
        (stage is None or experiment.stage == stage)
        and (options.variant is None or experiment.variant in options.variant)
        and (options.fold is None or experiment.fold == options.fold)
        and (options.seed is None or experiment.seed == options.seed)
    )


def table(options: argparse.Namespace) -> None:
    """Print the stored tables, put them into a page, or quote the paper's."""
    results = options.results or RESULTS
    if options.paper is not None:
        print(f"{published_table(options.paper)}\n\n{references(options.paper)}")
    elif options.fill:
        write_text(options.fill, fill(options.fill.read_text(encoding="utf-8"), results))
    else:
        print(every_table(options.head, results))


def side(options: argparse.Namespace) -> None:
    """Train and score the rows that are missing, or list the runs that have such rows."""
    from scl.study import side_by_side as rows  # here, for it brings the backbones

    results = options.results or RESULTS
    wanted = [each for row in options.row or rows.ROWS for each in rows.GROUPS.get(row, (row,))]
    known = (*rows.ROWS, *rows.GROUPS, *rows.PAPER_ROWS)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"--row {unknown[0]}: expected one of {', '.join(known)}")
    if options.plateau:
        from scl.study.side_plateau import climb

        if options.row or options.list or options.seed != [0]:
            raise ValueError(
                "--plateau takes its own rows, of seed 0: leave out --row, --list, --seed"
            )
        for fold in options.fold:
            kept = options.kept or kept_folder()
            print(climb(options.data, fold, rows.SideBudget(), options.root, kept, results))
        return
    for seed in options.seed:
        for fold in options.fold:
            asked = options.data, fold, seed
            if options.list and rows.missing(*asked, results, wanted):
                root = f" --root {options.root}" if options.root else ""
                row = f" --row {' '.join(options.row)}" if options.row else ""
                print(
                    f"python -m scl side --data {asked[0]}{root} --fold {fold} --seed {seed}{row}"
                )
            elif not options.list:
                kept = options.kept or kept_folder()
                for path in rows.run(
                    *asked, rows.SideBudget(), options.root, kept, results, wanted
                ):
                    print(path, flush=True)


def general(options: argparse.Namespace) -> None:
    """Train the general model, or one for a fold, which is tested; or test it on a folder."""
    from scl.models.general import FOLDER
    from scl.study import general as making  # here, for it brings the toys

    folder, kept = options.out or FOLDER, options.kept or kept_folder()
    if options.photos:
        dataset, name = making.photographs(options.photos), "general-photos"
    elif options.root is None:
        raise ValueError("general needs --root (to train) or --photos (to test): name a folder")
    else:
        print(making.make(options.root, kept, folder, fold=options.fold))
        if options.fold is None:
            return
        dataset, name = making.novel_of(options.root, options.fold), f"general-f{options.fold}"
    model = load_general(folder)
    if options.small:
        from scl.study.small import measure

        name, found = "general-small", measure(model, dataset, options.episodes)
    else:
        found = making.judge(model, dataset, kept, options.episodes)
    path = (options.results or RESULTS) / f"{name}.json"
    write_json(path, {"model": general_record(folder), "episodes": options.episodes, **found})
    print(path)


def flops(options: argparse.Namespace) -> None:
    """Count the arithmetic of one episode at full size, and print its table."""
    results = options.results or RESULTS
    path = write_record(results)
    print(f"{flop_table(results)}\n\nwritten to {path}")
