"""What real pycaffe cannot judge: how ours is installed and run, what it lacks, what it computes when."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netbuilder.pycaffe as caffe
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError, EngineError, ShapeError
from netbuilder.pycaffe import draw
from netbuilder.pycaffe import layers as made
from netbuilder.pycaffe.__main__ import main
from netbuilder.pycaffe.installing import real_caffe as real_caffe_there
from netbuilder.pycaffe.memory import Memory
from netbuilder.pycaffe.net_spec import NetSpec
from tests.pycaffe.data import DEPLOY, TRAIN, files

ROOT = Path(__file__).parents[2]


def run(*words: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python in a folder, which sees the packages at `path` before ours."""
    where = f"{path}:{ROOT}" if path else str(ROOT)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": where, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], env=env, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> caffe.Net:
    """A deploy net with weights, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, content in files().items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    return caffe.Net("deploy.prototxt", caffe.TEST, weights="model.caffemodel")


# -- installing --------------------------------------------------------------------------------------------


def test_a_script_runs_unchanged(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    (tmp_path / "script.py").write_text(
        "import sys, caffe, beside\nfrom caffe.proto import caffe_pb2\nimport caffe.io\n"
        "from caffe import layers as L\nprint(caffe.__name__, __name__, sys.argv, beside.NAME)\nsys.exit(3)\n"
    )
    done = run("-m", "netbuilder.pycaffe", str(tmp_path / "script.py"), "a", "-b", folder=Path("/"))
    assert done.returncode == 3, done.stderr
    assert done.stdout == (f"netbuilder.pycaffe __main__ ['{tmp_path / 'script.py'}', 'a', '-b'] beside\n")


def test_install_gives_the_same_modules(tmp_path: Path) -> None:
    code = (
        "import netbuilder.pycaffe as ours; ours.install(); ours.install()\n"
        "import caffe, caffe.io, caffe.draw, caffe.proto.caffe_pb2 as pb2, importlib.util\n"
        "from caffe.pycaffe import Net\n"
        "assert caffe is ours and caffe.io is ours.io and pb2 is ours.proto.caffe_pb2\n"
        "assert Net is ours.Net and importlib.util.find_spec('caffe') is not None\n"
        "try:\n    import caffe.nothing\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = run("-c", code, folder=tmp_path)
    assert done.stdout == "No module named 'caffe.nothing'\n", done.stderr


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the path with a package `caffe` in it."""
    there = tmp_path / "path" / "caffe"
    there.mkdir(parents=True)
    (there / "__init__.py").write_text("WHO = 'real'\n")
    monkeypatch.syspath_prepend(str(there.parent))
    return there.parent


def test_a_real_caffe_is_not_replaced_unless_asked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path / "caffe" / "_caffe.so").write_bytes(b"")
    assert main(["-c", "import caffe"]) == 2
    said = capsys.readouterr().err
    assert f"a real Caffe is installed, {path / 'caffe'}" in said
    assert "--shadow" in said
    with pytest.raises(EngineError, match="not replaced"):
        caffe.install()
    script = "import caffe; print(getattr(caffe, 'WHO', 'ours'))"
    done = run("-m", "netbuilder.pycaffe", "--shadow", "-c", script, folder=path, path=path)
    assert done.stdout == "ours\n", done.stderr


def test_the_empty_package_of_the_registry_is_no_caffe(path: Path) -> None:
    assert real_caffe_there() == ""


def test_mistakes_in_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--fast", "x.py"]) == 2
    capsys.readouterr()
    assert main(["nothing.py"]) == 2
    assert capsys.readouterr().err == "there is no script 'nothing.py'\n"
    assert main(["--help"]) == 0
    assert "--shadow" in capsys.readouterr().out


def test_without_torch_the_import_says_what_to_install(tmp_path: Path) -> None:
    done = run("-c", "import sys; sys.modules['torch'] = None; import netbuilder.pycaffe", folder=tmp_path)
    assert done.returncode == 1
    assert (
        "ImportError: netbuilder.pycaffe needs PyTorch: pip install 'caffe-netbuilder[torch]'" in done.stderr
    )


def test_without_pillow_load_image_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install Pillow"):
        caffe.io.load_image("x.png")


# -- what is computed when ---------------------------------------------------------------------------------


def pending(net: caffe.Net) -> set[str]:
    """The blobs that the last pass left out."""
    return {name for name, blob in net.blobs.items() if blob.data_memory.pending is not None}


