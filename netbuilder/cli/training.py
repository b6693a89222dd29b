"""A training by the options of `netbuilder train`: with progress, a record, and snapshots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.cli.going_on import print_command
from netbuilder.cli.progress import Progress, clock
from netbuilder.cli.solver_fields import solver_fields
from netbuilder.cli.streams import silence
from netbuilder.cli.terminal import say
from netbuilder.cli.training_options import (
    report_weights,
    require_trust,
    stopping,
    weights_files,
    with_python_layers,
)
from netbuilder.errors import ConfigError, FileError, NetBuilderError, printable
from netbuilder.storage.files import reason

if TYPE_CHECKING:
    from netbuilder.engines import Engine
    from netbuilder.training.events import Ended, Job, Run, Tested
    from netbuilder.training.plan import TrainingPlan
    from netbuilder.training.ranks import Ranks
    from netbuilder.training.record import Record
    from netbuilder.training.tensorboard import Board

__all__ = ["Trained", "engine_of", "planned", "train"]


class Trained(NamedTuple):
    """How a training ended: the exit code, and what --json prints of it."""

    code: int
    data: dict[str, Any]


def train(args: argparse.Namespace) -> Trained:
    """Train as the parsed arguments say, as one of the ranks that the environment names.

    Rank 0 prints, and writes the files. Raises NetBuilderError.
    """
    from netbuilder.training.ranks import Ranks

    ranks = Ranks.of_environment()
    try:
        engine = engine_of(args, ranks)
        plan = planned(args, engine, ranks)
        nets = tuple((where, with_python_layers(args, net)) for where, net in plan.nets)
        plan = replace(plan, nets=nets)
        job = engine.train(plan)
        return _lead(args, engine, plan, job) if ranks.first else _accompany(plan, job)
    except BaseException as error:
        if ranks.size > 1 and isinstance(error, NetBuilderError):
            error.text = f"rank {ranks.rank}: {error.text}"
        if ranks.launched:
            from netbuilder.cli.launching import record_error

            record_error(error)
        raise


def engine_of(args: argparse.Namespace, ranks: Ranks | None = None) -> Engine:
    """The engine, which must be PyTorch's if it is to train in several processes."""
    from netbuilder.engines import find_engine

    several = args.nproc is not None if ranks is None else ranks.size > 1
    if args.engine == "caffe" and (several or args.sync_bn or args.dialect):
        raise ConfigError(
            "Caffe trains in one process, with --gpu 0,1 on several GPUs; --nproc, --sync-bn, --dialect and "
            "torchrun are for PyTorch", key="engine", hint="add --engine torch",
        )  # fmt: skip
    return find_engine(args.engine)


def planned(args: argparse.Namespace, engine: Engine, ranks: Ranks) -> TrainingPlan:
    from netbuilder.training.plan import parse_devices, plan_training

    devices = None if args.gpu is None else parse_devices(args.gpu) if args.gpu else []
    engine.describe()
    fields = solver_fields(args.set)
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
        extras=_extras(args, told=ranks.first and (ranks.launched or ranks.size == 1)),
        ranks=ranks,
        sync_bn=args.sync_bn,
        dialect=args.dialect,
        fields=fields,
    )
    require_trust(args, plan.nets, args.solver, "" if "snapshot_prefix" in fields else plan.prefix)
    return plan


def _accompany(plan: TrainingPlan, job: Job) -> Trained:
    """Train as another rank than 0, which prints and writes nothing."""
    from netbuilder.training.events import Ended

    ended = Ended("stopped")
    with job.start() as run, stopping(run, told=False):
        for event in run:
            ended = event if isinstance(event, Ended) else ended
    data = {"end": ended.how, "iteration": ended.iteration, "max_iter": plan.solver.max_iter}
    return Trained(_code(ended.how), data | _of_ranks(plan, job))


