"""The order of a tensor's axes in Caffe and in the other frameworks.

Caffe's filters have the axes outputs, inputs, height, width, like PyTorch's; TensorFlow's have height, width,
inputs, outputs, and its dense kernels inputs, outputs. A 1x1 convolution and an inner product differ only in
axes of 1, and an inner product over an image in that its inputs are flattened.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.layers import Shape
from netbuilder.weights.units import Slot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["LAYOUTS", "Arrangement", "arrangement", "published_shape"]

LAYOUTS = ("torch", "tensorflow")


class Arrangement(NamedTuple):
    """How a tensor becomes a blob: reshaped to `split`, its axes in the `order`, reshaped to `shape`."""

    split: Shape
    order: tuple[int, ...]
    shape: Shape

    def to_caffe(self, array: Array) -> Array:
        """The blob of a tensor."""
        blob: Array = array.reshape(self.split).transpose(self.order).reshape(self.shape)
        return blob

    def from_caffe(self, blob: Array, shape: Shape) -> Array:
        """The tensor, of this shape, of a blob."""
        moved = tuple(self.split[axis] for axis in self.order)
        back = tuple(self.order.index(axis) for axis in range(len(self.order)))
        tensor: Array = blob.reshape(moved).transpose(back).reshape(shape)
        return tensor


def arrangement(shape: Shape, slot: Slot, layout: str) -> Arrangement | None:
    """How a tensor of this shape becomes the blob of a slot; None if it cannot."""
    wanted = slot.shape
    if math.prod(shape) != math.prod(wanted):
        return None
    if slot.role.isdigit():  # a blob as it is
        return _as_is(shape, wanted) if shape == wanted else None
    if len(_plain(wanted)) <= 1 or not slot.role.startswith("weight"):
        return _as_is(shape, wanted) if _plain(shape) == _plain(wanted) else None
    if layout == "tensorflow":
        return _from_tensorflow(shape, slot)
    if _is_transposed(slot):
        return Arrangement(_two(shape), (1, 0), wanted) if _two(shape) == wanted[::-1] else None
    fits = shape[0] == wanted[0] and (_plain(shape) == _plain(wanted) or min(len(shape), len(wanted)) == 2)
    return _as_is(shape, wanted) if fits else None


def published_shape(slot: Slot, layout: str, *, convolution: bool = False) -> Shape:
    """The usual shape of the tensor of a slot, in a layout; with `convolution`, that of a 1x1 one."""
    shape = slot.shape
    if slot.role != "weight" or len(shape) < 2:
        return shape
    if convolution and len(shape) == 2:
        outputs, inputs = shape[::-1] if _is_transposed(slot) else shape
        return (outputs, inputs, 1, 1) if layout == "torch" else (1, 1, inputs, outputs)
    if layout == "torch":
        return shape[::-1] if _is_transposed(slot) else shape
    if len(shape) == 4:
        depthwise = shape[1] == 1 and shape[0] > 1
        return (*shape[2:], shape[0], 1) if depthwise else (*shape[2:], shape[1], shape[0])
    return shape if _is_transposed(slot) else shape[::-1]


def _plain(shape: Shape) -> Shape:
    """A shape without axes of 1."""
    return tuple(n for n in shape if n != 1)


def _as_is(shape: Shape, wanted: Shape) -> Arrangement:
    return Arrangement(shape, tuple(range(len(shape))), wanted)


def _two(shape: Shape) -> Shape:
    """A shape as outputs and all the rest."""
    return (shape[0], math.prod(shape[1:]))


def _is_transposed(slot: Slot) -> bool:
    return bool(slot.layer.proto.inner_product_param.transpose)


def _from_tensorflow(shape: Shape, slot: Slot) -> Arrangement | None:
    wanted = slot.shape
    if len(shape) == 4 and len(wanted) == 4:
        height, width, inputs, outputs = shape
        if (outputs, inputs, height, width) == wanted:
            return Arrangement(shape, (3, 2, 0, 1), wanted)
        if (inputs * outputs, 1, height, width) == wanted:  # depthwise: inputs, and how often each
            return Arrangement(shape, (2, 3, 0, 1), wanted)
        return None
    flat = (math.prod(shape[:-1]), shape[-1])
    outputs, inputs = wanted[::-1] if _is_transposed(slot) else (wanted[0], math.prod(wanted[1:]))
    if flat != (inputs, outputs):
        return None
    # TensorFlow flattens an image with its channels last.
    bottom = slot.layer.bottoms[0].shape if slot.layer.bottoms else None
    image = bottom[1:] if bottom is not None and len(bottom) == 4 else ()
    channels, height, width = image if math.prod(image) == inputs and image else (inputs, 1, 1)
    order = (2, 0, 1, 3) if _is_transposed(slot) else (3, 2, 0, 1)
    return Arrangement((height, width, channels, outputs), order, wanted)
