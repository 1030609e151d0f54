"""Command line: python -m scl COMMAND. Errors are one line that says what to do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scl.datasets.registry import names


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn an error of input or of files into one line and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        return options.call(options) or 0
    except (ValueError, OSError) as error:
        print(f"scl: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scl", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    atlas = commands.add_parser("atlas", help="render the atlas of toys again, or compare two")
    atlas.add_argument("--out", type=Path, required=True, help="folder to write to")
    atlas.add_argument("--processes", type=int, default=2)
    atlas.add_argument("--overwrite", action="store_true")
    atlas.add_argument("--compare", action="store_true", help="compare with the shipped one")
    atlas.set_defaults(call=_atlas)

    run = commands.add_parser("run", help="compute cells of the tables, or list the missing ones")
    run.add_argument("--data", default="toyshop", choices=("toyshop", "photos"))
    run.add_argument("--head", default="canet", choices=("canet", "pfenet"))
    run.add_argument("--variant", nargs="+", help="default: all")
    run.add_argument("--fold", type=int, help="default: all")
    run.add_argument("--seed", type=int, help="default: all")
    run.add_argument(
        "--stage", choices=("tuning", "plateau", "final"), help="default: final, or all with --all"
    )
    run.add_argument(
        "--list", action="store_true", help="print the command of each missing cell, run nothing"
    )
    run.add_argument("--all", action="store_true", help="run every missing cell")
    run.add_argument("--jobs", type=int, default=2, help="processes of one thread (with --all)")
    run.add_argument("--root", help="folder of photographs (with --data photos)")
    run.add_argument("--results", type=Path, help="default: the results folder of the course")
    run.set_defaults(call=_run)

    train = commands.add_parser(
        "train", help="train by a recipe, or go on with a run; under torchrun on several GPUs"
    )
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="a TOML file, or the name of a shipped recipe")
    source.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    source.add_argument("--list", action="store_true", help="print the names of shipped recipes")
    train.add_argument("--out", type=Path, help="folder of the new run")
    train.add_argument("--root", help="folder of the data set")
    train.add_argument("--fold", type=int)
    train.add_argument("--seed", type=int)
    train.add_argument("--steps", type=int, help="instead of the recipe's steps or epochs")
    train.add_argument(
        "--set", nargs="+", default=[], metavar="SECTION.NAME=VALUE", help="change the recipe"
    )
    train.add_argument("--device", default="auto", help="auto, cpu or cuda")
    train.set_defaults(call=_train)

    bench = commands.add_parser("bench", help="train one cell on a device and record its speed")
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda")
    bench.add_argument("--results", type=Path)
    bench.set_defaults(call=_bench)

    flops = commands.add_parser("flops", help="count the arithmetic of one episode at full size")
    flops.add_argument("--results", type=Path, help="folder whose flops.json is written")
    flops.set_defaults(call=_flops)

    table = commands.add_parser("table", help="print the tables of the stored cells")
    table.add_argument("--data", default="toyshop", choices=("toyshop", "photos"))
    table.add_argument("--head", default="canet", choices=("canet", "pfenet"))
    table.add_argument("--results", type=Path)
    instead = table.add_mutually_exclusive_group()
    instead.add_argument("--fill", type=Path, help="put the tables into this Markdown file instead")
    instead.add_argument(
        "--paper", type=int, metavar="N", help="quote the paper's Table 1, 2 or 3 instead"
    )
    table.set_defaults(call=_table)

    _data_parser(commands.add_parser("data", help="fetch or verify the published benchmarks"))
    _evaluate_parser(
        commands.add_parser("evaluate", help="score a checkpoint as the paper does; can go on")
    )
    _predict_parser(
        commands.add_parser("predict", help="find an object in photographs, shown one with a mask")
    )
    return parser


def _data_parser(data: argparse.ArgumentParser) -> None:
    """python -m scl data download|verify."""
    actions = data.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("download", help="fetch and unpack the archives of a benchmark")
    fetch.add_argument("--data", required=True, choices=names("fetch"))
    fetch.add_argument(
        "--archive", type=Path, nargs="+", default=[], help="files fetched by hand, not again"
    )
    fetch.set_defaults(call=_download)
    check = actions.add_parser("verify", help="read every file, compare with the published numbers")
    check.add_argument("--data", required=True, choices=names("verify"))
    check.add_argument("--fold", type=int, help="default: all")
    check.add_argument("--subset", action="store_true", help="expect a part of the data set")
    check.add_argument("--sums", type=Path, help="checksums to compare with, or to write once")
    check.set_defaults(call=_verify)
    for action in (fetch, check):
        action.add_argument("--root", type=Path, required=True, help="folder of the data set")
        action.add_argument("--year", default="2014", choices=("2014", "2017"), help="of COCO")


def _evaluate_parser(evaluate: argparse.ArgumentParser) -> None:
    """python -m scl evaluate."""
    add = evaluate.add_argument
    add("--data", required=True, choices=names())
    add("--root", help="folder of the data set")
    add("--fold", type=int, help="0 to 3; without one, all classes of a folder")
    add("--split", default="novel", choices=("novel", "test", "validation", "train"))
    add("--held-out", type=int, default=0, help="base classes of --split validation")
    add("--grouping", default="interleaved", choices=("interleaved", "contiguous"), help="of COCO")
    add("--shots", type=int, help="supports of an episode (default: 1)")
    add("--episodes", type=int, help="of each seed (default: 1000)")
    add("--seeds", type=int, help="how many (default: 5)")
    given = evaluate.add_mutually_exclusive_group()
    given.add_argument("--episodes-file", type=Path, metavar="FILE", help="replay these episodes")
    given.add_argument("--write-episodes", type=Path, metavar="FILE", help="write them down")
    add("--out", type=Path, help="record to write, and to go on with (default: named after all)")
    add("--batch", type=int, default=1, help="episodes that go through the model together")
    add("--workers", type=int, default=2, help="threads that read images")
    _model_arguments(evaluate)
    evaluate.set_defaults(call=_evaluate)


def _predict_parser(predict: argparse.ArgumentParser) -> None:
    """python -m scl predict."""
    add = predict.add_argument
    support = {"action": "append", "required": True, "metavar": "IMAGE:MASK"}
    add("--support", **support, help="a photograph and its mask, white on black; repeat for more")
    add("--query", nargs="+", type=Path, required=True, help="photographs to find the object in")
    add("--out", type=Path, required=True, help="folder for a mask and an overlay of each")
    add("--overwrite", action="store_true")
    _model_arguments(predict)
    predict.set_defaults(call=_predict)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    """What every use of a checkpoint needs."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="ours, or one of the released code")
    add("--resize", choices=("exact", "released", "native"), help="see scl.datasets.fit.Fit")
    add("--side", type=int, help="pixels a side (default: as trained, if that is known, or 473)")
    add("--fusion", default="cross", choices=("cross", "average", "vectors"))
    add("--device", default="auto", help="auto, cpu or cuda")


