"""MNN: found by running it against real Caffe, layer by layer and by random nets (`make fuzz-consumers`).

What is not listed here computes what Caffe computes.
"""

from __future__ import annotations

from netbuilder.checks.consumers.base import (
    COMPUTING,
    CONVOLUTIONS,
    CROP_IN_PLACE,
    DEPLOYED,
    INLINE_BLOBS,
    LRN_K,
    NOT_DEPLOY,
    OLD_AXIS,
    SECOND_TOP,
    TRAINS,
    Limit,
    Target,
    types,
    uneven_window,
)
from netbuilder.checks.consumers.conditions import (
    axes_matter,
    channel_axis,
    clip_matters,
    counts_from_end,
    floor_matters,
    misses_axes,
    nearly_one,
    off_channels,
    rank,
    scalar,
    shape,
    window,
)
from netbuilder.checks.consumers.mnn_merging import MERGED, computes_nothing, is_merged, is_read, skipped
from netbuilder.checks.graph import Graph
from netbuilder.layers import RULES, Shape, canonical_axis, elements
from netbuilder.net import Blob, Layer

__all__ = ["MNN"]

_SUM = 1
# The forks' fields in the schema of its converter, which refuses a file with any other.
_KNOWN = frozenset(
    "LayerParameter." + name
    for name in (
        "annotated_data_param", "center_loss_param", "convolution3d_param", "detection_evaluate_param",
        "detection_output_param", "interp_param", "multibox_loss_param", "norm_param", "permute_param",
        "pooling3d_param", "prior_box_param", "roi_pooling_param", "shuffle_channel_param", "upsample_param",
    )
) | frozenset(
    "TransformationParameter." + name
    for name in (
        "crop_h", "crop_w", "distort_param", "emit_constraint", "expand_param", "noise_param", "resize_param",
    )
)  # fmt: skip


def _refuses(name: str) -> bool:
    return name not in _KNOWN or name in COMPUTING


def _uneven(layer: Layer) -> bool:
    """Whether a repeated field has values that differ, and that matter to the image and the window."""
    found, fields = window(layer), ["kernel_size", "stride", "pad", "dilation"]
    if found is not None:
        (kernel, stride, pad, dilation), size = found
        room = [n + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1 for i, n in enumerate(size)]
        if set(kernel) == {1}:
            fields.remove("dilation")
        if layer.type == "Convolution" and all(0 <= r < min(stride) for r in room):
            fields.remove("stride")  # there is one window
    return uneven_window(layer, fields)


def _not_two_axes(layer: Layer) -> bool:
    """Whether a convolution moves over other than two axes, unless its window is a point."""
    p, known = layer.proto.convolution_param, shape(layer)
    if known is None or len(known) == 4:
        return False
    if layer.type == "Convolution" and p.group > 1 and known[channel_axis(layer)] < p.group**2:
        return True  # it then gives nothing
    point = all(k == 1 for k in p.kernel_size) and not any(p.pad)  # which Caffe ignores without axes
    return not point or len(known) not in (2, 3)


def _zero_dilation(layer: Layer) -> bool:
    found = window(layer)
    return found is not None and any(
        k > 1 and not d for k, d in zip(found[0].kernel, found[0].dilation, strict=True)
    )


# What computes the same of one axis as of a column.
_TAKING_ROWS = types("Bias", "Flatten", "InnerProduct", "MVN", "PReLU", "Reduction", "Reshape", "Slice")


