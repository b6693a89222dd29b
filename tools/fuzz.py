#!/usr/bin/env python3
"""Compare netbuilder's rules with real Caffe on random nets: `tools/fuzz.py --nets 5000 --seed 1`.

Compared are whether Caffe takes the net, all shapes, which layers need a gradient, and whether a forward or a
backward pass abort. Prints every net on which the two differ, reduced to the layers that show the difference,
how often each layer type occurred, and how many nets Caffe accepted, refused and ran; progress to stderr.
`--reader 20000` feeds as many damaged texts and models to the readers instead, without Caffe.
Exit status: 0 no difference, 1 differences (or a crash instead of a reported error), 2 no Caffe.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.engines.caffe import Caffe
from netbuilder.errors import EngineError
from tests.fuzz import reader
from tests.fuzz.compare import LOADED, REFUSED, RUN, Finding, judge, minimised
from tests.fuzz.generate import TYPES, case, files

CHUNK = 50


def run(seeds: list[str]) -> tuple[Counter[tuple[str, str]], Counter[str], list[Finding]]:
    """Run these nets; returns counts of (verdict, last layer's type) and of verdicts, and the differences."""
    types: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[str] = Counter()
    findings = []
    with Caffe() as real:
        for seed in seeds:
            net = case(seed)
            verdict, finding = judge(net, real)
            verdicts[verdict] += 1
            names = net.types
            # In a refused net the last layer is at fault; those before it were accepted.
            for i, name in enumerate(names):
                at_fault = verdict == REFUSED and i == len(names) - 1
                types["refused" if at_fault else "accepted", name] += 1
            if finding:
                findings.append(minimised(finding, real))
    return types, verdicts, findings


def read(seeds: list[str]) -> tuple[Counter[str], list[str]]:
    """Run the texts and models of these seeds; returns counts of verdicts, and the wrong results."""
    verdicts: Counter[str] = Counter()
    found = []
    with tempfile.TemporaryDirectory(prefix="netbuilder-fuzz-") as folder:
        for seed in seeds:
            rng = random.Random(seed)
            text, model = reader.text(rng), reader.model(rng)
            try:
                verdicts[f"texts {reader.try_text(text)}"] += 1
                verdicts[f"models {reader.try_model(model, Path(folder) / 'm')}"] += 1
            except Exception:
                found.append(f"seed {seed}\n{text}\n{traceback.format_exc()}")
    return verdicts, found


def progress(done: int, of: int, start: float) -> None:
    seconds = time.perf_counter() - start
    left = seconds * (of - done) / done
    print(f"\r{done} of {of}, {seconds:.0f} s, {left:.0f} s to go ", end="", file=sys.stderr, flush=True)


def fuzz_reader(seeds: list[str], jobs: int) -> int:
    verdicts: Counter[str] = Counter()
    findings, done, start = 0, 0, time.perf_counter()
    with ProcessPoolExecutor(jobs) as pool:
        chunks = [seeds[i : i + 10 * CHUNK] for i in range(0, len(seeds), 10 * CHUNK)]
        for chunk, (some, found) in zip(chunks, pool.map(read, chunks), strict=True):
            verdicts += some
            findings += len(found)
            done += len(chunk)
            print(*found, sep="\n", end="", flush=True)
            progress(done, len(seeds), start)
    print(file=sys.stderr)
    counted = ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items()))
    print(f"{counted}; {findings} failed without a reported error")
    return 1 if findings else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", type=int, default=1000, help="number of nets (1000)")
    parser.add_argument("--seed", default="1", help="seed of the first net; the n-th has SEED:n (1)")
    parser.add_argument("--jobs", type=int, default=2, help="number of Caffes in parallel (2)")
    parser.add_argument("--only", help="run one net, by the seed that a difference prints")
    parser.add_argument("--reader", type=int, metavar="N", help="run N damaged texts and models instead")
    args = parser.parse_args()
    if args.reader is not None:
        seeds = [f"reader:{args.seed}:{i}" for i in range(args.reader)]
        return fuzz_reader([args.only] if args.only else seeds, args.jobs)
    seeds = [args.only] if args.only else [f"{args.seed}:{i}" for i in range(args.nets)]
    types: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[str] = Counter()
    findings = done = 0
    start = time.perf_counter()
    files.folder()  # written once, for all processes
    try:
        with ProcessPoolExecutor(args.jobs) as pool:
            chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
            for chunk, (some_types, some_verdicts, found) in zip(chunks, pool.map(run, chunks), strict=True):
                types += some_types
                verdicts += some_verdicts
                findings += len(found)
                for finding in found:
                    print(finding, flush=True)
                done += len(chunk)
                progress(done, len(seeds), start)
        print(file=sys.stderr)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'layer type':<26} {'accepted':>8} {'refused':>8}")
    for name in TYPES:
        print(f"{name:<26} {types['accepted', name]:>8} {types['refused', name]:>8}")
    print(
        f"{len(seeds)} nets in {time.perf_counter() - start:.0f} s: Caffe accepts "
        f"{verdicts[LOADED] + verdicts[RUN]}, refuses {verdicts[REFUSED]}, and ran {verdicts[RUN]}; "
        f"{findings} differ from ours"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
