"""The protocol between netbuilder and its workers, and what happens when a worker does not keep to it."""

from __future__ import annotations

import ast
import io
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.engines.caffe import VARIABLE, Caffe, Install, _messages, find
from netbuilder.engines.caffe import worker as train_worker
from netbuilder.engines.caffe._messages import BadMessage, pack, receive
from netbuilder.engines.caffe.worker import Worker
from netbuilder.errors import EngineError
from netbuilder.training import events
from tests.engines.case import prepare

SENT = {"train": train_worker._MODULES, "judge": ("_messages.py", "_late_imports.py", "_judge_worker.py")}
FOLDER = Path(_messages.__file__).parent


def through(*sent: bytes) -> list[Any]:
    stream, got = io.BytesIO(b"".join(sent)), []
    while (data := receive(stream)) is not None:
        got.append(data)
    return got


def test_messages_come_back_and_every_other_line_is_skipped() -> None:
    first, second = {"a": [1, None, "\n@netbuilder 3 0\n"]}, {"kind": "Ended", "fields": {}}
    noise = b"a line\n@netbuilder is not a head\n @netbuilder 2 0\n\xff@netbuilder 2 0\nunfinished"
    assert through(noise, pack(first), noise, noise, pack(second), noise) == [first, second]


def test_arrays_keep_their_place_shape_and_type() -> None:
    arrays = {
        "@array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.array(3.0),
        "empty": np.zeros((0, 4), np.uint8),
    }
    (got,) = through(pack({"outputs": arrays, "params": {"conv": [arrays["empty"], arrays["@array"]]}}))
    for name, array in arrays.items():
        assert got["outputs"][name].dtype == array.dtype
        np.testing.assert_array_equal(got["outputs"][name], array)
    np.testing.assert_array_equal(got["params"]["conv"][1], arrays["@array"])


def test_a_value_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(TypeError, match="a set cannot be sent"):
        pack({"names": {"a"}})


@pytest.mark.parametrize("left", [1, 13, 20, 40, 200], ids=lambda n: f"{n} bytes")
def test_a_truncated_message_is_not_an_end(left: int) -> None:
    whole = pack({"loss": 1.0, "outputs": {"x": np.zeros(100, np.float32)}})[1:]
    if left < len("@netbuilder"):
        assert through(whole[:left]) == []  # not yet a message
        return
    with pytest.raises(EOFError):
        through(whole[:left])
    with pytest.raises(EOFError):
        through(whole[:-left])


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"@netbuilder 3 0\n{{{", "cannot be read (JSONDecodeError"),
        (b"@netbuilder 3 0\n{}\xff", "cannot be read (UnicodeDecodeError"),
        (b"@netbuilder 2 0\n[]", "is a list"),
        (b'@netbuilder 12 0\n{"@array": 0}', "cannot be read"),
        (b"@netbuilder 2 4\n{}abcd", "cannot be read"),
        (b"@netbuilder 9999999999999999999 0\n{", "a message of 9,999,999,999,999,999,999 bytes"),
        (b"@netbuilder 2 99999999999999999\n{}", "a message of 99,999,999,999,999,999 bytes"),
    ],
)
def test_a_line_that_is_not_a_message_is_quoted(sent: bytes, text: str) -> None:
    with pytest.raises(BadMessage) as caught:
        through(sent)
    assert text in str(caught.value)


def test_pickles_are_not_loaded() -> None:
    packed = io.BytesIO()
    np.savez(packed, np.array([object()], dtype=object))
    with pytest.raises(BadMessage, match="pickle"):
        through(b"@netbuilder 13 %d\n" % len(packed.getvalue()), b'{"@array": 0}', packed.getvalue())


class Endless(io.RawIOBase):
    """40 MB without a line break."""

    def __init__(self) -> None:
        self.left = 40 << 20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.left)
        buffer[:size] = b"x" * size
        self.left -= size
        return size


def test_memory_is_bounded_by_what_is_sent() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EOFError):
            through(b"@netbuilder 1000000000 16000000000\n{}")
        assert receive(io.BufferedReader(Endless())) is None
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("names", SENT.values(), ids=SENT)
def test_what_is_sent_to_a_worker_runs_there(names: tuple[str, ...]) -> None:
    """In Python 3.7, with the standard library, numpy and caffe, and in one namespace."""
    defined: Counter[str] = Counter()
    for name in names:
        tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"), feature_version=(3, 7))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined[node.name] += 1
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined.update(t.id for t in targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for module in (
                    [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                ):
                    top = str(module).partition(".")[0]
                    assert top in {*sys.stdlib_module_names, "numpy", "caffe"}, f"{name} imports {module}"
    assert [name for name, times in defined.items() if times > 1 and name != "__all__"] == []


# -- workers that die in the middle of a message, or send something else ------------------------------------


def shell(script: str) -> Install:
    return Install(("sh", "-c", script), "a test")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo '@netbuilder 99 0'; echo '{}'", "does not start: exit status 0"),
        ("echo '@netbuilder 99 0'; kill -ABRT $$", "does not start: SIGABRT"),
        ("printf '@netbuilder 9'; echo out of luck >&2; exit 3", "does not start: out of luck"),
        ("echo '@netbuilder 4 0'; echo '{{{{'; sleep 100", "answers with a message that cannot be read"),
        (
            "echo '@netbuilder 2 99999999999999'; exec sleep 100",
            "answers with a message of 99,999,999,999,999",
        ),
    ],
)
def test_a_judge_that_starts_with_half_a_message_is_reported(script: str, text: str) -> None:
    with pytest.raises(EngineError) as caught, Caffe(shell(script), timeout=60):
        pass
    assert text in str(caught.value)


