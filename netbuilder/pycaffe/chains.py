"""`Chain`: layers that work in place over one blob, one after another, run as one by the engine's passes.

Nothing sees what they compute in between, so BatchNorm and Scale may be one normalisation, and a ReLU may
write over its bottom. Where a pass begins or ends inside, or somebody hears of each layer, they run one by
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.steps import Step
from netbuilder.layers import RULES, of_layer
from netbuilder.pycaffe.entries import Computed, Entry, alone

__all__ = ["Chain", "chains"]


class Chain:
    """The layers from number `first` to `last` of a net."""

    def __init__(self, first: int, entries: Sequence[Computed], steps: Sequence[Step]) -> None:
        self.first, self.last = first, first + len(entries) - 1
        self._entries, self._steps = entries, steps
        self._blob = entries[0].tops[0]
        self._runs = entries[0].step.runs
        self._graph: tuple[Tensor, Tensor] | None = None

    def forward(self, *, record: bool) -> None:
        """Run the layers; `record` keeps what the backward pass needs."""
        memory = self._blob.data_memory
        value = memory.tensor(self._blob.axes)
        self.forget()
        for entry in self._entries:
            entry.forget()
        kept = record and self._runs
        leaf = value.clone() if kept and memory.viewed else value.detach()
        leaf.requires_grad_(kept and self._entries[0].step.needs[0])
        with torch.set_grad_enabled(kept):
            top = self._run(leaf)
        self._graph = (leaf, top) if kept else None
        self._blob.reshape(*top.shape)
        memory.put(alone(top.detach(), (value,)))

    def _run(self, value: Tensor) -> Tensor:
        slots = {self._steps[0].bottoms[0]: value}
        for step in self._steps:
            top = step.operator(*(slots[i] for i in step.bottoms))
            slots[step.tops[0]] = top
        return slots[self._steps[-1].tops[0]]

    def backward(self) -> bool:
        """Compute the diffs of the blob and of the parameters; False if there is no graph to do so."""
        if self._graph is None:
            return False
        leaf, top = self._graph
        diff = self._blob.diff_memory.tensor(self._blob.axes)
        params = [pair for entry in self._entries for pair in entry.learnt()]
        asked = [leaf] * leaf.requires_grad + [tensor for _, tensor in params]
        if not asked or not top.requires_grad:
            return True
        grads = list(torch.autograd.grad(top, asked, diff, retain_graph=True, allow_unused=True))
        if leaf.requires_grad:
            grad = grads.pop(0)
            assert grad is not None
            self._blob.diff_memory.put(alone(grad, (diff,)))
        for (blob, _), grad in zip(params, grads, strict=True):
            if grad is not None:
                blob.diff_memory.add(grad.view(blob.axes))
        return True

    def forget(self) -> None:
        """Drop the graph of the last pass."""
        self._graph = None

    def unfold(self) -> None:
        """Give each layer a graph of its own, by running the last pass again. Statistics stay as they are."""
        if self._graph is None:
            return
        buffers = [b for entry in self._entries for b in entry.operator.buffers()]
        saved = [buffer.clone() for buffer in buffers]
        self._blob.data_memory.put(self._graph[0].detach().clone())
        self.forget()
        for entry in self._entries:
            entry.forward(record=True)
        for buffer, values in zip(buffers, saved, strict=True):
            buffer.data.copy_(values)


def chains(entries: Sequence[Entry], module: NetModule) -> Iterator[Chain]:
    """The chains of two layers or more; none of them draws random numbers."""
    numbered = groupby(enumerate(entries), lambda pair: _key(pair[1]))
    layers = {entry.step.layer: i for i, entry in enumerate(e for e in entries if e.step.layer is not None)}
    for key, group in numbered:
        pairs = list(group)
        parts = [entry for _, entry in pairs if isinstance(entry, Computed)]
        if key is not None and len(parts) > 1:
            first, last = (layers[parts[i].step.layer] for i in (0, -1))
            yield Chain(pairs[0][0], parts, module.part(first, last))


def _key(entry: Entry) -> tuple[int, bool, bool] | None:
    """What the layers of a chain have in common: the blob, and whether it has a gradient."""
    step = entry.step
    if not isinstance(entry, Computed) or len(entry.bottoms) != 1 or entry.tops != entry.bottoms:
        return None
    assert step.layer is not None
    draws = entry.operator.trains and of_layer(RULES[entry.type].traits.draws, step.layer.proto, True)
    if draws or any(step.losses):
        return None
    return id(entry.tops[0]), step.runs, step.needs[0]
