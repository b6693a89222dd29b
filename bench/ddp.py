"""What two ranks cost: their processor time for an update against one process, at equal total batch.

ResNet-20 on an LMDB of noise. The process alone and the two ranks run in turns; the time of both ranks, their
threads included, is divided by that of the process alone, in each round.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from multiprocessing import Pipe, Process, connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.train_loop import prepare

BAR = 1.15


def rank(pipe: connection.Connection, number: int, size: int, port: int) -> None:
    """A process that makes as many updates as it is asked for, and answers their processor time."""
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    import torch

    from netbuilder.engines.torch.engine import TorchEngine
    from netbuilder.engines.torch.training import Training
    from netbuilder.training.plan import plan_training
    from netbuilder.training.ranks import Ranks

    torch.set_num_threads(1)
    training = Training(
        plan_training(f"solver_{size}.prototxt", TorchEngine.snapshots, ranks=Ranks.of_environment())
    )
    while steps := pipe.recv():
        begin = time.process_time()
        for _ in range(steps):
            training.peers.agree(0)
            training.step()
        pipe.send(time.process_time() - begin)
    training.close()


def start(size: int) -> list[connection.Connection]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    pipes = []
    for number in range(size):
        ours, theirs = Pipe()
        Process(target=rank, args=(theirs, number, size, port), daemon=True).start()
        pipes.append(ours)
    return pipes


def measured(pipes: list[connection.Connection], steps: int) -> float:
    for pipe in pipes:
        pipe.send(steps)
    return sum(pipe.recv() for pipe in pipes) if steps else 0.0


def run() -> int:
    """Measure, print, and return 0 if the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128, help="of both ranks together")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for size in (1, 2):
            os.mkdir(str(size))
            os.chdir(str(size))
            prepare(args.batch // size, 4 * args.batch)
            os.chdir("..")
            net = Path(f"{size}/net.prototxt")
            net.write_text(net.read_text().replace('source: "db"', f'source: "{size}/db"'))
            Path(f"solver_{size}.prototxt").write_text(
                f'net: "{size}/net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 100000 '
                f'weight_decay: 0.0001 random_seed: 1 snapshot_prefix: "out/{size}"'
            )
        alone, both = start(1), start(2)
        for pipes in (alone, both):
            measured(pipes, 2)
        times = [(measured(alone, args.steps), measured(both, args.steps)) for _ in range(args.rounds)]
        for pipes in (alone, both):
            measured(pipes, 0)
    ratios = [two / one for one, two in times]
    data: dict[str, Any] = {
        "ms an update, one process": 1000 * statistics.median(one for one, _ in times) / args.steps,
        "ms an update, two ranks": 1000 * statistics.median(two for _, two in times) / args.steps,
        "two ranks / one process": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "bar": BAR,
    }
    print(json.dumps(data) if args.json else "\n".join(f"{k}: {v:.3f}" for k, v in data.items()))
    return int(data["two ranks / one process"] > BAR)


if __name__ == "__main__":
    sys.exit(run())
