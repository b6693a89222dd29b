"""The `netbuilder` command: finds the verb, turns errors into messages and exit codes.

Exit codes: 0 done; 1 a check failed; 2 a user error, printed to stderr without a traceback (`--debug` shows
it); 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder._version import __version__

if TYPE_CHECKING:  # including argparse, which `netbuilder --version` does not need
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ["GROUPS", "VERBS", "Verb", "main", "run", "run_script", "verb_parser"]


class Verb(NamedTuple):
    """A verb of the command; its module is imported only when the verb is used."""

    name: str
    group: str
    help: str
    module: str


GROUPS = {
    "design": "design a net",
    "examine": "look at nets and files",
    "train": "train a net",
    "hand over": "hand a net over",
}

# In the order of the help.
VERBS = {
    verb.name: verb
    for verb in (
        Verb("build", "design", "write the prototxt files of a network or a config", "build"),
        Verb("list", "design", "list the configs with their parameters and MACs", "list"),
        Verb("show-config", "design", "show every value of a config and where it is from", "show_config"),
        Verb("sweep", "design", "count many nets of a family, keep the best within a budget", "sweep"),
        Verb("fit", "design", "scale a net so that it lands just under a budget", "fit"),
        Verb("check", "examine", "check prototxt files", "check"),
        Verb("count", "examine", "count what prototxt files cost", "count"),
        Verb("diff", "examine", "compare two prototxt files", "diff"),
        Verb("draw", "examine", "draw a net as a page, a picture or a tree", "draw"),
        Verb("show-net", "examine", "print the net that a .caffemodel carries", "show_net"),
        Verb("completion", "examine", "complete the command in bash, zsh or fish", "completion"),
        Verb("data", "train", "make and show databases of images", "data"),
        Verb("solver", "train", "write a solver file from a training recipe", "solver"),
        Verb("train", "train", "train a net, with real Caffe or in PyTorch", "train"),
        Verb("test", "train", "test a trained net, in PyTorch or real Caffe", "test_net"),
        Verb("plot", "train", "draw the curves of trainings, also of Caffe's logs", "plot"),
        Verb("time", "train", "time the layers of a net, in PyTorch or real Caffe", "time_net"),
        Verb("run", "train", "classify images, or store a blob of a net", "run_net"),
        Verb("spark", "train", "train in PyTorch on a cluster of Spark, or write the job", "spark"),
        Verb("caffeonspark", "train", "check a solver and its net for CaffeOnSpark, write the job",
             "caffeonspark"),
        Verb("deploy", "hand over", "write the net to hand over, from a train_val or a solver", "deploy"),
        Verb("train-val", "hand over", "write the file to train from, from a deploy net", "train_val"),
        Verb("freeze", "hand over", "keep layers as they are while the others are trained", "freeze"),
        Verb("weights", "hand over", "bring weights of PyTorch and TensorFlow in, or export", "weights"),
        Verb("fold", "hand over", "fold BatchNorm and Scale into the weights of a trained net", "fold"),
        Verb("export", "hand over", "write a net and its weights as an ONNX file", "export"),
    )
}  # fmt: skip


# The packages that every installation has, by the modules that they bring.
_REQUIRED = {"google": "protobuf", "yaml": "PyYAML", "numpy": "numpy"}


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of the installed command."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    return _guarded(lambda: _answer(words), debug="--debug" in given)


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and call the function that the parser set as `run`; return the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    return _guarded(lambda: _act(parser, words), debug="--debug" in given)


def run_script(network: str) -> int:
    """The command of a script that builds one network (`app/imagenet/build_resnet.py`)."""

    def action() -> int:
        return _act(_module("build").script_parser(network), words)

    words = [word for word in sys.argv[1:] if word != "--debug"]
    return _guarded(action, debug="--debug" in sys.argv[1:])


def _module(verb: str) -> Any:
    """The module of a verb, which is imported only when the verb is used."""
    import importlib

    return importlib.import_module(f"netbuilder.cli.{VERBS[verb].module}")


def verb_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these words, with only the verb that comes first: no other verb is imported."""
    from netbuilder.cli.options import Parser

    parser = Parser(prog="netbuilder")
    # Without prog, argparse would format a usage text to find it.
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog="netbuilder")
    name, *others = words
    command = _module(name)
    if name == "build":
        command.add_parser(verbs, others[0] if others else "")
    else:
        command.add_parser(verbs)
    return parser


