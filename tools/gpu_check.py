#!/usr/bin/env python3
"""Check the PyTorch engine on a GPU: `tools/gpu_check.py`, from a copy of the working tree.

Runs in a few minutes, needs no real Caffe and downloads nothing. Compared are the numeric cases that real
Caffe computed (forward and gradients), products and convolutions with float64, and the published logits of
the reference nets; timed are training steps beside hand-written PyTorch models, with their memory. Prints one
table.
`--device cpu` runs the same on the CPU.
Exit status: 0 all within the bars, 1 not, 2 something is missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    import torch

NEEDED = ("torch", "numpy", "google.protobuf", "yaml", "pytest")
CASE, PRODUCT, LOGIT = 5e-6, 1e-5, 1e-5
TURNS = 10


class Row(NamedTuple):
    """A line of the table: what was measured, the figure, its bar, whether that is the most or the least."""

    what: str
    figure: float
    bar: float
    least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure is within the bar."""
        return self.figure >= self.bar if self.least else self.figure <= self.bar


def missing(device: str) -> str:
    """What this machine lacks, "" if nothing."""
    lacking = [name for name in NEEDED if not _installed(name)]
    if lacking:
        return f"not installed: {', '.join(lacking)} (pip install torch numpy protobuf pyyaml pytest)"
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no GPU; --device cpu runs the checks on the CPU"
    return ""


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


# -- numbers -----------------------------------------------------------------------------------------------


def case_errors(case: dict[str, Any], device: torch.device) -> Iterator[tuple[str, float]]:
    """The error of each result of a numeric case."""
    import torch

    from tests.engines.torch.cases import arrays, backward, build, difference, inputs_of

    def on(t: torch.Tensor) -> torch.Tensor:
        return t.detach().to(device).requires_grad_()

    def error(ours: torch.Tensor | None, key: str) -> float:
        expected = arrays()[key]
        return difference(torch.zeros(expected.shape) if ours is None else ours.cpu(), expected)

    m = build(case).to(device)
    inputs = {name: on(t) for name, t in inputs_of(case).items()}
    out = m(**inputs, keep=tuple(case.get("top_diffs", ())))
    for name, key in case["outputs"].items():
        yield name, error(out[name], key)
    for layer, keys in case.get("params_after_forward", {}).items():
        for i, (blob, key) in enumerate(zip(m.params[layer], keys, strict=True)):
            yield f"{layer}[{i}]", error(blob, key)
    backward(case, out)
    for name, key in case.get("bottom_diffs", {}).items():
        yield f"gradient of {name}", error(inputs[name].grad, key)
    for layer, keys in case.get("param_diffs", {}).items():
        for i, (blob, key) in enumerate(zip(m.params[layer], keys, strict=True)):
            yield f"gradient of {layer}[{i}]", error(blob.grad, key)


def numeric_cases(device: torch.device, most: int | None) -> Iterator[Row]:
    """The cases that real Caffe computed, and the worst of them."""
    from tests.engines.torch.cases import CASES

    cases = [case for case in CASES if case["group"] != "datalayer"][:most]
    worst, where, failed = 0.0, "", []
    for case in cases:
        for name, error in case_errors(case, device):
            error = error if error == error else float("inf")
            if error > worst:
                worst, where = error, f"{case['id']}, {name}"
            if error > CASE:
                failed.append(str(case["id"]))
    note = f"{len(set(failed))} fail: {', '.join(sorted(set(failed))[:8])}" if failed else where
    yield Row(f"{len(cases)} numeric cases, forward and gradients", worst, CASE, note=note)