def _lead(args: argparse.Namespace, engine: Engine, plan: TrainingPlan, job: Job) -> Trained:
    """Train, with progress, the record and the snapshots."""
    from netbuilder.training.plan import solver_models
    from netbuilder.training.record import Record
    from netbuilder.training.snapshots import latest, only_offered

    description = engine.describe()
    # A snapshot brings all weights; otherwise Caffe loads those of the solver first.
    models = () if plan.state or not plan.nets else (*solver_models(plan.solver), *plan.weights)
    taken = report_weights([plan.nets[0][1]], models) if models else None
    plan.make_folder()
    _announce(description, plan, job)
    head = _head(args, description, plan, taken)
    end: dict[str, object] = {"end": "failed", "iteration": plan.begin}
    try:
        with Record(
            plan.prefix, plan.begin, plan.solver.display, plan.solver.average_loss, names=engine.snapshots,
            engine=args.engine, folder=plan.partial,
        ) as record:  # fmt: skip
            try:
                with job.start(record.log) as run, stopping(run), _board(args, plan) as board:
                    ended = _follow(run, record, plan, head, board)
                if ended is not None:
                    end = {"end": ended.how, "iteration": ended.iteration}
                    if ended.reason:
                        end["reason"] = ended.reason
            except NetBuilderError as error:
                end["reason"] = error.text
                error.hint = only_offered(error.hint, plan.prefix, engine.snapshots)
                raise
            finally:
                data = record.write(**head, **end)
                if kept := record.settle():
                    print(
                        printable(f"the record of the earlier training is kept; wrote {kept}"),
                        file=sys.stderr,
                    )
                elif not args.no_draw and len(record.train) > 1:
                    _draw(record, args.solver, head)
    except OSError as error:
        raise FileError(
            f"cannot write what the training did, beside its snapshots '{plan.prefix}': {reason(error)}"
        ) from None
    finally:
        plan.clean()
    _report(args, data, record, plan)
    if end["end"] == "stopped" and latest(plan.prefix, engine.snapshots):
        print_command(args, "--resume", "latest", flags=["--force"], values=["--resume", "--weights"])
    return Trained(_code(str(end["end"])), data | _of_ranks(plan, job))


def _announce(description: str, plan: TrainingPlan, job: Job) -> None:
    """Print what trains, what it warns of, and whether the launcher has restarted it."""
    for text in (*plan.warnings, *job.warnings):
        say(f"warning: {text}")
    for text in (description, *job.notes):
        say(text)
    if plan.ranks.restarts:
        begin = "begins again" if plan.state is None else f"goes on from {plan.state}"
        print(
            printable(f"restart {plan.ranks.restarts} of {plan.ranks.most_restarts}: {begin}"),
            file=sys.stderr,
        )


def _head(
    args: argparse.Namespace, description: str, plan: TrainingPlan, taken: dict[str, Any] | None
) -> dict[str, Any]:
    """What the record says of a training before its first iteration."""
    head: dict[str, Any] = {
        "solver": args.solver,
        args.engine: description,
        "type": plan.solver.type,
        "from": plan.begin,
        "max_iter": plan.solver.max_iter,
    }
    if len(plan.tests) > 1:
        head["test_nets"] = plan.tests
    if taken is not None:
        head["model"] = taken
    if plan.ranks.launched:
        head |= {"ranks": plan.ranks.size, "run": plan.ranks.run}
    return head


def _report(args: argparse.Namespace, data: dict[str, Any], record: Record, plan: TrainingPlan) -> None:
    """Print how the training ended; without a reader, that is in the record and in the exit code."""
    try:
        if args.json:
            import json

            print(json.dumps(data, indent=1))
        else:
            _summary(data, record, plan)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)


def _code(end: str) -> int:
    return {"done": 0, "diverged": 1, "stopped": 130}.get(end, 2)


def _of_ranks(plan: TrainingPlan, job: Job) -> dict[str, Any]:
    """What a training of several ranks returns besides."""
    if not plan.ranks.launched:
        return {}
    weights = getattr(job, "weights", lambda: None)()
    return {"rank": plan.ranks.rank, "ranks": plan.ranks.size, "weights": weights}


def _extras(args: argparse.Namespace, *, told: bool) -> dict[str, object]:
    """The extras of the file that --extras names, or that is beside the solver."""
    from netbuilder.solvers.fields import extras_path

    if args.extras == "none":
        return {}
    beside = extras_path(args.solver)
    if not args.extras and not beside.is_file():
        return {}
    from netbuilder.config.recipes import read_extras

    extras, lacks = read_extras(args.extras or str(beside))
    if told:
        if extras and not args.extras:
            print(printable(f"extras of {beside}: {', '.join(extras)}"), file=sys.stderr)
        for lack in lacks:
            print(printable(f"not done of the recipe: {lack}"), file=sys.stderr)
    return extras


def _board(args: argparse.Namespace, plan: TrainingPlan) -> AbstractContextManager[Board | None]:
    """What writes the events for TensorBoard, if --tensorboard asks for them."""
    if not args.tensorboard:
        return nullcontext()
    from netbuilder.training.tensorboard import Board

    folder = Path(args.tensorboard) / (Path(plan.prefix).name.strip("_.") or "run")
    print(printable(f"events for TensorBoard: {folder}"), file=sys.stderr)
    return closing(Board(folder, plan.begin))


