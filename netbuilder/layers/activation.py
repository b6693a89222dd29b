"""Element-wise layers of one bottom and one top, and Softmax: the top has the bottom's shape.

`ELEMENTWISE` is the table; types that need more than a row have a function. Sources: Forward_cpu and
Backward_cpu in each layer's .cpp file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError
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
from netbuilder.layers.traits import COMPUTES, GradientReads, Keeps, Spoils, Traits, Unknown
from netbuilder.layers.views import Blobs, Seen, first_spatial, pointwise

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

_POINTWISE = COMPUTES._replace(sees=pointwise, keeps_shape=True, no_gradient=())


def _spoils_relu(layer: LayerParameter) -> Spoils:
    # In place its gradient takes the sign of the top for that of the bottom.
    return Spoils.GRADIENT if layer.relu_param.negative_slope < 0 else Spoils.NOTHING


def _spoils_elu(layer: LayerParameter) -> Spoils:
    return Spoils.GRADIENT if layer.elu_param.alpha <= 0 else Spoils.NOTHING


def _elu_is_positive(layer: LayerParameter) -> bool:
    return bool(layer.elu_param.alpha <= 0)


def _power_reads(layer: LayerParameter) -> GradientReads:
    # For these powers the gradient is computed from the bottom, or is constant.
    return GradientReads.NOTHING if layer.power_param.power in (0, 1, 2) else GradientReads.ELEMENTS


def _dropout_stops(layer: LayerParameter, bottoms: Sequence[Shape], phase: str) -> str:
    """Source: dropout_layer.cpp, Forward_cpu; math_functions.cpp, caffe_rng_bernoulli."""
    ratio = layer.dropout_param.dropout_ratio
    if phase == "TRAIN" and not 0 <= ratio <= 1:
        return f"dropout_ratio must be 0 to 1, got {ratio:g}"
    return ""


# type, field message, operations per element, in-place use, traits. Operations: comparison for the piecewise
# linear ones; exponential, addition and division for the sigmoid family; one per nonlinear function and
# one per multiplication or addition around it.
ELEMENTWISE = (
    (
        "ReLU", "relu_param", 1, "exact",
        _POINTWISE._replace(
            spoils=_spoils_relu, gradient_reads=GradientReads.SIGN, keeps=Keeps.POSITIVE, engine=True
        ),
    ),
    (
        "ReLU6", "relu6_param", 2, "exact",  # of forks: relu6_layer.cpp
        _POINTWISE._replace(gradient_reads=Unknown("forks differ"), keeps=Keeps.SIGN),
    ),
    (
        "ELU", "elu_param", 3, "exact",
        _POINTWISE._replace(
            spoils=_spoils_elu, gradient_reads=GradientReads.ELEMENTS, positive=_elu_is_positive,
            keeps=Keeps.POSITIVE,
        ),
    ),
    (
        "Sigmoid", "sigmoid_param", 3, "exact",
        _POINTWISE._replace(gradient_reads=GradientReads.ELEMENTS, positive=True, engine=True),
    ),
    (
        "TanH", "tanh_param", 3, "exact",
        _POINTWISE._replace(gradient_reads=GradientReads.ELEMENTS, keeps=Keeps.SIGN, engine=True),
    ),
    (
        "Swish", "swish_param", 4, "exact",
        _POINTWISE._replace(gradient_reads=GradientReads.ELEMENTS, keeps=Keeps.SIGN),
    ),
    ("Clip", "clip_param", 2, "wrong", _POINTWISE._replace(spoils=Spoils.GRADIENT)),
    ("Threshold", "threshold_param", 1, "exact", _POINTWISE._replace(no_gradient=(0,), no_backward=True)),
    ("BNLL", "", 3, "wrong", _POINTWISE._replace(spoils=Spoils.GRADIENT)),
    (
        "Power", "power_param", 3, "wrong",
        _POINTWISE._replace(spoils=Spoils.GRADIENT, gradient_reads=_power_reads),
    ),
    ("AbsVal", "", 1, "refused", _POINTWISE),
    # A copy at TEST; the mask of TRAIN is not counted. intel/caffe's drops whole channels.
    (
        "Dropout", "dropout_param", 0, "exact",
        _POINTWISE._replace(keeps=Keeps.SIGN, draws=True, no_forward=_dropout_stops),
    ),
    (
        "SpatialDropout", "spatial_dropout_param", 0, "exact",
        _POINTWISE._replace(keeps=Keeps.SIGN, draws=True),
    ),
)  # fmt: skip


def _elementwise(type: str, param: str, per_element: int, in_place: str, traits: Traits) -> None:
    @rule(type, *([param] if param else []), in_place=in_place, traits=traits)
    def infer(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
        return Facts((bottoms[0],), ops=per_element * elements(bottoms[0]))


for _row in ELEMENTWISE:
    _elementwise(*_row)


@rule(
    "Exp",
    "exp_param",
    in_place="exact",
    traits=_POINTWISE._replace(gradient_reads=GradientReads.ELEMENTS, positive=True),
)
def exp(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """base^(shift + scale * x); base -1 means e. Operations: 3 per element.

    Raises ShapeError. Source: exp_layer.cpp, LayerSetUp.
    """
    base = layer.exp_param.base
    if base != -1 and not 0 < base < float("inf"):
        raise ShapeError(f"base must be -1 (for e) or more than 0, got {base:g}")
    return Facts((bottoms[0],), ops=3 * elements(bottoms[0]))


@rule("Log", "log_param", traits=_POINTWISE._replace(spoils=Spoils.GRADIENT))
def log(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Logarithm of shift + scale * x to a base; -1 means e. Operations: 3 per element.

    Raises ShapeError. Source: log_layer.cpp, LayerSetUp.
    """
    base = layer.log_param.base
    if base != -1 and (not 0 < base < float("inf") or base == 1):
        raise ShapeError(f"base must be -1 (for e), or more than 0 and not 1, got {base:g}")
    return Facts((bottoms[0],), ops=3 * elements(bottoms[0]))


