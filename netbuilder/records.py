"""`Record`: the comparison, hash and text of the frozen dataclasses that every build creates.

`@dataclass` compiles these three for each class at each start, which takes half of its time. A subclass of
`Record` that says `eq=False, repr=False` inherits them instead. A dataclass that does not say so may derive
from it, too, and has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple

__all__ = ["Record"]


class Record:
    """The base of frozen dataclasses that compare, hash and print by their fields, as dataclasses do."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _names(type(self)).compared)

    def __hash__(self) -> int:
        return hash(tuple([getattr(self, name) for name in _names(type(self)).hashed]))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(type(self)).shown)
        return f"{type(self).__qualname__}({shown})"


class _Names(NamedTuple):
    compared: list[str]
    hashed: list[str]
    shown: list[str]


def _names_of(kind: Any) -> _Names:
    every = fields(kind)
    return _Names(
        [field.name for field in every if field.compare],
        [field.name for field in every if (field.compare if field.hash is None else field.hash)],
        [field.name for field in every if field.repr],
    )


# A sweep hashes each block of each candidate. The type checker takes the hash of a class for its instances'.
_names: Callable[[type[Record]], _Names] = cache(_names_of)  # type: ignore[assignment]
