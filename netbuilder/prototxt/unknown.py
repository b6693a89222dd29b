"""Fields that the schema lacks, kept as text inside the messages themselves.

With `unknown="keep"` the fields of forks are read unchanged, stay in their message when it is copied, and
are written back. The text is stored as an unknown field of protobuf, under the highest field number, which
no schema uses. For the text format see `text`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.unknown_fields import UnknownFieldSet

from netbuilder.storage.wire import packed

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["field_name", "keep", "keeps_any", "kept"]

_NUMBER = 2**29 - 1
_TAG = b"\xfa\xff\xff\xff\x0f"  # of that number, length-delimited


def keep(message: Message, text: str) -> None:
    """Keep the text of one field, `name: value` or `name { ... }`, in a message."""
    content = text.encode()
    message.MergeFromString(_TAG + packed(len(content)) + content)


def kept(message: Message) -> list[str]:
    """The texts kept in a message, in the order of the file."""
    fields: Any = UnknownFieldSet(message)
    return [field.data.decode() for field in fields if field.field_number == _NUMBER] if len(fields) else []


def keeps_any(message: Message) -> bool:
    """Whether a message, or one inside it, may hold kept texts; fast if there are none."""
    return _TAG in message.SerializePartialToString()


def field_name(text: str) -> str:
    """The name of the field in a kept text."""
    m = re.match(r"\w+", text)
    return m[0] if m else ""
