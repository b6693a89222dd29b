"""Parameters, operations and memory of a finished net, each by a named convention.

Operations and activations are per image: the whole batch's figure divided by the batch size, which is
axis 0 of the net's first input. Memory is for the whole batch. Nothing is a silent zero: layers that
could not be counted are listed in `uncounted`, and their figures are None.

`docs/counting.md` explains every figure; reports only print what is computed here. Windows and receptive
fields are in `netbuilder.measure.geometry`, blocks in `netbuilder.measure.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netbuilder.layers import RULES, elements
from netbuilder.layers.traits import Shares
from netbuilder.measure.pieces import NO_PATH, Cost, Ledger, Step, Sums, Top
from netbuilder.net import Blob, Layer, Net

__all__ = [
    "FIGURES",
    "LAYER_FIGURES",
    "TOTALS",
    "Counts",
    "LayerCounts",
    "add_up",
    "batch_size",
    "cost_of_layer",
    "cost_of_net",
    "count",
    "exact",
    "figures",
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


# The totals of `Counts`, in its order.
TOTALS = tuple(name for name in Counts._fields if name not in ("batch", "layers", "uncounted"))
# The figures that a sweep may name: the totals and two more. `depth` is the most layers with learned weights
# on any path, `layers` the number of layers.
FIGURES = (*TOTALS, "depth", "layers")


def count(net: Net) -> Counts:
    """Count a net; see `Counts` for what each figure means."""
    batch = batch_size(net)
    costs, total = _costs(net)
    known = figures(total)
    rows = []
    for layer, cost in zip(net.layers, costs, strict=True):
        learnable, stored, _, macs, fixed_macs, ops, activations, *_ = cost.sums
        rows.append(
            LayerCounts(
                layer, learnable, stored, per_image(macs + fixed_macs, batch), per_image(ops, batch),
                per_image(activations, batch),
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
        "depth": cost.deepest[-1],
        "layers": s.layers,
    }


def cost_of_net(net: Net) -> Cost:
    """The cost of a whole net."""
    return _costs(net)[1]


# Of a layer without weights and of one with: from its one bottom, and from anywhere.
_THROUGH = ((0, NO_PATH), (1, NO_PATH))


def cost_of_layer(layer: Layer) -> Cost:
    """The cost of a layer; its slots are its bottoms, each once, then its tops."""
    bottoms, params, macs = layer.bottoms, layer.params, layer.macs
    learnable = stored = fixed_params = ancestral = ancestral_flops = fixed_macs = 0
    weight = 1 if macs > 0 else 0
    if params:
        learnable, stored, fixed_params, fixed = _params(layer)
        if fixed:
            weight, macs, fixed_macs = 0, 0, macs
        else:
            ancestral, ancestral_flops = params[0].size, _pynetbuilder_flops(layer)
    if len(bottoms) == 1 and len(layer.tops) == 1:
        return _cost_of_link(
            layer,
            weight,
            (learnable, stored, fixed_params, macs, fixed_macs, layer.ops),
            ancestral,
            ancestral_flops,
        )
    distinct = _distinct(bottoms)
    n = len(distinct)
    paths = (weight,) * n + (NO_PATH if n else weight,)
    tops, overwrites, made = [], [], []
    activations = scalars = 0
    weights = layer.proto.loss_weight
    for i, (top, home) in enumerate(zip(layer.tops, _homes(layer), strict=True)):
        size, slot = _size(layer, top), n + i
        if home is not None:
            slot = distinct.index(bottoms[home])
            if bottoms[home].name == top.name:
                overwrites.append(slot)
        else:
            made.append(slot)
            if top.shape:
                activations += size
            else:
                scalars += size
        tops.append(Top(top.shape, size, slot, 0, int(i < len(weights) and weights[i] != 0), paths))
    sums = Sums(
        learnable, stored, fixed_params, macs, fixed_macs, layer.ops, activations, scalars,
        ancestral, ancestral_flops, 0 if tops else _auto_tops(layer), 1,
    )  # fmt: skip
    reads = (1,) * n if n == len(bottoms) else tuple(map(bottoms.count, distinct))
    step = Step(activations + scalars, tuple(range(n)), tuple(made))
    return Cost(
        sums, tuple(tops), reads, tuple(overwrites), (step,), 0, (), () if tops else paths, _batch(layer)
    )


def _cost_of_link(
    layer: Layer,
    weight: int,
    known: tuple[int, int, int, int, int, int],
    ancestral: int,
    ancestral_flops: int,
) -> Cost:
    """The cost of a layer of one bottom and one top, as most are; `known` are the first of its `Sums`."""
    (bottom,), (top,) = layer.bottoms, layer.tops
    shape = top.shape
    size = 0 if shape is None else elements(shape)
    slot = new = 0
    overwrites: tuple[int, ...] = ()
    made: tuple[int, ...] = ()
    if bottom.name == top.name:
        overwrites = (0,)
    else:
        rule = RULES.get(layer.type)
        shares = rule.traits.shares if rule else Shares.NEVER
        if shares is not Shares.ALWAYS and shares is not Shares.ALONE:
            slot, new, made = 1, size, (1,)
    weights = layer.proto.loss_weight
    sums = Sums(*known, new if shape else 0, 0 if shape else new, ancestral, ancestral_flops, 0, 1)
    return Cost(
        sums, (Top(shape, size, slot, 0, 1 if weights and weights[0] else 0, _THROUGH[weight]),),
        (1,), overwrites, (Step(new, (0,), made),), 0, (), (), 0,
    )  # fmt: skip


def totals(counts: Counts) -> dict[str, int | float]:
    """The net's figures by name, in the order of `Counts`."""
    return {name: getattr(counts, name) for name in TOTALS}


