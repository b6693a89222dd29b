"""`netbuilder plot RUN...`: the curves of trainings, of netbuilder's record or of a log of Caffe."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.cli.options import Verbs, add_debug, add_force, add_json, add_output
from netbuilder.cli.training_options import add_tensorboard
from netbuilder.errors import ConfigError, FileError, did_you_mean, printable

if TYPE_CHECKING:
    from netbuilder.training.history import History

__all__ = ["add_parser"]

_KINDS = ("png", "svg", "pdf")
_ALONG = ("iterations", "epochs", "time", "images")
# What a training's folder has, the best first: the record, its table, a log.
_IN_FOLDER = (
    ("*run.json",),
    ("*train.csv",),
    ("*.log", "*.log.gz", "*.log.bz2", "*.log.xz", "*.log.INFO.*", "caffe.INFO"),
)


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "plot",
        description="Draw the curves of trainings, several in one figure: losses, outputs of tests, rate. A "
        "RUN is the folder of a training, its run.json or train.csv, or any log of `caffe train`.",
        epilog="example: netbuilder plot runs/base runs/wide -o curves.svg",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="a training; NAME=RUN calls it NAME in the figure"
    )
    add_output(parser, "the file; its suffix says png, svg or pdf (default: curves.png)", "FILE")
    parser.add_argument("--x", choices=_ALONG, default="iterations", help="the lower axis")
    parser.add_argument(
        "--y", nargs="+", action="extend", default=[], metavar="WHAT",
        help="the panels: loss, accuracy, rate, or names of outputs (default: the first three)",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=int, metavar="N",
        help="draw the mean of N rows over those of the training; 1: none (default: by their number)",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, metavar="N", help="the images of an iteration, if not recorded")
    parser.add_argument(
        "--epoch-images", type=int, metavar="N", help="the images of an epoch, if not recorded"
    )
    add_tensorboard(parser)
    add_force(parser, "replace a file that netbuilder did not draw")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.draw.drawing import write
    from netbuilder.report.plots import plotted
    from netbuilder.training.curves import curves_plot

    for option in ("smooth", "batch", "epoch_images"):
        if (value := getattr(args, option)) is not None and value < 1:
            raise ConfigError(f"--{option.replace('_', '-')} is 1 or more, got {value}", key=option)
    path = Path(args.output or "curves.png")
    kind = _kind(path)
    files = _files(args.runs)
    runs = [
        replace(run, batch=args.batch or run.batch, images=args.epoch_images or run.images)
        for run in _histories(files)
    ]
    written = []
    if args.output or not args.tensorboard:
        plot = curves_plot(runs, along=args.x, smooth=args.smooth, shown=args.y)
        write(path, plotted(plot).saved(kind), force=args.force)
        written.append(path)
    if args.tensorboard:
        written += _events(Path(args.tensorboard), runs, [file for _, file in files])
    if args.json:
        print(json.dumps(_data(runs, files, written), indent=1))
    for one in written:
        print(printable(f"wrote {one}"), file=sys.stderr)
    return 0


def _kind(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise ConfigError(
            f"curves are drawn as png, svg or pdf, by the suffix of the file; got '{path}'",
            hint=did_you_mean(kind, _KINDS)
            or f"name it {path / 'curves.png' if path.is_dir() else path.with_suffix('.png')}",
        )
    return kind


# ---- trainings -------------------------------------------------------------------------------------------


def _files(words: Sequence[str]) -> list[tuple[str, Path]]:
    """The file of each training, and the name that was given to it or ""; each file once."""
    found: dict[str, tuple[str, Path]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        if not equals or os.path.exists(word):
            name, rest = "", word
        for path in _found(Path(rest)):
            found.setdefault(os.path.realpath(path), (name, path))
    return list(found.values())


def _found(place: Path) -> list[Path]:
    """The files of a word: itself, those of a folder, or those of a record whose prefix it is."""
    from netbuilder.training.snapshots import RUN_RECORD, TRAIN_TABLE

    if place.is_dir():
        for patterns in _IN_FOLDER:
            if found := sorted({path for pattern in patterns for path in place.glob(pattern)}):
                return found
        raise FileError(
            f"there is no training in '{place}': no *run.json, *train.csv or *.log",
            hint="name the log itself, whatever it is called",
        )
    if place.exists():
        return [place]
    for ending in (RUN_RECORD, TRAIN_TABLE):
        path = Path(f"{place}{ending}")
        if path.exists():
            return [path]
    raise FileError(f"there is no file or folder '{place}'")


def _histories(files: Sequence[tuple[str, Path]]) -> list[History]:
    from netbuilder.training.history import names_apart

    names = names_apart([path for _, path in files])
    return [_history(path, name or apart) for (name, path), apart in zip(files, names, strict=True)]


def _history(path: Path, name: str) -> History:
    """The history of a training, from its record or its log. Raises FileError for another file."""
    from netbuilder.engines.caffe.log_history import is_log, read_log
    from netbuilder.training.history import read_history

    if path.suffix in (".json", ".csv"):
        return read_history(path, name)
    if not is_log(path):
        raise FileError(
            f"'{path}' is neither the log of a training nor the record of one",
            hint="a RUN is the folder of a training, its run.json or train.csv, or a log of caffe train",
        )
    return read_log(path, name)


def _events(folder: Path, runs: Sequence[History], files: Sequence[Path]) -> list[Path]:
    """Write the event files, in a folder for each training that its name gives."""
    from netbuilder.training.tensorboard import write_history

    found: dict[Path, Path] = {}
    for run, file in zip(runs, files, strict=True):
        name = "".join(c if c.isalnum() or c in "-_.+ " else "_" for c in run.name).strip(". ") or "run"
        place = folder / name
        while place in found:
            place = place.with_name(place.name + "_")
        found[place] = write_history(place, run, file.stat().st_mtime)
    return list(found.values())


def _data(runs: Sequence[History], files: Sequence[tuple[str, Path]], written: Sequence[Path]) -> Any:
    """What was drawn, as JSON data."""
    from netbuilder.training.record import finite

    entries = []
    for run, (_, path) in zip(runs, files, strict=True):
        last = run.train[-1] if run.train else None
        entries.append(
            {
                "name": run.name,
                "file": str(path),
                "rows": len(run.train),
                "tests": len(run.tests),
                "iteration": last.iteration if last else None,
                "loss": last.loss if last else None,
                "lr": last.rate if last else None,
                "seconds": last.seconds if last else None,
                "least_loss": min((r.loss for r in run.train if math.isfinite(r.loss)), default=None),
                "batch": run.batch,
                "images": run.images,
                "last_tests": _last_tests(run),
            }
        )
    return finite({"version": 1, "runs": entries, "files": [str(path) for path in written]})


def _last_tests(run: History) -> list[dict[str, Any]]:
    """The last test of each test net."""
    last = {test.net: test for test in run.tests}
    return [
        {
            "net": test.net,
            "iteration": test.iteration,
            "outputs": {k: list(v) for k, v in test.outputs.items()},
        }
        for _, test in sorted(last.items())
    ]
