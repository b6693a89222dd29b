"""`Record`: the comparison, hash and text of the frozen dataclasses that every build creates.

`@dataclass` compiles these three for each class at each start, which takes half of its time. A subclass of
`Record` that says `eq=False, repr=False` inherits them instead. A dataclass that does not say so may derive
from it, too, and has its own.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

__all__ = ["Record"]


class Record:
    """The base of frozen dataclasses that compare, hash and print by their fields, as dataclasses do."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        compared = [field.name for field in _fields(self) if field.compare]
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    def __hash__(self) -> int:
        hashed = [f.name for f in _fields(self) if (f.compare if f.hash is None else f.hash)]
        return hash(tuple([getattr(self, name) for name in hashed]))

    def __repr__(self) -> str:
        shown = [field.name for field in _fields(self) if field.repr]
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


_fields: Any = fields  # to the type checker `Record` itself is not a dataclass
