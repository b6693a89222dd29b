"""Real Caffe as an engine: what it tells, how it refuses, and what happens when it is not there.

The expected numbers are worked out by hand in the comments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from netbuilder.engines.caffe import (
    VARIABLE,
    Caffe,
    CaffeRefused,
    LoadedLayer,
    default_root,
    find,
    missing,
)
from netbuilder.engines.caffe.judge import main
from netbuilder.engines.caffe.log import reason_of
from netbuilder.errors import EngineError
from tests.engines.case import ROOT

INPUT = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 3 dim: 3 } } }
"""
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 1 kernel_size: 2 weight_filler { type: "gaussian" std: 1 } } }
"""
TWO_HEADS = """name: "two heads"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "only_in_b" type: "Silence" bottom: "pool" include { stage: "b" } }
layer { name: "only_in_train" type: "Silence" bottom: "fc" include { phase: TRAIN } }
"""
UNEQUAL = """layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "b" type: "Input" top: "b" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
"""


def test_loading_returns_layers_shapes_and_params(real_caffe: Caffe) -> None:
    net = real_caffe.load(TWO_HEADS)
    # conv: (8 + 2 - 3) / 2 + 1 = 4; pool rounds up: ceil((4 - 3) / 2) + 1 = 2; fc sees 4 * 4 * 4 = 64 inputs
    assert net.blobs["data"] == (2, 3, 8, 8)
    assert net.blobs["conv"] == (2, 4, 4, 4)
    assert net.blobs["pool"] == (2, 4, 2, 2)
    assert net.blobs["fc"] == (2, 5)
    assert net.inputs == ("data",)
    assert net.outputs == ("fc", "pool")
    assert [layer.name for layer in net.layers] == ["data", "conv", "relu", "conv_relu_0_split", "pool", "fc"]
    split, fc = net.layers[3], net.layers[-1]
    assert split.tops == ("conv_relu_0_split_0", "conv_relu_0_split_1")
    assert fc == LoadedLayer("fc", "InnerProduct", split.tops[1:], ("fc",), ((2, 5),), ((5, 64), (5,)))


def test_layers_as_written_have_no_inserted_splits(real_caffe: Caffe) -> None:
    layers = real_caffe.load(TWO_HEADS).layers_as_written()
    assert [(layer.name, layer.bottoms, layer.tops) for layer in layers] == [
        ("data", (), ("data",)),
        ("conv", ("data",), ("conv",)),
        ("relu", ("conv",), ("conv",)),
        ("pool", ("conv",), ("pool",)),
        ("fc", ("conv",), ("fc",)),
    ]


@pytest.mark.parametrize(
    ("state", "outputs"),
    [
        ({}, ("fc", "pool")),
        ({"phase": "TRAIN"}, ("pool",)),
        ({"stages": ["b"]}, ("fc",)),
        ({"phase": "TRAIN", "stages": ["b"]}, ()),
    ],
)
def test_phase_and_stages_choose_layers(real_caffe: Caffe, state: dict, outputs: tuple[str, ...]) -> None:
    assert real_caffe.load(TWO_HEADS, **state).outputs == outputs


def test_loss_weights_and_layers_without_names_are_returned(real_caffe: Caffe) -> None:
    net = real_caffe.load(
        'layer { type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 2 } } }\n'
        'layer { type: "EuclideanLoss" bottom: "a" bottom: "b" top: "loss" loss_weight: 0.5 }'
    )
    assert net.loss_weights == {"loss": 0.5}
    assert [layer.name for layer in net.layers] == ["", ""]
    assert net.layers[0].top_shapes == ((2,), (2,))
    assert net.blobs["loss"] == ()


def test_files_of_data_layers_are_found_by_relative_name(real_caffe: Caffe) -> None:
    text = (
        'layer { name: "d" type: "ImageData" top: "x" top: "y" image_data_param { source: "lists/a.txt"'
        " batch_size: 2 new_height: 5 new_width: 4 } }"
    )
    # The smallest picture there is: a portable pixmap, 2 by 1.
    files = {"lists/a.txt": b"lists/p.ppm 7\n", "lists/p.ppm": b"P6 2 1 255\n" + bytes(6)}
    assert real_caffe.load(text, files=files).blobs == {"x": (2, 3, 5, 4), "y": (2,)}
    with pytest.raises(EngineError, match="must lie below Caffe's working folder"):
        real_caffe.load(text, files={"../a.txt": b""})


def test_a_refusal_is_explained_and_the_next_net_loads(real_caffe: Caffe) -> None:
    with pytest.raises(CaffeRefused) as caught:
        real_caffe.load(UNEQUAL)
    error = caught.value
    assert error.reason.startswith("Check failed: bottom[0]->shape() == bottom[i]->shape()")
    assert error.site.startswith("eltwise_layer.cpp:")
    assert (error.layer, error.signal) == ("sum", "SIGABRT")
    assert "Creating Layer sum" in error.log
    assert str(error).startswith("Caffe refuses the net: Check failed: bottom[0]")
    assert real_caffe.load(INPUT).blobs == {"data": (1, 1, 3, 3)}


def test_a_refusal_and_a_crash_end_only_the_child_that_has_the_net(real_caffe: Caffe) -> None:
    before = real_caffe.load(INPUT) and real_caffe.pid
    for text in (UNEQUAL, INPUT + CONV.replace("kernel_size: 2", "kernel_h: 2 kernel_w: 2 stride_h: 1")):
        with pytest.raises(CaffeRefused):
            real_caffe.load(text)
        assert real_caffe.pid == before


def test_each_net_without_a_seed_is_filled_anew_in_an_empty_folder(real_caffe: Caffe) -> None:
    drawn = []
    for _ in range(2):
        with pytest.raises(CaffeRefused):
            real_caffe.load(UNEQUAL, files={"kept": b""})
        assert real_caffe._folder is not None
        assert not (real_caffe._folder / "kept").exists()
        drawn.append(real_caffe.run(INPUT + CONV, fetch_params=True).params["conv"][0].tolist())
    assert drawn[0] != drawn[1]


def test_a_parse_error_is_reported_with_its_line_and_column(real_caffe: Caffe) -> None:
    with pytest.raises(CaffeRefused) as caught:
        real_caffe.load(INPUT + 'layer { name: "x"\n  typo: 1 }')
    assert caught.value.reason == (
        "Error parsing text-format caffe.NetParameter: 4:7: "
        'Message type "caffe.LayerParameter" has no field named "typo".'
    )


def test_a_crash_is_a_refusal_too(real_caffe: Caffe) -> None:
    # stride_h alone leaves stride_w 0, which Caffe divides by.
    text = INPUT + CONV.replace("kernel_size: 2", "kernel_h: 2 kernel_w: 2 stride_h: 1")
    with pytest.raises(CaffeRefused, match="it crashed by SIGFPE") as caught:
        real_caffe.load(text)
    assert caught.value.layer == "conv"


def test_forward_computes_what_a_person_does(real_caffe: Caffe) -> None:
    x = np.arange(9).reshape(1, 1, 3, 3)
    weight, bias = np.array([[[[1, 2], [3, 4]]]]), np.array([10])
    result = real_caffe.run(INPUT + CONV, inputs={"data": x}, params={"conv": [weight, bias]})
    # top left: 0*1 + 1*2 + 3*3 + 4*4 + 10 = 37; each step right adds 1+2+3+4 = 10, each step down 30
    assert result.outputs["conv"].tolist() == [[[[37, 47], [67, 77]]]]
    assert result.outputs["conv"].dtype == np.float32
    assert result.diffs == {}
    assert result.params == {}


def test_backward_computes_what_a_person_does(real_caffe: Caffe) -> None:
    text = "force_backward: true\n" + INPUT + CONV
    text += 'layer { name: "sum" type: "Reduction" bottom: "conv" top: "sum" loss_weight: 2 }'
    x = np.arange(9).reshape(1, 1, 3, 3)
    weight, bias = np.array([[[[1, 2], [3, 4]]]]), np.array([10])
    result = real_caffe.run(
        text,
        inputs={"data": x},
        params={"conv": [weight, bias]},
        outputs=["data", "conv", "sum"],
        backward=True,
    )
    # sum = 37 + 47 + 67 + 77; every conv output has gradient 2, so dW = 2 * (sum of what each weight saw)
    assert result.outputs["sum"].tolist() == 228
    assert result.loss == 456
    assert result.diffs["conv"].tolist() == [[[[2, 2], [2, 2]]]]
    assert result.param_diffs["conv"][0].tolist() == [[[[16, 24], [40, 48]]]]
    assert result.param_diffs["conv"][1].tolist() == [8]
    # dx: each input gathers the weights that touched it
    assert result.diffs["data"].tolist() == [[[[2, 6, 4], [8, 20, 12], [6, 14, 8]]]]
    assert result.params["conv"][0].tolist() == weight.tolist()


def test_batchnorm_statistics_after_a_training_pass_come_back(real_caffe: Caffe) -> None:
    text = INPUT.replace("dim: 3 dim: 3", "dim: 1 dim: 2")
    text += 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }'
    x = np.array([2, 6]).reshape(1, 1, 1, 2)
    result = real_caffe.run(text, phase="TRAIN", inputs={"data": x}, fetch_params=True)
    # mean 4; variance 4, scaled by n / (n - 1) = 2 when stored; weight of the sums 1
    assert [p.tolist() for p in result.params["bn"]] == [[4], [8], [1]]
    np.testing.assert_allclose(result.outputs["bn"].ravel(), [-1, 1], rtol=1e-5)


def test_an_input_after_two_losses_without_tops_is_fed(real_caffe: Caffe) -> None:
    loss = 'layer { type: "EuclideanLoss" bottom: "data" bottom: "data" }\n'
    late = 'layer { name: "late" type: "Input" top: "late" input_param { shape { dim: 2 } } }\n'
    got = real_caffe.run(INPUT + loss + loss + late, inputs={"late": [1, 2]})
    assert {name: list(values) for name, values in got.outputs.items()} == {"late": [1, 2]}


def test_the_need_of_a_gradient_is_that_of_the_net_and_not_of_one_inside(real_caffe: Caffe) -> None:
    lstm = (
        'layer { name: "x" type: "Input" top: "x" top: "cont" input_param { shape { dim: 2 dim: 1 dim: 3 } '
        "shape { dim: 2 dim: 1 } } }\n"
        'layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" top: "l" '
        "recurrent_param { num_output: 1 } }\n"
    )
    loss = 'layer { name: "r" type: "Reduction" bottom: "l" top: "r" loss_weight: 1 }\n'
    assert real_caffe.load(lstm).need_backward == (False, False)
    assert real_caffe.load(lstm + loss).need_backward == (False, True, True)
    assert real_caffe.load("force_backward: true\n" + lstm).need_backward == (False, False)


def test_inputs_take_the_shape_of_what_is_fed(real_caffe: Caffe) -> None:
    result = real_caffe.run(INPUT + CONV, inputs={"data": np.zeros((2, 1, 4, 7))})
    assert result.outputs["conv"].shape == (2, 1, 3, 6)


def test_memory_data_takes_images_and_labels(real_caffe: Caffe) -> None:
    text = (
        'layer { name: "d" type: "MemoryData" top: "x" top: "y" memory_data_param'
        " { batch_size: 2 channels: 1 height: 1 width: 3 } }\n"
        'layer { name: "twice" type: "Power" bottom: "x" top: "twice" power_param { scale: 2 } }'
    )
    x = np.arange(6).reshape(2, 1, 1, 3)
    result = real_caffe.run(text, inputs={"x": x, "y": [3, 1]})
    assert result.outputs["twice"].tolist() == (2 * x).tolist()
    assert result.outputs["y"].ravel().tolist() == [3, 1]
    with pytest.raises(EngineError, match="needs both its tops: x, y"):
        real_caffe.run(text, inputs={"x": x})


def test_a_seed_repeats_the_fillers(real_caffe: Caffe) -> None:
    def weights(seed: int) -> list:
        return real_caffe.run(INPUT + CONV, seed=seed, fetch_params=True).params["conv"][0].tolist()

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


def test_blobs_without_elements_do_not_kill_caffe(real_caffe: Caffe) -> None:
    text = INPUT.replace("dim: 1 dim: 1", "dim: 0 dim: 1")
    result = real_caffe.run(text, outputs=["data"], inputs={"data": np.zeros((0, 1, 3, 3))}, backward=True)
    assert result.outputs["data"].shape == (0, 1, 3, 3)
    assert result.diffs["data"].shape == (0, 1, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"inputs": {"dota": [1]}}, "the net has no input 'dota'; it has: 'data'"),
        ({"inputs": {"conv": [1]}}, "the net has no input 'conv'; it has: 'data'"),
        ({"outputs": ["pool"]}, "the net has no blob 'pool'; it has: 'data', 'conv'"),
        ({"params": {"fc": []}}, "the net has no layer with params 'fc'; it has: 'conv'"),
        ({"params": {"conv": [[1]]}}, "layer 'conv' has 2 params, got 1"),
        (
            {"params": {"conv": [np.zeros((2, 2)), [1]]}},
            "param 0 of layer 'conv' has shape (1, 1, 2, 2), got (2, 2)",
        ),
    ],
)
def test_what_does_not_fit_the_net_is_named(real_caffe: Caffe, arguments: dict, text: str) -> None:
    before = real_caffe.load(INPUT + CONV) and real_caffe.pid
    with pytest.raises(EngineError) as caught:
        real_caffe.run(INPUT + CONV, **arguments)
    assert caught.value.text == f"Caffe cannot do that: {text}"
    assert not isinstance(caught.value, CaffeRefused)
    assert real_caffe.pid == before


def test_an_unknown_phase_is_refused_at_once(real_caffe: Caffe) -> None:
    with pytest.raises(EngineError, match="a phase is TRAIN or TEST, not 'DEPLOY'"):
        real_caffe.load(INPUT, phase="DEPLOY")


def test_many_nets_in_one_worker_do_not_pile_up(real_caffe: Caffe) -> None:
    # 20 million weights: 80 MB a net, twice that with diffs.
    text = INPUT.replace("dim: 3 dim: 3", "dim: 100 dim: 100") + (
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param'
        ' { num_output: 2000 weight_filler { type: "constant" value: 1 } } }'
    )

    def resident() -> int:
        status = Path(f"/proc/{real_caffe.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024

    real_caffe.load(text)
    before = resident()
    for _ in range(6):
        real_caffe.load(text)
    assert resident() - before < 80


def test_a_worker_killed_between_requests_is_reported_and_replaced(real_caffe: Caffe) -> None:
    with Caffe(real_caffe.install) as caffe:
        assert caffe.pid is not None
        os.kill(caffe.pid, signal.SIGKILL)
        os.waitid(os.P_PID, caffe.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(EngineError, match=r"the Caffe worker .*\(SIGKILL\)") as caught:
            caffe.load(INPUT)
        assert caught.value.hint == "it was killed from outside, perhaps for its memory"
        assert caffe.pid is None
        assert caffe.load(INPUT).inputs == ("data",)


def _alive(group: int) -> list[str]:
    """The states of a group's processes, apart from those that only wait to be reaped."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, its_group = path.read_text().rpartition(") ")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                states.append(state)
    return states


