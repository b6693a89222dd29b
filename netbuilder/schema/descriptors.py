"""The reader of caffe.proto: its text becomes message classes in a pool of our own.

The pool is private, so that pycaffe, or a fork with another schema of the package `caffe`, can live in the
same process. There is no generated code, which would tie us to some protobuf releases, and no need of protoc.
The descriptors are written in wire format, because importing descriptor_pb2 takes as long as all of this.
This runs at every start: the bytes are put together as text, one character each, which is twice as fast.
Text format is not here: see netbuilder.prototxt.text.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["load", "message"]

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


def load(text: str, file_name: str) -> tuple[str, DescriptorPool]:
    """Read a schema into a new pool; returns the name of its package and the pool.

    Raises AssertionError at anything that our own schema has no need of.
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
    pool = DescriptorPool()
    pool.AddSerializedFile((_part(1, file_name) + _part(2, package) + found).encode("latin-1"))
    return package, pool


def _size(n: int) -> str:
    return chr(n) if n < 128 else chr(n & 127 | 128) + _size(n >> 7)


@cache
def _number(digits: str) -> str:
    return _size(int(digits))


def _part(field: int, content: str) -> str:
    """A length-delimited field, numbered below 16, in wire format."""
    return f"{chr(field << 3 | 2)}{_size(len(content))}{content}"


def _load_ours() -> tuple[str, DescriptorPool]:
    with open(os.path.join(os.path.dirname(__file__), "caffe.proto"), encoding="utf-8") as file:
        return load(file.read(), "netbuilder/schema/caffe.proto")


_PACKAGE, _POOL = _load_ours()


@cache
def message(name: str) -> Any:
    """The class of a message: `message("LayerParameter")`, or with the package before it.

    Raises KeyError if the schema has no such message.
    """
    full_name = name if name.startswith(f"{_PACKAGE}.") else f"{_PACKAGE}.{name}"
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))
