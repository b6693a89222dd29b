"""How a net runs: layer by layer, or a whole pass at once with the engine's passes.

A whole forward pass of a net that draws nothing and learns nothing is the engine's own call, in which layers
are merged and inner blobs are not kept. The blobs that it left out are computed, layer by layer and from the
same inputs, when the first of them is read; after that, passes keep those that were read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.passes.channels_last import lay_out
from netbuilder.pycaffe import entries
from netbuilder.pycaffe.building import Graph
from netbuilder.pycaffe.chains import Chain, chains
from netbuilder.pycaffe.memory import Memory, ParamMemory, Shape
from netbuilder.pycaffe.modes import device

__all__ = ["HOOKS", "Hooks", "Runner"]


HOOKS = ("before_forward", "after_forward", "before_backward", "after_backward")


class Hooks(list[Callable[[int], object]]):
    """Functions that are called with the number of each layer."""

    def __call__(self, number: int) -> None:
        """Call them."""
        for function in self:
            function(number)


class Runner:
    """The passes of a net."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.entries = graph.entries
        self._where = device()
        self.hooks = {name: Hooks() for name in HOOKS}
        self.learns = any(entry.step.runs for entry in self.entries)
        self.records = self.learns and (graph.net.phase == "TRAIN" or bool(graph.net.proto.force_backward))
        self._sources = [entry for entry in self.entries if not entry.step.bottoms]
        self._chains: dict[int, Chain] = {}  # by the numbers of their layers
        for chain in chains(self.entries, graph.module):
            self._chains.update(dict.fromkeys(range(chain.first, chain.last + 1), chain))
        self._params: list[ParamMemory] = []
        self.use_params()
        self._whole = self._can_be_whole()
        self._shapes: list[Shape] = []
        self._read: set[str] = set()  # the inner blobs that were read: passes keep them
        self._pending: weakref.ref[_Pass] | None = None
        self._held: _Pass | None = None
        self._first: dict[int, str] = {}  # the first name of each memory
        for name, blob in zip(graph.names, graph.blobs, strict=True):
            self._first.setdefault(id(blob.data_memory), name)
        self._laid_out = False
        # What the engine's call takes; the blobs that it may give; the memories that somebody has to fill.
        tops = [pair for entry in self._sources for pair in zip(entry.step.tops, entry.tops, strict=True)]
        self._given = [(name, blob) for name, blob in tops if name in graph.module.inputs]
        fed = {id(blob.data_memory) for _, blob in tops}
        pairs = zip(graph.names, graph.blobs, strict=True)
        self._made = {name: blob for name, blob in pairs if id(blob.data_memory) not in fed}
        self._inner = list({id(blob.data_memory): blob.data_memory for blob in self._made.values()}.values())

    def use_params(self) -> None:
        """Look up which memories the parameters are in."""
        memories = (blob.data_memory for entry in self.entries for blob in entry.blobs)
        self._params = [memory for memory in memories if isinstance(memory, ParamMemory)]
        for memory in self._params:
            memory.nets.add(self)

    def change(self) -> None:
        """Get ready for others to read the parameters, or to change them."""
        self.finish()
        for memory in self._params:
            for other in tuple(memory.nets):
                other.touched()
            memory.sync()

    def _can_be_whole(self) -> bool:
        fed = {id(blob.data_memory) for entry in self._sources for blob in entry.tops}
        computed = [entry for entry in self.entries if entry.step.bottoms]
        over = any(
            id(blob.data_memory) in fed
            for entry in computed
            if isinstance(entry, entries.Computed)
            for blob in entry.tops
        )
        return bool(computed) and not over and all(entry.repeats for entry in self.entries)

    # -- forward -------------------------------------------------------------------------------------------

    def forward(self, start: int, end: int) -> None:
        """Run the layers from one to another, both included."""
        self._place()
        whole = start == 0 and end == len(self.entries) - 1 and self._whole
        if (
            whole
            and not any(self.hooks.values())
            and not self.records
            and not any(memory.viewed for memory in self._params)
        ):
            self._forward()
            return
        self.finish()
        self._held = None
        heard = any(self.hooks.values())
        i = start
        while i <= end:
            chain = self._chains.get(i)
            if chain is not None and chain.first == i and chain.last <= end and not heard:
                chain.forward(record=self.records)
                i = chain.last
            else:
                if chain is not None:
                    chain.forget()
                self.hooks["before_forward"](i)
                self.entries[i].forward(record=self.records)
                self.hooks["after_forward"](i)
            i += 1

    def _place(self) -> None:
        """Move the parameters to the device that nets compute on now, from the host's copies too."""
        where = device()
        if self._where != where:
            move(self.graph.module, where)
            self._where = where
        if where.type != "cpu":
            for memory in self._params:
                memory.sync()

    def _forward(self) -> None:
        for entry in self._sources:
            entry.forward(record=False)
        shapes = [blob.axes for entry in self._sources for blob in entry.tops]
        if shapes != self._shapes:
            self.reshape()
            self._shapes = shapes
        self._at_once()

    def _at_once(self) -> None:
        """The engine's own call. The blobs that it leaves out follow when they are asked for."""
        module = self.graph.module
        if not self._laid_out and "channels_last" in module.passes:
            lay_out(module.operators().values())
        self._laid_out = True
        inputs: dict[str, Tensor] = {}
        saved: dict[int, tuple[Memory, Tensor]] = {}
        for name, blob in self._given:
            memory = blob.data_memory
            value = memory.tensor(blob.axes)
            inputs[name] = value.clone() if memory.viewed else value
            saved[id(memory)] = memory, inputs[name]
        viewed = {self._first[id(m)] for m in self._inner if m.viewed}
        keep = sorted(name for name in viewed | self._read if module.has(name))
        with torch.no_grad():
            out = module(keep=keep, **inputs)
        there = set()
        for name, value in out.items():
            made = self._made.get(name)
            if made is not None:
                made.reshape(*value.shape)
                made.data_memory.put(entries.alone(value.detach(), inputs.values()))
                there.add(id(made.data_memory))
        left = [memory for memory in self._inner if id(memory) not in there]
        pending = _Pass(self, saved, left)
        for memory in left:
            memory.pending = pending
        needed_by = weakref.ref(pending)
        for memory, _ in saved.values():
            memory.needed_by = needed_by
        self._pending = needed_by
        self._held = pending if self.learns else None  # for a backward pass, which begins from its inputs

    def touched(self) -> None:
        """The parameters may change, or their layout: compute what the last pass left out."""
        self._laid_out = False
        self.finish()

    def finish(self) -> None:
        """Compute what the last pass left out."""
        pending = None if self._pending is None else self._pending()
        if pending is not None:
            pending.resolve(None)

    def note_read(self, memory: Memory) -> None:
        """An inner blob was read: keep it from now on."""
        name = self._first.get(id(memory))
        if name is not None and self.graph.module.has(name):
            self._read.add(name)

    def reshape(self) -> None:
        """Give all blobs the shapes that follow from the inputs."""
        for entry in self.entries:
            entry.reshape()

    # -- backward ------------------------------------------------------------------------------------------

    def backward(self, start: int, end: int) -> None:
        """Run the backward pass of the layers from one back to another, both included."""
        self._place()
        self.begin_recording()
        heard = any(self.hooks.values())
        i = start
        while i >= end:
            chain = self._chains.get(i)
            whole = chain is not None and chain.last == i and chain.first >= end and not heard
            if chain is not None and whole and chain.backward():
                i = chain.first
            else:
                if chain is not None:
                    chain.unfold()
                self.hooks["before_backward"](i)
                self.entries[i].backward()
                self.hooks["after_backward"](i)
            i -= 1

    def run_again(self) -> None:
        """Run all layers that compute, and keep what the backward pass needs."""
        for chain in self._chains.values():
            chain.forget()
        for entry in self.entries:
            if entry.step.bottoms:
                entry.forward(record=True)

    def begin_recording(self) -> None:
        """Keep the graphs of passes from now on, and make those of the last one."""
        if self.records or not self.learns:
            return
        self.records = True
        pending = None if self._pending is None else self._pending()
        if pending is not None:
            pending.record()


