"""A module's parameters from models of Caffe's, and into them.

Source: net.cpp, CopyTrainedLayersFrom (binary), CopyTrainedLayersFromHDF5, ToProto.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netbuilder.checks.weights import Fit
from netbuilder.errors import EngineError, shape_text
from netbuilder.weights.arrays import LayerArrays, read_arrays
from netbuilder.weights.write import write_model

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.engines.torch.operator import Operator

__all__ = ["load", "save"]


def load(module: NetModule, path: str | Path) -> Fit:
    """Copy a model into the layers of the same name, as Caffe does, and return what was taken.

    Raises EngineError if a layer of the model does not fit its layer in the net; nothing is copied then.
    Raises FileError and PrototxtError if the model cannot be read.
    """
    pairs: list[tuple[Operator, LayerArrays]] = []
    unused: dict[str, None] = {}
    first, last = module.by_name()
    for stored in read_arrays(path):
        names = first if stored.layer.numbers is None else last
        operator = names.get(stored.layer.name)
        if operator is None:
            unused.update(dict.fromkeys([stored.layer.name] if stored.arrays else []))
        else:
            _check(operator, stored, str(path))
            pairs.append((operator, stored))
    filled: set[int] = set()
    with torch.no_grad():
        for operator, stored in pairs:
            numbers = stored.layer.numbers or range(len(stored.arrays))
            for i, array in zip(numbers, stored.arrays, strict=True):
                blob = operator.blob(i)
                blob.copy_(torch.from_numpy(array).view(blob.shape))
                filled.add(blob.data_ptr())
    named = {name: op for name, op in module.operators().items() if op.number}
    taken = tuple(name for name, op in named.items() if all(b.data_ptr() in filled for b in op.blobs()))
    return Fit(
        taken=taken,
        new=tuple(name for name in named if name not in taken),
        unused=tuple(unused),
        refused=(),
    )


def save(module: NetModule, path: str | Path, *, force: bool = False) -> None:
    """Write all parameter blobs as a .caffemodel, which Caffe, OpenCV and MNN load. Raises FileError."""
    params = {
        name: [blob.detach().float().cpu().numpy() for blob in op.blobs()] for name, op in named(module)
    }
    write_model(path, params, force=force)


def named(module: NetModule) -> list[tuple[str, Operator]]:
    """The operators with parameters, by the layer's own name."""
    return [(op.name, op) for op in module.operators().values() if op.number]


def _check(operator: Operator, stored: LayerArrays, path: str) -> None:
    layer = stored.layer
    numbers = range(len(layer.blobs)) if layer.numbers is None else layer.numbers
    own: Sequence[Tensor] = operator.blobs()
    fits = len(layer.blobs) == len(own) if layer.numbers is None else len(layer.blobs) <= len(own)
    for i, shape in zip(numbers, layer.blobs, strict=True):
        if not fits or i >= len(own):
            fits = False
            break
        wanted = tuple(own[i].shape)
        padded = (1,) * (4 - len(wanted)) + wanted if i in layer.legacy else wanted
        fits = fits and shape == padded
    if not fits:
        ours = " ".join(shape_text(tuple(b.shape)) for b in own) or "none"
        theirs = " ".join(shape_text(shape) for shape in layer.blobs)
        raise EngineError(
            f"the parameters of layer '{layer.name}' do not fit: the net has {ours}, '{path}' has {theirs}",
            hint="rename the layer to leave it as it is filled, or give it the model's shape",
        )
