"""What the training loop costs: images/s of `netbuilder train` in PyTorch against its bare step.

The bare step is forward, backward and update of the same net on one batch in memory. The training also reads
an LMDB, crops, mirrors, and keeps the record. Both run in turns, on one thread. Their processor time is
compared, which a busy machine changes less than the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

BAR = 0.95


def prepare(batch: int, images: int) -> None:
    """Write a database of noise, ResNet-20 for it and the solver into the current folder."""
    import numpy as np

    from netbuilder.config import load
    from netbuilder.prototxt import dumps
    from tests.databases import noise, write_lmdb

    write_lmdb("db", noise(images, 3, 36, 36), (int(i) for i in np.arange(images) % 10))
    net = dumps(load("cifar_resnet_20").stitch("train"))
    head, _, tail = net.partition('layer {\n  name: "conv_1"')
    data = f"""name: "resnet_20"
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ crop_size: 32 mirror: true scale: 0.0078125 mean_value: 128 }}
  data_param {{ source: "db" backend: LMDB batch_size: {batch} }} }}
"""
    assert tail, head
    Path("net.prototxt").write_text(data + 'layer {\n  name: "conv_1"' + tail)


def rounds(number: int, steps: int, dtype: str) -> Iterator[tuple[float, float]]:
    """The processor seconds of `steps` updates, by the command and bare, in each round."""
    import torch

    from netbuilder.cli.main import main
    from netbuilder.engines.torch.engine import TorchEngine
    from netbuilder.engines.torch.training import Training
    from netbuilder.training.plan import plan_training

    def command(updates: int) -> float:
        Path("solver.prototxt").write_text(
            f'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0001 '
            f"display: 20 max_iter: {updates} snapshot_after_train: false random_seed: 1 "
            'snapshot_prefix: "out/x"'
        )
        begin = time.process_time()
        with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
            code = main(["train", "solver.prototxt", "--engine", "torch", "--no-draw", "--dtype", dtype])
        assert code == 0
        return time.process_time() - begin

    command(1)
    plan = plan_training("solver.prototxt", TorchEngine.snapshots, threads=1, dtype=dtype)
    torch.set_num_threads(1)
    training = Training(plan)
    fixed = [training.batch()]
    for _ in range(number):
        whole = command(steps + 1) - command(1)  # without what the start costs
        begin = time.process_time()
        for _ in range(steps):
            training.update(fixed)
        yield whole, time.process_time() - begin


def run() -> int:
    """Measure, print, and return 0 if the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare(args.batch, 4 * args.batch)
        times = list(rounds(args.rounds, args.steps, args.dtype))
    ratios = [bare / whole for whole, bare in times]
    images = args.steps * args.batch
    data = {
        "images/s of the command": images / statistics.median(whole for whole, _ in times),
        "images/s of the bare step": images / statistics.median(bare for _, bare in times),
        "command / bare": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "bar": BAR,
    }
    print(json.dumps(data) if args.json else "\n".join(f"{k}: {v:.3f}" for k, v in data.items()))
    return int(data["command / bare"] < BAR)


if __name__ == "__main__":
    sys.exit(run())
