"""The layers of a net as Caffe runs them, one by one: forward and backward between blobs.

Gradients are PyTorch's, of one layer at a time: a layer's graph begins at its bottoms and ends at its tops,
and the diffs of the blobs carry the gradient from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.checks.backward import Step, aborts
from netbuilder.engines.torch.fillers import draw
from netbuilder.engines.torch.operator import Operator
from netbuilder.errors import EngineError, ShapeError, shape_text
from netbuilder.layers import RULES, UnknownShape, of_layer
from netbuilder.pycaffe.blob import Blob, BlobVec

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter

__all__ = ["Computed", "Dummy", "Entry", "Fed", "Given", "Python", "Rows", "Shared", "Split", "alone"]


class Entry:
    """A layer with its blobs. `operator` is None for a Split that Caffe inserts."""

    def __init__(
        self,
        step: Step,
        operator: Operator | None,
        bottoms: Sequence[Blob],
        tops: Sequence[Blob],
        blobs: BlobVec,
    ) -> None:
        self.step, self.name = step, step.name
        self.type = step.layer.type if step.layer is not None else "Split"
        self.bottoms, self.tops, self.blobs = list(bottoms), list(tops), blobs
        self._operator = operator
        for blob, weight in zip(self.tops, step.losses, strict=False):
            if weight:
                blob.diff_memory.fill(weight, blob.axes)

    @property
    def operator(self) -> Operator:
        """What computes it."""
        assert self._operator is not None
        return self._operator

    @property
    def computes(self) -> Operator | None:
        """What computes it; None for a Split that Caffe inserts."""
        return self._operator

    @property
    def repeats(self) -> bool:
        """Whether another pass over the same bottoms gives the same tops, and changes nothing else."""
        return True

    def reshape(self) -> None:
        """Give the tops the shapes that follow from those of the bottoms."""

    def forward(self, *, record: bool) -> None:
        """Compute the tops; `record` keeps what the backward pass needs."""

    def replay(self, values: dict[int, Tensor]) -> None:
        """Compute the tops from these values of memories, without touching the blobs but for their shapes."""

    def backward(self) -> None:
        """Compute the diffs of the bottoms, and add to those of the parameters."""

    def loss(self) -> float:
        """What its tops add to the loss: their data times their diffs, where they have a loss weight."""
        total = 0.0
        for blob, weight in zip(self.tops, self.step.losses, strict=False):
            if weight:
                data, diff = (m.tensor(blob.axes).flatten() for m in (blob.data_memory, blob.diff_memory))
                total += float(torch.dot(data, diff))
        return total

    def _values(self, values: dict[int, Tensor] | None = None) -> list[Tensor]:
        found = values or {}
        return [
            found[id(blob.data_memory)].view(blob.axes)
            if id(blob.data_memory) in found
            else blob.data_memory.tensor(blob.axes)
            for blob in self.bottoms
        ]


class Given(Entry):
    """A layer whose tops are what the program writes into them: Input."""


class Shared(Entry):
    """A layer whose top sees the numbers of its bottom: Reshape, Flatten, Concat of one bottom.

    `lends`: the diffs too.
    """

    def __init__(self, *args: Any, lends: bool) -> None:
        super().__init__(*args)
        self._lends = lends

    def reshape(self) -> None:
        _shape_tops(self)

    def forward(self, *, record: bool) -> None:
        self.reshape()

    def replay(self, values: dict[int, Tensor]) -> None:
        self.reshape()

    def backward(self) -> None:
        if self.step.runs and self.step.needs[0] and not self._lends:
            (bottom,), (top,) = self.bottoms, self.tops
            bottom.diff_memory.copy(top.diff_memory.tensor(top.axes).reshape(bottom.axes))


class Split(Entry):
    """What Caffe inserts after a blob with several readers: one name and one diff for each of them."""

    def reshape(self) -> None:
        for top in self.tops:
            top.reshape(*self.bottoms[0].axes)

    def forward(self, *, record: bool) -> None:
        self.reshape()

    def replay(self, values: dict[int, Tensor]) -> None:
        self.reshape()

    def backward(self) -> None:
        if self.step.runs and self.step.needs[0]:
            diffs = [top.diff_memory.tensor(top.axes) for top in self.tops]
            total = diffs[0] + diffs[1] if len(diffs) > 1 else diffs[0].clone()
            for diff in diffs[2:]:
                total += diff
            self.bottoms[0].diff_memory.put(total)


class Computed(Entry):
    """A layer that an operator computes."""

    _graph: tuple[list[Tensor], list[Tensor]] | None = None

    @property
    def repeats(self) -> bool:
        operator, rule = self.operator, RULES[self.type]
        draws = operator.trains and of_layer(rule.traits.draws, operator.layer_message(), True)
        changes = not getattr(operator, "stored", True)  # BatchNorm's statistics
        writes = rule.tops[1] == 0 and self.type != "Silence"
        return not (draws or changes or writes)

    def reshape(self) -> None:
        _shape_tops(self)

    def forward(self, *, record: bool) -> None:
        self._graph = None
        values = self._values()
        if record and self.step.runs:
            tops = self._recorded(values)
        else:
            with torch.no_grad():
                tops = _tuple(self.operator(*values))
        for blob, value in zip(self.tops, self._own(values, tops), strict=False):
            blob.reshape(*value.shape)
            blob.data_memory.put(value)

    def replay(self, values: dict[int, Tensor]) -> None:
        bottoms = self._values(values)
        with torch.no_grad():
            tops = _tuple(self.operator(*bottoms))
        for blob, value in zip(self.tops, self._own(bottoms, tops), strict=False):
            blob.reshape(*value.shape)
            values[id(blob.data_memory)] = value

    def _recorded(self, values: Sequence[Tensor]) -> list[Tensor]:
        written = {id(blob.data_memory) for blob in self.tops if blob.data_memory.viewed}
        leaves = []
        for blob, value, need in zip(self.bottoms, values, self.step.needs, strict=True):
            # What is written over in place, while somebody looks at it, is kept for the backward pass.
            kept = value.clone() if id(blob.data_memory) in written else value.detach()
            leaves.append(kept.requires_grad_(need))
        with torch.enable_grad():
            tops = _tuple(self.operator(*leaves))
        self._graph = leaves, tops
        return tops

    @staticmethod
    def _own(bottoms: Sequence[Tensor], tops: Iterable[Tensor]) -> list[Tensor]:
        """The tops, none of them in the memory of another blob."""
        found: list[Tensor] = []
        for top in tops:
            found.append(alone(top.detach(), (*bottoms, *found)).float())
        return found

    def backward(self) -> None:
        if not self.step.runs:
            return
        if aborts(self.step):
            raise EngineError(
                f"{self.type} '{self.name}' lacks a gradient that the net asks for: Caffe aborts here",
                hint="leave out force_backward, or cut the gradient off by propagate_down: false",
            )
        if self._graph is None:
            self._graph = self._recomputed()
        leaves, tops = self._graph
        diffs = [blob.diff_memory.tensor(blob.axes) for blob in self.tops]
        heads = [(top, diff) for top, diff in zip(tops, diffs, strict=False) if top.requires_grad]
        ways = [(blob, leaf) for blob, leaf in zip(self.bottoms, leaves, strict=True) if leaf.requires_grad]
        params = list(self.learnt())
        asked = [leaf for _, leaf in ways] + [tensor for _, tensor in params]
        grads: Sequence[Tensor | None] = [None] * len(asked)
        if heads and asked:
            outs, given = zip(*heads, strict=True)
            grads = torch.autograd.grad(outs, asked, given, retain_graph=True, allow_unused=True)
        for (blob, _), grad in zip(ways, grads, strict=False):
            if grad is None:
                blob.diff_memory.fill(0.0, blob.axes)
            else:
                blob.diff_memory.put(alone(grad, diffs))
        for (blob, _), grad in zip(params, grads[len(ways) :], strict=True):
            if grad is not None:
                blob.diff_memory.add(grad.view(blob.axes))

    def forget(self) -> None:
        """Drop the graph of the last pass."""
        self._graph = None

    def learnt(self) -> Iterable[tuple[Blob, Tensor]]:
        """The parameters whose gradient is asked for, with the tensor that gets it."""
        for i, (blob, learns) in enumerate(zip(self.blobs, self.step.learns, strict=False)):
            owner, j = self.operator.origin(i)
            tensor = owner.blob(j)
            if learns and tensor.requires_grad:
                yield Blob(tuple(tensor.shape), blob.data_memory, blob.diff_memory), tensor

    def _recomputed(self) -> tuple[list[Tensor], list[Tensor]]:
        """The graph of a layer that ran without one. Statistics stay as they are."""
        saved = {name: buffer.clone() for name, buffer in self.operator.named_buffers()}
        self._recorded(self._values())
        with torch.no_grad():
            for name, buffer in self.operator.named_buffers():
                buffer.copy_(saved[name])
        assert self._graph is not None
        return self._graph


class Fed(Entry):
    """A layer without bottoms that reads or draws its tops: Data, ImageData, HDF5Data and the like."""

    @property
    def repeats(self) -> bool:
        return True  # it has run before its pass

    def forward(self, *, record: bool) -> None:
        with torch.no_grad():
            self.take(_tuple(self.operator()))

    def take(self, values: Iterable[Tensor]) -> None:
        """Let the tops be these."""
        for blob, value in zip(self.tops, values, strict=True):
            blob.reshape(*value.shape)
            blob.data_memory.put(value.detach())


class Dummy(Fed):
    """DummyData: constants are filled once, and a program may write over them; the rest is drawn."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        fillers: list[FillerParameter] = list(self.operator.layer_message().dummy_data_param.data_filler)
        self._fillers = fillers * len(self.tops) if len(fillers) == 1 else fillers
        for blob, filler in zip(self.tops, self._fillers, strict=False):
            if filler.type == "constant":
                blob.data_memory.fill(filler.value, blob.axes)

    def forward(self, *, record: bool) -> None:
        for blob, filler in zip(self.tops, self._fillers, strict=False):
            if filler.type != "constant":
                drawn = draw(blob.axes, filler, torch.default_generator)
                blob.data_memory.copy(drawn.to(blob.data_memory.tensor(blob.axes).device))


