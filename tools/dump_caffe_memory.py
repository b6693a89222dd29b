"""Measure the memory of small nets in real Caffe, for tests/ground_truth/caffe-memory.json.

    python tools/dump_caffe_memory.py

Each net of the file is built and run in a process of its own, in both phases. Its `train` and `test` become
the bytes of anonymous memory that building it, a forward pass and a backward pass have added.
Needs Linux and a pycaffe (docs/real-caffe.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from netbuilder.engines.caffe import judge

FILE = Path(__file__).parents[1] / "tests" / "ground_truth" / "caffe-memory.json"
# Caffe's Python may live in a root without /proc: descriptor 9 is that folder. With small blocks mapped, too,
# what is freed is given back.
PROC = 9
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "GLOG_minloglevel": "2"}
WORKER = f"""
import json, os, sys, tempfile
import caffe

def resident():
    status = os.open("%d/status" % os.getpid(), os.O_RDONLY, dir_fd={PROC})
    with os.fdopen(status) as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def measured(text, phase):
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        marks = [resident()]
        net = caffe.Net(file.name, phase)
        marks.append(resident())
        for run in (net.forward, net.backward) if phase == caffe.TRAIN else (net.forward,):
            run()
            marks.append(resident())
    return [after - before for before, after in zip(marks, marks[1:])]

for text, phase in json.load(sys.stdin):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        print(json.dumps(measured(text, phase)))
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("null")
"""


def main() -> int:
    install = judge.find()
    if install is None or install.kind != "pycaffe":
        sys.exit(judge.missing() or "this needs pycaffe")
    data = json.loads(FILE.read_text())
    nets = [(data["head"] + case["layers"], phase) for case in data["cases"] for phase in (0, 1)]
    proc = os.open("/proc", os.O_RDONLY)
    os.dup2(proc, PROC)
    done = subprocess.run(
        [*install.command, "-c", WORKER], input=json.dumps(nets), pass_fds=(PROC,), text=True, check=True,
        stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for case, train, test in zip(data["cases"], lines[::2], lines[1::2], strict=True):
        case.update(train=train, test=test)  # None where Caffe cannot run it
    cases = ",\n".join(json.dumps(case) for case in data.pop("cases"))
    FILE.write_text(json.dumps(data, indent=1)[:-2] + f',\n "cases": [\n{cases}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
