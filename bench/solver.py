"""The solver's update of ResNet-50's parameters in PyTorch, against PyTorch's own optimizers.

Updates run alternately on gradients that are there; the processor time of the fastest one counts.

    python bench/solver.py [--turns 10] [--device cuda] [--threads 1] [--json]

The bar: an update of SGD and of Nesterov takes at most 1.3 of PyTorch's SGD with `foreach`. Exit codes:
0 within, 1 not, 2 without PyTorch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.networks import find_network
from netbuilder.report import format_table
from netbuilder.schema import SolverParameter

MOST = 1.3
RESNET_50: dict[str, Any] = {"main_branch": "bottleneck", "blocks": (3, 4, 6, 3), "num_output_stage1": 256}
BARS = ("SGD", "Nesterov")
# What PyTorch has of the same kind; it computes something else, from as many numbers.
PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"momentum": 0.9}),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "Adam": ("Adam", {}),
    "RMSProp": ("RMSprop", {}),
    "AdaGrad": ("Adagrad", {}),
    "AdaDelta": ("Adadelta", {}),
}


def steps(device: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """The updates by type: ours, and PyTorch's with `foreach`."""
    import torch

    from netbuilder.engines.torch import module
    from netbuilder.engines.torch.solver import Solver

    network = find_network("resnet")
    net = module(network.stitch(network.config(**RESNET_50), "deploy"), seed=1).to(device)
    params = [p for p in net.parameters() if p.requires_grad]
    for p in params:
        p.grad = torch.full_like(p, 1e-6)
    made: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    for kind, (theirs, options) in PAIRS.items():
        momentum = 0.0 if kind in ("RMSProp", "AdaGrad") else 0.9
        message = SolverParameter(
            type=kind, base_lr=1e-3, lr_policy="fixed", weight_decay=1e-4, momentum=momentum
        )
        optimizer = getattr(torch.optim, theirs)(params, lr=1e-3, weight_decay=1e-4, foreach=True, **options)
        made[kind] = Solver(net, message).step, optimizer.step
    return made


def timed(step: Callable[[], Any], device: str) -> float:
    """The milliseconds of an update: processor time, or on a GPU all of it."""
    if device == "cpu":
        begin = time.process_time()
        step()
        return (time.process_time() - begin) * 1e3
    import torch

    torch.cuda.synchronize()
    begin = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed", file=sys.stderr)
        return 2
    import torch

    torch.set_num_threads(options.threads)
    best: dict[str, list[float]] = {}
    pairs = steps(options.device)
    for _ in range(options.turns + 1):  # the first allocates
        for kind, both in pairs.items():
            now = [timed(step, options.device) for step in both]
            best[kind] = [min(pair) for pair in zip(best.get(kind, now), now, strict=True)]
    ratios = {kind: ours / theirs for kind, (ours, theirs) in best.items()}
    if options.json:
        print(json.dumps({kind: {"ms": best[kind], "ratio": ratios[kind]} for kind in best}))
    else:
        rows = [[kind, *(f"{ms:.1f}" for ms in best[kind]), f"{ratios[kind]:.2f}"] for kind in best]
        print(format_table(["type", "ours, ms", "foreach, ms", "ratio"], rows, right=(1, 2, 3)))
    within = all(ratios[kind] <= MOST for kind in BARS)
    print(
        f"bar: at most {MOST} for {' and '.join(BARS)}: {'within' if within else 'MISSED'}", file=sys.stderr
    )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
