"""Speed and correctness of counting candidates in the ResNet and Big-Little ResNet spaces.

The benchmark runs two sweeps of more than 100,000 valid candidates together, with one process per processor.
Then it builds and counts a random sample as whole nets: every figure must be equal, and their time is the
reference. Each sweep starts with an empty cache.

    python bench/sweep.py [--jobs N] [--sample 60] [--part 0.1] [--json]

Exit codes: 0 within the bars, 1 not, or a figure differs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.designing.counting import Counter, whole_figures
from netbuilder.designing.journal import Journal
from netbuilder.designing.plan import Sweep, read_sweep
from netbuilder.designing.running import chunks_of, processors, run
from netbuilder.report import format_table

SPACES = {
    "ResNet": """\
network: resnet
main_branch: bottleneck
axes:
  main_branch: [bottleneck, inception_trick_bottleneck]
  input_size: [128..256 step 32]
  num_output_stage1: [64..256 step 8]
  blocks: [[2..4, 2..6, 2..10 step 2, 2..4]]
constraints: [macs <= 4G, peak_bytes <= 16MiB]
objectives: [minimise macs, maximise learnable_params]
""",
    "Big-Little ResNet": """\
network: bl_resnet
axes:
  input_size: [160..256 step 32]
  num_output_stage1: [64..256 step 16]
  alpha: [2, 4]
  beta: [2, 4]
  blocks: [[2..4, 2..6, 2..10 step 2, 2..4]]
constraints: [macs <= 4G, peak_bytes <= 16MiB]
objectives: [minimise macs, maximise learnable_params]
""",
}
SECONDS = 60  # for 100,000 candidates, on 2 processors
MEGABYTES = 200  # of any process
RATIO = 20  # times the processor time, for building whole nets


def measure(name: str, text: str, jobs: int, sample: int, part: float) -> dict[str, Any]:
    """Sweep a space or a part of it, and compare a sample with whole nets."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sweep.yaml")
        path.write_text(text)
        sweep = read_sweep(str(path))
        sweep = read_sweep(str(path), limit=max(1, int(sweep.space.size * part)))
        journal = Journal(Path(folder, "journal"), sweep.digest, chunks_of(sweep))
        begin, worked = time.perf_counter(), _processor_seconds()
        tally = run(sweep, journal, jobs, lambda more: None)
        seconds, worked = time.perf_counter() - begin, _processor_seconds() - worked
        journal.close()
    whole, equal = _compared(sweep, sample)
    return {
        "space": name,
        "candidates": tally.counted,
        "nets": tally.counted - sum(count for count, _, _ in tally.reasons.values()),
        "front": len(tally.front),
        "seconds": seconds,
        "processor_seconds": worked,
        "per_second": tally.counted / seconds,
        "whole_processor_seconds_each": whole,
        "ratio": whole * tally.counted / worked,
        "sample": sample,
        "equal": equal,
    }


def _compared(sweep: Sweep, sample: int) -> tuple[float, bool]:
    """Processor time per whole net, built and counted, and whether all figures of all nets are equal."""
    dice, entry = random.Random(1), sweep.loaded.entry
    counter, seconds, equal = Counter(entry, sweep.phase), 0.0, True
    for number in (dice.choice(sweep.numbers) for _ in range(sample)):
        begin = time.process_time()
        figures = whole_figures(entry, sweep.config(number), sweep.phase)
        seconds += time.process_time() - begin
        equal = equal and figures == counter.figures(sweep.config(number))
    return seconds / sample, equal


def _processor_seconds() -> float:
    """The peak memory of this process and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time sweeps over ResNets and Big-Little ResNets.")
    parser.add_argument("--jobs", type=int, default=processors(), metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--sample", type=int, default=60, metavar="N", help="number of whole nets to build per space"
    )
    parser.add_argument(
        "--part", type=float, default=1.0, metavar="F", help="count only this part of each space"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    rows = [measure(name, text, args.jobs, args.sample, args.part) for name, text in SPACES.items()]
    total = sum(row["candidates"] for row in rows)
    seconds = sum(row["seconds"] for row in rows) * 100_000 / total
    peak = (
        max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 1024
    )
    equal, ratio = all(row["equal"] for row in rows), min(row["ratio"] for row in rows)
    within = equal and seconds < SECONDS and peak < MEGABYTES and ratio > RATIO
    data = {
        "jobs": args.jobs, "spaces": rows, "seconds_for_100000": seconds, "peak_megabytes": peak,
        "equal": equal, "within": within,
    }  # fmt: skip
    print(json.dumps(data, indent=2) if args.json else table(data))
    return 0 if within else 1


def table(data: dict[str, Any]) -> str:
    """The figures as text."""
    rows = [
        (
            row["space"], f"{row['candidates']:,}", f"{row['nets']:,}", f"{row['seconds']:.1f}",
            f"{row['per_second']:,.0f}", f"{1e3 * row['processor_seconds'] / row['candidates']:.2f}",
            f"{1e3 * row['whole_processor_seconds_each']:.1f}", f"{row['ratio']:.0f}",
        )
        for row in data["spaces"]
    ]  # fmt: skip
    head = ("space", "candidates", "nets", "s", "per second", "each, ms", "whole, ms", "whole / each")
    sample = sum(row["sample"] for row in data["spaces"])
    return "\n".join(
        [
            f"{data['jobs']} processes",
            format_table(head, rows, right=range(1, len(head))),
            "each, whole: processor time of a candidate, in pieces and built whole",
            f"100,000 candidates: {data['seconds_for_100000']:.1f} s; peak of any process: "
            f"{data['peak_megabytes']:.0f} MB; {sample} nets built whole: "
            + ("all figures equal" if data["equal"] else "FIGURES DIFFER"),
            f"bars: under {SECONDS} s, under {MEGABYTES} MB, building whole takes {RATIO} times as long, "
            f"all figures equal: {'within' if data['within'] else 'NOT WITHIN'}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
