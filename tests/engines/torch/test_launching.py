"""`netbuilder train --nproc`: its errors and exit codes, and a rank that is killed.

The same processes without a launcher are in `test_ranks.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from tests.engines.case import refusal, start
from tests.engines.torch.test_ranks import BN, DROP, NET, driver, job

TORCH = ("--engine", "torch", "--no-draw")
LAUNCHED = ("solver.prototxt", *TORCH, "--nproc", "2")


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Three processes import PyTorch before there is one."""
    limit = time.monotonic() + 250
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.01)


def ranks_of(launcher: int) -> dict[int, int]:
    """The processes of the ranks by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"PPid:\t{launcher}\n" in (folder / "status").read_text():
                names = dict(
                    word.split("=", 1) for word in (folder / "environ").read_text().split("\0") if "=" in word
                )
                found[int(names["RANK"])] = int(folder.name)
        except (OSError, KeyError):
            continue
    return found


def test_a_killed_rank_is_started_again_and_the_end_is_that_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {
        "batch": 4, "bn": f"{BN}\n{DROP}",
        "solver": "max_iter: 240 snapshot: 20 momentum: 0.9 display: 60 test_iter: 5 test_interval: 120",
    }  # fmt: skip
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        job(tmp_path / name, **made)
    with driver() as trained:
        (whole,) = trained({"folder": str(tmp_path / "whole"), "ranks": 2})
    assert whole[0].get("end") == "done", whole
    monkeypatch.chdir(tmp_path / "killed")
    launcher = start(*LAUNCHED, "--max-restarts", "1")
    try:
        wait_for_file(Path("out/x_iter_20.solverstate"), launcher)
        os.kill(ranks_of(launcher.pid)[1], signal.SIGKILL)
        out, said = launcher.communicate(timeout=300)
    finally:
        launcher.kill()
    assert launcher.returncode == 0, said
    assert "rank 1 ended with exit code -9; all ranks end\n" in said
    assert "restart 1 of 1: goes on from out/x_iter_" in said
    assert "trained to the end: iteration 240 of 240" in out
    for ending in ("caffemodel", "solverstate"):
        files = [(tmp_path / name / f"out/x_iter_240.{ending}").read_bytes() for name in ("whole", "killed")]
        assert files[0] == files[1]
    records = [json.loads((tmp_path / name / "out/x_run.json").read_text()) for name in ("whole", "killed")]
    means = [[(t["iteration"], t["outputs"]) for t in record["tests"]] for record in records]
    assert means[0] == means[1]


def test_the_error_of_one_rank_is_that_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image 31 is one of rank 1's, and no image; rank 0 waits for rank 1 in its update."""
    from netbuilder.data import images

    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (40, 10, 10), dtype=np.uint8)):
        Path(f"{i}.png").write_bytes(images.encode(image, "png"))
    Path("31.png").write_text("junk")
    Path("list.txt").write_text("".join(f"{i}.png {i % 5}\n" for i in range(40)))
    source = (
        'layer { name: "data" type: "ImageData" top: "data" top: "label" '
        'image_data_param { source: "list.txt" batch_size: 4 is_color: false } }\n'
    )
    Path("net.prototxt").write_text(source + NET[NET.index('layer { name: "conv"') :].replace("BN\n", "\n"))
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" random_seed: 3 max_iter: 100000 '
        'snapshot_prefix: "out/x"'
    )
    launcher = start(*LAUNCHED)
    begin = time.monotonic()
    out, said = launcher.communicate(timeout=300)
    assert launcher.returncode == 2
    assert time.monotonic() - begin < 250
    assert out == ""
    assert said.splitlines()[-1].startswith(
        "EngineError: rank 1: ImageData 'data': image '31.png' (line 32 of 'list.txt'): it is not a"
    )
    assert said.count("EngineError") == 1
    assert "Traceback" not in said


def test_ctrl_c_ends_all_ranks_with_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job(tmp_path, batch=4, solver="max_iter: 100000 snapshot: 40 display: 100000")
    launcher = start(*LAUNCHED, "--json")
    try:
        wait_for_file(Path("out/x_iter_40.solverstate"), launcher)
        ranks = ranks_of(launcher.pid)
        assert sorted(ranks) == [0, 1]
        launcher.send_signal(signal.SIGINT)
        out, said = launcher.communicate(timeout=300)
    finally:
        launcher.kill()
    assert launcher.returncode == 130, said
    data = json.loads(out)
    assert data["end"] == "stopped"
    assert data["snapshots"][-1] == f"out/x_iter_{data['iteration']}.solverstate"
    assert not any(Path(f"/proc/{process}").exists() for process in ranks.values())


MISTAKES = {
    "Caffe": (
        ["--engine", "caffe", "--nproc", "2"],
        "Caffe trains in one process, with",
    ),
    "no process": ([*TORCH, "--nproc", "0"], "--nproc is 1 or more, and --max-restarts 0 or more"),
    "a dialect": ([*TORCH, "--nproc", "2", "--dialect", "nvidia"], "unknown dialect 'nvidia'"),
    "restarts of nothing": ([*TORCH, "--max-restarts", "2"], "--max-restarts needs --nproc"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_before_there_are_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    job(tmp_path)
    words, text = MISTAKES[mistake]
    assert refusal(["train", "solver.prototxt", *words], capsys).startswith(text)
    assert not Path("out").exists()


def test_processes_are_not_started_in_a_process_of_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    job(tmp_path)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert refusal(["train", *LAUNCHED], capsys).startswith("torchrun has started the processes already")
    assert refusal(["train", "solver.prototxt", "--engine", "caffe"], capsys).startswith(
        "rank 1: Caffe trains"
    )
    monkeypatch.setenv("RANK", "2")
    assert main(["train", "solver.prototxt", *TORCH]) == 2
    assert "RANK is 2 in the environment, and WORLD_SIZE 2" in capsys.readouterr().err
