"""The ONNX graph that is being made: `Graph`, the blobs in it, and `At`, a form's place in it.

Nothing here knows a layer type. Nodes are plain Python until the file is written, so that a form can name its
tops after it has made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import ConfigError
from netbuilder.layers import RULES, Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.net import Layer

    Array = npt.NDArray[np.float32]

__all__ = ["FLOAT16", "FLOAT32", "At", "Form", "Graph", "Node", "Value"]

FLOAT16, FLOAT32 = "float16", "float32"


@dataclass(frozen=True)
class Value:
    """A blob in the graph: its name there, its shape in each variant of the net, and its kind of numbers.

    The variants are the net as it is, and for what may vary (the batch, the image size) the net with another
    one. `loose` are the axes whose size depends on the values, as the number of detections does.
    """

    name: str
    shapes: tuple[Shape, ...]
    kind: str = FLOAT32
    loose: frozenset[int] = frozenset()

    @property
    def shape(self) -> Shape:
        """The shape in the net as it is."""
        return self.shapes[0]

    @property
    def free(self) -> frozenset[int]:
        """The axes whose size is not fixed."""
        varying = (i for i, sizes in enumerate(zip(*self.shapes, strict=True)) if len(set(sizes)) > 1)
        return self.loose | frozenset(varying)

    def sizes(self, axis: int) -> tuple[int, ...]:
        """The size of an axis in each variant."""
        return tuple(shape[axis] for shape in self.shapes)


class Form(NamedTuple):
    """The ONNX form of a layer type: what makes its nodes, and the numbers they compute in.

    `build` gets the place and returns the names of the tops, or the name of the only one. With float16, a
    form that is `precise` still computes in float32: sums and powers that lose too much, indices and
    coordinates. One that `copies` takes the numbers as they come.
    """

    build: Any
    precise: bool = False
    copies: bool = False


@dataclass
class Node:
    """A node: its operator, the names of its inputs and outputs, and its attributes."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    name: str = ""


