"""Tables by layer type in other parts of netbuilder, such as readers of data or operators of an engine.

What a layer type *is* belongs in its traits. A table holds what another part can *do* with each type, and
would otherwise be complete only by luck. A `Coverage` has an implementation for each registered type that
concerns it, or the reason why there is none; `gaps` lists the missing types, and a test requires an empty
list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Generic, TypeVar

from netbuilder.layers.base import RULES, Rule

__all__ = ["Coverage"]

T = TypeVar("T")


class Coverage(Generic[T]):
    """Implementations by layer type, and the reasons for the types that have none.

    `where` names the table, as `module.NAME`, in messages to whoever completes it. `concerns` selects the
    types that the table must cover; by default all.
    """

    def __init__(
        self,
        where: str,
        covered: Mapping[str, T],
        refused: Mapping[str, str],
        concerns: Callable[[Rule], bool] = lambda rule: True,
    ) -> None:
        self.where = where
        self.covered = covered
        self.refused = refused
        self._concerns = concerns

    @classmethod
    def of_families(cls, where: str, families: Iterable[ModuleType]) -> Coverage[T]:
        """A table of modules that have one each, as COVERED and REFUSED."""
        covered: dict[str, T] = {}
        refused: dict[str, str] = {}
        for family in families:
            covered.update(family.COVERED)
            refused.update(family.REFUSED)
        return cls(where, covered, refused)

    def get(self, type: str) -> T | None:
        """The implementation for a layer type, or None."""
        return self.covered.get(type)

    def __getitem__(self, type: str) -> T:
        return self.covered[type]

    def why_not(self, type: str) -> str:
        """Why a layer type has no implementation; "" if it has one."""
        if type in self.covered:
            return ""
        return self.refused.get(type, f"{type} is not a layer type that {self.where} is for")

    def gaps(self) -> list[str]:
        """One line for each mistake in the table; a complete one has none."""
        wanted = {type for type, rule in RULES.items() if self._concerns(rule)}
        given = self.covered.keys() | self.refused.keys()
        return [
            *(
                f"{self.where} does not say what it does with {type}: put a function for it into `covered`, "
                "or the reason why there is none into `refused`"
                for type in sorted(wanted - given)
            ),
            *(f"{self.where} has {type}, which it is not for" for type in sorted(given - wanted)),
            *(
                f"{self.where} both covers and refuses {type}: choose one"
                for type in sorted(self.covered.keys() & self.refused.keys())
            ),
            *(f"{self.where} refuses {type} without a reason" for type in given if not self._reason(type)),
        ]

    def _reason(self, type: str) -> bool:
        return type in self.covered or bool(self.refused[type].strip())
