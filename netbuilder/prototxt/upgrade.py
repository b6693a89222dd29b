"""Upgrade files of older Caffes to today's layers, by the steps of Caffe's own upgrade chain.

Three formats are read. V2 is today's `layer { type: "ReLU" }`, V1 (2014) is `layers { type: RELU }`. V0
(2013) is `layers { layer { type: "conv" num_output: 4 } }`: all fields in one flat message, and padding as a
separate layer. Source: upgrade_proto.cpp, UpgradeNetAsNeeded.

One deviation: in a file with both `layer` and `layers`, Caffe silently drops every `layer` if the others are
V0, and refuses the file if they are V1. Here both are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from netbuilder.errors import PrototxtError, did_you_mean
from netbuilder.prototxt.spans import spans
from netbuilder.prototxt.text_read import Parsed
from netbuilder.prototxt.unknown import keep, kept
from netbuilder.schema import LayerParameter, NetParameter, message
from netbuilder.schema.dialects import FORK
from netbuilder.schema.fields import Unnamed
from netbuilder.schema.old_types import C3D_TYPES, V0_TYPES, V1_TYPES

__all__ = ["Upgraded", "upgrade"]

_V1Layer: Any = message("V1LayerParameter")

# The new places of V0's flat fields, by type; `a=b` is a renamed field. Caffe drops all others with a
# warning.
_V0_FIELDS = {
    "conv": "convolution_param num_output biasterm=bias_term weight_filler bias_filler pad "
    "kernelsize=kernel_size group stride",
    "innerproduct": "inner_product_param num_output biasterm=bias_term weight_filler bias_filler",
    "pool": "pooling_param pad kernelsize=kernel_size stride pool",
    "dropout": "dropout_param dropout_ratio",
    "lrn": "lrn_param local_size alpha beta k",
    "concat": "concat_param concat_dim",
    "data": "data_param source batchsize=batch_size rand_skip",
    "hdf5_data": "hdf5_data_param source batchsize=batch_size",
    "images": "image_data_param source batchsize=batch_size rand_skip shuffle_images=shuffle new_height "
    "new_width",
    "window_data": "window_data_param source batchsize=batch_size det_fg_threshold=fg_threshold "
    "det_bg_threshold=bg_threshold det_fg_fraction=fg_fraction det_context_pad=context_pad "
    "det_crop_mode=crop_mode",
    "infogain_loss": "infogain_loss_param source",
}
_V0_TRANSFORM = "transform_param scale meanfile=mean_file cropsize=crop_size mirror"
# The data layers of V1 whose transformation fields moved to transform_param.
_TRANSFORMED = {5: "data_param", 12: "image_data_param", 24: "window_data_param"}
_TRANSFORMATION = ("scale", "mean_file", "crop_size", "mirror")


class Upgraded(NamedTuple):
    """The layers of a net as today's `LayerParameter`s, with the (line, column) of each.

    `unnamed` has them without their names, None where that is not known.
    `net` holds the fields of the net besides its layers and inputs.
    """

    net: NetParameter
    layers: list[LayerParameter]
    places: list[tuple[int, int]]
    unnamed: list[Unnamed | None]


def upgrade(parsed: Parsed, text: str = "", *, path: str = "", lenient: bool = False) -> Upgraded:
    """Today's layers of a parsed NetParameter, and an Input layer for its `input:` fields.

    The message is consumed; in `text`, from which it was parsed, inputs are located. `lenient` keeps layer
    types of V0 that Caffe does not know. Raises PrototxtError, with the line of the layer or input, where
    Caffe would abort.
    """
    proto, places = parsed.message, list(parsed.locations["layer"])
    layers: Sequence[LayerParameter] = proto.layer
    if proto.layers:
        places = list(parsed.locations["layers"])
        if proto.layer:
            line, column = places[0]
            raise PrototxtError(
                "the file has both 'layer' and 'layers', and Caffe takes one format or the other",
                path=path, line=line, column=column,
                hint="rewrite each 'layers { type: RELU }' as 'layer { type: \"ReLU\" }'",
            )  # fmt: skip
        old: list[Any] = list(proto.layers)
        is_v0 = any(layer.HasField("layer") for layer in old)
        if is_v0:
            old, places = _without_padding(proto, places, path)
            old = [_from_v0(v0, at, path, lenient) for v0, at in zip(old, places, strict=True)]
        _move_transformation(old)
        layers = [_from_v1(v1, at, path) for v1, at in zip(old, places, strict=True)]
    net = NetParameter()
    # Upgrading V0, Caffe copies only these two fields of the net.
    names = ["name", "force_backward"]
    if not (proto.layers and is_v0):
        names += ["debug_info", "state"]
    for field, _ in proto.ListFields():
        if field.name in names or field.number >= FORK:
            _copy(proto, field.name, net, field.name)
    for text in kept(proto):
        keep(net, text)
    unnamed: list[Unnamed | None] = list(parsed.unnamed) if proto.layer else [None] * len(layers)
    for i, layer in enumerate(layers):
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            unnamed[i] = None  # what was read is not what it has now
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    inputs = _input_layer(proto, text, path, legacy=bool(proto.layers) and is_v0)
    if inputs is None:
        return Upgraded(net, list(layers), places, unnamed)
    return Upgraded(net, [inputs, *layers], [(0, 0), *places], [None, *unnamed])


# ---- V0 --------------------------------------------------------------------------------------------------


def _without_padding(
    proto: Any, places: Sequence[tuple[int, int]], path: str
) -> tuple[list[Any], list[tuple[int, int]]]:
    """The layers without those of type "padding", whose pad the next layer takes.

    Source: UpgradeV0PaddingLayers.
    """
    producer: dict[str, Any] = dict.fromkeys(proto.input)
    kept_layers, kept_places = [], []
    for original, place in zip(proto.layers, places, strict=True):
        layer, type = original, original.layer.type
        label = f"{type or 'layer'} '{original.layer.name}'"
        if type != "padding":
            layer = _V1Layer()
            layer.CopyFrom(original)
            kept_layers.append(layer)
            kept_places.append(place)
        for i, name in enumerate(original.bottom):
            if name not in producer:
                hint = did_you_mean(name, producer)
                raise _error(
                    f"{label}: bottom '{name}' is not the top of any layer before", path, place, hint
                )
            source = producer[name]
            if source is None or source.layer.type != "padding":
                continue
            if type not in ("conv", "pool"):
                raise _error(f"{label}: only conv and pool can follow a padding layer", path, place)
            if len(original.bottom) != 1 or len(source.bottom) != 1 or len(source.top) != 1:
                text = f"{label}: a padding layer and what follows it take one bottom and give one top"
                raise _error(text, path, place)
            layer.layer.pad = source.layer.pad
            layer.bottom[i] = source.bottom[0]
        producer.update(dict.fromkeys(original.top, original))
    return kept_layers, kept_places


def _from_v0(outer: Any, place: tuple[int, int], path: str, lenient: bool) -> Any:
    """A layer of V0 as one of V1. Source: UpgradeV0LayerParameter."""
    out = _V1Layer(bottom=outer.bottom, top=outer.top)
    if not outer.HasField("layer"):
        return out
    v0, type = outer.layer, outer.layer.type
    alike = ["name", "blobs", "blobs_lr", "weight_decay"]
    if type == "hdf5_output":
        alike.append("hdf5_output_param")
    for given, _ in v0.ListFields():
        if given.name in alike:
            _copy(v0, given.name, out, given.name)
    if v0.HasField("type"):
        if type in V0_TYPES:
            out.type = out.LayerType.Value(V0_TYPES[type])
        elif lenient:
            keep(out, f"type: {re.sub(r'[^A-Za-z0-9_]', '_', type)}")
        else:
            text = f"unknown layer type '{type}' in 'layers {{ layer {{ }} }}'"
            raise _error(text, path, place, did_you_mean(type, V0_TYPES))
    for row in (_V0_FIELDS.get(type, ""), _V0_TRANSFORM):
        into, *fields = row.split() or [""]
        for field in fields:
            old, _, new = field.partition("=")
            if v0.HasField(old):
                _copy(v0, old, getattr(out, into), new or old)
    for text in (*kept(outer), *kept(v0)):
        keep(out, text)
    return out


# ---- V1 --------------------------------------------------------------------------------------------------


def _move_transformation(layers: Sequence[Any]) -> None:
    """Move scale, mean, crop and mirror out of the data layers' own messages.

    Source: UpgradeNetDataTransformation.
    """
    data = [(v1, getattr(v1, _TRANSFORMED[v1.type])) for v1 in layers if v1.type in _TRANSFORMED]
    if not any(own.HasField(name) for _, own in data for name in _TRANSFORMATION):
        return
    for v1, own in data:
        own.SetInParent()
        v1.transform_param.SetInParent()
        for name in _TRANSFORMATION:
            if own.HasField(name):
                _copy(own, name, v1.transform_param, name)
                own.ClearField(name)


def _from_v1(v1: Any, place: tuple[int, int], path: str) -> Any:
    """A layer of V1 as one of today's. Source: UpgradeV1LayerParameter."""
    out = LayerParameter()
    for field, _ in v1.ListFields():
        if field.name not in ("type", "param") and field.name in out.DESCRIPTOR.fields_by_name:
            _copy(v1, field.name, out, field.name)
    if v1.HasField("type"):
        out.type = V1_TYPES[v1.type]
    for old, new in (
        ("param", "name"),
        ("blob_share_mode", "share_mode"),
        ("blobs_lr", "lr_mult"),
        ("weight_decay", "decay_mult"),
    ):
        for i, value in enumerate(getattr(v1, old)):
            while len(out.param) <= i:
                out.param.add()
            setattr(out.param[i], new, value)
    for text in kept(v1):
        (field,) = spans(text)
        if field.name == "type" and not out.type:
            out.type = C3D_TYPES.get(text[field.value : field.end], text[field.value : field.end])
        elif field.name in out.DESCRIPTOR.fields_by_name:
            # Kept, it would become a field of today's format.
            raise _error(f"layer '{out.name}': 'layers' has no field '{field.name}'", path, place)
        else:
            keep(out, text)
    return out