class Rows(Fed):
    """MemoryData: rows that `set_input_arrays` gave, one batch after another, again from the first."""

    _rows: tuple[Tensor, Tensor] | None = None
    _at = 0

    def give(self, data: Any, labels: Any) -> None:
        """The rows to read from now on."""
        self._rows, self._at = (torch.from_numpy(data), torch.from_numpy(labels).view(-1)), 0

    def forward(self, *, record: bool) -> None:
        if self._rows is None:
            raise EngineError(
                f"MemoryData '{self.name}' has no rows yet", hint="give them by set_input_arrays"
            )
        batch, end = self.tops[0].axes[0], len(self._rows[0])
        for blob, rows in zip(self.tops, self._rows, strict=True):
            part = rows[self._at : self._at + batch]
            blob.data_memory.copy(part.view(blob.axes).to(blob.data_memory.tensor(blob.axes).device))
        self._at = (self._at + batch) % end


class Python(Entry):
    """A layer written in Python, which works on the blobs itself."""

    @property
    def repeats(self) -> bool:
        return False

    @property
    def _instance(self) -> Any:
        return self.operator.instance

    def reshape(self) -> None:
        self._instance.reshape(self.bottoms, self.tops)

    def forward(self, *, record: bool) -> None:
        self.reshape()
        self._instance.forward(self.bottoms, self.tops)

    def backward(self) -> None:
        if self.step.runs:
            self._instance.backward(self.tops, list(self.step.needs), self.bottoms)


