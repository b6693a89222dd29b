"""The message classes of the schema, in a private descriptor pool.

So pycaffe, or a fork with another schema of the package `caffe`, can run in the same process. `caffe.desc` is
the compiled caffe.proto (`compiler.py`). The text format is in netbuilder.prototxt.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["message"]

_PACKAGE = "caffe"


def _load() -> DescriptorPool:
    pool = DescriptorPool()
    with open(os.path.join(os.path.dirname(__file__), "caffe.desc"), "rb") as file:
        pool.AddSerializedFile(file.read())
    return pool


_POOL = _load()


@cache
def message(name: str) -> Any:
    """The class of a message: `message("LayerParameter")`, with or without the package name.

    Raises KeyError if the schema has no such message.
    """
    full_name = name if name.startswith(f"{_PACKAGE}.") else f"{_PACKAGE}.{name}"
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))
