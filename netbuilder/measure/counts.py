"""Parameters, operations and memory of a finished net, each by a named convention.

Operations and activations are per image: the whole batch's figure divided by the batch size, which is
axis 0 of the net's first input. Memory is for the whole batch. Nothing is a silent zero: layers that
could not be counted are listed in `uncounted`, and their figures are None.

`docs/counting.md` explains every figure; reports only print what is computed here. Windows and receptive
fields are in `netbuilder.measure.geometry`, blocks in `netbuilder.measure.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from netbuilder.layers import RULES, elements
from netbuilder.layers.traits import Shares
from netbuilder.net import Blob, Layer, Net

__all__ = [
    "LAYER_FIGURES",
    "Counts",
    "LayerCounts",
    "add_up",
    "batch_size",
    "count",
    "exact",
    "per_image",
    "storage",
    "totals",
]

FLOAT_BYTES = 4

# The figures that a layer has, and a block of layers; see `LayerCounts.figure`.
LAYER_FIGURES = (
    "learnable_params",
    "stored_params",
    "macs",
    "flops",
    "ops",
    "total_flops",
    "activations",
)


class LayerCounts(NamedTuple):
    """The figures of one layer; operations and activations are per image.

    What is not known is 0 here, so that sums are those of what is known; `figure` gives None for it.
    """

    layer: Layer
    learnable_params: int
    stored_params: int
    macs: int | float
    ops: int | float
    activations: int | float

    @property
    def flops(self) -> int | float:
        """Two per MAC."""
        return 2 * self.macs

    @property
    def total_flops(self) -> int | float:
        """Two per MAC, and every other operation."""
        return self.flops + self.ops

    @property
    def shared_with(self) -> tuple[str, ...]:
        """The layers that own parameters of this one."""
        return tuple(dict.fromkeys(p.shared_with for p in self.layer.params if p.shared_with))

    def figure(self, name: str) -> int | float | None:
        """One of `LAYER_FIGURES`, None if it is not known."""
        if name == "activations":
            known = all(t.shape is not None for t in self.layer.tops)
        else:
            known = not self.layer.unknown
        value: int | float = getattr(self, name)
        return value if known else None


class Counts(NamedTuple):
    """The figures of a net; where `uncounted` is not empty they are what is known, and at least that.

    learnable_params    what the solver may change: weights, biases, gammas, betas
    stored_params       every number in the .caffemodel, BatchNorm statistics and fixed filters included
    fixed_params        weights of fixed filters (frozen, with a constant or bilinear filler)
    macs                multiply-accumulates of convolution, deconvolution, inner product, recurrent layers,
                        without fixed_macs
    fixed_macs          multiply-accumulates of fixed filters
    flops               2 x macs
    total_flops         2 x (macs + fixed_macs) + every other operation
    activations         elements of all blobs but scalars, which losses are, one for any batch; a layer in
                        place, or by reference, adds none
    activation_bytes    memory of all blobs, for the whole batch
    peak_bytes          most memory alive at once in a forward pass that frees each blob after its last use
    weight_bytes        memory of the stored parameters
    train_bytes         parameters, their gradients and one momentum, statistics included, as Caffe keeps
                        them; activations and their gradients
    caffe_data_bytes    what Caffe says in its log, "Memory required for data": the tops of all layers, those
                        in place, by reference and of the Splits that it inserts counted again
    pynetbuilder_params / pynetbuilder_flops
                        the ancestor's convention: blob 0 of each layer; times output size for Convolution;
                        without fixed filters, which the ancestor's nets do not have
    """

    batch: int
    learnable_params: int
    stored_params: int
    fixed_params: int
    macs: int | float
    fixed_macs: int | float
    flops: int | float
    total_flops: int | float
    activations: int | float
    activation_bytes: int
    peak_bytes: int
    weight_bytes: int
    train_bytes: int
    caffe_data_bytes: int
    pynetbuilder_params: int
    pynetbuilder_flops: int
    layers: tuple[LayerCounts, ...]
    uncounted: tuple[Layer, ...]

    def __repr__(self) -> str:
        figures = (f"{name}={getattr(self, name)}" for name in self._fields[:-2])  # without the two of layers
        return f"Counts({', '.join(figures)})"


def count(net: Net) -> Counts:
    """Count a net; see `Counts` for what each figure means."""
    batch = batch_size(net)
    sizes = _sizes(net)
    owner = storage(net)
    rows, ancestral = [], []
    fixed_params = macs = fixed_macs = ops = activations = scalars = 0
    for layer in net.layers:
        learnable, stored, fixed = _params(layer)
        fixed_params += fixed
        if layer.params and any(p.fixed_filter for p in layer.params):
            fixed_macs += layer.macs
        else:
            macs += layer.macs
            if layer.params:
                ancestral.append(layer)
        ops += layer.ops
        new = 0
        for top in layer.tops:
            if owner[top] is top:
                if top.shape:
                    new += sizes[top]
                elif top.shape is not None:
                    scalars += sizes[top]
        activations += new
        per = (per_image(layer.macs, batch), per_image(layer.ops, batch), per_image(new, batch))
        rows.append(LayerCounts(layer, learnable, stored, *per))
    stored_params = sum(row.stored_params for row in rows)
    activation_bytes = FLOAT_BYTES * (activations + scalars)
    return Counts(
        batch=batch,
        learnable_params=sum(row.learnable_params for row in rows),
        stored_params=stored_params,
        fixed_params=fixed_params,
        macs=per_image(macs, batch),
        fixed_macs=per_image(fixed_macs, batch),
        flops=per_image(2 * macs, batch),
        total_flops=per_image(2 * (macs + fixed_macs) + ops, batch),
        activations=per_image(activations, batch),
        activation_bytes=activation_bytes,
        peak_bytes=_peak(net, owner, sizes),
        weight_bytes=FLOAT_BYTES * stored_params,
        train_bytes=3 * FLOAT_BYTES * stored_params + 2 * activation_bytes,
        caffe_data_bytes=FLOAT_BYTES * _caffe_data(net, sizes),
        pynetbuilder_params=sum(layer.params[0].size for layer in ancestral),
        pynetbuilder_flops=sum(_pynetbuilder_flops(layer) for layer in ancestral),
        layers=tuple(rows),
        uncounted=tuple(layer for layer in net.layers if layer.unknown),
    )


def totals(counts: Counts) -> dict[str, int | float]:
    """The net's figures by name, in the order of `Counts`."""
    return {
        name: getattr(counts, name) for name in Counts._fields if name not in ("batch", "layers", "uncounted")
    }


