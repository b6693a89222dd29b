"""`train_rank`: the part of one process in a training, for the launchers that call a function."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from netbuilder.cli.main import verb_parser
from netbuilder.cli.training import train
from netbuilder.errors import ConfigError, NetBuilderError
from netbuilder.training.ranks import Ranks

__all__ = ["train_rank"]


def train_rank(solver: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Train as the rank that the environment names (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).

    `options` are those of `netbuilder train` by their long names, with underscores; the engine is PyTorch's.
    `folder` is where the solver's paths begin, by default the current folder. Returns how it ended, and the
    SHA-256 of the final `weights`; on rank 0 also what `--json` prints, and the last `snapshot`. Raises
    NetBuilderError.
    """
    named = dict(options)
    if folder := named.pop("folder", None):
        os.chdir(folder)
    return train(_arguments(["train", solver, "--engine", "torch", *_words(named)])).data


def _words(options: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            values = value if isinstance(value, list | tuple) else (value,)
            words += [f"{option}={one}" for one in values]
    return words


def _arguments(words: list[str]) -> argparse.Namespace:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return verb_parser(words).parse_args(words)
    except SystemExit:
        raise ConfigError(
            said.getvalue().strip().rpartition("error: ")[2] or "the options cannot be read",
            hint="the options are those of `netbuilder train`",
        ) from None


def _main(arguments: str) -> int:
    """A process of `netbuilder train --nproc`, whose parsed arguments these are in JSON: its exit code.

    The launcher prints its error; where it starts the processes again, this one does.
    """
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive the launcher
    args = argparse.Namespace(**json.loads(arguments))
    try:
        return train(args).code
    except NetBuilderError as error:
        ranks = Ranks.of_environment()
        if ranks.restarts < ranks.most_restarts:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