def products(device: torch.device) -> Iterator[Row]:
    """A convolution and a product large enough for tensor cores, against float64: TF32 is off by 1e-3."""
    import torch

    from netbuilder import prototxt
    from netbuilder.engines.torch import module

    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 64 dim: 16 dim: 16 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c"
      convolution_param { num_output: 128 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
    layer { name: "f" type: "InnerProduct" bottom: "c" top: "f"
      inner_product_param { num_output: 256 weight_filler { type: "msra" } } }
    """
    net = prototxt.parse(text)
    x = torch.randn((8, 64, 16, 16), generator=torch.Generator().manual_seed(1))
    found = []
    for dtype, where in ((torch.float32, device), (torch.float64, torch.device("cpu"))):
        m = module(net, seed=1).to(where, dtype)
        out = m(x.to(where, dtype))["f"]
        out.square().sum().backward()
        found.append([out.detach(), *(p.grad for p in m.parameters() if p.grad is not None)])
    worst = max(
        float((a.double().cpu() - b).abs().max() / b.abs().max()) for a, b in zip(*found, strict=True)
    )
    yield Row("convolution and product against float64 (no TF32)", worst, PRODUCT)


def logits(device: torch.device, most: int | None) -> Iterator[Row]:
    """The published logits of the reference nets, with the default passes and without any."""
    import torch

    from netbuilder.engines.torch import module
    from tests.engines.torch.given import give
    from tests.engines.torch.test_logits import REFERENCES

    switchable = "passes" in inspect.signature(module).parameters
    choices: dict[str, dict[str, Any]] = {"": {}}
    if switchable:
        choices = {", passes on": {}, ", passes off": {"passes": ()}}
    for name in list(REFERENCES)[:most]:
        net, params, images, expected, blob = REFERENCES[name]()
        for how, options in choices.items():
            m = module(net, **options)
            give(m, params)
            m.to(device)
            with torch.no_grad():
                ours = m(torch.from_numpy(images).to(device), keep=(blob,))[blob].cpu().numpy()
            yield Row(f"logits of {name}{how}", float(abs(ours - expected).max()), LOGIT)


# -- speed and memory --------------------------------------------------------------------------------------


class Steps:
    """Training steps of a net on a device, ours and hand-written, from equal weights."""

    def __init__(self, name: str, net: Any, dtype: str, device: torch.device) -> None:
        import torch

        from netbuilder.engines.torch import module

        plain = importlib.import_module("bench.plain_torch").PLAIN[name]
        shape = net.inputs[0].known_shape
        self.device, self.dtype = device, dtype
        self.x = torch.randn(shape, device=device)
        self.last = self.x.contiguous(memory_format=torch.channels_last)
        self.label = torch.zeros(shape[0], dtype=torch.int64, device=device)
        options: dict[str, Any] = {"dtype": dtype}
        self.ours = module(net, seed=1, **options).to(device)
        self.plain = plain().to(device, memory_format=torch.channels_last)
        learnt = [p for p in self.ours.parameters() if p.requires_grad]
        with torch.no_grad():
            for a, b in zip(self.plain.parameters(), learnt, strict=True):
                a.copy_(b.view(a.shape))

    def loss(self, which: str) -> Any:
        """The loss of a batch."""
        import torch
        from torch.nn import functional

        if which == "ours":
            return self.ours(self.x, self.label).loss
        low = self.dtype != "float32"
        with torch.autocast(self.device.type, getattr(torch, self.dtype)) if low else nullcontext():
            return functional.cross_entropy(self.plain(self.last), self.label)

    def seconds(self, which: str) -> float:
        """The time of a step, until the device is done."""
        import torch

        wait: Callable[[], None] = torch.cuda.synchronize if self.device.type == "cuda" else lambda: None
        model = self.ours if which == "ours" else self.plain
        wait()
        begin = time.perf_counter()
        model.zero_grad()
        self.loss(which).backward()
        wait()
        return time.perf_counter() - begin


def speed(device: torch.device, quick: bool) -> Iterator[Row]:
    """Our training steps beside the hand-written ones: speed, and what is kept for the backward pass."""
    bench = importlib.import_module("bench.torch_engine")
    larger = 8 if device.type == "cuda" else 1
    for name, batch in bench.BATCHES.items():
        net = bench.net_of(name, "train", 2 if quick else batch * larger, quick)
        for dtype, least in bench.LEAST.items():
            steps = Steps(name, net, dtype, device)
            best: dict[str, float] = {}
            for turn in range(-2, 1 if quick else TURNS):  # in turns, so that both share what disturbs
                for which in ("ours", "plain"):
                    seconds = steps.seconds(which)
                    if turn >= 0:
                        best[which] = min(best.get(which, seconds), seconds)
            rate = f"{net.inputs[0].known_shape[0] / best['ours']:.0f} images/s"
            ratio = best["plain"] / best["ours"]
            yield Row(f"{name}, {dtype}: speed / plain PyTorch", ratio, 0 if quick else least, True, rate)
            saved = []
            for which in ("ours", "plain"):
                with bench.saving(getattr(steps, which)) as total:
                    steps.loss(which)
                saved.append(total[0])
            note = f"{saved[0] / 2**20:.0f} MiB"
            yield Row(f"{name}, {dtype}: saved / plain PyTorch", saved[0] / saved[1], bench.MEMORY, note=note)


# -- the table ---------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """The rows as Markdown, for the docs."""
    lines = ["| check | figure | bar | | |", "|---|---|---|---|---|"]
    for row in rows:
        figure = f"{row.figure:.3f}" if row.figure > 0.01 else f"{row.figure:.1e}"
        bar = f"{'>=' if row.least else '<='} {row.bar:g}"
        lines.append(f"| {row.what} | {figure} | {bar} | {'ok' if row.holds else 'FAILS'} | {row.note} |")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", help="the device (cuda)")
    parser.add_argument("--cases", type=int, help="how many numeric cases (all)")
    parser.add_argument("--nets", type=int, help="of how many reference nets the logits (all)")
    parser.add_argument("--quick", action="store_true", help="tiny batches, which say nothing about speed")
    parser.add_argument("--no-speed", action="store_true", help="leave out speed and memory")
    args = parser.parse_args(words)
    if lacking := missing(args.device):
        print(f"gpu_check: {lacking}", file=sys.stderr)
        return 2
    import torch

    device = torch.device(args.device)
    torch.backends.cudnn.deterministic = True
    begin = time.perf_counter()
    rows: list[Row] = []
    checks = [numeric_cases(device, args.cases), products(device), logits(device, args.nets)]
    if not args.no_speed:
        checks.append(speed(device, args.quick))
    for i, check in enumerate(checks):
        if i == 3:
            torch.backends.cudnn.deterministic = False
        for row in check:
            rows.append(row)
            print(f"{time.perf_counter() - begin:5.0f} s  {row.what}", file=sys.stderr, flush=True)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    print(f"PyTorch {torch.__version__} on {where}, {time.perf_counter() - begin:.0f} s\n\n{table(rows)}")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
