"""`Fields`: what a message says, as plain Python values.

Operators read their fields in each pass. Messages do not pickle, and `torch.compile` cannot look into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.message import Message

__all__ = ["Fields"]


class Fields:
    """The fields of a message by name, with their defaults; repeated ones are tuples. It does not change."""

    def __init__(self, values: Mapping[str, Any], given: frozenset[str]) -> None:
        self.__dict__.update(values)
        self._given = given

    @classmethod
    def of(cls, message: Message, without: tuple[str, ...] = ()) -> Fields:
        """The fields of a message; those in `without` are as if they were not set."""
        values = dict(_defaults(type(message)))  # type: ignore[arg-type]
        given = set()
        for field, value in message.ListFields():
            if field.name not in without:
                given.add(field.name)
                values[field.name] = _plain(value)
        return cls(values, frozenset(given))

    def changed(self, **values: Any) -> Fields:
        """The same with other values, which are set."""
        mine = {name: value for name, value in self.__dict__.items() if name != "_given"}
        return Fields({**mine, **values}, self._given | set(values))

    def HasField(self, name: str) -> bool:  # noqa: N802 (as of messages)
        """Whether the field is set."""
        return name in self._given


@cache
def _defaults(kind: type[Message]) -> dict[str, Any]:
    empty = kind()
    return {field.name: _plain(getattr(empty, field.name)) for field in empty.DESCRIPTOR.fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return Fields.of(value)
    if isinstance(value, (bool, int, float, str, bytes)):
        return value
    return tuple(_plain(item) for item in value)
