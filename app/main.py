"""The `netbuilder` command: finds the verb, turns errors into messages and exit codes.

Exit codes: 0 done; 1 a check failed; 2 a user's mistake, on stderr, without a traceback (`--debug` shows
it); 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from netbuilder._version import __version__
from netbuilder.errors import NetBuilderError

__all__ = ["main", "run"]


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of the installed command."""
    from app.commands import build, check, count, diff

    parser = argparse.ArgumentParser(
        prog="netbuilder",
        description="Convolutional networks for Caffe: generate prototxt files, count what they cost.",
        epilog="example: netbuilder build resnet --main_branch bottleneck -n 256 -o resnet_50",
    )
    parser.add_argument("--version", action="version", version=f"netbuilder {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for command in (build, check, count, diff):
        command.add_parser(verbs)
    return run(parser, argv)


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and call the function that the parser set as `run`; return the exit code."""
    parsed = argv if argv is not None else sys.argv[1:]
    debug = "--debug" in parsed
    try:
        args = parser.parse_args([a for a in parsed if a != "--debug"])
        action: Callable[[argparse.Namespace], int] = args.run
        code = action(args)
        sys.stdout.flush()
        return code
    except NetBuilderError as error:
        if debug:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, less) has gone; keep Python from complaining again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
