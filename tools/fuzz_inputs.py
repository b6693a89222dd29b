#!/usr/bin/env python3
"""Feed damaged files of each kind to netbuilder's readers: `tools/fuzz_inputs.py --minutes 5 --seed 1`.

Each kind gets as many minutes, or with --total its share of them. Prints the traceback of whatever is no
error of netbuilder's own, of each place once, with the seed and the file that showed it (kept in --keep), and
what took over 10 seconds or 1 GB. `--only KIND` runs one of them. Exit status: 0 nothing found, 1 something.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.inputs import DRIVERS, damaged, read

SLOW = 10.0
LARGE = 1 << 30


def memory(*, reset: bool = False) -> int:
    """The most bytes that this process has used since the last reset, or ever, without Linux's /proc."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10


def run(kind: str, seconds: float, seed: int, keep: Path) -> int:
    """Read damaged files of a kind for so long; returns how many different faults there were."""
    driver, count = DRIVERS[kind], 0
    faults: set[str] = set()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="netbuilder-fuzz-") as folder:
        path = Path(folder) / driver.name
        driver.make(path)
        good = path.read_bytes()
        while time.monotonic() < end:
            name = f"{kind} {seed} {count}"
            path.write_bytes(damaged(random.Random(name), good))
            begin, before, fault, text = time.process_time(), memory(reset=True), "", ""
            try:
                read(driver, path)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                fault, text = f"{type(error).__name__} {last.filename}:{last.lineno}", traceback.format_exc()
            if time.process_time() - begin > SLOW:
                fault = fault or "slow"
            if memory() - before > LARGE:
                fault = fault or "large"
            if fault and fault not in faults:
                faults.add(fault)
                keep.mkdir(parents=True, exist_ok=True)
                kept = keep / f"{name.replace(' ', '-')}-{driver.name}"
                shutil.copyfile(path, kept)
                print(f"{name}: {fault}, see {kept}\n{text}")
            count += 1
    print(f"{kind}: {count} files, {len(faults)} faults", file=sys.stderr)
    return len(faults)


def main() -> int:
    """Run the kinds in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each kind (default: 5)")
    parser.add_argument("--total", type=float, metavar="MINUTES", help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=tuple(DRIVERS), action="append", default=[])
    parser.add_argument("--keep", type=Path, default=Path("fuzz-inputs"), help="folder of the files found")
    args = parser.parse_args()
    kinds = args.only or list(DRIVERS)
    minutes = args.minutes if args.total is None else args.total / len(kinds)
    found = [run(kind, minutes * 60, args.seed, args.keep) for kind in kinds]
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
