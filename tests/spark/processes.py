"""Programs that tests of Spark start: a driver, and a standalone cluster on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["cluster", "environment", "run"]

ROOT = Path(__file__).parents[2]


def environment(folder: Path) -> dict[str, str]:
    """One thread a process, loopback alone, and a folder for temporary files that goes with the test."""
    (folder / "tmp").mkdir(exist_ok=True)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SPARK_")},
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # to start it soon is what counts
        "GLOO_SOCKET_IFNAME": "lo",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TMPDIR": str(folder / "tmp"),
    }


def run(folder: Path, what: str, given: Any, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    """Run `tests.spark.training` in a folder: commands, or a training by one of its functions."""
    words = [sys.executable, "-m", "tests.spark.training", what, json.dumps(given)]
    process = subprocess.Popen(
        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its Java and its ranks
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A standalone master and workers of one core on loopback; gives the URL of the master."""
    import pyspark

    program = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    deploy, host = "org.apache.spark.deploy", ("--host", "127.0.0.1")
    pages = ("--webui-port", "0")  # any free one
    wanted = [[f"{deploy}.master.Master", *host, "--port", str(port), *pages]]
    wanted += [
        [f"{deploy}.worker.Worker", *host, "--cores", "1", "--memory", "3g", *pages,
         "--work-dir", str(folder / "tmp" / f"worker{i}"), url]
        for i in range(workers)
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for i, words in enumerate(wanted):
            log = folder / "tmp" / f"cluster{i}.log"
            stack.enter_context(_running([program, *words], log, environment(folder)))
            _wait_for("Master: I have been elected" if i == 0 else "Successfully registered", log)
        yield url


@contextlib.contextmanager
def _running(words: list[str], log: Path, env: dict[str, str]) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, env=env, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(text: str, log: Path, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not re.search(text, log.read_text(errors="replace")):
        assert time.monotonic() < end, log.read_text(errors="replace")[-2000:]
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
