"""Parameters, operations and memory of a finished net, each by a named convention.

Operations and activations are per image: the whole batch's figure divided by the batch size, which is
axis 0 of the net's first input. Memory is for the whole batch. Nothing is a silent zero: layers that
could not be counted are listed in `uncounted`, and their figures are None.

`docs/counting.md` explains every figure; reports only print what is computed here. Windows and receptive
fields are in `netbuilder.measure.geometry`, blocks in `netbuilder.measure.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from netbuilder.layers import RULES, Shape
from netbuilder.layers.traits import Shares
from netbuilder.measure.pieces import Cost, Ledger
from netbuilder.net import Blob, Layer, Net, Param

__all__ = [
    "FIGURES",
    "LAYER_FIGURES",
    "TOTALS",
    "Counts",
    "LayerCounts",
    "add_up",
    "alive_elements",
    "batch_size",
    "cost_of_layer",
    "cost_of_net",
    "count",
    "figures",
    "per_image",
    "shares_memory",
    "totals",
]

FLOAT_BYTES = 4
_NEVER, _ALONE, _ALWAYS = Shares.NEVER, Shares.ALONE, Shares.ALWAYS  # looked up once: enums are slow

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

    As in `Counts`, `macs` and `flops` are without those of a fixed filter, which are in `total_flops`.
    What is not known is 0 here, so that sums are those of what is known; `figure` gives None for it.
    """

    layer: Layer
    learnable_params: int
    stored_params: int
    macs: int | float
    ops: int | float
    activations: int | float
    fixed_macs: int | float = 0

    @property
    def flops(self) -> int | float:
        """Two per MAC."""
        return 2 * self.macs

    @property
    def total_flops(self) -> int | float:
        """Two per MAC, and every other operation."""
        return 2 * (self.macs + self.fixed_macs) + self.ops

    @property
    def shared_with(self) -> tuple[str, ...]:
        """The layers that own parameters of this one."""
        return tuple(dict.fromkeys(p.shared_with for p in self.layer.params if p.shared_with))

    def figure(self, name: str) -> int | float | None:
        """One of `LAYER_FIGURES`, None if nothing is known of it; see `is_partial`."""
        if name == "activations":
            known = not self.layer.tops or any(t.shape is not None for t in self.layer.tops)
        else:
            known = not self.layer.unknown
        value: int | float = getattr(self, name)
        return value if known else None

    def is_partial(self, name: str) -> bool:
        """Whether a figure has only what is known: the labels of images whose size is not."""
        return name == "activations" and any(t.shape is None for t in self.layer.tops)


