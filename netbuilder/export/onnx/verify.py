"""Whether an ONNX file computes what the net computes: both are run on random inputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import EngineError, shape_text
from netbuilder.layers import RULES
from netbuilder.net import Blob, Layer, Net

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["can_verify", "difference", "run", "samples"]

_NEEDED = {"torch": "PyTorch", "onnxruntime": "onnxruntime"}


def can_verify(engine: str) -> str:
    """What is missing to run the file and the net, "" if nothing is."""
    needed = ["onnxruntime", *(["torch"] if engine == "torch" else [])]
    missing = [_NEEDED[name] for name in needed if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed" if missing else ""


def difference(
    file: Path, net: Net, arrays: Mapping[str, Sequence[Array]], engine: str, outputs: Mapping[str, str]
) -> float | None:
    """The largest difference of the outputs, by the largest value; None where values are not finite.

    `outputs` has the blob of the net for each output of the file. `engine` computes the net: `torch` or
    `caffe`. Raises EngineError if one of the programs refuses it.
    """
    import numpy as np

    inputs = samples(net)
    expected = _COMPUTED[engine](net, arrays, inputs, list(outputs.values()))
    found = run(file, inputs)
    largest = 0.0
    for name, blob in outputs.items():
        a, b = found[name], np.asarray(expected[blob])
        if not np.isfinite(b).all():
            return None
        if a.shape != b.shape:
            raise EngineError(
                f"blob '{blob}' is {shape_text(b.shape)} in the net, {shape_text(a.shape)} in the ONNX file"
            )
        scale = float(np.abs(b).max(initial=0)) or 1.0
        largest = max(largest, float(np.abs(a.astype(np.float64) - b).max(initial=0)) / scale)
    return largest


def run(file: Path, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """The outputs of an ONNX file in onnxruntime, by name. Raises EngineError if it refuses the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # one pass: on a busy machine threads wait for each other far longer
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        wanted = {value.name: inputs[value.name] for value in session.get_inputs()}
        return dict(zip(names, session.run(names, wanted), strict=True))
    except Exception as error:  # its classes derive from Exception alone
        raise EngineError(f"onnxruntime cannot run the model: {str(error).strip().splitlines()[0]}") from None


def samples(net: Net) -> dict[str, Array]:
    """Random inputs; those that a layer reads as indices or regions are such."""
    import numpy as np

    draw = np.random.default_rng(1)
    found = {}
    for layer in net:
        for top in layer.tops if layer.type == "Input" else ():
            shape = top.known_shape
            reader, i = _reader(net, top)
            limit = 0 if reader is None else _limit(reader, i)
            values = draw.integers(0, limit, shape) if limit else draw.standard_normal(shape)
            if reader is not None and reader.type == "ROIPooling" and i == 1:
                regions = values.reshape(-1, 5)  # image, left, top, right, bottom
                regions[:, 0] %= reader.bottoms[0].known_shape[0]
                regions[:, 3:] += regions[:, 1:3]
            found[top.name] = values.astype(np.float32)
    return found


def _reader(net: Net, blob: Blob) -> tuple[Layer | None, int]:
    """The first layer that reads a blob, and as which bottom."""
    reads = ((layer, i) for layer in net for i, bottom in enumerate(layer.bottoms) if bottom is blob)
    return next(reads, (None, 0))


def _limit(layer: Layer, i: int) -> int:
    """Above the indices, labels or coordinates that a layer reads as bottom i; 0 if it reads numbers."""
    scores = RULES[layer.type].traits.scores
    if callable(scores) and i == 1:
        return layer.bottoms[0].known_shape[scores(layer.proto).axis]
    if layer.type == "Embed":
        return int(layer.proto.embed_param.input_dim)
    if layer.type == "BatchReindex" and i == 1:
        return layer.bottoms[0].known_shape[0]
    if layer.type == "ROIPooling" and i == 1:
        return max(1, int(layer.bottoms[0].known_shape[2] / layer.proto.roi_pooling_param.spatial_scale))
    return 0


def _in_torch(
    net: Net, arrays: Mapping[str, Sequence[Array]], inputs: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Any]:
    import torch

    from netbuilder.engines.torch import module

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        m = module(net, passes=())
        with torch.no_grad():
            for name, blobs in m.params.items():
                for blob, array in zip(blobs, arrays[name], strict=True):
                    blob.copy_(torch.from_numpy(array).view(blob.shape))
            given = {name: torch.from_numpy(array) for name, array in inputs.items()}
            out = m(**given, keep=tuple(outputs))
        return {name: out[name].numpy() for name in outputs}
    finally:
        torch.set_num_threads(threads)


def _in_caffe(
    net: Net, arrays: Mapping[str, Sequence[Array]], inputs: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Any]:
    from netbuilder.engines.caffe import Caffe
    from netbuilder.prototxt import dumps

    params = {layer.name: arrays[layer.name] for layer in net if layer.params}
    with Caffe() as caffe:
        return dict(caffe.run(dumps(net), inputs=inputs, params=params, outputs=outputs).outputs)


_COMPUTED = {"torch": _in_torch, "caffe": _in_caffe}
