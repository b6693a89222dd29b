"""The batch that a net's data layers give."""

from __future__ import annotations

from netbuilder.net import Net

__all__ = ["data_batch"]


def data_batch(net: Net) -> int | None:
    """The batch of a net's first data layer, None if there is no such layer."""
    for layer in net:
        for name in (
            "data_param",
            "image_data_param",
            "hdf5_data_param",
            "memory_data_param",
            "window_data_param",
        ):
            if layer.proto.HasField(name):
                return int(getattr(layer.proto, name).batch_size)
        if not layer.bottoms and layer.tops and layer.tops[0].shape:
            return int(layer.tops[0].shape[0])
    return None
