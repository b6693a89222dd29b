"""The files that a net's data layers name: whether they are there, before Caffe looks for them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from netbuilder.errors import FileError
from netbuilder.net import Layer, Net

__all__ = ["check_files", "data_batch"]

SECONDS = 2.0  # are spent on the files of one list at most
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param")


def check_files(net: Net, path: str) -> list[str]:
    """The files that the data layers of the net name; raises FileError if one is not there.

    Also those in the lists of ImageData and HDF5Data, as many as two seconds allow.
    """
    files = []
    for layer in net:
        for name in _SOURCES:
            source = getattr(layer.proto, name).source if layer.proto.HasField(name) else ""
            if source and not os.path.exists(source):
                raise FileError(
                    f"layer '{layer.name}' reads '{source}', which is not there", where=path,
                    hint="netbuilder data makes databases; names are relative to the folder that one is in",
                )  # fmt: skip
            files += [source] if source else []
        mean = layer.proto.transform_param.mean_file
        if mean and not os.path.exists(mean):
            raise FileError(
                f"layer '{layer.name}' takes the mean from '{mean}', which is not there", where=path
            )
        files += [mean] if mean else []
        _check_list(layer, path)
    return files


def _check_list(layer: Layer, path: str) -> None:
    end = time.monotonic() + SECONDS
    for place, name, hint in _listed(layer):
        if not os.path.exists(name):
            raise FileError(
                f"layer '{layer.name}' reads '{os.fsdecode(name)}', which is not there", hint=hint,
                where=f"{path}; {place}",
            )  # fmt: skip
        if time.monotonic() > end:
            return


def _listed(layer: Layer) -> Iterator[tuple[str, bytes, str]]:
    """Where a file is named, its name, and a hint. Source: DataLayerSetUp of the two layers."""
    if layer.type == "ImageData":
        p, root = layer.proto.image_data_param, layer.proto.image_data_param.root_folder
        hint = f"root_folder '{root}' is put before each name, and no slash" if root else ""
        hint = hint or "names are relative to the folder that one is in; root_folder is put before them"
        for i, line in enumerate(_lines(p.source), 1):
            if line.strip():
                yield f"line {i} of '{p.source}'", root.encode() + line.rpartition(b" ")[0], hint
    elif layer.type == "HDF5Data":
        source = layer.proto.hdf5_data_param.source
        hint = "names are relative to the folder that one is in"
        for i, line in enumerate(_lines(source), 1):
            for name in line.split():
                yield f"line {i} of '{source}'", name, hint


def _lines(source: str) -> Iterator[bytes]:
    if os.path.isfile(source):
        with open(source, "rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")


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
