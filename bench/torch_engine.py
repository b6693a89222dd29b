"""The PyTorch engine beside hand-written PyTorch models, and beside real Caffe.

Training steps (forward and backward) and inference, each net in turns with its peers (A B C A B C ...), so
that a busy machine slows all of them; of each the fastest turn counts. On a machine that others use, `--busy`
measures processor time on one thread.

    python bench/torch_engine.py [--nets NAME,...] [--turns 9] [--threads 2 | --busy] [--dtypes ...] [--json]

Exit codes: 0 done, 1 a bar is missed, 2 an error. Without real Caffe its columns are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.plain_torch import PLAIN
from netbuilder import Net, prototxt
from netbuilder.config import load
from netbuilder.engines.caffe.install import Install, environment, find
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.operators.convolution import Convolution
from netbuilder.engines.torch.passes.fusion import leading
from netbuilder.measure.counts import count
from netbuilder.networks import find_network
from netbuilder.report import format_table
from netbuilder.transforms.rebatch import rebatched

# Runs under the Python that has Caffe (3.7 or newer). Reads texts by name from the first line, then a name
# and "forward" or "both" from each line; answers each with the seconds of that pass, wall and processor.
WORKER = r"""
import json, os, sys, tempfile, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a library prints is log
import caffe
import numpy as np
caffe.set_mode_cpu()
nets = {}
with tempfile.TemporaryDirectory() as folder:
    for name, (text, phase) in json.loads(sys.stdin.readline()).items():
        path = os.path.join(folder, "net.prototxt")
        with open(path, "w") as file:
            file.write(text)
        nets[name] = net = caffe.Net(path, caffe.TRAIN if phase == "TRAIN" else caffe.TEST)
        for layer in net.layers:
            if layer.type == "BatchNorm":  # as filled, it divides by almost 0: values would overflow
                for blob, value in zip(layer.blobs, (0, 1, 1)):
                    blob.data[...] = value
        shape = net.blobs["data"].data.shape
        data = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
        if net.layers[0].type == "MemoryData":
            net.set_input_arrays(data, np.zeros((shape[0], 1, 1, 1), np.float32))
        else:
            net.blobs["data"].data[...] = data
answers.write("ready\n")
answers.flush()
for line in sys.stdin:
    name, what = line.rsplit(None, 1)
    begin, own = time.perf_counter(), time.process_time()
    nets[name].forward()
    if what == "both":
        nets[name].backward()
    answers.write("%r %r\n" % (time.perf_counter() - begin, time.process_time() - own))
    answers.flush()
