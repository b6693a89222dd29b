"""The same net with another batch size or another data layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netbuilder.errors import ConfigError, NetBuilderError, shape_text
from netbuilder.layers import Shape, is_source
from netbuilder.layers.python_layers import is_known
from netbuilder.measure.counts import batch_size
from netbuilder.net import Layer, Net
from netbuilder.schema.fields import has_field

if TYPE_CHECKING:
    from netbuilder.net import Part

__all__ = ["rebatched"]


def rebatched(
    net: Net, batch: int, *, source: Part | None = None, others: Mapping[str, str | None] | None = None
) -> Net:
    """The net with `batch` wherever the first axis of an input is the net's own batch size.

    Input, DummyData and every data layer with a `batch_size` are changed, and the shapes of the other layers
    follow. A `source`, which is a lego with the same tops, replaces the first layer; layers of the types in
    `others` get another type with the same bottoms and tops, or are left out (None).
    Raises ConfigError where the new batch does not fit: a layer refuses it, or the shape of a weight would
    change, as after a Reshape that fixes the batch.
    """
    if batch < 1:
        raise ConfigError(f"a batch is 1 or more, got {batch}")
    old = batch_size(net)
    firsts = [layer.tops[0].shape for layer in net if layer.tops and not layer.bottoms]
    if not any(shape and shape[0] == old for shape in firsts):
        raise ConfigError(
            f"cannot count batch {batch}: no input of {net.name or 'the net'} has a known shape"
        )
    new = Net(net.name, net.phase, dialect=net.dialect.name, defaults=net.defaults)
    new.proto.CopyFrom(net.proto)
    for i, layer in enumerate(net):
        if source is not None and i == 0:
            with new.scope("", layer.comment):
                new.attach(source, ())
            continue
        proto, top_shapes, unknown = layer.proto, None, layer.unknown
        if others and layer.type in others:
            other = others[layer.type]
            if other is None:
                continue
            proto = type(layer.proto)(name=layer.name, type=other, bottom=proto.bottom, top=proto.top)
            proto.include.MergeFrom(layer.proto.include)
            proto.loss_weight.extend(layer.proto.loss_weight)
        if is_source(layer.proto):
            proto, top_shapes = _source(layer, old, batch)
        elif unknown and layer.tops and all(top.shape is not None for top in layer.tops):
            top_shapes = [_resized(top.known_shape, old, batch) for top in layer.tops]
        if top_shapes and not unknown:
            unknown = "by itself"  # a fork's data layer: only its shapes are known
        try:
            with new.scope("", layer.comment):
                copy = new.append(proto, origin=layer.origin, top_shapes=top_shapes, unknown=unknown)
        except NetBuilderError as error:
            error.text = f"batch {batch} does not go through this net: {error.text}"
            raise
        copy.unknown = layer.unknown
        _keep_given(layer, copy, old, batch)
        for k, (ours, theirs) in enumerate(zip(layer.params, copy.params, strict=True)):
            if ours.shape != theirs.shape:
                raise ConfigError(
                    f"batch {batch} would change the weights of {layer.type} '{layer.name}': parameter {k} "
                    f"from {shape_text(ours.shape)} to {shape_text(theirs.shape)}",
                    path=str(layer.origin),
                    hint="a layer before it has the batch written into its fields, as a Reshape may: "
                    "write 0 there, which copies the bottom's",
                )
    return new


def _keep_given(layer: Layer, copy: Layer, old: int, batch: int) -> None:
    """Give the tops of the copy the shapes that were given and that no rule infers."""
    for ours, theirs in zip(layer.tops, copy.tops, strict=True):
        if layer.bottoms and is_known(layer.proto):
            theirs.shape = ours.shape  # of regions, whose number is not the batch
        elif theirs.shape is None and ours.shape is not None:
            theirs.shape = _resized(ours.shape, old, batch)


def _source(layer: Layer, old: int, batch: int) -> tuple[Any, list[Shape] | None]:
    """The fields of a data layer for the new batch, and the shapes of its tops where no field gives them."""
    known = [top.shape for top in layer.tops if top.shape is not None]
    shapes = [_resized(shape, old, batch) for shape in known]
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    if layer.type == "Input":
        _write(proto.input_param.shape, shapes)
        return proto, None
    if layer.type == "DummyData":
        for legacy in ("num", "channels", "height", "width"):
            proto.dummy_data_param.ClearField(legacy)
        _write(proto.dummy_data_param.shape, shapes)
        return proto, None
    by_batch = bool(layer.tops and layer.tops[0].shape and layer.tops[0].shape[0] == old)
    for field, value in proto.ListFields() if by_batch else ():
        if field.name.endswith("_param") and has_field(value, "batch_size"):
            value.batch_size = batch
    return proto, shapes if known else None


def _write(field: Any, shapes: list[Shape]) -> None:
    del field[:]
    for shape in shapes:
        field.add(dim=shape)


def _resized(shape: Shape, old: int, batch: int) -> Shape:
    return (batch, *shape[1:]) if shape and shape[0] == old else shape