def _atlas(options: argparse.Namespace) -> None:
    from scl.toyshop.atlas import Atlas, compare, rebuild

    rebuild(options.out, processes=options.processes, overwrite=options.overwrite)
    if options.compare:
        found = compare(Atlas.load(), Atlas.load(options.out))
        print(
            f"{100 * found.close:.3f} % of pixels within one grey level, "
            f"worst mask IoU {found.worst_iou:.5f}"
        )


def _run(options: argparse.Namespace) -> int:
    from scl.study.cells import run_cell
    from scl.study.grid import KEPT, RESULTS, grid, missing, run_all

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


def _wanted(cell, options: argparse.Namespace) -> bool:
    """Does a cell fit the options? One stage at a time, unless many cells are asked for."""
    stage = options.stage or (None if options.all or options.list else "final")
    return (
        (stage is None or cell.stage == stage)
        and (options.variant is None or cell.variant in options.variant)
        and (options.fold is None or cell.fold == options.fold)
        and (options.seed is None or cell.seed == options.seed)
    )


def _train(options: argparse.Namespace) -> int:
    from scl.training.launch import launch
    from scl.training.recipe import read_recipe, recipes
    from scl.training.run import saved_step

    if options.list:
        print("\n".join(recipes()))
        return 0
    recipe = None
    if options.config:
        if options.out is None:
            raise ValueError("a new run needs a folder: name it by --out")
        recipe = read_recipe(options.config, [*options.set, *_flags(options)])
    elif options.set or options.out or _flags(options):
        raise ValueError(
            "--resume goes on with the run as it was started: leave out --out, --set, --root, "
            "--fold, --seed and --steps"
        )
    folder = options.resume or options.out
    if recipe is not None and recipe.run.select == "novel":
        print(
            "scl: warning: run.select='novel' chooses the checkpoint on the classes it is tested "
            "on, as the released code does; its scores flatter",
            file=sys.stderr,
        )
    try:
        done = launch(folder, recipe, options.device)
    except KeyboardInterrupt:
        again = f"python -m scl train --resume {folder}"
        step = saved_step(folder)
        print(f"scl: interrupted; go on from step {step} by: {again}", file=sys.stderr)
        return 130
    best = f"; best mIoU {100 * done.best:.1f} at step {done.best_step}" if done.best_step else ""
    print(f"{folder}: {done.step} steps in {done.seconds:.0f} s{best}")
    return 0


