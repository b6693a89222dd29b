"""Fold BatchNorm, Scale and Bias into the layers with weights, for a net that is only run.

Each of them multiplies and shifts every channel, and so does a layer with weights: `fold` composes them into
new weights of the convolution, deconvolution or inner product before them, or after them where that is exact.
The arrays are computed one layer after the other (`Folding.arrays`), in float64, and rounded once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import ConfigError
from netbuilder.layers import canonical_axis
from netbuilder.layers.arithmetic import conv_window
from netbuilder.layers.linear import LINEAR
from netbuilder.layers.normalization import PER_CHANNEL
from netbuilder.net import Blob, Layer, Net
from netbuilder.schema import LayerParameter
from netbuilder.weights.fill import fixed_arrays, is_fixed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Numbers = npt.NDArray[np.float64]

__all__ = ["Folding", "fold"]


class _Affine(NamedTuple):
    """x * by + plus, for each channel."""

    by: Numbers
    plus: Numbers

    def then(self, after: _Affine | None) -> _Affine:
        """This one, and `after` on its result."""
        return self if after is None else _Affine(self.by * after.by, self.plus * after.by + after.plus)


class _Change(NamedTuple):
    """What the weights of a layer take over: what comes before it, and what follows."""

    before: _Affine | None = None
    after: _Affine | None = None


@dataclass
class Folding:
    """The folded net, and how its arrays follow from those of the original.

    `merged` maps the layers that are gone to those that do their work, `dropped` has those that do nothing in
    TEST, and `kept` says of each BatchNorm, Scale and Bias that stays why it does.
    """

    net: Net
    merged: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    _changes: dict[str, _Change] = field(default_factory=dict)
    _scales: dict[str, _Affine] = field(default_factory=dict)  # Scale layers that stand for several

    def arrays(self, stored: Iterable[tuple[str, Sequence[Array]]]) -> Iterator[tuple[str, list[Array]]]:
        """The arrays of the folded net by layer name, from those of the original, one layer at a time.

        Fixed filters that the original does not store are given too, as OpenCV and MNN need them.
        """
        import numpy as np

        layers = {layer.name: layer for layer in self.net if layer.params}
        seen = set(self._scales)
        for name, blobs in stored:
            if name in layers and name not in seen:
                seen.add(name)
                change = self._changes.get(name)
                yield name, _changed(layers[name], blobs, change) if change else list(blobs)
        for name, affine in self._scales.items():
            yield name, [affine.by.astype(np.float32), affine.plus.astype(np.float32)]
        for name, layer in layers.items():
            if is_fixed(layer) and name not in seen:
                yield name, fixed_arrays(layer)


def fold(net: Net, arrays: Callable[[str], Sequence[Array]]) -> Folding:
    """Fold a TEST net; `arrays` gives the stored arrays of its BatchNorm, Scale and Bias layers by name.

    A layer stays where folding it would change a number: it computes the statistics of the batch, its blob is
    read by others too, parameters are shared, a padding of zeros lies between, or the filter is a fixed one.
    Affine layers that no weights can take over become one Scale. Dropout goes.
    Raises ConfigError for two layers of one name.
    """
    return _Folder(net, arrays).run()


class _Item:
    """A layer of the new net: its fields, and the blobs of the old net that it reads and gives."""

    def __init__(self, layer: Layer) -> None:
        self.proto = LayerParameter()
        self.proto.CopyFrom(layer.proto)
        self.bottoms, self.tops = list(layer.bottoms), list(layer.tops)


class _Folder:
    def __init__(self, net: Net, arrays: Callable[[str], Sequence[Array]]) -> None:
        twice = [name for name, n in Counter(layer.name for layer in net).items() if n > 1]
        if twice:
            raise ConfigError(f"two layers are called '{twice[0]}', and weights are stored by name")
        self.net, self.stored = net, arrays
        self.readers: dict[Blob, list[Layer]] = {}
        for layer in net:
            for blob in layer.bottoms:
                self.readers.setdefault(blob, []).append(layer)
        uses = Counter(spec.name for layer in net for spec in layer.proto.param if spec.name)
        self.shared = {x for x in net if any(uses[spec.name] > 1 for spec in x.proto.param)}
        self.items = {layer: _Item(layer) for layer in net}
        self.same: dict[Blob, Blob] = {}  # the blob that stands for one that is gone
        self.found = Folding(Net(net.name, net.phase, dialect=net.dialect.name))

    def run(self) -> Folding:
        for layer in self.net:
            if layer.type == "Dropout" and not _trains(layer):
                self._drop(layer)
        for layer in self.net:
            if self._may_change(layer):
                self._fold_following(layer)
        for layer in self.net:
            if layer.type in PER_CHANNEL and layer in self.items:
                self._fold_chain(layer)
        new = self.found.net
        new.proto.CopyFrom(self.net.proto)
        for layer, item in self.items.items():
            del item.proto.bottom[:], item.proto.top[:]
            item.proto.bottom.extend([self._now(blob).name for blob in item.bottoms])
            item.proto.top.extend([blob.name for blob in item.tops])
            with new.scope("", layer.comment):
                new.append(item.proto, origin=layer.origin, unknown=layer.unknown)
        return self.found

    # -- what goes -----------------------------------------------------------------------------------------

    def _drop(self, layer: Layer) -> None:
        """Let the readers of a Dropout read its bottom, unless its top is an output."""
        (bottom,), (top,) = layer.bottoms, layer.tops
        if layer.in_place or (self._reader(bottom) is layer and top in self.readers):
            self.readers[bottom] = self.readers.get(top, [])
            self.same[top] = bottom
            self.found.dropped.append(layer.name)
            del self.items[layer]

    def _fold_following(self, layer: Layer) -> None:
        """Let a layer with weights take over the affine layers that follow it."""
        chain, end, total = self._chain(layer.tops[0])
        if total is not None:
            self._change(layer, _Change(after=total))
            self._merge(chain, layer)
            self.items[layer].tops = [end]

    def _fold_chain(self, first: Layer) -> None:
        """Let weights that follow take over a chain of affine layers, or make one Scale of it."""
        chain, end, total = self._chain(first.bottoms[0], first)
        if total is None:
            self.found.kept[first.name] = self._why_not(first)
            return
        reader = self._reader(end)
        if reader and self._may_change(reader) and _takes(reader, total):
            old = self.found._changes.get(reader.name, _Change())
            self._change(reader, old._replace(before=total))
            self._merge(chain, reader)
            self.same[end] = self._now(first.bottoms[0])
        elif len(chain) > 1 or first.type == "BatchNorm":
            into = next((layer for layer in chain if layer.type == "Scale"), first)
            item = self.items[first]
            item.proto = LayerParameter(name=into.name, type="Scale")
            item.proto.scale_param.bias_term = True
            item.tops = [end]
            self._merge([layer for layer in chain if layer is not first], into)
            if into is not first:
                self.found.merged[first.name] = into.name
                self.found.merged.pop(into.name, None)
            self.found._scales[into.name] = total
        else:
            self.found.kept[first.name] = "no weights are beside it that could take it over"

    def _merge(self, layers: Iterable[Layer], into: Layer) -> None:
        for layer in layers:
            self.found.merged[layer.name] = into.name
            del self.items[layer]

    def _change(self, layer: Layer, change: _Change) -> None:
        self.found._changes[layer.name] = change
        _message(self.items[layer].proto).bias_term = True

    # -- what may ------------------------------------------------------------------------------------------

    def _now(self, blob: Blob) -> Blob:
        while blob in self.same:
            blob = self.same[blob]
        return blob

    def _reader(self, blob: Blob) -> Layer | None:
        """The only reader of a blob."""
        readers = self.readers.get(blob, ())
        return readers[0] if len(readers) == 1 else None

    def _may_change(self, layer: Layer) -> bool:
        """Whether a layer has weights of its own that may take others over."""
        if layer.type not in LINEAR:
            return False
        if len(layer.bottoms) != 1 or len(layer.tops) != 1 or layer.unknown:
            return False
        if layer in self.shared or is_fixed(layer):
            return False
        return canonical_axis(_message(layer.proto).axis, layer.bottoms[0].known_shape) == 1

    def _chain(self, blob: Blob, layer: Layer | None = None) -> tuple[list[Layer], Blob, _Affine | None]:
        """The affine layers that follow a blob one by one, the blob after them, and what they compute.

        `layer` is the first of them, if the blob has other readers too.
        """
        chain: list[Layer] = []
        total = None
        layer = layer or self._reader(blob)
        while layer is not None and layer in self.items:
            affine = self._affine(layer)
            if affine is None:
                break
            total = affine if total is None else total.then(affine)
            chain.append(layer)
            blob = layer.tops[0]
            layer = self._reader(blob)
        return chain, blob, total

    def _affine(self, layer: Layer) -> _Affine | None:
        """What a layer does to each channel; None if it does anything else."""
        if layer.type not in PER_CHANNEL or self._why_not(layer):
            return None
        import numpy as np

        blobs = [np.asarray(blob, np.float64).reshape(-1) for blob in self.stored(layer.name)]
        channels = layer.bottoms[0].known_shape[1]
        if layer.type == "Scale":
            plus = blobs[1] if layer.proto.scale_param.bias_term else np.zeros(channels)
            return _Affine(blobs[0], plus)
        if layer.type == "Bias":
            return _Affine(np.ones(channels), blobs[0])
        mean, variance, factor = blobs
        norm = 0.0 if factor[0] == 0 else 1 / factor[0]  # batch_norm_layer.cpp, Forward_cpu
        by = 1 / np.sqrt(variance * norm + layer.proto.batch_norm_param.eps)
        return _Affine(by, -mean * norm * by)

    def _why_not(self, layer: Layer) -> str:
        """Why a layer does not multiply and shift each channel by numbers of its own; "" if it does."""
        shape = layer.bottoms[0].shape
        if layer in self.shared:
            return "its parameters are shared"
        if len(layer.bottoms) > 1:
            return "it multiplies or adds two blobs"
        if layer.unknown or shape is None or len(shape) < 2:
            return "its channels are not known"
        if layer.type == "BatchNorm":
            if len(layer.params) != 3:
                return "it has a scale and a bias of its own, as in NVCaffe"
            p = layer.proto.batch_norm_param
            batch = not p.use_global_stats if p.HasField("use_global_stats") else _trains(layer)
            return "it normalises by the statistics of the batch" * batch
        message: Any = layer.proto.scale_param if layer.type == "Scale" else layer.proto.bias_param
        axes = shape[1:] if message.num_axes == -1 else shape[1 : 1 + message.num_axes]
        channels = canonical_axis(message.axis, shape) == 1 and math.prod(axes) == shape[1]
        return "" if channels and axes else "it has a number for more, or less, than a channel"


def _trains(layer: Layer) -> bool:
    """Whether a layer runs in TRAIN, although the net is one of TEST."""
    return layer.proto.HasField("phase") and layer.proto.phase == 0


def _takes(layer: Layer, affine: _Affine) -> bool:
    """Whether a layer with weights can compute from x what it computed from `affine` of x.

    A shift is lost where zeros are padded, and at the borders of a deconvolution.
    """
    if layer.type == "InnerProduct" or not affine.plus.any():
        return True
    shape = layer.bottoms[0].known_shape
    window = conv_window(layer.proto.convolution_param, len(shape) - 2)
    return layer.type == "Convolution" and not any(window.pad) and _fits(window, shape[2:])


def _fits(window: Any, size: Sequence[int]) -> bool:
    """Whether the kernel lies inside the image; Caffe computes with zeros beyond it."""
    return all(d * (k - 1) < n for d, k, n in zip(window.dilation, window.kernel, size, strict=True))


def _message(proto: LayerParameter) -> Any:
    return proto.inner_product_param if proto.type == "InnerProduct" else proto.convolution_param


def _changed(layer: Layer, blobs: Sequence[Array], change: _Change) -> list[Array]:
    """The weights and the bias of a layer that takes others over."""
    import numpy as np

    weight, bias = layer.params[0].shape, layer.params[1].shape
    values = _by_channels(layer, np.asarray(blobs[0], np.float64).reshape(weight))
    group, rest = len(values), (1,) * (values.ndim - 3)
    shift = np.zeros(bias[-1]) if len(blobs) < 2 else np.asarray(blobs[1], np.float64).reshape(-1)
    if change.before is not None:
        by, plus = (x.reshape(group, 1, -1, *rest) for x in change.before)
        shift = shift + (values * plus).sum(tuple(range(2, values.ndim))).reshape(-1)
        values = values * by
    if change.after is not None:
        values = values * change.after.by.reshape(group, -1, 1, *rest)
        shift = shift * change.after.by + change.after.plus
    stored = _as_stored(layer, values).reshape(weight)
    return [stored.astype(np.float32), shift.astype(np.float32).reshape(bias)]


def _by_channels(layer: Layer, weight: Numbers) -> Numbers:
    """Weights as (groups, outputs of a group, inputs of a group, ...)."""
    if layer.type == "InnerProduct":
        p = layer.proto.inner_product_param
        flat = weight.T if p.transpose else weight
        return flat.reshape(1, p.num_output, layer.bottoms[0].known_shape[1], -1)
    group = layer.proto.convolution_param.group
    split = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    return split.swapaxes(1, 2) if layer.type == "Deconvolution" else split


def _as_stored(layer: Layer, values: Numbers) -> Numbers:
    """Weights of `_by_channels` in Caffe's order."""
    if layer.type == "InnerProduct":
        flat = values.reshape(values.shape[1], -1)
        return flat.T if layer.proto.inner_product_param.transpose else flat
    return values.swapaxes(1, 2) if layer.type == "Deconvolution" else values
