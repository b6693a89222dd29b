"""What is read out of the log of the `caffe` binary, of today and of before."""

from __future__ import annotations

from typing import Any

import pytest

from netbuilder.engines.caffe.binary_log import LOGS, Written
from netbuilder.engines.caffe.log import by_signal
from netbuilder.training.events import (
    Ended,
    Event,
    Iteration,
    LayerTime,
    Started,
    Tested,
    Testing,
    Timed,
    Timing,
)

JOB: dict[str, Any] = {
    "begin": 0, "max_iter": 2, "test_iter": [4], "iterations": 2, "types": {"conv": "Convolution"}
}  # fmt: skip


def events(do: str, lines: str) -> list[Event | Written]:
    """The events of a log whose lines lack glog's head; those that begin with ~ are of another thread."""
    log = LOGS[do](JOB)
    found: list[Event | Written] = []
    for line in lines.strip("\n").splitlines():
        thread, text = (8, line[1:]) if line.startswith("~") else (7, line)
        found += log.take(f"I1129 13:39:49.{thread:06} {thread:5} caffe.cpp:1] {text}")
    return found + list(log.close())


TODAY = """
Starting Optimization
Iteration 0, Testing net (#0)
Test loss: 2.5
    Test net output #0: accuracy = 0.25
~Restarting data prefetching from start.
    Test net output #1: prob = 0.1
    Test net output #2: prob = 0.2
    Test net output #3: loss = 1.25 (* 2 = 2.5 loss)
Iteration 0 (-9.34385e+33 iter/s, 0s/1 iters), loss = 2.25
    Train net output #0: loss = 2.125 (* 1 = 2.125 loss)
Iteration 0, lr = 0.05
Iteration 1 (1.5 iter/s, 0.7s/1 iters), loss = -nan
Iteration 1, lr = 5e-05
Snapshotting to binary proto file out/x_iter_2.caffemodel
Snapshotting solver state to binary proto file out/x_iter_2.solverstate
Iteration 2, loss = 1.5
Optimization Done.
Optimization Done.
"""


def test_a_training_has_the_same_events_as_with_pycaffe() -> None:
    found = events("train", TODAY)
    last = found.pop(4)
    assert isinstance(last, Iteration)
    assert (last.iteration, str(last.loss), last.rate, last.outputs) == (1, "nan", 5e-05, {})
    assert found == [
        Started(0),
        Testing(0, 4),
        Tested(0, 0, 4, {"accuracy": (0.25,), "prob": (0.1, 0.2), "loss": (1.25,)}, 2.5),
        Iteration(0, 2.25, 0.05, {"loss": 2.125}),
        # One more loss follows the last update, and belongs to no iteration.
        Written(2),
        Ended("done", 2),
    ]


def test_an_output_may_be_named_like_anything() -> None:
    lines = ("a = b = 0.5", "c = 1 = 2 (* 2 = 4 loss)", "loss, main = -nan", "d (* 1 = 1 loss) = 3")
    train = "".join(f"    Train net output #{i}: {line}\n" for i, line in enumerate(lines))
    found = events("train", f"Iteration 0, loss = 1\n{train}Iteration 0, lr = 0.5\n")
    assert [list(e.outputs) for e in found if isinstance(e, Iteration)] == [
        ["a = b", "c = 1", "loss, main", "d (* 1 = 1 loss)"]
    ]
    assert (
        str([list(e.outputs.values()) for e in found if isinstance(e, Iteration)]) == "[[0.5, 2.0, nan, 3.0]]"
    )


HOSTILE = (
    "Test loss: a = b", "Loss: 1.2.3", "    Train net output #0: a = 1.2.3", "conv\tbackward: 1 ms.",
    "conv\tforward: x ms.", "Iteration " + "9" * 5000 + ", lr = 1", "Iteration 1, loss = 1..2",
    "Batch " + "9" * 5000 + ", a = 1", "Iteration: " + "9" * 5000 + " forward-backward time: 3 ms.",
    "Iteration 0, Testing net (#" + "9" * 5000 + ")", "    Test net output #0: = = 1",
)  # fmt: skip


@pytest.mark.parametrize("do", LOGS)
def test_a_name_that_forges_lines_of_a_log_ends_no_reader(do: str) -> None:
    """Caffe logs the names of a net as they are, with their line ends."""
    for line in HOSTILE:
        events(do, f"Iteration 0, Testing net (#0)\n{line}\n{line}\n*** Benchmark ends ***")
    assert events("test", "Loss: 0.5\na = b = 0.25")[0] == Tested(0, 0, 2, {"a = b": (0.25,)}, 0.5)


def test_caffe_1_0_and_older_tell_no_speed_and_no_kind_of_file() -> None:
    old = """
Starting Optimization
Iteration 0, loss = 2.25
    Train net output #0: loss = 2.125 (* 1 = 2.125 loss)
Iteration 0, lr = 0.05
Snapshotting to out/x_iter_1.caffemodel
Snapshotting solver state to out/x_iter_1.solverstate
Optimization stopped early.
"""
    assert (events("train", old))[1:] == [
        Iteration(0, 2.25, 0.05, {"loss": 2.125}),
        Written(1),
        Ended("stopped", 1),
    ]


def test_a_test_that_was_interrupted_is_none() -> None:
    assert (events("train", "Iteration 0, Testing net (#0)\nTest interrupted.\n"))[1:] == []


def test_the_means_of_a_test_follow_its_loss() -> None:
    log = """
Running for 2 iterations.
Batch 0, accuracy = 0.5
Batch 0, loss = 1.5
Batch 1, accuracy = 1
Batch 1, loss = 0.5
Loss: 1
accuracy = 0.75
loss = 1 (* 1 = 1 loss)
"""
    assert (events("test", log)) == [
        Testing(1, 2),
        Testing(2, 2),
        Tested(0, 0, 2, {"accuracy": (0.75,), "loss": (1.0,)}, 1.0),
        Ended("done", 2),
    ]
    assert (events("test", log.partition("Loss")[0]))[2:] == []  # not done


def test_times_are_seconds_and_a_layer_of_no_file_is_a_split() -> None:
    log = """
Iteration: 1 forward-backward time: 3 ms.
Average time per layer:
      conv\tforward: 0.5 ms.
      conv\tbackward: 1.5 ms.
conv_conv_0_split\tforward: 0.0025 ms.
conv_conv_0_split\tbackward: 0 ms.
Average Forward pass: 0.51 ms.
*** Benchmark ends ***
"""
    assert (events("time", log)) == [
        Timing(1, 2),
        Timed(
            (
                LayerTime("conv", "Convolution", (0.0005,), (0.0015,)),
                LayerTime("conv_conv_0_split", "Split", (2.5e-06,), (0.0,)),
            ),
            "mean",
        ),
        Ended("done", 2),
    ]


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (134, "SIGABRT"), (1, "")])
def test_a_shell_and_docker_add_128_to_the_signal(code: int, name: str) -> None:
    assert by_signal(code) == name
