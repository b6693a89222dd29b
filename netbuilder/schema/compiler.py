"""The compiler of caffe.proto: its text becomes a serialized FileDescriptorProto, `caffe.desc`.

`tools/compile_schema.py` runs it after an edit of caffe.proto; a start of netbuilder only loads the result.
There is no generated code, which would tie us to some protobuf releases, and no need for protoc.
The bytes are assembled as text, one character each.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = ["compile_schema"]

# A statement, one a line; last, a line of anything else.
_STATEMENT = re.compile(
    r"^ *(?:"
    r"(optional|required|repeated) ([\w.]+) (\w+) = (\d+)"
    r"(?: \[(?:default = (\"[^\"\\]*\"|[^\s\"\],]+)|(packed = true))\])?;"
    r"|(\w+) = (\d+);"
    r"|(\})"
    r"|(message|enum) (\w+) \{"
    r"|syntax = \"proto2\";"
    r"|package (\w+);"
    r"|([^ /\n].*)"
    r") *(?://.*)?$",
    re.MULTILINE,
)
_LABELS = {"optional": "\x20\x01", "required": "\x20\x02", "repeated": "\x20\x03"}
_SCALARS = {
    "double": "\x28\x01",
    "float": "\x28\x02",
    "int64": "\x28\x03",
    "int32": "\x28\x05",
    "bool": "\x28\x08",
    "string": "\x28\x09",
    "bytes": "\x28\x0c",
    "uint32": "\x28\x0d",
}
_MESSAGE, _ENUM = "\x28\x0b", "\x28\x0e"
_PACKED = "\x42\x02\x10\x01"  # options { packed: true }


def compile_schema(text: str, file_name: str) -> bytes:
    """A schema as a serialized FileDescriptorProto.

    Raises AssertionError at anything that our own schema does not need.
    """
    package = name = enum = ""  # name, enum: what is open
    body = values = found = ""  # of the message, of the enum, of the file
    types = dict(_SCALARS)  # how a type is written in a field: scalars, and the enums seen so far
    for row in _STATEMENT.findall(text):
        label, kind, field, number, default, packed, value, value_number, end, block, title, of, other = row
        if label:
            assert name, f"{file_name}: field {field} stands outside of a message"
            assert not enum, f"{file_name}: field {field} stands in an enum"
            # A type that is no scalar and no enum above is a message.
            of_type = types.get(f"{name}.{kind}") or types.get(kind)
            of_type = of_type or _MESSAGE + _part(6, f".{package}.{kind}")
            part = f"\n{chr(len(field))}{field}\x18{_number(number)}{_LABELS[label]}{of_type}"
            if default:
                part += _part(7, default.strip('"'))
            elif packed:
                part += _PACKED
            body += f"\x12{_size(len(part))}{part}"
        elif value:
            assert enum, f"{file_name}: value {value} stands outside of an enum"
            values += _part(2, f"{_part(1, value)}\x10{_number(value_number)}")
        elif end and enum:
            if name:
                body += _part(4, values)
            else:
                found += _part(5, values)
            enum = ""
        elif end:
            assert name, f"{file_name}: a brace closes nothing"
            found += _part(4, body)
            name = ""
        elif block == "message":
            assert (name or enum) == "", f"{file_name}: message {title} is nested"
            name, body = title, _part(1, title)
        elif block:
            assert not enum, f"{file_name}: enum {title} is nested in an enum"
            enum, values = title, _part(1, title)
            path = f"{name}.{enum}" if name else enum
            types[path] = _ENUM + _part(6, f".{package}.{path}")
        elif of:
            package = of
        elif other:
            raise AssertionError(f"{file_name}: not understood: {other!r}")
    assert (name or enum) == "", f"{file_name}: {enum or name} is not closed"
    return (_part(1, file_name) + _part(2, package) + found).encode("latin-1")


def _size(n: int) -> str:
    return chr(n) if n < 128 else chr(n & 127 | 128) + _size(n >> 7)


@cache
def _number(digits: str) -> str:
    return _size(int(digits))


def _part(field: int, content: str) -> str:
    """A length-delimited field, numbered below 16, in wire format."""
    return f"{chr(field << 3 | 2)}{_size(len(content))}{content}"
