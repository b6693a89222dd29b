"""Files of a net's data layers that are missing or do not fit, reported before an engine reads them."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from netbuilder.data.list_lines import why_missing
from netbuilder.data.windows import read_windows
from netbuilder.errors import FileError, shape_text
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form
from netbuilder.net import Layer, Net
from netbuilder.storage.files import is_file_name

__all__ = ["check_files", "missing_files", "reads"]

SECONDS = 2.0  # limit for the files of one list


def check_files(net: Net, path: str) -> list[str]:
    """The files that the data layers of a net name. Raises FileError if one is missing.

    The files in the lists of ImageData, HDF5Data and WindowData are checked too, and the rows of HDF5 files,
    for at most two seconds per list.
    """
    for _, error in missing_files(net, path):
        raise error
    named = ((_source(layer), layer.proto.transform_param.mean_file) for layer in net)
    return [name for names in named for name in names if name]


def missing_files(net: Net, path: str) -> Iterator[tuple[Layer, FileError]]:
    """The files that the data layers of a net name, and that are not there: the layer, and the error."""
    for layer in net:
        name = _source(layer)
        if name and not os.path.exists(name):
            yield layer, FileError(
                f"layer '{layer.name}' reads '{name}', which is not there", where=path,
                hint="netbuilder data makes databases; names are relative to the current directory",
            )  # fmt: skip
            continue
        mean = layer.proto.transform_param.mean_file
        if mean and not os.path.exists(mean):
            yield layer, FileError(
                f"layer '{layer.name}' takes the mean from '{mean}', which is not there", where=path,
                hint="netbuilder data --mean makes it; names are relative to the current directory",
            )  # fmt: skip
        if error := _missing_of_list(layer, path) or _other_rows(layer, path):
            yield layer, error


def reads(net: Net, path: str) -> bool:
    """Whether a data layer of a net reads this file, under any name; two seconds at most for each list."""
    try:
        wanted = os.stat(path)
    except OSError:
        return False
    for layer in net:
        end = time.monotonic() + SECONDS
        own = (_source(layer), layer.proto.transform_param.mean_file)
        listed = (name for _, name, _ in _listed(layer))
        for name in itertools.chain(map(os.fsencode, own), listed):
            with contextlib.suppress(OSError, ValueError):
                if name and os.path.samestat(os.stat(name), wanted):
                    return True
            if time.monotonic() > end:
                break
    return False


def _shown(name: bytes) -> str:
    """A name in one line; what is not text in it is escaped."""
    text = name.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def _source(layer: Layer) -> str:
    source = source_of(layer.type)
    return source.file_of(layer.proto) if source else ""


def _missing_of_list(layer: Layer, path: str) -> FileError | None:
    end = time.monotonic() + SECONDS
    for place, name, hint in _listed(layer):
        if not os.path.exists(name):
            shown = f"'{_shown(name)}'" if is_file_name(os.fsdecode(name)) else "a file"
            return FileError(
                f"layer '{layer.name}' reads {shown}, which is not there", where=f"{path}; {place}",
                hint=why_missing(os.fsdecode(name)) or hint,
            )  # fmt: skip
        if time.monotonic() > end:
            break
    return None


def _other_rows(layer: Layer, path: str) -> FileError | None:
    """The first HDF5 file whose rows have another shape: Caffe cuts its numbers into rows of the first one's.

    Source: hdf5_data_layer.cpp, Next and Forward_cpu, where `data_dim` is that of the top.
    """
    source = source_of(layer.type)
    if source is None or source.form is not Form.HDF5_LIST:
        return None
    end = time.monotonic() + SECONDS
    rows: dict[str, tuple[str, tuple[int, ...]]] = {}
    for place, name, _ in _listed(layer):
        for top, shape in _row_shapes(os.fsdecode(name), layer.proto.top):
            first, wanted = rows.setdefault(top, (os.fsdecode(name), shape))
            if shape != wanted:
                return FileError(
                    f"the rows of dataset '{top}' are {shape_text(shape)} in '{_shown(name)}', and "
                    f"{shape_text(wanted)} in '{_shown(os.fsencode(first))}'", where=f"{path}; {place}",
                    hint="Caffe would cut the numbers into rows as long as the first file's",
                )  # fmt: skip
        if time.monotonic() > end:
            break
    return None


def _row_shapes(name: str, tops: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The datasets of an HDF5 file and the shapes of their rows; none of a file that cannot be read."""
    try:
        import h5py

        with h5py.File(name, "r") as file:
            for top in tops:
                found = file.get(top)
                if isinstance(found, h5py.Dataset) and found.shape:
                    yield top, found.shape[1:]
    except (OSError, RuntimeError, ValueError, ImportError):
        return  # whoever reads it says why


def _listed(layer: Layer) -> Iterator[tuple[str, bytes, str]]:
    """Where a file is named, its name, and a hint. Source: DataLayerSetUp of each layer."""
    source = source_of(layer.type)
    if source is None:
        return
    name, hint = source.file_of(layer.proto), "names are relative to the current directory"
    if source.form is Form.IMAGE_LIST:
        root = layer.proto.image_data_param.root_folder
        hint += "; root_folder is put before them"
        if root:
            hint = f"root_folder '{root}' is put before each name, without a slash"
        for i, line in enumerate(_lines(name), 1):
            if line.strip():
                yield f"line {i} of '{name}'", root.encode() + line.rpartition(b" ")[0], hint
    elif source.form is Form.HDF5_LIST:
        for i, line in enumerate(_lines(name), 1):
            for word in line.split():
                yield f"line {i} of '{name}'", word, hint
    elif source.form is Form.WINDOW_FILE:
        root = layer.proto.window_data_param.root_folder
        hint += "; root_folder is put before them, without a slash"
        for image in read_windows(Path(name)) if os.path.isfile(name) else ():
            yield f"line {image.line} of '{name}'", root.encode() + image.path, hint


def _lines(source: str) -> Iterator[bytes]:
    if os.path.isfile(source):
        with open(source, "rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
