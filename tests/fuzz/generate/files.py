"""The files that random data layers read: small databases, lists of images and of HDF5 files, means.

They are written once, into a temporary folder; layers name them relative to it.
"""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path

from netbuilder.data import datum
from netbuilder.data.writer import Writer
from netbuilder.schema import message

Shape = tuple[int, ...]

RECORDS = 3
# The shape (channels, height, width) of the images in each database; the name says how they are stored.
DATABASES: dict[str, Shape] = {
    "planes": (3, 8, 8), "gray": (1, 6, 9), "two": (2, 5, 5), "floats": (3, 4, 6), "png": (3, 7, 8),
    "png_gray": (1, 8, 8), "jpg": (3, 8, 6),
}  # fmt: skip
LISTS: dict[str, Shape] = {"colored.txt": (3, 8, 8), "grays.txt": (1, 6, 9)}
HDF5_LISTS = ("one.txt", "two.txt")
DATASETS: dict[str, Shape] = {"pixels": (3, 4, 5), "words": (7,), "label": (), "cube": (2, 3, 2, 2)}
ODD_DATASET, TEXT_DATASET = "longer", "text"
# Means by the shape that Caffe takes them for, and files that are none.
MEANS = [(3, 8, 8), (1, 6, 9), (1, 8, 8), (2, 5, 5), (3, 4, 6), (3, 7, 8), (3, 8, 6), (3, 5, 5), (3, 6, 9)]
NO_MEANS = ("means/missing", "means/broken", "means/empty")
AS_SHAPE = "_as_shape"  # a mean that gives its axes in the new form, without num


def mean(shape: Shape) -> str:
    """The name of a mean image of this shape."""
    return "means/" + "x".join(map(str, shape))


@cache
def _made() -> tuple[tempfile.TemporaryDirectory[str], dict[str, bytes]]:
    place = tempfile.TemporaryDirectory(prefix="netbuilder-fuzz-")
    folder = Path(place.name)
    for name, shape in DATABASES.items():
        with Writer(folder / name, map_size=2**20) as writer:
            for i in range(RECORDS):
                writer.put(b"%08d" % i, _record(name, shape, i))
        (folder / name / "lock.mdb").unlink()
    for name, shape in LISTS.items():
        images = [f"{name.removesuffix('.txt')}_{i}.png" for i in range(RECORDS)]
        for i, image in enumerate(images):
            (folder / image).write_bytes(_image(shape, i, "PNG"))
        (folder / name).write_text("".join(f"{image} {i}\n" for i, image in enumerate(images)))
    _write_hdf5(folder)
    _write_means(folder)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return place, files


def folder() -> Path:
    """The folder that holds all files."""
    return Path(_made()[0].name)


def contents() -> dict[str, bytes]:
    """All files by relative name."""
    return _made()[1]


def _record(name: str, shape: Shape, i: int) -> bytes:
    channels, height, width = shape
    if name.startswith(("png", "jpg")):
        return datum.pack_encoded(_image(shape, i, "PNG" if name.startswith("png") else "JPEG"), i % 2)
    if name == "floats":
        values = [0.5 * i] * (channels * height * width)
        floats = message("Datum")(channels=channels, height=height, width=width, label=i % 2)
        floats.float_data.extend(values)
        return bytes(floats.SerializeToString())
    return datum.pack_planes((channels, height, width), bytes([i]) * (channels * height * width), i % 2)


def _image(shape: Shape, i: int, form: str) -> bytes:
    from PIL import Image

    channels, height, width = shape
    file = io.BytesIO()
    Image.new(
        "L" if channels == 1 else "RGB", (width, height), 40 * i if channels == 1 else (i, 40, 90)
    ).save(file, form)
    return file.getvalue()


def _write_hdf5(folder: Path) -> None:
    import h5py
    import numpy as np

    for file in ("a.h5", "b.h5"):
        with h5py.File(folder / file, "w") as h5:
            for name, shape in DATASETS.items():
                h5[name] = np.ones((4, *shape), np.float32)
            h5[ODD_DATASET] = np.ones((5, 2), np.float32)
            h5[TEXT_DATASET] = np.array([b"x"] * 4)
    (folder / "one.txt").write_text("a.h5\n")
    (folder / "two.txt").write_text("a.h5\nb.h5\n")


def _write_means(folder: Path) -> None:
    (folder / "means").mkdir()
    for shape in MEANS:
        blob = message("BlobProto")(num=1, channels=shape[0], height=shape[1], width=shape[2])
        blob.data.extend([1.0] * (shape[0] * shape[1] * shape[2]))
        (folder / mean(shape)).write_bytes(blob.SerializeToString())
        for field in ("num", "channels", "height", "width"):
            blob.ClearField(field)
        blob.shape.dim.extend(shape)
        (folder / (mean(shape) + AS_SHAPE)).write_bytes(blob.SerializeToString())
    (folder / "means/broken").write_bytes(b"\xff\xff\xff")
    (folder / "means/empty").write_bytes(b"")
