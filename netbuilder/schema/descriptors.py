"""The message classes of the schema, in a private descriptor pool.

So pycaffe, or a fork with another schema of the package `caffe`, can run in the same process. `caffe.desc` is
the compiled caffe.proto (`compiler.py`). The text format is in netbuilder.prototxt.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import google.protobuf
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message

__all__ = ["message"]

_PACKAGE = "caffe"

# protobuf's public modules for pools and classes import its implementation in pure Python even where its C
# core, upb, does all the work. That would be a tenth of the time of a build, so the core is asked itself.
# Since protobuf 6 it also creates the classes of the fields of a message, when they are first needed.
if api_implementation.Type() == "upb" and int(google.protobuf.__version__.partition(".")[0]) >= 6:
    from google._upb import _message as core

    _POOL: Any = core.DescriptorPool()

    def _class_of(descriptor: Any) -> Any:
        made = getattr(descriptor, "_concrete_class", None)
        content = {"DESCRIPTOR": descriptor, "__module__": None}
        return made or core.MessageMeta(descriptor.name, (Message,), content)

else:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    _POOL = DescriptorPool()
    _class_of = GetMessageClass

with open(os.path.join(os.path.dirname(__file__), "caffe.desc"), "rb") as _file:
    _POOL.AddSerializedFile(_file.read())


@cache
def message(name: str) -> Any:
    """The class of a message: `message("LayerParameter")`, with or without the package name.

    Raises KeyError if the schema has no such message.
    """
    full_name = name if name.startswith(f"{_PACKAGE}.") else f"{_PACKAGE}.{name}"
    return _class_of(_POOL.FindMessageTypeByName(full_name))
