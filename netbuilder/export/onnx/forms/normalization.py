"""BatchNorm, Scale, Bias, LRN and MVN."""

from __future__ import annotations

from typing import Any

from netbuilder.export.onnx.graph import At, Form, Value
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED", "normalized"]

_WITHIN = 1


def batch_norm(at: At) -> str:
    """The normalisation by stored statistics, or by those of the batch; with a scale and a bias in forks."""
    import numpy as np

    p, number = at.p, len(at.arrays)
    if p.stats_batch_size:
        raise at.refuse("what stats_batch_size computes could not be checked", "leave it out")
    intel = any(p.HasField(field) for field in ("use_weight_bias", "bias_term", "filler"))
    averages = number > 3 and not intel  # NVIDIA/caffe
    eps = max(p.eps, 1e-5) if averages else p.eps
    channels = len(at.arrays[0].reshape(-1))
    scale = at.arrays[3].reshape(-1) if number > 3 else np.ones(channels, np.float32)
    bias = at.arrays[4].reshape(-1) if number > 4 else np.zeros(channels, np.float32)
    trains = at.proto.HasField("phase") and at.proto.phase == 0
    stored = p.use_global_stats if p.HasField("use_global_stats") and not averages else not trains
    if not stored:
        top = _by_batch(at, eps, scale, bias)
    else:
        factor = 1.0 if averages else float(at.arrays[2].reshape(-1)[0])
        weight = np.float32(0 if factor == 0 else 1 / factor)  # batch_norm_layer.cpp, Forward_cpu
        mean, variance = (at.arrays[i].reshape(-1) * weight for i in (0, 1))
        top = normalized(at, at.x, scale, bias, mean, variance, eps)
    return at.op("Relu", top) if p.relu else top


def normalized(at: At, x: Value, scale: Any, bias: Any, mean: Any, variance: Any, eps: float) -> str:
    """(x - mean) / sqrt(variance + eps) * scale + bias, by channel."""
    import numpy as np

    if len(x.shape) < 2:
        by = scale / np.sqrt(variance.astype(np.float64) + eps)
        scaled = at.op("Mul", x, at.weight(0, by, "by"))
        return at.op("Add", scaled, at.weight(0, bias - mean * by, "plus"))
    arrays = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    names = [at.weight(0, values, suffix) for suffix, values in arrays.items()]
    return at.op("BatchNormalization", x, *names, epsilon=eps)


def _by_batch(at: At, eps: float, scale: Any, bias: Any) -> str:
    axes = [0, *range(2, len(at.x.shape))]
    centred = at.op("Sub", at.x, at.reduced("ReduceMean", at.x, axes))
    variance = at.reduced("ReduceMean", at.op("Mul", centred, centred), axes)
    top = at.op("Div", centred, at.op("Sqrt", at.op("Add", variance, at.number(eps))))
    shape = (-1, *(1,) * (len(at.x.shape) - 2))
    if len(at.arrays) > 3:
        top = at.op("Mul", top, at.weight(3, scale.reshape(shape), "scale"))
    return at.op("Add", top, at.weight(4, bias.reshape(shape), "bias")) if len(at.arrays) > 4 else top


def scale(at: At) -> str:
    """The product with a factor that spans some axes, plus a bias."""
    factor = _spread(at, 0) if len(at.bottoms) == 1 else _spread_bottom(at)
    top = at.op("Mul", at.x, factor)
    if not at.p.bias_term:
        return top
    own = at.arrays[-1].ndim or len(at.bottoms) == 1
    rank = at.arrays[-1].ndim if own else len(at.bottoms[1].shape)
    return at.op("Add", top, _spread(at, len(at.arrays) - 1, rank))


def bias(at: At) -> str:
    """The sum with a bias that spans some axes."""
    return at.op("Add", at.x, _spread(at, 0) if len(at.bottoms) == 1 else _spread_bottom(at))


def _after(at: At, rank: int) -> int:
    """How many axes follow those that a factor of this rank spans."""
    return len(at.x.shape) - canonical_axis(at.p.axis, at.x.shape) - rank if rank else 0


def _spread(at: At, i: int, rank: int | None = None) -> str:
    """A learnt factor in the shape in which ONNX repeats it."""
    array = at.arrays[i]
    after = _after(at, array.ndim if rank is None else rank)
    return at.weight(i, array.reshape(*array.shape, *(1,) * after), str(i)) if after else at.weight(i)


def _spread_bottom(at: At) -> str:
    factor = at.bottoms[1]
    after = _after(at, len(factor.shape))
    if not after:
        return factor.name
    return at.reshaped(factor, [*[0] * len(factor.shape), *[1] * after])


def lrn(at: At) -> str:
    """Across channels ONNX's own; within a channel Caffe ignores k, and uses 1."""
    p, n = at.p, at.p.local_size
    if p.norm_region != _WITHIN:
        return at.op("LRN", at.x, size=n, alpha=p.alpha, beta=p.beta, bias=p.k)
    square = at.op("Mul", at.x, at.x)
    mean = at.op(
        "AveragePool", square, kernel_shape=[n, n], strides=[1, 1], pads=[n // 2] * 4, count_include_pad=1
    )
    sums = at.op("Add", at.op("Mul", mean, at.number(p.alpha)), at.number(1))
    return at.op("Mul", at.x, at.op("Pow", sums, at.number(-p.beta)))


def mvn(at: At) -> str:
    """Each channel of each image, or each image, to mean 0 and deviation 1; the top has 4 axes."""
    p = at.p
    x: str | Value = at.x
    if len(at.x.shape) < 4:
        x = at.as_top(at.x, at.x)
    axes = [1, 2, 3] if p.across_channels else [2, 3]
    centred = at.op("Sub", x, at.reduced("ReduceMean", x, axes))
    if not p.normalize_variance:
        return centred
    deviation = at.op("Sqrt", at.reduced("ReduceMean", at.op("Mul", centred, centred), axes))
    return at.op("Div", centred, at.op("Add", deviation, at.number(p.eps)))


COVERED: dict[str, Form] = {
    "BatchNorm": Form(batch_norm),
    "Scale": Form(scale),
    "Bias": Form(bias),
    "LRN": Form(lrn, precise=True),
    "MVN": Form(mvn, precise=True),
}
REFUSED: dict[str, str] = {}