@rule("PReLU", "prelu_param", in_place="exact", traits=_POINTWISE._replace(keeps=Keeps.POSITIVE, learns=1))
def prelu(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """ReLU with a learnt slope for negative inputs: one per channel (axis 1), or one in all.

    Parameters: slope (c,), or () if channel_shared. Operations: 2 per element (compare, multiply).
    Raises ShapeError. Source: prelu_layer.cpp, LayerSetUp.
    """
    legacy_shape(bottoms[0])
    return _prelu_of_any_axes(layer, bottoms)


@variant("PReLU", "intel", "any")
def _prelu_of_any_axes(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """PReLU on any number of axes. Raises ShapeError. Source: intel/caffe, prelu_layer.cpp, LayerSetUp."""
    p = layer.prelu_param
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise ShapeError(f"needs at least 2 axes, the channels being axis 1, got {len(bottom)}")
    check_not_empty(bottom[1:], "an image")
    slope = () if p.channel_shared else (bottom[1],)
    filler = p.filler if p.HasField("filler") else None
    return Facts((bottom,), (ParamFacts(slope, "weight", filler),), ops=2 * elements(bottom))


def _softmax_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    view, axis = blobs.views[0], first_spatial(layer.softmax_param.axis, blobs.bottoms[0])
    return view if axis < 0 else None if view.flat else view.pooled([axis])._replace(size=view.size)


def _classes(layer: LayerParameter, bottom: Shape, phase: str) -> int:
    return bottom[canonical_axis(layer.softmax_param.axis, bottom)]


@rule(
    "Softmax",
    "softmax_param",
    in_place="exact",
    traits=COMPUTES._replace(
        sees=_softmax_sees,
        keeps_shape=True,
        no_gradient=(),
        gradient_reads=GradientReads.ALL,
        positive=True,
        normalises=_classes,
        engine=True,
    ),
)
def softmax(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Exponentials normalised to sum 1 along `axis` (default 1).

    Operations: 5 per element (maximum, subtract, exponential, sum, divide).
    Raises ShapeError. Source: softmax_layer.cpp, Reshape.
    """
    axis = canonical_axis(layer.softmax_param.axis, bottoms[0])
    check_not_empty(bottoms[0][axis : axis + 1], f"axis {axis}")
    return Facts((bottoms[0],), ops=5 * elements(bottoms[0]))
