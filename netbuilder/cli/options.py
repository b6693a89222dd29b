"""The options that several verbs share, each declared once, and the parser that reads them.

netbuilder's own options are spelt with dashes; `Parser` also takes them with underscores. The options of a
config dataclass are in `netbuilder.cli.config_options`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from netbuilder.cli.streams import error_text
from netbuilder.errors import ConfigError, did_you_mean, printable

__all__ = [
    "Options",
    "Parser",
    "Verbs",
    "add_bytes",
    "add_debug",
    "add_force",
    "add_format",
    "add_freeze",
    "add_freeze_statistics",
    "add_gpu",
    "add_input",
    "add_json",
    "add_no_verify",
    "add_output",
    "add_output_folder",
    "add_outputs",
    "add_state",
    "add_threads",
    "given_inputs",
    "print_file",
]

# A parser or a group of its options; and what creates the parsers of verbs or of their sub-commands.
Options: TypeAlias = argparse._ActionsContainer
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


_CHOICE = re.compile(r"invalid choice: '?([^' ]*)'? \(choose from ")


class Parser(argparse.ArgumentParser):
    """A parser that takes `--iter_size` for `--iter-size`, and `--test-batch` for `--test_batch`.

    No help text has the other spelling, and abbreviations are as unambiguous as with one spelling.
    A `lenient` parser leaves what it does not know to another.
    """

    lenient = False
    _words: Sequence[str] = ()

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"formatter_class": _formatter, **settings})
        self.prog = printable(self.prog)  # a config's file is a part of it

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse an unknown option here, where the options are known that may have been meant."""
        self._words = [str(word).partition("=")[0] for word in args or ()]
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and not self.lenient:
            wrong = next((word for word in unknown if word.startswith("-")), unknown[0])
            if not wrong.startswith("-"):
                self.error(f"there is nothing to take '{wrong}'")
            self._refuse(f"there is no option '{wrong}'", self._near(wrong.partition("=")[0]))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """One line with what is wrong, and one with an example, in place of the whole usage."""
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            for word in self._words:  # argparse misses what a misspelt option would have given
                if word.startswith("--") and not self._is_known(word) and (near := self._near(word)):
                    self._refuse(f"there is no option '{word}'", near)
            self._refuse(f"{self.prog.removeprefix('netbuilder ')} takes {missing}", self._example())
        meant = ""
        if choice := _CHOICE.search(message):
            known = re.findall(r"'([^']*)'", message[choice.end() :]) or message[choice.end() :].split(", ")
            meant = did_you_mean(choice[1], known)
        self._refuse(message, meant or self._example())

    def _refuse(self, text: str, hint: str) -> NoReturn:
        error = ConfigError(text, hint=hint or f"{self.prog} --help")
        self.exit(2, f"{error_text(error)}\n")

    def _example(self) -> str:
        """The example of the help, which ends at the first sentence after it."""
        _, found, example = (self.epilog or "").partition("example: ")
        example = re.split(r"; |\.? (?=[A-Z][a-z]+ )", example)[0].strip().rstrip(".")
        return f"for example {example}" if found else f"{self.prog} --help"

    def _is_known(self, word: str) -> bool:
        return any(option.startswith(self._spelt(word)) for option in self._option_string_actions)

    def _near(self, word: str) -> str:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        return did_you_mean(word.replace("_", "-"), known)

    def _parse_optional(self, arg_string: str):  # type: ignore[no-untyped-def]  # a private type
        return super()._parse_optional(self._spelt(arg_string))

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        known = self._option_string_actions
        if not name.startswith("--") or any(option.startswith(name) for option in known):
            return word
        dashed = name.replace("_", "-")
        alike = {option: option.replace("_", "-") for option in known}
        alike = {option: other for option, other in alike.items() if other.startswith(dashed)}
        meant = [option for option, other in alike.items() if other == dashed] or list(alike)
        return meant[0] + equals + value if len(meant) == 1 else word


_MANY = 12  # options that are not listed twice, in the usage and below it


class _Formatter(argparse.HelpFormatter):
    """Help whose usage names what is needed; many options are only in the list below it."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """As argparse does, with [options] in place of many options that may be left out."""
        others = [action for action in actions if action.option_strings and not action.required]
        if usage is None and len(others) > _MANY:
            some = argparse.Action([], "options", metavar="[options]")
            actions, groups = [some, *(action for action in actions if action not in others)], []
        super().add_usage(usage, actions, groups, prefix)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter as wide as the terminal.

    argparse creates one per option, to check it, and by default imports shutil, which is slow, for the width.
    """
    return _Formatter(prog, width=_columns() - 2)


