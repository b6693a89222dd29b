"""`netbuilder train SOLVER`: train by Caffe or PyTorch, with progress, a record, and snapshots."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from netbuilder.cli.options import Verbs, add_debug, add_force, add_gpu, add_json, add_state, add_threads
from netbuilder.cli.progress import Progress, clock
from netbuilder.cli.training_options import (
    add_device,
    add_engine,
    add_python_layers,
    add_weights,
    report_weights,
    stopping,
    weights_files,
    with_python_layers,
)
from netbuilder.errors import FileError, NetBuilderError
from netbuilder.storage.files import reason

if TYPE_CHECKING:
    from netbuilder.training.events import Ended, Run
    from netbuilder.training.plan import TrainingPlan
    from netbuilder.training.record import Record

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "train",
        description="Train by real Caffe, wherever it is (docs/real-caffe.md), or by PyTorch "
        "(docs/training-in-pytorch.md). Ctrl-C ends after the iteration, with a snapshot; a second one ends "
        "at once.",
        epilog="example: netbuilder train solver.prototxt --resume latest. Exit code: 0 trained to the end, "
        "1 the loss was no number (by PyTorch), 2 a mistake, or the engine failed, 130 stopped by Ctrl-C",
    )
    parser.add_argument(
        "solver", metavar="SOLVER", help="a solver file; its net is looked for from this folder"
    )
    add_state(parser)
    add_engine(parser)
    add_gpu(parser, "the devices (default: as the solver says, or the CPU)", "0,1|all")
    add_device(parser)
    parser.add_argument(
        "--compile", action="store_true", help="compile the net (PyTorch; takes a minute at the start)"
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="the random_seed, if not the solver's")
    parser.add_argument(
        "--extras", metavar="FILE|none",
        help="what the recipe does besides Caffe's solver, in YAML, PyTorch only (default: the file beside "
        "the solver, SOLVER.extras.yaml, if there is one)",
    )  # fmt: skip
    add_weights(parser, "to begin with, by layer name")
    parser.add_argument(
        "--resume", metavar="latest|STATE", help="go on from a snapshot: the latest, or a .solverstate"
    )
    parser.add_argument(
        "--no-replay", action="store_true",
        help="with --resume: begin with the first record of the data, as Caffe does, and do not read it "
        "again up to where the snapshot was",
    )  # fmt: skip
    add_threads(parser)
    add_python_layers(parser)
    parser.add_argument("--no-draw", action="store_true", help="draw no curves")
    add_force(parser, "remove the snapshots of an earlier training")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.engines import find_engine
    from netbuilder.training.plan import parse_devices, plan_training, solver_models
    from netbuilder.training.record import Record

    devices = None if args.gpu is None else parse_devices(args.gpu) if args.gpu else []
    engine = find_engine(args.engine)
    description = engine.describe()
    plan = plan_training(
        args.solver,
        engine.snapshots,
        devices=devices,
        weights=weights_files(args),
        resume=args.resume,
        level=args.level,
        stages=tuple(args.stage),
        replay=not args.no_replay,
        force=args.force,
        threads=args.threads,
        seed=args.seed,
        dtype=args.dtype,
        compile=args.compile,
        extras=_extras(args),
    )
    nets = tuple((where, with_python_layers(args, net)) for where, net in plan.nets)
    plan = replace(plan, nets=nets)
    job = engine.train(plan)
    # A snapshot brings all weights; otherwise Caffe loads those of the solver first.
    models = () if plan.state or not plan.nets else (*solver_models(plan.solver), *plan.weights)
    taken = report_weights([plan.nets[0][1]], models) if models else None
    plan.make_folder()
    for text in (*plan.warnings, *job.warnings):
        print(f"warning: {text}", file=sys.stderr)
    for text in (description, *job.notes):
        print(text, file=sys.stderr)
    solver = plan.solver
    head = {"solver": args.solver, args.engine: description, "from": plan.begin, "max_iter": solver.max_iter}
    if taken is not None:
        head["model"] = taken
    end: dict[str, object] = {"end": "failed", "iteration": plan.begin}
    try:
        with Record(
            plan.prefix, plan.begin, solver.display, solver.average_loss, names=engine.snapshots,
            engine=args.engine,
        ) as record:  # fmt: skip
            try:
                with job.start(record.log) as run, stopping(run):
                    ended = _follow(run, record, plan, head)
                if ended is not None:
                    end = {"end": ended.how, "iteration": ended.iteration}
            except NetBuilderError as error:
                end["reason"] = error.text
                raise
            finally:
                data = record.write(**head, **end)
                if not args.no_draw and len(record.train) > 1:
                    _draw(record, args.solver)
    except OSError as error:
        raise FileError(
            f"cannot write what the training did, beside its snapshots '{plan.prefix}': {reason(error)}"
        ) from None
    finally:
        plan.clean()
    if args.json:
        import json

        print(json.dumps(data, indent=1))
    else:
        _summary(data, record)
    return {"stopped": 130, "diverged": 1}.get(str(end["end"]), 0)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to 2147483647, got '{text}'")
    return int(text)


def _extras(args: argparse.Namespace) -> dict[str, object]:
    """The extras of the file that --extras names, or that is beside the solver."""
    from netbuilder.config.recipes import extras_path, read_extras

    if args.extras:
        return {} if args.extras == "none" else read_extras(args.extras)
    beside = extras_path(args.solver)
    if not beside.is_file():
        return {}
    extras = read_extras(str(beside))
    print(f"extras of {beside}: {', '.join(extras)}", file=sys.stderr)
    return extras


def _follow(run: Run, record: Record, plan: TrainingPlan, head: dict[str, Any]) -> Ended | None:
    """Follow the training; returns how it ended."""
    from netbuilder.training import events

    end, last, progress = None, head["max_iter"] - 1, Progress("iterations", head["max_iter"])
    table, pace = _Table(progress), ""
    for event in run:
        row = record.take(event, last)
        match event:
            case events.Started():
                plan.remove_old()
            case events.Iteration(i, loss, rate):
                progress.at(i + 1, more=f"{pace}, loss {record.loss:.4g}, lr {rate:.4g}")
                if not math.isfinite(loss):
                    progress.once(f"the loss is {loss} at iteration {i}: nothing is learnt any more")
                if row:
                    table.row(i, f"{row.loss:.6g}", f"{row.rate:.6g}", "")
            case events.Pace(images, memory):
                pace = f", {images:,.0f} images/s, {memory / 2**20:,.0f} MiB"
                head |= {"images_per_second": round(images, 1), "memory": memory}
            case events.Tested():
                table.row(event.iteration, "", "", "test " + _outputs(event.outputs))
            case events.Snapshot(i):
                table.row(i, "", "", f"wrote {record.prefix}_iter_{i}.*")
                record.write(**head, end="running", iteration=i)
            case events.Replaying(done, of):
                progress.bar(f"reading the data again: iteration {done} of {of} (--no-replay skips it)")
            case events.Testing(done, of):
                progress.bar(f"testing: {done} of {of}")
            case events.Ended():
                end = event
    progress.close()
    return end


class _Table:
    """The rows of a training, above the bar: iteration, loss, rate, and what else."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._headed = False

    def row(self, iteration: object, loss: str, rate: str, more: str) -> None:
        """Print a row; the first one has a heading."""
        if not self._headed:
            self._headed = True
            self.row("iteration", "loss", "lr", "")
        self._progress.line(f"{iteration!s:>9}  {loss:>10}  {rate:>11}  {more}".rstrip())


