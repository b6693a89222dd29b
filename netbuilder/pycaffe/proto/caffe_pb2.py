"""The messages of Caffe's schema by name, as protobuf's compiler gives them: netbuilder's own."""

from __future__ import annotations

from typing import Any

from netbuilder.schema import message

__all__ = ["DESCRIPTOR"]

DESCRIPTOR = message("NetParameter").DESCRIPTOR.file


def _enum(descriptor: Any) -> Any:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

    return EnumTypeWrapper(descriptor)


def _fill() -> None:
    for name in DESCRIPTOR.message_types_by_name:
        globals()[name] = message(name)
    for name, descriptor in DESCRIPTOR.enum_types_by_name.items():
        globals()[name] = _enum(descriptor)
        globals().update({value.name: value.number for value in descriptor.values})


_fill()


def __getattr__(name: str) -> Any:
    raise AttributeError(f"Caffe's schema has no {name}")
