#!/usr/bin/env python3
"""Compare netbuilder's rules with real Caffe on random nets: `tools/fuzz.py --nets 5000 --seed 1`.

Prints how many nets Caffe accepted and refused, how often each layer type was in them, and every net on
which the two differ, cut down to the layers that show it. Exit status: 0 no difference, 1 differences,
2 no Caffe.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.engines.caffe import Caffe
from netbuilder.errors import EngineError
from tests.fuzz.compare import Finding, judge, minimised
from tests.fuzz.generate import TYPES, case

CHUNK = 50


def run(seeds: list[str]) -> tuple[Counter[tuple[str, str]], Counter[str], list[Finding]]:
    """The nets of these seeds: (verdict, last layer's type) and verdicts counted, and what differs."""
    types: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[str] = Counter()
    findings = []
    with Caffe() as real:
        for seed in seeds:
            net = case(seed)
            verdict, finding = judge(net, real)
            verdicts[verdict] += 1
            names = net.types
            # Of a refused net the last layer is at fault; the ones before it were fine.
            for i, name in enumerate(names):
                at_fault = verdict == "refused" and i == len(names) - 1
                types["refused" if at_fault else "accepted", name] += 1
            if finding:
                findings.append(minimised(finding, real))
    return types, verdicts, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", type=int, default=1000, help="how many nets (1000)")
    parser.add_argument("--seed", default="1", help="seed of the first net; the n-th has SEED:n (1)")
    parser.add_argument("--jobs", type=int, default=2, help="how many Caffes at a time (2)")
    parser.add_argument("--only", help="one net, by its whole seed, as a difference prints it")
    args = parser.parse_args()
    seeds = [args.only] if args.only else [f"{args.seed}:{i}" for i in range(args.nets)]
    types: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[str] = Counter()
    findings = 0
    start = time.perf_counter()
    try:
        with ProcessPoolExecutor(args.jobs) as pool:
            chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
            for some_types, some_verdicts, found in pool.map(run, chunks):
                types += some_types
                verdicts += some_verdicts
                findings += len(found)
                for finding in found:
                    print(finding, flush=True)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'layer type':<26} {'accepted':>8} {'refused':>8}")
    for name in TYPES:
        print(f"{name:<26} {types['accepted', name]:>8} {types['refused', name]:>8}")
    print(
        f"{len(seeds)} nets in {time.perf_counter() - start:.0f} s: Caffe accepts {verdicts['accepted']}, "
        f"refuses {verdicts['refused']}; {findings} differ from ours"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