def _outputs(outputs: Mapping[str, tuple[float, ...]]) -> str:
    return ", ".join(f"{n} {v[0]:.4f}" if len(v) == 1 else f"{n} of {len(v)}" for n, v in outputs.items())


def _draw(record: Record, title: str) -> None:
    from netbuilder.training.record import draw

    path = record.path("_curves.png")
    if draw(record.train, record.tests, path, title):
        print(f"wrote {path}", file=sys.stderr)
    else:
        print(
            "no curves drawn: matplotlib is missing (pip install 'caffe-netbuilder[draw]')", file=sys.stderr
        )


def _summary(data: dict[str, Any], record: Record) -> None:
    word = {"done": "trained to the end", "stopped": "stopped", "diverged": "diverged"}[data["end"]]
    print(f"{word}: iteration {data['iteration']} of {data['max_iter']}, {clock(data['seconds'])}")
    if "images_per_second" in data:
        print(f"{data['images_per_second']:,.0f} images/s, {data['memory'] / 2**20:,.0f} MiB")
    if record.train:
        print(f"last loss {record.train[-1].loss:.6g}")
    if record.tests:
        last = record.tests[-1]
        print(f"last test {_outputs(last.outputs)}, iteration {last.iteration}")
    for ending in ("_train.csv", "_test.csv", "_run.json", record.log_ending):
        print(f"wrote {record.path(ending)}", file=sys.stderr)
