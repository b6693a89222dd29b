"""A checkpoint written as a .caffemodel for a net.

The arrays are computed and written one layer after the other (`imported`), and the file replaces another only
once it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import ConfigError, FileError
from netbuilder.layers import elements
from netbuilder.layers.arithmetic import conv_window
from netbuilder.net import Layer, Net
from netbuilder.schema import LayerParameter
from netbuilder.weights.fill import fixed_arrays, is_fixed
from netbuilder.weights.inputs import InputChange, Normalisation, input_change
from netbuilder.weights.matching import Match, Pair
from netbuilder.weights.units import STATISTICS
from netbuilder.weights.write import LIMIT, write_layers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["First", "first_convolution", "imported", "shifted_net", "write_imported"]

SHIFT = "input_shift"  # the layer that subtracts a mean which the first convolution cannot take over


@dataclass(frozen=True)
class First:
    """The first convolution and how it makes up for another input.

    `norm` is the BatchNorm that takes the shift if the convolution has no bias. With `apart`, the mean is
    subtracted by a layer of its own: the convolution pads, and pads with 0 what should be the mean.
    """

    layer: Layer
    change: InputChange
    norm: str = ""
    apart: bool = False


def first_convolution(net: Net, found: Match, word: str) -> First:
    """How a net takes the input of this word, given what the map says of the published net.

    Raises ConfigError if the map does not say it, or the first layer is not a convolution of its channels.
    """
    if not found.map.input:
        raise ConfigError(
            f"map '{found.map.name}' does not say what the published net is fed", key="input",
            hint="a map of your own can: input: {order: rgb, range: 1, mean: [...], std: [...]}",
        )  # fmt: skip
    published = Normalisation.of(found.map.input)
    change = input_change(word, published)
    unit = found.units[0]
    layer = unit.slots[0].layer
    reads_input = layer.bottoms and not layer.bottoms[0].layer.bottoms
    readers = [x for x in net if layer.bottoms and layer.bottoms[0] in x.bottoms]
    group = layer.proto.convolution_param.group
    if layer.type != "Convolution" or not reads_input or len(readers) > 1 or group != 1:
        raise ConfigError(
            f"the input is not read by one convolution alone, but by '{layer.name}' and others", key="input",
            hint="leave --input out, and normalise the images as the published net's",
        )  # fmt: skip
    if layer.params[0].shape[1] != len(published.mean):
        raise ConfigError(
            f"layer '{layer.name}' takes {layer.params[0].shape[1]} channels, map '{found.map.name}' "
            f"describes {len(published.mean)}",
            key="input",
        )
    if not change.subtracts_mean or not any(change.mean):
        return First(layer, change)
    pads = any(conv_window(layer.proto.convolution_param, 2).pad)
    takes = unit.slot("bias") is not None or unit.normed
    return First(layer, change, norm="" if unit.slot("bias") else unit.normed, apart=pads or not takes)


def shifted_net(net: Net, first: First) -> Net:
    """The net with a layer that subtracts the mean of its input, a Scale, before the first convolution."""
    new = Net(net.name, net.phase, dialect=net.dialect.name)
    new.proto.CopyFrom(net.proto)
    for layer in net:
        proto = LayerParameter()
        proto.CopyFrom(layer.proto)
        if layer.name == first.layer.name:
            shift = LayerParameter(name=SHIFT, type="Scale", bottom=proto.bottom, top=[SHIFT])
            shift.scale_param.bias_term = True
            for _ in range(2):
                shift.param.add(lr_mult=0, decay_mult=0)
            new.append(shift, origin=layer.origin)
            proto.bottom[0] = SHIFT
        with new.scope("", layer.comment):
            new.append(proto, origin=layer.origin, unknown=layer.unknown)
    return new


def imported(
    net: Net, found: Match, first: First | None = None
) -> Iterator[tuple[Layer | None, list[Array]]]:
    """The arrays of each layer in the order of the net, fixed filters too; the shift's come with None."""
    import numpy as np

    pairs: dict[str, dict[int, Pair]] = {}
    for pair in found.pairs:
        pairs.setdefault(pair.slot.layer.name, {})[pair.slot.index] = pair
    shift: Array | None = None
    if first is not None and first.apart:
        mean = np.asarray(first.change.mean, np.float32)
        yield None, [np.ones(len(mean), np.float32), -mean]
    for layer in net:
        if layer.name not in pairs:
            if layer.params and is_fixed(layer):
                yield layer, fixed_arrays(layer)
            continue
        arrays = _arrays(layer, pairs[layer.name])
        if first is not None and layer.name == first.layer.name:
            arrays[0] = first.change.weights(arrays[0])
            if first.change.subtracts_mean and not first.apart:
                shift = first.change.shift(arrays[0])
                if not first.norm:
                    arrays[1] = arrays[1] - shift
        elif first is not None and shift is not None and layer.name == first.norm:
            arrays[0] = arrays[0] + shift
        yield layer, arrays


def _arrays(layer: Layer, pairs: Mapping[int, Pair]) -> list[Array]:
    import numpy as np

    arrays = []
    for i, param in enumerate(layer.params):
        pair = pairs.get(i)
        if pair is None:  # BatchNorm's third blob, the factor of the other two
            arrays.append(np.ones(param.shape, np.float32))
        elif pair.tensor is None or pair.arrange is None:
            arrays.append(np.full(param.shape, pair.fill, np.float32))
        else:
            array = pair.arrange.to_caffe(pair.tensor.read())
            arrays.append(array - pair.minus.read().reshape(param.shape) if pair.minus else array)
    return arrays


def write_imported(
    net: Net, found: Match, path: str | Path, *, first: First | None = None, force: bool = False
) -> list[str]:
    """Write the .caffemodel; return what is to be said of its numbers.

    Raises FileError, before anything is written for a model of 2 GiB or more, which Caffe cannot read.
    """
    import numpy as np

    size = sum(4 * elements(param.shape) for layer in net for param in layer.params)
    if size > LIMIT:
        raise FileError(f"cannot write '{path}': it would have {size} bytes, and Caffe reads up to {LIMIT}")
    odd: list[str] = []

    def layers() -> Iterator[tuple[bytes, list[Array]]]:
        for layer, arrays in imported(net, found, first):
            name, kind = (layer.name, layer.type) if layer else (SHIFT, "Scale")
            if not all(np.isfinite(array).all() for array in arrays):
                odd.append(name)
            if layer and layer.params[0].role == "statistic" and (arrays[1] < 0).any():
                raise ConfigError(f"'{STATISTICS[1]}' of layer '{name}' has variances below 0")
            yield LayerParameter(name=name, type=kind).SerializeToString(), arrays

    write_layers(path, net.name, layers(), force=force)
    return [f"layer '{odd[0]}'{f' and {len(odd) - 1} more have' if odd[1:] else ' has'} values that are not "
            "finite"] if odd else []  # fmt: skip
