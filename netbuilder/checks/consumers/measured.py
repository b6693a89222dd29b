"""OpenCV and MNN: found by running both against real Caffe, layer by layer.

The tests in `tests/checks` run them again; everything not listed here computes what Caffe computes.
"""

from __future__ import annotations

from netbuilder.checks.consumers.base import (
    CONVOLUTIONS,
    DEPLOYED,
    NOT_DEPLOY,
    Limit,
    Target,
    types,
    uneven_window,
)
from netbuilder.checks.fields import lone_pairs
from netbuilder.layers import Shape, canonical_axis
from netbuilder.layers.arithmetic import conv_window, pool_window
from netbuilder.net import Layer

__all__ = ["MNN", "OPENCV"]

_FLOOR = 1


def _nearly_one(value: float) -> bool:
    return abs(value - 1) < 1e-6


def _shape(layer: Layer) -> Shape:
    """The shape of the first bottom, empty if unknown."""
    return (layer.bottoms[0].shape if layer.bottoms else None) or ()


def _other_axes(layer: Layer) -> bool:
    """Whether a learnt factor spans anything but the channels. A scalar has a separate limit."""
    p, shape = layer.proto.scale_param, _shape(layer)
    if len(layer.bottoms) != 1 or not shape or p.num_axes == 0:
        return False
    return p.num_axes != 1 or canonical_axis(p.axis, shape) != 1


def _beyond_image(layer: Layer) -> bool:
    """Whether the kernel is larger than the padded image."""
    shape = _shape(layer)
    if layer.unknown or len(shape) < 3:
        return False
    if layer.type == "Pooling":
        window = pool_window(layer.proto.pooling_param, shape[2:])
    else:
        window = conv_window(layer.proto.convolution_param, len(shape) - 2)
    k, _, pad, d = window
    return any(d[i] * (k[i] - 1) + 1 > n + 2 * pad[i] for i, n in enumerate(shape[2:]))


def _scalar(layer: Layer) -> bool:
    return layer.proto.scale_param.num_axes == 0 and len(layer.bottoms) == 1


_LRN_K = Limit(
    "lrn", types("LRN"), "k is taken for 1", "keep k at 1", lambda layer: layer.proto.lrn_param.k != 1
)

