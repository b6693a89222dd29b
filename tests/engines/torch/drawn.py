"""Single layers of every type with drawn fields, bottoms and parameters: `draw(type, seed)`.

The fields are in the ranges that Caffe accepts; what it refuses is the business of tests/fuzz. Values do not
saturate: a gradient that is a difference of almost equal numbers is nothing but rounding in either. The file
is a table of generators, one for each layer type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.engines.torch.differential import Layer

__all__ = ["DRAWN", "draw"]

Rng = np.random.Generator
Shape = tuple[int, ...]
Draw = Callable[[Rng, str], Layer]
DRAWN: dict[str, Draw] = {}


def draw(type: str, seed: int) -> Layer:
    """A layer of this type."""
    return DRAWN[type](np.random.default_rng(seed), type)


def drawn(*types: str) -> Callable[[Draw], Draw]:
    def register(function: Draw) -> Draw:
        DRAWN.update(dict.fromkeys(types, function))
        return function

    return register


# ---- choices ----------------------------------------------------------------------------------------------


def pick(rng: Rng, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def fields(rng: Rng, p: float = 0.6, **values: Any) -> str:
    """Each field with probability p, with one of its values."""
    chosen = {name: pick(rng, *many) for name, many in values.items() if rng.random() < p}
    return " ".join(f"{name}: {value}" for name, value in chosen.items())


def shape(rng: Rng, *ranks: int, most: int = 6) -> Shape:
    return tuple(int(n) for n in rng.integers(1, most + 1, pick(rng, *ranks)))


def ties(rng: Rng, of: Shape) -> Any:
    """Numbers of which many are equal, or not."""
    values = rng.normal(0, 1, of)
    return np.round(values * 2) / 2 if rng.random() < 0.5 else values


def labels(rng: Rng, of: Shape, classes: int, ignored: int | None = None) -> Any:
    found = rng.integers(0, classes, of).astype(float)
    if ignored is not None:
        found[rng.random(of) < 0.3] = ignored
    return found + (0.4 if rng.random() < 0.2 else 0)  # Caffe cuts them


def phase(rng: Rng) -> str:
    return str(pick(rng, "TRAIN", "TEST"))


BOOL = ("true", "false")


# ---- elementwise ------------------------------------------------------------------------------------------


@drawn("ReLU", "Sigmoid", "TanH", "BNLL", "AbsVal", "ELU", "Swish", "Threshold", "Clip", "PReLU", "Softmax")
def _activation(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4, *(5,) * (type != "PReLU"))
    own = {
        "ReLU": lambda: fields(rng, negative_slope=(0, 0.1, -1, 2)),
        "ELU": lambda: fields(rng, alpha=(0, 1, -1, 0.3)),
        "Swish": lambda: fields(rng, beta=(0, 1.5, -2)),
        "Threshold": lambda: fields(rng, threshold=(0, 0.5, -1)),
        "Clip": lambda: pick(
            rng, "min: -0.5 max: 0.5", "min: 0 max: 6", "min: 1 max: -1", "min: 0.5 max: 0.5"
        ),
        "PReLU": lambda: fields(rng, channel_shared=BOOL),
        "Softmax": lambda: f"axis: {rng.integers(-len(of), len(of))}",
    }
    message = f"{type.lower()}_param {{ {own[type]()} }}" if type in own else ""
    values = ties(rng, of) * pick(rng, 1, 3 if type == "Softmax" else 20)
    return Layer(type, message, [values], graded=() if type == "Threshold" else None)


@drawn("Exp", "Log", "Power")
def _power(rng: Rng, type: str) -> Layer:
    if type == "Power":
        own = fields(rng, power=(0, 1, 2, 3, -1, 0.5, 1.5), scale=(1, 2, 0.5, 0), shift=(0, 1, 3))
    else:
        own = fields(rng, base=(-1, 2, 10, 0.5), scale=(1, 2, 0.3), shift=(0, 1, 0.5))
    return Layer(type, f"{type.lower()}_param {{ {own} }}", [shape(rng, 1, 2, 4)], positive=True)


@drawn("Dropout")
def _dropout(rng: Rng, type: str) -> Layer:
    return Layer(type, "dropout_param { dropout_ratio: 0.3 }", [shape(rng, 2, 4)])


# ---- kernels ----------------------------------------------------------------------------------------------


@drawn("Convolution", "Deconvolution", "Im2col")
def _convolution(rng: Rng, type: str) -> Layer:
    axes = int(pick(rng, 2, 2, 2, 1, 3))
    groups = int(pick(rng, 1, 1, 2, 3)) if type != "Im2col" else 1
    channels = groups * int(rng.integers(1, 3))
    kernel = rng.integers(1, 4, axes)
    dilation = rng.integers(1, 3, axes)
    pad = rng.integers(0, 3, axes)
    stride = rng.integers(1, 4, axes)
    extent = dilation * (kernel - 1) + 1
    if type == "Deconvolution":  # the result must not be empty
        image = np.maximum(1, np.ceil((2 * pad + 1 - extent) / stride) + 1 + rng.integers(0, 3, axes)).astype(
            int
        )
    else:
        image = np.maximum(1, extent - 2 * pad + rng.integers(0, 5, axes))
    own = " ".join(f"kernel_size: {k}" for k in kernel)
    for name, values in (("stride", stride), ("pad", pad), ("dilation", dilation)):
        own += " " + " ".join(f"{name}: {v}" for v in values)
    if type != "Im2col":
        outputs = groups * rng.integers(1, 4)
        own += f" num_output: {outputs} group: {groups} {fields(rng, bias_term=BOOL)}"
    own += " " + fields(rng, 0.2, force_nd_im2col=BOOL)
    bottoms = [(int(rng.integers(1, 4)), channels, *map(int, image))] * (
        1 if type == "Im2col" else pick(rng, 1, 2)
    )
    return Layer(type, f"convolution_param {{ {own} }}", bottoms, tops=len(bottoms))


@drawn("Pooling")
def _pooling(rng: Rng, type: str) -> Layer:
    kernel = rng.integers(1, 6, 2)
    own = fields(rng, pool=("MAX", "AVE"), round_mode=("FLOOR", "CEIL"))
    if rng.random() < 0.15:
        own += " global_pooling: true"
        pad = np.zeros(2, int)
    else:
        pad = np.array([rng.integers(0, k) for k in kernel])
        stride = rng.integers(1, 4, 2)
        if rng.random() < 0.5:
            own += f" kernel_size: {kernel[0]} stride: {stride[0]} pad: {pad[0]}"
            kernel, pad = kernel[[0, 0]], pad[[0, 0]]
        else:
            for i, side in enumerate("hw"):
                own += f" kernel_{side}: {kernel[i]} stride_{side}: {stride[i]} pad_{side}: {pad[i]}"
    image = np.maximum(1, kernel - pad + rng.integers(0, 7, 2))
    values = ties(rng, (int(rng.integers(1, 3)), int(rng.integers(1, 4)), *map(int, image)))
    tops = 2 if "AVE" not in own and rng.random() < 0.3 else 1
    return Layer(type, f"pooling_param {{ {own} }}", [values], tops=tops, graded=(0,))


@drawn("SPP")
def _spp(rng: Rng, type: str) -> Layer:
    own = f"pyramid_height: {rng.integers(1, 4)} {fields(rng, pool=('MAX', 'AVE'))}"
    return Layer(type, f"spp_param {{ {own} }}", [ties(rng, (2, 2, *map(int, rng.integers(10, 14, 2))))])


# ---- products and normalisations --------------------------------------------------------------------------


@drawn("InnerProduct")
def _inner_product(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4, most=5)
    axis = int(rng.integers(-len(of), len(of)))
    own = f"num_output: {rng.integers(1, 5)} axis: {axis} {fields(rng, bias_term=BOOL, transpose=BOOL)}"
    return Layer(type, f"inner_product_param {{ {own} }}", [of])


@drawn("Embed")
def _embed(rng: Rng, type: str) -> Layer:
    size = int(rng.integers(1, 6))
    own = f"num_output: {rng.integers(1, 5)} input_dim: {size} {fields(rng, bias_term=BOOL)}"
    index = rng.integers(0, size, shape(rng, 1, 2, 3)) + pick(rng, 0, 0.7)
    return Layer(type, f"embed_param {{ {own} }}", [index], to_inputs=False)


@drawn("BatchNorm")
def _batch_norm(rng: Rng, type: str) -> Layer:
    of = (int(rng.integers(3, 6)), *shape(rng, 1, 2, 3, 4, most=5))
    own = fields(rng, eps=(1e-5, 1e-2), use_global_stats=BOOL, moving_average_fraction=(0.999, 0.5, 0, 1))
    blobs = [
        rng.normal(0, 1, of[1]),
        rng.uniform(0.1, 2, of[1]),
        np.array([pick(rng, 1, 2.5, 0.2, 0, 999.98)]),
    ]
    params = [blob.astype(np.float32) for blob in blobs]
    return Layer(type, f"batch_norm_param {{ {own} }}", [of], params=params, phase=phase(rng))


@drawn("Scale", "Bias")
def _scale(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4, most=5)
    axis = int(rng.integers(0, len(of)))
    end = int(rng.integers(axis, len(of) + 1))
    own = f"axis: {pick(rng, axis, axis - len(of))} "
    bottoms: list[Shape] = [of]
    if rng.random() < 0.4:
        bottoms.append(of[axis:end])
    else:
        own += f"num_axes: {-1 if end == len(of) and rng.random() < 0.5 else end - axis} "
    own += fields(rng, bias_term=BOOL) if type == "Scale" else ""
    return Layer(type, f"{type.lower()}_param {{ {own} }}", bottoms)


@drawn("LRN")
def _lrn(rng: Rng, type: str) -> Layer:
    own = fields(
        rng, local_size=(1, 3, 5, 7), alpha=(1, 0.1, 1e-4, 3), beta=(0.75, 0.5, 1, 0.3), k=(1, 2, 0.5),
        norm_region=("ACROSS_CHANNELS", "WITHIN_CHANNEL"),
    )  # fmt: skip
    return Layer(type, f"lrn_param {{ {own} }}", [(2, *shape(rng, 3, most=7))])


@drawn("MVN")
def _mvn(rng: Rng, type: str) -> Layer:
    own = fields(rng, across_channels=BOOL, normalize_variance=BOOL, eps=(1e-9, 0.1, 1))
    return Layer(type, f"mvn_param {{ {own} }}", [(2, 3, *map(int, rng.integers(4, 7, pick(rng, 1, 2))))])


# ---- several blobs ----------------------------------------------------------------------------------------


@drawn("Eltwise")
def _eltwise(rng: Rng, type: str) -> Layer:
    count, of = int(rng.integers(2, 5)), shape(rng, 1, 2, 4)
    operation = pick(rng, "SUM", "SUM", "PROD", "MAX")
    own = f"operation: {operation} "
    if operation == "SUM" and rng.random() < 0.7:
        own += " ".join(f"coeff: {pick(rng, 1, -1, 0.5, 2, 0)}" for _ in range(count))
    if operation == "PROD":
        own += fields(rng, stable_prod_grad=BOOL)
    values = [ties(rng, of) for _ in range(count)]
    if "stable_prod_grad: false" in own:
        values = [v + np.sign(v) * 0.1 + (v == 0) for v in values]
    return Layer(type, f"eltwise_param {{ {own} }}", values)


@drawn("Concat")
def _concat(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4, most=4)
    axis = int(rng.integers(0, len(of)))
    bottoms = [(*of[:axis], int(rng.integers(1, 4)), *of[axis + 1 :]) for _ in range(rng.integers(1, 4))]
    own = pick(rng, f"axis: {axis}", f"axis: {axis - len(of)}", f"concat_dim: {axis}")
    return Layer(type, f"concat_param {{ {own} }}", bottoms)


@drawn("Slice")
def _slice(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4, most=4)
    axis, tops = int(rng.integers(0, len(of))), int(rng.integers(1, 4))
    own = pick(rng, f"axis: {axis}", f"axis: {axis - len(of)}", f"slice_dim: {axis}")
    size = tops * int(rng.integers(1, 4))
    if tops > 1 and rng.random() < 0.6:
        points = sorted(rng.choice(np.arange(1, size), tops - 1, replace=False)) if size > tops - 1 else []
        own += "".join(f" slice_point: {p}" for p in points)
    return Layer(type, f"slice_param {{ {own} }}", [(*of[:axis], size, *of[axis + 1 :])], tops=tops)


@drawn("Split")
def _split(rng: Rng, type: str) -> Layer:
    return Layer(type, "", [shape(rng, 1, 2, 4)], tops=int(rng.integers(1, 4)))


@drawn("Crop")
def _crop(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4)
    axis = int(rng.integers(0, len(of)))
    size = [int(rng.integers(1, n + 1)) if i >= axis else n for i, n in enumerate(of)]
    offsets = [int(rng.integers(0, of[i] - size[i] + 1)) for i in range(axis, len(of))]
    offsets = [min(offsets)] if rng.random() < 0.3 else offsets
    own = f"axis: {pick(rng, axis, axis - len(of))} " + " ".join(f"offset: {o}" for o in offsets)
    return Layer(type, f"crop_param {{ {own} }}", [of, tuple(size)])


@drawn("Filter")
def _filter(rng: Rng, type: str) -> Layer:
    n, more = int(rng.integers(2, 6)), int(rng.integers(1, 3))
    bottoms: list[Any] = [(n, *shape(rng, 0, 1, 3)) for _ in range(more)]
    chosen = rng.integers(0, 2, (n,))
    chosen[rng.integers(n)] = 1
    # Its tops are smaller than the rule can know, so that only they are compared, without a gradient.
    return Layer(type, "", [*bottoms, chosen], tops=more, graded=(), to_inputs=False)


# ---- one blob in another form -----------------------------------------------------------------------------


@drawn("Reshape")
def _reshape(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4)
    start = int(rng.integers(0, len(of) + 1))
    end = int(rng.integers(start, len(of) + 1))
    left = math.prod(of[start:end])
    dims = []
    for _ in range(rng.integers(0, 3)):
        dims.append(int(pick(rng, *[k for k in range(1, left + 1) if left % k == 0])))
        left //= dims[-1]
    dims.insert(int(rng.integers(0, len(dims) + 1)), -1 if rng.random() < 0.5 else left)
    dims = [
        0 if start + i < len(of) and n == of[start + i] and rng.random() < 0.5 else n
        for i, n in enumerate(dims)
    ]
    own = f"axis: {pick(rng, start, start - len(of) - 1)} num_axes: {end - start} shape {{ "
    return Layer(type, f"reshape_param {{ {own} {' '.join(f'dim: {n}' for n in dims)} }} }}", [of])


@drawn("Flatten")
def _flatten(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4)
    start = int(rng.integers(0, len(of)))
    end = int(rng.integers(start, len(of)))
    own = f"axis: {pick(rng, start, start - len(of))} end_axis: {pick(rng, end, end - len(of))}"
    return Layer(type, f"flatten_param {{ {own} }}", [of])


@drawn("Tile")
def _tile(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4, most=4)
    return Layer(
        type, f"tile_param {{ axis: {rng.integers(-len(of), len(of))} tiles: {rng.integers(1, 4)} }}", [of]
    )


@drawn("Reduction")
def _reduction(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4)
    own = f"axis: {rng.integers(-len(of), len(of))} "
    own += fields(rng, operation=("SUM", "ASUM", "SUMSQ", "MEAN"), coeff=(1, 2, -0.5, 0))
    return Layer(type, f"reduction_param {{ {own} }}", [ties(rng, of)])


@drawn("ArgMax")
def _argmax(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3, 4)
    axis = int(rng.integers(-len(of), len(of))) if rng.random() < 0.5 else None
    among = math.prod(of[1:]) if axis is None else of[axis]
    own = f"top_k: {rng.integers(1, among + 1)} {fields(rng, out_max_val=BOOL)}"
    own += f" axis: {axis}" if axis is not None else ""
    return Layer(type, f"argmax_param {{ {own} }}", [ties(rng, of)], graded=(), to_inputs=False)


@drawn("BatchReindex")
def _batch_reindex(rng: Rng, type: str) -> Layer:
    of = shape(rng, 1, 2, 3)
    index = rng.integers(0, of[0], int(rng.integers(1, 7)))
    return Layer(type, "", [of, index], to_inputs=False)


# ---- losses -----------------------------------------------------------------------------------------------


def _loss_param(rng: Rng, *, legacy: bool = True) -> tuple[str, int | None]:
    ignored = pick(rng, None, 0, 1, 255, -1)
    own = fields(rng, 0.5, normalization=("FULL", "VALID", "BATCH_SIZE", "NONE"))
    own += " " + fields(rng, 0.3, normalize=BOOL) if legacy else ""
    own += "" if ignored is None else f" ignore_label: {ignored}"
    return f"loss_param {{ {own} }}", ignored


@drawn("SoftmaxWithLoss", "InfogainLoss", "Accuracy")
def _labelled(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4, most=5)
    # A loss wants the batch of its bottoms to be equal.
    axis = int(rng.integers(type != "Accuracy", len(of)))
    wide = (*of[:axis], *(1,) * pick(rng, 0, 1), *of[axis + 1 :])
    own, ignored = _loss_param(rng, legacy=type != "InfogainLoss")
    name = {"SoftmaxWithLoss": "softmax", "InfogainLoss": "infogain_loss", "Accuracy": "accuracy"}[type]
    more = f"axis: {pick(rng, axis, axis - len(of))}"
    metric = type == "Accuracy"
    if metric:
        own, ignored = "", pick(rng, None, 1, 255)
        more += f" top_k: {rng.integers(1, of[axis] + 1)}"
        more += "" if ignored is None else f" ignore_label: {ignored}"
    bottoms: list[Any] = [ties(rng, of) * pick(rng, 1, 10), labels(rng, wide, of[axis], ignored)]
    if type == "InfogainLoss":
        bottoms.append(rng.random((1, 1, of[axis], of[axis])))
    return Layer(
        type, f"{name}_param {{ {more} }} {own}", bottoms, tops=2 if metric and rng.random() < 0.4 else 1,
        graded=() if metric else None, to_inputs=type == "SoftmaxWithLoss", phase=phase(rng),
    )  # fmt: skip


@drawn("SigmoidCrossEntropyLoss")
def _cross_entropy(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4, most=5)
    own, ignored = _loss_param(rng)
    targets = rng.choice([0, 1, 0.3, 1], of)
    if ignored is not None:
        targets[rng.random(of) < 0.3] = ignored
    return Layer(type, own, [rng.normal(0, 1, of) * pick(rng, 1, 20), targets])


@drawn("EuclideanLoss")
def _euclidean(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4)
    return Layer(type, "", [of, pick(rng, of, (of[0], math.prod(of[1:])))])


@drawn("HingeLoss", "MultinomialLogisticLoss")
def _hinge(rng: Rng, type: str) -> Layer:
    of = shape(rng, 2, 3, 4, most=4)
    values = ties(rng, of) if type == "HingeLoss" else np.abs(ties(rng, of))
    own = f"hinge_loss_param {{ {fields(rng, norm=('L1', 'L2'))} }}"
    return Layer(type, own, [values, labels(rng, of[:1], math.prod(of[1:]))])


@drawn("ContrastiveLoss")
def _contrastive(rng: Rng, type: str) -> Layer:
    of = (*shape(rng, 2, most=5), *(1,) * pick(rng, 0, 2))
    a = rng.normal(0, 1, of)
    b = a + rng.normal(0, 1, of) * pick(rng, 0.1, 1)
    own = fields(rng, margin=(1, 0.5, 2), legacy_version=BOOL)
    return Layer(type, f"contrastive_loss_param {{ {own} }}", [a, b, rng.integers(0, 2, of[0])])


# ---- recurrent --------------------------------------------------------------------------------------------


@drawn("LSTM", "RNN")
def _recurrent(rng: Rng, type: str) -> Layer:
    steps, streams, outputs = (int(n) for n in rng.integers(1, 4, 3))
    exposed = rng.random() < 0.5
    cont = (rng.random((steps, streams)) < 0.7).astype(float)
    bottoms: list[Any] = [rng.normal(0, 0.3, (steps, streams, *shape(rng, 1, 2, most=3))), cont]
    if rng.random() < 0.4:
        bottoms.append((streams, *shape(rng, 1, 2, most=3)))
    states = (2 if type == "LSTM" else 1) if exposed else 0
    bottoms += [(1, streams, outputs)] * states
    own = f"num_output: {outputs} expose_hidden: {str(exposed).lower()}"
    return Layer(type, f"recurrent_param {{ {own} }}", bottoms, tops=1 + states, scale=0.5)


@drawn("LSTMUnit")
def _lstm_unit(rng: Rng, type: str) -> Layer:
    streams, outputs = (int(n) for n in rng.integers(1, 4, 2))
    bottoms: list[Any] = [(1, streams, outputs), (1, streams, 4 * outputs), rng.integers(0, 2, (1, streams))]
    return Layer(type, "", bottoms, tops=2)
