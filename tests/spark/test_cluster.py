"""A standalone master and two workers on loopback: `make cluster`, because it takes minutes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.spark.case import make_job
from tests.spark.processes import cluster, environment, run
from tests.spark.test_launch import results

pytestmark = [
    pytest.mark.usefixtures("spark"),
    pytest.mark.skipif(os.environ.get("NETBUILDER_CLUSTER") != "1", reason="takes minutes: make cluster"),
]


def test_a_cluster_gives_the_weights_of_one_machine_and_goes_on_after_a_kill(folder: Path) -> None:
    make_job(folder, 300)
    words = ["spark", "solver.prototxt", "--processes", "2", "--force", "--no-draw", "--json"]
    (alone,) = results(run(folder, "commands", [words]).stdout)
    with cluster(folder, 2) as master:
        ran = run(folder, "commands", [[*words, "--master", master]])
        (undisturbed,) = results(ran.stdout)
        assert undisturbed["weights"] == alone["weights"]
        assert "wrote out/tiny_iter_300.*" in ran.stderr

        for path in (folder / "out").iterdir():
            path.unlink()
        (disturbed,) = results(run(folder, "killed_once", {"ranks": 2, "master": master}).stdout)
        assert (folder / "killed").exists()
        (said,) = disturbed["said"]  # by whichever task Spark sees failing first
        died = r"rank 1 was killed by signal 9|rank 0: the connection to another rank is lost"
        assert re.match(rf"attempt 1 of 3 failed: ({died})", said), said
        assert (disturbed["iteration"], disturbed["weights"]) == (300, alone["weights"])
        assert disturbed["from"] > 0  # it did not begin again

        (raised,) = results(run(folder, "raising", {"ranks": 2, "master": master}).stdout)
        assert (raised["error"], raised["text"]) == ("ConfigError", "rank 1 does not like this")
        assert (folder / "tries").read_text() == "x"

        begun = time.monotonic()
        three = ["spark", "solver.prototxt", "--processes", "3", "--master", master]
        ran = run(folder, "commands", [three])
        assert "exit code 2" in ran.stdout
        assert "does not have as many free slots as the job has ranks" in ran.stderr
        assert time.monotonic() - begun < 40 + 140  # the wait, and what a busy machine needs to start Java


def test_the_folder_of_a_job_trains_by_its_own_script(folder: Path) -> None:
    words = [sys.executable, "-m", "netbuilder", "spark", "solver.prototxt", "--processes", "2"]
    env = environment(folder)
    subprocess.run([*words, "--no-draw", "-o", "job"], env=env, check=True, timeout=100)
    import pyspark

    path = f"{Path(pyspark.__file__).parent / 'bin'}:{Path(sys.executable).parent}:{env['PATH']}"
    with cluster(folder, 2) as master:
        done = subprocess.run(
            ["bash", "job/submit_standalone.sh"], capture_output=True, text=True, timeout=600,
            env={**env, "PATH": path, "MASTER": master, "PYSPARK_DRIVER_PYTHON": sys.executable},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "done: iteration 20 of 20 on 2 ranks" in done.stdout
    assert (folder / "job" / "out" / "tiny_iter_20.caffemodel").exists()