def _flags(options: argparse.Namespace) -> list[str]:
    """The changes of a recipe that have flags of their own."""
    changes = {
        "data.root": options.root and json.dumps(options.root),
        "data.fold": options.fold,
        "run.seed": options.seed,
        "train.steps": options.steps,
    }
    return [f"{place}={value}" for place, value in changes.items() if value is not None]


def _bench(options: argparse.Namespace) -> None:
    import torch

    from scl.study.cells import device_record
    from scl.study.grid import RESULTS

    torch.set_num_threads(1)
    path = device_record(options.device, results=options.results or RESULTS)
    print(path.read_text(encoding="utf-8"))


def _flops(options: argparse.Namespace) -> None:
    from scl.study.costs import write_record
    from scl.study.grid import RESULTS
    from scl.study.tables import flop_table

    results = options.results or RESULTS
    path = write_record(results)
    print(f"{flop_table(results)}\n\nwritten to {path}")


def _table(options: argparse.Namespace) -> None:
    from scl.files import write_atomically
    from scl.study.grid import RESULTS
    from scl.study.published import references
    from scl.study.tables import fill, published_table, report

    if options.paper is not None:
        print(f"{published_table(options.paper)}\n\n{references(options.paper)}")
        return
    if options.fill:
        text = fill(options.fill.read_text(encoding="utf-8"), options.results or RESULTS)
        write_atomically(options.fill, lambda path: path.write_text(text, encoding="utf-8"))
        return
    print(report(options.data, options.head, options.results or RESULTS))


def _download(options: argparse.Namespace) -> None:
    from scl.datasets import registry

    fetch = registry.find(options.data).fetch or ""
    registry.resolve(fetch)(options.root, options.archive, options.year)
    print(f"to check it: python -m scl data verify --data {options.data} --root {options.root}")


def _verify(options: argparse.Namespace) -> int:
    from scl.datasets.fetch.verify import verify

    report = verify(
        options.data, options.root, options.fold, options.subset, options.year, options.sums
    )
    print(report.text())
    return 0 if report.ok else 1


def _evaluate(options: argparse.Namespace) -> int:
    try:
        from scl.device import torchrun
        from scl.evaluation.protocol import evaluate_protocol
        from scl.evaluation.record import in_percent

        model, out = _opened(options), options.out or _named_after(options)
        dataset, config, episodes = _plan(options)
        with torchrun(options.device) as (workers, device):
            record = evaluate_protocol(
                model,
                dataset,
                config,
                out,
                device,
                episodes=episodes,
                batch=options.batch,
                workers=options.workers,
            )
            if workers.first:
                print(f"{in_percent(record)}\nwritten to {out}")
    except KeyboardInterrupt as stop:
        print(f"scl: {str(stop) or 'interrupted before the first episode'}", file=sys.stderr)
        return 130
    return 0


