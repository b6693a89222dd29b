"""What the verbs that read prototxt files have in common on the command line."""

from __future__ import annotations

import argparse

from netbuilder.errors import ConfigError

__all__ = ["add_input", "given_inputs"]


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add --input, the shapes of data layers."""
    parser.add_argument(
        "--input",
        metavar="NAME=N,C,H,W",
        action="append",
        default=[],
        help="the shape of a data layer's top, where it lives in data, or another one than the file's; "
        "may be given again for other tops",
    )


def given_inputs(args: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The shapes that --input gives, by name; raises ConfigError for what is no shape."""
    shapes = {}
    for text in args.input:
        name, _, dims = text.partition("=")
        try:
            shapes[name] = tuple(int(n) for n in dims.split(","))
        except ValueError:
            raise ConfigError(
                f"--input takes a name and a shape, got '{text}'", hint="as in --input data=1,3,224,224"
            ) from None
    return shapes
