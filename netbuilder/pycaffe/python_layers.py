"""Layers written in Python within nets of ours: their objects, their shapes, their operators.

Making such a net imports and executes the modules that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.graph import PHASES, Param
from netbuilder.layers import is_source
from netbuilder.net import Layer, Net
from netbuilder.pycaffe.blob import Blob
from netbuilder.pycaffe.layer import made
from netbuilder.pycaffe.memory import ParamMemory

__all__ = ["PythonNet", "PythonOperator", "with_python_layers"]

_RUNS_IN_PYTHON = "it runs in Python"


class PythonNet(Net):
    """A net whose Python layers have their shapes. `operators` makes what computes them, for a NetModule.

    `instances` are the objects of these layers, `seen` the blobs by name that their `setup` saw.
    """

    instances: dict[Layer, Any]
    seen: dict[str, Blob]

    @property
    def operators(self) -> dict[str, Callable[[Layer, str], Operator]]:
        """What makes the operator of a layer and a phase, by layer type."""
        return {"Python": partial(_operator, self.instances)}


def _operator(instances: dict[Layer, Any], layer: Layer, phase: str) -> Operator:
    return PythonOperator(layer, phase, instances[layer])


def with_python_layers(net: Net) -> Net:
    """The net with the shapes that its Python layers give, or itself if it has none.

    Raises what importing and making the user's classes raises, and NetBuilderError as `Net.append` does.
    """
    if not any(layer.type == "Python" for layer in net):
        return net
    whole = PythonNet(net.name, net.phase, dialect="any")
    whole.proto.CopyFrom(net.proto)
    whole.instances, whole.seen = {}, {}
    for layer in net:
        shapes = [top.shape for top in layer.tops]
        if layer.type == "Python":
            added = _set_up(whole, layer)
        elif is_source(layer.proto) and None not in shapes:
            given = [shape or () for shape in shapes]
            added = whole.append(layer.proto, origin=layer.origin, top_shapes=given)
        else:
            added = whole.append(layer.proto, origin=layer.origin)
        for top in added.tops:
            if top.name not in whole.seen and top.shape is not None:
                whole.seen[top.name] = Blob(top.shape)
    return whole


def _set_up(net: PythonNet, layer: Layer) -> Layer:
    """Make the object of a Python layer, let it shape its tops, and append the layer with these shapes."""
    proto = layer.proto
    phase = proto.phase if proto.HasField("phase") else PHASES.index(net.phase)
    instance = made(proto, phase)
    bottoms = [net.seen[name] for name in proto.bottom]
    tops = [net.seen.setdefault(name, Blob()) for name in proto.top]
    instance.setup(bottoms, tops)
    instance.reshape(bottoms, tops)
    shapes = [top.axes for top in tops]
    added = net.append(proto, origin=layer.origin, top_shapes=shapes, unknown=_RUNS_IN_PYTHON)
    for top, shape in zip(added.tops, shapes, strict=True):
        top.shape = shape
    added.unknown = ""
    added.params = tuple(Param(blob.axes, "weight", learnable=True) for blob in instance.blobs)
    net.instances[added] = instance
    return added


class PythonOperator(Operator):
    """A Python layer; `instance` is the user's object, whose blobs become views of the parameters.

    A net of `netbuilder.pycaffe` calls the object itself; a NetModule runs it with blobs of its own.
    """

    def __init__(self, layer: Layer, phase: str, instance: Any) -> None:
        super().__init__(layer, phase)
        self.instance = instance
        for i, blob in enumerate(instance.blobs):
            self.blob(i).data = blob.data_memory.tensor(blob.axes).detach()
            blob.data_memory = ParamMemory(self, i)
        self._bottoms = [Blob() for _ in layer.bottoms]
        self._tops = [Blob() for _ in layer.tops]

    def forward(self, *bottoms: Tensor) -> Tops:
        """Let the object compute the tops; its `backward` gives their gradient."""
        params = [self.blob(i) for i in range(self.number)]
        tops: tuple[Tensor, ...] = _Run.apply(self, *bottoms, *params)  # type: ignore[no-untyped-call]
        return tops

    def compute(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tops."""
        for blob, value in zip(self._bottoms, bottoms, strict=True):
            blob.reshape(*value.shape)
            blob.data_memory.put(value.detach())
        self.instance.reshape(self._bottoms, self._tops)
        self.instance.forward(self._bottoms, self._tops)
        where = bottoms[0].device if bottoms else torch.device("cpu")
        return tuple(top.data_memory.tensor(top.axes).clone().to(where) for top in self._tops)

    def differentiate(self, diffs: Sequence[Tensor], needs: Sequence[bool]) -> Iterable[Tensor | None]:
        """The gradients of the bottoms and the parameters that are asked for, from those of the tops."""
        blobs = [*self._bottoms, *self.instance.blobs]
        for top, diff in zip(self._tops, diffs, strict=True):
            top.diff_memory.put(diff.clone())
        for blob in self.instance.blobs:
            blob.diff_memory.fill(0.0, blob.axes)
        self.instance.backward(self._tops, list(needs[: len(self._bottoms)]), self._bottoms)
        for blob, need in zip(blobs, needs, strict=True):
            yield blob.diff_memory.tensor(blob.axes).clone().to(diffs[0].device) if need else None


class _Run(torch.autograd.Function):
    """A Python layer in a graph of gradients: of an operator, its bottoms and its parameters."""

    @staticmethod
    def forward(ctx, operator, *given):  # type: ignore[no-untyped-def]
        ctx.operator = operator
        return operator.compute(given[: len(given) - operator.number])

    @staticmethod
    def backward(ctx, *diffs):  # type: ignore[no-untyped-def]
        return (None, *ctx.operator.differentiate(diffs, ctx.needs_input_grad[1:]))
