"""Recurrent layers: RNN, LSTM, and LSTMUnit, one step of an LSTM.

Caffe unrolls a recurrent layer into a net of T steps, with one InnerProduct per transformation; the rules
refuse what that net would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, ParamFacts, Shape, elements, rule
from netbuilder.layers.traits import COMPUTES, Diff, GradientReads, Reads, Spoils, Unknown

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

_STEP = COMPUTES._replace(sees=Unknown("its state depends on all earlier steps"), spoils=Spoils.VALUES)
# Source of `diff`: recurrent_layer.cpp, Reshape: the tops have the diffs of blobs of the unrolled net.
_UNROLLED = _STEP._replace(
    no_gradient=(1,), unforced=(1,), diff=Diff.LENT, weight_filler="recurrent_param", rebuilds=True
)
# Operations of one element of a cell's state: three sigmoids and two hyperbolic tangents of 3 each, four
# products (cont*f, f*c, i*g, o*tanh(c)) and a sum.
UNIT_OPS = 20


class Sequences(NamedTuple):
    """The sizes of a recurrent layer: T steps of N streams, I inputs and S static ones (0: none)."""

    steps: int
    streams: int
    inputs: int
    static: int
    output: int


def _has_static(layer: LayerParameter, states: int) -> bool:
    """Whether a static input follows x and cont; the hidden states, if exposed, come last."""
    return len(layer.bottom) > 2 + (states if layer.recurrent_param.expose_hidden else 0)


def _lstm_learns(layer: LayerParameter) -> int:
    return 3 + _has_static(layer, 2)


def _lstm_reads(layer: LayerParameter, bottoms: Sequence[Shape]) -> Reads:
    """The last cell, in the memory of the last LSTMUnit. Source: lstm_layer.cpp, FillUnrolledNet."""
    return {2: GradientReads.ALL} if layer.recurrent_param.expose_hidden else {}


def _rnn_reads(layer: LayerParameter, bottoms: Sequence[Shape]) -> Reads:
    """The last state, which its output multiplies; and the output of a single step, a TanH of its own memory.

    Source: rnn_layer.cpp, FillUnrolledNet; concat_layer.cpp, Reshape.
    """
    output = {0: GradientReads.ELEMENTS} if bottoms[0][:1] == (1,) else {}
    return output | ({1: GradientReads.ALL} if layer.recurrent_param.expose_hidden else {})


@rule(
    "LSTM",
    "recurrent_param",
    bottoms=(2, 5),
    tops=(1, 3),
    traits=_UNROLLED._replace(learns=_lstm_learns, reads_tops=_lstm_reads),
)
def lstm(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Long short-term memory: x (t, n, ...) and cont (t, n)[, static (n, ...)] -> (t, n, num_output).

    With expose_hidden two bottoms follow (hidden and cell state of the step before) and two tops (those of
    the last step), each (1, n, h). cont is 0 where a sequence starts.
    Parameters, with i inputs per step and s static inputs: weight (4h, i), bias (4h,)[, weight (4h, s)],
    weight (4h, h).
    MACs: t*n * (4h*i + 4h*h), and n * 4h*s. Other operations: t*n*h * 29, of which 20 are the cell's, 4 the
    bias, 4 the sum of both products and 1 the product with cont; 4 more for the static sum.
    Raises ShapeError. Source: recurrent_layer.cpp, LayerSetUp and Reshape; lstm_layer.cpp.
    """
    p = layer.recurrent_param
    t, n, i, s, h = _sequences(layer, bottoms, 2)
    params = [ParamFacts((4 * h, i), "weight", p.weight_filler), ParamFacts((4 * h,), "bias", p.bias_filler)]
    if s:
        params.append(ParamFacts((4 * h, s), "weight", p.weight_filler))
    params.append(ParamFacts((4 * h, h), "weight", p.weight_filler))
    return Facts(
        ((t, n, h), *((1, n, h),) * (2 if p.expose_hidden else 0)),
        tuple(params),
        macs=t * n * 4 * h * (i + h) + n * 4 * h * s,
        ops=t * n * h * (UNIT_OPS + 9 + (4 if s else 0)),
    )


def _rnn_learns(layer: LayerParameter) -> int:
    return 5 + _has_static(layer, 1)


