"""Blobs of many images as a file: HDF5 with a dataset for each blob, or one blob as .npy."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netbuilder.errors import ConfigError, FileError, printable

__all__ = ["Listed", "batches", "check_output", "listed", "store"]

_HDF5 = (".h5", ".hdf5")


class Listed(NamedTuple):
    """Image files, and their labels where a list has them."""

    files: list[str]
    labels: list[int] | None


def listed(args: argparse.Namespace) -> Listed:
    """The images on the command line, or those of --list: lines `path` or `path label`."""
    if bool(args.images) == bool(args.list):
        raise ConfigError("run takes images, or --list FILE that names them", key="images")
    if not args.list:
        return Listed(args.images, None)
    from netbuilder.storage.files import read_text

    files, labels = [], []
    for line in read_text(args.list).removeprefix("\ufeff").splitlines():
        path, _, label = line.rpartition(" ")
        known = bool(path) and label.removeprefix("-").isdecimal() and not Path(line).is_file()
        if line.strip():
            files.append(path if known else line)
            labels += [int(label)] if known else []
    if not files:
        raise FileError(f"the list '{args.list}' names no images")
    return Listed(files, labels if len(labels) == len(files) else None)


def check_output(output: str, blobs: Sequence[str], *, force: bool) -> None:
    """Raise an error for a file that cannot hold the blobs, before any is computed."""
    suffix = Path(output).suffix
    if suffix not in (*_HDF5, ".npy"):
        raise ConfigError(
            f"the kind of '{output}' is not known by its name", key="output",
            hint="FILE.h5 is HDF5, with a dataset for each blob; FILE.npy is one blob",
        )  # fmt: skip
    if suffix == ".npy" and len(blobs) > 1:
        raise ConfigError(f"'{output}' holds one blob", key="output", hint="FILE.h5 holds several")
    if suffix in _HDF5:
        _h5py()
        if Path(output).exists() and not force:
            raise FileError(
                f"'{output}' exists already", hint="choose another name, or --force to replace it"
            )


def batches(images: Iterable[Any], size: int) -> Iterator[Any]:
    """The images (1, c, h, w) as batches; the last one is filled up with its last image."""
    import numpy as np

    held: list[Any] = []
    for image in images:
        held.append(image)
        if len(held) == size:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held + [held[-1]] * (size - len(held)))


def store(
    args: argparse.Namespace, computed: Iterable[Mapping[str, Any]], blobs: Sequence[str], images: Listed
) -> int:
    """Write the blobs of all passes."""
    rows = _rows(computed, blobs, args.batch, len(images.files))
    if Path(args.output).suffix in _HDF5:
        shapes = _write_hdf5(args.output, rows, blobs, images)
    else:
        shapes = _write_npy(args.output, rows, blobs[0], force=args.force)
    if args.json:
        # `blob` and `shape` are those of the first.
        first = {"blob": blobs[0], "shape": shapes[blobs[0]]}
        print(json.dumps({"version": 1, **first, "blobs": shapes, "file": args.output}, indent=2))
    written = "; ".join(f"{name}, {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    print(printable(f"wrote {args.output}: {written}"), file=sys.stderr)
    return 0


def _rows(
    computed: Iterable[Mapping[str, Any]], blobs: Sequence[str], batch: int, images: int
) -> Iterator[dict[str, Any]]:
    """The blobs of each pass, without the rows that filled up the last batch."""
    for at, values in zip(range(0, images, batch), computed, strict=True):
        count = min(batch, images - at)
        rows = {name: values[name] if values[name].ndim else values[name][None] for name in blobs}
        for name, value in rows.items():
            if batch > 1 and len(value) != batch:
                raise ConfigError(
                    f"blob '{name}' has no row for each image: its first axis is {len(value)} for {batch}",
                    key="batch", hint="leave --batch out",
                )  # fmt: skip
        yield {name: value[:count] if batch > 1 else value for name, value in rows.items()}


def _write_npy(
    path: str, rows: Iterable[Mapping[str, Any]], blob: str, *, force: bool
) -> dict[str, list[int]]:
    import numpy as np

    from netbuilder.storage.files import write_files

    array = np.concatenate([row[blob] for row in rows])
    held = io.BytesIO()
    np.save(held, array)
    write_files({Path(path): held.getvalue()}, force=force)
    return {blob: list(array.shape)}


def _write_hdf5(
    path: str, rows: Iterable[Mapping[str, Any]], blobs: Sequence[str], images: Listed
) -> dict[str, list[int]]:
    """A dataset for each blob, `image` with the files, and `label`; HDF5Data reads such a file."""
    import numpy as np

    from netbuilder.storage.files import replacing

    h5py = _h5py()
    with replacing(Path(path)) as partial, h5py.File(partial, "w") as file:
        for row in rows:
            for name, value in row.items():
                if name not in file:
                    file.create_dataset(name, (0, *value.shape[1:]), "f4", maxshape=(None, *value.shape[1:]))
                stored = file[name]
                stored.resize(len(stored) + len(value), 0)
                stored[len(stored) - len(value) :] = value
        shapes = {name: list(file[name].shape) for name in blobs}
        if "image" not in file:
            file["image"] = [name.encode(errors="surrogateescape") for name in images.files]
        if images.labels is not None and "label" not in file:
            file["label"] = np.array(images.labels, np.float32)
    return shapes


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "writing HDF5 needs the package h5py, which is not installed", key="output",
            hint="pip install 'caffe-netbuilder[data]', or store one blob as FILE.npy",
        ) from None  # fmt: skip
    return h5py