def add_up(rows: Iterable[LayerCounts]) -> dict[str, int | float]:
    """The `LAYER_FIGURES` of some layers together, of what is known of them."""
    rows = tuple(rows)
    return {name: exact(sum(getattr(row, name) for row in rows)) for name in LAYER_FIGURES}


def exact(value: int | float) -> int | float:
    """A whole number as an int: fractions per image may add up to one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def batch_size(net: Net) -> int:
    """Axis 0 of the first input that has one; 1 if there is none."""
    for blob in net.inputs:
        if blob.shape:
            return max(1, blob.shape[0])
    return 1


def per_image(total: int, batch: int) -> int | float:
    """Exact where it divides; a layer that does not grow with the batch may leave a fraction."""
    return total // batch if total % batch == 0 else total / batch


def _params(layer: Layer) -> tuple[int, int, int]:
    """How many parameters of its own a layer may learn, stores, and has in fixed filters."""
    learnable = stored = fixed = 0
    for p in layer.params:
        if p.shared_with is None:
            size = p.size
            stored += size
            if p.learnable:
                learnable += size
            if p.fixed_filter:
                fixed += size
    return learnable, stored, fixed


def _pynetbuilder_flops(layer: Layer) -> int:
    size = layer.params[0].size
    if layer.type != "Convolution":
        return size
    return size * elements((layer.tops[0].shape or ())[2:])


def _sizes(net: Net) -> dict[Blob, int]:
    """The elements of each blob; of an unknown one 1, which nobody is to use."""
    sizes = {top: elements(top.shape or ()) for layer in net.layers for top in layer.tops}
    for layer in net.layers:
        if layer.type == "Input" and layer.tops[0].shape == () and not layer.proto.input_param.shape:
            sizes.update(dict.fromkeys(layer.tops, 0))  # Caffe leaves it without a shape, and empty
    return sizes


def storage(net: Net) -> dict[Blob, Blob]:
    """Which blob's memory each blob lives in: its own, or that of the bottom it overwrites or refers to."""
    owner: dict[Blob, Blob] = {}
    for layer in net.layers:
        bottoms, tops = layer.bottoms, layer.tops
        rule = RULES.get(layer.type)
        shares = rule.traits.shares if rule else Shares.NEVER
        alias = shares is Shares.ALWAYS or (shares is Shares.ALONE and len(bottoms) == len(tops) == 1)
        for i, top in enumerate(tops):
            if i < len(bottoms) and bottoms[i].name == top.name:
                owner[top] = owner[bottoms[i]]
            elif alias and bottoms:
                owner[top] = owner[bottoms[0]]
            else:
                owner[top] = top
    return owner


def _peak(net: Net, owner: dict[Blob, Blob], sizes: dict[Blob, int]) -> int:
    last_use: dict[Blob, int] = {}
    for i, layer in enumerate(net.layers):
        for blob in layer.bottoms:
            last_use[owner[blob]] = i
        for blob in layer.tops:
            last_use[owner[blob]] = i
    for blob in net.outputs:
        last_use[owner[blob]] = len(net)
    freed = [0] * (len(net) + 1)
    for blob, i in last_use.items():
        if blob.shape is not None:
            freed[i] += sizes[blob]
    alive = peak = 0
    for i, layer in enumerate(net.layers):
        for top in layer.tops:
            if owner[top] is top and top.shape is not None:
                alive += sizes[top]
        peak = max(peak, alive)
        alive -= freed[i]
    return FLOAT_BYTES * peak


def _caffe_data(net: Net, sizes: dict[Blob, int]) -> int:
    """The elements of all tops that Caffe has, as it counts them. Source: net.cpp, Init; insert_splits.cpp.

    A blob of several readers is the bottom of a Split with a top for each; a loss weight that the file gives
    reads too. A loss that names no top gets one, a scalar.
    """
    readers: dict[Blob, int] = {}
    total = 0
    for layer in net.layers:
        for blob in layer.bottoms:
            readers[blob] = readers.get(blob, 0) + 1
        proto: Any = layer.proto
        for weight, blob in zip(proto.loss_weight, layer.tops, strict=False):
            if weight:
                readers[blob] = readers.get(blob, 0) + 1
        if not layer.tops:
            rule = RULES.get(layer.type)
            total += bool(rule and rule.auto_top)
    for blob, size in sizes.items():
        if blob.shape is not None:
            n = readers.get(blob, 0)
            total += size * (1 + n) if n > 1 else size
    return total
