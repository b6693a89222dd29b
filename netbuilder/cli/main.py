"""The `netbuilder` command: finds the verb, turns errors into messages and exit codes.

Exit codes: 0 done; 1 a check failed; 2 a user's mistake, on stderr, without a traceback (`--debug` shows
it); 130 interrupted.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from netbuilder._version import __version__
from netbuilder.errors import NetBuilderError

__all__ = ["main", "run"]

# In the order of the help. A verb is the module of its name in netbuilder.cli, with _ for -.
VERBS = (
    "build", "list", "show-config", "sweep", "fit", "check", "count", "diff",
    "data", "solver", "train", "test", "time", "caffeonspark",
)  # fmt: skip
_MODULES = {"test": "test_net", "time": "time_net"}  # a verb whose module has another name


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of the installed command."""
    return _guarded(_parser, argv)


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and call the function that the parser set as `run`; return the exit code."""
    return _guarded(lambda words: parser, argv)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these words: with the one verb that they name, so that no other is imported, or all."""
    parser = argparse.ArgumentParser(
        prog="netbuilder",
        description="Convolutional networks for Caffe: design them, count and check them, train them.",
        epilog="example: netbuilder build resnet --main_branch bottleneck -n 256 -o resnet_50",
    )
    parser.add_argument("--version", action="version", version=f"netbuilder {__version__}")
    # Without prog argparse would format a help text to find it, for which it imports half of shutil.
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog="netbuilder")
    named = words[0] if words and words[0] in VERBS else ""
    for verb in [named] if named else VERBS:
        command = importlib.import_module(f"netbuilder.cli.{_MODULES.get(verb) or verb.replace('-', '_')}")
        if verb == "build":
            command.add_parser(verbs, words[1] if named and len(words) > 1 else "")
        else:
            command.add_parser(verbs)
    return parser


def _guarded(
    parser_for: Callable[[Sequence[str]], argparse.ArgumentParser], argv: Sequence[str] | None
) -> int:
    parsed = argv if argv is not None else sys.argv[1:]
    debug = "--debug" in parsed
    # A net is one large graph without garbage. Looking through it for some, again and again and once more at
    # the end, takes a tenth of a short command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    words = [a for a in parsed if a != "--debug"]
    try:
        args = parser_for(words).parse_args(words)
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