class Counts(NamedTuple):
    """The figures of a net; where `uncounted` is not empty they are what is known, and at least that.

    learnable_params    what the solver may change: weights, biases, gammas, betas
    stored_params       every number in the .caffemodel, BatchNorm statistics and fixed filters included
    fixed_params        weights of fixed filters (frozen, with a bilinear filler or a constant other than 0)
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


# The totals of `Counts`, in its order.
TOTALS = tuple(name for name in Counts._fields if name not in ("batch", "layers", "uncounted"))
# The figures that a sweep may name: the totals and three more. `working_bytes` is the largest working set of
# a layer, `depth` the most layers with learned weights on any path, `layers` the number of layers.
FIGURES = (*TOTALS, "working_bytes", "depth", "layers")


def count(net: Net) -> Counts:
    """Count a net; see `Counts` for what each figure means."""
    batch = batch_size(net)
    ledger = _ledger(net)
    known = figures(ledger.total())
    rows = []
    for layer, sums in zip(net.layers, ledger.sums, strict=True):
        learnable, stored, _, macs, fixed_macs, ops, activations, *_ = sums
        if batch == 1:
            rows.append(LayerCounts(layer, learnable, stored, macs, ops, activations, fixed_macs))
        else:
            rows.append(
                LayerCounts(
                    layer, learnable, stored, per_image(macs, batch), per_image(ops, batch),
                    per_image(activations, batch), per_image(fixed_macs, batch),
                )
            )  # fmt: skip
    return Counts(
        batch,
        *[known[name] for name in TOTALS],  # type: ignore[arg-type, misc]  # bytes are integers
        layers=tuple(rows),
        uncounted=tuple(layer for layer in net.layers if layer.unknown),
    )


def figures(cost: Cost) -> dict[str, int | float]:
    """The `FIGURES` of a net of this cost."""
    s, batch = cost.sums, max(1, cost.batch)
    activation_bytes = FLOAT_BYTES * (s.activations + s.scalars)
    return {
        "learnable_params": s.learnable_params,
        "stored_params": s.stored_params,
        "fixed_params": s.fixed_params,
        "macs": per_image(s.macs, batch),
        "fixed_macs": per_image(s.fixed_macs, batch),
        "flops": per_image(2 * s.macs, batch),
        "total_flops": per_image(2 * (s.macs + s.fixed_macs) + s.ops, batch),
        "activations": per_image(s.activations, batch),
        "activation_bytes": activation_bytes,
        "peak_bytes": FLOAT_BYTES * cost.peak,
        "weight_bytes": FLOAT_BYTES * s.stored_params,
        "train_bytes": 3 * FLOAT_BYTES * s.stored_params + 2 * activation_bytes,
        "caffe_data_bytes": FLOAT_BYTES * s.data,
        "pynetbuilder_params": s.pynetbuilder_params,
        "pynetbuilder_flops": s.pynetbuilder_flops,
        "working_bytes": FLOAT_BYTES * cost.working,
        "depth": cost.deepest[-1],
        "layers": s.layers,
    }


def cost_of_net(net: Net) -> Cost:
    """The cost of a whole net."""
    return _ledger(net).total()


def cost_of_layer(layer: Layer) -> Cost:
    """The cost of a layer; its slots are its bottoms, each once, then its tops."""
    distinct = tuple(dict.fromkeys(layer.bottoms))
    numbers = {blob: i for i, blob in enumerate(distinct)}
    ledger = Ledger([blob.shape or () for blob in distinct])
    entry = _entry(layer)
    begin = _enter(ledger, entry, [numbers[blob] for blob in layer.bottoms])
    return ledger.total(range(begin, begin + len(layer.tops)))


def alive_elements(net: Net) -> list[int]:
    """How many elements of blobs are alive while each layer runs, as `peak_bytes` has them."""
    return _ledger(net).levels


def shares_memory(layer: Layer, top: int) -> bool:
    """Whether a top lives in the memory of a bottom: in place, or by reference."""
    in_place = layer.in_place and top < len(layer.bottoms)
    return _refers(layer) or (in_place and layer.bottoms[top].name == layer.tops[top].name)


def _ledger(net: Net) -> Ledger:
    """A ledger of all layers."""
    ledger = Ledger()
    numbers: dict[Blob, int] = {}  # in the ledger
    entries: dict[int, _Entry] = {}  # by the kind of layer
    for layer in net.layers:
        bottoms = layer.bottoms  # its kind does not say whether two of them are one
        alike = len(bottoms) < 2 or len(set(bottoms)) == len(bottoms)
        entry = entries.get(id(layer.kind)) if alike else None
        if entry is None:
            entry = _entry(layer)
            if layer.kind is not None and alike:
                entries[id(layer.kind)] = entry
        number = _enter(ledger, entry, [numbers[blob] for blob in bottoms])
        for top in layer.tops:
            numbers[top] = number
            number += 1
    return ledger


class _Entry(NamedTuple):
    """What `Ledger.layer` takes besides the blobs of a layer's bottoms."""

    sums: tuple[int, ...]
    weight: int
    tops: list[tuple[Shape | None, int, int, int]]
    overwrites: list[int]
    batch: int
    working: int


def _enter(ledger: Ledger, entry: _Entry, numbers: list[int]) -> int:
    """Enter a layer on the blobs of these numbers; return the number of its first top."""
    sums, weight, tops, overwrites, batch, working = entry
    return ledger.layer(sums, weight, numbers, tops, overwrites, batch, working)