@dataclass
class Graph:
    """Nodes in order, and the arrays that they read."""

    opset: int
    nodes: list[Node] = field(default_factory=list)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    _constants: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)
    _casts: dict[tuple[str, str], str] = field(default_factory=dict)

    def fresh(self, wanted: str) -> str:
        """A name that no other blob, array or node output has: the wanted one if it is free."""
        name, number = wanted, 2
        while name in self.names:
            name, number = f"{wanted}.{number}", number + 1
        self.names.add(name)
        return name

    def constant(self, values: Any, kind: str) -> str:
        """The name of a small array; equal ones are stored once."""
        import numpy as np

        array = np.asarray(values, kind)
        key = (kind, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name = self.fresh("constant")
            self.arrays[name] = array
        return self._constants[key]

    def add(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any
    ) -> None:
        """Append a node."""
        self.nodes.append(Node(op, list(inputs), list(outputs), attributes, name))

    def cast(self, value: Value, kind: str) -> str:
        """The name of a blob in another kind of numbers."""
        if value.kind == kind:
            return value.name
        key = (value.name, kind)
        if key not in self._casts:
            self._casts[key] = name = self.fresh(f"{value.name}/{kind}")
            self.add("Cast", [value.name], [name], name, to=kind)
        return self._casts[key]


class At:
    """A layer's place in the graph, as its form sees it.

    `bottoms` are in the numbers of the form, `kind`. `tops` have the shapes, and no names yet.
    """

    def __init__(
        self,
        graph: Graph,
        layer: Layer,
        bottoms: tuple[Value, ...],
        tops: tuple[Value, ...],
        arrays: Sequence[Array],
        kind: str,
    ) -> None:
        self.graph, self.layer, self.proto = graph, layer, layer.proto
        self.bottoms, self.tops, self.arrays, self.kind = bottoms, tops, arrays, kind
        self.loose: frozenset[int] = frozenset().union(*(bottom.loose for bottom in bottoms))
        self.shared: dict[int, str] = {}  # names of arrays that another layer owns
        self.stored: dict[int, str] = {}  # and of those that are parameter blobs as they are
        self.first = len(graph.nodes)

    @property
    def p(self) -> Any:
        """The layer's own parameter message."""
        return getattr(self.proto, RULES[self.layer.type].params[0])

    @property
    def x(self) -> Value:
        """The first bottom."""
        return self.bottoms[0]

    @property
    def top(self) -> Value:
        """The first top."""
        return self.tops[0]

    def refuse(self, why: str, hint: str = "") -> ConfigError:
        """The error of a layer that has no ONNX form."""
        return ConfigError(
            f"{self.layer.type} '{self.layer.name}' has no ONNX form: {why}",
            path=str(self.layer.origin),
            hint=hint,
        )

    # -- nodes ---------------------------------------------------------------------------------------------

    def op(self, op: str, *inputs: str | Value, **attributes: Any) -> str:
        """A node of one output; returns its name."""
        return self.ops(op, 1, *inputs, **attributes)[0]

    def ops(self, op: str, count: int, *inputs: str | Value, **attributes: Any) -> list[str]:
        """A node of several outputs; returns their names."""
        names = [x if isinstance(x, str) else x.name for x in inputs]
        outputs = [self.graph.fresh(f"{self.layer.name}/{op}") for _ in range(count)]
        self.graph.add(op, names, outputs, outputs[0], **attributes)
        return outputs

    def reduced(self, op: str, x: str | Value, axes: Sequence[int], *, keep: bool = True) -> str:
        """A node that reduces axes, which from opset 18 on are an input; ReduceSum has it since 13."""
        if not axes:
            return self.op("Abs", x) if op == "ReduceL1" else self.op("Identity", x)
        if self.graph.opset >= 18 or op == "ReduceSum":
            return self.op(op, x, self.ints(axes), keepdims=int(keep))
        return self.op(op, x, axes=list(axes), keepdims=int(keep))

    def sliced(self, x: str | Value, starts: Any, ends: Any, axes: Sequence[int], steps: Any = ()) -> str:
        """A part of a blob. The starts and ends are numbers, or names of what computes them."""
        places = [v if isinstance(v, str) else self.ints(v) for v in (starts, ends, axes)]
        return self.op("Slice", x, *places, *([self.ints(steps)] if steps else []))

    # -- arrays --------------------------------------------------------------------------------------------

    def weight(self, i: int, values: Any = None, suffix: str = "") -> str:
        """The name of a parameter blob, or of the array that was made of it."""
        import numpy as np

        if values is None and i in self.shared:
            return self.shared[i]
        name = self.graph.fresh(f"{self.layer.name}.{suffix or i}")
        if values is None:
            self.stored[i] = name
        array = self.arrays[i] if values is None else np.asarray(values)
        self.graph.arrays[name] = np.ascontiguousarray(array, self.kind).reshape(array.shape)
        return name

    def number(self, value: float) -> str:
        """The name of a single number."""
        return self.graph.constant(value, self.kind)

    def numbers(self, values: Any) -> str:
        """The name of a small array of numbers."""
        return self.graph.constant(values, self.kind)

    def ints(self, values: Any) -> str:
        """The name of a small array of integers: axes, sizes, indices."""
        return self.graph.constant(values, "int64")

    # -- shapes --------------------------------------------------------------------------------------------

    def fixed(self, value: Value, axes: Sequence[int], what: str) -> list[int]:
        """The sizes of axes that must be fixed. Raises ConfigError with `what` they are if they vary."""
        if value.free.intersection(axes):
            raise ConfigError(
                f"{self.layer.type} '{self.layer.name}': {what} must be fixed in an ONNX file",
                path=str(self.layer.origin), hint="leave out what lets it vary: --dynamic, or a Filter",
            )  # fmt: skip
        return [value.shape[axis] for axis in axes]

    def reshaped(self, x: str | Value, shape: Sequence[int]) -> str:
        """The same values in a shape where 0 is the size of the bottom's axis, and -1 what is left."""
        return self.op("Reshape", x, self.ints(list(shape)))

    def as_top(self, x: str | Value, source: Value | None = None, top: Value | None = None) -> str:
        """Values in the shape of the top; `source` has the shape that they have now, if a blob has it."""
        top = top or self.top
        open = top.free | (self.loose & set(range(len(top.shape))))
        same = {
            axis
            for axis in open
            if source and axis < len(source.shape) and source.sizes(axis) == top.sizes(axis)
        }
        if len(open - same) < 2:
            dims = [0 if i in same else -1 if i in open else n for i, n in enumerate(top.shape)]
            return self.reshaped(x, dims)
        sizes = [
            self._size(source, top.sizes(i)) if i in open else self.ints([n]) for i, n in enumerate(top.shape)
        ]
        return self.op("Reshape", x, self.op("Concat", *sizes, axis=0))

    def _size(self, source: Value | None, sizes: tuple[int, ...]) -> str:
        """The size of the axis of the source that is as large in each variant, computed."""
        for axis in sorted(source.free) if source else ():
            if source and source.sizes(axis) == sizes:
                return self.op("Gather", self.op("Shape", source), self.ints([axis]), axis=0)
        raise self.refuse("more than one size of its top varies in a way that ONNX cannot state")
