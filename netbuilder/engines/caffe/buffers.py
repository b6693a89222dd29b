"""What Caffe's layers hold beside their tops and parameters: buffers, and diffs that nobody asked for.

Caffe allocates memory when it is first written. So a buffer counts in the pass that writes it: `Use` says
whether the layer runs in TRAIN, and what its backward pass computes. All of it was measured on real Caffe, on
the CPU (tests/ground_truth/caffe-memory.json). Buffers of one row, column or plane of an image are left out,
but for the columns of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from netbuilder.layers import Coverage, Rule, Shape
from netbuilder.measure.geometry import group, window
from netbuilder.net import Layer
from netbuilder.schema.dialects import DIALECTS

__all__ = ["BUFFERS", "Use"]


class Use(NamedTuple):
    """A layer in a net of a training.

    `train`: the phase is TRAIN. `backward`: its backward pass runs, for its first bottom if that `needs` a
    gradient, and for its parameters if it `learns`.
    """

    layer: Layer
    train: bool
    backward: bool
    needs: bool
    learns: bool

    @property
    def bottom(self) -> int:
        """The elements of the first bottom."""
        return _elements(self.layer.bottoms[0].shape)

    @property
    def image(self) -> int:
        """The elements of the first bottom's part that belongs to one image."""
        return prod((self.layer.bottoms[0].shape or (0, 0))[1:])

    @property
    def top(self) -> int:
        """The elements of the first top."""
        return _elements(self.layer.tops[0].shape) if self.layer.tops else 1

    @property
    def in_place(self) -> bool:
        """Whether the first top is written over the first bottom."""
        return self.layer.bottoms[0].name == self.layer.tops[0].name


def _elements(shape: Shape | None) -> int:
    return 0 if shape is None else prod(shape)


def _nothing(use: Use) -> int:
    return 0


def _prefetched(use: Use) -> int:
    """The batches that wait; the tops have the memory of the one in use."""
    return (use.layer.proto.data_param.prefetch - 1) * sum(_elements(top.shape) for top in use.layer.tops)


def _column(use: Use) -> int:
    """The columns of one image, unless the kernel is a point."""
    layer, found = use.layer, window(use.layer)
    if found is None or not (layer.params and layer.bottoms[0].shape and layer.tops[0].shape):
        return 0
    if not (set(found.kernel) | set(found.stride)) - {1} and not any(found.pad):
        return 0
    weight, blob = layer.params[0].shape, (layer.bottoms if layer.type == "Deconvolution" else layer.tops)[0]
    return prod(weight[1:]) * group(layer) * prod(blob.known_shape[-len(found.kernel) :])


def _pooling(use: Use) -> int:
    """Where each maximum was."""
    param = use.layer.proto.pooling_param
    return use.top if param.pool == param.MAX and len(use.layer.tops) == 1 else 0


def _lrn(use: Use) -> int:
    """The scale of each element; within channels, a small net of layers with their gradients."""
    param = use.layer.proto.lrn_param
    if param.norm_region == param.ACROSS_CHANNELS:
        return use.bottom
    return (8 if use.backward else 3) * use.bottom


def _batch_norm(use: Use) -> int:
    """The deviations and the normalised values, and in place a copy of the gradient."""
    return (3 if use.backward and use.in_place else 2) * use.bottom


def _scale(use: Use) -> int:
    """In place a copy of the bottom; else it computes the gradient of its factors in the bottom's diff."""
    if use.in_place:
        return use.bottom
    return use.bottom if use.backward and use.learns and not use.needs else 0


def _lstm_unit(use: Use) -> int:
    """The gradient of its bottom, whether or not that is asked for."""
    return use.bottom if use.backward and not use.needs else 0


def _prelu(use: Use) -> int:
    """A factor for each element of an image, and a copy of the bottom that it writes over."""
    return use.image + (use.bottom if use.in_place else 0)


def _dropout(use: Use) -> int:
    """The mask, of integers as large as floats."""
    return use.bottom if use.train else 0


def _eltwise(use: Use) -> int:
    """Which bottom had the maximum."""
    param = use.layer.proto.eltwise_param
    return use.top if param.operation == param.MAX else 0


def _one(use: Use) -> int:
    return use.bottom


def _two(use: Use) -> int:
    return 2 * use.bottom


def _hinge(use: Use) -> int:
    """The gradient of its bottom, which its forward pass writes already."""
    return 0 if use.backward else use.bottom


def _contrastive(use: Use) -> int:
    """The differences, and a factor for each of an image."""
    return use.bottom + use.image


def _reduction(use: Use) -> int:
    """A factor for each element of what is summed."""
    param, shape = use.layer.proto.reduction_param, use.layer.bottoms[0].shape or ()
    return prod(shape[param.axis :]) if param.operation in (param.SUM, param.MEAN) else 0


def _spatial_pyramid(use: Use) -> int:
    """A Split with a gradient for each level."""
    levels = use.layer.proto.spp_param.pyramid_height
    return levels * use.bottom if use.backward and levels > 1 else 0


BUFFERS: Coverage[Callable[[Use], int]] = Coverage(
    "netbuilder.engines.caffe.buffers.BUFFERS",
    {
        "AbsVal": _nothing,
        "Accuracy": _nothing,
        "ArgMax": _nothing,
        "BNLL": _nothing,
        "BatchNorm": _batch_norm,
        "BatchReindex": _nothing,
        "Bias": _nothing,
        "Clip": _nothing,
        "Concat": _nothing,
        "ContrastiveLoss": _contrastive,
        "Convolution": _column,
        "Crop": _nothing,
        "Data": _prefetched,
        "Deconvolution": _column,
        "Dropout": _dropout,
        "DummyData": _nothing,
        "ELU": _nothing,
        "Eltwise": _eltwise,
        "Embed": _nothing,
        "EuclideanLoss": _one,
        "Exp": _nothing,
        "Filter": _nothing,
        "Flatten": _nothing,
        "HingeLoss": _hinge,
        "Im2col": _nothing,
        "ImageData": _prefetched,
        "InfogainLoss": _two,
        "InnerProduct": _nothing,
        "Input": _nothing,
        "LRN": _lrn,
        "LSTMUnit": _lstm_unit,
        "Log": _nothing,
        "MVN": _one,
        "MemoryData": _nothing,
        "MultinomialLogisticLoss": _nothing,
        "PReLU": _prelu,
        "Parameter": _nothing,
        "Pooling": _pooling,
        "Power": _nothing,
        "ReLU": _nothing,
        "Reduction": _reduction,
        "Reshape": _nothing,
        "SPP": _spatial_pyramid,
        "Scale": _scale,
        "Sigmoid": _nothing,
        "SigmoidCrossEntropyLoss": _one,
        "Silence": _nothing,
        "Slice": _nothing,
        "Softmax": _nothing,
        "SoftmaxWithLoss": _two,  # the probabilities, and a gradient that nobody uses
        "Split": _nothing,
        "Swish": _two,
        "TanH": _nothing,
        "Threshold": _nothing,
        "Tile": _nothing,
        "WindowData": _prefetched,
    },
    {
        "HDF5Data": "it holds a whole file",
        "HDF5Output": "what it gathers depends on the run",
        "LSTM": "it makes a net of its own for all steps",
        "Python": "its code decides",
        "RNN": "it makes a net of its own for all steps",
    },
    lambda rule: _of_caffe(rule),
)


def _of_caffe(rule: Rule) -> bool:
    """Whether stock Caffe has the type."""
    return rule.type in DIALECTS["caffe-master"].types
