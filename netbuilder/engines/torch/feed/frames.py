"""The data layers of CaffeOnSpark's nets, read here: an LMDB, or a data frame in Parquet.

CaffeOnSpark fills these layers from outside of the net. A layer is seen as one that reads by itself: its
image top and its label top, in this order, and the transformation of its images.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from netbuilder.data.parquet import Frame
from netbuilder.data.stored import Database, Pictures
from netbuilder.engines.torch.files import find
from netbuilder.errors import FileError
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form

if TYPE_CHECKING:
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["framed", "is_framed"]

_PREFIX = "com.yahoo.ml.caffe."
_ENCODED, _NUMBER = 5, 1  # ENCODED_IMAGE and INT of CoSDataParameter.DataType
_COLUMN = re.compile(r"\s*(?:cast\s*\(\s*(\w+)\s+as\s+\w+\s*\)|(\w+))(?:\s+as\s+(\w+))?\s*$", re.IGNORECASE)


def is_framed(layer: Any) -> bool:
    """Whether a layer says where its data is in CaffeOnSpark's way."""
    source = source_of(layer.type)
    return source is not None and source.form is Form.FED and bool(layer.source_class)


def framed(layer: Source) -> tuple[Source, Pictures, int]:
    """The layer as one that reads images and labels, its source, and its batch. Raises EngineError."""
    kind = layer.proto.source_class.removeprefix(_PREFIX)
    if kind == "LMDB":
        data = layer.proto.memory_data_param
        return layer, Database(_place(layer, data.source), data.source), data.batch_size
    if kind == "ImageDataFrame":
        data = layer.proto.memory_data_param
        image, label = (_column(layer, data.dataframe_column_select, name) for name in ("data", "label"))
        return layer, _frame(layer, data, image, label, data.channels), data.batch_size
    if kind == "DataFrameSource":
        return _of_columns(layer)
    raise layer.error(
        f"the PyTorch engine does not read source_class {layer.proto.source_class}",
        "SequenceFiles are for Java: write Parquet by Spark, or by `netbuilder data parquet`",
    )


def _of_columns(layer: Source) -> tuple[Source, Pictures, int]:
    data = layer.proto.cos_data_param
    pictures = [block for block in data.top if block.type == _ENCODED]
    labels = [block for block in data.top if block.type == _NUMBER and block.sample_num_axes == 0]
    if len(data.top) != 2 or len(pictures) != 1 or len(labels) != 1:
        raise layer.error(
            "the PyTorch engine reads one ENCODED_IMAGE and one INT label of a frame",
            "it has sample_num_axes: 0 for a label",
        )
    image, label = pictures[0], labels[0]
    seen, fields = copy.copy(layer), cast(Any, layer.proto)
    seen.proto = fields.changed(top=(image.name, label.name), transform_param=image.transform_param)
    return seen, _frame(layer, data, image.name, label.name, image.channels), data.batch_size


def _frame(layer: Source, data: Any, image: str, label: str, channels: int) -> Frame:
    if (form := data.dataframe_format) not in ("", "parquet"):
        raise layer.error(f"the PyTorch engine reads frames in Parquet, and this one is in {form}")
    try:
        frame = Frame(_place(layer, data.source), data.source, image=image, label=label, gray=channels == 1)
    except FileError as error:
        raise layer.error(error.text, error.hint) from None
    if not len(frame):
        raise layer.error(f"the frame '{data.source}' has no rows")
    return frame


def _place(layer: Source, source: str) -> Path:
    """The place of a source on this machine: file:/PATH is one."""
    scheme = re.match(r"(\w[\w+.-]*):", source)
    if scheme and scheme[1] != "file":
        raise layer.error(
            f"its data is at {source}, which the PyTorch engine does not read",
            "mount it, or copy it to every machine, and write file:/PATH",
        )
    path = source.removeprefix("file:")
    return find("/" + path.lstrip("/") if path.startswith("/") else path, layer, "its data")


def _column(layer: Source, selected: Any, name: str) -> str:
    """The column of the frame that is selected as `name`."""
    for text in selected:
        found = _COLUMN.match(text)
        if found and (found[3] or found[1] or found[2]) == name:
            return found[1] or found[2]
        if not found and re.search(rf"\bas\s+{name}\s*$", text, re.IGNORECASE):
            raise layer.error(
                f"the PyTorch engine does not compute '{text}'", f"store {name} as a column of the frame"
            )
    return name
