"""General-purpose layers of forks."""

from __future__ import annotations

from math import prod

from netbuilder.export.onnx.forms.normalization import normalized
from netbuilder.export.onnx.graph import At, Form, Value
from netbuilder.layers.base import legacy_shape

__all__ = ["COVERED", "REFUSED"]

_INFERENCE = 1
_SEGNET_EPS = 1e-9


def permute(at: At) -> str:
    """Axes that `order` omits follow in their old order."""
    order = list(at.p.order)
    rest = [axis for axis in range(len(at.x.shape)) if axis not in order]
    return at.op("Transpose", at.x, perm=order + rest)


def normalize(at: At) -> str:
    """Each position, or each image with across_spatial, to length 1, and then scaled."""
    axes = list(range(1, len(at.x.shape))) if at.p.across_spatial else [1]
    square = at.reduced("ReduceSum", at.op("Mul", at.x, at.x), axes)
    length = at.op("Sqrt", at.op("Add", square, at.number(at.p.eps)))
    scale = at.arrays[0]
    if scale.ndim:
        scale = scale.reshape(-1, *(1,) * (len(at.x.shape) - 2))
    return at.op("Mul", at.op("Div", at.x, length), at.weight(0, scale, "0"))


def axpy(at: At) -> str:
    """Bottom 1 times its gate, bottom 0, plus bottom 2; the gate is (n, c) or (n, c, 1, 1)."""
    gate, x, y = at.bottoms
    wanted = len(x.shape)
    name = gate.name
    if len(gate.shape) != wanted:
        name = at.reshaped(gate, [0, 0, *[1] * (wanted - 2)])
    return at.op("Add", y, at.op("Mul", name, x))


def interp(at: At) -> str:
    """Bilinear resizing with aligned corners; negative pads cut the bottom first."""
    p, top = at.p, at.top
    x: str | Value = at.x
    size = list(legacy_shape(at.x.shape)[2:])
    if len(at.x.shape) < 4:
        x = at.reshaped(at.x, [*[0] * len(at.x.shape), *[1] * (4 - len(at.x.shape))])
    if p.pad_beg or p.pad_end:
        x = at.sliced(x, [-p.pad_beg] * 2, [p.pad_end or 2**62] * 2, [2, 3])
        size = [n + p.pad_beg + p.pad_end for n in size]
    if not top.free.intersection((2, 3)):
        if list(top.shape[2:]) == size and not at.x.free.intersection((2, 3)):
            return x if isinstance(x, str) else x.name
        sizes = at.ints(top.shape[2:])
    elif len(at.bottoms) == 2 and at.bottoms[1].sizes(2) == top.sizes(2):
        sizes = at.sliced(at.op("Shape", at.bottoms[1]), [2], [4], [0])
    else:
        sizes = _computed(at, x)
    images = at.sliced(at.op("Shape", x), [0], [2], [0])
    return at.op(
        "Resize", x, "", "", at.op("Concat", images, sizes, axis=0),
        mode="linear", coordinate_transformation_mode="align_corners",
    )  # fmt: skip


def _computed(at: At, x: str | Value) -> str:
    """The new size of an image of any size. Source: DeepLab v2, interp_layer.cpp, Reshape."""
    p = at.p
    size = at.sliced(at.op("Shape", x), [2], [4], [0])
    one = at.ints([1])
    less = at.op("Sub", size, one)
    if p.HasField("shrink_factor"):
        less = at.op("Div", less, at.ints([p.shrink_factor]))
    return at.op("Add", at.op("Mul", less, at.ints([p.zoom_factor])), one)


