"""Command line: python -m scl COMMAND. Errors are one line that says what to do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scl.datasets.registry import names, overview, resolve

HEADS = ("canet", "pfenet")
DEVICE = "auto, cpu or cuda"
ROOT = "folder of the data set"
KEPT = "folder of the features that are kept between calls (default: a cache of the user)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn an error of input or of files into one line and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        return resolve(options.call)(options) or 0  # imported now: --help is quick
    except (ValueError, OSError) as error:
        print(f"scl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"scl: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scl", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, room: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.set_defaults(call=f"scl.{room}.command:{name}")
        return added

    trained = "train by a recipe, or go on with a run; under torchrun on several GPUs"
    atlas = commands.add_parser("atlas", help="render the atlas of toys again, or compare two")
    _atlas_options(atlas)
    _run_options(command("run", "study", "run the tables' experiments, or list the missing ones"))
    _train_options(command("train", "training", trained))
    _bench_options(command("bench", "bench", "measure what a device does with the package"))
    flops = command("flops", "study", "count the arithmetic of one episode at full size")
    flops.add_argument("--results", type=Path, help="folder whose flops.json is written")
    _side_options(command("side", "study", "train rows on photographs side by side, score them"))
    made = "train the general model on photographs and toys, or test it on others"
    _general_options(command("general", "study", made))
    _table_options(command("table", "study", "print the stored tables"))
    _data_commands(commands.add_parser("data", help="fetch or verify the published benchmarks"))
    scored = "score a checkpoint as the paper does; can go on"
    found = "find an object in photographs, shown one with a mask"
    _evaluate_options(command("evaluate", "evaluation", scored))
    _predict_options(command("predict", "evaluation", found))
    return parser


def _atlas_options(atlas: argparse.ArgumentParser) -> None:
    add = atlas.add_argument
    add("--out", type=Path, required=True, help="folder to write to")
    add("--processes", type=int, default=2)
    add("--overwrite", action="store_true")
    add("--compare", action="store_true", help="compare with the shipped one")
    atlas.set_defaults(call=_atlas)


def _run_options(run: argparse.ArgumentParser) -> None:
    add, stages = run.add_argument, ("tuning", "plateau", "final")
    add("--data", default="toyshop", choices=("toyshop",))
    add("--head", default="canet", choices=HEADS)
    add("--variant", nargs="+", help="default: all")
    add("--fold", type=int, help="default: all")
    add("--seed", type=int, help="default: all")
    add("--stage", choices=stages, help="default: final, or all with --all")
    add("--list", action="store_true", help="print the command of each missing one, run nothing")
    add("--all", action="store_true", help="run every missing experiment")
    add("--jobs", type=int, default=2, help="processes of one thread (with --all)")
    add("--results", type=Path, help="default: the results folder of the course")


def _side_options(side: argparse.ArgumentParser) -> None:
    add = side.add_argument
    add("--data", default="pascal", choices=("pascal", "toyshop"))
    add("--root", help="folder of PASCAL VOC 2012, or of its validation part")
    add("--fold", type=int, nargs="+", default=[0, 1, 2, 3])
    add("--seed", type=int, nargs="+", default=[0])
    add("--row", nargs="+", help="default: all but the paper's heads: --row canet pfenet")
    add("--list", action="store_true", help="print the command of each missing run, run nothing")
    add("--plateau", action="store_true", help="try numbers of steps on held-out base classes")
    add("--kept", type=Path, help=KEPT)
    add("--results", type=Path, help="default: the results folder of the course")


def _general_options(general: argparse.ArgumentParser) -> None:
    add = general.add_argument
    add("--root", help="folder of PASCAL VOC 2012, or of its validation part, to train on")
    add("--fold", type=int, help="leave out its novel classes, and test on them")
    add("--photos", type=Path, help="test on these, a folder a class, instead of training")
    add("--small", action="store_true", help="set their things into large rooms, and find those")
    add("--episodes", type=int, default=500, help="of the test with one support, or of each size")
    add("--out", type=Path, help="folder of the model (default: the package's)")
    add("--kept", type=Path, help=KEPT)
    add("--results", type=Path, help="default: the results folder of the course")


def _train_options(train: argparse.ArgumentParser) -> None:
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="a TOML file, or the name of a shipped recipe")
    source.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    source.add_argument("--list", action="store_true", help="print the names of shipped recipes")
    add, change = train.add_argument, "SECTION.NAME=VALUE"
    add("--out", type=Path, help="folder of the new run")
    form = "follow the paper (default) or the released code, where a recipe has both"
    add("--as", dest="reading", choices=("paper", "released"), help=form)
    add("--root", help=ROOT)
    add("--fold", type=int)
    add("--seed", type=int)
    add("--steps", type=int, help="instead of the recipe's steps or epochs")
    add("--set", nargs="+", default=[], metavar=change, help="change the recipe (data.name=folder)")
    add("--device", default="auto", help=DEVICE)


def _bench_options(bench: argparse.ArgumentParser) -> None:
    add = bench.add_argument
    add("what", choices=("cpu", "gpu"))
    add("--repeats", type=int, default=3, help="of each reading, cpu (default: 3)")
    add("--out", type=Path, help="folder of records (default: results, or its devices)")
    add("--device", default="auto", help=DEVICE)
    add("--part", nargs="+", default=[], help="default: all")
    add("--rehearse", action="store_true", help="tiny sizes, to see that it runs")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    add("--pascal", type=Path, help="folder of PASCAL VOC 2012, if it is at hand")


def _table_options(table: argparse.ArgumentParser) -> None:
    table.add_argument("--data", default="toyshop", choices=("toyshop",))
    table.add_argument("--head", default="canet", choices=HEADS)
    table.add_argument("--results", type=Path)
    add = table.add_mutually_exclusive_group().add_argument
    add("--fill", type=Path, help="put the tables into this Markdown file instead")
    add("--paper", type=int, metavar="N", help="quote the paper's Table 1, 2 or 3 instead")


def _data_commands(data: argparse.ArgumentParser) -> None:
    actions = data.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("download", help="fetch and unpack the archives of a benchmark")
    fetch.set_defaults(call="scl.datasets.fetch.command:download")
    add, by_hand = fetch.add_argument, "files fetched by hand, not again"
    add("--data", required=True, choices=names("fetch"))
    add("--archive", type=Path, nargs="+", default=[], help=by_hand)
    check = actions.add_parser("verify", help="read every file, compare with the published numbers")
    check.set_defaults(call="scl.datasets.fetch.command:check")
    add = check.add_argument
    add("--data", required=True, choices=names("verify"))
    add("--fold", type=int, help="default: all")
    add("--subset", action="store_true", help="expect a part of the data set")
    add("--sums", type=Path, help="checksums to compare with, or to write once")
    for action in (fetch, check):
        action.add_argument("--root", type=Path, required=True, help=ROOT)
        action.add_argument("--year", default="2014", choices=("2014", "2017"), help="of COCO")


def _evaluate_options(evaluate: argparse.ArgumentParser) -> None:
    add, splits = evaluate.add_argument, ("novel", "test", "validation", "train")
    evaluate.epilog = overview()
    add("--data", required=True, choices=names())
    add("--root", help=ROOT)
    add("--fold", type=int, help="0 to 3; without one, all classes of a folder")
    add("--split", default="novel", choices=splits)
    add("--held-out", type=int, default=0, help="base classes of --split validation")
    add("--grouping", default="interleaved", choices=("interleaved", "contiguous"), help="of COCO")
    add("--shots", type=int, help="supports of an episode (default: 1)")
    add("--episodes", type=int, help="of each seed (default: 1000)")
    add("--seeds", type=int, help="how many (default: 5)")
    add("--out", type=Path, help="record to write, and to go on with (default: named after all)")
    add("--batch", type=int, default=1, help="episodes that go through the model together")
    add("--workers", type=int, default=2, help="threads that read images")
    walk = "how episodes follow each other (default: as its recipe says, if known, or uniform)"
    add("--walk", choices=("uniform", "released", "released-pairs"), help=walk)
    exact = "float32 (default) for published numbers; bfloat16 is quicker on a GPU"
    add("--precision", default="float32", choices=("float32", "bfloat16"), help=exact)
    add = evaluate.add_mutually_exclusive_group().add_argument
    add("--episodes-file", type=Path, metavar="FILE", help="replay these episodes")
    add("--write-episodes", type=Path, metavar="FILE", help="write them down")
    _model_options(evaluate)


def _predict_options(predict: argparse.ArgumentParser) -> None:
    add, pair = predict.add_argument, "a photograph and its mask, of any kind; repeat for more"
    add("--support", action="append", required=True, metavar="IMAGE:MASK", help=pair)
    found_in = "photographs to find the object in: files, folders, or quoted patterns ('*.jpg')"
    add("--query", nargs="+", type=Path, required=True, help=found_in)
    add("--out", type=Path, required=True, help="folder for a mask and an overlay of each, a CSV")
    add("--overwrite", action="store_true", help="replace what an earlier predict wrote")
    named = "which value, colour or name is the object, where a mask holds several"
    add("--mask-label", metavar="VALUE_OR_NAME", help=named)
    add("--invert", action="store_true", help="the object is what the masks leave out")
    chances = "write the chance of the object at each pixel, too (grey PNG, 16 bits)"
    add("--probabilities", action="store_true", help=chances)
    _model_options(predict, "general")


def _model_options(parser: argparse.ArgumentParser, usual: str | None = None) -> None:
    """Add what every use of a checkpoint needs; usual: the one that is taken without a word."""
    add = parser.add_argument
    kinds = "a file, ours or the released code's; general; cosine; or a head in data/heads by name"
    kinds += f" (default: {usual})" if usual else ""
    named = None if usual is None else Path(usual)
    add("--checkpoint", type=Path, default=named, required=usual is None, help=kinds)
    add("--resize", choices=("exact", "released", "native", "whole"), help="see scl.datasets.fit")
    add("--side", type=int, help="pixels a side (default: as trained, if that is known, or 473)")
    known = "of several supports (default: as its recipe says, if that is known, or cross)"
    add("--fusion", choices=("cross", "average", "vectors"), help=known)
    add("--device", default="auto", help=DEVICE)


def _atlas(options: argparse.Namespace) -> None:
    from scl.toyshop.atlas import Atlas, maker

    maker().rebuild(options.out, processes=options.processes, overwrite=options.overwrite)
    if options.compare:
        found = maker().compare(Atlas.load(), Atlas.load(options.out))
        print(
            f"{100 * found.close:.3f} % of pixels within one grey level, "
            f"worst mask IoU {found.worst_iou:.5f}"
        )


if __name__ == "__main__":
    sys.exit(main())
