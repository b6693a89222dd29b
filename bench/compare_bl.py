"""The benefit of Big-Little: ResNets and their Big-Little versions, counted, and timed in real Caffe.

Parameters, operations and memory are netbuilder's own counts of the deploy nets. The time is that of a
forward pass of one image, on the CPU and one thread. The compared nets share one process and run alternately
(A B C A B C ...), so that a busy machine slows all of them; the result is the median of the ratios per turn.
Weights are random, since the time does not depend on them. The ResNets have the stride on the 3x3, as the
Big-Little nets do.

    python bench/compare_bl.py [--input_size 224] [--repeats 9] [--json]

Exit codes: 0 done, 2 no real Caffe, or it failed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder import checks, prototxt
from netbuilder.engines.caffe.install import Install, environment, find, missing
from netbuilder.errors import ConfigError, EngineError
from netbuilder.measure.counts import count
from netbuilder.networks import find_network
from netbuilder.networks.registry import parse_size
from netbuilder.report import format_table

# Runs under the Python that has Caffe (3.7 or newer). Reads a JSON object of prototxt texts by name, and the
# number of turns; prints the seconds of each net's forward passes by name, and the kernels of OpenBLAS.
TIMER = r"""
import ctypes, json, os, sys, tempfile, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a library prints is log
import caffe
import numpy as np
request = json.load(sys.stdin)
caffe.set_mode_cpu()
caffe.set_random_seed(1)
nets = {}
with tempfile.TemporaryDirectory() as folder:
    for name, text in request["nets"].items():
        path = os.path.join(folder, "net.prototxt")
        with open(path, "w") as file:
            file.write(text)
        nets[name] = net = caffe.Net(path, caffe.TEST)
        for layer in net.layers:
            if layer.type == "BatchNorm":  # as filled, it divides by almost 0: values would overflow
                for blob, value in zip(layer.blobs, (0, 1, 1)):
                    blob.data[...] = value
        data = net.blobs["data"].data
        data[...] = np.random.RandomState(1).standard_normal(data.shape)
def kernels():  # that Caffe's OpenBLAS chose for this processor, or "" with another BLAS
    try:
        library = ctypes.CDLL("libopenblas.so.0", os.RTLD_NOLOAD | os.RTLD_NOW)  # only if it is there already
        library.openblas_get_corename.restype = ctypes.c_char_p
        return library.openblas_get_corename().decode()
    except (AttributeError, OSError):
        return ""


seconds = {name: [] for name in nets}
for turn in range(-2, request["turns"]):  # two turns to warm up
    for name, net in nets.items():
        begin = time.perf_counter()
        net.forward()
        if turn >= 0:
            seconds[name].append(time.perf_counter() - begin)
for name, net in nets.items():
    if not np.isfinite(net.blobs["prob"].data).all():
        sys.exit("the output of %s is not finite" % name)
json.dump({"seconds": seconds, "openblas": kernels()}, answers)
"""


class Entry(NamedTuple):
    """A net of the comparison: its label, its network's name and its options."""

    name: str
    network: str
    options: dict[str, Any]


RESNET = {"main_branch": "bottleneck", "num_output_stage1": 256, "stride_in": "3x3"}
# with zero_gamma, all values in the blocks would be 0
BL = {"alpha": 2, "beta": 4, "zero_gamma": False}
# Groups of nets that run alternately; the figures are divided by those of the first of the group.
GROUPS = (
    (
        Entry("ResNet-50", "resnet", {**RESNET, "blocks": (3, 4, 6, 3)}),
        Entry("bL-ResNet-50", "bl_resnet", {**BL, "depth": "50"}),
        Entry("bL-ResNeXt-50 32x4d", "bl_resnet", {**BL, "depth": "50", "family": "resnext"}),
        Entry("bL-SEResNeXt-50 32x4d", "bl_resnet", {**BL, "depth": "50", "family": "seresnext"}),
    ),
    (
        Entry("ResNet-101", "resnet", {**RESNET, "blocks": (3, 4, 23, 3)}),
        Entry("bL-ResNet-101", "bl_resnet", {**BL, "depth": "101"}),
    ),
    (
        Entry("ResNet-152", "resnet", {**RESNET, "blocks": (3, 8, 36, 3)}),
        Entry("bL-ResNet-152", "bl_resnet", {**BL, "depth": "152"}),
    ),
)
MASTER = "caffe-master"  # the dialect that has round_mode
# The same results from other layers.
FORMS = (
    (
        Entry("pooling crop", "bl_resnet", {**BL, "pooling": "crop"}),
        Entry("pooling floor", "bl_resnet", {**BL, "pooling": "floor", "dialect": MASTER}),
        Entry("pooling depthwise", "bl_resnet", {**BL, "pooling": "depthwise"}),
    ),
    (
        Entry("SE gate concat", "bl_resnet", {**BL, "family": "seresnext", "se_gate": "concat"}),
        Entry("SE gate scale", "bl_resnet", {**BL, "family": "seresnext", "se_gate": "scale"}),
    ),
)