def test_inner_blobs_are_computed_when_they_are_read(deploy: caffe.Net) -> None:
    data = np.random.default_rng(0).random((1, 3, 16, 16))
    deploy.forward(data=data)
    assert pending(deploy) == {"conv1", "pool1", "fc1", "fc2"}
    fc2 = deploy.blobs["fc2"].data.copy()
    assert not pending(deploy)
    exp = np.exp(fc2 - fc2.max())
    np.testing.assert_allclose(deploy.blobs["prob"].data, exp / exp.sum(), rtol=1e-5)
    deploy.forward(data=data)
    assert pending(deploy) == {"conv1", "pool1", "fc1"}  # what was read is kept from then on
    np.testing.assert_allclose(deploy.blobs["fc2"].data, fc2, rtol=1e-5)


def test_a_blob_that_nobody_holds_is_not_copied(deploy: caffe.Net, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Any] = []
    put = Memory.put

    def spied(self: Memory, tensor: Any) -> None:
        results.append(tensor.data_ptr())
        put(self, tensor)

    monkeypatch.setattr(Memory, "put", spied)
    prob = deploy.blobs["prob"]
    deploy.forward()
    assert prob.data.__array_interface__["data"][0] == results[-1]
    held = prob.data
    deploy.forward()
    assert prob.data.__array_interface__["data"][0] == held.__array_interface__["data"][0] != results[-1]


def test_what_was_left_out_follows_from_the_inputs_of_its_pass(deploy: caffe.Net) -> None:
    first, second = np.random.default_rng(0).random((2, 1, 3, 16, 16))
    view = deploy.blobs["data"].data
    view[...] = first
    deploy.forward()
    view[...] = second
    conv = deploy.blobs["conv1"].data.copy()
    view[...] = first
    deploy.forward(end="relu1")
    np.testing.assert_allclose(deploy.blobs["conv1"].data, conv, rtol=1e-5, atol=1e-6)


def test_a_net_that_shares_weights_is_finished_before_they_change(deploy: caffe.Net) -> None:
    other = caffe.Net("deploy.prototxt", caffe.TEST)
    other.share_with(deploy)
    data = np.random.default_rng(0).random((1, 3, 16, 16))
    other.forward(data=data)
    deploy.params["fc2"][0].data[...] = 0
    assert np.abs(other.blobs["fc2"].data - deploy.params["fc2"][1].data).max() > 1e-3
    other.forward(data=data)
    np.testing.assert_allclose(other.blobs["fc2"].data[0], deploy.params["fc2"][1].data, atol=1e-6)


def test_a_pass_takes_little_longer_than_the_engine_itself(deploy: caffe.Net) -> None:
    import time

    import torch

    deploy.blobs["data"].reshape(16, 3, 16, 16)
    given = torch.rand(16, 3, 16, 16)

    def engine() -> None:
        with torch.no_grad():
            deploy.module(data=given)

    def best(function: Any) -> float:
        times = []
        for _ in range(30):
            begin = time.process_time()
            function()
            times.append(time.process_time() - begin)
        return min(times)

    deploy.forward()
    # The bar is 1.1 on a net of a real size (bench/pycaffe.py); this one takes a millisecond.
    assert best(deploy.forward) < 1.5 * best(engine) + 0.0005


# -- what is not there, and mistakes -----------------------------------------------------------------------


def test_what_is_left_out_says_so(deploy: caffe.Net) -> None:
    with pytest.raises(EngineError, match="saves no diffs"):
        deploy.save("x.caffemodel", write_diff=True)
    with pytest.raises(EngineError, match="NCCL"):
        caffe.NCCL()
    with pytest.raises(EngineError, match="one solver"):
        caffe.set_solver_count(2)
    caffe.set_solver_count(1)
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="no GPU"):
            caffe.set_mode_gpu()
        with pytest.raises(EngineError, match="no GPU"):
            caffe.set_device(0)


