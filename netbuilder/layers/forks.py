"""General-purpose layers of forks; each docstring names the repository of its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, ParamFacts, Shape, elements, legacy_shape, rule
from netbuilder.layers.traits import COMPUTES, Form, Source, Spoils, Unknown
from netbuilder.layers.views import (
    Blobs,
    Seen,
    all_pooled,
    convolved,
    deconvolved,
    pointwise,
    slid,
    square,
    union,
    whole_map,
)

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SCALAR: Shape = ()
INFERENCE = 1
_SIZES = ("channels", "height", "width")
_FORK = COMPUTES._replace(no_gradient=Unknown("its backward pass has not been checked"), spoils=Spoils.VALUES)


def _permute_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    order = list(layer.permute_param.order)
    stays = [axis for axis in order if axis > 1] == order[2:] == list(range(2, len(order)))
    return blobs.views[0] if stays else blobs.views[0]._replace(flat=True)


@rule("Permute", "permute_param", traits=_FORK._replace(sees=_permute_sees))
def permute(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The axes in another `order`; axes that it omits follow in their old order. It only copies.

    Raises ShapeError. Source: weiliu89/caffe, branch ssd, permute_layer.cpp, LayerSetUp.
    """
    (bottom,) = bottoms
    order = list(layer.permute_param.order)
    if any(axis >= len(bottom) for axis in order) or len(set(order)) < len(order):
        raise ShapeError(f"order must name axes of {shape_text(bottom)} once each, got {order}")
    order += [axis for axis in range(len(bottom)) if axis not in order]
    return Facts((tuple(bottom[axis] for axis in order),))


def _normalize_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    return whole_map(layer, blobs) if layer.norm_param.across_spatial else blobs.views[0]


