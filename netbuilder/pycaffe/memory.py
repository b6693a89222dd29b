"""`Memory`: the numbers of a blob, shared between PyTorch, which computes, and NumPy, which looks at them.

An array that was handed out sees what later passes compute, as in Caffe. So a result is copied into the
memory of the array while anybody holds it, and otherwise takes its place: what nobody reads is not copied.

On a GPU an array looks at a copy on the host. As in Caffe, asking for an array copies from the GPU, and marks
the host's copy as the valid one, which goes back to the GPU when the net computes with it.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netbuilder.errors import EngineError
from netbuilder.pycaffe.modes import device

if TYPE_CHECKING:
    from netbuilder.engines.torch.operator import Operator

__all__ = ["Array", "Memory", "ParamMemory", "Pending"]

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class Pending(Protocol):
    """A pass that has not computed all of its blobs yet."""

    def resolve(self, memory: Memory) -> None:
        """Compute the blobs, of which this one is asked for."""

    def about_to_change(self, memory: Memory) -> None:
        """Keep what the pass still needs of a memory that somebody may write to."""


class Memory:
    """Some float32 numbers, zeros at first. Blobs that share them have one Memory.

    `pending` is the pass that computes them when they are asked for; `needed_by` one that needs them as they
    are now.
    """

    __slots__ = ("__weakref__", "_base", "_host", "_on_host", "_tensor", "needed_by", "pending")

    def __init__(self, tensor: Tensor | None = None) -> None:
        self._tensor = tensor
        self._host: Tensor | None = None
        self._on_host = False  # the host's copy is the valid one
        self._base: weakref.ref[Any] | None = None  # the array under all that were handed out
        self.pending: Pending | None = None
        self.needed_by: weakref.ref[Any] | None = None

    # -- where the numbers are: a subclass keeps them elsewhere --------------------------------------------

    def _held(self) -> Tensor | None:
        return self._tensor

    def _hold(self, tensor: Tensor) -> None:
        self._tensor = tensor

    # ------------------------------------------------------------------------------------------------------

    @property
    def viewed(self) -> bool:
        """Whether anybody holds an array that looks at it."""
        return self._base is not None and self._base() is not None

    def ready(self) -> None:
        """Compute the numbers, if a pass left them out."""
        if self.pending is not None:
            self.pending.resolve(self)

    def tensor(self, shape: Shape) -> Tensor:
        """The numbers on the device that nets compute on, to be read."""
        self.ready()
        return self._shaped(self._current(math.prod(shape)), shape)

    def _current(self, count: int) -> Tensor:
        held, where = self._held(), device()
        if self._on_host:
            assert self._host is not None
            if where.type == "cpu":
                held = self._host
            elif held is None or held.device != where or held.numel() != self._host.numel():
                held = self._host.to(where)
            else:
                held.data.copy_(self._host.view(held.shape))
            self._hold(held)
            self._on_host = False
        if held is None:
            held = torch.zeros(count, device=where)
            self._hold(held)
        elif held.numel() < count:  # it grew: as in Caffe, what it held is gone
            held = torch.zeros(count, device=where)
            self._replace(held)
        elif held.device != where:
            held = held.to(where)
            self._hold(held)
        return held

    def _shaped(self, held: Tensor, shape: Shape) -> Tensor:
        if tuple(held.shape) == shape:
            return held
        if not held.is_contiguous():
            held = held.contiguous()
            self._hold(held)
        return held.view(-1)[: math.prod(shape)].view(shape)

    def _replace(self, tensor: Tensor) -> None:
        self._base = self._host = None
        self._on_host = False
        self._hold(tensor)

    def put(self, tensor: Tensor) -> None:
        """Take over the result of a layer, which nothing else holds."""
        self.pending = None
        self._before_a_write()
        held = self._held()
        if tensor.device.type != "cpu":
            self._on_host = False
            self._hold(tensor)
        elif (
            self.viewed
            and held is not None
            and held.numel() >= tensor.numel()
            and held.device == tensor.device
        ):
            self._on_host = False
            self._shaped(held, tuple(tensor.shape)).data.copy_(tensor)
        else:
            self._replace(tensor)

    def array(self, shape: Shape) -> Array:
        """An array that looks at the numbers, for reading and writing."""
        self.ready()
        self._before_a_write()
        count = math.prod(shape)
        flat = self._flat_host(count)
        base = None if self._base is None else self._base()
        if base is None or base.size < count or base.ctypes.data != flat.data_ptr():
            base = flat.numpy()
            self._base = weakref.ref(base)
        found: Array = base[:count].reshape(shape)
        return found

    def _flat_host(self, count: int) -> Tensor:
        if self._on_host:
            assert self._host is not None
            if self._host.numel() >= count:
                return self._host
        held = self._current(count)
        if held.device.type == "cpu":
            if not held.is_contiguous():
                held = held.contiguous()
                self._hold(held)
            return held.detach().view(-1)
        if self._host is None or self._host.numel() != held.numel():
            self._host = torch.empty(held.numel())
            self._base = None
        self._host.copy_(held.detach().reshape(-1))
        self._on_host = True
        return self._host

    def _before_a_write(self) -> None:
        """Let the pass that needs the numbers as they are keep them."""
        if self.needed_by is not None:
            needing = self.needed_by()
            self.needed_by = None
            if needing is not None:
                needing.about_to_change(self)

    def fill(self, value: float, shape: Shape) -> None:
        """Set all numbers to one value."""
        self._before_a_write()
        self.tensor(shape).data.fill_(value)

    def add(self, tensor: Tensor) -> None:
        """Add to the numbers."""
        self.tensor(tuple(tensor.shape)).data.add_(tensor)

    def copy(self, tensor: Tensor) -> None:
        """Copy numbers that somebody else holds."""
        self.pending = None
        self._before_a_write()
        self.tensor(tuple(tensor.shape)).data.copy_(tensor)


class ParamMemory(Memory):
    """A parameter blob of a layer, whose tensor stays the operator's.

    `nets` are the nets that compute with it: before anybody may change it, they finish what they have left.
    """

    __slots__ = ("_number", "_operator", "nets")

    def __init__(self, operator: Operator, number: int) -> None:
        super().__init__()
        self._operator, self._number = operator, number
        self.nets: weakref.WeakSet[Any] = weakref.WeakSet()

    def _held(self) -> Tensor:
        return self._operator.blob(self._number).detach()

    def _hold(self, tensor: Tensor) -> None:
        blob = self._operator.blob(self._number)
        if tensor.numel() != blob.numel():
            raise EngineError(
                f"a parameter of layer '{self._operator.name}' has {blob.numel()} numbers, not "
                f"{tensor.numel()}: its size cannot change",
                hint="change the layer in the prototxt",
            )
        blob.data = tensor.view(blob.shape)

    def sync(self) -> None:
        """Bring the numbers to the device that nets compute on."""
        self._current(self._held().numel())

    def put(self, tensor: Tensor) -> None:
        """Copy numbers into the parameter."""
        self.copy(tensor)

    def _before_a_write(self) -> None:
        for net in tuple(self.nets):
            net.touched()
