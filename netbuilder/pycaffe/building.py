"""A net of ours as a `Graph`: its layers as Caffe runs them, with the Splits that Caffe inserts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from netbuilder.checks.backward import Step, backward
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.data import Input
from netbuilder.graph import PHASES, Param
from netbuilder.layers import RULES, is_source, of_layer
from netbuilder.layers.traits import Diff, Shares
from netbuilder.net import Layer, Net
from netbuilder.pycaffe import entries
from netbuilder.pycaffe.blob import Blob, BlobVec
from netbuilder.pycaffe.entries import Entry
from netbuilder.pycaffe.layer import PythonOperator, made
from netbuilder.pycaffe.memory import Memory, ParamMemory
from netbuilder.pycaffe.modes import device, draw_seed

__all__ = ["Graph", "build"]

_RUNS_IN_PYTHON = "it runs in Python"


@dataclass
class Graph:
    """The entries of a net in the order in which they run, and its blobs in the order in which they are made.

    `module` computes whole passes at once; it has the same parameters. `weights` are the loss weights of the
    blobs, `diffs` the diffs of the parameters, by the id of the tensor.
    """

    net: Net
    module: NetModule
    entries: list[Entry]
    names: list[str]
    blobs: list[Blob]
    weights: list[float]
    inputs: list[int]
    outputs: list[int]
    bottom_ids: list[list[int]]
    top_ids: list[list[int]]
    diffs: dict[int, Memory]


def build(net: Net) -> Graph:
    """Make the layers of a net, and the objects of those written in Python.

    Raises EngineError for a layer that cannot be computed, and what the user's classes raise.
    """
    net, python, there = _with_python(net)
    module = NetModule(net, seed=draw_seed(), others={"Python": partial(_python, python)}).to(device())
    operators = dict(zip(net.layers, module.operators().values(), strict=True))
    return _Builder(net, module, there).graph(backward(net), operators)


def _python(instances: Mapping[Layer, Any], layer: Layer, phase: str) -> Operator:
    return PythonOperator(layer, phase, instances[layer])


def _with_python(net: Net) -> tuple[Net, dict[Layer, Any], dict[str, Blob]]:
    """The net with the shapes that its Python layers give: their objects by layer, and the blobs they saw."""
    if not any(layer.type == "Python" for layer in net):
        return net, {}, {}
    whole = Net(net.name, net.phase, dialect="any")
    whole.proto.CopyFrom(net.proto)
    instances: dict[Layer, Any] = {}
    blobs: dict[str, Blob] = {}
    for layer in net:
        shapes = [top.shape for top in layer.tops]
        if layer.type == "Python":
            added, instances_of = _set_up(whole, layer, blobs)
            instances[added] = instances_of
        elif is_source(layer.proto) and None not in shapes:
            added = whole.append(
                layer.proto, origin=layer.origin, top_shapes=[shape or () for shape in shapes]
            )
        else:
            added = whole.append(layer.proto, origin=layer.origin)
        for top in added.tops:
            if top.name not in blobs and top.shape is not None:
                blobs[top.name] = Blob(top.shape)
    return whole, instances, blobs


def _set_up(net: Net, layer: Layer, blobs: dict[str, Blob]) -> tuple[Layer, Any]:
    """Make the object of a Python layer, let it shape its tops, and append the layer with these shapes."""
    proto = layer.proto
    phase = proto.phase if proto.HasField("phase") else PHASES.index(net.phase)
    instance = made(proto, phase)
    bottoms = [blobs[name] for name in proto.bottom]
    tops = [blobs.setdefault(name, Blob()) for name in proto.top]
    instance.setup(bottoms, tops)
    instance.reshape(bottoms, tops)
    shapes = [top.axes for top in tops]
    added = net.append(proto, origin=layer.origin, top_shapes=shapes, unknown=_RUNS_IN_PYTHON)
    for top, shape in zip(added.tops, shapes, strict=True):
        top.shape = shape
    added.unknown = ""
    added.params = tuple(Param(blob.axes, "weight", learnable=True) for blob in instance.blobs)
    return added, instance


class _Builder:
    """The blobs and the entries of a net, made layer by layer."""

    def __init__(self, net: Net, module: NetModule, there: dict[str, Blob]) -> None:
        self._net, self._module, self._there = net, module, there
        self._params: dict[int, tuple[ParamMemory, Memory]] = {}  # by the id of the parameter
        self._names: list[str] = []
        self._blobs: list[Blob] = []
        self._weights: list[float] = []
        self._last: dict[str, int] = {}  # the number of each blob by name

    def graph(self, steps: list[Step], operators: dict[Layer, Operator]) -> Graph:
        """The graph of these steps of Caffe's."""
        made: list[Entry] = []
        bottom_ids, top_ids, inputs = [], [], []
        for step in steps:
            operator = None if step.layer is None else operators[step.layer]
            bottoms = [self._last[name] for name in step.bottoms]
            tops = [self._top(step, i, bottoms, operator) for i in range(len(step.tops))]
            for number, weight in zip(tops, step.losses, strict=False):
                self._weights[number] = weight
            if isinstance(operator, Input) and self._type(step) == "Input":
                inputs += tops
            bottom_ids.append(bottoms)
            top_ids.append(tops)
            made.append(self._entry(step, operator, bottoms, tops))
        read = {number for numbers in bottom_ids for number in numbers}
        # Source: net.cpp, Init: what nothing reads, by name. A top in place is written after it was read.
        unread = [
            n for n in self._last.values() if n not in read or self._written_last(n, bottom_ids, top_ids)
        ]
        outputs = sorted(unread, key=lambda n: self._names[n].encode())
        return Graph(
            self._net, self._module, made, self._names, self._blobs, self._weights, inputs, outputs,
            bottom_ids, top_ids, {key: diff for key, (_, diff) in self._params.items()},
        )  # fmt: skip

    @staticmethod
    def _written_last(number: int, bottoms: list[list[int]], tops: list[list[int]]) -> bool:
        """Whether the last layer that has the blob writes it."""
        last = max(i for i, own in enumerate(tops) if number in own)
        return not any(number in own for own in bottoms[last + 1 :])

    def _type(self, step: Step) -> str:
        return "Split" if step.layer is None else step.layer.type

    def _top(self, step: Step, i: int, bottoms: list[int], operator: Operator | None) -> int:
        """The number of a top; the blob is made unless the layer works in place."""
        name = step.tops[i]
        if i < len(bottoms) and step.bottoms[i] == name:
            return bottoms[i]
        shape = self._shape(step, i, bottoms)
        blob = self._there.get(name) or Blob(shape)
        data, diff = self._shared(step, bottoms, operator)
        blob.data_memory = data or blob.data_memory
        blob.diff_memory = diff or blob.diff_memory
        self._names.append(name)
        self._blobs.append(blob)
        self._weights.append(0.0)
        self._last[name] = len(self._blobs) - 1
        return self._last[name]

    def _shape(self, step: Step, i: int, bottoms: list[int]) -> tuple[int, ...]:
        if step.layer is None:
            return self._blobs[bottoms[0]].axes
        return (step.layer.tops[i].shape or ()) if i < len(step.layer.tops) else ()

    def _shared(
        self, step: Step, bottoms: list[int], operator: Operator | None
    ) -> tuple[Memory | None, Memory | None]:
        """The memory that the data and the diff of a top share with another blob."""
        if step.layer is not None and step.layer.type == "Parameter":
            assert operator is not None
            return self._param(operator, 0)
        data, diff = _shares(step)
        bottom = self._blobs[bottoms[0]] if data else None
        return bottom.data_memory if bottom else None, bottom.diff_memory if bottom and diff else None

    def _param(self, operator: Operator, i: int) -> tuple[ParamMemory, Memory]:
        owner, j = operator.origin(i)
        key = id(owner.blob(j))
        if key not in self._params:
            self._params[key] = ParamMemory(owner, j), Memory()
        return self._params[key]

    def _entry(self, step: Step, operator: Operator | None, bottoms: list[int], tops: list[int]) -> Entry:
        blobs = BlobVec()
        if operator is not None:
            for i in range(operator.number):
                data, diff = self._param(operator, i)
                blobs.append(Blob(tuple(operator.blob(i).shape), data, diff))
        parts = step, operator, [self._blobs[n] for n in bottoms], [self._blobs[n] for n in tops], blobs
        if isinstance(operator, PythonOperator):
            operator.instance.__dict__["_blobs"] = blobs
            return entries.Python(*parts)
        if step.layer is None:
            return entries.Split(*parts)
        if step.layer.type in ("Input", "Parameter"):
            return entries.Given(*parts)
        if step.layer.type == "DummyData":
            return entries.Dummy(*parts)
        if step.layer.type == "MemoryData":
            return entries.Rows(*parts)
        if is_source(step.layer.proto):
            return entries.Fed(*parts)
        shared, lends = _shares(step)
        return entries.Shared(*parts, lends=lends) if shared else entries.Computed(*parts)


def _shares(step: Step) -> tuple[bool, bool]:
    """Whether the tops have the data of the bottom, and its diff."""
    if step.layer is None:
        return True, False
    rule = RULES.get(step.layer.type)
    if rule is None:
        return False, False
    shares = of_layer(rule.traits.shares, step.layer.proto, Shares.NEVER)
    alone = len(step.bottoms) == len(step.tops) == 1
    data = alone and shares is not Shares.NEVER and step.bottoms[0] != step.tops[0]
    return data, data and of_layer(rule.traits.diff, step.layer.proto, Diff.OWN) is not Diff.OWN
