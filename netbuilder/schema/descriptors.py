"""The message classes of the schema, in a descriptor pool of our own.

The pool is private, so that pycaffe, or a fork with another schema of the package `caffe`, can live in the
same process. `caffe.desc` is caffe.proto compiled (`compiler.py`). Text format is in netbuilder.prototxt.
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
    """The class of a message: `message("LayerParameter")`, or with the package before it.

    Raises KeyError if the schema has no such message.
    """
    full_name = name if name.startswith(f"{_PACKAGE}.") else f"{_PACKAGE}.{name}"
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))
