"""What the schema has no name for, kept in the messages themselves as text.

Fields of Caffe's forks are read as they stand (`unknown="keep"`), ride along in their message through every
copy, and are written back into it. Their text is stored as an unknown field of protobuf's own, under the
highest number there is, which no schema uses. Text format is not here: see `text`.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

__all__ = ["field_name", "keep", "keeps_any", "kept"]

_NUMBER = 2**29 - 1
_TAG = b"\xfa\xff\xff\xff\x0f"  # of that number, length-delimited


def keep(message: Any, text: str) -> None:
    """Keep the text of one field, `name: value` or `name { ... }`, in a message."""
    content = text.encode()
    size, rest = b"", len(content)
    while rest > 127:
        size += bytes((rest & 127 | 128,))
        rest >>= 7
    message.MergeFromString(_TAG + size + bytes((rest,)) + content)


def kept(message: Any) -> list[str]:
    """The texts that are kept in a message, in the order of the file."""
    fields: Any = UnknownFieldSet(message)
    return [field.data.decode() for field in fields if field.field_number == _NUMBER] if len(fields) else []


def keeps_any(message: Any) -> bool:
    """Whether there may be such texts in a message or in those inside it; quick where there are none."""
    return _TAG in message.SerializePartialToString()


def field_name(text: str) -> str:
    """The name of the field that a kept text begins with."""
    m = re.match(r"\w+", text)
    return m[0] if m else ""
