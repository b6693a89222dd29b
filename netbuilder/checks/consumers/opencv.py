"""OpenCV: found by running it against real Caffe, layer by layer and by random nets (`make fuzz-consumers`).

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
)
from netbuilder.checks.consumers.conditions import (
    axes_matter,
    beyond_image,
    channel_axis,
    clips_unpadded,
    covered,
    floor_matters,
    misses_axes,
    nearly_one,
    off_channels,
    rank,
    scalar,
    shape,
    some_top_unread,
    window,
)
from netbuilder.checks.consumers.opencv_fusing import (
    fused_groups,
    fused_mvn,
    fused_rows,
    fused_scale,
    fused_silence,
    fused_statistics,
)
from netbuilder.checks.fields import lone_pairs
from netbuilder.checks.graph import Graph
from netbuilder.layers import canonical_axis, elements, is_source
from netbuilder.net import Blob, Layer

__all__ = ["OPENCV"]

_SUM = 1
# The fields of a convolution that three spatial axes need three times, and those of one value that an unknown
# field beside them, such as round_mode, makes it lose.
_REPEATED = ("kernel_size", "stride", "pad", "dilation")
_SINGLE = ("kernel_size", "stride", "pad")
# Messages in which a field that it does not know makes it lose others, and texts, which it refuses.
_SPOILT = ("BatchNormParameter", "ConvolutionParameter", "PoolingParameter")
_TEXTS = ("LayerParameter.engine", "LayerParameter.source_class")


def _refuses(name: str) -> bool:
    """Whether it refuses or misreads a fork's field; it skips others that it does not know, but no label."""
    message, *others = name.split(".")
    if name == "PoolingParameter.ceil_mode":
        return False
    return len(others) == 2 or message in _SPOILT or name in COMPUTING or name in _TEXTS


def _loses_window(layer: Layer) -> bool:
    """Whether round_mode makes it lose the window, or is FLOOR, which it does not read."""
    p = layer.proto.pooling_param
    if not p.HasField("round_mode"):
        return False
    pairs = p.HasField("kernel_h") and p.HasField("stride_h") and not any(map(p.HasField, _SINGLE))
    return not pairs or floor_matters(layer)


def _misread_depthwise(layer: Layer) -> bool:
    """Whether its fast way for one 3x3 filter per channel reads a row of one, or dilated ones, wrongly."""
    found, known, p = window(layer), shape(layer), layer.proto.convolution_param
    if found is None or known is None or len(known) != 4 or not 1 < known[1] == p.group == p.num_output:
        return False
    kernel, stride, pad, dilation = found[0]
    if kernel != (3, 3) or max(pad) > 1:
        return False
    return (1 in found[1] and dilation == (1, 1)) or (stride[1] == pad[1] == 1 and dilation[1] > 1)


def _half_pair(layer: Layer) -> bool:
    """Whether half of a pair is given alone, and is not what it takes for the missing one."""
    return any(getattr(layer.proto.convolution_param, there) for there, _ in lone_pairs(layer))


def _depth_misread(layer: Layer) -> bool:
    """Whether one of the fields stands once for three spatial axes."""
    p = layer.proto.convolution_param
    return rank(layer) == 5 and any(len(getattr(p, name)) in (1, 2) for name in _REPEATED)


def _dilated(layer: Layer) -> bool:
    found = window(layer)
    if found is None:
        return any(d != 1 for d in layer.proto.convolution_param.dilation)
    kernel, _, _, dilation = found[0]
    return any(k > 1 and d != 1 for k, d in zip(kernel, dilation, strict=True))


def _transposed(layer: Layer) -> bool:
    """Whether an InnerProduct is stored transposed, which makes no difference to a vector."""
    p, known = layer.proto.inner_product_param, shape(layer)
    if known is not None and elements(known[canonical_axis(p.axis, known) :]) == 1:
        return False
    return bool(p.transpose and p.num_output != 1)