def _follow(
    run: Run, record: Record, plan: TrainingPlan, head: dict[str, Any], board: Board | None
) -> Ended | None:
    """Follow the training; returns how it ended. One that has diverged is not continued."""
    from netbuilder.training import events
    from netbuilder.training.health import ADVICE, Health, honest, metrics
    from netbuilder.training.history import images_of

    end, last, progress = None, head["max_iter"] - 1, Progress("iterations", head["max_iter"])
    table, pace, health = _Table(progress), "", Health(plan.nets[0][1])
    for event in run:
        if isinstance(event, events.Tested):
            event = honest(event, metrics(plan.nets[1 + event.net][1]))
        row = record.take(event, last)
        health.take(event)
        if board:
            board.take(event, row)
        match event:
            case events.Started() if entered := getattr(run, "entered", ""):
                head["entered"] = entered
            case events.Iteration(i, _, rate):
                if i == plan.begin:
                    plan.remove_old()
                    head |= images_of(plan)
                    if plan.ranks.launched:  # a restart must know that this training has begun
                        record.write(**head, end="running", iteration=i)
                progress.at(i + 1, more=f"{pace}, loss {record.loss:.4g}, lr {rate:.4g}")
                if row:
                    table.row(i, f"{row.loss:.6g}", f"{row.rate:.6g}", "")
                if health.lost and not plan.ranks.launched:  # the ranks end together
                    end = events.Ended("diverged", i + 1)
                    break
            case events.Pace(images, memory):
                pace = f", {images:,.0f} images/s, {memory / 2**20:,.0f} MiB"
                head |= {"images_per_second": round(images, 1), "memory": memory}
            case events.Tested():
                table.row(event.iteration, "", "", f"{plan.tests[event.net]} {_results(event, plan)}")
            case events.Saving(i):
                record.write(**head, end="running", iteration=i)
            case events.Snapshot(i, _, state):
                head |= {"snapshot": state} if plan.ranks.launched else {}
                table.row(i, "", "", f"wrote {record.prefix}_iter_{i}.*")
                record.write(**head, end="running", iteration=i)
            case events.Replaying(done, of):
                progress.bar(f"reading the data again: iteration {done} of {of} (--no-replay skips it)")
            case events.Testing(done, of):
                progress.bar(f"testing: {done} of {of}")
            case events.Ended():
                if event.iteration == plan.begin:  # a resumed run had nothing left to do
                    head |= images_of(plan)
                end = health.judged(event)
    progress.close()
    if end is not None and end.how == "diverged":
        end = health.judged(end)
        print(f"error: {end.reason}: nothing is learnt any more\nhint:  {ADVICE}", file=sys.stderr)
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


def _results(test: Tested, plan: TrainingPlan) -> str:
    """The outputs of a test, and its whole loss if the solver computes that: test_compute_loss."""
    shown = dict(test.outputs)
    if plan.solver.test_compute_loss and test.loss is not None:
        shown["whole loss"] = (test.loss,)
    return _outputs(shown)


def _draw(record: Record, title: str, head: Mapping[str, Any]) -> None:
    from netbuilder.training.curves import draw

    path, images = record.path("_curves.png"), {key: head.get(key) for key in ("batch", "images")}
    if draw(record.train, record.tests, path, title, **images):
        print(printable(f"wrote {path}"), file=sys.stderr)
    else:
        print(
            "no curves drawn: they need Pillow 10.1 or newer (pip install 'caffe-netbuilder[draw]')",
            file=sys.stderr,
        )


def _summary(data: dict[str, Any], record: Record, plan: TrainingPlan) -> None:
    from netbuilder.training.snapshots import RUN_RECORD, TEST_TABLE, TRAIN_TABLE

    word = "trained to the end" if data["end"] == "done" else data["end"]
    print(f"{word}: iteration {data['iteration']} of {data['max_iter']}, {clock(data['seconds'])}")
    if "reason" in data:
        print(data["reason"])
    if "images_per_second" in data:
        print(f"{data['images_per_second']:,.0f} images/s, {data['memory'] / 2**20:,.0f} MiB")
    if record.train:
        print(f"last loss {record.train[-1].loss:.6g}")
    for net, name in enumerate(plan.tests):
        test = next((test for test in reversed(record.tests) if test.net == net), None)
        if test is not None:
            print(f"last {name} {_results(test, plan)}, iteration {test.iteration}")
    for ending in (TRAIN_TABLE, TEST_TABLE, RUN_RECORD, record.log_ending) if record.published else ():
        print(printable(f"wrote {record.path(ending)}"), file=sys.stderr)
