"""The file as others read it: names, shapes, numbers, what it says of itself; whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net
from netbuilder.errors import ConfigError, EngineError, FileError
from netbuilder.export.onnx import export, file, verify
from netbuilder.export.onnx.verify import run, samples
from tests.export.onnx.nets import inputs, layer, parsed, random_arrays

POOL = "pooling_param { pool: AVE global_pooling: true }"
NET = (
    'name: "small"\n'
    + inputs((2, 3, 12, 10))
    + layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", name="conv")
    + layer("BatchNorm", "", "conv", "bn", "conv")
    + layer("Scale", "scale_param { bias_term: true }", "conv", "scale", "conv")
    + layer("ReLU", "", "conv", "relu", "conv")
    + layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", "conv", "pool/3x3")
    + layer("Pooling", POOL, "pool/3x3", "mean")
    + layer("InnerProduct", "inner_product_param { num_output: 5 }", "mean", "fc")
    + layer("Softmax", "", "fc", "prob")
)


@pytest.fixture
def net() -> Net:
    return parsed(NET)


def written(net: Net, path: Path, **options: Any) -> Any:
    """The model of a net with random parameters, as `onnx` reads it."""
    import onnx

    export(net, path, weights=random_arrays(net), verify=False, **options)
    return onnx.load(path)


def dims(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_layers_and_blobs_keep_their_names(net: Net, tmp_path: Path) -> None:
    graph = written(net, tmp_path / "net.onnx").graph
    names = {node.name: (node.op_type, list(node.output)) for node in graph.node}
    assert names["conv"] == ("Conv", ["conv/conv"])  # what a layer writes over has that layer's name too
    assert names["bn"] == ("BatchNormalization", ["conv/bn"])
    assert names["relu"] == ("Relu", ["conv"])
    assert names["pool/3x3"] == ("MaxPool", ["pool/3x3"])
    assert (names["fc"][0], names["prob"][0]) == ("Gemm", "Softmax")
    assert len(names) == len(graph.node)
    assert [value.name for value in graph.input] == ["a"]
    assert [value.name for value in graph.output] == ["prob"]
    assert graph.name == "small"
    arrays = {array.name for array in graph.initializer}
    assert arrays >= {"conv.0", "conv.1", "bn.mean", "bn.variance", "scale.0", "scale.1", "fc.0", "fc.1"}
    assert arrays.isdisjoint(value.name for value in graph.input)


def test_it_is_of_opset_17_for_old_readers_unless_asked(net: Net, tmp_path: Path) -> None:
    model = written(net, tmp_path / "net.onnx", metadata={"source": "small.prototxt"})
    assert (model.opset_import[0].version, model.ir_version, model.producer_name) == (17, 8, "netbuilder")
    assert {prop.key: prop.value for prop in model.metadata_props} == {"source": "small.prototxt"}
    newer = written(net, tmp_path / "newer.onnx", opset=19)
    assert newer.opset_import[0].version == 19


def test_shapes_are_those_of_the_net_and_open_ones_have_letters(net: Net, tmp_path: Path) -> None:
    graph = written(net, tmp_path / "net.onnx").graph
    assert [dims(v) for v in (*graph.input, *graph.output)] == [[2, 3, 12, 10], [2, 5]]
    assert {v.name: dims(v) for v in graph.value_info}["pool/3x3"] == [2, 4, 6, 5]
    graph = written(net, tmp_path / "open.onnx", dynamic=["batch", "size"]).graph
    assert [dims(v) for v in (*graph.input, *graph.output)] == [["N", 3, "H", "W"], ["N", 5]]


def test_an_open_file_takes_any_batch_and_size(net: Net, tmp_path: Path) -> None:
    arrays = random_arrays(net)
    export(net, tmp_path / "open.onnx", weights=arrays, dynamic=["batch", "size"], verify=False)
    for shape in ((1, 3, 12, 10), (3, 3, 7, 30), (5, 3, 33, 8)):
        given = {"a": np.random.default_rng(2).standard_normal(shape).astype(np.float32)}
        fixed = parsed(NET.replace("dim: 2 dim: 3 dim: 12 dim: 10", " ".join(f"dim: {n}" for n in shape)))
        export(fixed, tmp_path / "fixed.onnx", weights=arrays, verify=False, force=True)
        expected = run(tmp_path / "fixed.onnx", given)["prob"]
        np.testing.assert_allclose(run(tmp_path / "open.onnx", given)["prob"], expected, atol=1e-6)


def test_in_float16_arrays_are_halves_and_inputs_and_outputs_are_not(net: Net, tmp_path: Path) -> None:
    import onnx

    model = written(net, tmp_path / "net.onnx", float16=True)
    kinds = {array.name: array.data_type for array in model.graph.initializer}
    assert kinds["conv.0"] == kinds["fc.1"] == onnx.TensorProto.FLOAT16
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert types == {onnx.TensorProto.FLOAT}


def test_folded_it_has_neither_batch_norm_nor_scale(net: Net, tmp_path: Path) -> None:
    given = samples(net)
    model = written(net, tmp_path / "net.onnx", fold=True)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    written(net, tmp_path / "whole.onnx")
    found, expected = (run(tmp_path / name, given)["prob"] for name in ("net.onnx", "whole.onnx"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_layers_that_share_their_weights_read_one_array(tmp_path: Path) -> None:
    shared = 'param { name: "w" } inner_product_param { num_output: 4 bias_term: false }'
    text = inputs((2, 4), (2, 4)) + layer("InnerProduct", shared, "a", "one")
    net = parsed(text + layer("InnerProduct", shared, "b", "two"))
    weight = random_arrays(net)["one"]
    export(net, tmp_path / "net.onnx", weights={"one": weight, "two": weight}, verify=False)
    import onnx

    model = onnx.load(tmp_path / "net.onnx")
    assert [array.name for array in model.graph.initializer] == ["one.0"]
    found = run(tmp_path / "net.onnx", given := samples(net))
    for name, blob in zip(("one", "two"), given.values(), strict=True):
        np.testing.assert_allclose(found[name], blob @ weight[0].T, atol=1e-6)


def test_what_one_layer_turns_over_another_does_not_read(tmp_path: Path) -> None:
    """A product over a later axis stores its weight transposed; both have the same shape."""
    fields = 'param { name: "w" } inner_product_param { num_output: 4 bias_term: false axis: '
    text = inputs((2, 3, 4), (2, 4)) + layer("InnerProduct", fields + "2 }", "a", "one")
    net = parsed(text + layer("InnerProduct", fields + "1 }", "b", "two"))
    weight = random_arrays(net)["one"]
    export(net, tmp_path / "net.onnx", weights={"one": weight, "two": weight}, verify=False)
    found = run(tmp_path / "net.onnx", given := samples(net))
    for name, blob in zip(("one", "two"), given.values(), strict=True):
        np.testing.assert_allclose(found[name], blob @ weight[0].T, atol=1e-6)


def test_height_and_width_of_a_square_are_two_letters(tmp_path: Path) -> None:
    graph = written(parsed(inputs((1, 3, 8, 8)) + layer("ReLU")), tmp_path / "a.onnx", dynamic=["size"]).graph
    assert [dims(v) for v in (*graph.input, *graph.output)] == [[1, 3, "H", "W"]] * 2


def test_a_name_that_two_would_have_is_told_apart(tmp_path: Path) -> None:
    """A blob that is called like the array of a layer, and one like a version of another."""
    text = inputs((2, 4)) + layer("InnerProduct", "inner_product_param { num_output: 4 }", "a", "t")
    text += layer("TanH", "", "t", "x", "t.0") + layer("TanH", "", "t.0", "t/t", "t/t")
    written(parsed(text), tmp_path / "net.onnx")


# ---- large models ----------------------------------------------------------------------------------------


def test_the_arrays_of_a_large_model_are_in_a_file_beside_it(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, arrays = samples(net), random_arrays(net)
    export(net, tmp_path / "one.onnx", weights=arrays, verify=False)
    monkeypatch.setattr(file, "LIMIT", 100)
    monkeypatch.setattr(file, "_SMALL", 64)
    found = export(net, tmp_path / "net.onnx", weights=arrays, verify=False)
    assert [path.name for path in found.files] == ["net.onnx", "net.onnx.data"]
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.onnx.data", "one.onnx"]
    expected = run(tmp_path / "one.onnx", given)["prob"]
    assert (run(tmp_path / "net.onnx", given)["prob"] == expected).all()


# ---- whole or not at all ---------------------------------------------------------------------------------


def fails(action: Callable[[], object], error: type[Exception], match: str, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(error, match=match):
        action()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_existing_file_is_kept_unless_forced(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("mine")
    arrays = random_arrays(net)
    fails(lambda: export(net, path, weights=arrays), FileError, "it exists already", tmp_path)
    export(net, path, weights=arrays, verify=False, force=True)
    assert path.read_bytes() != b"mine"


def test_after_an_error_nothing_is_there(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, path = random_arrays(net), tmp_path / "net.onnx"
    lacking = {name: blobs for name, blobs in arrays.items() if name != "fc"}
    fails(
        lambda: export(net, path, weights=lacking), ConfigError, "no weights for InnerProduct 'fc'", tmp_path
    )
    wrong = {**arrays, "fc": [np.ones((5, 3), np.float32), arrays["fc"][1]]}
    fails(lambda: export(net, path, weights=wrong), ConfigError, "weights of another shape", tmp_path)
    place = tmp_path / "none" / "net.onnx"
    fails(lambda: export(net, place, weights=arrays), FileError, "cannot write", tmp_path)

    def refuses(path: Path) -> None:
        raise EngineError("onnx refuses the model")

    monkeypatch.setattr(file, "checked", refuses)
    fails(lambda: export(net, path, weights=arrays), EngineError, "onnx refuses", tmp_path)


def test_without_onnx_or_onnxruntime_the_error_says_what_to_install(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    arrays = random_arrays(net)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        fails(
            lambda: export(net, tmp_path / "net.onnx", weights=arrays), EngineError, "onnx is not installed",
            tmp_path,
        )  # fmt: skip
    monkeypatch.setattr(verify, "can_verify", lambda engine: "onnxruntime is not installed")
    fails(
        lambda: export(net, tmp_path / "net.onnx", weights=arrays, verify=True), EngineError,
        "onnxruntime is not installed", tmp_path,
    )  # fmt: skip
    found = export(net, tmp_path / "net.onnx", weights=arrays)
    assert (found.engine, found.difference) == ("", None)