@rule(
    "RNN",
    "recurrent_param",
    bottoms=(2, 4),
    tops=(1, 2),
    traits=_UNROLLED._replace(learns=_rnn_learns, reads_tops=_rnn_reads),
)
def rnn(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Plain recurrent net: x (t, n, ...) and cont (t, n)[, static (n, ...)] -> (t, n, num_output).

    With expose_hidden one bottom follows (hidden state of the step before) and one top (that of the last
    step), each (1, n, h).
    Parameters: weight (h, i), bias (h,)[, weight (h, s)], weight (h, h), and for the output weight (h, h)
    and bias (h,).
    MACs: t*n * (h*i + 2*h*h), and n * h*s. Other operations: t*n*h * 10 (two hyperbolic tangents of 3, two
    biases, a sum and the product with cont); 1 more for the static sum.
    Raises ShapeError. Source: recurrent_layer.cpp, LayerSetUp and Reshape; rnn_layer.cpp.
    """
    p = layer.recurrent_param
    t, n, i, s, h = _sequences(layer, bottoms, 1)
    hidden, bias = ParamFacts((h, h), "weight", p.weight_filler), ParamFacts((h,), "bias", p.bias_filler)
    params = [ParamFacts((h, i), "weight", p.weight_filler), bias]
    if s:
        params.append(ParamFacts((h, s), "weight", p.weight_filler))
    params += [hidden, hidden, bias]
    return Facts(
        ((t, n, h), *((1, n, h),) * (1 if p.expose_hidden else 0)),
        tuple(params),
        macs=t * n * h * (i + 2 * h) + n * h * s,
        ops=t * n * h * (10 + (1 if s else 0)),
    )


@rule(
    "LSTMUnit",
    bottoms=3,
    tops=2,
    # Source of `gradient_reads`: lstm_unit_layer.cpp, Backward_cpu, which reads the new cell.
    traits=_STEP._replace(no_gradient=(2,), unforced=(2,), gradient_reads=GradientReads.ALL),
)
def lstm_unit(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """One step of an LSTM: cell (1, n, h), gates (1, n, 4h) and cont (1, n) -> new cell, hidden: (1, n, h).

    Parameters: none. Operations: 20 per element of the cell (five nonlinear functions of 3, four products,
    a sum). Raises ShapeError. Source: lstm_unit_layer.cpp, Reshape.
    """
    cell, gates, cont = bottoms
    if len(cell) != 3 or cell[0] != 1 or gates != (1, cell[1], 4 * cell[2]) or cont != (1, cell[1]):
        raise ShapeError(
            "needs bottoms (1,n,h), (1,n,4h) and (1,n), "
            f"got {shape_text(cell)}, {shape_text(gates)} and {shape_text(cont)}"
        )
    return Facts((cell, cell), ops=UNIT_OPS * elements(cell))


def _sequences(layer: LayerParameter, bottoms: Sequence[Shape], states: int) -> Sequences:
    """Check bottoms and numbers of blobs; `states` is the number of states passed from step to step."""
    p = layer.recurrent_param
    exposed = states if p.expose_hidden else 0
    exposure = "with" if exposed else "without"
    if not 2 + exposed <= len(bottoms) <= 3 + exposed:
        raise ShapeError(
            f"{exposure} expose_hidden it needs {2 + exposed} or {3 + exposed} bottoms, got {len(bottoms)}"
        )
    if len(layer.top) != 1 + exposed:
        raise ShapeError(f"{exposure} expose_hidden it needs {1 + exposed} tops, got {len(layer.top)}")
    x, cont = bottoms[0], bottoms[1]
    if len(x) < 3 or elements(x) == 0:
        raise ShapeError(f"bottom 0 must be (steps, streams, inputs...), none of them 0, got {shape_text(x)}")
    if cont != x[:2]:
        raise ShapeError(f"bottom 1 (cont) must be {shape_text(x[:2])}, as bottom 0, got {shape_text(cont)}")
    if p.num_output < 1:
        raise ShapeError("num_output is missing or 0")
    static = 0
    if len(bottoms) > 2 + exposed:
        fixed = bottoms[2]
        static = elements(fixed[1:])
        if len(fixed) < 2 or fixed[0] != x[1] or static == 0:
            raise ShapeError(
                f"bottom 2 (static) must be (streams, inputs...) with {x[1]} streams, got {shape_text(fixed)}"
            )
    state = (1, x[1], p.num_output)
    for i in range(len(bottoms) - exposed, len(bottoms)):
        if bottoms[i] != state:
            raise ShapeError(
                f"bottom {i}, a state, must be {shape_text(state)}, got {shape_text(bottoms[i])}"
            )
    return Sequences(x[0], x[1], elements(x[2:]), static, p.num_output)
