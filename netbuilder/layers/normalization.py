"""BatchNorm, Scale, Bias, LRN and MVN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.arithmetic import Window
from netbuilder.layers.base import (
    Facts,
    ParamFacts,
    Shape,
    canonical_axis,
    check_not_empty,
    elements,
    legacy_shape,
    rule,
    variant,
)
from netbuilder.layers.traits import COMPUTES, GradientReads, Spoils
from netbuilder.layers.views import Blobs, Seen, convolved, pointwise, slid, whole_map

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import BatchNormParameter, BiasParameter, ScaleParameter

WITHIN = 1
_POINTWISE = COMPUTES._replace(sees=pointwise, keeps_shape=True, no_gradient=())


# As in TEST: with batch statistics, each element would see the whole channel.

AFFINE = frozenset({"Scale", "Bias"})  # what gives the output of a BatchNorm its scale and shift
PER_CHANNEL = AFFINE | {"BatchNorm"}  # what multiplies and shifts each channel, at test


def _batch_norm_learns(layer: LayerParameter) -> int:
    p = layer.batch_norm_param
    return 3 + (len(_affine(p, (1, 1, 1, 1))[0]) if layer.HasField("batch_norm_param") else 0)


def _batch_values(layer: LayerParameter, bottom: Shape, phase: str) -> int | None:
    p = layer.batch_norm_param
    stored = p.use_global_stats if p.HasField("use_global_stats") else phase == "TEST"
    return None if stored else elements(bottom[:1] + bottom[2:])


@rule(
    "BatchNorm",
    "batch_norm_param",
    in_place="exact",
    traits=_POINTWISE._replace(
        learns=_batch_norm_learns,
        normalises=_batch_values,
        engine=True,
        defaults={"param": [{"lr_mult": 0, "decay_mult": 0}] * 3},
    ),
)
def batch_norm(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Normalisation by channel (axis 1) to mean 0 and variance 1, without scale and shift.

    Parameters: mean (c,), variance (c,) and their common factor (1,): statistics, never learnt.
    Operations: 2 per element (subtract, divide), as in TEST.
    Forks can also scale and shift, if the file has their fields for it: see `_affine`.
    Raises ShapeError. Source: batch_norm_layer.cpp, LayerSetUp.
    """
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise ShapeError(f"needs at least 2 axes, the channels being axis 1, got {shape_text(bottom)}")
    check_not_empty(bottom, "the bottom")
    affine, ops = _affine(layer.batch_norm_param, bottom) if layer.HasField("batch_norm_param") else ((), 0)
    specs = layer.param
    # Caffe itself zeroes the rates of exactly three entries, whatever they say (upgrade_proto.cpp).
    forced = bool(affine) and affine[0].lr_mult is not None  # NVIDIA's fork sets all of them itself
    if len(specs) != 3 and len(specs) <= 3 + len(affine) and not forced and any(s.lr_mult for s in specs[:3]):
        raise ShapeError(
            "lr_mult must be 0: the statistics are not learnt by the solver",
            hint="write param { lr_mult: 0 decay_mult: 0 } three times",
        )
    stats = ((bottom[1],), (bottom[1],), (1,))
    params = (*(ParamFacts(s, "statistic") for s in stats), *affine)
    return Facts((bottom,), params, ops=(2 + ops) * elements(bottom))


def _affine(p: BatchNormParameter, bottom: Shape) -> tuple[tuple[ParamFacts, ...], int]:
    """The scale (c,) and bias (c,) of a fork's BatchNorm, and the operations per element, with its relu.

    NVIDIA/caffe: with scale_bias or either filler; learnt, whatever lr_mult says. intel/caffe: if the file
    has use_weight_bias, bias_term or filler; the first two default to true. Without any of these the blobs
    are BVLC's, although MKL-DNN, the engine that Intel's fork prefers, would make five.
    Raises ShapeError. Source: NVIDIA/caffe, batch_norm_layer.cpp; intel/caffe, mkldnn_batch_norm_layer.cpp;
    LayerSetUp of both.
    """
    relu = 1 if p.relu else 0
    nvidia = p.scale_bias or p.HasField("scale_filler")
    if nvidia and len(bottom) != 4:
        raise ShapeError(f"needs a bottom of 4 axes (n,c,h,w) with scale_bias, got {shape_text(bottom)}")
    if not scales(p):
        return (), relu
    lr_mult = 1.0 if nvidia else None
    filler = next((getattr(p, f) for f in ("scale_filler", "filler") if p.HasField(f)), None)
    scale = ParamFacts((bottom[1],), "weight", filler, lr_mult=lr_mult)
    if _of_intel(p) and not p.bias_term:
        return (scale,), 1 + relu
    filler = p.bias_filler if p.HasField("bias_filler") else None
    return (scale, ParamFacts((bottom[1],), "bias", filler, lr_mult=lr_mult)), 2 + relu