def _negative_scale(layer: Layer) -> bool:
    """Whether a factor counts from the end, and is more than a number, or that of a blob of one axis."""
    if layer.proto.scale_param.axis >= 0:
        return False
    if len(layer.bottoms) == 2:
        return layer.bottoms[1].shape != ()
    factor = covered(layer)
    return factor is None or elements(factor) != 1 or rank(layer) == 1


def _many_off_channels(layer: Layer) -> bool:
    """Whether a learnt factor is not one number per channel, nor one for everything."""
    return off_channels(layer) and elements(covered(layer) or ()) != 1


def _negative_alone(layer: Layer) -> bool:
    """Whether the only axis is counted from the end: it adds one behind it."""
    messages = (layer.proto.concat_param, layer.proto.softmax_param, layer.proto.slice_param)
    if rank(layer) != 1 or (layer.type == "Concat" and len(layer.bottoms) == 1):
        return False
    if all(b.shape == (1,) for b in layer.bottoms):
        return False
    return any(m.axis < 0 for m in (*messages, layer.proto.inner_product_param))


def _is_column(blob: Blob) -> bool:
    """Whether a blob of one axis has two to it, as inputs have, and what keeps their axes."""
    layer = blob.layer
    while not is_source(layer.proto):
        if rank(layer) != 1 or layer.type in _VECTORS_MADE:
            return False
        layer = layer.bottoms[0].layer
    return True


def _mixes_columns(layer: Layer) -> bool:
    """Whether some of the bottoms have two axes to it where others have one."""
    return rank(layer) == 1 and len({_is_column(b) for b in layer.bottoms}) > 1


def _adds_vectors(layer: Layer) -> bool:
    """Whether an Eltwise has one axis that is one to it, too, or more than five."""
    return (rank(layer) or 0) > 5 or (rank(layer) == 1 and not all(_is_column(b) for b in layer.bottoms))


def _crops_vector(layer: Layer) -> bool:
    """Whether the only axis is cropped with an offset, which it reads for two, or counted from the end."""
    p = layer.proto.crop_param
    return rank(layer) == 1 and (p.axis < 0 or any(p.offset))


def _product_of_all(layer: Layer) -> bool:
    """Whether an InnerProduct leaves one axis: depending on its memory, it may then give a matrix."""
    known = shape(layer)
    return known is not None and canonical_axis(layer.proto.inner_product_param.axis, known) == 0


# What makes a blob of one axis that has one to it, too.
_VECTORS_MADE = types("Flatten", "InnerProduct", "Reshape")
# What computes the same of a vector and of a matrix of one row or column.
_VECTORS = types("Bias", "Concat", "Flatten", "Scale")


def _wrong_mvn(layer: Layer) -> bool:
    p = layer.proto.mvn_param
    axes = rank(layer)
    return abs(p.eps - 1e-9) > 1e-12 or (axes is not None and axes < 3 and not p.across_channels)


def _pads_point(layer: Layer) -> bool:
    """Whether a Deconvolution by one number per channel, without stride, has a pad."""
    found = window(layer)
    if found is None:
        return False
    kernel, stride, pad, dilation = found[0]
    return set(kernel) == set(stride) == set(dilation) == {1} and any(pad)


def _uses_batch(layer: Layer) -> bool:
    """Whether a BatchNorm normalises by more than one image, by one without pixels, or with another eps."""
    p, known = layer.proto.batch_norm_param, shape(layer)
    if not p.HasField("use_global_stats") or p.use_global_stats:
        return False
    return abs(p.eps - 1e-5) > 1e-7 or (known is not None and (known[0] != 1 or len(known) < 3))


def _flat_backwards(layer: Layer) -> bool:
    p, known = layer.proto.flatten_param, shape(layer)
    if known is None:
        return False
    if len(known) == 1:
        return p.axis < 0 <= p.end_axis
    return canonical_axis(p.end_axis, known) < canonical_axis(p.axis, known)


