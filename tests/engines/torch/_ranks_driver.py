"""Trainings of several ranks, forked from one process that has imported PyTorch, as torchrun starts them.

Each line of stdin is a JSON list of trainings, each with its folder, its number of ranks, its options, and
the rank that gets a signal once the snapshot of iteration 20 is there. Answers by a line with the JSON list
of what `train_rank` returned, or raised, on each rank of each.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch._dynamo
import torch.distributed  # noqa: F401

import netbuilder.engines.torch.training  # noqa: F401
from netbuilder.cli.ranks import train_rank
from netbuilder.errors import NetBuilderError

SECONDS = 150  # for a training; a rank that hangs is killed


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def as_rank(rank: int, port: int, asked: dict[str, Any], answer: Path) -> None:
    """In a child: train, and write down what came of it."""
    size = asked["ranks"]
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    with open(answer.with_suffix(".err"), "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            options = {"no_draw": True, **asked["options"]}
            found = train_rank(asked.get("solver", "solver.prototxt"), {"folder": asked["folder"], **options})
        except NetBuilderError as error:
            found = {"error": str(error)}
        except BaseException:
            found = {"error": traceback.format_exc()}
        said.flush()
    answer.write_text(json.dumps(found | {"said": answer.with_suffix(".err").read_text()}))


def train(asked: dict[str, Any], answers: Path) -> list[dict[str, Any]]:
    port, children = free_port(), []
    for rank in range(asked["ranks"]):
        child = os.fork()
        if not child:
            try:
                as_rank(rank, port, asked, answers / f"{rank}.json")
            finally:
                os._exit(0)
        children.append(child)
    if "signal" in asked:
        snapshot, limit = Path(asked["folder"], "out/x_iter_20.solverstate"), time.monotonic() + SECONDS
        while not snapshot.exists() and time.monotonic() < limit:
            time.sleep(0.01)
        os.kill(children[asked["to"]], asked["signal"])
    limit = time.monotonic() + SECONDS
    left = set(children)
    while left and time.monotonic() < limit:
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
        time.sleep(0.01)
    for child in left:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = []
    for rank in range(asked["ranks"]):
        answer = answers / f"{rank}.json"
        found.append(json.loads(answer.read_text()) if answer.exists() else {"error": "killed, or it hung"})
        answer.unlink(missing_ok=True)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for line in sys.stdin:
            print(json.dumps([train(asked, Path(place)) for asked in json.loads(line)]), flush=True)
