#!/usr/bin/env python3
"""Compare what we report of OpenCV and MNN with what they do: `tools/fuzz_consumers.py --nets 2000 --seed 1`.

Random nets run in real Caffe and in both consumers. Prints every net on which a consumer fails although
nothing is reported, or agrees although an error is reported, cut down to the layers that show it, and the
totals. Nets without an output, or with one that is not finite in real Caffe, are drawn again.
Exit status: 0 no unreported failure and false alarms below 1 %, 1 otherwise, 2 no Caffe.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.engines.caffe import Caffe
from netbuilder.errors import EngineError
from tests.fuzz.against_consumers import CONSUMERS, VERDICTS, Judged, judge, minimised
from tests.fuzz.deploy_nets import case

CHUNK = 25
MOST_ALARMS = 0.01  # of the nets


def run(seeds: list[str]) -> tuple[Counter[tuple[str, str]], list[Judged]]:
    """The verdicts by consumer on the nets of these seeds, and those that are wrong."""
    counted: Counter[tuple[str, str]] = Counter()
    wrong = []
    real = _caffe()
    for seed in seeds:
        tries = (judge(case(f"{seed}{again}"), real) for again in ("", *(f":{i}" for i in range(20))))
        judged = next(filter(None, tries), None)
        if judged is None:
            continue
        counted.update(judged.verdicts.items())
        if judged.wrong():
            wrong.append(minimised(judged, real))
    return counted, wrong


@lru_cache
def _caffe() -> Caffe:
    """The Caffe of this process, which ends with it. It is started at once: that takes longer than a net."""
    return Caffe().__enter__()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", type=int, default=2000, help="how many nets (2000)")
    parser.add_argument("--seed", default="1", help="seed of the first net; the n-th has SEED:n (1)")
    parser.add_argument("--jobs", type=int, default=2, help="how many Caffes at a time (2)")
    parser.add_argument("--only", help="one net, by its whole seed, as a difference prints it")
    args = parser.parse_args()
    seeds = [args.only] if args.only else [f"{args.seed}:{i}" for i in range(args.nets)]
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    counted: Counter[tuple[str, str]] = Counter()
    start = time.perf_counter()
    try:
        with ProcessPoolExecutor(args.jobs) as pool:
            running = [pool.submit(run, chunk) for chunk in chunks]
            for i, done in enumerate(as_completed(running), 1):
                some, wrong = done.result()
                counted += some
                print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
                print(f"\r{i} of {len(chunks)} chunks ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'':<8}" + "".join(f"{verdict:>13}" for verdict in VERDICTS))
    for name in CONSUMERS:
        print(f"{name:<8}" + "".join(f"{counted[name, verdict]:>13}" for verdict in VERDICTS))
    print(f"{len(seeds)} nets in {time.perf_counter() - start:.0f} s")
    unreported = sum(counted[name, VERDICTS[2]] for name in CONSUMERS)
    alarms = max(counted[name, VERDICTS[3]] / len(seeds) for name in CONSUMERS)
    return 1 if unreported or alarms >= MOST_ALARMS else 0


if __name__ == "__main__":
    sys.exit(main())
