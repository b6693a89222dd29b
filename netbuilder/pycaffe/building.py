"""A net of ours as a `Graph`: its layers as Caffe runs them, with the Splits that Caffe inserts."""

from __future__ import annotations

from dataclasses import dataclass

from netbuilder.checks.backward import Step, backward
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.data import Input
from netbuilder.layers import RULES, is_source, of_layer
from netbuilder.layers.traits import Diff, Shares
from netbuilder.net import Layer, Net
from netbuilder.pycaffe import entries
from netbuilder.pycaffe.blob import Blob, BlobVec
from netbuilder.pycaffe.entries import Entry
from netbuilder.pycaffe.memory import Memory, ParamMemory
from netbuilder.pycaffe.modes import device, draw_seed
from netbuilder.pycaffe.python_layers import PythonNet, PythonOperator, with_python_layers

__all__ = ["Graph", "build"]


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
    net = with_python_layers(net)
    module = NetModule(net, seed=draw_seed()).to(device())
    operators = dict(zip(net.layers, module.operators().values(), strict=True))
    seen = net.seen if isinstance(net, PythonNet) else {}
    return _Builder(net, module, seen).graph(backward(net), operators)


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
