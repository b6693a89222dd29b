"""What a recipe does besides Caffe's solver: that of the data, of the weights, and of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netbuilder.engines.torch.feed import Extras
from netbuilder.engines.torch.feed.extras import is_number
from netbuilder.engines.torch.muon import Muon
from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from netbuilder.schema import SolverParameter

__all__ = ["TrainingExtras"]

_OWN = (
    "ema",
    "lookahead",
    "lookahead_share",
    "muon",
    "muon_momentum",
    "muon_steps",
    "freeze",
    "teacher",
    "teacher_weights",
    "teacher_temperature",
    "teacher_share",
)


@dataclass(frozen=True, kw_only=True)
class TrainingExtras:
    """`ema` is the decay of the average of the weights, which tests use and snapshots have as a model.

    `lookahead` is after how many updates the weights go only `lookahead_share` of the way; 0 is never.

    `muon` is the rate at base_lr by which the filters of convolutions are updated by Muon, with its own
    `muon_momentum` and so many `muon_steps` of Newton-Schulz; None is the solver's update. `freeze` has, by
    layer name, the share of the iterations after which parameters stay.

    `teacher` and `teacher_weights` are the prototxt and model of a net whose scores are targets, too, at
    `teacher_temperature`; `teacher_share` is the factor of that loss.
    """

    ema: float | None = None
    lookahead: int = 0
    lookahead_share: float = 0.5
    muon: float | None = None
    muon_momentum: float = 0.6
    muon_steps: int = 3
    freeze: Mapping[str, float] = field(default_factory=dict)
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
        if not isinstance(self.lookahead, int) or self.lookahead < 0 or self.lookahead is True:
            raise ConfigError(
                f"lookahead is a number of updates, got {self.lookahead}", key="lookahead",
                hint="as in lookahead: 5",
            )  # fmt: skip
        if not (isinstance(self.lookahead_share, float) and 0 < self.lookahead_share < 1):
            raise ConfigError(
                f"lookahead_share must be between 0 and 1, got {self.lookahead_share}", key="lookahead_share"
            )
        self._check_muon()
        self._check_freeze()
        self._check_teacher()

    def _check_muon(self) -> None:
        if self.muon is not None and not (is_number(self.muon) and self.muon > 0):
            raise ConfigError(
                f"muon is a learning rate above 0, got {self.muon}", key="muon", hint="as in muon: 0.24"
            )
        if not (is_number(self.muon_momentum) and 0 <= self.muon_momentum < 1):
            raise ConfigError(
                f"muon_momentum must be at least 0 and below 1, got {self.muon_momentum}", key="muon_momentum"
            )
        if not isinstance(self.muon_steps, int) or isinstance(self.muon_steps, bool) or self.muon_steps < 1:
            raise ConfigError(f"muon_steps must be at least 1, got {self.muon_steps}", key="muon_steps")
        usual = TrainingExtras.muon_momentum, TrainingExtras.muon_steps
        if self.muon is None and (self.muon_momentum, self.muon_steps) != usual:
            raise ConfigError("muon_momentum and muon_steps need muon", key="muon", hint="as in muon: 0.24")

    def _check_freeze(self) -> None:
        shares = self.freeze
        if not isinstance(shares, Mapping) or not all(
            isinstance(name, str) and is_number(share) and 0 <= share < 1 for name, share in shares.items()
        ):
            raise ConfigError(
                f"freeze has layer names with the share of the training after which each stays, got {shares}",
                key="freeze", hint="as in freeze: {conv1: 0.4, 'layer1_*': 0.6}",
            )  # fmt: skip

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
            if not (is_number(value) and 0 < value < float("inf")):
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

    def muon_of(self, solver: SolverParameter) -> Muon | None:
        """Muon beside this solver, whose rates it follows. Raises ConfigError if it has none."""
        if self.muon is None:
            return None
        if not solver.base_lr > 0:
            raise ConfigError("muon needs a base_lr above 0, whose schedule it follows", key="muon")
        return Muon(self.muon / solver.base_lr, self.muon_momentum, self.muon_steps)

    def lines(self) -> list[str]:
        """What is done, a line each."""
        default = TrainingExtras()
        changed = [name for name in _OWN if getattr(self, name) != getattr(default, name)]
        return [*(f"{name}: {getattr(self, name)}" for name in changed), *self.data.lines()]
