"""The bars for counting: ResNet-152, 671 layers, against real Caffe, which loads the same file.

There are two figures: counting a net already in memory, and the whole process of the command (start Python,
read the file, infer all shapes, count, print). Real Caffe's Python loads the same file, also as a whole
process (`import caffe`, then the net) and alone (`caffe.Net` after all imports). Both run on one thread,
alternately, so that a busy machine slows both; ratios are computed per pair.

    python bench/count.py [--pairs 5] [--json]

Exit codes: 0 within the bars, 1 outside, 2 no real Caffe or something failed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.start import LOAD, ROOT, against_caffe, inside, measure
from netbuilder import counts, prototxt
from netbuilder.engines.caffe.install import Install, environment
from netbuilder.errors import EngineError
from netbuilder.report import format_table

FLAGS = ["-m", "bottleneck", "-b", "3", "8", "36", "3", "-n", "256", "--no-fc_layers"]
MOST_COUNT, MOST_COMMAND = 5.0, 150.0  # ms
COUNT = "import sys; from netbuilder.cli.main import main; sys.exit(main())"
TIMED = (
    "import sys, time, caffe; begin = time.perf_counter(); caffe.Net(sys.argv[1], caffe.TRAIN); "
    "print(time.perf_counter() - begin)"
)


class Pair(NamedTuple):
    """Milliseconds of one pair: netbuilder's and Caffe's."""

    counted: float  # of a net in memory
    load: float  # caffe.Net alone
    command: float  # the whole process
    process: float  # Caffe's whole process


def run_pairs(caffe: Install, pairs: int) -> tuple[int, list[Pair]]:
    """The number of layers, and the pairs."""
    with (
        tempfile.TemporaryDirectory(prefix="netbuilder-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="netbuilder-bench-", dir=inside(caffe, "/tmp")) as place,
    ):
        ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        ours |= {"PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode"), "PYTHONPATH": str(ROOT)}
        build = [sys.executable, str(ROOT / "app/imagenet/build_resnet.py"), *FLAGS, "-o", folder]
        measure(build, ours)
        file = Path(folder) / "train.prototxt"
        copy = shutil.copy(file, place)
        seen = copy if caffe.root is None else "/" + str(Path(copy).relative_to(caffe.root))
        command = [sys.executable, "-c", COUNT, "count", str(file), "--phase", "TRAIN"]
        theirs = environment(caffe)
        net = prototxt.read(file, "TRAIN")

        def pair() -> Pair:
            return Pair(
                _best_of(20, lambda: counts.count(net)),
                _alone([*caffe.command, "-c", TIMED, seen], theirs),
                1e3 * measure(command, ours).wall,
                1e3 * measure([*caffe.command, "-c", LOAD, seen], theirs).wall,
            )

        pair()  # an unmeasured run first: files in memory, bytecode cached
        return len(net), [pair() for _ in range(pairs)]


def _best_of(repeats: int, work: Any) -> float:
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


def _alone(command: list[str], env: dict[str, str]) -> float:
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        raise EngineError(f"this command failed: {' '.join(command)}")
    return 1e3 * float(done.stdout.split()[-1])


def summary(layers: int, pairs: list[Pair]) -> dict[str, Any]:
    """The figures as data; the bars are on the medians."""
    series = {
        "count_ms": [p.counted for p in pairs],
        "caffe_net_ms": [p.load for p in pairs],
        "count_over_caffe_net": [p.counted / p.load for p in pairs],
        "command_ms": [p.command for p in pairs],
        "caffe_process_ms": [p.process for p in pairs],
        "command_over_caffe_process": [p.command / p.process for p in pairs],
    }
    figures = {
        name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
        for name, values in series.items()
    }
    within = figures["count_ms"]["median"] < MOST_COUNT and figures["command_ms"]["median"] < MOST_COMMAND
    bars = {"count_ms": MOST_COUNT, "command_ms": MOST_COMMAND}
    return {"layers": layers, "pairs": len(pairs), **figures, "bars": bars, "within": within}


def table(data: dict[str, Any]) -> str:
    """The summary as text."""
    labels = (
        ("count_ms", "counting a net in memory, ms", "{:.2f}"),
        ("caffe_net_ms", "caffe.Net of its file, ms", "{:.0f}"),
        ("count_over_caffe_net", "the one over the other", "{:.4f}"),
        ("command_ms", "netbuilder count FILE, whole process, ms", "{:.0f}"),
        ("caffe_process_ms", "import caffe and load it, whole process, ms", "{:.0f}"),
        ("command_over_caffe_process", "the one over the other", "{:.3f}"),
    )
    rows = [(text, *(form.format(v) for v in data[name].values())) for name, text, form in labels]
    verdict = "within" if data["within"] else "OUTSIDE"
    head = (f"{data['layers']} layers, {data['pairs']} pairs", "min", "median", "max")
    return "\n".join(
        [
            format_table(head, rows, right=(1, 2, 3)),
            f"bars: counting under {MOST_COUNT:g} ms, the command under {MOST_COMMAND:g} ms: {verdict}",
        ]
    )


def main() -> int:
    return against_caffe(
        "Time counting ResNet-152 against real Caffe.",
        lambda caffe, pairs: summary(*run_pairs(caffe, pairs)),
        table,
    )


if __name__ == "__main__":
    sys.exit(main())
