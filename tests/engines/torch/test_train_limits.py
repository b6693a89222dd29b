"""A training that runs out of memory or of disk says so; nothing of an older run is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from netbuilder.engines.torch.memory import too_large
from tests.engines.case import ROOT
from tests.engines.torch.test_train import plain

# A limit of the process, set when PyTorch and the training's modules have been imported.
LIMITED = """
import resource, signal, sys
import netbuilder.engines.torch.train
from netbuilder.cli.main import main
{limit}
sys.exit(main(["train", "solver.prototxt", "--engine", "torch", "--no-draw", *sys.argv[1:]]))
"""


def limited(limit: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip


def test_out_of_memory_says_what_fits(folder: Path) -> None:
    """A pass of 4,096 images takes more than 1 GiB; one of 256 a sixteenth."""
    plain(folder)
    wide = (folder / "net.prototxt").read_text().replace("num_output: 8", "num_output: 256")
    (folder / "net.prototxt").write_text(wide.replace("batch_size: 7", "batch_size: 4096"))
    limit = """
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (900 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
"""
    done = limited(limit)
    assert done.returncode == 2
    assert (
        "EngineError: out of memory: a pass of batch 4096 does not fit into the memory of this machine"
        in (done.stderr)
    )
    hint = done.stderr.partition("batch_size: ")[2]
    assert hint.split()[0] in ("64", "128", "256", "512", "1024", "2048")
    assert "fits, it was tried" in hint
    assert not list((folder / "out").glob("*.solverstate"))


def test_a_net_of_one_size_names_no_batch() -> None:
    def run(batch: object) -> None:
        raise RuntimeError("shape '[8, 3]' is invalid for input of size 12")

    error = too_large({"data": torch.zeros(8, 3)}, torch.device("cpu"), run)
    assert error.hint == "choose a smaller batch_size, or --dtype bf16"


def test_a_full_disk_ends_the_run_and_leaves_whole_snapshots(folder: Path) -> None:
    """A file-size limit stands for a full disk: the write of the model fails."""
    plain(folder, snapshot=5)
    words = ["--engine", "torch", "--no-draw"]
    from netbuilder.cli.main import main

    assert main(["train", "solver.prototxt", *words]) == 0
    before = {p: p.read_bytes() for p in (folder / "out").glob("x_iter_*")}
    text = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(text.replace("max_iter: 20", "max_iter: 40"))
    limit = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
"""
    done = limited(limit, "--resume", "latest")
    assert done.returncode == 2
    assert re.search(
        "FileError: the snapshot of iteration 25 could not be written: cannot write "
        r"'out/\.x\.\S+\.partial/snapshot_iter_25\.caffemodel': file too large\n"
        "  hint:    make room, then --resume latest goes on from the last snapshot that is complete\n",
        done.stderr,
    )
    assert {p: p.read_bytes() for p in (folder / "out").glob("x_iter_*")} == before
    assert not list((folder / "out").glob(".*"))
