"""A net that its caller feeds: Input layers in place of its data layers."""

from __future__ import annotations

from collections.abc import Mapping

from netbuilder.errors import ConfigError
from netbuilder.layers import RULES, Shape, is_source
from netbuilder.net import Blob, Net
from netbuilder.schema import LayerParameter

__all__ = ["fed", "image_input"]


def image_input(net: Net) -> Blob:
    """The blob that takes images: the first top of the first layer that feeds images. Raises ConfigError."""
    for layer in net:
        if (
            is_source(layer.proto)
            and layer.tops
            and (layer.tops[0].shape is None or _is_image(layer.tops[0]))
        ):
            return layer.tops[0]
    raise ConfigError(
        f"no input of {net.name or 'the net'} takes images: none is (n, 1, h, w) or (n, 3, h, w)",
        hint="netbuilder.engines.torch.module runs it in Python",
    )


def _is_image(blob: Blob) -> bool:
    return len(blob.known_shape) == 4 and blob.known_shape[1] in (1, 3)


def fed(net: Net, shapes: Mapping[str, Shape]) -> Net:
    """The net with an Input layer of these shapes for each of its sources' tops, by name.

    Raises ConfigError for a top without a shape, and whatever `Net.append` raises.
    """
    new = Net(net.name, net.phase, dialect=net.dialect.name)
    new.proto.CopyFrom(net.proto)
    for layer in net:
        if not is_source(layer.proto):
            unknown = "" if layer.type in RULES else layer.unknown
            new.append(layer.proto, origin=layer.origin, unknown=unknown)
            continue
        for top in layer.tops:
            if top.name not in shapes:
                raise ConfigError(f"no shape is given for '{top.name}' of layer '{layer.name}'")
            proto = LayerParameter(name=top.name, type="Input", top=[top.name])
            proto.input_param.shape.add(dim=shapes[top.name])
            new.append(proto, origin=layer.origin)
    return new
