"""What a recipe does besides Caffe's solver: that of the data, and that of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netbuilder.engines.torch.feed import Extras
from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["TrainingExtras"]

_OWN = ("ema",)


@dataclass(frozen=True, kw_only=True)
class TrainingExtras:
    """`ema` is the decay of the average of the weights, which tests use and snapshots have as a model."""

    ema: float | None = None
    data: Extras = field(default_factory=Extras)

    def __post_init__(self) -> None:
        if self.ema is not None and not (isinstance(self.ema, float) and 0 < self.ema < 1):
            raise ConfigError(
                f"ema must be between 0 and 1, got {self.ema}", key="ema", hint="as in ema: 0.999"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TrainingExtras:
        """The extras of a mapping. Raises ConfigError for what is unknown."""
        known = [*_OWN, *Extras.names()]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"the PyTorch engine cannot do '{name}'", key="extras",
                    hint=did_you_mean(name, known) or f"the extras are {', '.join(known)}",
                )  # fmt: skip
        data = Extras.of({name: value for name, value in given.items() if name not in _OWN})
        return cls(data=data, **{name: value for name, value in given.items() if name in _OWN})

    def lines(self) -> list[str]:
        """What is done, a line each."""
        return [*([f"ema: {self.ema}"] if self.ema is not None else []), *self.data.lines()]