def move(module: NetModule, where: torch.device) -> None:
    """Move the parameters of a net, all of which stay the same tensors: others share them."""
    for operator in module.operators().values():
        for tensor in (*operator.parameters(), *operator.buffers()):
            tensor.data = tensor.data.to(where)
    module.to(where)  # which moves nothing any more, but leaves out TF32 on a GPU


class _Pass:
    """A forward pass whose inner blobs are not computed yet. It keeps the inputs that it had."""

    def __init__(self, runner: Runner, saved: dict[int, tuple[Memory, Tensor]], left: list[Memory]) -> None:
        self._runner, self._saved, self._left = runner, saved, left

    def resolve(self, memory: Memory | None) -> None:
        """Compute the blobs, of which `memory` is asked for."""
        if memory is not None:
            self._runner.note_read(memory)
        left = {id(m): m for m in self._left if m.pending is self}
        for one in left.values():
            one.pending = None
        values = {key: value for key, (_, value) in self._saved.items()}
        for entry in self._runner.entries:
            if entry.step.bottoms:
                entry.replay(values)
        for key, one in left.items():
            if key in values:
                one.put(values[key])

    def about_to_change(self, memory: Memory) -> None:
        """Keep an input as it is now."""
        held, value = self._saved[id(memory)]
        self._saved[id(memory)] = held, value.clone()

    def record(self) -> None:
        """Run the pass again from its inputs, now keeping what the backward pass needs."""
        for one in self._left:
            if one.pending is self:
                one.pending = None
        now = {}
        for key, (memory, value) in self._saved.items():
            now[key] = memory.tensor(tuple(value.shape)).clone()
            memory.copy(value)
        self._runner.run_again()
        for key, (memory, _) in self._saved.items():
            memory.copy(now[key])
