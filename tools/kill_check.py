#!/usr/bin/env python3
"""Kill commands at random moments and run them again: `tools/kill_check.py --kills 100 --seed 1`.

The kills go round the commands; `--only COMMAND` takes one of them. After each kill every visible file must
be whole; after the next run all must be as in a run that nobody disturbed, and nothing be left of the killed
one. Exit status: 0 all well, 1 something was not.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kills import CASES, Undisturbed, kill, undisturbed


def main() -> int:
    """Kill the commands in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all (default: 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=tuple(CASES), action="append", default=[])
    args = parser.parse_args()
    names = args.only or list(CASES)
    done, faulty = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="netbuilder-kills-") as folder:
        wholes: dict[str, Undisturbed] = {}
        for number in range(args.kills):
            name = names[number % len(names)]
            if name not in wholes:
                wholes[name] = undisturbed(CASES[name], Path(folder) / name.replace(" ", "-"))
            faults = kill(CASES[name], wholes[name], random.Random(f"{args.seed} {number}"))
            done[name] += 1
            faulty[name] += bool(faults)
            for fault in faults:
                print(f"{name}, kill {number}: {fault}", flush=True)
    for name in names:
        seconds = f"of {wholes[name].seconds:.1f} s" if name in wholes else ""
        print(f"{name:14} {done[name]:4} kills {seconds:12} {faulty[name]} faulty", file=sys.stderr)
    return 1 if faulty.total() else 0


if __name__ == "__main__":
    sys.exit(main())
