"""Recurrent layers: RNN, LSTM and LSTMUnit, one step of an LSTM.

Without `expose_hidden` the state after the last step is that before the first step of the next pass, as in
Caffe, where `cont` 0 starts a new sequence. It is a buffer outside `state_dict`; gradients end there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]


class _Unit(torch.autograd.Function):
    """One step: cell, gates (i, f, o, g) and cont to the new cell and hidden state.

    Caffe takes the forget gate with `cont` for the sigmoid, also in its gradient.
    Source: lstm_unit_layer.cpp.
    """

    @staticmethod
    def forward(ctx: Any, cell: Tensor, gates: Tensor, cont: Tensor) -> Any:
        i, f, o, g = gates.chunk(4, -1)
        i, o, g = torch.sigmoid(i), torch.sigmoid(o), torch.tanh(g)
        f = torch.where(cont == 0, 0, cont * torch.sigmoid(f))
        new = f * cell + i * g
        squashed = torch.tanh(new)
        ctx.save_for_backward(cell, i, f, o, g, squashed)
        return new, o * squashed

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        cell, i, f, o, g, squashed = ctx.saved_tensors
        d_cell, d_hidden = grads
        term = d_cell + d_hidden * o * (1 - squashed * squashed)
        d_gates = (
            term * g * i * (1 - i),
            term * cell * f * (1 - f),
            d_hidden * squashed * o * (1 - o),
            term * i * (1 - g * g),
        )
        return term * f, torch.cat(d_gates, -1), None


class LSTMUnit(Operator):
    """One step of an LSTM: cell (1, n, h), gates (1, n, 4h) and cont (1, n) -> new cell, hidden."""

    def forward(self, cell: Tensor, gates: Tensor, cont: Tensor) -> Tops:  # type: ignore[override]
        tops: Tops = _Unit.apply(cell, gates, cont.detach().unsqueeze(-1))  # type: ignore[no-untyped-call]
        return tops


class _Recurrent(Operator):
    """What RNN and LSTM share: where their bottoms are, and the states between passes."""

    insists = True
    states: tuple[str, ...]

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.exposed = len(self.states) if self.proto.recurrent_param.expose_hidden else 0
        self.static = len(self.proto.bottom) > 2 + self.exposed
        for name in self.states if not self.exposed else ():
            self.register_buffer(name, None, persistent=False)

    def reset(self) -> None:
        """Let the next pass start from a state of zeros."""
        for name in self.states if not self.exposed else ():
            self._buffers[name] = None

    def before(self, x: Tensor, bottoms: tuple[Tensor, ...]) -> list[Tensor]:
        """The states before the first step, each (1, n, h); Caffe sends no gradient to exposed ones."""
        if self.exposed:
            return [state.detach() for state in bottoms[-self.exposed :]]
        shape = (1, x.shape[1], self.proto.recurrent_param.num_output)
        found = []
        for name in self.states:
            kept = self._buffers[name]
            usable = kept is not None and kept.shape == shape
            found.append(kept.to(x) if usable and kept is not None else x.new_zeros(shape))
        return found

    def after(self, states: list[Tensor]) -> tuple[Tensor, ...]:
        """Keep the states after the last step, or return them as tops, which have no gradient in Caffe."""
        ended = tuple(state.detach() for state in states)
        if self.exposed:
            return ended
        for name, state in zip(self.states, ended, strict=True):
            self._buffers[name] = state
        return ()

    def inputs(self, x: Tensor, bottoms: tuple[Tensor, ...]) -> Tensor:
        """What x, the bias and the static input add to each step."""
        flat = torch.nn.functional.linear(x.flatten(2), self.blob(0), self.blob(1))
        if self.static:
            flat = flat + torch.nn.functional.linear(bottoms[0].flatten(1), self.blob(2))
        return flat


class LSTM(_Recurrent):
    """Long short-term memory over (t, n, ...)."""

    states = ("hidden", "cell")

    def forward(self, x: Tensor, cont: Tensor, *bottoms: Tensor) -> Tops:  # type: ignore[override]
        hidden, cell = self.before(x, bottoms)
        weight = self.blob(3 if self.static else 2)
        goes_on = cont.detach().unsqueeze(-1)
        steps = []
        for inputs, same in zip(self.inputs(x, bottoms).chunk(len(x)), goes_on.chunk(len(x)), strict=True):
            gates = torch.nn.functional.linear(hidden * same, weight) + inputs
            cell, hidden = _Unit.apply(cell, gates, same)  # type: ignore[no-untyped-call]
            steps.append(hidden)
        ended = self.after([hidden, cell])
        top = torch.cat(steps)
        return (top, *ended) if ended else top


class RNN(_Recurrent):
    """Plain recurrent net over (t, n, ...); its output is squashed as well."""

    states = ("hidden",)

    def forward(self, x: Tensor, cont: Tensor, *bottoms: Tensor) -> Tops:  # type: ignore[override]
        (hidden,) = self.before(x, bottoms)
        first = 3 if self.static else 2
        weight, out, bias = self.blob(first), self.blob(first + 1), self.blob(first + 2)
        goes_on = cont.detach().unsqueeze(-1)
        steps = []
        for inputs, same in zip(self.inputs(x, bottoms).chunk(len(x)), goes_on.chunk(len(x)), strict=True):
            hidden = torch.tanh(torch.nn.functional.linear(hidden * same, weight) + inputs)
            steps.append(hidden)
        ended = self.after([hidden])
        top = torch.tanh(torch.nn.functional.linear(torch.cat(steps), out, bias))
        return (top, *ended) if ended else top


COVERED: dict[str, type[Operator]] = {"LSTM": LSTM, "RNN": RNN, "LSTMUnit": LSTMUnit}
REFUSED: dict[str, str] = {}
