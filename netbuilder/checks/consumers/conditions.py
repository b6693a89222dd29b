"""Conditions that limits of several consumers share. None holds where shapes that it needs are unknown."""

from __future__ import annotations

from netbuilder.checks.graph import Graph
from netbuilder.layers import RULES, Shape, canonical_axis, elements
from netbuilder.layers.arithmetic import Window, conv_window, pool_extent, pool_window
from netbuilder.net import Blob, Layer

__all__ = [
    "axes_matter",
    "beyond_image",
    "channel_axis",
    "clip_matters",
    "clips_unpadded",
    "counts_from_end",
    "covered",
    "floor_matters",
    "misses_axes",
    "nearly_one",
    "off_channels",
    "old_axis",
    "rank",
    "scalar",
    "shape",
    "some_top_unread",
    "trains",
    "window",
]

# What computes alike whatever the axes of its bottom.
_ELEMENTWISE = frozenset(
    (
        "AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "Log", "Power", "ReLU", "Sigmoid", "Silence",
        "Split", "Swish", "TanH", "Threshold",
    )
)  # fmt: skip
# What moves a window over the axes behind the channels.
_WINDOWS = frozenset(("Convolution", "Deconvolution", "Im2col", "LRN", "Pooling", "SPP"))
_AXIS_PARAMS = (
    "argmax_param", "bias_param", "concat_param", "convolution_param", "crop_param", "flatten_param",
    "inner_product_param", "reduction_param", "reshape_param", "scale_param", "slice_param", "softmax_param",
    "tile_param",
)  # fmt: skip
_TRAIN = 0
_FLOOR = 1


def nearly_one(value: float) -> bool:
    """Whether a float field is 1."""
    return abs(value - 1) < 1e-6


def shape(layer: Layer) -> Shape | None:
    """The shape of the first bottom; None if it is unknown, or the layer was refused."""
    return layer.bottoms[0].shape if layer.bottoms and not layer.unknown else None


def rank(layer: Layer) -> int | None:
    """The number of axes of the first bottom."""
    known = shape(layer)
    return None if known is None else len(known)


def channel_axis(layer: Layer) -> int:
    """The axis of a convolution's channels, from the front; 1 where that is unknown."""
    known = shape(layer)
    return 1 if known is None else canonical_axis(layer.proto.convolution_param.axis, known)


def window(layer: Layer) -> tuple[Window, Shape] | None:
    """The window of a convolution or pooling, and the sizes that it moves over."""
    known = shape(layer)
    if known is None:
        return None
    if layer.type == "Pooling":
        return pool_window(layer.proto.pooling_param, known[2:]), known[2:]
    size = known[channel_axis(layer) + 1 :]
    return conv_window(layer.proto.convolution_param, len(size)), size


def beyond_image(layer: Layer) -> bool:
    """Whether the kernel is larger than the padded image."""
    found = window(layer)
    if found is None:
        return False
    (kernel, _, pad, dilation), size = found
    return any(dilation[i] * (kernel[i] - 1) + 1 > n + 2 * pad[i] for i, n in enumerate(size))


def floor_matters(layer: Layer) -> bool:
    """Whether a pooling with round_mode: FLOOR gives another size than without, as far as is known."""
    p = layer.proto.pooling_param
    if p.round_mode != _FLOOR or p.global_pooling:
        return False
    return shape(layer) is None or _pooled(layer, floor=True) != _pooled(layer)


def clip_matters(layer: Layer) -> bool:
    """Whether Caffe drops a last window of a pooling that starts outside the image and its leading pad."""
    return _pooled(layer, clip=True) != _pooled(layer, clip=False)


def clips_unpadded(layer: Layer) -> bool:
    """Whether Caffe drops a last window on an axis without a pad, as it does if the other axis has one."""
    found, p = window(layer), layer.proto.pooling_param
    if found is None or p.global_pooling or p.round_mode == _FLOOR:
        return False
    (kernel, stride, pad, _), size = found
    bare = [(n, kernel[i], stride[i], 0) for i, n in enumerate(size) if not pad[i]]
    return any(pad) and any(pool_extent(*w, clip=True) != pool_extent(*w, clip=False) for w in bare)