def _reshapes_nothing(layer: Layer) -> bool:
    """Whether a Reshape counts its axis from the end, inserts axes, or leaves none."""
    p, axes = layer.proto.reshape_param, rank(layer)
    if p.axis < 0 or p.num_axes == 0 or (axes and p.axis == axes):
        return True
    return not p.shape.dim and len(layer.tops[0].shape or (1,)) == 0


def _copies_input(layer: Layer, graph: Graph) -> bool:
    """Whether a Concat of one blob takes the net's only input, which it alone reads, in one piece."""
    known = shape(layer)
    if len(layer.bottoms) != 1 or known is None:
        return False
    (blob,) = layer.bottoms
    axis = canonical_axis(layer.proto.concat_param.axis, known)
    if elements(known[:axis]) != 1 or (len(known) == 1 and layer.proto.concat_param.axis < 0):
        return False
    inputs = [top for other in graph.layers if is_source(other.proto) for top in other.tops]
    return inputs == [blob] and len(graph.readers[blob]) == 1


def _gap_in_tops(layer: Layer, graph: Graph) -> bool:
    """Whether an unread top comes before one that is read."""
    read = [top in graph.readers for top in layer.tops]
    return read != sorted(read, reverse=True)


def _other_tops_unread(layer: Layer, graph: Graph) -> bool:
    """Whether a top after the first is unread, which it then does not compute."""
    return any(top not in graph.readers for top in layer.tops[1:]) and not is_source(layer.proto)