def test_a_missing_solver_and_one_without_a_net(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Could not open file nothing\.prototxt"):
        caffe.SGDSolver("nothing.prototxt")
    (tmp_path / "solver.prototxt").write_text('base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    with pytest.raises(ConfigError, match="no net to train"):
        caffe.SGDSolver(str(tmp_path / "solver.prototxt"))


def test_a_python_layer_that_is_not_there(tmp_path: Path) -> None:
    text = 'layer { name: "a" type: "Python" top: "a" python_param { module: "%s" layer: "Nothing" } }'
    (tmp_path / "net.prototxt").write_text(text % "nowhere_at_all")
    with pytest.raises(ImportError, match="nowhere_at_all"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    (tmp_path / "net.prototxt").write_text(text % "json")
    with pytest.raises(AttributeError, match="Nothing"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)


def test_a_shape_that_the_weights_do_not_fit(deploy: caffe.Net) -> None:
    deploy.blobs["data"].reshape(1, 3, 20, 20)
    with pytest.raises(ShapeError, match=r"InnerProduct 'fc1' has parameters \(10,294\)"):
        deploy.reshape()


def test_weights_of_another_shape(deploy: caffe.Net, tmp_path: Path) -> None:
    (tmp_path / "other.prototxt").write_text(DEPLOY.replace("num_output: 10", "num_output: 11"))
    with pytest.raises(EngineError, match="'fc1' do not fit"):
        caffe.Net("other.prototxt", caffe.TEST, weights="model.caffemodel")
    with pytest.raises(EngineError, match="'fc1' has other parameters"):
        caffe.Net("other.prototxt", caffe.TEST).share_with(deploy)


def test_a_net_spec_is_checked_where_the_script_makes_the_layer() -> None:
    n = NetSpec()
    n.data = made.Input(shape={"dim": [1, 3, 8, 8]})
    n.a = made.Convolution(n.data, num_output=4, kernel_size=3)
    line = sys._getframe().f_lineno + 1
    n.sum = made.Eltwise(n.data, n.a)
    with pytest.raises(ShapeError, match=r"Eltwise 'sum'.*\(1,3,8,8\) and \(1,4,6,6\)") as error:
        n.to_proto()
    assert error.value.where.endswith(f"test_ours.py:{line}")
    with pytest.raises(ShapeError, match="Eltwise"):
        caffe.to_proto(n.sum)


def test_a_net_spec_is_checked_in_each_phase() -> None:
    n = NetSpec()
    n.data = made.Input(shape={"dim": [1, 3, 8, 8]})
    n.other = made.Input(shape={"dim": [1, 3, 8, 9]})
    n.a = made.Eltwise(n.data, n.other, include={"phase": caffe.TRAIN})
    with pytest.raises(ShapeError, match="Eltwise 'a'"):
        n.to_proto()


def test_all_types_of_caffe_are_there(real_caffe: Caffe) -> None:
    real_caffe.load('layer { name: "x" type: "Input" top: "x" }')
    assert set(real_caffe.layer_types) <= set(caffe.layer_type_list())


def test_a_window_with_its_context(deploy: caffe.Net) -> None:
    mean = np.array([100.0, 110, 120])
    detector = caffe.Detector("deploy.prototxt", "model.caffemodel", mean=mean, raw_scale=255, context_pad=2)
    image = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
    inside = detector.crop(image, np.array([10, 12, 25, 27]))
    # 16 pixels of the window and a context of 2 of 16 in the input: scale 16 / 12.
    assert inside.shape == (16, 16, 3)
    np.testing.assert_allclose(inside.mean(), image[7:29, 9:31].mean(), atol=0.02)
    corner = detector.crop(image, np.array([0, 0, 15, 15]))
    np.testing.assert_allclose(corner[0], np.tile(mean / 255, (16, 1)), rtol=1e-5)
    with pytest.raises(ImportError, match="selective_search"):
        detector.detect_selective_search(["images/0.png"])


# -- drawings ----------------------------------------------------------------------------------------------


def test_a_drawing(tmp_path: Path) -> None:
    net = caffe.proto.caffe_pb2.NetParameter()
    from google.protobuf import text_format

    text_format.Merge(TRAIN, net)
    graph = draw.get_pydot_graph(net, "LR", phase=caffe.TRAIN)
    assert [a["label"].splitlines()[0] for a in graph.nodes.values()][:3] == ["data (Data)", "data", "label"]
    assert not any("Accuracy" in attributes["label"] for attributes in graph.nodes.values())
    assert ("data_0", "data_blob", "Batch 8") in graph.edges
    assert ("conv1_2", "conv1_blob", "6") in graph.edges
    draw.draw_net_to_file(net, tmp_path / "net.dot", "TB")
    assert (tmp_path / "net.dot").read_text().startswith('digraph "trained" {\n  rankdir=TB;')
    image = Image.open(io.BytesIO(draw.draw_net(net, "LR", "png")))
    assert image.width > image.height > 10
    with pytest.raises(EngineError, match="nonsense"):
        draw.draw_net(net, "LR", "nonsense")