"""

BATCHES = {"CIFAR ResNet-20": 128, "DavidNet": 128, "ResNet-50": 8, "bL-ResNet-50": 8}
CONFIGS = {
    "CIFAR ResNet-20": "cifar_resnet_20",
    "ResNet-50": "resnet_50",
    "bL-ResNet-50": "bl_resnet_50_a2_b4",
}
LEAST = {"float32": 0.98, "bfloat16": 0.95}  # of the speed of the hand-written model
# The least speed over real Caffe on 2 threads, training.
CAFFE = {
    ("CIFAR ResNet-20", "float32"): 4.5, ("CIFAR ResNet-20", "bfloat16"): 6.0,
    ("DavidNet", "float32"): 2.2, ("DavidNet", "bfloat16"): 4.5,
    ("ResNet-50", "float32"): 1.7, ("ResNet-50", "bfloat16"): 3.0,
}  # fmt: skip
INFERENCE = 2.5  # the least speed of a folded net over real Caffe
MEMORY = 1.02  # the most saved activations, over those of the hand-written model
BIG_LITTLE = 0.76  # the goal of bL-ResNet-50's time over ResNet-50's

Times = dict[str, float]


def net_of(name: str, phase: str, batch: int, quick: bool) -> Net:
    """The net of this name. `quick` takes images of 64 pixels for those of ImageNet."""
    if name in CONFIGS:
        small = ["input_size=64"] if quick and name.endswith("ResNet-50") else []
        net = load(CONFIGS[name], small).stitch(phase)
    else:
        network = find_network("davidnet")
        net = network.stitch(network.config(), phase)
    return rebatched(net, batch)


def autocast(dtype: str) -> AbstractContextManager[Any]:
    """The precision for the hand-written model; ours is asked for by `module`."""
    return nullcontext() if dtype == "float32" else torch.autocast("cpu", getattr(torch, dtype))


def laid_out(model: nn.Module) -> nn.Module:
    """The model with its weights channels last."""
    moved: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


class Worker:
    """Real Caffe in a process of its own."""

    def __init__(self, caffe: Install, nets: Mapping[str, Net], threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**environment(caffe), **dict.fromkeys(names, str(threads))}
        command = [*caffe.command, "-c", WORKER]
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        texts = {name: (prototxt.dumps(net), net.phase) for name, net in nets.items()}
        self._ask(json.dumps(texts))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("real Caffe ended")
        return answer

    def seconds(self, name: str, what: str) -> tuple[float, float]:
        """The wall and processor time of one pass."""
        wall, own = self._ask(f"{name} {what}").split()
        return float(wall), float(own)

    def end(self) -> None:
        """Let the process go."""
        self._process.communicate()


def products(name: str, phase: str, args: argparse.Namespace) -> float:
    """The GFLOP of a pass' learnt products: forward, or with both gradients, but not that of the data."""
    batch = args.batch or (BATCHES[name] if phase == "train" else 1)
    counts = count(net_of(name, phase, batch, args.quick))
    each = [layer.macs - layer.fixed_macs for layer in counts.layers]
    first = next(macs for macs in each if macs)
    return 2e-9 * batch * (3 * sum(each) - first if phase == "train" else sum(each))


SIDE = 1024  # of the matrices
CHANNELS, IMAGE = 512, (8, 14, 14)  # of the convolution: batch, height and width
PROBES = {"matrices": 2e-9 * SIDE**3, "convolution": 2e-9 * prod(IMAGE) * CHANNELS**2 * 9}  # GFLOP


def probes() -> dict[str, Callable[[], tuple[float, float]]]:
    """Two products that processors compute about as fast as they can: of matrices, and a convolution."""
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    n, *size = IMAGE
    x = torch.randn(n, CHANNELS, *size).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=torch.channels_last)
    return {
        "matrices": timed(lambda: a @ b),
        "convolution": timed(lambda: functional.conv2d(x, weight, padding=1)),
    }


def fastest(peers: Mapping[str, Callable[[], tuple[float, float]]], turns: int, busy: bool) -> Times:
    """The fastest turn of each, in alternation, after one that is not measured."""
    best: Times = {}
    for turn in range(-1, turns):
        for name, run in peers.items():
            seconds = run()[busy]
            if turn >= 0:
                best[name] = min(best.get(name, seconds), seconds)
    return best


