"""An ONNX file, written array by array: memory holds no second copy of the weights.

A model of 2 GiB or more, which protobuf cannot hold, has its arrays in a file of its own beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from netbuilder import __version__
from netbuilder.errors import ConfigError, EngineError
from netbuilder.export.onnx.build import Built
from netbuilder.export.onnx.graph import Node
from netbuilder.weights.write import head

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LIMIT", "OPSET", "checked", "opsets", "write"]

OPSET = 17
LIMIT = 2**31 - 2**20  # of what a file holds; protobuf's is 2**31 - 1
_SMALL = 1024  # arrays of fewer bytes stay in the model
# Numbers of fields in onnx.proto: of ModelProto, GraphProto and TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def opsets() -> range:
    """The opsets that can be written with the installed `onnx`. Raises EngineError without it."""
    return range(OPSET, _onnx().defs.onnx_opset_version() + 1)


def _onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise EngineError("onnx is not installed", hint="pip install 'caffe-netbuilder[onnx]'") from None
    return onnx


def write(built: Built, path: Path, metadata: Mapping[str, str]) -> list[Path]:
    """Write the model at a path, and where it is large its arrays at `path`.data; returns the files."""
    onnx = _onnx()
    size = sum(array.nbytes for array in built.graph.arrays.values())
    data = path.with_name(path.name + ".data") if size > LIMIT else None
    model = _model(onnx, built, metadata)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    if data is None:
        with path.open("wb") as file:
            _write_model(file, model, graph, [_inside(onnx, *item) for item in built.graph.arrays.items()])
        return [path]
    with data.open("wb") as file:
        parts = [_outside(onnx, file, data.name, *item) for item in built.graph.arrays.items()]
    with path.open("wb") as file:
        _write_model(file, model, graph, parts)
    return [path, data]


def checked(path: Path) -> None:
    """Let the checker of `onnx` look at a file, with its inference of all shapes. Raises EngineError."""
    onnx = _onnx()
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"onnx refuses the model: {str(error).strip().splitlines()[0]}") from None


def _write_model(file: IO[bytes], model: Any, graph: bytes, arrays: list[tuple[bytes, Any]]) -> None:
    """The fields of a ModelProto, the graph last, and in it the arrays last."""
    sizes = [len(start) + (0 if array is None else array.nbytes) for start, array in arrays]
    heads = [head(_INITIALIZER, size) for size in sizes]
    file.write(model.SerializeToString())
    file.write(head(_GRAPH, len(graph) + sum(map(len, heads)) + sum(sizes)))
    file.write(graph)
    for begin, (start, array) in zip(heads, arrays, strict=True):
        file.write(begin)
        file.write(start)
        if array is not None:
            file.write(_bytes(array))


def _bytes(array: npt.NDArray[Any]) -> memoryview | bytes:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view("u1").data if little.size else b""


def _tensor(onnx: Any, name: str, array: npt.NDArray[Any]) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.TensorProto(name=name, dims=array.shape, data_type=kind)


def _inside(onnx: Any, name: str, array: npt.NDArray[Any]) -> tuple[bytes, npt.NDArray[Any]]:
    """A TensorProto in two parts, of which the second are the numbers."""
    return _tensor(onnx, name, array).SerializeToString() + head(_RAW_DATA, array.nbytes), array


def _outside(
    onnx: Any, file: IO[bytes], location: str, name: str, array: npt.NDArray[Any]
) -> tuple[bytes, npt.NDArray[Any] | None]:
    """A TensorProto whose numbers are written to a file of its own, unless they are few."""
    if array.nbytes < _SMALL:
        return _inside(onnx, name, array)
    tensor = _tensor(onnx, name, array)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    file.write(bytes(-file.tell() % 4096))  # readers map whole pages
    for key, value in {"location": location, "offset": file.tell(), "length": array.nbytes}.items():
        tensor.external_data.add(key=key, value=str(value))
    file.write(_bytes(array))
    return tensor.SerializeToString(), None


# -- messages ----------------------------------------------------------------------------------------------


def _model(onnx: Any, built: Built, metadata: Mapping[str, str]) -> Any:
    """The model without its arrays."""
    helper, opset = onnx.helper, built.graph.opset
    if opset not in opsets():
        raise ConfigError(
            f"opset {opset} cannot be written", key="opset",
            hint=f"the installed onnx {onnx.__version__} takes {OPSET} to {opsets()[-1]}",
        )  # fmt: skip
    graph = helper.make_graph(
        [_node(onnx, node) for node in built.graph.nodes],
        built.name,
        [_value(onnx, value.name, "float32", built.dims(value)) for value in built.inputs],
        [_value(onnx, value.name, "float32", built.dims(value)) for value in built.outputs],
        value_info=list(_between(onnx, built)),
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, producer_name="netbuilder")
    model.producer_version = __version__
    model.ir_version = helper.find_min_ir_version_for(imports)
    helper.set_model_props(model, dict(metadata))
    return model


def _node(onnx: Any, node: Node) -> Any:
    attributes = dict(node.attributes)
    if node.op == "Cast":
        attributes["to"] = _kind(onnx, attributes["to"])
    return onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, **attributes)


def _between(onnx: Any, built: Built) -> Iterator[Any]:
    for value in built.blobs:
        if not value.loose:
            yield _value(onnx, value.name, value.kind, built.dims(value))


def _value(onnx: Any, name: str, kind: str, dims: list[int | str | None]) -> Any:
    return onnx.helper.make_tensor_value_info(name, _kind(onnx, kind), dims)


def _kind(onnx: Any, name: str) -> int:
    import numpy as np

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name)))
