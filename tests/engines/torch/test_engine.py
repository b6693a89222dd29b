"""`netbuilder test` and `netbuilder time` by PyTorch: the figures of real Caffe, and a stop by Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines import default_engine, find_engine
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError, EngineError
from netbuilder.prototxt import read
from netbuilder.training.plan import plan_net
from netbuilder.weights.write import write_model
from tests.databases import noise, write_lmdb
from tests.engines.case import NET, ROOT, SOLVER, refusal

INPUTS = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one is in, with nets, a solver, a database of 50 random images and a model."""
    monkeypatch.chdir(tmp_path)
    write_lmdb("db", noise(50, 3, 10, 10), (i % 5 for i in range(50)))
    Path("net.prototxt").write_text(NET)
    Path("inputs.prototxt").write_text(INPUTS)
    Path("solver.prototxt").write_text(SOLVER)
    draw = np.random.default_rng(3)
    params = {
        "conv": [draw.normal(size=(8, 3, 3, 3)), draw.normal(size=8)],
        "bn": [draw.normal(size=8), draw.uniform(1, 2, 8), np.full(1, 0.5)],
        "fc": [draw.normal(size=(5, 288)) / 9, draw.normal(size=5)],
    }
    write_model("m.caffemodel", params)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_test_gives_the_means_of_real_caffe(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "net.prototxt", "--weights", "m.caffemodel", "--images", "50"]
    ours, caffes = (answer(capsys, *words, "--engine", engine) for engine in ("torch", "caffe"))
    assert list(ours["outputs"]) == list(caffes["outputs"]) == ["accuracy", "loss"]
    assert ours["outputs"]["accuracy"] == pytest.approx(caffes["outputs"]["accuracy"])
    assert ours["outputs"]["loss"] == pytest.approx(caffes["outputs"]["loss"], rel=1e-5)
    assert ours["loss"] == pytest.approx(caffes["loss"], rel=1e-5)
    assert ours["model"] == caffes["model"]


def test_input_blobs_are_zero_in_a_test_as_in_caffe(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    data = 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 } } }'
    (folder / "both.prototxt").write_text((folder / "inputs.prototxt").read_text() + data)
    words = ["test", "both.prototxt", "--weights", "m.caffemodel", "--iterations", "2"]
    ours, caffes = (answer(capsys, *words, "--engine", engine) for engine in ("torch", "caffe"))
    assert ours["outputs"]["prob"] == pytest.approx(caffes["outputs"]["prob"], rel=1e-5)
    assert len(ours["outputs"]["prob"]) == 10


def test_a_net_that_only_has_inputs_is_not_tested(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for engine in ("torch", "caffe"):
        words = ["test", "inputs.prototxt", "--weights", "m.caffemodel", "--engine", engine]
        assert main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "nothing fills 'data': the net has Input layers and no data layer" in captured.err


def test_times_stand_beside_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, "time", "net.prototxt", "--iterations", "3")
    assert data["engine"] == default_engine() == "torch"
    rows = {layer["name"]: layer for layer in data["layers"]}
    macs = {"data": 0, "conv": 7776, "bn": 0, "relu": 0, "drop": 0, "fc": 1440, "loss": 0}
    assert {name: row["macs"] for name, row in rows.items()} == macs
    assert all(row["forward_ms"] > 0 for row in rows.values())
    assert all(row["backward_ms"] > 0 for name, row in rows.items() if name != "data")
    fast = rows["fc"]["gflops_forward"]
    assert fast == pytest.approx(2 * 1440 * data["batch"] / rows["fc"]["forward_ms"] / 1e6)
    # conv: 8 x 27 and 8; bn: 8, 8 and 1; fc: 5 x 288 and 5; float32.
    assert data["memory"]["parameters"] == 4 * (224 + 17 + 1445)
    # At least the data, the convolution's output and Dropout's.
    assert data["memory"]["kept for backward"] >= 4 * 7 * (3 * 64 + 2 * 288)


def test_the_engine_that_nobody_named_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["time", "inputs.prototxt", "--iterations", "1", "--phase", "TEST"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("engine: torch, PyTorch ")
    assert "memory: parameters 0.0 MiB, kept for backward " in said.err
    assert "GFLOP/s forward" in said.out
    assert main(["time", "inputs.prototxt", "--iterations", "1", "--engine", "torch"]) == 0
    assert "engine:" not in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precisions_are_near(folder: Path, dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["test", "net.prototxt", "--weights", "m.caffemodel", "--images", "50"]
    exact, near = (answer(capsys, *words, "--dtype", name) for name in ("float32", dtype))
    assert near["loss"] == pytest.approx(exact["loss"], rel=2e-2)
    assert near["loss"] != exact["loss"]


def test_caffe_refuses_what_only_pytorch_has(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["time", "inputs.prototxt", "--engine", "caffe", "--dtype", "bfloat16"]
    assert refusal(words, capsys) == (
        "Caffe computes in float32, not bfloat16\nhint:    leave --dtype out, or use --engine torch\n"
    )


def test_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    plan = plan_net("inputs.prototxt", read("inputs.prototxt"), iterations=1, devices=[99])
    with pytest.raises(ConfigError, match="there is no GPU 99: PyTorch finds"):
        find_engine("torch").time(plan)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:1"])
def test_a_device_is_named_as_in_pytorch(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["time", "net.prototxt", "--device", text])
    assert f"a device is cpu, cuda or cuda:N, got '{text}'" in capsys.readouterr().err


def test_a_layer_without_operator_is_refused_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.prototxt").write_text(INPUTS + 'layer { name: "x" type: "MyOwn" bottom: "prob" top: "x" }')
    with pytest.raises(EngineError, match=r"does not compute MyOwn 'x'"):
        find_engine("torch").test(
            plan_net("own.prototxt", read("own.prototxt", unknown="keep"), iterations=1)
        )


BEGUN = {"test": "testing: ", "time": "timing: "}


@pytest.mark.parametrize("verb", BEGUN)
def test_ctrl_c_stops_after_the_pass(folder: Path, verb: str) -> None:
    words = [verb, "net.prototxt", "--iterations", "10000000", "--engine", "torch"]
    words += ["--weights", "m.caffemodel"] if verb == "test" else []
    command = [sys.executable, "-m", "netbuilder", *words]
    terminal, its = pty.openpty()  # on which a bar shows that the passes have begun
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    said = ""
    while BEGUN[verb] not in said:
        said += os.read(terminal, 4096).decode()
    run.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(terminal, 4096):
            said += part.decode()
    os.close(terminal)
    assert run.wait(60) == 130
    assert "stopping after this iteration; once more ends at once" in said
    assert said.rstrip().endswith("stopped")


def test_plain_commands_do_not_import_pytorch() -> None:
    code = (
        "import sys; from netbuilder.cli.main import main\n"
        "for verb in ('test', 'time', 'run', 'train', 'count'):\n"
        "    try: main([verb, '--help'])\n"
        "    except SystemExit: pass\n"
        "from netbuilder.engines import default_engine\n"
        "print(default_engine(), 'torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == "torch False\n"
