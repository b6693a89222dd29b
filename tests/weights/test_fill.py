"""A model that leaves out its fixed filters: what consumers do with it, and how they are filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import FileError
from netbuilder.schema import NetParameter
from netbuilder.weights.fill import fill_model
from netbuilder.weights.model import read_model
from netbuilder.weights.write import write_model
from tests import consumers


def upsampling(kernel: int, stride: int, *, bias: float | None = None, **filler: Any) -> Net:
    """A convolution that is learnt, and a filter per channel that is not, with a bias or without."""
    net = Net("up")
    x = net.add("Input", name="data", shape={"dim": [1, 2, 5, 5]})
    x = net.add("Convolution", x, name="conv", num_output=3, kernel_size=2)
    net.add(
        "Deconvolution", x, name="up", num_output=3, group=3, kernel_size=kernel, stride=stride,
        bias_term=bias is not None, bias_filler={"type": "constant", "value": bias or 0.0},
        param=[{"lr_mult": 0.0}] * (1 if bias is None else 2), weight_filler=filler,
    )  # fmt: skip
    return net


def averaging() -> Net:
    """A convolution that is learnt, and one that takes the mean of its bottom."""
    net = Net("mean")
    x = net.add("Input", name="data", shape={"dim": [1, 2, 5, 5]})
    x = net.add("Convolution", x, name="conv", num_output=3, kernel_size=2)
    net.add(
        "Convolution", x, name="up", num_output=2, kernel_size=2, stride=2,
        param=[{"lr_mult": 0.0}, {"lr_mult": 0.0}], weight_filler={"type": "constant", "value": 0.25},
    )  # fmt: skip
    return net


FILTERS = [
    upsampling(2, 2, type="constant", value=1.0),
    upsampling(4, 2, type="bilinear"),
    upsampling(5, 3, type="bilinear"),
    upsampling(4, 2, type="bilinear", bias=0.0),
    upsampling(2, 2, type="constant", value=1.0, bias=0.5),
    averaging(),
]
NAMES = ["nearest", "bilinear 4", "bilinear 5", "bilinear with bias", "nearest with bias", "mean"]


def written(net: Net, folder: Path) -> dict[str, list[Any]]:
    """The net, and a model of its learnt layers, in a folder."""
    draw = np.random.default_rng(1)
    learnt = {"conv": [draw.standard_normal(p.shape, np.float32) for p in net["conv"].params]}
    (folder / "net.prototxt").write_text(prototxt.dumps(net), encoding="utf-8")
    write_model(folder / "part.caffemodel", learnt)
    return learnt


@pytest.mark.parametrize("net", FILTERS, ids=NAMES)
def test_fixed_filters_are_filled_as_caffe_fills_them_and_consumers_compute_what_it_computes(
    net: Net, real_caffe: Caffe, tmp_path: Path
) -> None:
    learnt = written(net, tmp_path)
    image = np.random.default_rng(2).standard_normal((1, 2, 5, 5)).astype(np.float32)
    ran = real_caffe.run(
        prototxt.dumps(net), inputs={"data": image}, params=learnt, outputs=["up"], fetch_params=True
    )
    assert fill_model(net, tmp_path / "part.caffemodel", tmp_path / "net.caffemodel") == ("up",)
    model = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    for blob, own in zip(model.layer[-1].blobs, ran.params["up"], strict=True):
        assert np.abs(np.reshape(blob.data, blob.shape.dim) - own).max() <= 1e-7
    for compute in (consumers.opencv, consumers.mnn):
        assert np.abs(compute(tmp_path, image, "up") - ran.outputs["up"]).max() <= 1e-5


@pytest.mark.parametrize("consumer", consumers.MODULES)
def test_a_model_that_leaves_them_out_is_an_error_for_a_consumer_that_crashes_on_it(
    consumer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    consumers.require(consumers.MODULES[consumer])
    monkeypatch.chdir(tmp_path)
    written(FILTERS[0], tmp_path)
    (tmp_path / "net.caffemodel").write_bytes((tmp_path / "part.caffemodel").read_bytes())
    with pytest.raises(AssertionError):
        consumers.computed(consumer, tmp_path, {"": np.zeros((1, 2, 5, 5))}, [("up", 0, "up")])
    assert main(["check", "net.prototxt", "--weights", "part.caffemodel"]) == 0
    checked = ["check", "net.prototxt", "--weights", "part.caffemodel", "--target", consumer]
    capsys.readouterr()
    assert main(checked) == 1
    out = capsys.readouterr().out
    assert out.count("weights-missing") == 1
    assert f"error: up: {consumer}: the model has no parameters for this layer" in out
    assert main([*checked, "--fill", "whole.caffemodel"]) == 0
    assert "wrote whole.caffemodel: up filled in" in capsys.readouterr().err
    assert main([*checked, "--fill", "whole.caffemodel"]) == 2
    assert "whole.caffemodel': it exists already" in capsys.readouterr().err
    assert main([*checked, "--fill", "whole.caffemodel", "--force"]) == 0


def test_the_bytes_of_the_model_stay_and_what_is_learnt_is_not_filled(tmp_path: Path) -> None:
    net = FILTERS[1]
    written(net, tmp_path)
    before = (tmp_path / "part.caffemodel").read_bytes()
    assert fill_model(net, tmp_path / "part.caffemodel", tmp_path / "whole.caffemodel") == ("up",)
    assert (tmp_path / "whole.caffemodel").read_bytes().startswith(before)
    assert [layer.name for layer in read_model(tmp_path / "whole.caffemodel").layers] == ["conv", "up"]
    # A second time there is nothing to fill in.
    assert fill_model(net, tmp_path / "whole.caffemodel", tmp_path / "same.caffemodel") == ()
    assert (tmp_path / "same.caffemodel").read_bytes() == (tmp_path / "whole.caffemodel").read_bytes()
    write_model(tmp_path / "none.caffemodel", {"other": [np.zeros(3)]})
    assert fill_model(net, tmp_path / "none.caffemodel", tmp_path / "up.caffemodel") == ("up",)


def test_a_model_of_2014_is_refused(tmp_path: Path) -> None:
    old = NetParameter(name="old")
    old.layers.add(name="conv").blobs.add(num=1, channels=1, height=1, width=1, data=[0.5])
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    with pytest.raises(FileError, match="of the format of 2014: nothing can be added to it"):
        fill_model(FILTERS[0], tmp_path / "old.caffemodel", tmp_path / "new.caffemodel")
    assert not (tmp_path / "new.caffemodel").exists()


def test_fill_needs_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(FILTERS[0], tmp_path)
    assert main(["check", str(tmp_path / "net.prototxt"), "--fill", str(tmp_path / "x.caffemodel")]) == 2
    assert "--fill needs --weights with one model, and one file" in capsys.readouterr().err