def _shape_tops(entry: Entry) -> None:
    """Source: Reshape of each layer type, by its rule. Raises ShapeError where the parameters do not fit."""
    layer = entry.step.layer
    assert layer is not None
    try:
        facts = RULES[layer.type].infer(layer.proto, [blob.axes for blob in entry.bottoms])
    except UnknownShape:
        return
    except ShapeError as error:
        raise ShapeError(
            f"{layer.type} '{layer.name}': {error.text}", where=str(layer.origin), hint=error.hint
        ) from None
    for blob, param in zip(entry.blobs, facts.params, strict=False):
        if blob.count != math.prod(param.shape):
            raise ShapeError(
                f"{layer.type} '{layer.name}' has parameters {shape_text(blob.axes)}, and such bottoms "
                f"need {shape_text(param.shape)}: Caffe aborts here",
                where=str(layer.origin),
            )
    for blob, shape in zip(entry.tops, facts.tops, strict=False):
        blob.reshape(*shape)


def _tuple(tops: Any) -> list[Tensor]:
    return list(tops) if isinstance(tops, tuple) else [tops]


def alone(tensor: Tensor, others: Iterable[Tensor]) -> Tensor:
    """The tensor, or a copy of it: it shares its memory with no other, and has no more than it needs."""
    storage = tensor.untyped_storage()
    at = storage.data_ptr()
    if storage.nbytes() == tensor.nbytes and all(
        at != other.untyped_storage().data_ptr() for other in others
    ):
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