def add_up(rows: Iterable[LayerCounts]) -> dict[str, int | float]:
    """The `LAYER_FIGURES` of some layers together, of what is known of them."""
    rows = tuple(rows)
    return {name: exact(sum(getattr(row, name) for row in rows)) for name in LAYER_FIGURES}


def exact(value: int | float) -> int | float:
    """A whole number as an int: fractions per image may add up to one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def batch_size(net: Net) -> int:
    """Axis 0 of the first input that has one; 1 if there is none."""
    return next((batch for layer in net.layers if (batch := _batch(layer))), 1)


def per_image(total: int, batch: int) -> int | float:
    """Exact where it divides; a layer that does not grow with the batch may leave a fraction."""
    if batch == 1:
        return total
    return total // batch if total % batch == 0 else total / batch


def _params(layer: Layer) -> tuple[int, int, int, bool]:
    """How many own parameters a layer may learn, stores, has in fixed filters; whether it has any filter."""
    learnable = stored = fixed = 0
    filters = False
    for shape, _, learns, is_fixed, shared_with in layer.params:
        filters = filters or is_fixed
        if shared_with is None:
            size = elements(shape)
            stored += size
            if learns:
                learnable += size
            if is_fixed:
                fixed += size
    return learnable, stored, fixed, filters


def _pynetbuilder_flops(layer: Layer) -> int:
    size = layer.params[0].size
    if layer.type != "Convolution":
        return size
    return size * elements((layer.tops[0].shape or ())[2:])


def storage(net: Net) -> dict[Blob, Blob]:
    """Which blob's memory each blob lives in: its own, or that of the bottom it overwrites or refers to."""
    owner: dict[Blob, Blob] = {}
    for layer in net.layers:
        for top, home in zip(layer.tops, _homes(layer), strict=True):
            owner[top] = top if home is None else owner[layer.bottoms[home]]
    return owner


def _costs(net: Net) -> tuple[list[Cost], Cost]:
    """The costs of the layers, and of all together."""
    ledger = Ledger()
    numbers: dict[Blob, int] = {}  # in the ledger
    costs = []
    for layer in net.layers:
        cost = cost_of_layer(layer)
        made = ledger.enter(cost, [numbers[blob] for blob in _distinct(layer.bottoms)])
        numbers.update(zip(layer.tops, made, strict=True))
        costs.append(cost)
    return costs, ledger.total()


def _distinct(blobs: tuple[Blob, ...]) -> tuple[Blob, ...]:
    return blobs if len(blobs) < 2 else tuple(dict.fromkeys(blobs))


def _batch(layer: Layer) -> int:
    """Axis 0 of the first top that has one, if the layer is an input; else 0."""
    if layer.bottoms:
        return 0
    return next((max(1, top.shape[0]) for top in layer.tops if top.shape), 0)


def _homes(layer: Layer) -> list[int | None]:
    """For each top, the bottom whose memory it takes over, in place or by reference; None for its own."""
    bottoms, tops = layer.bottoms, layer.tops
    if not bottoms:
        return [None] * len(tops)
    rule = RULES.get(layer.type)
    shares = rule.traits.shares if rule else Shares.NEVER
    alias = shares is Shares.ALWAYS or (shares is Shares.ALONE and len(bottoms) == len(tops) == 1)
    other = 0 if alias else None  # of a top that has a name of its own
    return [i if i < len(bottoms) and bottoms[i].name == top.name else other for i, top in enumerate(tops)]


def _size(layer: Layer, top: Blob) -> int:
    """The elements of a top; 0 if its shape is unknown."""
    if top.shape is None:
        return 0
    if layer.type == "Input" and layer.tops[0].shape == () and not layer.proto.input_param.shape:
        return 0  # Caffe leaves it without a shape, and empty
    return elements(top.shape)


def _auto_tops(layer: Layer) -> int:
    """How many tops Caffe adds, each a scalar: a loss that names no top gets one."""
    rule = RULES.get(layer.type)
    return int(rule is not None and rule.auto_top)
