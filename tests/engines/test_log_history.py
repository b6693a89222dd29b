"""What is read out of logs of Caffe by other hands. The resumed one is of the stock binary, BVLC 1.0."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from netbuilder.engines.caffe.log_history import is_log, read_log
from netbuilder.errors import FileError
from netbuilder.training.history import History

RESUMED = Path(__file__).with_name("resumed.log.gz")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], History]:
    """Write a log and read it."""

    def written(text: str) -> History:
        path = tmp_path / "x.log"
        path.write_text(text)
        assert is_log(path)
        return read_log(path, "x")

    return written


def test_a_resumed_log_of_the_stock_binary_is_one_training() -> None:
    """It ended after 47 iterations, and went on from the snapshot after 30."""
    found = read_log(RESUMED, "x")
    assert is_log(RESUMED)
    assert [row.iteration for row in found.train] == [*range(0, 101, 10)]
    assert [row.loss for row in found.train[3:5]] == [1.20482, 1.56687]  # of the second part
    assert [row.rate for row in found.train[:-1]] == [0.05] * 4 + [0.005] * 3 + [0.0005] * 3
    assert math.isnan(found.train[-1].rate)  # the loss after the last update
    assert found.train[-1].loss == 0.888095
    assert [(test.iteration, test.net) for test in found.tests] == [(i, 0) for i in (0, 25, 50, 75, 100)]
    assert found.tests[0].outputs == {"accuracy": (0.233333,), "loss": (66.351,)}
    assert found.train[0].outputs == {"loss": 1.84936}
    assert found.batch == 7 * 2  # batch_size of the net to train, and iter_size
    assert found.losses == {"loss"}
    seconds = [row.seconds for row in found.train]
    assert seconds == sorted(seconds)
    # Half a second passed between the two parts, which the first row after it does not count.
    assert seconds[2] == pytest.approx(51.028286 - 50.998382, abs=1e-5)
    assert seconds[4] - seconds[3] == pytest.approx(51.552872 - 51.544309, abs=1e-5)


def test_several_test_nets_outputs_of_many_values_and_gpus(read: Callable[[str], History]) -> None:
    head = "I0102 03:04:05.000001  77 solver.cpp:1] "
    found = read(
        f"I0102 03:04:00.000001  77 caffe.cpp:1] Using GPUs 0, 1, 3\n"
        "iter_size: 2\n    batch_size: 16\n  }\n    batch_size: 50\n"
        f"{head}Iteration 0, Testing net (#0)\n"
        f"{head}    Test net output #0: acc = 0.5\n"
        f"{head}    Test net output #1: per_class = 0.1\n"
        f"{head}    Test net output #2: per_class = 0.9\n"
        f"{head}Iteration 0, Testing net (#1)\n"
        f"{head}    Test net output #0: loss3/top-5 = 0.25\n"
        f"{head}Iteration 0, loss = -nan\n"
        f"{head}    Train net output #0: a = 1 = 2 (* 0.3 = 0.6 loss)\n"
        f"{head}Iteration 0, lr = 1e-05\n"
    )
    assert [(t.net, t.outputs) for t in found.tests] == [
        (0, {"acc": (0.5,), "per_class": (0.1, 0.9)}),
        (1, {"loss3/top-5": (0.25,)}),
    ]
    assert found.batch == 16 * 2 * 3
    assert math.isnan(found.train[0].loss)
    assert (found.train[0].rate, found.train[0].outputs) == (1e-05, {"a = 1": 2.0})
    assert found.losses == {"a = 1"}


FORKS = {
    "NVCaffe": (
        "I0307 10:00:00.000001 9 solver.cpp:378]     [0.0] Iteration 100 (12.5 iter/s, 8s/100 iters), "
        "1.6/90ep, loss = 5.25\n"
        "I0307 10:00:00.000002 9 solver.cpp:400]     [0.0]     Train net output #0: loss = 5.25 "
        "(* 1 = 5.25 loss)\n"
        "I0307 10:00:00.000003 9 sgd_solver.cpp:180] [0.0] Iteration 100, 1.6/90ep, lr = 0.05, m = 0.9\n"
    ),
    "2013": (
        "I1201 10:00:00.000001 9 solver.cpp:102] Iteration 100, lr = 0.5\n"
        "I1201 10:00:00.000001 9 solver.cpp:103] Iteration 100, loss = 5.25\n"
        "I1201 10:00:00.000001 9 solver.cpp:104] Iteration 100, lr = 0.05\n"
    ),
    "glog with the year": (
        "I20260307 10:00:00.000001 9 solver.cpp:1] Iteration 100, loss = 5.25\n"
        "I20260307 10:00:00.000003 9 sgd_solver.cpp:1] Iteration 100, lr = 0.05\n"
    ),
    "without glog's head": "Iteration 100, loss = 5.25\r\nIteration 100, lr = 0.05\r\n",
    "behind another head": (
        "trainer_1  | I0307 10:00:00.000001 9 solver.cpp:1] Iteration 100 (2 iter/s, 5s/10 iters), "
        "loss = 5.25\ntrainer_1  | I0307 10:00:00.000003 9 sgd_solver.cpp:1] Iteration 100, lr = 0.05\n"
    ),
}


@pytest.mark.parametrize("text", FORKS.values(), ids=FORKS)
def test_forks_and_other_heads(text: str, read: Callable[[str], History]) -> None:
    (row,) = read(text).train
    assert (row.iteration, row.loss, row.rate) == (100, 5.25, 0.05)


def test_scores_of_2013(read: Callable[[str], History]) -> None:
    head = "I1201 10:00:00.000001 9 solver.cpp:102] "
    found = read(
        f"{head}Iteration 1000, Testing net (#0)\n{head}Test score #0: 0.75\n{head}Test score #1: 1.5\n"
    )
    assert [t.outputs for t in found.tests] == [{"score #0": (0.75,), "score #1": (1.5,)}]


def test_solvers_of_several_gpus_that_log_each_are_one_row(read: Callable[[str], History]) -> None:
    lines = [
        f"I0307 10:00:0{i}.000001 {thread} s.cpp:1] Iteration {i}, loss = {thread}"
        for i in range(3)
        for thread in (1, 2)
    ]
    assert [(row.iteration, row.loss) for row in read("\n".join(lines)).train] == [(0, 2), (1, 2), (2, 2)]


def test_time_goes_on_over_the_new_year(read: Callable[[str], History]) -> None:
    found = read(
        "I1231 23:59:58.500000 1 s.cpp:1] Iteration 0, loss = 1\n"
        "I0101 00:00:01.000000 1 s.cpp:1] Iteration 1, loss = 1\n"
    )
    assert [row.seconds for row in found.train] == [0.0, 2.5]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_logs_are_read(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(gzip.decompress(RESUMED.read_bytes())))
    assert is_log(path)
    assert read_log(path, "x").train == read_log(RESUMED, "x").train


def test_a_log_kept_by_powershell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(gzip.decompress(RESUMED.read_bytes()).decode(), encoding="utf-16", newline="\r\n")
    assert is_log(path)
    assert read_log(path, "x").train == read_log(RESUMED, "x").train


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b\x08cut",
        b"BZhnot",
        b"\xfd7zXZ\0bad",
        gzip.compress(b"x" * 99, mtime=0)[:-9],
        bytes(range(256)) * 99,
    ],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"x\.log"):
        read_log(path, "x")
    try:
        assert not is_log(path)
    except FileError:
        pass


@pytest.mark.parametrize(
    "line",
    [
        "Iteration " + "9" * 5000 + ", loss = 1",
        "Iteration 1, loss = 1..2",
        "Iteration 1" * 10_000 + ", loss = x",
        "    Train net output #0: a = 1.2.3",
        "I9999 99:99:99.9 1 x.cpp:1] Iteration 1, loss = 1e99999x",
        "a" * 1_000_000,
    ],
)
def test_a_name_forges_nothing_but_a_line(line: str, read: Callable[[str], History]) -> None:
    good = "I0307 10:00:00.000001 9 s.cpp:1] Iteration 7, loss = 0.5\n"
    found = read(f"{good}{line}\n")
    assert [(row.iteration, row.loss) for row in found.train] == [(7, 0.5)]
