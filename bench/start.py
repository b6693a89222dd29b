"""The bar for start-up: ResNet-50 built from the command line, against real Caffe only loading it.

One side is the whole process of `app/imagenet/build_resnet.py`: start Python, build and check three nets,
write three files, print. The other is real Caffe's Python, which imports caffe and loads the train file.
`netbuilder --version` is the start without any work. All run on one thread and alternately, so that a busy
machine slows all of them; the ratios are taken per round. Python's bytecode is cached, as from the second run
on; the first run is reported separately.

    python bench/start.py [--pairs 5] [--json]

Exit codes: 0 within the bar, 1 outside, 2 no real Caffe or something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.engines.caffe.install import Install, environment, find, missing
from netbuilder.errors import EngineError
from netbuilder.report import format_table

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["-m", "bottleneck", "-b", "3", "4", "6", "3", "-n", "256", "--no-fc_layers"]
MOST_TIME = 0.15  # of Caffe's
MOST_VERSION = 0.5  # of the time of a build
MOST_MEMORY = 60.0  # MB
LOAD = "import sys, caffe; caffe.Net(sys.argv[1], caffe.TRAIN)"
VERSION = "import sys; sys.path.insert(0, sys.argv[1]); from netbuilder.cli.main import main; main(['-V'])"


class Run(NamedTuple):
    """The cost of one process: wall time in s, processor time in s, peak memory in MB."""

    wall: float
    processor: float
    memory: float


def measure(command: Sequence[str], env: dict[str, str]) -> Run:
    """Run a command to its end; raises EngineError if it fails."""
    stopwatch = [sys.executable, "-I", "-S", str(Path(__file__).with_name("stopwatch.py"))]
    done = subprocess.run([*stopwatch, *command], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise EngineError(f"this command failed: {' '.join(command)}")
    wall, processor, kibibytes, _ = (float(word) for word in done.stdout.split())
    return Run(wall, processor, kibibytes * 1024 / 1e6)


def run_pairs(caffe: Install, pairs: int) -> tuple[Run, list[tuple[Run, Run, Run]]]:
    """The first build, and the rounds (build, Caffe's, `--version`) after it."""
    with tempfile.TemporaryDirectory(prefix="netbuilder-bench-") as folder:
        build = [sys.executable, str(ROOT / "app/imagenet/build_resnet.py"), *FLAGS, "-o", folder]
        version = [sys.executable, "-c", VERSION, str(ROOT)]
        ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        ours["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        first = measure(build, ours)
        with tempfile.TemporaryDirectory(prefix="netbuilder-bench-", dir=inside(caffe, "/tmp")) as place:
            file = shutil.copy(Path(folder) / "train.prototxt", place)
            seen = file if caffe.root is None else "/" + str(Path(file).relative_to(caffe.root))
            load, theirs = [*caffe.command, "-c", LOAD, seen], environment(caffe)
            measure(load, theirs)  # not counted: brings Caffe's files into memory, as netbuilder's are
            measure(version, ours)
            return first, [
                (measure(build, ours), measure(load, theirs), measure(version, ours)) for _ in range(pairs)
            ]


def inside(caffe: Install, folder: str) -> str | None:
    """A folder in the root of Caffe's own system, None if Caffe runs in this one."""
    return None if caffe.root is None else str(caffe.root) + folder


def summary(first: Run, rounds: list[tuple[Run, Run, Run]]) -> dict[str, Any]:
    """The figures as data; the bars are on the median ratios and on netbuilder's largest memory."""
    series = {
        "ratio": [a.wall / b.wall for a, b, _ in rounds],
        "processor_ratio": [a.processor / b.processor for a, b, _ in rounds],
        "version_ratio": [v.wall / a.wall for a, _, v in rounds],
        "netbuilder_s": [a.wall for a, _, _ in rounds],
        "caffe_s": [b.wall for _, b, _ in rounds],
        "netbuilder_mb": [a.memory for a, _, _ in rounds],
        "caffe_mb": [b.memory for _, b, _ in rounds],
    }
    figures = {
        name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
        for name, values in series.items()
    }
    return {
        "pairs": len(rounds),
        "first_run_ratio": first.wall / figures["caffe_s"]["median"],
        **figures,
        "bars": {"ratio": MOST_TIME, "version_ratio": MOST_VERSION, "netbuilder_mb": MOST_MEMORY},
        "within": figures["ratio"]["median"] <= MOST_TIME
        and figures["version_ratio"]["median"] <= MOST_VERSION
        and figures["netbuilder_mb"]["max"] < MOST_MEMORY,
    }


def table(data: dict[str, Any]) -> str:
    """The summary for people."""
    labels = (
        ("ratio", "netbuilder / Caffe, time", "{:.3f}"),
        ("processor_ratio", "netbuilder / Caffe, processor time", "{:.3f}"),
        ("version_ratio", "netbuilder --version / build, time", "{:.3f}"),
        ("netbuilder_s", "netbuilder, s", "{:.3f}"),
        ("caffe_s", "Caffe, s", "{:.3f}"),
        ("netbuilder_mb", "netbuilder, peak MB", "{:.1f}"),
        ("caffe_mb", "Caffe, peak MB", "{:.1f}"),
    )
    rows = [(text, *(form.format(v) for v in data[name].values())) for name, text, form in labels]
    verdict = "within" if data["within"] else "OUTSIDE"
    return "\n".join(
        [
            format_table((f"{data['pairs']} pairs", "min", "median", "max"), rows, right=(1, 2, 3)),
            f"first run, before bytecode is cached: {data['first_run_ratio']:.3f} of Caffe's time",
            f"bars (medians): at most {MOST_TIME:g} of Caffe's time, --version {MOST_VERSION:g} of a build, "
            f"under {MOST_MEMORY:g} MB: {verdict}",
        ]
    )


def against_caffe(
    about: str, bench: Callable[[Install, int], dict[str, Any]], table: Callable[[dict[str, Any]], str]
) -> int:
    """Run a benchmark that needs real Caffe; returns 0 within its bars, 1 outside, 2 without Caffe."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    try:
        caffe = find()
        if caffe is None:
            print(f"{missing()}: nothing to compare with (docs/real-caffe.md)", file=sys.stderr)
            return 2
        data = bench(caffe, max(1, args.pairs))
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(data, indent=2) if args.json else table(data))
    return 0 if data["within"] else 1


def main() -> int:
    return against_caffe(
        "Time the ResNet-50 command against real Caffe.",
        lambda caffe, pairs: summary(*run_pairs(caffe, pairs)),
        table,
    )


if __name__ == "__main__":
    sys.exit(main())