def _as_a_whole(layer: Layer) -> Shape | None:
    """The shape that a Reshape of some of the axes would give as one of them all; None if unknown."""
    p, known = layer.proto.reshape_param, shape(layer)
    if p.num_axes == 0 or known is None or not p.shape.dim:
        return None
    whole = tuple(known[i] if n == 0 and i < len(known) else n for i, n in enumerate(p.shape.dim))
    rest = elements(tuple(n for n in whole if n != -1))
    return tuple(elements(known) // max(1, rest) if n == -1 else n for n in whole)


def _rows_differ(layer: Layer) -> bool:
    """Whether a Reshape of some of the axes gives another shape than one of them all would, but for 1s."""
    p, top = layer.proto.reshape_param, layer.tops[0].shape
    if p.axis == 0 and p.num_axes == -1:
        return not p.shape.dim
    whole = _as_a_whole(layer)
    return whole is None or top is None or [n for n in whole if n != 1] != [n for n in top if n != 1]


def _ones_matter(layer: Layer, graph: Graph) -> bool:
    """Whether the axes of 1 that such a Reshape keeps in Caffe move others, which a layer after it sees."""
    p, top = layer.proto.reshape_param, layer.tops[0]
    if p.axis == 0 and p.num_axes == -1:
        return False
    whole, real = _as_a_whole(layer) or (), top.shape or ()
    if whole == real[: len(whole)]:  # 1s at the end are missing
        return len(whole) == 1 < len(real) and axes_matter(top, graph, _TAKING_ROWS)
    return axes_matter(top, graph, types("InnerProduct"))


def _flattens_wrongly(layer: Layer) -> bool:
    p, known = layer.proto.flatten_param, shape(layer)
    if p.HasField("end_axis"):
        return True
    if p.axis >= 0 or known is None:
        return p.axis < 0
    return elements(known[: canonical_axis(p.axis, known)]) != 1


def _flattens_to_more(layer: Layer, graph: Graph) -> bool:
    """Whether the axes that a negative axis adds at the end reach a layer that looks at them."""
    return layer.proto.flatten_param.axis < 0 and axes_matter(layer.tops[0], graph, types("InnerProduct"))


def _flattened_later(layer: Layer, graph: Graph) -> bool:
    """Whether only fully connected layers read a Flatten that keeps the images apart: they flatten again."""
    p, known, readers = layer.proto.flatten_param, shape(layer), graph.readers.get(layer.tops[0], [])
    if known is None or not readers:
        return False
    apart = canonical_axis(p.axis, known) > 0 or canonical_axis(p.end_axis, known) == 0
    return apart and all(r.type == "InnerProduct" and r.proto.inner_product_param.axis > 0 for r in readers)


# What has as many axes as its first bottom.
_KEEPING = types("Concat", "Convolution", "Deconvolution", "Slice")


def _is_flat(blob: Blob) -> bool:
    """Whether a blob of fewer axes has four to it, as it makes them in Flatten."""
    layer = blob.layer
    while layer.bottoms and len(blob.shape or (0,) * 4) < 4:
        if layer.type == "Flatten":
            return True
        if layer.type not in _KEEPING and RULES[layer.type].traits.keeps_shape is not True:
            return False
        blob = layer.bottoms[0]
        layer = blob.layer
    return False


def _counts_behind_flatten(layer: Layer) -> bool:
    """Whether an axis counted from the end is another one, as the blob has four axes to it."""
    return counts_from_end(layer) and any(_is_flat(b) for b in layer.bottoms)


def _joins_flat(layer: Layer) -> bool:
    """Whether some bottoms have four axes to it, and others fewer: as Eltwise, of a blob of one axis only."""
    flat = [_is_flat(b) for b in layer.bottoms]
    if layer.type == "Concat":
        return any(flat) and not flat[0]
    return rank(layer) == 1 and len(set(flat)) > 1


def _reads_other_images(layer: Layer, graph: Graph) -> bool:
    """Whether an InnerProduct reads a Reshape that changes the axes before those which it multiplies."""
    known, top = shape(layer), layer.tops[0].shape
    if known is None or top is None:
        return False
    blobs = [layer.tops[0]]
    for blob in blobs:  # grows
        for reader in graph.readers.get(blob, ()):
            if reader.type == "InnerProduct":
                axis = reader.proto.inner_product_param.axis
                if axis > 0 and known[:axis] != top[:axis]:
                    return True
            elif skipped(reader):
                blobs += reader.tops
    return False


def _reduces_wrongly(layer: Layer) -> bool:
    """Whether a Reduction counts from the end, or has more axes than the four that it is made for."""
    p, axes = layer.proto.reduction_param, rank(layer)
    return axes != 4 and (p.axis < 0 or (axes is not None and axes > 4))


def _scales_wrongly(layer: Layer) -> bool:
    """Whether a factor is not one per channel, or the channels are the only axis and more than two."""
    return off_channels(layer) or (rank(layer) == 1 and elements(shape(layer) or ()) > 2)


def _adds_wrongly(layer: Layer) -> bool:
    p = layer.proto.bias_param
    # A matrix from these is one of four axes to it.
    if rank(layer) == 2 and p.axis == 1 and layer.bottoms[0].layer.type in ("Flatten", "InnerProduct"):
        return len(layer.bottoms) > 1 or p.num_axes == 0
    fits = rank(layer) in (None, 4) or shape(layer) == (1,)
    return len(layer.bottoms) > 1 or p.num_axes == 0 or p.axis < 0 or not fits


def _crops_wrongly(layer: Layer) -> bool:
    """Whether the bottoms have different numbers of axes, or it crops before an axis counted from the end."""
    known = [b.shape for b in layer.bottoms if b.shape is not None]
    if layer.unknown or len(known) < 2:
        return False
    axes, axis = len(known[0]), layer.proto.crop_param.axis
    if len(known[1]) != axes:
        return True
    return axis < 0 and known[0][: axes + axis] != known[1][: axes + axis]


def _weighs_wrongly(layer: Layer) -> bool:
    """Whether an Eltwise has coefficients, but for a difference."""
    p = layer.proto.eltwise_param
    return bool(p.coeff) and (list(p.coeff) != [1, -1] or p.operation != _SUM)


def _crops_nothing(layer: Layer) -> bool:
    """Whether a Crop without an offset, of which it makes nothing, cuts nothing off."""
    return not layer.proto.crop_param.offset and shape(layer) == layer.tops[0].shape


MNN = Target(
    "mnn",
    "MNN 3.6, mnnconvert -f CAFFE",
    (
        NOT_DEPLOY,
        INLINE_BLOBS,
        OLD_AXIS,
        CROP_IN_PLACE,
        Limit(
            "in-place", types("Eltwise"), "a product in place computes other values",
            "give the top a name of its own", lambda layer: layer.in_place,
        ),
        SECOND_TOP,
        TRAINS,
        Limit(
            "input-tops", types("Input"), "several inputs in one layer fail",
            "write one Input layer per input",
            lambda layer: len(layer.tops) > 1,
        ),
        Limit(
            "scale-two-bottoms", types("Scale"),
            "the converter wants weights in every Scale, so one of two bottoms is refused",
            "spread the factor by Concat and multiply by Eltwise PROD", lambda layer: len(layer.bottoms) == 2,
        ),
        Limit(
            "scale-scalar", types("Scale"), "num_axes: 0 scales the first channel only", "scale by Power",
            lambda layer: scalar(layer) and (shape(layer) or ())[1:2] != (1,),
        ),
        Limit(
            "uneven-window", CONVOLUTIONS, "of repeated kernel_size, stride or pad not all values are read",
            "write the _h/_w pairs", _uneven,
        ),
        Limit(
            "several-bottoms", CONVOLUTIONS, "several bottoms in one layer fail", "use one layer per bottom",
            lambda layer: len(layer.bottoms) > 1,
        ),
        Limit(
            "round-mode", types("Pooling"), "round_mode is ignored: sizes are rounded up",
            "leave round_mode out, and crop what is too much", floor_matters,
        ),
        Limit(
            "pooling-clip", types("Pooling"), "a last window that starts outside the image is kept",
            "leave pad out, or crop what is too much", clip_matters,
        ),
        Limit(
            "coeff", types("Eltwise"), "coeff gives wrong values, but for a sum with 1 and -1",
            "scale the bottoms by Power before",
            _weighs_wrongly,
        ),
        Limit(
            "slice-equal", types("Slice"), "without slice_point the net cannot be run", "write slice_point",
            lambda layer: not layer.proto.slice_param.slice_point and len(layer.tops) > 1,
        ),
        Limit(
            "coeff", types("Reduction"), "coeff is ignored", "scale by Power behind it",
            lambda layer: not nearly_one(layer.proto.reduction_param.coeff),
        ),
        Limit(
            "negative-axis", types("Reduction"), "a negative axis fails, as more than 4 axes do",
            "count the axis from the front", _reduces_wrongly,
        ),
        Limit(
            "log", types("Log"), "Log gives other values unless its base is written", "leave Log out",
            lambda layer: layer.proto.log_param.base == -1,
        ),
        Limit(
            "argmax", types("ArgMax"), "ArgMax gives other values", "take the maximum outside the net",
            lambda layer: layer.proto.argmax_param.out_max_val or elements(shape(layer) or (2,)) != 1,
        ),
        Limit("embed", types("Embed"), "Embed gives other values", "look the rows up outside the net"),
        Limit(
            "mvn", types("MVN"), "MVN gives other values, unless normalize_variance is false",
            "leave MVN out",
            lambda layer: layer.proto.mvn_param.normalize_variance,
        ),
        Limit(
            "mvn", types("MVN"), "MVN does not make four axes of fewer, which a layer after it needs",
            "Reshape to (n,c,h,w) before", None, misses_axes,
        ),
        Limit(
            "batch-stats", types("BatchNorm"), "use_global_stats: false is ignored",
            "leave use_global_stats out",
            lambda layer: (p := layer.proto.batch_norm_param).HasField("use_global_stats")
            and not p.use_global_stats,
        ),
        Limit(
            "scale-axes", types("Scale"),
            "a learnt factor over other axes than the channels gives other values",
            "keep axis and num_axes at 1", _scales_wrongly,
        ),
        Limit(
            "bias-axes", types("Bias"), "Bias takes 4 axes, one bottom, no negative axis and no num_axes: 0",
            "Reshape to (n,c,h,w) before, and count the axis from the front", _adds_wrongly,
        ),
        Limit(
            "reshape-axes", types("Reshape"), "axis and num_axes are ignored, and a shape without axes fails",
            "write the whole shape", _rows_differ,
        ),
        Limit(
            "reshape-axes", types("Reshape"), "axis and num_axes are ignored, which layers after it see",
            "write the whole shape", lambda layer: not _rows_differ(layer), _ones_matter,
        ),
        Limit(
            "flatten-axes", types("Flatten"), "end_axis and a negative axis give other shapes", "use Reshape",
            _flattens_wrongly, lambda layer, graph: not _flattened_later(layer, graph),
        ),
        Limit(
            "flatten-axes", types("Flatten"), "a negative axis adds axes, which layers after it see",
            "count the axis from the front",
            lambda layer: not _flattens_wrongly(layer), _flattens_to_more,
        ),
        Limit(
            "flatten-axes", types("Concat", "Crop", "Slice", "Softmax"),
            "behind a Flatten, which makes four axes, an axis counted from the end is another one",
            "count the axis from the front, or write Reshape for Flatten", _counts_behind_flatten,
        ),
        Limit(
            "flatten-axes", types("Concat", "Eltwise"),
            "what comes from a Flatten has four axes, and does not fit the other bottoms",
            "write Reshape for Flatten", _joins_flat,
        ),
        Limit(
            "reshape-axes", types("Reshape"), "with another number of images an InnerProduct after it fails",
            "put a Flatten between", None, _reads_other_images,
        ),
        Limit(
            "softmax-axis", types("Softmax"), "a blob of one axis gives other values",
            "Reshape to two axes before",
            lambda layer: rank(layer) == 1 and shape(layer) != (1,),
        ),
        Limit(
            "product-axes", types("InnerProduct"), "an axis behind the fourth fails",
            "Reshape to fewer axes before", lambda layer: layer.proto.inner_product_param.axis > 3,
        ),
        Limit(
            "negative-axis", types("InnerProduct"), "a negative axis fails", "count the axis from the front",
            lambda layer: layer.proto.inner_product_param.axis < 0,
        ),
        Limit(
            "spatial-axes", CONVOLUTIONS, "the channels must be axis 1", "Reshape to (n,c,h,w) before",
            lambda layer: channel_axis(layer) != 1,
        ),
        Limit(
            "spatial-axes", CONVOLUTIONS, "only two spatial axes work", "Reshape to (n,c,h,w) before",
            _not_two_axes,
        ),
        Limit(
            "dilation-zero", CONVOLUTIONS, "a dilation of 0 fails", "write dilation: 1, or a kernel of 1",
            _zero_dilation,
        ),
        Limit(
            "crop-offset", types("Crop"), "Crop without an offset cuts nothing off", "write offset: 0",
            lambda layer: not layer.proto.crop_param.offset and not _crops_nothing(layer),
        ),
        Limit(
            "crop-rank", types("Crop"),
            "Crop wants bottoms of as many axes, and crops all of them if its axis is negative",
            "Reshape one of the bottoms, and count the axis from the front", _crops_wrongly,
        ),
        LRN_K,
        Limit(
            "nothing-computed", frozenset(),
            "an input is an output of the net, without a layer that computes something",
            "leave {name} out", where=computes_nothing,
        ),
        Limit(
            "output-read", frozenset(),
            "an output of the net is the blob that another layer reads: it gives no such output",
            "read the other blob by {name}, or leave {name} out", where=is_read,
        ),
        Limit(
            "output-merged", MERGED,
            "another layer computes the same of the same blob: they become one, and this output is not given",
            "leave {name} out, or put another layer behind it", where=is_merged,
        ),
    ),
    types=frozenset(
        DEPLOYED
        - types("BatchReindex", "Clip", "Filter", "Im2col", "LSTM", "LSTMUnit", "Parameter", "RNN", "SPP")
        - types("Swish", "Tile")
        | types("Convolution3D", "ConvolutionDepthwise", "DepthwiseConv", "DetectionOutput", "Interp")
        | types("Normalize", "Permute", "Pooling3D", "PriorBox", "ROIPooling", "ReLU6")
        | types("Resize", "ShuffleChannel", "Upsample")
    ),
    refuses=_refuses,
)  # fmt: skip
