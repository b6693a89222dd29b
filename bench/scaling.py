"""Growth of time with depth: building, counting, checking, writing and reading nets of many residual blocks.

Time should grow linearly, so the exponent of a power law fitted to the times should be close to 1. Everything
runs under a small recursion limit: nothing may recurse over the graph. Reading is compared with
google.protobuf.text_format, which only parses the same text into the same messages.

    python bench/scaling.py [--blocks 250 500 1000 2000] [--repeats 3] [--json]

Exit codes: 0 linear, 1 an exponent of 1.7 or more.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from google.protobuf import text_format

from legos import BottleneckBranch, ConvBNReLULego, EltwiseReLULego, ShortcutLego
from netbuilder import Net, checks, counts, prototxt
from netbuilder.prototxt import text
from netbuilder.report import format_table
from netbuilder.schema import NetParameter

STEPS = ("build", "count", "check", "write", "parse", "read", "text_format")
MOST = 1.7  # largest exponent; a net that outgrows the processor's caches adds a step, quadratic time gives 2
FRAMES = 60  # frames; more than the deepest call for a net of one block

T = TypeVar("T")


def build(blocks: int) -> Net:
    """A net of this many bottleneck blocks with identity shortcuts, 11 layers each."""
    net = Net(f"chain_{blocks}", phase="TEST")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 14, 14]})
    x = ConvBNReLULego(name="1", num_output=64, kernel=3).attach(net, x)
    for i in range(blocks):
        name = f"block{i}"
        main = BottleneckBranch(name=name, num_output=64)
        x = ShortcutLego(name=name, main=main, merge=EltwiseReLULego(name=name)).attach(net, x)
    return net


def best(repeats: int, work: Callable[[], T]) -> tuple[float, T]:
    """The minimum of several times, and the last result. Garbage collection is off, as in timeit."""
    times = []
    for _ in range(repeats):
        gc.collect()
        gc.disable()
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
        gc.enable()
    return min(times), result


def measure(blocks: int, repeats: int) -> dict[str, Any]:
    """Seconds per step for one size."""
    seconds: dict[str, float] = {}
    seconds["build"], net = best(repeats, lambda: build(blocks))
    seconds["count"], _ = best(repeats, lambda: counts.count(net))
    seconds["check"], _ = best(repeats, lambda: checks.check(net))
    seconds["write"], written = best(repeats, lambda: prototxt.dumps(net))
    seconds["parse"], _ = best(repeats, lambda: text.parse(written, NetParameter))
    seconds["read"], again = best(repeats, lambda: prototxt.parse(written))
    seconds["text_format"], _ = best(repeats, lambda: text_format.Parse(written, NetParameter()))
    assert len(again) == len(net)
    return {"blocks": blocks, "layers": len(net), "kilobytes": len(written) / 1e3, "seconds": seconds}


def exponent(sizes: list[int], times: list[float]) -> float:
    """The slope of log time over log size, by least squares."""
    x, y = [math.log(s) for s in sizes], [math.log(t) for t in times]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def summary(sizes: list[int], repeats: int) -> dict[str, Any]:
    """Times of all sizes, their exponents, and reading as a multiple of text_format."""
    depth = len(_frames())
    limit = sys.getrecursionlimit()
    measure(1, 1)  # warm up: import and compile what is loaded late
    sys.setrecursionlimit(depth + FRAMES)
    try:
        rows = [measure(blocks, repeats) for blocks in sizes]
    finally:
        sys.setrecursionlimit(limit)
    layers = [row["layers"] for row in rows]
    exponents = {step: exponent(layers, [row["seconds"][step] for row in rows]) for step in STEPS}
    return {
        "recursion_limit": FRAMES,
        "sizes": rows,
        "exponents": exponents,
        "parse_over_text_format": [r["seconds"]["parse"] / r["seconds"]["text_format"] for r in rows],
        "read_over_text_format": [r["seconds"]["read"] / r["seconds"]["text_format"] for r in rows],
        "linear": all(value < MOST for step, value in exponents.items() if step != "text_format"),
    }


def _frames() -> list[Any]:
    frames: list[Any] = []
    frame = sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


def table(data: dict[str, Any]) -> str:
    """The summary as text."""
    rows = [
        (str(row["blocks"]), str(row["layers"]), *(f"{1e3 * row['seconds'][step]:.1f}" for step in STEPS))
        for row in data["sizes"]
    ]
    rows.append(("exponent", "", *(f"{data['exponents'][step]:.2f}" for step in STEPS)))
    head = ("blocks", "layers", *(f"{step}, ms" for step in STEPS))
    ratios = (f"{low:.2f} to {high:.2f}" for low, high in (_range(data, n) for n in ("parse", "read")))
    return "\n".join(
        [
            format_table(head, rows, right=range(1, len(head))),
            "parse / text_format: {}; read (with all shapes and checks) / text_format: {}".format(*ratios),
            f"recursion limit: {data['recursion_limit']} frames; linear: {'yes' if data['linear'] else 'NO'}",
        ]
    )


def _range(data: dict[str, Any], name: str) -> tuple[float, float]:
    values = data[f"{name}_over_text_format"]
    return min(values), max(values)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time nets of many residual blocks.")
    parser.add_argument("--blocks", type=int, nargs="+", default=[250, 500, 1000, 2000], metavar="N")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="number of repetitions; the minimum counts"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    if len(set(args.blocks)) < 2 or min(args.blocks) < 1:
        parser.error("--blocks needs at least two different sizes")
    data = summary(sorted(set(args.blocks)), max(1, args.repeats))
    print(json.dumps(data, indent=2) if args.json else table(data))
    return 0 if data["linear"] else 1


if __name__ == "__main__":
    sys.exit(main())
