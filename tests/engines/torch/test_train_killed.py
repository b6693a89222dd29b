"""A training that was killed at any moment and resumed ends with the bytes of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.case import ROOT, SOLVER

# The trainings are forked from one process, which has imported PyTorch already. Arguments: how many kills, a
# seed, and the places in the writing of a snapshot at which a child kills itself.
DRIVER = """
import os, random, shutil, signal, sys, time
from pathlib import Path
import torch
from netbuilder.cli.main import main
import netbuilder.engines.torch.train, netbuilder.engines.torch.snapshots as snapshots

WORDS = ["train", "solver.prototxt", "--engine", "torch", "--no-draw"]

def child(*more, before=lambda: None):
    pid = os.fork()
    if pid:
        return pid
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        before()
        os._exit(main([*WORDS, *more]))
    finally:
        os._exit(99)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

begin = time.monotonic()
assert ended(child()) == 0
whole = time.monotonic() - begin
Path("out").rename("whole")

def more():
    return ["--resume", "latest"] if list(Path("out").glob("*.solverstate*")) else []

draw, kills = random.Random(int(sys.argv[2])), 0
while kills < int(sys.argv[1]):
    pid = child(*more())
    time.sleep(draw.uniform(0.05, 0.5) * whole)
    os.kill(pid, signal.SIGKILL)
    if ended(pid) == 0:  # it was faster: again from the start
        shutil.rmtree("out")
    else:
        kills += 1

def dying(name, number):
    # Kill the process before its call `number` of a function that the writing of snapshots uses.
    def before():
        owner = snapshots if hasattr(snapshots, name) else os
        real, calls = getattr(owner, name), [0]
        def call(*a, **k):
            calls[0] += 1
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*a, **k)
        setattr(owner, name, call)
    return before

for place in sys.argv[3:]:
    name, number = place.split(":")
    if list(Path("out").glob("*_99.solverstate*")):  # only one snapshot is left
        shutil.rmtree("out")
    assert ended(child(*more(), before=dying(name, int(number)))) == -signal.SIGKILL, place
assert ended(child(*more())) == 0
left = [p.name for p in Path("out").iterdir() if "partial" in p.name]
assert not left, left
"""

# Before and after each file of the second snapshot has its final name, and while it is written.
PLACES = (
    "save_model:1", "save_state:2", "_write_rest:2", "_sync:2", "replace:1", "replace:2", "replace:3",
    "save_model:2", "replace:6", "_sync:6",
)  # fmt: skip


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_killed_at_any_moment(tmp_path: Path, form: str, folder: Path) -> None:
    fields = f"max_iter: 100 snapshot: 9 snapshot_format: {form}"
    text = SOLVER.replace("max_iter: 200 snapshot: 60", fields)
    (tmp_path / "solver.prototxt").write_text(text)
    kills = 10 if form == "BINARYPROTO" else 2
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(kills), "15", *PLACES],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ending = ".h5" if form == "HDF5" else ""
    for name in (f"x_iter_100.caffemodel{ending}", f"x_iter_99.caffemodel{ending}", "x_iter_100.runstate"):
        if form == "HDF5" and not name.endswith("runstate"):
            assert _arrays(tmp_path / "out" / name) == _arrays(tmp_path / "whole" / name)
        elif name.endswith("runstate"):
            assert _rest(tmp_path / "out" / name) == _rest(tmp_path / "whole" / name)
        else:
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    state = f"x_iter_100.solverstate{ending}"
    if not ending:
        assert (tmp_path / "out" / state).read_bytes() == (tmp_path / "whole" / state).read_bytes()


def _arrays(path: Path) -> list[tuple[str, list[bytes]]]:
    """An HDF5 file has its times in it, so that its numbers are compared."""
    from netbuilder.weights.arrays import read_arrays

    return [(x.layer.name, [array.tobytes() for array in x.arrays]) for x in read_arrays(path)]


def _rest(path: Path) -> tuple[object, ...]:
    import torch

    rest = torch.load(path, weights_only=True)
    return rest["feeds"], rest["random"].tolist(), rest["average"]
