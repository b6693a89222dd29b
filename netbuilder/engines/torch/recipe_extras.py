"""What a recipe does besides Caffe's solver, read from the plan's mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["TrainingExtras"]


@dataclass(frozen=True, kw_only=True)
class TrainingExtras:
    """`ema` is the decay of the average of the weights, which tests use and snapshots have as a model."""

    ema: float | None = None

    def __post_init__(self) -> None:
        if self.ema is not None and not (isinstance(self.ema, float) and 0 < self.ema < 1):
            raise ConfigError(
                f"ema must be between 0 and 1, got {self.ema}", key="ema", hint="as in ema: 0.999"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TrainingExtras:
        """The extras of a mapping. Raises ConfigError for what is unknown."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"the PyTorch engine cannot do '{name}'", key="extras",
                    hint=did_you_mean(name, known) or f"the extras are {', '.join(known)}",
                )  # fmt: skip
        return cls(**given)
