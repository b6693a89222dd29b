"""A .caffemodel as a checkpoint of another framework, by the same naming maps as the import.

`exported` gives each tensor with its shape; `write_checkpoint` writes .safetensors and .npz one tensor at a
time, and .pth, which PyTorch writes at once.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import ConfigError, FileError, shape_text
from netbuilder.layers import Shape
from netbuilder.net import Net
from netbuilder.storage.files import replacing
from netbuilder.weights.arrange import arrangement, published_shape
from netbuilder.weights.arrays import model_tensors
from netbuilder.weights.maps import NamingMap, all_maps, find_map
from netbuilder.weights.safetensors import write_safetensors
from netbuilder.weights.tensors import Checkpoint
from netbuilder.weights.units import STATISTICS, Slot, Unit, raw_units, units_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["SUFFIXES", "Exported", "exported", "map_for", "write_checkpoint"]

SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")
_TENSORFLOW = {"weight": "kernel", "bias": "bias"}
_TENSORFLOW_NORM = {
    "weight": "gamma",
    "bias": "beta",
    **dict(zip(STATISTICS, ("moving_mean", "moving_variance"), strict=True)),
}


class Exported(NamedTuple):
    """A tensor to write: the blobs it is from, and how it is computed."""

    name: str
    shape: Shape
    layer: str
    read: Callable[[], Array]


def map_for(net: Net, name: str = "auto") -> NamingMap:
    """The map of this name, or the one that knows all layers of a net and was made for such nets.

    Raises ConfigError if there is none, or more.
    """
    if name != "auto":
        return find_map(name)
    units = units_of(net)
    named = [each for each in all_maps() if not each.own_names and None not in each.names(units)]
    made_for = [each for each in named if not each.departures(net)]
    if len(made_for) == 1:
        return made_for[0]
    known = ", ".join(each.name for each in made_for or named)
    raise ConfigError(
        f"{'several naming maps are' if made_for else 'no naming map is'} made for such a net", key="map",
        hint=f"choose one: --map NAME ({known})" if known else "--map layers takes the layers' own names",
    )  # fmt: skip


def exported(net: Net, model: str | Path, map: NamingMap) -> list[Exported]:
    """The tensors of a model under the names of a map.

    Raises ConfigError for a layer that the map does not know, and for blobs that the model lacks or that do
    not fit; FileError and PrototxtError for a model that cannot be read.
    """
    stored = model_tensors(model)
    units = raw_units(net) if map.raw else units_of(net)
    found: list[Exported] = []
    for unit, module in zip(units, map.names(units), strict=True):
        if module is None:
            raise ConfigError(
                f"map '{map.name}' ({map.about}) does not know layer '{unit.name}'", key="map",
                hint="--map layers takes the layers' own names",
            )  # fmt: skip
        found += _module(unit, module, map, stored)
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1][:1]:
        raise ConfigError(f"map '{map.name}' gives two tensors the name '{twice[0]}'", key="map")
    return found


def _module(unit: Unit, module: str, map: NamingMap, stored: Checkpoint) -> Iterator[Exported]:
    """The tensors of a unit; a BatchNorm without Scale gets gammas of 1 and betas of 0."""
    layout = "torch" if map.raw else map.layout
    for slot in unit.slots:
        name = _name(module, slot.role, layout, unit.is_norm)
        shape = published_shape(slot, layout, convolution=map.is_convolution(unit.name))
        _check(slot, stored)
        yield Exported(name, shape, slot.layer.name, _reader(slot, shape, layout, stored))
    if unit.is_norm and not map.raw:
        shape = unit.slots[0].shape
        for role, value in (("weight", 1.0), ("bias", 0.0)):
            if unit.slot(role) is None:
                name = _name(module, role, layout, True)
                yield Exported(name, shape, "", lambda s=shape, v=value: _full(s, v))  # type: ignore[misc]


def _name(module: str, role: str, layout: str, is_norm: bool) -> str:
    if layout == "torch":
        return f"{module}.{role}"
    words = _TENSORFLOW_NORM if is_norm else _TENSORFLOW
    return f"{module}/{words.get(role, role)}"


def _full(shape: Shape, value: float) -> Array:
    import numpy as np

    return np.full(shape, value, np.float32)


def _check(slot: Slot, stored: Checkpoint) -> None:
    """Raise ConfigError unless the model has the blob of a slot, in its shape."""
    name = f"{slot.layer.name}.{slot.index}"
    if name not in stored.tensors:
        raise ConfigError(f"'{stored.path}' has no weights for layer '{slot.layer.name}'", key="weights")
    theirs = tuple(n for n in stored.tensors[name].shape if n != 1)
    if theirs != tuple(n for n in slot.shape if n != 1):
        raise ConfigError(
            f"layer '{slot.layer.name}' takes {shape_text(slot.shape)}, '{stored.path}' has "
            f"{shape_text(stored.tensors[name].shape)}",
            key="weights",
        )


def _reader(slot: Slot, shape: Shape, layout: str, stored: Checkpoint) -> Callable[[], Array]:
    def read() -> Array:
        blob = stored.tensors[f"{slot.layer.name}.{slot.index}"].read().reshape(slot.shape)
        if slot.role in STATISTICS:
            factor = float(stored.tensors[f"{slot.layer.name}.2"].read().reshape(-1)[0])
            blob = blob * (1 / factor if factor else 0)  # batch_norm_layer.cpp, Forward_cpu
        how = arrangement(shape, slot, layout)
        assert how is not None
        return how.from_caffe(blob, shape)

    return read


def write_checkpoint(path: str | Path, tensors: Sequence[Exported], *, force: bool = False) -> None:
    """Write a .pth, .pt, .safetensors or .npz, whole or not at all. Raises FileError."""
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise FileError(
            f"cannot write '{path}': its suffix says nothing of its format",
            hint=f"one of {' '.join(SUFFIXES)}",
        )
    if file.exists() and not force:
        raise FileError(f"cannot write '{path}': it exists already", hint="give another name, or use --force")
    if file.suffix == ".safetensors":
        write_safetensors(file, [(t.name, t.shape) for t in tensors], (t.read() for t in tensors))
    elif file.suffix == ".npz":
        _write_npz(file, tensors)
    else:
        _write_pickle(file, tensors)


def _write_npz(path: Path, tensors: Sequence[Exported]) -> None:
    import numpy as np

    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for tensor in tensors:
            with archive.open(f"{tensor.name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(tensor.read()), allow_pickle=False)


def _write_pickle(path: Path, tensors: Sequence[Exported]) -> None:
    from netbuilder.weights.pickles import require_torch

    torch = require_torch(path)
    state = {tensor.name: torch.from_numpy(tensor.read().copy()) for tensor in tensors}
    with replacing(path) as partial:
        torch.save(state, partial)