def _columns() -> int:
    """The width of the terminal, as `shutil.get_terminal_size` finds it."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


def add_debug(parser: Options) -> None:
    """Add --debug to the help; `netbuilder.cli.main` takes it out of the words before they are parsed."""
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")


def add_json(parser: Options) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_format(parser: Options, formats: Sequence[str]) -> None:
    """Add --format, whose default is the first of the formats, and --json, which is one of them."""
    parser.add_argument("--format", choices=formats, default=formats[0], help="default: %(default)s")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="print the result as JSON"
    )


def add_force(parser: Options, what: str = "replace files that netbuilder did not write") -> None:
    """Add --force; `what` describes it where it does something else than usual."""
    parser.add_argument("--force", action="store_true", help=what)


def add_output(parser: Options, what: str, metavar: str, *, required: bool = False) -> None:
    """Add -o or --output, a file or folder to write."""
    parser.add_argument("-o", "--output", metavar=metavar, required=required, help=what)


def add_outputs(parser: Options) -> None:
    """Add --outputs, the blobs to keep."""
    parser.add_argument(
        "--outputs", nargs="+", default=[], metavar="BLOB",
        help="keep what these blobs need (default: all that does not need a label)",
    )  # fmt: skip


def add_no_verify(parser: Options, **settings: Any) -> None:
    """Add --no-verify, of what is run beside the original."""
    parser.add_argument(
        "--no-verify", help="do not run the two nets, which takes time and memory",
        **{"action": "store_true", **settings},
    )  # fmt: skip


def add_output_folder(parser: Options, what: str, *, required: bool = True) -> None:
    """Add -o or --output_folder, as pynetbuilder spelt it."""
    parser.add_argument("-o", "--output_folder", required=required, type=Path, metavar="DIR", help=what)


def add_gpu(parser: Options, what: str = "the device (default: the CPU)", metavar: str = "N") -> None:
    """Add --gpu; `what` describes the possible devices."""
    parser.add_argument("--gpu", metavar=metavar, help=what)


def add_threads(parser: Options) -> None:
    """Add --threads."""
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N",
        help="threads of the CPU (default: 1, with which a training repeats exactly)",
    )  # fmt: skip


def add_state(parser: Options) -> None:
    """Add --level and --stage, the state that chooses a net's layers."""
    parser.add_argument(
        "--level", type=int, metavar="N",
        help="the level of the net, for the min_level and max_level of its layers (default: 0, or of a "
        "solver, its states)",
    )  # fmt: skip
    parser.add_argument(
        "--stage", action="append", default=[], metavar="NAME",
        help="a stage of the net, for the stage and not_stage of its layers; of a solver, added to its "
        "train_state as `caffe train` does and, except to train, in place of its test_state; may be repeated",
    )  # fmt: skip


def add_freeze(parser: Options) -> None:
    """Add --freeze and --freeze-statistics, the layers that a training leaves as they are."""
    parser.add_argument(
        "--freeze", nargs="+", default=[], metavar="PATTERN",
        help="layers that stay as they are, by name: conv1, 'conv[1-4]*' (lr_mult and decay_mult become 0)",
    )  # fmt: skip
    add_freeze_statistics(parser)


def add_freeze_statistics(parser: Options) -> None:
    """Add --freeze-statistics."""
    parser.add_argument(
        "--freeze-statistics", action="store_true",
        help="a BatchNorm among them keeps its mean and variance, too (use_global_stats: true)",
    )  # fmt: skip


def add_bytes(parser: Options) -> None:
    """Add --bytes, the size of a number."""
    parser.add_argument(
        "--bytes", type=int, choices=(1, 2, 4), default=4,
        help="bytes per number, for the memory: 1 for int8, 2 for half floats (default: %(default)s)",
    )  # fmt: skip


def add_input(parser: Options) -> None:
    """Add --input, the shapes of data layers."""
    parser.add_argument(
        "--input", metavar="NAME=N,C,H,W", action="append", default=[],
        help="the shape of a data layer's top: where it is stored in the data, or instead of the file's; "
        "or that of an unknown layer's top; may be repeated",
    )  # fmt: skip


def print_file(text: str) -> None:
    """Print the text of a file that `-o -` asks for: in UTF-8, whatever the terminal's encoding is."""
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(text)


def given_inputs(args: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The shapes that --input gives, by name; raises ConfigError for anything but a shape."""
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
