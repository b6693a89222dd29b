"""Makers of the data that data layers read, and texts of data layers that read them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import pytest
from PIL import Image

from netbuilder import prototxt
from netbuilder.schema import message

Make = Callable[[Path], None]

# Why a shape is unknown; {} is the reason.
DB = "its shape depends on the records of the database 'db' ({})"
LIST = "its shape depends on the size of the images: give new_height and new_width, or crop_size ({})"
H5 = "its shape depends on the HDF5 files listed in 'list.txt' ({})"
WINDOWS = "its shape depends on the images of the window file 'list.txt' ({})"


def datum(channels: int, height: int, width: int) -> bytes:
    return bytes(
        message("Datum")(
            channels=channels, height=height, width=width, data=bytes(channels * height * width), label=1
        ).SerializeToString()
    )


def picture(mode: str, size: tuple[int, int], format: str = "PNG", **options: Any) -> bytes:
    """An image of (width, height), encoded."""
    out = io.BytesIO()
    Image.new(mode, size).save(out, format, **options)
    return out.getvalue()


def encoded(*args: Any, **options: Any) -> bytes:
    return bytes(message("Datum")(data=picture(*args, **options), encoded=True, label=1).SerializeToString())


def database(*records: bytes) -> Make:
    def make(folder: Path) -> None:
        with lmdb.open(str(folder / "db"), map_size=2**26) as env, env.begin(write=True) as transaction:
            for i, record in enumerate(records):
                transaction.put(b"%08d" % i, record)

    return make


def leveldb(*records: bytes) -> Make:
    def make(folder: Path) -> None:
        plyvel = pytest.importorskip("plyvel")  # not available for every Python
        opened = plyvel.DB(str(folder / "db"), create_if_missing=True)
        for i, record in enumerate(records):
            opened.put(b"%08d" % i, record)
        opened.close()

    return make


def hdf5(**datasets: Any) -> Make:
    def make(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            for name, values in datasets.items():
                file.create_dataset(name, data=values)
        (folder / "list.txt").write_text("a.h5\n")

    return make


def images(line: str, **files: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / "list.txt").write_text(line)
        for name, content in files.items():
            (folder / "images").mkdir(exist_ok=True)
            (folder / "images" / name).write_bytes(content)

    return make


def windows(*channels: int) -> Make:
    head = "# {i}\n/images/{i}.png\n{c}\n20\n30\n2\n1 0.9 1 1 9 9\n0 0.1 2 2 8 8\n"
    return images("".join(head.format(i=i, c=c) for i, c in enumerate(channels)))


def data(options: str = "", transform: str = "", tops: str = 'top: "data" top: "label"') -> str:
    options = options or "backend: LMDB"
    return (
        f'layer {{ name: "d" type: "Data" {tops} data_param {{ source: "db" batch_size: 4 {options} }} '
        f"transform_param {{ {transform} }} }}"
    )


def image_data(options: str = "", transform: str = "") -> str:
    return (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" '
        f'root_folder: "images/" {options} }} transform_param {{ {transform} }} }}'
    )


def hdf5_data(*tops: str, options: str = "batch_size: 5") -> str:
    return (
        f'layer {{ name: "d" type: "HDF5Data" {" ".join(f"top: {chr(34)}{t}{chr(34)}" for t in tops)} '
        f'hdf5_data_param {{ source: "list.txt" {options} }} }}'
    )


WINDOW_DATA = (
    'layer { name: "d" type: "WindowData" top: "data" top: "label" window_data_param { source: "list.txt" '
    "batch_size: 6 } transform_param { crop_size: 7 } }"
)

TURNED = Image.Exif()
TURNED[0x0112] = 6
SMALL = picture("RGB", (12, 10))  # 10 high, 12 wide


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock.mdb"
    }


def tops(net: Any) -> list[tuple[int, ...] | None]:
    return [top.shape for top in net["d"].tops]


def unknown(text: str) -> str:
    """The reason why the shapes of the data layer are unknown; fails if they are known. Labels always are."""
    layer = prototxt.parse(text)["d"]
    assert layer.tops[0].shape is None
    batch = next(((n,) for n in (4, 6) if f"batch_size: {n}" in text), (1,))
    assert layer.type == "HDF5Data" or [top.shape for top in layer.tops[1:]] in ([], [batch])
    return layer.unknown