def upsample(at: At) -> str:
    """Each value to the place that a mask of Pooling names, or repeated."""
    if len(at.bottoms) == 1:
        scale = float(at.p.scale or 1)
        scales = at.graph.constant([*[1.0] * (len(at.x.shape) - 2), scale, scale], "float32")
        return at.op(
            "Resize", at.x, "", scales, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    x, mask = at.bottoms
    h, w = at.fixed(at.top, [2, 3], "the image size, in which its mask counts,")
    places = at.op("Cast", at.reshaped(mask, [0, 0, -1]), to="int64")
    images = at.sliced(at.op("Shape", x), [0], [2], [0])
    empty = at.op("Expand", at.number(0), at.op("Concat", images, at.ints([h * w]), axis=0))
    filled = at.op("ScatterElements", empty, places, at.reshaped(x, [0, 0, -1]), axis=2)
    return at.reshaped(filled, [0, 0, h, w])


def shuffle_channel(at: At) -> str:
    """The first channel of each group, then the second of each, and so on; the top has 4 axes."""
    group, channels = at.p.group, at.x.shape[1]
    rows = at.reshaped(at.x, [0, group, channels // group, -1])
    turned = at.op("Transpose", rows, perm=[0, 2, 1, 3])
    if at.x.free.intersection((2, 3)):
        return at.op("Reshape", turned, at.op("Shape", at.x))
    return at.reshaped(turned, [0, channels, *legacy_shape(at.x.shape)[2:]])


def reorg(at: At) -> str:
    """Squares of positions into channels, or back, in the order of darknet."""
    s = at.p.stride
    at.fixed(at.x, range(1, len(at.x.shape)), "the image size, from which its order follows,")
    _, c, h, w = legacy_shape(at.x.shape)
    few = c // (s * s)
    if c % (s * s):
        raise at.refuse(
            f"the {c} channels of its bottom are no multiple of {s * s}, and it reads beyond them"
        )
    if at.p.reverse:
        pieces = at.reshaped(at.x, [-1, s, s, few, h, w])
        turned = at.op("Transpose", pieces, perm=[0, 3, 4, 1, 5, 2])
        return at.reshaped(turned, [-1, few, h * s, w * s])
    squares = at.reshaped(at.x, [-1, few, h, s, w, s])
    turned = at.op("Transpose", squares, perm=[0, 3, 5, 1, 2, 4])
    return at.reshaped(turned, [-1, *at.top.shape[1:]])


def bn(at: At) -> list[str] | str:
    """Normalisation by channel, then scale and shift: PSPNet's layer, or SegNet's."""
    scale, shift = (blob.reshape(-1) for blob in at.arrays[:2])
    if len(at.arrays) > 2:
        mean, variance = (blob.reshape(-1) for blob in at.arrays[2:])
        return normalized(at, at.x, scale, shift, mean, variance, at.p.eps)
    x: str | Value = at.x
    if len(at.x.shape) < 4:
        x = at.reshaped(at.x, [*[0] * len(at.x.shape), *[1] * (4 - len(at.x.shape))])
    one = (1, len(scale), 1, 1)
    tops = len(at.tops)
    if at.p.bn_mode == _INFERENCE:
        top = at.op("Mul", x, at.weight(0, scale.reshape(one), "0"))
        top = at.op("Add", top, at.weight(1, shift.reshape(one), "1"))
        zeros = at.numbers([[[[0.0]]] * prod(one)])
        return [top, *[zeros] * (tops - 1)]
    axes = [0, 2, 3]
    mean_of = at.reduced("ReduceMean", x, axes)
    centred = at.op("Sub", x, mean_of)
    variance_of = at.reduced("ReduceMean", at.op("Mul", centred, centred), axes)
    root = at.op("Sqrt", at.op("Add", variance_of, at.number(_SEGNET_EPS)))
    scaled = at.op("Mul", at.op("Div", centred, root), at.weight(0, scale.reshape(one), "0"))
    return [at.op("Add", scaled, at.weight(1, shift.reshape(one), "1")), mean_of, variance_of][:tops]


def continuation_indicator(at: At) -> str:
    """0 at the first step and 1 at the others."""
    import numpy as np

    values = np.ones(at.top.shape, np.float32)
    values[0] = 0
    return at.numbers(values)


COVERED: dict[str, Form] = {
    "Permute": Form(permute, copies=True),
    "Normalize": Form(normalize, precise=True),
    "Axpy": Form(axpy),
    "Interp": Form(interp),
    "Upsample": Form(upsample, precise=True),
    "ShuffleChannel": Form(shuffle_channel, copies=True),
    "Reorg": Form(reorg, copies=True),
    "BN": Form(bn, precise=True),
    "ContinuationIndicator": Form(continuation_indicator),
}
REFUSED: dict[str, str] = {
    "CoSData": "it reads data; `netbuilder deploy` puts an Input in its place",
}