def _pooled(layer: Layer, *, floor: bool = False, clip: bool | None = None) -> list[int]:
    """The size of a pooled image; Caffe clips if there is a pad."""
    found = window(layer)
    if found is None or layer.proto.pooling_param.global_pooling:
        return []
    (kernel, stride, pad, _), size = found
    clip = any(pad) if clip is None else clip and any(pad)
    return [pool_extent(n, kernel[i], stride[i], pad[i], floor=floor, clip=clip) for i, n in enumerate(size)]


def covered(layer: Layer) -> Shape | None:
    """The shape of a Scale's or Bias's learnt factor, with its first axis before it; None if unknown."""
    known = shape(layer)
    p = layer.proto.scale_param if layer.type == "Scale" else layer.proto.bias_param
    if known is None or len(layer.bottoms) != 1:
        return None
    start = canonical_axis(p.axis, known)
    return known[start:] if p.num_axes == -1 else known[start : start + p.num_axes]


def off_channels(layer: Layer) -> bool:
    """Whether a learnt factor is not one number per channel."""
    known, factor = shape(layer), covered(layer)
    if known is None or factor is None or layer.proto.scale_param.num_axes == 0 or len(known) == 1:
        return False
    start = canonical_axis(layer.proto.scale_param.axis, known)
    has_channels = known[1] == 1 or start <= 1 < start + len(factor)
    return not (has_channels and elements(factor) == known[1])


def scalar(layer: Layer) -> bool:
    """Whether a Scale learns one number for everything."""
    return layer.proto.scale_param.num_axes == 0 and len(layer.bottoms) == 1


def trains(layer: Layer) -> bool:
    """Whether its own phase field makes it work as in training, which no consumer reads."""
    return bool(layer.proto.HasField("phase") and layer.proto.phase == _TRAIN)


def old_axis(layer: Layer) -> bool:
    """Whether the axis is given by the name that it had before 2015, and is not the default one."""
    concat, piece = layer.proto.concat_param, layer.proto.slice_param
    if len(layer.bottoms) == len(layer.tops) == 1:
        return False
    if layer.type == "Concat":
        return bool(concat.HasField("concat_dim") and concat.concat_dim != 1)
    return bool(piece.HasField("slice_dim") and piece.slice_dim != 1)


def some_top_unread(layer: Layer, graph: Graph) -> bool:
    """Whether no layer reads one of the tops."""
    return any(top not in graph.readers for top in layer.tops)


def axes_matter(blob: Blob, graph: Graph, but: frozenset[str] = frozenset()) -> bool:
    """Whether a layer reads the blob, past elementwise ones and not of these types, that looks at axes."""
    for reader in graph.readers.get(blob, ()):
        if reader.type in but:
            continue
        if reader.type not in _ELEMENTWISE or any(axes_matter(top, graph, but) for top in reader.tops):
            return True
    return False


def counts_from_end(layer: Layer) -> bool:
    """Whether an axis of the layer is written as a negative number."""
    messages = [getattr(layer.proto, name) for name in _AXIS_PARAMS if layer.proto.HasField(name)]
    return any(message.axis < 0 for message in messages)


def misses_axes(layer: Layer, graph: Graph) -> bool:
    """Whether the axes that an MVN adds to fewer than four in Caffe matter to a layer after it."""
    axes = rank(layer)
    return axes not in (None, 4) and _reads_axes_from(axes or 0, layer.tops[0], graph)


def _reads_axes_from(first: int, blob: Blob, graph: Graph) -> bool:
    """Whether a layer that reads the blob needs these axes.

    It moves a window, names one of them, or one from the end, joins the blob with another, or is a Bias.
    """
    for reader in graph.readers.get(blob, ()):
        named = [getattr(reader.proto, name).axis for name in _AXIS_PARAMS if reader.proto.HasField(name)]
        p, copied = reader.proto.flatten_param, reader.proto.reshape_param.shape.dim[first:]
        if reader.type in _WINDOWS or any(axis < 0 or axis >= first for axis in named) or 0 in copied:
            return True
        if reader.type == "Bias" or any(other.layer is not blob.layer for other in reader.bottoms):
            return True
        if p.HasField("end_axis") and p.end_axis >= first:
            return True
        keeps = reader.type in RULES and RULES[reader.type].traits.keeps_shape is True
        if keeps and any(_reads_axes_from(first, top, graph) for top in reader.tops):
            return True
    return False