def _entry(layer: Layer) -> _Entry:
    """What a ledger takes of a layer, the same for all layers of its kind without a bottom twice."""
    bottoms = len(layer.bottoms)
    params, macs, loss_weight = layer.params, layer.macs, layer.proto.loss_weight
    learnable = stored = fixed_params = fixed_macs = ancestral = ancestral_flops = activations = scalars = 0
    working = sum([prod(blob.shape) for blob in dict.fromkeys(layer.bottoms) if blob.shape])
    weight = 1 if macs > 0 else 0
    if params:
        learnable, stored, fixed_params, fixed = _params(params)
        working += sum([prod(param.shape) for param in params])
        if fixed:
            weight, macs, fixed_macs = 0, 0, macs
        else:
            ancestral, ancestral_flops = _ancestral(layer)
    over, alias, losses = layer.in_place, _refers(layer), len(loss_weight)
    tops, overwrites = [], []
    for i, top in enumerate(layer.tops):
        shape, home = top.shape, -1
        size = 0 if shape is None or (not bottoms and _unshaped(layer)) else prod(shape)
        if over and i < bottoms and layer.bottoms[i].name == top.name:
            home = i
            overwrites.append(i)
        elif alias:
            home = 0
        elif shape:
            activations += size
        else:
            scalars += size
        tops.append((shape, size, home, 1 if i < losses and loss_weight[i] else 0))
    sums = (
        learnable, stored, fixed_params, macs, fixed_macs, layer.ops, activations, scalars,
        ancestral, ancestral_flops, 0 if tops else _auto_tops(layer), 1,
    )  # fmt: skip
    batch = 0 if bottoms else _batch(layer)
    return _Entry(sums, weight, tops, overwrites, batch, working + activations + scalars)


def totals(counts: Counts) -> dict[str, int | float]:
    """The net's figures by name, in the order of `Counts`."""
    return {name: getattr(counts, name) for name in TOTALS}


def add_up(rows: Iterable[LayerCounts], batch: int) -> dict[str, int | float]:
    """The `LAYER_FIGURES` and `fixed_macs` of some layers together, of what is known of them."""
    rows = tuple(rows)
    names = (*LAYER_FIGURES, "fixed_macs")
    return {name: _exact(sum(getattr(row, name) for row in rows), batch) for name in names}


def _exact(value: int | float, batch: int) -> int | float:
    """A sum of fractions per image, each of which was rounded."""
    return value if isinstance(value, int) else per_image(round(value * batch), batch)


def batch_size(net: Net) -> int:
    """Axis 0 of the first input that has one; 1 if there is none."""
    return next((batch for layer in net.layers if (batch := _batch(layer))), 1)


def per_image(total: int, batch: int) -> int | float:
    """Exact where it divides; a layer that does not grow with the batch may leave a fraction."""
    if batch == 1:
        return total
    return total // batch if total % batch == 0 else total / batch


def _params(params: tuple[Param, ...]) -> tuple[int, int, int, bool]:
    """How many own parameters a layer may learn, stores, has in fixed filters; whether it has any filter."""
    learnable = stored = fixed = 0
    filters = False
    for shape, _, learns, is_fixed, shared_with in params:
        filters = filters or is_fixed
        if shared_with is None:
            size = prod(shape)
            stored += size
            if learns:
                learnable += size
            if is_fixed:
                fixed += size
    return learnable, stored, fixed, filters


def _ancestral(layer: Layer) -> tuple[int, int]:
    """The parameters and operations of a layer, as pynetbuilder counts them."""
    size = prod(layer.params[0].shape)
    if layer.type != "Convolution":
        return size, size
    return size, size * prod((layer.tops[0].shape or ())[2:])


def _batch(layer: Layer) -> int:
    """Axis 0 of the first top that has one, if the layer is an input; else 0."""
    if layer.bottoms:
        return 0
    return next((max(1, top.shape[0]) for top in layer.tops if top.shape), 0)


def _refers(layer: Layer) -> bool:
    """Whether tops that have a name of their own live in the memory of the first bottom."""
    rule = RULES.get(layer.type)
    shares = rule.traits.shares if rule and layer.bottoms else _NEVER
    if shares is _NEVER:
        return False
    return shares is _ALWAYS or (shares is _ALONE and len(layer.bottoms) == len(layer.tops) == 1)


def _unshaped(layer: Layer) -> bool:
    """Whether Caffe leaves the tops without a shape, and empty."""
    return layer.type == "Input" and layer.tops[0].shape == () and not layer.proto.input_param.shape


def _auto_tops(layer: Layer) -> int:
    """How many tops Caffe adds, each a scalar: a loss that names no top gets one."""
    rule = RULES.get(layer.type)
    return int(rule is not None and rule.auto_top)
