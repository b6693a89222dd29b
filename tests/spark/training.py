"""What the ranks of a test do, which the executors find by name; and the programs that tests start."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netbuilder.errors import ConfigError, NetBuilderError


def killed_once(solver: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Train; the first time, rank 1 kills itself after the snapshot of iteration 10."""
    from netbuilder.cli.ranks import train_rank

    folder = Path(options["folder"])
    if os.environ["RANK"] == "1" and not (folder / "killed").exists():
        threading.Thread(target=_kill_after_snapshot, args=(folder,), daemon=True).start()
    return train_rank(solver, options)


def _kill_after_snapshot(folder: Path) -> None:
    while not (folder / "out" / "tiny_iter_10.solverstate").exists():
        time.sleep(0.0005)
    (folder / "killed").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def raising(solver: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rank 1 finds a mistake; rank 0 waits for it, and would wait for ever."""
    if os.environ["RANK"] == "1":
        with (Path(options["folder"]) / "tries").open("a") as file:
            file.write("x")
        raise ConfigError("rank 1 does not like this", key="here", hint="like it")
    time.sleep(600)
    return {}


def _commands(commands: list[list[str]]) -> None:
    """Run commands of netbuilder in this process, so that they share a Java."""
    from netbuilder.cli.main import main

    for words in commands:
        code = main(words)
        print(f"\nexit code {code}", flush=True)


def _launch(function: str, settings: dict[str, Any]) -> None:
    """Train by one of the functions above; prints what the driver gets."""
    from netbuilder.spark import Job, launch

    job = Job(solver="solver.prototxt", options={"folder": os.getcwd(), "device": "cpu"}, **settings)
    said: list[str] = []
    try:
        data: dict[str, Any] = launch(job, globals()[function], say=said.append)
    except NetBuilderError as error:
        data = {"error": type(error).__name__, "text": error.text, "hint": error.hint}
    print(json.dumps({**data, "said": said}))


if __name__ == "__main__":
    from tests.spark import training  # so that the functions have a name that executors find

    what, given = sys.argv[1], json.loads(sys.argv[2])
    training._commands(given) if what == "commands" else training._launch(what, given)
