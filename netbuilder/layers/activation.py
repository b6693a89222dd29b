"""Element-wise layers of one bottom and one top, and Softmax: the top has the bottom's shape.

`ELEMENTWISE` is the table; a function stands here only where there is more to say. Sources: the
Forward_cpu of each layer's .cpp file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netbuilder.errors import ShapeError
from netbuilder.layers.base import Facts, ParamFacts, Shape, canonical_axis, elements, rule

# type, field message, operations per element, in-place use. Operations: comparison for the piecewise
# linear ones; exponential, addition and division for the sigmoid family; one per nonlinear function and
# one per multiplication or addition around it.
ELEMENTWISE = (
    ("ReLU", "relu_param", 1, "exact"),
    ("ELU", "elu_param", 3, "exact"),
    ("Sigmoid", "sigmoid_param", 3, "exact"),
    ("TanH", "tanh_param", 3, "exact"),
    ("Swish", "swish_param", 4, "exact"),
    ("Clip", "clip_param", 2, "wrong"),
    ("Threshold", "threshold_param", 1, "exact"),
    ("BNLL", "", 3, "wrong"),
    ("Exp", "exp_param", 3, "exact"),
    ("Log", "log_param", 3, "wrong"),
    ("Power", "power_param", 3, "wrong"),
    ("AbsVal", "", 1, "refused"),
    ("Dropout", "dropout_param", 0, "exact"),  # a copy at TEST; the mask of TRAIN is not counted
)


def _elementwise(type: str, param: str, per_element: int, in_place: str) -> None:
    @rule(type, *([param] if param else []), in_place=in_place)
    def infer(layer: Any, bottoms: Sequence[Shape]) -> Facts:
        return Facts((bottoms[0],), ops=per_element * elements(bottoms[0]))


for _row in ELEMENTWISE:
    _elementwise(*_row)


@rule("PReLU", "prelu_param", in_place="exact")
def prelu(layer: Any, bottoms: Sequence[Shape]) -> Facts:
    """ReLU with a learnt slope for negative inputs: one per channel (axis 1), or one in all.

    Parameters: slope (c,), or () if channel_shared. Operations: 2 per element (compare, multiply).
    Raises ShapeError. Source: prelu_layer.cpp, LayerSetUp.
    """
    p = layer.prelu_param
    (bottom,) = bottoms
    if len(bottom) < 2:
        raise ShapeError(f"needs at least 2 axes, the channels being axis 1, got {len(bottom)}")
    slope = () if p.channel_shared else (bottom[1],)
    filler = p.filler if p.HasField("filler") else None
    return Facts((bottom,), (ParamFacts(slope, "weight", filler),), ops=2 * elements(bottom))


@rule("Softmax", "softmax_param", in_place="exact")
def softmax(layer: Any, bottoms: Sequence[Shape]) -> Facts:
    """Exponentials normalised to sum 1 along `axis` (default 1).

    Operations: 5 per element (maximum, subtract, exponential, sum, divide).
    Raises ShapeError. Source: softmax_layer.cpp, Reshape.
    """
    canonical_axis(layer.softmax_param.axis, bottoms[0])
    return Facts((bottoms[0],), ops=5 * elements(bottoms[0]))
