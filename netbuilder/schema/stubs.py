"""The types of the schema's message classes, for type checkers: the text of `messages.pyi`.

The classes are created at run time, so a checker cannot see their fields. `tools/compile_schema.py` writes
the stub.
"""

from __future__ import annotations

from keyword import iskeyword

from google.protobuf import descriptor_pb2 as pb

__all__ = ["stub_text"]

_Field = pb.FieldDescriptorProto
_SCALARS = {
    _Field.TYPE_DOUBLE: "float",
    _Field.TYPE_FLOAT: "float",
    _Field.TYPE_INT64: "int",
    _Field.TYPE_INT32: "int",
    _Field.TYPE_UINT32: "int",
    _Field.TYPE_BOOL: "bool",
    _Field.TYPE_STRING: "str",
    _Field.TYPE_BYTES: "bytes",
    _Field.TYPE_ENUM: "int",
}
_HEAD = """\
# Written by tools/compile_schema.py from caffe.proto; edit that.
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

# A constructor takes a message as such, or as its fields by name.
_Fields: TypeAlias = Message | Mapping[str, Any]
"""


def stub_text(compiled: bytes) -> str:
    """The stub of all messages in a serialized FileDescriptorProto."""
    file = pb.FileDescriptorProto.FromString(compiled)
    return _HEAD + "".join(map(_class, file.message_type))


def _class(message: pb.DescriptorProto) -> str:
    lines = [f"\nclass {message.name}(Message):"]
    for enum in message.enum_type:
        lines.append(f"    {enum.name}: ClassVar[EnumTypeWrapper]")
        lines += [f"    {label.name}: ClassVar[int]" for label in enum.value]
    words = []
    for field in message.field:
        if iskeyword(field.name):  # `lambda`: read by getattr
            continue
        single, given = _types(field)
        if field.label == _Field.LABEL_REPEATED:
            container = "Composite" if field.type == _Field.TYPE_MESSAGE else "Scalar"
            many = f"Repeated{container}FieldContainer[{single}]"
            lines.append(f"    @property\n    def {field.name}(self) -> {many}: ...")
            given = f"Iterable[{given}]"
        elif field.type == _Field.TYPE_MESSAGE:
            lines.append(f"    @property\n    def {field.name}(self) -> {single}: ...")
        else:
            lines.append(f"    {field.name}: {single}")
        words.append(f"        {field.name}: {given} | None = ...,\n")
    if words:
        lines.append(f"    def __init__(\n        self,\n        *,\n{''.join(words)}    ) -> None: ...")
    else:
        lines.append("    def __init__(self) -> None: ...")
    return "\n".join(lines) + "\n"


def _types(field: pb.FieldDescriptorProto) -> tuple[str, str]:
    """The type of the attribute, and that of the constructor's argument."""
    if field.type == _Field.TYPE_MESSAGE:
        return field.type_name.rpartition(".")[2], "_Fields"
    read = _SCALARS[field.type]
    return read, "int | str" if field.type == _Field.TYPE_ENUM else read
