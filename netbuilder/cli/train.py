"""`netbuilder train SOLVER`: train by real Caffe, with progress, records, and snapshots to resume from."""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from netbuilder.errors import FileError, NetBuilderError
from netbuilder.storage.files import reason

__all__ = ["Progress", "add_parser", "stopping"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "train",
        help="train a net by real Caffe",
        description="Train by real Caffe, wherever it is (docs/real-caffe.md). Ctrl-C ends after the "
        "iteration, with a snapshot; a second one ends at once.",
        epilog="example: netbuilder train solver.prototxt --resume latest. Exit code: 0 trained to the end, "
        "2 a mistake, or Caffe failed, 130 stopped by Ctrl-C",
    )
    parser.add_argument(
        "solver", metavar="SOLVER", help="a solver file; its net is looked for from this folder"
    )
    parser.add_argument(
        "--gpu", metavar="0,1|all", help="the devices (default: as the solver says, or the CPU)"
    )
    parser.add_argument(
        "--weights", metavar="MODEL", action="append", default=[],
        help="a .caffemodel to begin with, by layer name; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--resume", metavar="latest|STATE", help="go on from a snapshot: the latest, or a .solverstate"
    )
    parser.add_argument(
        "--no-replay", action="store_true",
        help="with --resume: begin with the first record of the data, as Caffe does, and do not read it "
        "again up to where the snapshot was",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of the CPU (default: 1, which repeats exactly)"
    )
    parser.add_argument("--no-draw", action="store_true", help="draw no curves")
    parser.add_argument("--force", action="store_true", help="remove the snapshots of an earlier training")
    parser.add_argument("--json", action="store_true", help="print the record of the training as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.engines.caffe import training
    from netbuilder.training.record import Record

    gpus = training.wanted_gpus(args.gpu) if args.gpu is not None else None
    install = training.found()
    ready = training.prepare(
        args.solver,
        install,
        gpus=gpus,
        weights=tuple(args.weights),
        resume=args.resume,
        replay=not args.no_replay,
        force=args.force,
    )
    for text in ready.warnings:
        print(f"warning: {text}", file=sys.stderr)
    print(f"{install}", file=sys.stderr)
    for text in ready.notes:
        print(text, file=sys.stderr)
    solver = ready.solver
    head = {"solver": args.solver, "caffe": str(install), "from": ready.begin, "max_iter": solver.max_iter}
    end: dict[str, Any] = {"end": "failed", "iteration": ready.begin}
    try:
        with Record(ready.prefix, ready.begin, solver.display, solver.average_loss) as record:
            try:
                started = training.start(install, ready.job, record.log, args.threads)
                with started as worker, stopping(worker):
                    end = _listen(worker, record, ready, head) or end
            except NetBuilderError as error:
                end["reason"] = error.text
                raise
            finally:
                ready.clean()
                data = record.write(**head, **end)
                if not args.no_draw and len(record.train) > 1:
                    _draw(record, args.solver)
    except OSError as error:
        raise FileError(
            f"cannot write what the training did, beside its snapshots '{ready.prefix}': {reason(error)}"
        ) from None
    if args.json:
        import json

        print(json.dumps(data, indent=1))
    else:
        _summary(data, record)
    return 130 if end["end"] == "stopped" else 0


def _listen(worker: Any, record: Any, ready: Any, head: dict[str, Any]) -> dict[str, Any] | None:
    """Follow the training; returns how it ended."""
    from netbuilder.engines.caffe.log import Event

    end, last, progress = None, head["max_iter"] - 1, Progress(head["max_iter"])
    event: Event
    for event in worker:
        row = record.take(event, last)
        if event.kind == "loss":
            progress.iteration(event.iteration, record.loss, record.rate)
            if not math.isfinite(event.value):
                progress.once(
                    f"the loss is {event.value} at iteration {event.iteration}: nothing is learnt any more"
                )
        elif event.kind == "rate" and row:
            progress.row(row["iteration"], f"{row['loss']:.6g}", f"{row['lr']:.6g}", "")
        told = event.told or {}
        if row and "test" in told:
            progress.row(told["test"], "", "", "test " + _outputs(told["outputs"]))
        elif "snapshot" in told:
            progress.row(told["snapshot"], "", "", f"wrote {record.prefix}_iter_{told['snapshot']}.*")
            record.write(**head, end="running", iteration=told["snapshot"])
        elif "start" in told:
            ready.remove_old()
        elif "replay" in told:
            progress.bar(
                f"reading the data again: iteration {told['replay']} of {told['of']} (--no-replay skips it)"
            )
        elif "testing" in told:
            progress.bar(f"testing: {told['testing']} of {told['of']}")
        elif "end" in told:
            end = {"end": told["end"], "iteration": told["iteration"]}
    progress.close()
    return end


@contextmanager
def stopping(worker: Any) -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM stop the worker, and a second one ends it at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            worker.kill()
            raise KeyboardInterrupt
        print("\nstopping after this iteration; once more ends at once", file=sys.stderr)
        worker.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """Rows, and on a terminal a bar under them, on stderr."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._tty = sys.stderr.isatty()
        self._warned = False
        self._first: tuple[int, float] | None = None
        self._drawn = 0.0
        self._headed = False

    def iteration(self, i: int, loss: float, rate: float) -> None:
        """An iteration was done."""
        now = time.monotonic()
        if self._first is None:
            self._first = i, now
        if not self._tty or now - self._drawn < 0.2:
            return
        self._drawn = now
        done, seconds = i - self._first[0], now - self._first[1]
        speed = done / seconds if seconds > 0 else 0.0
        left = (self.total - i - 1) / speed if speed else 0.0
        width = 24 * (i + 1) // self.total
        self.bar(
            f"[{'#' * width}{'.' * (24 - width)}] {i + 1}/{self.total}  {speed:.2f} it/s  "
            f"{_clock(left)} left  loss {loss:.4g}  lr {rate:.4g}"
        )

    def row(self, *cells: object) -> None:
        """A row of the table: iteration, loss, rate, and what else."""
        if not self._headed:
            self._headed = True
            self.row("iteration", "loss", "lr", "")
        self.close()
        print(f"{cells[0]!s:>9}  {cells[1]!s:>10}  {cells[2]!s:>11}  {cells[3]}".rstrip(), file=sys.stderr)

    def bar(self, text: str) -> None:
        """Replace the bar, on a terminal."""
        if self._tty:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def once(self, text: str) -> None:
        """A warning; the first one is told."""
        if not self._warned:
            self._warned = True
            self.close()
            print(f"warning: {text}", file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self.bar("")


def _outputs(outputs: dict[str, list[float]]) -> str:
    return ", ".join(f"{n} {v[0]:.4f}" if len(v) == 1 else f"{n} of {len(v)}" for n, v in outputs.items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _draw(record: Any, title: str) -> None:
    from netbuilder.training.record import draw

    path = record.path("_curves.png")
    if draw(record.train, record.tests, path, title):
        print(f"wrote {path}", file=sys.stderr)
    else:
        print(
            "no curves drawn: matplotlib is missing (pip install 'caffe-netbuilder[draw]')", file=sys.stderr
        )


def _summary(data: dict[str, Any], record: Any) -> None:
    word = {"done": "trained to the end", "stopped": "stopped"}[data["end"]]
    print(f"{word}: iteration {data['iteration']} of {data['max_iter']}, {_clock(data['seconds'])}")
    if record.train:
        print(f"last loss {record.train[-1]['loss']:.6g}")
    if record.tests:
        last = record.tests[-1]
        print(f"last test {_outputs(last['outputs'])}, iteration {last['iteration']}")
    for ending in ("_train.csv", "_test.csv", "_run.json", "_caffe.log"):
        print(f"wrote {record.path(ending)}", file=sys.stderr)