OPENCV = Target(
    "opencv",
    "OpenCV 4.14, dnn.readNetFromCaffe (OpenCV 5 reads no Caffe files)",
    (
        NOT_DEPLOY,
        INLINE_BLOBS,
        OLD_AXIS,
        CROP_IN_PLACE,
        SECOND_TOP,
        TRAINS,
        Limit(
            "input-unread", types("Input"), "an input that no layer reads makes the whole net fail",
            "leave it out, or read it by a Silence layer", where=some_top_unread,
        ),
        Limit(
            "input-tops", types("Input"), "several inputs need a shape each", "write one shape per top",
            lambda layer: 0 < len(layer.proto.input_param.shape) < len(layer.tops),
        ),
        Limit(
            "other-tile", types("Tile"), "Tile has another interface", "use Concat of the blob with itself"
        ),
        Limit("lstm", types("LSTM"), "LSTM takes its weights in another order, and fails", "leave LSTM out"),
        Limit(
            "round-mode", types("Pooling"), "round_mode makes it lose the window, and is not read",
            "leave round_mode out, and crop what is too much", _loses_window,
        ),
        Limit(
            "pooling-clip", types("Pooling"),
            "a last window that starts outside the image is kept on an axis without a pad",
            "pad both axes or none, or crop what is too much", clips_unpadded,
        ),
        Limit(
            "pool-unwritten", types("Pooling"), "global_pooling needs pool written", "write pool: MAX",
            lambda layer: (p := layer.proto.pooling_param).global_pooling and not p.HasField("pool"),
        ),
        Limit(
            "lone-pair", CONVOLUTIONS, "half of an _h/_w pair is ignored", "write both halves",
            _half_pair,
        ),
        Limit(
            "transpose", types("InnerProduct"), "transpose is ignored, so that it computes something else",
            "store the weights untransposed",
            _transposed,
        ),
        Limit("scale-scalar", types("Scale"), "num_axes: 0 fails", "scale by Power", scalar),
        Limit(
            "scale-bias", types("Scale"), "two bottoms with a bias compute something else",
            "add a separate layer for the bias",
            lambda layer: layer.proto.scale_param.bias_term and len(layer.bottoms) == 2,
        ),
        Limit(
            "negative-axis", types("Scale"), "a negative axis fails", "count the axis from the front",
            _negative_scale, lambda layer, graph: len(layer.bottoms) > 1 or not fused_scale(layer, graph),
        ),
        Limit(
            "negative-axis", types("Concat", "InnerProduct", "Slice", "Softmax"),
            "a negative axis of a blob of one axis fails", "write axis: 0", _negative_alone,
        ),
        Limit(
            "product-axes", types("InnerProduct"),
            "with axis 0 it may give a matrix, on which the next layer fails",
            "keep the axis of the images, with axis: 1", _product_of_all,
            lambda layer, graph: axes_matter(layer.tops[0], graph, _VECTORS),
        ),
        Limit(
            "scale-axes", types("Scale"),
            "a learnt factor over other axes than the channels fails behind a convolution",
            "keep axis and num_axes at 1, or put a ReLU between", _many_off_channels, fused_scale,
        ),
        Limit(
            "prelu-shared", types("PReLU"), "channel_shared fails", "give one slope per channel",
            lambda layer: layer.proto.prelu_param.channel_shared,
        ),
        Limit(
            "swish-beta", types("Swish"), "beta is taken for 1", "multiply by Sigmoid of the scaled blob",
            lambda layer: not nearly_one(layer.proto.swish_param.beta),
        ),
        Limit(
            "log", types("Log"), "base, scale and shift are ignored", "put a Power before it",
            lambda layer: (
                layer.proto.log_param.base != -1 or layer.proto.log_param.shift != 0
            ) or not nearly_one(layer.proto.log_param.scale),
        ),
        Limit(
            "coeff", types("Eltwise"), "coeff fails unless the bottoms are added", "leave coeff out",
            lambda layer: bool((p := layer.proto.eltwise_param).coeff) and p.operation != _SUM,
        ),
        Limit(
            "eltwise-axes", types("Eltwise"),
            "Eltwise takes two to five axes, or inputs of one",
            "Reshape to (n,c) or (n,c,h,w) before", _adds_vectors,
        ),
        Limit(
            "one-axis", types("Concat", "Crop"),
            "an input of one axis has two to it, and does not fit a blob of one that the net computes",
            "give the input a second axis of 1, and Reshape the other", _mixes_columns,
        ),
        Limit(
            "one-axis", types("Crop"), "Crop of a blob of one axis takes axis 0 and offset 0 only",
            "Reshape to (n,c) before, or cut by Slice", _crops_vector,
        ),
        Limit(
            "depthwise-dilation", types("Convolution"),
            "one 3x3 filter per channel with a pad of 1 computes other values if dilated, or on a side of 1",
            "pad by the dilation, or crop what is too much", _misread_depthwise,
        ),
        Limit(
            "fused", types("Eltwise", "InnerProduct"),
            "the layer after it is merged into it, and takes another axis for the channels",
            "put a Dropout between, which computes nothing", None, fused_rows,
        ),
        Limit(
            "fused", types("Deconvolution"),
            "the factors of the layer after it are multiplied into other filters, as it has groups",
            "put a Split between", None, fused_groups,
        ),
        Limit(
            "fused", CONVOLUTIONS, "a Silence of several bottoms after it is merged into it, and fails",
            "leave the Silence out, or write one per bottom", None, fused_silence,
        ),
        Limit(
            "fused", types("Scale"),
            "the BatchNorm before takes the factor over other axes for one per channel",
            "put a Split between", off_channels, fused_statistics,
        ),
        Limit(
            "deconv-dilation", types("Deconvolution"), "dilation is ignored in Deconvolution",
            "use a larger kernel", _dilated,
        ),
        Limit(
            "deconv-pad", types("Deconvolution"), "pad fails where kernel, stride and dilation are 1",
            "leave pad out, and crop by Crop", _pads_point,
        ),
        Limit(
            "dilation-zero", CONVOLUTIONS, "a dilation of 0 fails", "write dilation: 1, or a kernel of 1",
            lambda layer: 0 in layer.proto.convolution_param.dilation,
        ),
        Limit(
            "kernel-large", types("Convolution", "Pooling"), "a kernel larger than the padded image fails",
            "give the net a larger input, or the layer a smaller kernel", beyond_image,
        ),
        Limit(
            "spatial-axes", CONVOLUTIONS, "the channels must be axis 1", "Reshape to (n,c,h,w) before",
            lambda layer: channel_axis(layer) != 1,
        ),
        Limit(
            "spatial-axes", types("Convolution"), "one to three spatial axes work, others fail",
            "Reshape to (n,c,h,w) before", lambda layer: rank(layer) not in (None, 3, 4, 5),
        ),
        Limit(
            "spatial-axes", types("Convolution"),
            "three spatial axes need each field of the window three times",
            "write kernel_size, stride, pad and dilation once per axis", _depth_misread,
        ),
        Limit(
            "spatial-axes", types("Deconvolution"), "Deconvolution takes two spatial axes only",
            "Reshape to (n,c,h,w) before", lambda layer: rank(layer) not in (None, 4),
        ),
        Limit(
            "several-bottoms", types("Deconvolution"), "several bottoms in one layer fail",
            "use one layer per bottom", lambda layer: len(layer.bottoms) > 1,
        ),
        Limit(
            "lrn-alpha", types("LRN"), "alpha is not 1 where it is not written", "write alpha: 1",
            lambda layer: not (p := layer.proto.lrn_param).HasField("alpha") and p.beta != 0,
        ),
        LRN_K,
        Limit(
            "mvn", types("MVN"), "MVN takes 3 or 4 axes and eps 1e-9 only",
            "leave eps out, and Reshape to 4 axes before", _wrong_mvn,
        ),
        Limit(
            "mvn", types("MVN"), "MVN does not make four axes of fewer, which a layer after it needs",
            "Reshape to (n,c,h,w) before", None, misses_axes,
        ),
        Limit(
            "mvn", types("MVN"),
            "MVN fails before a linear Power, or without variance before a BatchNorm",
            "put a Split between", None, fused_mvn,
        ),
        Limit(
            "batch-stats", types("BatchNorm"),
            "use_global_stats: false works for one image with pixels only, and with another eps",
            "leave use_global_stats out", _uses_batch,
        ),
        Limit(
            "flatten-axes", types("Flatten"), "an end_axis before axis fails", "use Reshape", _flat_backwards
        ),
        Limit(
            "reshape-axes", types("Reshape"), "a negative axis, axes put in, and a shape without axes fail",
            "write the whole shape", _reshapes_nothing,
        ),
        Limit(
            "concat-single", types("Concat"), "a Concat of one input blob gives garbage",
            "read the input directly", where=_copies_input,
        ),
        Limit(
            "slice-unread", types("Slice"),
            "pieces that nobody reads are not cut off unless slice_point is given",
            "write slice_point, or read all tops", lambda layer: not layer.proto.slice_param.slice_point,
            some_top_unread,
        ),
        Limit(
            "unread-top", types("Split"), "a top that no layer reads before one that a layer reads fails",
            "leave out the tops that no layer reads", where=_gap_in_tops,
        ),
        Limit(
            "unread-top", frozenset(), "it computes a top after the first only if a layer reads it",
            "leave these tops out, or read them if you need their values", where=_other_tops_unread,
            severity="warning",
        ),
        Limit(
            "axpy", types("Axpy"),
            "Axpy computes gate * bottom 2 + bottom 1, and not gate * bottom 1 + bottom 2",
            "use Scale with axis: 0 and Eltwise",
        ),
    ),
    types=frozenset(
        DEPLOYED
        - types("ArgMax", "BatchReindex", "Bias", "Clip", "Embed", "Filter", "Im2col", "LSTMUnit")
        - types("Parameter", "Python", "RNN", "Reduction", "SPP", "Threshold")
        | types("Axpy", "ConvolutionDepthwise", "DepthToSpace", "DetectionOutput", "HardSwish", "Interp")
        | types("MaxUnpool", "Normalize", "PSROIPooling", "Padding", "Permute", "PriorBox", "Proposal")
        | types("ROIPooling", "ReLU6", "Region", "Reorg", "Resize", "ShuffleChannel")
    ),
    refuses=_refuses,
)  # fmt: skip