def _answer(words: list[str]) -> int:
    """Answer questions about the command itself; pass everything else to the verb."""
    first = words[0] if words else ""
    if first in ("-V", "--version"):
        print(f"netbuilder {__version__}")
        return 0
    if first == "help" and words[1:]:
        words = [word for word in words[1:] if word not in ("-h", "--help")] + ["--help"]
        first = words[0]
    if first in ("help", "-h", "--help"):
        print(_help())
        return 0
    if not first:
        print(_help(), file=sys.stderr)
        return 2
    if first in VERBS:
        return _act(verb_parser(words), words)
    from netbuilder.errors import ConfigError, did_you_mean

    if first.startswith("-"):
        raise ConfigError(f"the verb comes first, got '{first}'", hint="netbuilder help lists the verbs")
    near = did_you_mean(first, VERBS)
    raise ConfigError(f"there is no verb '{first}'", hint=near or "netbuilder help lists the verbs")


def _help() -> str:
    lines = [
        "usage: netbuilder [-h] [-V] VERB ...",
        "",
        "Convolutional networks for Caffe: design them, count and check them, train",
        "them.",
    ]
    width = max(map(len, VERBS))
    for group, title in GROUPS.items():
        verbs = [verb for verb in VERBS.values() if verb.group == group]
        lines += ["", f"{title}:", *(f"  {verb.name:<{width}}  {verb.help}" for verb in verbs)]
    lines += [
        "",
        "options:",
        "  -h, --help     show this help, or after a verb that of the verb, and exit",
        "  -V, --version  show the version and exit",
        "",
        "`netbuilder help VERB` is `netbuilder VERB --help`.",
        "example: netbuilder build resnet --main_branch bottleneck -n 256 -o resnet_50",
    ]
    return "\n".join(lines)


def _act(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    from netbuilder.storage.files import HELD

    try:
        args = parser.parse_args(words)
        args.command = [sys.argv[0], *words]  # to say how to go on
        action: Callable[[argparse.Namespace], int] = args.run
        return action(args)
    finally:
        HELD.clear()  # a later command in this process finds its own nets under these names


def _guarded(action: Callable[[], int], *, debug: bool) -> int:
    import atexit
    import gc

    from netbuilder.cli.streams import error_text, outlive_readers, silence
    from netbuilder.errors import NetBuilderError

    # Modules and nets are large graphs without garbage. Searching them repeatedly, and once more at exit,
    # takes a tenth of a short command's time.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    outlive_readers()
    try:
        code = action()
        sys.stdout.flush()
        return code
    except NetBuilderError as error:
        if debug:
            raise
        print(error_text(error), file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = _REQUIRED.get((error.name or "").partition(".")[0])
        if debug or package is None:
            raise
        print(
            f"ConfigError: {package} is missing, which netbuilder needs: this Python is {sys.executable}\n"
            "  hint:    in a clone, `make demo` makes an environment with all of them; or `pip install .`",
            file=sys.stderr,
        )
        return 2
    except UnicodeEncodeError as error:
        if debug or error.reason != "surrogates not allowed":
            raise
        print(
            f"ConfigError: a name is not UTF-8: {error.object!r}\n"
            "  hint:    prototxt files are UTF-8: rename it, or set a UTF-8 locale such as LC_ALL=C.UTF-8",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader (head, less) has gone
        silence(sys.stdout)
        return 0
    except OSError as error:
        if debug:
            raise
        from netbuilder.storage.files import reason

        what = f"'{error.filename}'" if error.filename else "the output"
        print(f"FileError: cannot read or write {what}: {reason(error)}", file=sys.stderr)
        silence(sys.stdout)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