OPENCV = Target(
    "opencv",
    "OpenCV 4.14, dnn.readNetFromCaffe (OpenCV 5 reads no Caffe files)",
    (
        NOT_DEPLOY,
        Limit(
            "other-tile", types("Tile"), "Tile has another interface", "use Concat of the blob with itself"
        ),
        Limit(
            "round-mode",
            types("Pooling"),
            "round_mode makes it lose the kernel",
            "leave round_mode out, and crop what is too much",
            lambda layer: layer.proto.pooling_param.HasField("round_mode"),
        ),
        Limit(
            "lone-pair",
            CONVOLUTIONS,
            "half of an _h/_w pair is ignored",
            "write both halves",
            lambda layer: bool(lone_pairs(layer)),
        ),
        Limit(
            "transpose",
            types("InnerProduct"),
            "transpose is ignored, so that it computes something else",
            "store the weights untransposed",
            lambda layer: layer.proto.inner_product_param.transpose,
        ),
        Limit(
            "scale-scalar",
            types("Scale"),
            "num_axes: 0 fails",
            "scale by Power",
            _scalar,
        ),
        Limit(
            "scale-bias",
            types("Scale"),
            "two bottoms with a bias compute something else",
            "add a separate layer for the bias",
            lambda layer: layer.proto.scale_param.bias_term and len(layer.bottoms) == 2,
        ),
        Limit(
            "prelu-shared",
            types("PReLU"),
            "channel_shared fails",
            "give one slope per channel",
            lambda layer: layer.proto.prelu_param.channel_shared,
        ),
        Limit(
            "swish-beta",
            types("Swish"),
            "beta is taken for 1",
            "multiply by Sigmoid of the scaled blob",
            lambda layer: not _nearly_one(layer.proto.swish_param.beta),
        ),
        Limit(
            "log",
            types("Log"),
            "base, scale and shift are ignored",
            "put a Power before it",
            lambda layer: (
                layer.proto.log_param.base != -1 or layer.proto.log_param.shift != 0
            ) or not _nearly_one(layer.proto.log_param.scale),
        ),
        Limit(
            "scale-axes",
            types("Scale"),
            "a learnt factor over other axes than the channels fails",
            "keep axis and num_axes at 1",
            _other_axes,
        ),
        Limit(
            "deconv-dilation",
            types("Deconvolution"),
            "dilation is ignored in Deconvolution",
            "use a larger kernel",
            lambda layer: any(d != 1 for d in layer.proto.convolution_param.dilation),
        ),
        Limit(
            "kernel-large",
            types("Convolution", "Pooling"),
            "a kernel larger than the padded image fails",
            "give the net a larger input, or the layer a smaller kernel",
            _beyond_image,
        ),
        Limit(
            "spatial-axes",
            CONVOLUTIONS,
            "three spatial axes need kernel_size three times",
            "write kernel_size once per axis",
            lambda layer: len(_shape(layer)) > 4 and len(layer.proto.convolution_param.kernel_size) == 1,
        ),
        Limit(
            "lrn-alpha",
            types("LRN"),
            "alpha is not 1 where it is not written",
            "write alpha: 1",
            lambda layer: not layer.proto.lrn_param.HasField("alpha"),
        ),
        _LRN_K,
        Limit(
            "mvn",
            types("MVN"),
            "MVN takes 4 axes and eps 1e-9 only",
            "leave eps out, and Reshape to 4 axes before",
            lambda layer: abs(layer.proto.mvn_param.eps - 1e-9) > 1e-12 or len(_shape(layer)) not in (0, 4),
        ),
        Limit(
            "slice-unread",
            types("Slice"),
            "pieces that nobody reads are not cut off unless slice_point is given",
            "write slice_point, or read all tops",
            lambda layer: not layer.proto.slice_param.slice_point and len(layer.tops) > 1,
            unread=True,
        ),
        Limit(
            "axpy",
            types("Axpy"),
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
)  # fmt: skip

MNN = Target(
    "mnn",
    "MNN 3.6, mnnconvert -f CAFFE",
    (
        NOT_DEPLOY,
        Limit(
            "scale-two-bottoms",
            types("Scale"),
            "the converter wants weights in every Scale, so one of two bottoms is refused",
            "spread the factor by Concat and multiply by Eltwise PROD",
            lambda layer: len(layer.bottoms) == 2,
        ),
        Limit(
            "scale-scalar",
            types("Scale"),
            "num_axes: 0 scales the first channel only",
            "scale by Power",
            _scalar,
        ),
        Limit(
            "uneven-window",
            CONVOLUTIONS,
            "of repeated kernel_size, stride or pad not all values are read",
            "write the _h/_w pairs",
            uneven_window,
        ),
        Limit(
            "several-bottoms",
            CONVOLUTIONS,
            "several bottoms in one layer fail",
            "use one layer per bottom",
            lambda layer: len(layer.bottoms) > 1,
        ),
        Limit(
            "round-mode",
            types("Pooling"),
            "round_mode is ignored: sizes are rounded up",
            "leave round_mode out, and crop what is too much",
            lambda layer: layer.proto.pooling_param.round_mode == _FLOOR,
        ),
        Limit(
            "coeff",
            types("Eltwise"),
            "coeff gives wrong values, but for 1 and -1",
            "scale the bottoms by Power before",
            lambda layer: list(layer.proto.eltwise_param.coeff) not in ([], [1, -1]),
        ),
        Limit(
            "slice-equal",
            types("Slice"),
            "without slice_point the net cannot be run",
            "write slice_point",
            lambda layer: not layer.proto.slice_param.slice_point and len(layer.tops) > 1,
        ),
        Limit(
            "coeff",
            types("Reduction"),
            "coeff is ignored",
            "scale by Power behind it",
            lambda layer: not _nearly_one(layer.proto.reduction_param.coeff),
        ),
        Limit("log", types("Log"), "Log gives other values", "leave Log out"),
        Limit("argmax", types("ArgMax"), "ArgMax gives other values", "take the maximum outside the net"),
        Limit(
            "mvn",
            types("MVN"),
            "MVN gives other values, unless normalize_variance is false",
            "leave MVN out",
            lambda layer: layer.proto.mvn_param.normalize_variance,
        ),
        Limit(
            "batch-stats",
            types("BatchNorm"),
            "use_global_stats: false is ignored",
            "leave use_global_stats out",
            lambda layer: (p := layer.proto.batch_norm_param).HasField("use_global_stats")
            and not p.use_global_stats,
        ),
        Limit(
            "scale-axes",
            types("Scale"),
            "a learnt factor over other axes than the channels gives other values",
            "keep axis and num_axes at 1",
            _other_axes,
        ),
        Limit(
            "reshape-axes",
            types("Reshape"),
            "axis and num_axes are ignored",
            "write the whole shape",
            lambda layer: layer.proto.reshape_param.axis != 0 or layer.proto.reshape_param.num_axes != -1,
        ),
        Limit(
            "negative-axis",
            types("InnerProduct"),
            "a negative axis fails",
            "count the axis from the front",
            lambda layer: layer.proto.inner_product_param.axis < 0,
        ),
        Limit(
            "spatial-axes",
            CONVOLUTIONS,
            "only two spatial axes work",
            "Reshape to (n,c,h,w) before",
            lambda layer: len(_shape(layer)) not in (0, 4),
        ),
        Limit(
            "crop-offset",
            types("Crop"),
            "Crop without an offset gives other values",
            "write offset: 0",
            lambda layer: not layer.proto.crop_param.offset,
        ),
        _LRN_K,
    ),
    types=frozenset(
        DEPLOYED
        - types("BatchReindex", "Clip", "Filter", "Im2col", "LSTM", "LSTMUnit", "Parameter", "RNN", "SPP")
        - types("Silence", "Swish", "Tile")
        | types("Convolution3D", "ConvolutionDepthwise", "DepthwiseConv", "DetectionOutput", "Interp")
        | types("Normalize", "Permute", "Pooling3D", "PriorBox", "ROIPooling", "ReLU6", "Resize")
        | types("ShuffleChannel", "Upsample")
    ),
)  # fmt: skip
