"""Fill in the fixed filters that a model leaves out: Caffe fills them itself, other consumers crash.

Protobuf reads two messages one behind the other as one, so the new layers are appended, and the bytes of the
model stay as they are, whatever its size.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import FileError
from netbuilder.layers import RULES, Shape
from netbuilder.net import Layer, Net
from netbuilder.schema import LayerParameter, NetParameter
from netbuilder.storage.files import replacing
from netbuilder.storage.wire import field
from netbuilder.weights.model import read_model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.schema import FillerParameter

__all__ = ["fill_model", "fixed_arrays", "is_fixed"]

_OLD_LAYER = 2  # the number of NetParameter.layers, of 2014 and before


def is_fixed(layer: Layer) -> bool:
    """Whether a layer has fixed filters and nothing that is learnt: at most a bias of one written number."""
    if not any(p.fixed_filter for p in layer.params) or any(p.learnable for p in layer.params):
        return False
    biases = [p for p in layer.params if not p.fixed_filter]
    return not biases or getattr(layer.proto, RULES[layer.type].params[0]).bias_filler.type == "constant"


def fill_model(net: Net, model: str | Path, path: str | Path, *, force: bool = False) -> tuple[str, ...]:
    """Write a model with the fixed filters of the net that it lacks; return the names of their layers.

    Filters are filled as Caffe fills them. Layers of the model are kept as they are, those without a
    counterpart in the net too. Raises FileError if the file exists (unless `force`), or cannot be read or
    written, and for a model of the old formats; PrototxtError for a damaged one.
    """
    stored = {layer.name for layer in read_model(model).layers}
    lacking = [layer for layer in net if is_fixed(layer) and layer.name not in stored]
    target = Path(path)
    if target.exists() and not force:
        raise FileError(f"cannot write '{path}': it exists already", hint="give another name, or use --force")
    _refuse_old(Path(model))
    with replacing(target) as partial:
        shutil.copyfile(model, partial)
        with partial.open("ab") as file:
            for layer in lacking:
                file.write(NetParameter(layer=[_filled(layer)]).SerializeToString())
    return tuple(layer.name for layer in lacking)


def _refuse_old(model: Path) -> None:
    """Raise FileError for a model of an old format: Caffe would ignore layers of today in it."""
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, numbers = 0, set()
        while at < len(data):
            number, _, _, at = field(data, at, len(data))
            numbers.add(number)
    if _OLD_LAYER in numbers:
        raise FileError(
            f"'{model}' is of the format of 2014: nothing can be added to it",
            hint="Caffe's upgrade_net_proto_binary writes it in today's format",
        )


def fixed_arrays(layer: Layer) -> list[npt.NDArray[np.float32]]:
    """The fixed filters of a layer, as Caffe fills them."""
    facts = RULES[layer.type].infer(layer.proto, [b.known_shape for b in layer.bottoms])
    return [_values(param.filler, param.shape) for param in facts.params if param.filler is not None]


def _filled(layer: Layer) -> LayerParameter:
    proto = LayerParameter(name=layer.name, type=layer.type)
    for values in fixed_arrays(layer):
        blob = proto.blobs.add()
        blob.shape.dim.extend(values.shape)
        blob.MergeFromString(_packed(values.astype("<f4").tobytes()))
    return proto


def _values(filler: FillerParameter, shape: Shape) -> npt.NDArray[np.float32]:
    """The values of a constant or bilinear filler. Source: filler.hpp."""
    import numpy as np

    if filler.type != "bilinear":
        return np.full(shape, filler.value, np.float32)
    size = shape[-1]
    factor = -(-size // 2)
    centre = np.float32((2 * factor - 1 - factor % 2) / (2.0 * factor))
    line = 1 - np.abs(np.arange(size, dtype=np.float32) / np.float32(factor) - centre)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _packed(numbers: bytes) -> bytes:
    """BlobProto.data (field 5, packed) as bytes: to append single numbers takes a hundred times as long."""
    return b"\x2a" + bytes(_varint(len(numbers))) + numbers


def _varint(number: int) -> Iterator[int]:
    while number > 127:
        yield number % 128 + 128
        number //= 128
    yield number
