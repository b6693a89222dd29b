"""Two machines: network namespaces of this one, with a cable between them, and torchrun in each.

Each has an address that exists in its namespace only, and sees nothing else. Run by `make cluster` (as root).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.case import ROOT
from tests.engines.torch.test_launching import wait_for_file
from tests.engines.torch.test_ranks import BN, DROP, driver, job

IP = shutil.which("ip")
CABLE, PORT = "cable", 29400
ADDRESSES = ("10.203.7.1", "10.203.7.2")

pytestmark = pytest.mark.skipif(
    os.environ.get("NETBUILDER_CLUSTER") != "1", reason="two machines: `make cluster` runs it"
)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """The names of two namespaces that reach each other."""
    if IP is None or os.geteuid() != 0:
        pytest.fail("`make cluster` needs iproute2 and root", pytrace=False)
    names = [f"nb{os.getpid()}{end}" for end in "ab"]

    def ip(*words: str) -> None:
        subprocess.run([str(IP), *words], check=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", CABLE, "netns", names[0], "type", "veth", "peer", "name", CABLE, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", CABLE)
            for device in ("lo", CABLE):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run([str(IP), "netns", "del", name], check=False)


def torchrun(machine: str, number: int, folder: Path) -> subprocess.Popen[str]:
    """What one types on a machine, with two processes of the four."""
    command = [
        str(IP), "netns", "exec", machine, sys.executable, "-m", "torch.distributed.run", "--nnodes=2",
        "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d", "--rdzv-id=job7",
        f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}", f"--rdzv-conf=is_host={int(number == 0)}",
        f"--local-addr={ADDRESSES[number]}",
        "-m", "netbuilder", "train", "solver.prototxt", "--engine", "torch", "--no-draw",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLE}
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ranks_in(machine: str) -> list[int]:
    """The processes that train on a machine."""
    found = subprocess.run([str(IP), "netns", "pids", machine], check=True, capture_output=True, text=True)
    return [
        int(process)
        for process in found.stdout.split()
        if b"RANK=" in Path(f"/proc/{process}/environ").read_bytes()
    ]


def test_two_machines_train_as_one_and_go_on_after_a_rank_was_killed(
    machines: list[str], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job(
            tmp_path / name,
            batch=4,
            bn=f"{BN}\n{DROP}",
            solver="max_iter: 240 snapshot: 20 momentum: 0.9 display: 60 test_iter: 5 test_interval: 120",
        )
    with driver() as trained:
        (alone,) = trained({"folder": str(tmp_path / "one"), "ranks": 4})
    assert alone[0].get("end") == "done", alone
    agents = [torchrun(machine, i, tmp_path / "two") for i, machine in enumerate(machines)]
    try:
        wait_for_file(tmp_path / "two/out/x_iter_20.solverstate", agents[0])
        os.kill(ranks_in(machines[1])[0], signal.SIGKILL)
        said = [agent.communicate(timeout=300)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(said)
    both = "".join(said)
    assert both.count("trained to the end: iteration 240 of 240") == 1
    assert both.count("goes on from out/x_iter_") == 1
    for ending in ("caffemodel", "solverstate"):
        files = [(tmp_path / name / f"out/x_iter_240.{ending}").read_bytes() for name in ("one", "two")]
        assert files[0] == files[1]
    record = json.loads((tmp_path / "two/out/x_run.json").read_text())
    assert (record["ranks"], record["run"], record["end"]) == (4, "job7", "done")
