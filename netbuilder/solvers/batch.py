"""The batch that a net's data layers give."""

from __future__ import annotations

from netbuilder.net import Layer, Net

__all__ = ["data_batch", "data_layer"]

_BATCHES = ("data_param", "image_data_param", "hdf5_data_param", "memory_data_param", "window_data_param")


def data_layer(net: Net) -> Layer | None:
    """The first data layer of a net, None if there is none."""
    for layer in net:
        if any(layer.proto.HasField(name) for name in _BATCHES):
            return layer
        if not layer.bottoms and layer.tops and layer.tops[0].shape:
            return layer
    return None


def data_batch(net: Net) -> int | None:
    """The batch of a net's first data layer, None if there is no such layer."""
    layer = data_layer(net)
    if layer is None:
        return None
    for name in _BATCHES:
        if layer.proto.HasField(name):
            return int(getattr(layer.proto, name).batch_size)
    shape = layer.tops[0].shape
    return int(shape[0]) if shape else None