# ---- all -------------------------------------------------------------------------------------------------


def _input_layer(proto: NetParameter, text: str, path: str, *, legacy: bool) -> LayerParameter | None:
    """The Input layer that replaces `input:` fields. Source: UpgradeNetInput.

    Inputs without any shape vanish, as in Caffe, and a layer that reads one then has an unknown bottom. If
    only some shapes are missing, Caffe reads beyond the end of the list; that is refused here.
    """
    shapes = [] if legacy else [list(s.dim) for s in proto.input_shape]
    names, what = list(proto.input), "input_shape once per input"
    if not shapes:
        dims = list(proto.input_dim)
        shapes = [dims[i : i + 4] for i in range(0, len(dims) - 3, 4)]
        what = "input_dim four times per input"
        if not dims:
            return None
    if not names:
        return None
    if len(shapes) < len(names):
        own = proto.input_shape if what.startswith("input_shape") else proto.input_dim
        raise _error(
            f"{len(names)} input{'s'[: len(names) != 1]} need{'s'[: len(names) == 1]} {what}, got {len(own)}",
            path, _place_of_input(text, len(shapes)),
            f"give input '{names[len(shapes)]}' its shape: Caffe reads sizes from beyond the list",
        )  # fmt: skip
    layer = LayerParameter(name="input", type="Input", top=names)
    for shape in shapes[: len(names)]:
        layer.input_param.shape.add(dim=shape)
    return layer


def _place_of_input(text: str, index: int) -> tuple[int, int]:
    """The line and column of an input; `input: ["a", "b"]` is one place for several."""
    found = []
    for span in spans(text):
        if span.name == "input":
            value = text[span.value : span.end]
            several = value.count(",") + 1 if value.startswith("[") else 1
            found += [span.start] * several
    if not found:
        return 0, 0
    at = found[min(index, len(found) - 1)]
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _copy(source: object, old: str, target: object, new: str) -> None:
    """Copy a field's value to a field of another message; a single value may go to a repeated field."""
    value = getattr(source, old)
    place = getattr(target, new)
    if hasattr(place, "extend"):
        place.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(place, "CopyFrom"):
        place.CopyFrom(value)
    else:
        setattr(target, new, value)


def _error(text: str, path: str, place: tuple[int, int], hint: str = "") -> PrototxtError:
    return PrototxtError(text, path=path, line=place[0], column=place[1], hint=hint)
