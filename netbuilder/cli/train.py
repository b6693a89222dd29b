"""`netbuilder train SOLVER`: train by Caffe or PyTorch, with progress, a record, and snapshots."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netbuilder.cli import training
from netbuilder.cli.net_files import solver_file
from netbuilder.cli.options import Verbs, add_debug, add_force, add_gpu, add_json, add_state, add_threads
from netbuilder.cli.solver_fields import add_set
from netbuilder.cli.training_options import (
    add_device,
    add_engine,
    add_extras,
    add_python_layers,
    add_sync_bn,
    add_tensorboard,
    add_trust,
    add_weights,
)
from netbuilder.errors import ConfigError

if TYPE_CHECKING:
    pass

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "train",
        description="Train by real Caffe, wherever it is (docs/real-caffe.md), or by PyTorch "
        "(docs/training-in-pytorch.md). Ctrl-C ends after the iteration, with a snapshot; a second one ends "
        "at once.",
        epilog="example: netbuilder train solver.prototxt --resume latest. Exit code: 0 trained to the end, "
        "1 the training has diverged, 2 a mistake, or the engine failed, 130 stopped by Ctrl-C",
    )
    parser.add_argument(
        "solver",
        metavar="SOLVER",
        type=solver_file,
        help="a solver file, or the folder of one; its net is looked for from this folder",
    )
    add_state(parser)
    add_engine(parser)
    add_gpu(parser, "the devices (default: as the solver says, or the CPU)", "0,1|all")
    add_device(parser)
    add_set(parser)
    parser.add_argument(
        "--compile", action="store_true", help="compile the net (PyTorch; takes a minute at the start)"
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="the random_seed, if not the solver's")
    add_extras(parser)
    add_weights(parser, "to begin with, by layer name")
    parser.add_argument(
        "--resume", metavar="latest|auto|STATE",
        help="go on from a snapshot: the latest, or a .solverstate; auto: from the latest if there is one",
    )  # fmt: skip
    parser.add_argument(
        "--no-replay", action="store_true",
        help="with --resume: begin with the first record of the data, as Caffe does, and do not read it "
        "again up to where the snapshot was",
    )  # fmt: skip
    add_threads(parser)
    add_python_layers(parser)
    _add_ranks(parser)
    parser.add_argument("--no-draw", action="store_true", help="draw no curves")
    add_tensorboard(parser)
    add_force(parser, "remove the snapshots of an earlier training")
    add_trust(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _add_ranks(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training in several processes."""
    several = parser.add_argument_group("several processes (PyTorch; docs/clusters.md)")
    several.add_argument(
        "--nproc", type=int, metavar="N",
        help="train in N processes on this machine, with a GPU each or on the CPU; several machines: "
        "torchrun",
    )  # fmt: skip
    several.add_argument(
        "--max-restarts", type=int, default=0, metavar="N",
        help="with --nproc: start all of them again from the last snapshot, up to N times, if one fails",
    )  # fmt: skip
    add_sync_bn(several)
    several.add_argument(
        "--dialect", metavar="NAME",
        help="the Caffe that the batch of the file is meant for: nvcaffe divides it by the processes, all "
        "others give it to each",
    )  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    if args.nproc is None:
        if args.max_restarts:
            raise ConfigError(
                "--max-restarts needs --nproc", key="max_restarts",
                hint="--nproc 1 trains in one process that is started again; torchrun has the same option",
            )  # fmt: skip
        return training.train(args).code
    from netbuilder.cli.launching import launch
    from netbuilder.training.ranks import Ranks

    if args.nproc < 1 or args.max_restarts < 0:
        raise ConfigError("--nproc is 1 or more, and --max-restarts 0 or more")
    if Ranks.of_environment().launched:
        raise ConfigError("torchrun has started the processes already", key="nproc", hint="leave --nproc out")
    # Mistakes are found here, once, before there are processes.
    training.planned(args, training.engine_of(args), Ranks(size=args.nproc, local_size=args.nproc))
    options = {name: value for name, value in vars(args).items() if name not in ("run", "verb", "nproc")}
    return launch(args.nproc, args.max_restarts, options)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to 2147483647, got '{text}'")
    return int(text)
