"""What `netbuilder train` costs beside the bare `caffe` binary: LeNet with its published solver, on noise.

Both train from one LMDB, on one thread, in turns. Their whole processor time is compared, of all processes,
which a busy machine changes less than the wall time: a short run gives the fixed cost, the rest of a long one
the cost of its iterations. Both test at the start and at the end: a short run's test_interval is its length,
since netbuilder also tests where max_iter is not a multiple of it. Drawing the curves is timed
apart. The binary is that of the root which tools/install_caffe.sh makes.

    python bench/train_overhead.py [--pairs 3] [--iterations 1500] [--json]

Exit codes: 0 within the bars, 1 outside, 2 no such Caffe or something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.start import ROOT, measure
from netbuilder.engines.caffe.install import Install, environment, find
from netbuilder.errors import EngineError

MOST_FIXED = 0.4  # seconds
MOST_RUNNING = 1.02  # of the binary's time
SHORT = 2  # iterations

NET = """name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "db" batch_size: 64 backend: LMDB } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "db" batch_size: 100 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" test_iter: 10 test_interval: %d
base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv" gamma: 0.0001 power: 0.75
display: 100 max_iter: %d snapshot: 5000 snapshot_prefix: "out/lenet" solver_mode: CPU random_seed: 1
"""


def prepare(long: int) -> None:
    """Write the net, a solver for each length, and a database of noise into the current folder."""
    from tests.databases import noise, write_lmdb

    write_lmdb("db", noise(1000, 1, 28, 28), (i % 10 for i in range(1000)))
    Path("net.prototxt").write_text(NET)
    Path("out").mkdir()
    for iterations in (SHORT, long):
        Path(f"{iterations}.prototxt").write_text(SOLVER % (min(500, iterations), iterations))


def rounds(caffe: Install, pairs: int, long: int) -> Iterator[tuple[float, ...]]:
    """The processor seconds of netbuilder and of the binary, short and long, and drawing, in each round."""
    assert caffe.root is not None
    binary = ["chroot", str(caffe.root), "env", "-C"]
    ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="netbuilder-bench-", dir=caffe.root / "tmp") as place:
        ours |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(Path(place) / "bytecode")}
        os.chdir(place)
        prepare(long)
        inside = "/" + str(Path(place).relative_to(caffe.root))

        def netbuilder(iterations: int, *options: str) -> float:
            words = ["train", f"{iterations}.prototxt", "--engine", "caffe", "--force", *options]
            return measure([sys.executable, "-m", "netbuilder.cli.main", *words], ours).processor

        def bare(iterations: int) -> float:
            words = [*binary, inside, "caffe", "train", "-solver", f"{iterations}.prototxt"]
            return measure(words, environment(caffe)).processor

        netbuilder(SHORT)  # not counted: writes the bytecode
        for _ in range(pairs):
            drawn = netbuilder(SHORT)
            short = netbuilder(SHORT, "--no-draw")
            yield short, bare(SHORT), netbuilder(long, "--no-draw"), bare(long), drawn
        os.chdir("/")


def run() -> int:
    """Measure, print, and return 0 if the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    caffe = find()
    if caffe is None or caffe.root is None or shutil.which("chroot") is None:
        print("real Caffe is not in a root of its own (docs/real-caffe.md)", file=sys.stderr)
        return 2
    try:
        times = list(rounds(caffe, max(1, args.pairs), args.iterations))
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    fixed = statistics.median(a - b for a, b, *_ in times)
    running = statistics.median((c - a) / (d - b) for a, b, c, d, _ in times)
    data = {
        "fixed cost of netbuilder, s": fixed,
        "drawing the curves, s": statistics.median(drawn - a for a, *_, drawn in times),
        "the binary's short run, s": statistics.median(b for _, b, *_ in times),
        "netbuilder / binary, iterations": running,
        "highest": max((c - a) / (d - b) for a, b, c, d, _ in times),
    }
    print(json.dumps(data) if args.json else "\n".join(f"{k}: {v:.3f}" for k, v in data.items()))
    return int(fixed > MOST_FIXED or running > MOST_RUNNING)


if __name__ == "__main__":
    sys.exit(run())