def figures(
    group: tuple[Entry, ...], size: tuple[int, int], turns: int, caffe: Install
) -> tuple[list[dict[str, Any]], str]:
    """Counts and times of the nets of a group, run alternately, and the kernels of OpenBLAS."""
    rows, texts = [], {}
    for entry in group:
        network = find_network(entry.network)
        net = network.stitch(network.config(input_size=size, **entry.options), "deploy")
        for finding in checks.check(net):
            if finding.severity == "error":
                raise ConfigError(f"{entry.name} with input_size {size[0]}x{size[1]}: {finding}")
        counts = count(net)
        texts[entry.name] = prototxt.dumps(net)
        keys = ("learnable_params", "fixed_params", "macs", "fixed_macs", "activations", "peak_bytes")
        rows.append({"name": entry.name, **{key: getattr(counts, key) for key in keys}})
    print(f"timing {', '.join(texts)} ...", file=sys.stderr, flush=True)
    seconds, kernels = forward_times(texts, turns, caffe)
    first = seconds[group[0].name]
    for row in rows:
        own = seconds[row["name"]]
        ratios = [a / b for a, b in zip(own, first, strict=True)]
        row["seconds"] = statistics.median(own)
        row["ratio"] = statistics.median(ratios)
        row["ratio_range"] = [min(ratios), max(ratios)]
        row["over"] = group[0].name
    return rows, kernels


def forward_times(texts: dict[str, str], turns: int, caffe: Install) -> tuple[dict[str, list[float]], str]:
    """Seconds of each forward pass of each net, and the kernels of OpenBLAS ("" for another BLAS).

    Raises EngineError with the end of Caffe's log.
    """
    env = {**environment(caffe), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [*caffe.command, "-c", TIMER],
        input=json.dumps({"nets": texts, "turns": turns}),
        env=env,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        end = "\n".join(done.stderr.splitlines()[-5:])
        raise EngineError(f"real Caffe failed over {', '.join(texts)}:\n{end}")
    answer = json.loads(done.stdout)
    return answer["seconds"], answer["openblas"]


def table(data: dict[str, Any]) -> str:
    """The figures as text."""
    height, width = data["input_size"]
    head = ("net", "params, M", "MACs, G", "activations, M", "peak, MiB", "ms", "time", "MACs")
    rows = []
    for group in data["groups"]:
        rows += [
            (
                row["name"],
                f"{row['learnable_params'] / 1e6:.2f}",
                f"{row['macs'] / 1e9:.3f}",
                f"{row['activations'] / 1e6:.2f}",
                f"{row['peak_bytes'] / 2**20:.1f}",
                f"{1e3 * row['seconds']:.0f}",
                f"{row['ratio']:.2f}",
                f"{row['macs'] / group[0]['macs']:.2f}",
            )
            for row in group
        ]
    forms = []
    for group in data["forms"]:
        forms += [
            (
                row["name"],
                f"{row['fixed_params']:,}",
                f"{row['fixed_macs'] / 1e6:.2f}",
                f"{row['activations'] / 1e6:.2f}",
                f"{1e3 * row['seconds']:.0f}",
                f"{row['ratio']:.3f}",
            )
            for row in group
        ]
    form_head = ("form", "fixed params", "fixed MACs, M", "activations, M", "ms", "time")
    blas = f", OpenBLAS kernels for {data['openblas_kernels']}" if data["openblas_kernels"] else ""
    return "\n".join(
        [
            f"input 3x{height}x{width}, batch 1, one thread, {data['turns']} turns{blas}",
            format_table(head, rows, right=range(1, len(head))),
            "time, MACs: over those of the ResNet above",
            "",
            "forms of bL-ResNet-50 (pooling) and bL-SEResNeXt-50 (gate)",
            format_table(form_head, forms, right=range(1, len(form_head))),
            "time: over that of the default form, the first of each kind",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Count and time ResNets and their Big-Little versions.")
    parser.add_argument(
        "--input_size", default="224", metavar="SIZE", help="a number, or HEIGHTxWIDTH (default: 224)"
    )
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="turns of each net (default: 9)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    turns = max(1, args.repeats)
    try:
        size = parse_size(args.input_size)
        caffe = find()
        if caffe is None:
            print(f"{missing()}: nothing to time with (docs/real-caffe.md)", file=sys.stderr)
            return 2
        groups = [figures(group, size, turns, caffe) for group in GROUPS]
        forms = [figures(group, size, turns, caffe) for group in FORMS]
    except (ConfigError, EngineError) as error:
        print(error, file=sys.stderr)
        return 2
    data = {
        "input_size": size,
        "turns": turns,
        "openblas_kernels": groups[0][1],
        "groups": [rows for rows, _ in groups],
        "forms": [rows for rows, _ in forms],
    }
    print(json.dumps(data, indent=2) if args.json else table(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
