"""Parameters, operations and memory of a finished net, each by a named convention.

Operations and activations are per image: the whole batch's figure divided by the batch size, which is
axis 0 of the net's first input. Memory is for the whole batch. Nothing is a silent zero: layers that
could not be counted are listed in `uncounted`.

`docs/counting.md` explains every figure; reports only print what is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from netbuilder.layers import elements
from netbuilder.net import Blob, Layer, Net

__all__ = ["Counts", "LayerCounts", "count"]

FLOAT_BYTES = 4
# Layers whose tops share the memory of their bottom in Caffe (reference, not copy).
_ALIASES = frozenset({"Split", "Reshape", "Flatten"})


@dataclass(frozen=True)
class LayerCounts:
    """The figures of one layer; operations and activations are per image."""

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


@dataclass(frozen=True)
class Counts:
    """The figures of a net.

    learnable_params    what the solver may change: weights, biases, gammas, betas
    stored_params       every number in the .caffemodel, BatchNorm statistics and fixed filters included
    fixed_params        weights of fixed filters (frozen, with a constant or bilinear filler)
    macs                multiply-accumulates of convolution, deconvolution, inner product, without fixed_macs
    fixed_macs          multiply-accumulates of fixed filters
    flops               2 x macs
    total_flops         2 x (macs + fixed_macs) + every other operation
    activations         elements of all blobs; a layer in place, or by reference, adds none
    activation_bytes    their memory, for the whole batch
    peak_bytes          most memory alive at once in a forward pass that frees each blob after its last use
    weight_bytes        memory of the stored parameters
    train_bytes         parameters, their gradients and one momentum, statistics included, as Caffe keeps
                        them; activations and their gradients
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
    pynetbuilder_params: int
    pynetbuilder_flops: int
    layers: tuple[LayerCounts, ...] = field(repr=False)
    uncounted: tuple[Layer, ...] = field(repr=False)


def count(net: Net) -> Counts:
    """Count a net; see `Counts` for what each figure means."""
    batch = _batch(net)
    rows = tuple(_count_layer(layer, batch) for layer in net.layers)
    fixed = [r for r in rows if any(p.fixed_filter for p in r.layer.params)]
    fixed_macs = _sum(r.macs for r in fixed)
    macs = _sum(r.macs for r in rows) - fixed_macs
    learnable = sum(r.learnable_params for r in rows)
    stored = sum(r.stored_params for r in rows)
    ancestral = [x for x in net.layers if x.params and not any(p.fixed_filter for p in x.params)]
    storage = _storage(net)
    activation_bytes = FLOAT_BYTES * sum(
        elements(b.shape or ()) for b, owner in storage.items() if b is owner
    )
    return Counts(
        batch=batch,
        learnable_params=learnable,
        stored_params=stored,
        fixed_params=sum(
            p.size for r in fixed for p in r.layer.params if p.fixed_filter and not p.shared_with
        ),
        macs=macs,
        fixed_macs=fixed_macs,
        flops=2 * macs,
        total_flops=_sum(r.total_flops for r in rows),
        activations=_sum(r.activations for r in rows),
        activation_bytes=activation_bytes,
        peak_bytes=_peak(net, storage),
        weight_bytes=FLOAT_BYTES * stored,
        train_bytes=3 * FLOAT_BYTES * stored + 2 * activation_bytes,
        pynetbuilder_params=sum(layer.params[0].size for layer in ancestral),
        pynetbuilder_flops=sum(_pynetbuilder_flops(layer) for layer in ancestral),
        layers=rows,
        uncounted=tuple(layer for layer in net.layers if layer.unknown),
    )


def _batch(net: Net) -> int:
    for blob in net.inputs:
        if blob.shape:
            return max(1, blob.shape[0])
    return 1


def _count_layer(layer: Layer, batch: int) -> LayerCounts:
    owned = [p for p in layer.params if p.shared_with is None]
    new = (
        0
        if layer.in_place or layer.type in _ALIASES
        else sum(elements(t.shape) for t in layer.tops if t.shape)
    )
    return LayerCounts(
        layer,
        learnable_params=sum(p.size for p in owned if p.learnable),
        stored_params=sum(p.size for p in owned),
        macs=_per_image(layer.macs, batch),
        ops=_per_image(layer.ops, batch),
        activations=_per_image(new, batch),
    )


def _per_image(total: int, batch: int) -> int | float:
    """Exact where it divides; a layer that does not grow with the batch may leave a fraction."""
    return total // batch if total % batch == 0 else total / batch


def _sum(values: object) -> int | float:
    return sum(values)  # type: ignore[call-overload, no-any-return]


def _pynetbuilder_flops(layer: Layer) -> int:
    size = layer.params[0].size
    if layer.type != "Convolution":
        return size
    return size * elements((layer.tops[0].shape or ())[2:])


def _storage(net: Net) -> dict[Blob, Blob]:
    """Which blob's memory each blob lives in: its own, or that of the bottom it overwrites or refers to."""
    owner: dict[Blob, Blob] = {}
    for layer in net.layers:
        for i, top in enumerate(layer.tops):
            bottom = layer.bottoms[i] if i < len(layer.bottoms) else None
            if bottom is not None and bottom.name == top.name:
                owner[top] = owner[bottom]
            elif layer.type in _ALIASES:
                owner[top] = owner[layer.bottoms[0]]
            else:
                owner[top] = top
    return owner


def _peak(net: Net, storage: dict[Blob, Blob]) -> int:
    last_use: dict[Blob, int] = {}
    for i, layer in enumerate(net.layers):
        for blob in (*layer.bottoms, *layer.tops):
            last_use[storage[blob]] = i
    for blob in net.outputs:
        last_use[storage[blob]] = len(net)
    freed_after: dict[int, list[Blob]] = {}
    for blob, i in last_use.items():
        freed_after.setdefault(i, []).append(blob)
    alive = peak = 0
    for i, layer in enumerate(net.layers):
        alive += sum(elements(t.shape or ()) for t in layer.tops if storage[t] is t)
        peak = max(peak, alive)
        alive -= sum(elements(b.shape or ()) for b in freed_after.get(i, ()))
    return FLOAT_BYTES * peak


def totals(counts: Counts) -> dict[str, int | float]:
    """The net's figures by name, in the order of `Counts`."""
    names: Sequence[str] = [
        n for n in Counts.__dataclass_fields__ if n not in ("batch", "layers", "uncounted")
    ]
    return {name: getattr(counts, name) for name in names}