def test_a_request_that_takes_too_long_is_stopped(real_caffe: Caffe) -> None:
    # 20 million random weights take Caffe far longer than we wait.
    slow = INPUT.replace("dim: 3 dim: 3", "dim: 100 dim: 100") + (
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param'
        ' { num_output: 2000 weight_filler { type: "gaussian" } } }'
    )
    with Caffe(real_caffe.install) as caffe:
        worker = caffe.pid
        with pytest.raises(EngineError, match=r"Caffe was stopped: no answer within 0\.05 s"):
            caffe.load(slow, timeout=0.05)
        assert worker is not None
        assert not _alive(worker)  # neither the worker nor the child that had the net
        assert caffe.load(INPUT).inputs == ("data",)


def test_a_worker_leaves_nothing_behind(real_caffe: Caffe) -> None:
    with Caffe(real_caffe.install) as caffe:
        folders = [caffe._folder]
        with pytest.raises(CaffeRefused):
            caffe.load(UNEQUAL)
        caffe.load(INPUT)
        folders.append(caffe._folder)
        assert folders[1] is not None
        assert folders[1].is_dir()
    assert not any(folder is None or folder.exists() for folder in folders)
    assert caffe.pid is None


def test_at_exit_the_worker_of_a_caffe_that_was_not_closed_ends(real_caffe: Caffe) -> None:
    code = (
        "from netbuilder.engines.caffe import Caffe\n"
        f"caffe = Caffe()\ncaffe.load({INPUT!r})\nprint(caffe.pid, caffe._folder)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    pid, folder = done.stdout.split()
    assert done.stderr == ""
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()


def test_a_net_that_runs_for_ever_ends_with_whoever_asked(real_caffe: Caffe) -> None:
    hanging = INPUT + CONV.replace('"gaussian" std: 1', '"uniform" min: inf max: inf')
    code = (
        "from netbuilder.engines.caffe import Caffe\n"
        "caffe = Caffe()\ncaffe.__enter__()\nprint(caffe.pid, flush=True)\n"
        f"caffe.load({hanging!r})"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with asking:
        assert asking.stdout is not None
        group = int(asking.stdout.readline())
        deadline = time.monotonic() + 60
        while len(_alive(group)) < 2 and time.monotonic() < deadline:  # the child that has the net
            time.sleep(0.05)
        assert len(_alive(group)) == 2
        asking.kill()
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(group)


def test_the_variable_wins_over_everything(real_caffe: Caffe, monkeypatch: pytest.MonkeyPatch) -> None:
    named = real_caffe.install.root or real_caffe.install.command[-1]
    monkeypatch.setenv(VARIABLE, str(named))
    found = find()
    assert found is not None
    assert str(found).endswith(f"(named by {VARIABLE})")
    assert found.command == real_caffe.install.command


def test_a_variable_that_points_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/no/such/place")
    with pytest.raises(EngineError) as caught:
        Caffe()
    assert str(caught.value) == (
        "NETBUILDER_CAFFE=/no/such/place is neither a folder nor a program that can be run\n"
        "  hint:    NETBUILDER_CAFFE takes a root made by tools/install_caffe.sh, "
        "a Python that can import caffe, the caffe binary, or a command line that starts one of these two"
    )


def test_a_python_without_caffe_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Such an empty module is what the registry's package called caffe comes to.
    (tmp_path / "caffe.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(EngineError, match="has no usable Caffe: AttributeError: module 'caffe' has no"):
        find()


@pytest.fixture
def no_caffe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Caffe, whose Python has an empty module of that name; gives the default root."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "caffe.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return default_root()


def test_an_empty_module_and_half_an_install_are_not_caffe(no_caffe: Path) -> None:
    (no_caffe / "usr").mkdir(parents=True)
    assert find() is None
    with pytest.raises(EngineError) as caught:
        Caffe()
    assert str(caught.value) == (
        "no real Caffe: NETBUILDER_CAFFE is not set, this Python has no pycaffe, "
        f"{no_caffe} has no install, and no caffe is on the PATH\n"
        "  hint:    install it by `sudo -E tools/install_caffe.sh`; see docs/real-caffe.md"
    )


def test_without_root_the_default_is_not_entered(no_caffe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_caffe.mkdir(parents=True)
    (no_caffe / ".netbuilder-caffe").touch()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert find() is None
    assert (
        missing() == f"real Caffe is installed in {no_caffe}, but entering it needs root, or user namespaces"
    )


def test_the_module_says_which_caffe_there_is(
    no_caffe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 1
    assert capsys.readouterr().out.startswith("no real Caffe: ")
    monkeypatch.setenv(VARIABLE, "/no/such/place")
    assert main() == 2
    assert capsys.readouterr().err.startswith("NETBUILDER_CAFFE=/no/such/place is neither")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "I0102 15:04:05.678901  1234 net.cpp:58] fine\n"
            "F0102 15:04:05.678901  1234 layer.cpp:7] Check failed: a == b (1 vs. 2) why\n"
            "*** Check failure stack",
            ("Check failed: a == b (1 vs. 2) why", "layer.cpp:7"),
        ),
        ("F20240102 15:04:05.678901 1 x.cpp:9] newer glog", ("newer glog", "x.cpp:9")),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
            ("terminate called after throwing an instance of 'std::bad_alloc' what():  std::bad_alloc", ""),
        ),
        ("", ("", "")),
    ],
)
def test_the_reason_is_read_from_the_log(log: str, reason: tuple[str, str]) -> None:
    assert reason_of(log) == reason
