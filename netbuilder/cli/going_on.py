"""The command that goes on with what Ctrl-C has stopped, ready to be pasted into a shell."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from netbuilder.cli.terminal import command_lines
from netbuilder.errors import printable

__all__ = ["print_command"]


def print_command(
    args: argparse.Namespace, *more: str, flags: Sequence[str] = (), values: Sequence[str] = ()
) -> None:
    """Print the command that was given, without these flags and options with a value, and with `more`."""
    given = list(getattr(args, "command", ()))
    if not given:  # called by a program
        return
    program, *words = given
    kept, left_out = [], False
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if left_out:
            left_out = False
        elif _is(name, values):
            left_out = "=" not in word
        elif not _is(name, flags):
            kept.append(word)
    line = shlex.join([*_program(program), *kept, *more])
    print("\n".join(command_lines(printable(f"to go on: {line}"), sys.stderr)), file=sys.stderr)


def _is(name: str, options: Sequence[str]) -> bool:
    """Whether a word is one of these options, perhaps abbreviated."""
    return len(name) > 2 and any(option.startswith(name) for option in options)


def _program(name: str) -> list[str]:
    """How netbuilder was started."""
    path = Path(name)
    if path.name == "__main__.py" or path.suffix == ".py":
        return [_short("python", sys.executable), "-m", "netbuilder"]
    return [_short("netbuilder", name) if path.name == "netbuilder" else "netbuilder"]


def _short(name: str, path: str) -> str:
    """The name of a program if the shell finds that one by it, else its path.

    The Python of an environment is a link to another Python, which lacks what the environment has.
    """
    found = shutil.which(name)
    if found is None or os.path.realpath(os.path.dirname(found)) != os.path.realpath(os.path.dirname(path)):
        return path
    return name if os.path.realpath(found) == os.path.realpath(path) else path