def _of_intel(p: BatchNormParameter) -> bool:
    return any(p.HasField(field) for field in ("use_weight_bias", "bias_term", "filler"))


def scales(p: BatchNormParameter) -> bool:
    """Whether a BatchNorm has a scale of its own, as the fields of forks ask for it."""
    if _of_intel(p):
        return p.use_weight_bias
    return p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler")


def _scale_learns(layer: LayerParameter) -> int:
    return (len(layer.bottom) == 1) + layer.scale_param.bias_term


@rule(
    "Scale", "scale_param", bottoms=(1, 2), in_place="exact", traits=_POINTWISE._replace(learns=_scale_learns)
)
def scale(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Product with a learnt factor, or with bottom 1; optionally plus a learnt bias of the factor's shape.

    The factor spans `num_axes` axes of bottom 0 from `axis` on (default: axis 1 only, the channels). A
    second bottom must equal that run of axes exactly: Caffe does not broadcast axes of size 1.
    Parameters: [factor][, bias]. Operations: 1 per element, 2 with bias.
    Raises ShapeError. Source: scale_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.scale_param
    axis, factor = _factor(p, bottoms)
    outer, inner = bottoms[0][:axis], bottoms[0][axis + len(factor) :]
    if 0 in outer:
        check_not_empty(inner, "the part that the factor is repeated over")
    if p.bias_term:
        canonical_axis(p.axis, bottoms[0])  # a scalar factor alone does not need a valid axis
        check_not_empty(inner, "the part that the bias is repeated over")
    params = []
    if len(bottoms) == 1:
        # Without a filler the factor starts at 1; a filler without a value means 0.
        params.append(ParamFacts(factor, "weight", p.filler if p.HasField("filler") else None))
    if p.bias_term:
        params.append(ParamFacts(factor, "bias", p.bias_filler))
    count = elements(bottoms[0])
    return Facts((bottoms[0],), tuple(params), ops=2 * count if p.bias_term else count)


def _bias_learns(layer: LayerParameter) -> int:
    return int(len(layer.bottom) == 1)


@rule("Bias", "bias_param", bottoms=(1, 2), in_place="exact", traits=_POINTWISE._replace(learns=_bias_learns))
def bias(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Sum with a learnt bias, or with bottom 1; shapes as in Scale.

    Parameters: [bias]. Operations: 1 per element. Raises ShapeError. Source: bias_layer.cpp.
    """
    p = layer.bias_param
    axis, added = _factor(p, bottoms)
    check_not_empty(bottoms[0][axis + len(added) :], "the part that the bias is repeated over")
    params = (ParamFacts(added, "bias", p.filler),) if len(bottoms) == 1 else ()
    return Facts((bottoms[0],), params, ops=elements(bottoms[0]))


def _spoils_lrn(layer: LayerParameter) -> Spoils:
    return Spoils.GRADIENT if layer.lrn_param.norm_region == WITHIN else Spoils.VALUES


def _lrn_reads(layer: LayerParameter) -> GradientReads:
    within = layer.lrn_param.norm_region == WITHIN
    return GradientReads.NOTHING if within else GradientReads.ELEMENTS


def _lrn_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    if layer.lrn_param.norm_region != WITHIN:
        return blobs.views[0]
    n = layer.lrn_param.local_size
    w = Window((n, n), (1, 1), (n // 2, n // 2), (1, 1))
    return slid(blobs.views[0], convolved, w, blobs.bottoms[0][2:])


@rule(
    "LRN",
    "lrn_param",
    traits=COMPUTES._replace(
        sees=_lrn_sees,
        keeps_shape=True,
        no_gradient=(),
        spoils=_spoils_lrn,
        gradient_reads=_lrn_reads,
        engine=True,
    ),
)
def lrn(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Local response normalisation: division by a power of the neighbouring squares, (n, c, h, w) unchanged.

    ACROSS_CHANNELS sums over `local_size` channels, WITHIN_CHANNEL averages over a square of the image.
    Parameters: none. Operations per element: across channels 7 (square, a running sum of scaled squares,
    power, product); within a channel local_size^2 additions and 5 more (square, scale, shift, power,
    product). Raises ShapeError. Source: lrn_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.lrn_param
    (bottom,) = bottoms
    if p.local_size % 2 == 0 or p.local_size >= 2**31:
        raise ShapeError(f"local_size must be odd, got {p.local_size}")
    if len(bottom) != 4:
        raise ShapeError(f"needs a bottom of 4 axes (n,c,h,w), got {shape_text(bottom)}")
    return Facts((bottom,), ops=elements(bottom) * (p.local_size**2 + 5 if p.norm_region == WITHIN else 7))


def _image_values(layer: LayerParameter, bottom: Shape, phase: str) -> int:
    return elements(bottom[1 if layer.mvn_param.across_channels else 2 :])


def _mvn_reads(layer: LayerParameter) -> GradientReads:
    return GradientReads.ALL if layer.mvn_param.normalize_variance else GradientReads.NOTHING


@rule(
    "MVN",
    "mvn_param",
    traits=COMPUTES._replace(
        sees=whole_map,
        keeps_shape=True,
        no_gradient=(),
        spoils=Spoils.GRADIENT,
        gradient_reads=_mvn_reads,
        normalises=_image_values,
    ),
)
def mvn(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Normalisation of each channel of each image to mean 0 and, by default, variance 1.

    At most 4 axes; the top always has 4: (n, c) -> (n, c, 1, 1). Parameters: none.
    Operations: 2 per element (mean, subtract), and 3 more for the variance (square, sum, divide).
    Raises ShapeError. Source: mvn_layer.cpp, Reshape.
    """
    return _normalised(layer, legacy_shape(bottoms[0]), bottoms[0])


@variant("MVN", "intel")
def _mvn_of_intel(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """MVN on any number of axes, which the top keeps. Source: intel/caffe, mvn_layer.cpp, Reshape."""
    return _normalised(layer, bottoms[0], bottoms[0])


@variant("MVN", "any")
def _mvn_of_any(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    bottom = bottoms[0]
    return _normalised(layer, bottom if len(bottom) > 4 else legacy_shape(bottom), bottom)


def _normalised(layer: LayerParameter, top: Shape, bottom: Shape) -> Facts:
    p = layer.mvn_param
    if 0 in (top[1:] if p.across_channels else top[2:]):
        raise ShapeError(f"cannot take the mean of nothing, {shape_text(bottom)}")
    return Facts((top,), ops=(5 if p.normalize_variance else 2) * elements(top))


def _factor(p: ScaleParameter | BiasParameter, bottoms: Sequence[Shape]) -> tuple[int, Shape]:
    """The first axis that the factor spans, and the factor's shape."""
    bottom = bottoms[0]
    if len(bottoms) == 2:
        factor = bottoms[1]
        axis = canonical_axis(p.axis, bottom) if factor else 0
        if bottom[axis : axis + len(factor)] != factor:
            raise ShapeError(
                f"bottom 1 {shape_text(factor)} must equal the axes of bottom 0 {shape_text(bottom)} "
                f"from axis {axis} on",
                hint="Caffe does not broadcast: bring the factor to (n,c) by Flatten and use axis: 0"
                if len(factor) == len(bottom)
                else "",
            )
        return axis, factor
    axis = canonical_axis(p.axis, bottom)
    if p.num_axes < -1:
        raise ShapeError(f"num_axes must be -1 (to the end) or more, got {p.num_axes}")
    if p.num_axes == -1:
        return axis, bottom[axis:]
    if axis + p.num_axes > len(bottom):
        raise ShapeError(
            f"axis {axis} and num_axes {p.num_axes} reach past the {len(bottom)} axes of {shape_text(bottom)}"
        )
    return axis if p.num_axes else 0, bottom[axis : axis + p.num_axes]  # a scalar is repeated over all