def timed(run: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """The wall and processor time of a call."""

    def measure() -> tuple[float, float]:
        begin, own = time.perf_counter(), time.process_time()
        run()
        return time.perf_counter() - begin, time.process_time() - own

    return measure


def steady(m: NetModule) -> NetModule:
    """Statistics that keep the values of an untrained net in range."""
    with torch.no_grad():
        for operator in m.operators().values():
            if operator.proto.type == "BatchNorm":
                for blob, value in zip(operator.blobs(), (0.0, 1.0, 1.0), strict=True):
                    blob.fill_(value)
    return m


@contextmanager
def saving(own: nn.Module) -> Iterator[list[int]]:
    """The bytes that a forward pass keeps for the backward pass, each storage once, without parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in [*own.parameters(), *own.buffers()]}
    kept: dict[int, int] = {}
    held: list[Tensor] = []
    total = [0]

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(value.detach())  # else another tensor would get its address
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield total
    total[0] = sum(kept.values())


class Training:
    """A training step of a net, ours and hand-written, in one precision."""

    def __init__(self, name: str, net: Net, dtype: str) -> None:
        batch = net.inputs[0].known_shape
        self.x, self.label = torch.randn(batch), torch.zeros(batch[0], dtype=torch.int64)
        self.ours = module(net, seed=1, dtype=dtype)
        self.plain = laid_out(PLAIN[name]())
        learnt = [p for p in self.ours.parameters() if p.requires_grad]
        with torch.no_grad():
            for a, b in zip(self.plain.parameters(), learnt, strict=True):
                a.copy_(b.view(a.shape))
        self.last = self.x.contiguous(memory_format=torch.channels_last)
        self.dtype = dtype

    def loss(self, which: str) -> Tensor:
        """The loss of a batch."""
        if which == "ours":
            loss = self.ours(self.x, self.label).loss
            assert loss is not None
            return loss
        with autocast(self.dtype):
            return functional.cross_entropy(self.plain(self.last), self.label)

    def step(self, which: str) -> Callable[[], tuple[float, float]]:
        """A forward and a backward pass."""

        def run() -> None:
            model = self.ours if which == "ours" else self.plain
            model.zero_grad()
            self.loss(which).backward()

        return timed(run)

    def saved(self, which: str) -> int:
        """The bytes that it keeps for the backward pass."""
        with saving(self.ours if which == "ours" else self.plain) as total:
            self.loss(which)
        return total[0]


def training(
    name: str, dtypes: Sequence[str], args: argparse.Namespace, caffe: Install | None
) -> dict[str, Any]:
    """The figures of a net's training steps."""
    net = net_of(name, "train", args.batch or BATCHES[name], args.quick)
    runs = {dtype: Training(name, net, dtype) for dtype in dtypes}
    peers = {}
    memory = {}
    for dtype, run in runs.items():
        losses = [float(run.loss(which).detach()) for which in ("ours", "plain")]
        if abs(losses[0] - losses[1]) > (1e-3 if dtype == "float32" else 0.1) * max(1.0, abs(losses[1])):
            raise RuntimeError(f"{name}: the hand-written model is another net: losses {losses}")
        memory[dtype] = run.saved("ours") / run.saved("plain")
        peers.update({f"{dtype} {which}": run.step(which) for which in ("ours", "plain")})
    worker = None if caffe is None else Worker(caffe, {name: net}, args.threads)
    if worker is not None:
        peers["caffe"] = lambda: worker.seconds(name, "both")
    peers.update(probes())
    best = fastest(peers, args.turns, args.busy)
    if worker is not None:
        worker.end()
    figures = {"batch": net.inputs[0].known_shape[0], "gflop": products(name, "train", args)}
    return {**figures, "seconds": best, "memory": memory}


def _probabilities(model: nn.Module, x: Tensor) -> Tensor:
    return torch.softmax(model(x), 1)


def inference(args: argparse.Namespace, caffe: Install | None) -> dict[str, Any]:
    """The figures of ResNet-50 and bL-ResNet-50, one image."""
    names = [name for name in args.nets if name.endswith("ResNet-50")]
    nets = {name: net_of(name, "deploy", args.batch or 1, args.quick) for name in names}
    peers: dict[str, Callable[[], tuple[float, float]]] = {}
    modules = {name: steady(module(net, seed=1)) for name, net in nets.items()}
    worker = None if caffe is None else Worker(caffe, nets, args.threads)
    for name, net in nets.items():
        x = torch.randn(net.inputs[0].known_shape)
        plain = laid_out(PLAIN[name]()).eval()
        peers[f"{name} ours"] = timed(partial(modules[name], x))
        last = x.contiguous(memory_format=torch.channels_last)
        peers[f"{name} plain"] = timed(partial(_probabilities, plain, last))
        if worker is not None:
            peers[f"{name} caffe"] = partial(worker.seconds, name, "forward")
    peers.update(probes())
    with torch.no_grad():
        best = fastest(peers, args.turns, args.busy)
        kinds = {name: by_kind(m, nets[name], args.turns) for name, m in modules.items()}
    if worker is not None:
        worker.end()
    gflop = {name: products(name, "deploy", args) for name in names}
    return {"gflop": gflop, "seconds": best, "kinds": kinds}


def by_kind(m: NetModule, net: Net, turns: int) -> dict[str, float]:
    """The processor time of the steps of a forward pass in seconds, by what they do; the fastest of each."""
    x = torch.randn(net.inputs[0].known_shape)
    best: dict[int, float] = {}
    begun = [0.0]
    hooks = []

    def begin(*_: object) -> None:
        begun[0] = time.process_time()

    def end(i: int) -> Callable[..., None]:
        def note(*_: object) -> None:
            seconds = time.process_time() - begun[0]
            best[i] = min(best.get(i, seconds), seconds)

        return note

    steps = m.steps()
    for i, step in enumerate(steps):
        hooks.append(step.operator.register_forward_pre_hook(begin))
        hooks.append(step.operator.register_forward_hook(end(i)))
    for _ in range(turns + 1):
        m(x)
    for hook in hooks:
        hook.remove()
    sums: dict[str, float] = defaultdict(float)
    for i, step in enumerate(steps):
        if i in best:
            sums[kind(step.operator)] += best[i]
    return dict(sums)


def kind(operator: nn.Module) -> str:
    """What a step does, in words."""
    first = leading(operator)
    if isinstance(first, Convolution):
        return f"convolutions {first.window.kernel[0]}x{first.window.kernel[1]}"
    names = {
        "Eltwise": "sums", "Deconvolution": "upsampling", "InnerProduct": "the classifier",
    }  # fmt: skip
    return names.get(first.proto.type, first.proto.type)


def report(data: dict[str, Any], args: argparse.Namespace) -> tuple[str, list[str]]:
    """The figures as text, and the bars that are missed."""
    missed: list[str] = []

    def judged(value: float, bar: float | None, what: str, most: bool = False) -> str:
        if bar is not None and (value > bar if most else value < bar):
            missed.append(f"{what} {value:.3f}, the bar is {bar}")
        return f"{value:.2f}" if bar is None else f"{value:.3f} ({'<' if most else '>'}= {bar})"

    rows = []
    for name, found in data["training"].items():
        seconds = found["seconds"]
        for dtype in args.dtypes:
            ours = seconds[f"{dtype} ours"]
            row = [name, str(found["batch"]), dtype, f"{found['batch'] / ours:.1f}"]
            row.append(judged(seconds[f"{dtype} plain"] / ours, LEAST[dtype], f"{name} {dtype} / plain"))
            row.append(judged(found["memory"][dtype], MEMORY, f"{name} {dtype} saved", most=True))
            bar = None if args.busy else CAFFE.get((name, dtype))
            row.append(
                judged(seconds["caffe"] / ours, bar, f"{name} {dtype} / Caffe") if "caffe" in seconds else ""
            )
            rows.append(row)
    head = ("training step", "batch", "dtype", "images/s", "speed / plain", "saved / plain", "speed / Caffe")
    lines = [format_table(head, rows, right=range(3, 7))] if rows else []
    seconds = data["inference"]["seconds"]
    rows = []
    for name in data["inference"]["kinds"]:
        ours = seconds[f"{name} ours"]
        caffe = seconds.get(f"{name} caffe")
        bar = None if args.busy else INFERENCE
        rows.append(
            [
                name, f"{1e3 * ours:.1f}", judged(seconds[f"{name} plain"] / ours, None, ""),
                "" if caffe is None else judged(caffe / ours, bar, f"{name} inference / Caffe"),
            ]
        )  # fmt: skip
    lines += ["", format_table(("inference", "ms", "speed / plain", "speed / Caffe"), rows, right=(1, 2, 3))]
    lines += ["", ceilings(data)]
    if len(rows) == 2:
        lines += ["", big_little(data, args)]
    return "\n".join(lines), missed


def ceilings(data: dict[str, Any]) -> str:
    """What the products of each net leave to reach, if they ran as fast as the faster of `probes`."""
    found = {
        f"{name}, training": (run["gflop"], run["seconds"], "float32 ours", "caffe")
        for name, run in data["training"].items()
    }
    inferred = data["inference"]
    for name, gflop in inferred["gflop"].items():
        found[f"{name}, inference"] = gflop, inferred["seconds"], f"{name} ours", f"{name} caffe"
    rows = []
    for what, (gflop, seconds, ours, caffe) in found.items():
        if ours in seconds:
            speed = max(each / seconds[probe] for probe, each in PROBES.items())
            least = gflop / speed
            most = f"{seconds[caffe] / least:.2f}" if caffe in seconds else ""
            rows.append([what, f"{gflop:.1f}", f"{speed:.0f}", f"{least / seconds[ours]:.2f}", most])
    head = ("products in float32", "GFLOP", "GFLOP/s at most", "our share of it", "most / Caffe")
    return format_table(head, rows, right=(1, 2, 3, 4))


def big_little(data: dict[str, Any], args: argparse.Namespace) -> str:
    """bL-ResNet-50 beside ResNet-50: the whole, and each kind of step."""
    a, b = "ResNet-50", "bL-ResNet-50"
    seconds = data["inference"]["seconds"]
    kinds = data["inference"]["kinds"]
    rows = []
    for what in sorted({*kinds[a], *kinds[b]}, key=lambda k: -kinds[a].get(k, 0.0)):
        left, right = (1e3 * kinds[name].get(what, 0.0) for name in (a, b))
        if max(left, right) >= 0.05:
            rows.append([what, f"{left:.1f}", f"{right:.1f}", f"{right / left:.2f}" if left else ""])
    left, right = (1e3 * sum(kinds[name].values()) for name in (a, b))
    rows.append(["all steps, processor time", f"{left:.1f}", f"{right:.1f}", f"{right / left:.2f}"])
    left, right = (1e3 * seconds[f"{name} ours"] for name in (a, b))
    rows.append(["inference", f"{left:.1f}", f"{right:.1f}", f"{right / left:.2f}"])
    for dtype in args.dtypes:
        if a in data["training"] and b in data["training"]:
            left, right = (1e3 * data["training"][name]["seconds"][f"{dtype} ours"] for name in (a, b))
            rows.append([f"training step, {dtype}", f"{left:.0f}", f"{right:.0f}", f"{right / left:.2f}"])
    return format_table((f"ms (goal {BIG_LITTLE})", a, b, "ratio"), rows, right=(1, 2, 3))


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Time the PyTorch engine beside plain PyTorch and real Caffe."
    )
    parser.add_argument("--nets", default=",".join(PLAIN), help="names, separated by commas (default: all)")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="precisions of the training steps")
    parser.add_argument("--turns", type=int, default=9, metavar="N", help="turns of each (default: 9)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each (default: 2)")
    parser.add_argument("--batch", type=int, metavar="N", help="another batch size, for a quick look")
    parser.add_argument("--quick", action="store_true", help="images of 64 pixels for ImageNet's nets")
    parser.add_argument("--busy", action="store_true", help="one thread, judged by processor time")
    parser.add_argument("--no-caffe", action="store_true", help="leave real Caffe out")
    parser.add_argument("--no-training", action="store_true", help="time inference only")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    args.nets = args.nets.split(",")
    args.dtypes = [dtype for dtype in args.dtypes.split(",") if dtype]
    if unknown := set(args.nets) - set(PLAIN) or set(args.dtypes) - set(LEAST):
        print(f"unknown: {', '.join(unknown)}; the nets are {', '.join(PLAIN)}", file=sys.stderr)
        return 2
    args.threads = 1 if args.busy else args.threads
    torch.set_num_threads(args.threads)
    caffe = None if args.no_caffe else find()
    data: dict[str, Any] = {"threads": args.threads, "busy": args.busy, "training": {}}
    for name in () if args.no_training else args.nets:
        print(f"training steps of {name} ...", file=sys.stderr, flush=True)
        data["training"][name] = training(name, args.dtypes, args, caffe)
    print("inference ...", file=sys.stderr, flush=True)
    data["inference"] = inference(args, caffe)
    text, missed = report(data, args)
    print(json.dumps(data, indent=2) if args.json else text)
    print("\n".join(["missed:", *missed]) if missed else "bars: within", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
