"""`Freezing`: layers whose parameters stay from some part of the training on, first layers first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn

from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.engines.torch.solver import Solver

__all__ = ["Freezing"]


class Freezing:
    """The layers of each name keep their parameters after that name's share of the iterations.

    A name may have wildcards, as in `layer1_*`. Frozen parameters have no gradient, momentum or decay; where
    all layers before are frozen too, no gradients of blobs are computed. BatchNorm's statistics go on. Raises
    ConfigError for a name that no layer with parameters has.
    """

    def __init__(self, net: NetModule, solver: Solver, shares: Mapping[str, float], iterations: int) -> None:
        self._solver = solver
        self._from: list[tuple[int, nn.Parameter]] = []
        learning: dict[str, list[nn.Parameter]] = {}
        for name, operator in net.operators().items():
            if blobs := [blob for blob in operator.blobs() if isinstance(blob, nn.Parameter)]:
                learning[name] = blobs
        for pattern, share in shares.items():
            found = [name for name in learning if fnmatchcase(name, pattern)]
            if not found:
                raise ConfigError(
                    f"freeze: the net has no layer '{pattern}' with parameters that learn", key="freeze",
                    hint=did_you_mean(pattern, learning) or "give names of layers, as in conv1 or layer1_*",
                )  # fmt: skip
            begin = math.ceil(share * iterations)
            self._from += [(begin, blob) for name in found for blob in learning[name]]

    def update(self, done: int) -> None:
        """Freeze what is due after so many updates."""
        due = [blob for begin, blob in self._from if begin <= done]
        if due:
            self._from = [(begin, blob) for begin, blob in self._from if begin > done]
            self._solver.freeze(due)
