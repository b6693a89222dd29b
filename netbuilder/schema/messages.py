"""The message classes by name, created on first use; `messages.pyi` has their types."""

from __future__ import annotations

from netbuilder.schema.descriptors import message


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return message(name)
    except KeyError:
        raise AttributeError(f"the schema has no message {name}") from None
