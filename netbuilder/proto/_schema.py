"""The reader of caffe.proto: its text becomes message classes in a pool of our own.

The pool is private, so that pycaffe, or a fork with another schema of the package `caffe`, can live in the
same process. There is no generated code, which would tie us to some protobuf releases, and no need of protoc.
The descriptors are written as wire bytes, because importing descriptor_pb2 takes as long as all of this.
Text format is not here: see netbuilder.prototxt.text.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory

__all__ = ["load", "message"]

# One statement of the schema and the comments above it.
_STATEMENT = re.compile(
    r"(?:\s|//[^\n]*\n)*(?:"
    r"(?P<label>optional|required|repeated) (?P<type>\w+) (?P<field>\w+) = (?P<number>\d+)"
    r"(?: \[(?:default = (?P<default>\"[^\"\\]*\"|[^\s\"\],]+)|(?P<packed>packed = true))\])?;"
    r"|(?P<value>\w+) = (?P<value_number>\d+);"
    r"|(?P<end>\})"
    r"|(?P<block>message|enum) (?P<title>\w+) \{"
    r"|syntax = \"proto2\";"
    r"|package (?P<package>\w+);"
    r"|(?P<eof>\Z))"
)
_LABELS = {"optional": b"\x20\x01", "required": b"\x20\x02", "repeated": b"\x20\x03"}
_SCALARS = {
    "double": b"\x28\x01",
    "float": b"\x28\x02",
    "int64": b"\x28\x03",
    "int32": b"\x28\x05",
    "bool": b"\x28\x08",
    "string": b"\x28\x09",
    "bytes": b"\x28\x0c",
    "uint32": b"\x28\x0d",
}
_MESSAGE, _ENUM = b"\x28\x0b", b"\x28\x0e"
_PACKED = b"\x42\x02\x10\x01"  # options { packed: true }


def load(text: str, file_name: str) -> tuple[str, descriptor_pool.DescriptorPool]:
    """Read a schema into a new pool; returns the name of its package and the pool.

    Raises AssertionError at anything that our own schema has no need of.
    """
    package = name = enum = ""  # name, enum: what is open
    body = values = found = b""  # of the message, of the enum, of the file
    types = dict(_SCALARS)  # how a type is written in a field: scalars, and the enums seen so far
    at = 0
    while at < len(text):
        m = _STATEMENT.match(text, at)
        if m is None:
            raise AssertionError(f"{file_name}: not understood: {text[at : at + 80]!r}")
        at = m.end()
        title = m["title"]
        if m["label"]:
            assert name, f"{file_name}: field {m['field']} stands outside of a message"
            assert not enum, f"{file_name}: field {m['field']} stands in an enum"
            body += _part(2, _field(m, package, name, types))
        elif m["value"]:
            assert enum, f"{file_name}: value {m['value']} stands outside of an enum"
            values += _part(2, _part(1, m["value"]) + b"\x10" + _varint(int(m["value_number"])))
        elif m["end"] and enum:
            if name:
                body += _part(4, values)
            else:
                found += _part(5, values)
            enum = ""
        elif m["end"]:
            assert name, f"{file_name}: a brace closes nothing"
            found += _part(4, body)
            name = ""
        elif m["block"] == "message":
            assert (name or enum) == "", f"{file_name}: message {title} is nested"
            name, body = title, _part(1, title)
        elif m["block"]:
            assert not enum, f"{file_name}: enum {title} is nested in an enum"
            enum, values = title, _part(1, title)
            path = f"{name}.{enum}" if name else enum
            types[path] = _ENUM + _part(6, f".{package}.{path}")
        elif m["package"]:
            package = m["package"]
    assert (name or enum) == "", f"{file_name}: {enum or name} is not closed"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_part(1, file_name) + _part(2, package) + found)
    return package, pool


def _field(m: re.Match[str], package: str, message_name: str, types: dict[str, bytes]) -> bytes:
    """The wire form of a field; a type that is no scalar and no enum above is a message."""
    kind, default = m["type"], m["default"]
    of_type = types.get(kind) or types.get(f"{message_name}.{kind}")
    out = _part(1, m["field"]) + b"\x18" + _varint(int(m["number"])) + _LABELS[m["label"]]
    out += of_type or _MESSAGE + _part(6, f".{package}.{kind}")
    if default:
        out += _part(7, default.strip('"'))
    return out + _PACKED if m["packed"] else out


def _varint(n: int) -> bytes:
    if n < 128:
        return bytes((n,))
    return bytes((n & 127 | 128,)) + _varint(n >> 7)


def _part(field: int, content: str | bytes) -> bytes:
    """A length-delimited field, numbered below 16, in wire format."""
    if isinstance(content, str):
        content = content.encode()
    return bytes((field << 3 | 2,)) + _varint(len(content)) + content


def _load_ours() -> tuple[str, descriptor_pool.DescriptorPool]:
    with open(os.path.join(os.path.dirname(__file__), "caffe.proto"), encoding="utf-8") as file:
        return load(file.read(), "netbuilder/proto/caffe.proto")


_PACKAGE, _POOL = _load_ours()


@cache
def message(name: str) -> Any:
    """The class of a message: `message("LayerParameter")`, or with the package before it.

    Raises KeyError if the schema has no such message.
    """
    full_name = name if name.startswith(f"{_PACKAGE}.") else f"{_PACKAGE}.{name}"
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))
