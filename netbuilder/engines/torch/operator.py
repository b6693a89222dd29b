"""`Operator`: what one layer computes, as an `nn.Module` with Caffe's parameter blobs.

An operator gets its bottoms and returns its top, or a tuple of them. It reads sizes from its bottoms, never
from the net, so that other batch and image sizes work. Gradients are PyTorch's; where Caffe's differ, the
operator brings a `torch.autograd.Function` of its own and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from netbuilder.engines.torch.fields import Fields
from netbuilder.layers import RULES
from netbuilder.net import PHASES, Layer

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

__all__ = ["Operator", "Tops", "canonical"]

Tops = Tensor | tuple[Tensor, ...]


class Operator(nn.Module):
    """What a layer computes. Its parameter blobs are named "0", "1", ... in Caffe's order and shapes.

    Statistics (BatchNorm) are buffers, all other blobs are Parameters; `lr_mults` and `decay_mults` are the
    multipliers of each blob, which a solver of Caffe's applies.

    `precise` ones compute in float32 under autocast: sums and powers that lose too much in 16 bits, and
    numbers that are indices or coordinates.
    """

    precise = False

    # Whether the top is a new tensor that its own gradient does not read, so that a reader may write over it.
    fresh = False
    # Whether Caffe computes the gradients of its bottoms in spite of propagate_down (see `cuts.py`), or what
    # says so of a layer, as traits do.
    insists: Any = False
    # The bottoms of which only the size is read.
    sizes: tuple[int, ...] = ()

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__()
        self.proto = proto = cast("LayerParameter", Fields.of(layer.proto, without=("blobs",)))
        self._message = type(layer.proto)()
        self._message.CopyFrom(layer.proto)
        self._message.ClearField("blobs")
        self.name = layer.name
        self.bottom_shapes = tuple(bottom.shape for bottom in layer.bottoms)  # in the file
        self.folder = Path(layer.origin.file).parent  # where files are looked up second
        # A layer may override the phase of the net, which changes how it runs.
        self.trains = (PHASES[proto.phase] if proto.HasField("phase") else phase) == "TRAIN"
        self.lr_mults: list[float] = []
        self.decay_mults: list[float] = []
        self._tops_of: dict[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]] = {}
        self._shared: dict[int, tuple[Operator, int, tuple[int, ...]]] = {}
        for i, param in enumerate(layer.params):
            spec = proto.param[i] if i < len(proto.param) else None
            self.lr_mults.append(1.0 if spec is None else spec.lr_mult)
            self.decay_mults.append(1.0 if spec is None else spec.decay_mult)
            blob = torch.zeros(param.shape)
            if param.role == "statistic":
                self.lr_mults[i] = 0.0
                self.register_buffer(str(i), blob)
            else:
                self.register_parameter(str(i), nn.Parameter(blob, requires_grad=param.learnable))

    def __getstate__(self) -> dict[str, Any]:
        """Messages of the schema's private pool do not pickle; their bytes do."""
        state = self.__dict__.copy()
        state["_message"] = self._message.SerializeToString()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from netbuilder.schema import LayerParameter

        self.__dict__.update(state)
        self._message = LayerParameter.FromString(state["_message"])

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """Leave unexpected keys to the net: those of layer "a.b" would be some of layer "a"."""
        metadata, strict, missing, _, errors = rest
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, [], errors)

    @property
    def number(self) -> int:
        """How many parameter blobs it has."""
        return len(self.lr_mults)

    def blob(self, i: int) -> Tensor:
        """A parameter blob; one that is shared with a layer of another shape is a view of that layer's."""
        if i in self._shared:
            owner, j, shape = self._shared[i]
            return owner.blob(j).view(shape)
        name = str(i)
        found = self._parameters.get(name)
        return self._buffers[name] if found is None else found  # type: ignore[return-value]

    def owns(self, i: int) -> bool:
        """Whether blob i is its own, not a view of another operator's."""
        return i not in self._shared

    def origin(self, i: int) -> tuple[Operator, int]:
        """The operator that owns blob i, and its number there."""
        if i not in self._shared:
            return self, i
        owner, j, _ = self._shared[i]
        return owner.origin(j)

    def blobs(self) -> list[Tensor]:
        """All parameter blobs in Caffe's order; one that is shared has the gradient of its owner."""
        return [self._seen(i) for i in range(self.number)]

    def _seen(self, i: int) -> Tensor:
        if i not in self._shared:
            return self.blob(i)
        owner, j, shape = self._shared[i]
        whole = owner._seen(j)
        view = whole.detach().view(shape).requires_grad_(whole.requires_grad)
        view.grad = None if whole.grad is None else whole.grad.view(shape)
        return view

    def share(self, i: int, owner: Operator, j: int) -> None:
        """Let blob i be blob j of another operator, in this one's shape. Source: net.cpp, AppendParam."""
        shape = tuple(self.blob(i).shape)
        parameter = owner._parameters.get(str(j))
        if parameter is not None and parameter.shape == shape and str(i) in self._parameters:
            self._parameters[str(i)] = parameter
        else:  # of another shape, or statistics: buffers would part with `.to()`
            self._parameters.pop(str(i), None)
            self._buffers.pop(str(i), None)
            self._shared[i] = (owner, j, shape)

    def use(self, other: Operator) -> None:
        """Use the parameter blobs of another operator, which must have the same shapes, as one's own."""
        for i in range(self.number):
            name = str(i)
            self._shared.pop(i, None)
            self._parameters.pop(name, None)
            self._buffers.pop(name, None)
            if name in other._parameters:
                self._parameters[name] = other._parameters[name]
            elif name in other._buffers:
                self._buffers[name] = other._buffers[name]
            else:
                self._shared[i] = other._shared[i]

    def layer_message(self) -> Any:
        """A copy of the layer's message, without its blobs."""
        copy = type(self._message)()
        copy.CopyFrom(self._message)
        return copy

    def views(self) -> list[tuple[Operator, int]]:
        """The blobs of others, by owner and index, that it sees in another shape."""
        return [(owner, j) for owner, j, _ in self._shared.values()]

    @property
    def message(self) -> Any:
        """The layer's own parameter message."""
        return getattr(self.proto, RULES[self.proto.type].params[0])

    def top_shapes(self, *bottoms: Tensor) -> tuple[tuple[int, ...], ...]:
        """The shapes of the tops by the rule of the layer type, for bottoms of any size."""
        shapes = tuple(tuple(bottom.shape) for bottom in bottoms)
        if shapes not in self._tops_of:
            self._tops_of[shapes] = _tops(self._message, shapes)
        return self._tops_of[shapes]

    def initial(self, i: int) -> float:
        """What Caffe fills blob i with if the file gives it no filler."""
        return 0.0

    def forward(self, *bottoms: Tensor) -> Tops:
        """Compute the tops."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """As the module prints itself."""
        return f"{self.proto.type} {self.name!r}"


def _tops(layer: LayerParameter, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return RULES[layer.type].infer(layer, shapes).tops


# As torch.compiler.assume_constant_result does, which imports the compiler: two seconds at every start.
_tops._dynamo_marked_constant = True  # type: ignore[attr-defined]


def canonical(axis: int, shape: Sequence[int]) -> int:
    """The axis counted from the front."""
    return axis + len(shape) if axis < 0 else axis
