"""Settings of Spark with which a training would wait for ever or fail late, and errors that say so."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import netbuilder
from netbuilder.errors import ConfigError, EngineError, FileError
from netbuilder.spark import Job, check_settings, driver, ranks
from netbuilder.spark.driver import _LOST, _check_master, _failure, _snapshot
from netbuilder.spark.ranks import look, work
from netbuilder.spark.settings import defaults, tasks
from tests.spark.case import make_job

GPU = "resource.gpu.amount"
ENOUGH = {"spark.executor.instances": "4", "spark.executor.cores": "2"}
GPUS = {**ENOUGH, f"spark.task.{GPU}": "1", f"spark.executor.{GPU}": "2"}


def job(**changed: object) -> Job:
    return Job(**{"solver": "s", "ranks": 8, "master": "yarn", **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "settings"),
    [
        ({}, ENOUGH),
        ({"gpus": True}, GPUS),
        ({"gpus": True}, {**GPUS, f"spark.task.{GPU}": "2"}),
        ({"master": "local[8]"}, {}),
        ({"master": "local[4,2]", "ranks": 4}, {}),
        ({"master": "spark://h:7077"}, {"spark.cores.max": "8"}),
        ({"master": "spark://h:7077"}, {}),  # only the cluster knows
        ({"master": "local[*]"}, {}),
        ({"master": ""}, {"spark.dynamicAllocation.enabled": "true"}),  # no barrier job
    ],
)
def test_settings_that_suffice(changed: dict[str, object], settings: dict[str, str]) -> None:
    check_settings(job(**changed), {**defaults(job(**changed)), **settings})


@pytest.mark.parametrize(
    ("changed", "settings", "text"),
    [
        (
            {},
            {"spark.dynamicAllocation.enabled": "true"},
            "a barrier job cannot have executors that come and go",
        ),
        ({}, {"spark.speculation": "true"}, "a barrier job cannot have tasks that run twice"),
        ({}, {"spark.ssl.enabled": "true"}, "encrypts its traffic"),
        ({}, {"spark.executor.instances": "3"}, "need 8 slots at once, and yarn has 6"),
        ({}, {"spark.task.cpus": "2"}, "need 8 slots at once, and yarn has 4"),
        ({"master": "local[7]"}, {}, "need 8 slots at once, and local[7] has 7"),
        ({"master": "local"}, {}, "need 8 slots at once, and local has 1"),
        ({"master": "spark://h:1"}, {"spark.cores.max": "7"}, "need 8 slots at once, and spark://h:1 has 7"),
        ({"gpus": True}, {f"spark.task.{GPU}": "0.5"}, "must be a whole number of GPUs, got 0.5"),
        ({"gpus": True}, {f"spark.executor.{GPU}": ""}, "is not set, and a task needs 1"),
        (
            {"gpus": True},
            {**GPUS, f"spark.task.{GPU}": "3", "spark.executor.cores": "1"},
            "tasks with 3 GPUs",
        ),
        (
            {"gpus": True, "ranks": 6},
            {f"spark.executor.{GPU}": "3", f"spark.task.{GPU}": "2"},
            "leave some idle",
        ),
        ({"gpus": True}, {f"spark.executor.{GPU}": "4"}, "has 4 GPUs, but cores for 2 tasks at once"),
    ],
)
def test_settings_with_which_a_job_would_wait_for_ever(
    changed: dict[str, object], settings: dict[str, str], text: str
) -> None:
    base = GPUS if changed.get("gpus") else ENOUGH if "master" not in changed else {}
    with pytest.raises(ConfigError) as caught:
        check_settings(job(**changed), {**base, **settings})
    assert text in caught.value.text
    assert caught.value.hint


def test_a_task_may_have_the_gpus_of_several_ranks() -> None:
    assert tasks(job(gpus=True), {f"spark.task.{GPU}": "4"}) == 2
    assert tasks(job(), {f"spark.task.{GPU}": "4"}) == 8


@pytest.mark.parametrize("wait", [5, 40, 600])
def test_spark_looks_for_slots_as_long_as_the_job_waits(wait: int) -> None:
    given = defaults(job(wait=wait))
    looks = "spark.scheduler.barrier.maxConcurrentTasksCheck"
    assert given[f"{looks}.interval"] == "5s"
    assert int(given[f"{looks}.maxFailures"]) * 5 == wait


def test_a_training_on_one_machine_listens_on_loopback_alone() -> None:
    for master in ("", "local[2]"):
        given = defaults(job(master=master))
        assert given["spark.driver.bindAddress"] == given["spark.driver.host"] == "127.0.0.1"
        assert given["spark.ui.enabled"] == "false"
    assert "spark.driver.host" not in defaults(job())


@pytest.mark.parametrize("values", [{"ranks": 0}, {"attempts": 0}, {"wait": 0}])
def test_a_job_without_ranks_attempts_or_time_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        job(**values)


def test_a_master_that_does_not_answer_is_reported_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]  # bound, but nobody listens
        with pytest.raises(ConfigError, match=f"no master answers at spark://127.0.0.1:{port}"):
            _check_master(f"spark://127.0.0.1:{port}")
        with socket.create_server(("127.0.0.1", 0)) as other:
            _check_master(f"spark://127.0.0.1:{port},127.0.0.1:{other.getsockname()[1]}")
    for master in ("local[x]", "head:7077", "mesos://m"):
        with pytest.raises(ConfigError, match="is not a master of Spark"):
            _check_master(master)
    for master in ("local", "local[*]", "local[2,1]", "k8s://https://h:1", "spark-submit"):
        _check_master(master)
    with pytest.raises(ConfigError, match="is not HOST:PORT"):
        _check_master("spark://head")


def test_what_is_missing_is_said_before_spark_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**dict.fromkeys(("Python", "netbuilder", "torch", "pyarrow"), "1"), "pandas": ""}
    monkeypatch.setattr(ranks, "versions", lambda: found)
    with pytest.raises(FileError, match=r"training on Spark needs .*pandas") as caught:
        driver._check_programs()
    assert caught.value.hint == "pip install 'caffe-netbuilder[spark,torch]'"


@pytest.mark.parametrize("version", ["", "1.8.0_402", "11.0.2"])
def test_an_old_or_missing_java_is_said_before_spark_starts(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed: make spark")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(ranks, "versions", lambda: {"Python": "3"})
    if version:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        (tmp_path / "bin" / "java").chmod(0o755)
    with pytest.raises(FileError, match="Spark needs Java") as caught:
        driver._check_programs()
    assert "openjdk-17-jre-headless" in caught.value.hint


def test_yarn_needs_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="neither HADOOP_CONF_DIR nor YARN_CONF_DIR is set"):
        _check_master("yarn")
    monkeypatch.setenv("YARN_CONF_DIR", "/etc/yarn")
    _check_master("yarn")


def test_only_a_snapshot_of_this_job_is_gone_on_from(tmp_path: Path) -> None:
    make_job(tmp_path)
    (tmp_path / "out").mkdir()
    record, place = tmp_path / "out" / "tiny_run.json", tmp_path / "place"
    place.mkdir()
    (place / "begun").touch()
    begun = (place / "begun").stat().st_mtime_ns

    def found(text: str, age: int) -> str | None:
        record.write_text(text)
        os.utime(record, ns=(begun - age, begun - age))
        return _snapshot(job(solver="solver.prototxt"), str(tmp_path), place)

    assert _snapshot(job(solver="solver.prototxt"), str(tmp_path), place) is None
    assert found('{"snapshot": "out/tiny_iter_10.solverstate"}', 0) == "out/tiny_iter_10.solverstate"
    assert found('{"snapshot": "out/tiny_iter_10.solverstate"}', 10**9) is None  # of an earlier training
    assert found('{"end": "running"}', 0) is None
    assert found('{"end": ', 0) is None


# -- what went wrong -----------------------------------------------------------------------------------------


def left(place: Path, rank: int, kind: str, text: str) -> None:
    (place / f"error-{rank}.json").write_text(
        f'{{"rank": {rank}, "kind": "{kind}", "text": "{text}", "where": "", "hint": ""}}'
    )


REPORT = (
    "Root Cause (first observed failure):\n[0]:\n  time      : 2026-11-30_15:00:00\n  host      : h\n"
    "  rank      : 3 (local_rank: 0)\n  exitcode  : -9 (pid: 71)\n  error_file: <N/A>\n"
)
LOST = "rank 0: the connection to another rank is lost: Connection closed by peer"


@pytest.mark.parametrize("kind", ["FileError", "EngineError", "NoLongerAnError"])
def test_what_a_rank_reports_counts_more_than_lost_peers_and_ends_the_training(
    kind: str, tmp_path: Path
) -> None:
    left(tmp_path, 0, "EngineError", LOST)
    left(tmp_path, 1, kind, "no such database")
    failure, again = _failure(RuntimeError(REPORT), tmp_path)
    assert (type(failure).__name__, failure.text) == (
        "FileError" if kind == "FileError" else "EngineError", "no such database",
    )  # fmt: skip
    assert not again
    assert list(tmp_path.iterdir()) == []  # the next attempt's errors are its own


def test_how_a_rank_died_counts_more_than_that_others_lost_it(tmp_path: Path) -> None:
    left(tmp_path, 0, "EngineError", LOST)
    failure, again = _failure(RuntimeError(REPORT), tmp_path)
    assert isinstance(failure, EngineError)
    assert (failure.text, again) == ("rank 3 was killed by signal 9", True)


def test_a_lost_machine_is_another_attempts_matter(tmp_path: Path) -> None:
    left(tmp_path, 0, "EngineError", LOST)
    assert _failure(RuntimeError("ExecutorLostFailure"), tmp_path)[0].text == LOST
    failure, again = _failure(RuntimeError("a\njava.lang.RuntimeError: b\n\tat c"), tmp_path)
    assert (failure.text, again) == ("Spark's job failed: java.lang.RuntimeError: b", True)


def test_too_few_slots_are_named(tmp_path: Path) -> None:
    text = "[SPARK-24819]: Barrier execution mode does not allow run a barrier stage that requires more slots"
    failure, again = _failure(RuntimeError(text), tmp_path)
    assert "does not have as many free slots" in failure.text
    assert not again


def test_any_error_of_a_rank_is_left_for_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(solver: str, options: object) -> dict[str, object]:
        raise ConfigError("a mistake", key="x", hint="mend it") if solver else KeyError("a fault")

    for rank, (solver, kind, text, hint) in enumerate(
        [("s", "ConfigError", "a mistake", "mend it"), ("", "EngineError", "rank 1: KeyError: 'a fault'", "")]
    ):
        monkeypatch.setenv("RANK", str(rank))
        with pytest.raises((ConfigError, KeyError)):
            work(train, solver, {}, str(tmp_path))
        failure, again = _failure(RuntimeError("exitcode 1"), tmp_path)
        assert (type(failure).__name__, failure.text, failure.hint) == (kind, text, hint)
        assert not again


def test_the_engine_still_calls_a_lost_peer_so() -> None:
    peers = Path(netbuilder.__file__).parent / "engines" / "torch" / "peers.py"
    assert 'f"the connection to another rank is lost: ' in peers.read_text(encoding="utf-8")
    assert _LOST.search("the connection to another rank is lost: x")


def test_what_a_machine_has(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("")
    (tmp_path / "data").write_text("")
    seen = look(3, str(tmp_path), "token", (str(tmp_path / "data"), str(tmp_path / "gone")))
    assert seen["shared"]
    assert seen["missing"] == [str(tmp_path / "gone")]
    assert seen["host"] == (tmp_path / "token-3").read_text()
    assert not look(3, str(tmp_path / "elsewhere"), "token", ())["shared"]
