#!/usr/bin/env python3
"""Compare numbers with real Caffe on random nets in PyTorch: `tools/fuzz_torch.py --nets 3000 --seed 1`.

Nets run forward and backward in both, from equal weights and inputs; `tests/fuzz/numbers.py` says how the
results are judged. Prints each net on which the two differ, cut down to the layers that show it, those whose
conditioning alone explains it, and how often each layer type was compared.
Nets are drawn until `--nets` were compared.
Exit status: 0 no difference, 1 differences, 2 no Caffe.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from netbuilder.engines.caffe import Caffe
from netbuilder.errors import EngineError
from tests.fuzz.generate import case
from tests.fuzz.numbers import MOST, Judged, judge, minimised

CHUNK = 10


@cache
def real_caffe() -> Caffe:
    """The Caffe of this process, which outlives a chunk: it takes longer to start than a net to run."""
    torch.set_num_threads(1)
    return Caffe()


def run(seeds: list[str]) -> list[Judged]:
    """The nets of these seeds, judged; what differs is minimised."""
    judged = []
    for seed in seeds:
        found = judge(case(seed), real_caffe())
        judged.append(minimised(found, real_caffe()) if found.wrong or found.failed else found)
    return judged


def chunks(seed: str) -> Iterator[list[str]]:
    for start in itertools.count(0, CHUNK):
        yield [f"{seed}:{i}" for i in range(start, start + CHUNK)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", type=int, default=3000, help="how many nets to compare (3000)")
    parser.add_argument("--seed", default="1", help="seed of the first net; the n-th has SEED:n (1)")
    parser.add_argument("--jobs", type=int, default=2, help="how many Caffes at a time (2)")
    parser.add_argument("--only", help="one net, by its whole seed, as a difference prints it")
    args = parser.parse_args()
    compared = [0]
    types: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    backward = results = wrong = explained = drawn = 0
    worst = 0.0
    start = time.perf_counter()
    groups = iter([[args.only]]) if args.only else chunks(args.seed)
    try:
        with ProcessPoolExecutor(args.jobs) as pool:
            while compared[0] < args.nets and (batch := list(itertools.islice(groups, 4 * args.jobs))):
                for judged in itertools.chain.from_iterable(pool.map(run, batch)):
                    drawn += 1
                    if judged.left_out:
                        left_out[judged.left_out.partition(":")[0]] += 1
                        if args.only:
                            print(judged)
                        continue
                    compared[0] += 1
                    types.update(judged.types)
                    backward += judged.backward
                    results += len(judged.errors)
                    small = [e for e in judged.errors.values() if e <= MOST]
                    worst = max([worst, *small])
                    if judged.wrong or judged.failed:
                        wrong += 1
                        print(judged, flush=True)
                    elif judged.explained:
                        explained += 1
                        figures = ", ".join(
                            f"{n} {judged.errors[n]:.1e} (against float64: ours {r.ours:.1e}, Caffe's "
                            f"{r.theirs:.1e}, rounding {r.moves:.1e})"
                            for n, r in judged.explained.items()
                        )
                        print(f"explained: seed {judged.seed}, {judged.phase}, {figures}", flush=True)
                seconds = time.perf_counter() - start
                print(f"{compared[0]} of {args.nets}, {seconds:.0f} s", file=sys.stderr, flush=True)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    for name, count in sorted(types.items()):
        print(f"{name:<26} {count:>7}")
    for reason, count in left_out.most_common():
        print(f"left out: {count:>6} {reason}")
    print(
        f"{compared[0]} nets of {drawn} drawn, {backward} of them backward, {results} results compared in "
        f"{time.perf_counter() - start:.0f} s: {wrong} nets differ; the largest error within the bar of "
        f"{MOST:g} is {worst:.1e}; {explained} nets have larger ones that their conditioning explains"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