def test_half_a_message_of_a_judge_that_goes_on_is_stopped() -> None:
    caffe = Caffe(shell("echo '@netbuilder 99 0'; exec sleep 100"), timeout=0.5)
    with pytest.raises(EngineError, match=r"no answer within 0.5 s"):
        caffe.load("")
    assert caffe.pid is None


# Reads the request of a training, announces an event, and does what the test says.
TRAINER = """
import os, re, sys
content = b""
while b'"mark": "' not in content or not content.endswith(b"}"):
    content += os.read(0, 65536)
mark = re.findall(rb'"mark": "(.*?)\\\\n"', content)[-1] + b"\\n"
"""


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        (
            "os.write(2, mark); os.write(1, b'@netbuilder 99 0\\n{'); os.kill(os.getpid(), 9)",
            "Caffe was killed (SIGKILL)",
        ),
        ("os.write(2, mark); os._exit(3)", "Caffe died (exit status 3)"),
        ("os.write(2, mark + b'sorry\\n'); os.write(1, b'@netbuilder 9'); os._exit(3)", "sorry"),
        (
            "os.write(2, mark); os.write(1, b'@netbuilder 3 0\\n{{{'); import time; time.sleep(100)",
            "the worker of Caffe sent a message that cannot be read",
        ),
    ],
    ids=["killed", "ended", "said why", "garbled"],
)  # fmt: skip
def test_a_trainer_that_dies_in_the_middle_of_a_message_is_reported(rest: str, text: str) -> None:
    install = Install((sys.executable, "-c", TRAINER + rest), "a test")
    with Worker(install, {"do": "train"}) as run, pytest.raises(EngineError) as caught:
        list(run)
    assert text in str(caught.value)


# -- real Caffe ---------------------------------------------------------------------------------------------


def test_names_of_layers_are_not_taken_for_the_mark(folder: Path, real_caffe: Caffe) -> None:
    net = (folder / "net.prototxt").read_text()
    assert 'name: "relu"' in net
    (folder / "net.prototxt").write_text(
        net.replace('name: "relu"', r'name: "x\n@netbuilder\n@netbuilder 2 0"')
    )
    with prepare("solver.prototxt", real_caffe.install).start() as run:
        told = list(run)
    assert [e.iteration for e in told if isinstance(e, events.Iteration)] == list(range(200))
    assert told[-1] == events.Ended("done", 200)


LOUD = """
import os
import caffe

class Loud(caffe.Layer):
    def setup(self, bottom, top):
        os.write(1, b"@netbuilder 2 0\\n{}")
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
        os.write(1, b"unfinished")
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""


def test_what_a_layer_prints_goes_to_the_log_and_disturbs_nothing(
    folder: Path, container: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, container("/usr/bin/python3"))  # which can import from the folder
    install = find()
    assert install is not None
    (folder / "loud.py").write_text(LOUD)
    net = (folder / "net.prototxt").read_text()
    relu = 'name: "relu" type: "ReLU" bottom: "conv" top: "conv"'
    assert relu in net
    loud = 'name: "loud" type: "Python" bottom: "conv" top: "l" python_param { module: "loud" layer: "Loud" }'
    net = net.replace(relu, loud).replace('"InnerProduct" bottom: "conv"', '"InnerProduct" bottom: "l"')
    net = net.replace('"Dropout" bottom: "conv" top: "conv"', '"Dropout" bottom: "l" top: "l"')
    (folder / "net.prototxt").write_text(net)
    log = io.BytesIO()
    with prepare("solver.prototxt", install).start(log) as run:
        told = list(run)
    assert [e.iteration for e in told if isinstance(e, events.Iteration)] == list(range(200))
    assert [e.iteration for e in told if isinstance(e, events.Tested)] == [0, 40, 80, 120, 160, 200]
    assert b"unfinished" in log.getvalue()
    assert b"@netbuilder 2 0" in log.getvalue()
