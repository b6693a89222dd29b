"""What a recipe does besides Caffe's solver: that of the data, of the weights, and of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netbuilder.engines.torch.feed import Extras
from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["TrainingExtras"]

_OWN = ("ema", "teacher", "teacher_weights", "teacher_temperature", "teacher_share")


@dataclass(frozen=True, kw_only=True)
class TrainingExtras:
    """`ema` is the decay of the average of the weights, which tests use and snapshots have as a model.

    `teacher` and `teacher_weights` are the prototxt and model of a net whose scores are targets, too, at
    `teacher_temperature`; `teacher_share` is the factor of that loss.
    """

    ema: float | None = None
    teacher: str = ""
    teacher_weights: str = ""
    teacher_temperature: float = 1.0
    teacher_share: float = 1.0
    data: Extras = field(default_factory=Extras)

    def __post_init__(self) -> None:
        if self.ema is not None and not (isinstance(self.ema, float) and 0 < self.ema < 1):
            raise ConfigError(
                f"ema must be between 0 and 1, got {self.ema}", key="ema", hint="as in ema: 0.999"
            )

        self._check_teacher()

    def _check_teacher(self) -> None:
        for name in ("teacher", "teacher_weights"):
            value = getattr(self, name)
            if not isinstance(value, str) or (not value and self._teaches):
                raise ConfigError(
                    "a teacher needs its prototxt and its model", key=name,
                    hint="as in teacher: net.prototxt and teacher_weights: net.caffemodel",
                )  # fmt: skip
        for name in ("teacher_temperature", "teacher_share"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 < value < float("inf")):
                raise ConfigError(f"{name} must be above 0, got {value}", key=name)

    @property
    def _teaches(self) -> bool:
        """Whether anything is said of a teacher."""
        given = (self.teacher, self.teacher_weights, self.teacher_temperature, self.teacher_share)
        return given != ("", "", 1.0, 1.0)

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
        default = TrainingExtras()
        changed = [name for name in _OWN if getattr(self, name) != getattr(default, name)]
        return [*(f"{name}: {getattr(self, name)}" for name in changed), *self.data.lines()]
