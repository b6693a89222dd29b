"""The net that a .caffemodel carries, as text: its layers with all their fields, without the blobs.

Caffe stores the whole net that it trained, with the Split layers that it inserted. Those go, and so does the
phase of each layer, which would hold it in TRAIN for ever. The file is mapped and the numbers are skipped:
time and memory depend on the number of layers.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from netbuilder.errors import FileError, PrototxtError
from netbuilder.prototxt.text_write import format_fields
from netbuilder.schema import NetParameter
from netbuilder.schema.fields import is_repeated
from netbuilder.storage.files import reason
from netbuilder.storage.wire import BYTES, field, packed
from netbuilder.weights.model import is_binary, read_model

if TYPE_CHECKING:
    from netbuilder.storage.wire import Buffer

__all__ = ["ModelNet", "model_net", "text_of_file"]

_MAX_FIELD = 2**26
_HDF5 = b"\x89HDF"
# Numbers of fields: what to leave out of each message, and which of its fields are messages to go through.
_NET: Mapping[int, Any] = {100: {7: None}, 2: {6: None, 1: {50: None}}}


class ModelNet(NamedTuple):
    """The net of a model as text, and the fields in it that no schema of ours has, with their layers.

    Such fields are a fork's, known by number alone; the text lacks them.
    """

    text: str
    unknown: tuple[str, ...]


def model_net(path: str | Path) -> ModelNet:
    """The net of a .caffemodel of any format.

    Raises FileError if the file stores weights alone, as HDF5 does, or cannot be read, and PrototxtError if
    it is damaged.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) == _HDF5:
                raise FileError(
                    f"'{path}' is an HDF5 model, which stores weights and no net",
                    hint="take the prototxt that it was trained with, or a snapshot in format BINARYPROTO",
                )
        read_model(path)  # complains of whatever is damaged
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            net = NetParameter.FromString(b"".join(_without(data, 0, len(data), _NET)))
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None
    except DecodeError:
        raise PrototxtError(
            f"'{path}' has fields that mean something else in Caffe: it is another program's", path=str(path)
        ) from None
    layers: list[Any] = [*net.layer, *net.layers]
    if not any(layer.bottom or layer.top for layer in layers):
        raise FileError(
            f"'{path}' stores weights by layer name, and no net",
            hint="take the prototxt that it was trained with",
        )
    unknown = tuple(_unknown(net))
    net.DiscardUnknownFields()
    _join_splits(net)
    for layer in net.layer:
        layer.ClearField("phase")
    if not net.name:
        net.ClearField("name")
    return ModelNet(format_fields(net), unknown)


def text_of_file(path: str | Path, otherwise: Callable[[str | Path], str]) -> str:
    """The net of a model as text, or what `otherwise(path)` gives for any other file. Raises FileError."""
    if is_binary(path):
        try:
            return model_net(path).text
        except PrototxtError:
            pass  # no model
    return otherwise(path)


def _without(data: Buffer, at: int, end: int, inner: Mapping[int, Any]) -> Iterator[bytes]:
    """The bytes of a message, in parts, without the fields that `inner` gives as None."""
    while at < end:
        number, wire, content, stop = field(data, at, end)
        if number not in inner or wire != BYTES:
            if stop - at > _MAX_FIELD:
                raise ValueError(f"field {number} has {stop - at} bytes, and is no net's (byte {at})")
            yield bytes(data[at:stop])
        elif inner[number] is not None:
            part = b"".join(_without(data, content, stop, inner[number]))
            yield packed(number << 3 | BYTES) + packed(len(part)) + part
        at = stop


def _unknown(message: Message, where: str = "the net") -> Iterator[str]:
    """The fields of a message, and of those inside it, that the schema lacks."""
    fields: Any = UnknownFieldSet(message)
    for number in dict.fromkeys(f.field_number for f in fields):
        yield f"field {number} in {message.DESCRIPTOR.name} of {where}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for each in value if is_repeated(descriptor) else [value]:
            inside = f"layer '{each.name}'" if descriptor.name in ("layer", "layers") else where
            yield from _unknown(each, inside)


def _join_splits(net: Any) -> None:
    """Take out the Splits that Caffe inserted, whose tops are `<name>_<k>`, and read their bottoms instead.

    Source: insert_splits.cpp.
    """
    for layers in (net.layer, net.layers):
        original: dict[str, str] = {}
        kept = []
        for layer in layers:
            name = layer.name or layer.layer.name if layers is net.layers else layer.name
            bottoms = [original.get(blob, blob) for blob in layer.bottom]
            if list(layer.top) == [f"{name}_{k}" for k in range(len(layer.top))] and _is_split(layer, name):
                original.update(dict.fromkeys(layer.top, bottoms[0]))
                continue
            layer.bottom[:] = bottoms
            kept.append(layer)
        copies = [type(layer).FromString(layer.SerializeToString()) for layer in kept]
        del layers[:]
        layers.extend(copies)


def _is_split(layer: Any, name: str) -> bool:
    inserted = len(layer.bottom) == 1 and name.startswith(layer.bottom[0]) and name.endswith("_split")
    if not inserted:
        return False
    if isinstance(layer.type, str):
        return layer.type == "Split"
    return bool(layer.layer.type == "split" or layer.type == layer.LayerType.Value("SPLIT"))