def _named_after(options: argparse.Namespace) -> Path:
    """A record's name that tells what was evaluated, in the current folder."""
    fold = "" if options.fold is None else f"-f{options.fold}"
    listed = options.episodes_file.stem if options.episodes_file else f"k{options.shots or 1}"
    own = options.checkpoint.stem
    if own in ("best", "last"):  # every run has them: its folder tells them apart
        own = f"{options.checkpoint.resolve().parent.name}-{own}"
    return Path(f"{own}-{options.data}{fold}-{options.split}-{listed}.json")


def _plan(options: argparse.Namespace) -> tuple:
    """The data set, the protocol and the episodes to evaluate."""
    from scl.evaluation.episode_list import read_episodes, write_episodes
    from scl.evaluation.protocol import ProtocolConfig, draw_episodes

    dataset, episodes, known = _data_set(options), None, {}
    if options.episodes_file:
        episodes = read_episodes(options.episodes_file, dataset)
        some = next(iter(episodes.values()))
        known = {"episodes": len(some), "seeds": tuple(episodes), "shots": len(some[0].supports)}
    seeds = None if options.seeds is None else tuple(range(options.seeds))
    asked = {"episodes": options.episodes, "seeds": seeds, "shots": options.shots}
    known |= {name: value for name, value in asked.items() if value is not None}
    config = ProtocolConfig(**known, fusion=options.fusion, fit=_fit(options))
    if options.write_episodes:
        episodes = draw_episodes(dataset, config)
        print(f"wrote {write_episodes(options.write_episodes, dataset, episodes)}")
    return dataset, config, episodes


def _data_set(options: argparse.Namespace):
    """The images and masks of one split, at their original size."""
    from scl.datasets.registry import DataConfig, find, open_to_test

    data = DataConfig(
        name=options.data,
        root=options.root,
        fold=options.fold or 0,
        grouping=options.grouping,
        side=_side(options, find(options.data).composed or 473),
        held_out=options.held_out,
    )
    return open_to_test(data, options.split, options.shots or 1, options.fold)


def _predict(options: argparse.Namespace) -> int:
    try:
        from scl.evaluation.predict import describe, predict_files, split_pair

        supports = [split_pair(text) for text in options.support]
        done = predict_files(
            _opened(options),
            supports,
            options.query,
            options.out,
            _fit(options),
            options.fusion,
            options.overwrite,
            options.device,
        )
    except KeyboardInterrupt:
        print(f"scl: interrupted; what is done is in {options.out}", file=sys.stderr)
        return 130
    print(describe(done, supports))
    for error in done.failed.values():
        print(f"scl: left out: {error}", file=sys.stderr)
    return 1 if done.failed else 0


def _opened(options: argparse.Namespace):
    """The model of --checkpoint; says so if its backbone never learned to see."""
    from scl.models.checkpoint import open_model, random_backbone

    model, name = open_model(options.checkpoint), random_backbone(options.checkpoint)
    if name:
        print(
            f"scl: warning: the backbone of {options.checkpoint} ({name}) has random weights: its "
            "scores say little; train with weights='IMAGENET1K_V1'",
            file=sys.stderr,
        )
    return model


def _fit(options: argparse.Namespace):
    """How images are brought to the network."""
    from scl.datasets.fit import Fit
    from scl.datasets.registry import find

    # Scenes have no size of their own and are composed at the network's.
    composed = "data" in options and find(options.data).composed
    method = options.resize or ("native" if composed else "exact")
    return Fit(_side(options, composed or 473), method)


def _side(options: argparse.Namespace, default: int) -> int:
    """Pixels a side: as asked for, else as trained, else the default."""
    from scl.models.checkpoint import trained_side

    if options.side is not None:
        return options.side
    return trained_side(options.checkpoint) or default


if __name__ == "__main__":
    sys.exit(main())
