"""`netbuilder spark SOLVER`: train by PyTorch in the processes that Spark starts, or write the job."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from netbuilder.cli.options import Options, Verbs, add_debug, add_force, add_json, add_output, add_threads
from netbuilder.cli.training_options import (
    add_dtype,
    add_extras,
    add_sync_bn,
    add_tensorboard,
    add_weights,
)
from netbuilder.errors import ConfigError, printable

if TYPE_CHECKING:
    from netbuilder.spark import Job

__all__ = ["add_parser"]

_ENDS = {"stopped": 130, "diverged": 1}


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "spark",
        description="Train by PyTorch in several processes that Spark's TorchDistributor starts "
        "(docs/spark.md): on this machine, or with --master on a cluster. With -o, write a folder with the "
        "solver, its net, and the scripts that submit it.",
        epilog="example: netbuilder spark solver.prototxt --processes 8 --master spark://head:7077. Exit "
        "code: 0 trained to the end, 1 the loss was no number, 2 a mistake, or the job failed at every "
        "attempt",
    )
    parser.add_argument(
        "solver", metavar="SOLVER", help="a solver file; its net is looked for from this folder"
    )
    _add_cluster(parser.add_argument_group("the cluster"))
    _add_training(parser.add_argument_group("the training"))
    _add_job(parser.add_argument_group("the job"))
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _add_cluster(group: Options) -> None:
    group.add_argument(
        "--processes", type=int, default=1, metavar="N", help="ranks: one for each GPU, or core (default: 1)"
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--master", default="", metavar="URL",
        help="train in a barrier job of local[N], spark://HOST:7077, yarn or k8s://... (default: in "
        "processes of this machine)",
    )  # fmt: skip
    where.add_argument(
        "--submitted", action="store_true", help="spark-submit has given the master and its settings"
    )
    group.add_argument(
        "--conf", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark; may be repeated"
    )
    group.add_argument("--cuda", action="store_true", help="each rank trains on a GPU (default: on the CPU)")
    group.add_argument(
        "--attempts", type=int, default=3, metavar="N",
        help="jobs to try, each from the last snapshot, if one fails (default: 3)",
    )  # fmt: skip
    group.add_argument(
        "--wait", type=int, default=40, metavar="S",
        help="seconds to wait until all ranks have a slot (default: 40)",
    )  # fmt: skip


def _add_training(group: Options) -> None:
    group.add_argument(
        "--resume", metavar="latest|auto|STATE",
        help="go on from a snapshot: the latest, or a .solverstate; auto: from the latest if there is one",
    )  # fmt: skip
    add_weights(group, "to begin with, by layer name")
    group.add_argument("--seed", type=int, metavar="N", help="the random_seed, if not the solver's")
    add_dtype(group)
    add_sync_bn(group)
    add_extras(group)
    add_threads(group)
    group.add_argument("--no-draw", action="store_true", help="draw no curves")
    add_tensorboard(group)
    add_force(group, "remove the snapshots of an earlier training; with -o, replace files of others")


def _add_job(group: Options) -> None:
    add_output(group, "write the job into this folder, which all machines share, and do not train", "FOLDER")
    group.add_argument(
        "--slots", type=int, default=1, metavar="N", help="with -o: ranks of one executor (default: 1)"
    )
    group.add_argument(
        "--ranks-memory",
        default="16g",
        metavar="SIZE",
        help="with -o: of the ranks of an executor (default: 16g)",
    )
    group.add_argument(
        "--environment", default="", metavar="ARCHIVE",
        help="with -o: the archive with Python and netbuilder that travels to the executors",
    )  # fmt: skip
    group.add_argument("--image", default="", help="with -o: the container image, for Kubernetes")


def _run(args: argparse.Namespace) -> int:
    from netbuilder.spark import bundle, launch
    from netbuilder.spark.files import files_of

    job = _job(args)
    if args.output:
        written = bundle(job, args.output, force=args.force)
        for note in written.notes:
            print(printable(f"note: {note}"), file=sys.stderr)
        print(
            printable(f"wrote {args.output}: {', '.join(path.name for path in written.paths)}"),
            file=sys.stderr,
        )
        return 0
    from netbuilder.cli.ranks import train_rank

    data = launch(job, train_rank, say=_say, wanted=tuple(files_of(args.solver)))
    if args.json:
        print(json.dumps(data, indent=1))
    else:
        print(f"{data['end']}: iteration {data['iteration']} of {data['max_iter']} on {data['ranks']} ranks")
    return _ENDS.get(data["end"], 0)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _job(args: argparse.Namespace) -> Job:
    from netbuilder.spark.job import SUBMITTED, Cluster, Job

    settings = {}
    for text in args.conf:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--conf takes KEY=VALUE, got '{text}'", key="conf")
        settings[key] = value
    return Job(
        solver=args.solver,
        ranks=args.processes,
        master=SUBMITTED if args.submitted else args.master,
        gpus=args.cuda,
        options=_options(args),
        settings=settings,
        attempts=args.attempts,
        wait=args.wait,
        cluster=Cluster(
            slots=args.slots, memory=args.ranks_memory, image=args.image, environment=args.environment
        ),
    )


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the training of a rank, without those that were not given."""
    given = {
        name: getattr(args, name)
        for name in ("resume", "weights", "seed", "sync_bn", "extras", "no_draw", "tensorboard", "force")
    }
    options = {name: value for name, value in given.items() if value not in (None, "", False, [])}
    device = "cuda" if args.cuda else "cpu"
    return {**options, "device": device, "dtype": args.dtype, "threads": args.threads, "folder": os.getcwd()}
