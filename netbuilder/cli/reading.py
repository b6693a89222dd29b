"""The nets of a file for the verbs that hand a net over: TEST in the state that has data, and TRAIN."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from netbuilder.cli.options import given_inputs
from netbuilder.errors import NetBuilderError, PrototxtError, StaleBlob
from netbuilder.layers import Shape
from netbuilder.net import Net
from netbuilder.prototxt.reader import nets_of, read_net
from netbuilder.prototxt.solver_file import SolverNet

__all__ = ["read_test_net", "read_train_net"]


def read_test_net(args: argparse.Namespace) -> tuple[Net, SolverNet, list[str]]:
    """The net that is handed over, where it is from, and what was assumed to find it.

    That is the TEST net. Where it lacks its data, files of DIGITS have the stages deploy and val, and others
    are for training alone.
    """
    attempts = [("TEST", args.stage, "")]
    if not args.stage:
        attempts += [("TEST", [stage], f"--stage {stage}") for stage in ("deploy", "val")]
    attempts.append(("TRAIN", args.stage, "the layers of TRAIN: the file has no other data"))
    first: NetBuilderError | None = None
    for phase, stages, what in attempts:
        try:
            source = nets_of(args.file, phase, level=args.level, stages=stages)[0]
            inputs = given_inputs(args)
            return read_net(source, dialect="any", unknown="keep", inputs=inputs), source, [what] * bool(what)
        except (StaleBlob, PrototxtError) as error:  # no data, or a solver without this net
            first = first or error
    assert first is not None
    raise first


def read_train_net(args: argparse.Namespace, shapes: Mapping[str, Shape] | None = None) -> Net | None:
    """The TRAIN net of the file, perhaps with inputs of these shapes; None if there is none."""
    try:
        source = nets_of(args.file, "TRAIN", level=args.level, stages=args.stage)[0]
        return read_net(
            source, dialect="any", unknown="keep", inputs={**(shapes or {}), **given_inputs(args)}
        )
    except NetBuilderError:
        return None
