"""Recurrent layers, step by step as Caffe unrolls them: `cont` may restart a sequence anywhere.

ONNX's own LSTM lacks `cont`. Without `expose_hidden` Caffe keeps the state for its next pass; an ONNX graph
has no memory, and each run starts from a state of zeros.
"""

from __future__ import annotations

from netbuilder.export.onnx.graph import At, Form

__all__ = ["COVERED", "REFUSED"]


def lstm_unit(at: At) -> tuple[str, str]:
    """One step: cell (1, n, h), gates (1, n, 4h) and cont (1, n) -> new cell, hidden."""
    cell, gates, cont = at.bottoms
    return _step(at, cell.name, gates.name, at.op("Unsqueeze", cont, at.ints([2])), cell.shape[2])


def _step(at: At, cell: str | None, gates: str, same: str, size: int) -> tuple[str, str]:
    """A step from a cell, None for zeros: the new cell and hidden state. Source: lstm_unit_layer.cpp."""
    i, f, o, g = at.ops("Split", 4, gates, at.ints([size] * 4), axis=2)
    new = at.op("Mul", at.op("Sigmoid", i), at.op("Tanh", g))
    if cell is not None:
        kept = at.op("Mul", at.op("Mul", at.op("Sigmoid", f), same), cell)
        new = at.op("Add", kept, new)
    return new, at.op("Mul", at.op("Sigmoid", o), at.op("Tanh", new))


def lstm(at: At) -> list[str]:
    return _unrolled(at, states=2)


def rnn(at: At) -> list[str]:
    """Its output is squashed as well."""
    return _unrolled(at, states=1)


def _unrolled(at: At, states: int) -> list[str]:
    p = at.p
    exposed = states if p.expose_hidden else 0
    static = len(at.bottoms) > 2 + exposed
    (steps,) = at.fixed(at.x, [0], "the number of steps, each of which has nodes,")
    inputs = at.op("MatMul", at.reshaped(at.x, [0, 0, -1]), at.weight(0, at.arrays[0].T, "0"))
    inputs = at.op("Add", inputs, at.weight(1))
    if static:
        flat = at.reshaped(at.bottoms[2], [0, -1])
        inputs = at.op("Add", inputs, at.op("MatMul", flat, at.weight(2, at.arrays[2].T, "2")))
    first = 3 if static else 2
    weight = at.weight(first, at.arrays[first].T, str(first))
    cuts = at.ints([1] * steps)
    each = at.ops("Split", steps, inputs, cuts, axis=0)
    conts = at.ops("Split", steps, at.op("Unsqueeze", at.bottoms[1], at.ints([2])), cuts, axis=0)
    state = [bottom.name for bottom in at.bottoms[-exposed:]] if exposed else []
    hidden = state[0] if state else None
    cell = state[1] if len(state) > 1 else None
    tops = []
    for own, same in zip(each, conts, strict=True):
        if hidden is not None:
            own = at.op("Add", at.op("MatMul", at.op("Mul", hidden, same), weight), own)
        if states == 2:
            cell, hidden = _step(at, cell, own, same, p.num_output)
        else:
            hidden = at.op("Tanh", own)
        tops.append(hidden)
    top = at.op("Concat", *tops, axis=0)
    if states == 1:
        out = at.op("MatMul", top, at.weight(first + 1, at.arrays[first + 1].T, str(first + 1)))
        top = at.op("Tanh", at.op("Add", out, at.weight(first + 2)))
    ended = [name for name in (hidden, cell) if name is not None]
    return [top, *(ended if exposed else [])]


COVERED: dict[str, Form] = {"LSTM": Form(lstm), "RNN": Form(rnn), "LSTMUnit": Form(lstm_unit)}
REFUSED: dict[str, str] = {}