@rule("Normalize", "norm_param", traits=_FORK._replace(sees=_normalize_sees, keeps_shape=True, learns=1))
def normalize(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Scale each position (with across_spatial each image) to length 1, then by a learnt factor; same shape.

    Parameters: scale (c,), or () if channel_shared. Operations: 4 per element (square, sum, divide, scale),
    and 2 per length (eps, root).
    Raises ShapeError. Source: weiliu89/caffe, branch ssd, normalize_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.norm_param
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise ShapeError(f"needs at least 2 axes, the channels being axis 1, got {shape_text(bottom)}")
    n, c, h, w = legacy_shape(bottom)
    filler = p.scale_filler if p.HasField("scale_filler") else None
    scale = ParamFacts(() if p.channel_shared else (c,), "weight", filler)
    lengths = n if p.across_spatial else n * h * w
    return Facts((bottom,), (scale,), ops=4 * elements(bottom) + 2 * lengths)


@rule("Axpy", bottoms=3, traits=_FORK._replace(sees=pointwise))
def axpy(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Bottom 1 times its gate, bottom 0, plus bottom 2: (n, c[, 1, 1]) and twice (n, c, ...) -> (n, c, ...).

    Parameters: none. Operations: 2 per element (product, sum).
    Raises ShapeError. Source: hujie-frank/SENet, NVIDIA/caffe and intel/caffe, axpy_layer.cpp, Reshape.
    """
    gate, x, y = bottoms
    if len(x) < 2 or gate[:2] != x[:2] or (len(gate) == 4 and gate[2:] != (1, 1)):
        raise ShapeError(
            f"bottom 0, the gate, must be (n,c) or (n,c,1,1) for bottom 1 {shape_text(x)}, "
            f"got {shape_text(gate)}"
        )
    if x != y:
        raise ShapeError(f"bottoms 1 and 2 must have equal shapes, got {shape_text(x)} and {shape_text(y)}")
    return Facts((x,), ops=2 * elements(x))


@rule(
    "L1Loss",
    "loss_param",
    bottoms=2,
    auto_top=True,
    traits=_FORK._replace(sees=all_pooled, keeps_shape=True, applies=""),
)
def l1_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Mean over the batch of the magnitudes of all differences -> ().

    Operations: 3 per element (subtract, magnitude, sum).
    Raises ShapeError. Source: NVIDIA/caffe, l1_loss_layer.cpp, Reshape; loss_layer.cpp, Reshape.
    """
    a, b = bottoms
    if not a or not b or a[0] != b[0] or elements(a[1:]) != elements(b[1:]):
        raise ShapeError(
            "bottoms 0 and 1 must have one batch and equally many elements, "
            f"got {shape_text(a)} and {shape_text(b)}"
        )
    return Facts((SCALAR,), ops=3 * elements(a))


@rule(
    "Interp",
    "interp_param",
    bottoms=(1, 2),
    traits=_FORK._replace(sees=Unknown("it interpolates the bottom"), sizes_only=(1,)),
)
def interp(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Bilinear resizing with aligned corners, (n, c, h, w) -> (n, c, h', w').

    h' = (h - 1)/shrink_factor + 1, then h' + (h' - 1)*(zoom_factor - 1), if only one factor is given; else
    the first given of `height`, both factors, and the height of bottom 1. Negative pad_beg and pad_end crop
    the bottom first. Parameters: none. Operations: 9 per element (6 products, 3 sums), none if the size does
    not change. Raises ShapeError. Source: DeepLab v2, interp_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.interp_param
    n, c, *size = legacy_shape(bottoms[0], "bottom 0")
    if p.pad_beg > 0 or p.pad_end > 0:
        raise ShapeError(f"pad_beg and pad_end can only cut, got {p.pad_beg} and {p.pad_end}")
    cut = [extent + p.pad_beg + p.pad_end for extent in size]
    shrinks, zooms = p.HasField("shrink_factor"), p.HasField("zoom_factor")
    if shrinks != zooms or (shrinks and not (p.HasField("height") and p.HasField("width"))):
        if p.shrink_factor < 1 or p.zoom_factor < 1:
            raise ShapeError(
                f"shrink_factor and zoom_factor must be 1 or more, got {p.shrink_factor} and {p.zoom_factor}"
            )
        small = [(extent - 1) // p.shrink_factor + 1 for extent in cut]
        new = [extent + (extent - 1) * (p.zoom_factor - 1) for extent in small]
    elif p.HasField("height") and p.HasField("width"):
        new = [p.height, p.width]
    elif len(bottoms) == 2:
        new = list(legacy_shape(bottoms[1], "bottom 1")[2:])
    else:
        raise ShapeError("the new size is missing: give height and width, zoom_factor or shrink_factor")
    if min(*cut, *new) < 1:
        raise ShapeError(f"nothing is left: {cut[0]}x{cut[1]} would become {new[0]}x{new[1]}")
    top = (n, c, *new)
    return Facts((top,), ops=0 if new == size else 9 * elements(top))


def _upsample_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    if len(blobs.bottoms) > 1:
        return None  # the mask decides where each value goes
    return slid(blobs.views[0], deconvolved, square(layer.upsample_param.scale or 1), blobs.tops[0][2:])


@rule("Upsample", "upsample_param", bottoms=(1, 2), traits=_FORK._replace(sees=_upsample_sees))
def upsample(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Larger images, (n, c, h, w) -> (n, c, h', w'), by copying only.

    With two bottoms, the second is a mask of Pooling that says where each value goes: h' = upsample_h, or
    h*scale (default 2; scale_h for the height alone), minus one with pad_out_h. With one bottom, each value
    is repeated: h' = h*scale. Parameters: none.
    Raises ShapeError. Source: alexgkendall/caffe-segnet; with one bottom eric612/MobileNet-YOLO;
    upsample_layer.cpp, LayerSetUp and Reshape of both.
    """
    p = layer.upsample_param
    bottom = bottoms[0]
    if len(bottoms) == 1:
        if len(bottom) < 2 or (p.HasField("scale") and p.scale < 1):
            raise ShapeError(f"scale must be 1 or more, and the bottom have 2 axes, got {shape_text(bottom)}")
        factor = p.scale or 1
        return Facts(((*bottom[:-2], bottom[-2] * factor, bottom[-1] * factor),))
    if len(bottom) != 4 or bottoms[1] != bottom:
        raise ShapeError(
            "the bottom and its mask must have 4 axes (n,c,h,w) and equal shapes, "
            f"got {shape_text(bottom)} and {shape_text(bottoms[1])}"
        )
    if p.HasField("upsample_h") and p.HasField("upsample_w"):
        if p.upsample_h < 2 or p.upsample_w < 2:
            raise ShapeError(f"upsample_h and upsample_w must be above 1, got {p.upsample_h}x{p.upsample_w}")
        return Facts(((*bottom[:2], p.upsample_h, p.upsample_w),))
    if p.HasField("scale_h") != p.HasField("scale_w") or (p.HasField("scale") and p.HasField("scale_h")):
        raise ShapeError("give upsample_h and upsample_w, or scale, or both scale_h and scale_w")
    one = p.scale if p.HasField("scale") else 2
    scale = (p.scale_h, p.scale_w) if p.HasField("scale_h") else (one, one)
    less = (p.pad_out_h, p.pad_out_w)
    if min(scale) < 2 or any(cut and factor != 2 for cut, factor in zip(less, scale, strict=True)):
        raise ShapeError(f"scale must be above 1, and 2 with pad_out, got {scale[0]}x{scale[1]}")
    new = (extent * f - cut for extent, f, cut in zip(bottom[2:], scale, less, strict=True))
    return Facts(((*bottom[:2], *new),))


@rule("ShuffleChannel", "shuffle_channel_param", traits=_FORK._replace(sees=pointwise))
def shuffle_channel(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The first channel of each group, then the second of each, and so on. It only copies.

    At most 4 axes; the top always has 4. Raises ShapeError.
    Source: farmingyard/ShuffleNet, shuffle_channel_layer.cpp, Reshape and Forward_cpu.
    """
    group = layer.shuffle_channel_param.group
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise ShapeError(f"needs at least 2 axes, the channels being axis 1, got {shape_text(bottom)}")
    if group < 1 or bottom[1] % group:
        raise ShapeError(f"group {group} must divide the {bottom[1]} channels of the bottom")
    return Facts((legacy_shape(bottom),))


def _reorg_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    p = layer.reorg_param
    by = deconvolved if p.reverse else convolved
    return slid(blobs.views[0], by, square(p.stride), blobs.tops[0][2:])


@rule(
    "Reorg", "reorg_param", in_place="refused", traits=_FORK._replace(sees=_reorg_sees, spoils=Spoils.NOTHING)
)
def reorg(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Squares of stride x stride positions into channels, (n, c, h, w) -> (n, c*s*s, h/s, w/s), or back.

    It only copies. Raises ShapeError. Source: intel/caffe and caffe-yolov2, reorg_layer.cpp, LayerSetUp.
    """
    p = layer.reorg_param
    n, c, h, w = legacy_shape(bottoms[0])
    s = p.stride
    if s < 1:
        raise ShapeError("stride is missing or 0")
    return Facts(((n, c // (s * s), h * s, w * s) if p.reverse else (n, c * s * s, h // s, w // s),))


def _bn_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    return union(blobs.views) if len(blobs.tops) == 1 else None


def _bn_learns(layer: LayerParameter) -> int:
    return 2 if _is_segnets(layer) else 4


def _is_segnets(layer: LayerParameter) -> bool:
    return any(layer.bn_param.HasField(field) for field in ("scale_filler", "shift_filler", "bn_mode"))


@rule(
    "BN",
    "bn_param",
    tops=(1, 3),
    in_place="exact",
    traits=_FORK._replace(sees=_bn_sees, keeps_shape=True, spoils=Spoils.NOTHING, learns=_bn_learns),
)
def bn(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Normalisation by channel to mean 0 and variance 1, then scale and shift; shape unchanged.

    Parameters: slope (1, c), bias (1, c), mean (1, c), variance (1, c). The last two are statistics; with
    `frozen` the others are not learnt either. If the file has scale_filler, shift_filler or bn_mode, the
    layer is SegNet's: scale (1, c, 1, 1), shift (1, c, 1, 1), and two more tops for mean and variance.
    Operations: 4 per element (subtract, divide, multiply, add), 2 with bn_mode INFERENCE.
    Raises ShapeError. Source: yjxiong/caffe, which PSPNet uses, and alexgkendall/caffe-segnet; bn_layer.cpp,
    LayerSetUp and Reshape of both.
    """
    p = layer.bn_param
    (bottom,) = bottoms
    full = legacy_shape(bottom)
    c = full[1]
    if _is_segnets(layer):
        one = (1, c, 1, 1)
        affine = (ParamFacts(one, "weight", p.scale_filler), ParamFacts(one, "bias", p.shift_filler))
        ops = (2 if p.bn_mode == INFERENCE else 4) * elements(bottom)
        return Facts((full, one, one)[: max(1, len(layer.top))], affine, ops=ops)
    if len(layer.top) > 1:
        raise ShapeError(f"needs 1 top, got {len(layer.top)}")
    lr_mult = 0.0 if p.frozen else None
    params = (
        ParamFacts((1, c), "weight", p.slope_filler, lr_mult=lr_mult),
        ParamFacts((1, c), "bias", p.bias_filler, lr_mult=lr_mult),
        ParamFacts((1, c), "statistic"),
        ParamFacts((1, c), "statistic"),
    )
    return Facts((bottom,), params, ops=4 * elements(bottom))


@rule(
    "ContinuationIndicator",
    "continuation_indicator_param",
    bottoms=0,
    traits=COMPUTES._replace(source=Source(Form.MADE, "continuation_indicator_param")),
)
def continuation_indicator(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The second bottom of an LSTM, 0 at the first step and 1 at the others -> (time_step, batch_size).

    Raises ShapeError. Source: intel/caffe, continuation_indicator_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.continuation_indicator_param
    if p.time_step < 1 or p.batch_size < 1:
        raise ShapeError("time_step and batch_size must both be given and positive")
    return Facts(((p.time_step, p.batch_size),))


@rule(
    "CoSData",
    "cos_data_param",
    bottoms=0,
    tops=(1, None),
    traits=COMPUTES._replace(source=Source(Form.FED, "cos_data_param")),
)
def cos_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Columns of a data frame, one for each top: (batch_size, channels, height, width), or fewer axes.

    `sample_num_axes` (default 3) is the number of axes after the batch. out_channels, out_height and
    out_width are the sizes after the transformation; 0 means unchanged. With transpose a column of one axis
    is (channels, batch_size). Raises ShapeError.
    Source: yahoo/CaffeOnSpark, cos_data_layer.cpp, LayerSetUp.
    """
    p = layer.cos_data_param
    if len(p.top) != len(layer.top):
        raise ShapeError(f"{len(layer.top)} tops need a top block each in cos_data_param, got {len(p.top)}")
    tops: list[Shape] = []
    for block in p.top:
        axes = block.sample_num_axes
        if axes > 3:
            raise ShapeError(f"sample_num_axes of '{block.name}' must be at most 3, got {axes}")
        if block.transpose and axes != 1:
            raise ShapeError(f"transpose of '{block.name}' needs sample_num_axes 1, got {axes}")
        sizes = tuple(getattr(block, f"out_{s}") or getattr(block, s) for s in _SIZES)
        tops.append((sizes[0], p.batch_size) if block.transpose else (p.batch_size, *sizes[:axes]))
    return Facts(tuple(tops))
