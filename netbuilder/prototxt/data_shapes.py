"""Shapes that live in data: those of a database, HDF5 files or listed images, read as Caffe reads them.

Only the first record, file or image is read, as Caffe does when it builds the net. Sources are relative to
the current directory, as in Caffe, and then to the folder of the prototxt. A missing or unreadable source
leaves the shape unknown, with the reason; nothing is guessed. Data that does not fit the layer raises
ShapeError, because Caffe aborts on it. Nothing is written next to the data.

h5py and Pillow (the extra `data`) and plyvel are imported only when there is such a file to read.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from google.protobuf.message import DecodeError

from netbuilder.errors import NetBuilderError, ShapeError
from netbuilder.layers import Coverage, Shape, has_files
from netbuilder.layers.base import legacy_shape
from netbuilder.layers.unseen import resized_by_fork
from netbuilder.schema import LayerParameter, message
from netbuilder.schema.dialects import FORK
from netbuilder.storage.files import is_file_name
from netbuilder.storage.lmdb_file import DamagedDatabase, Reader
from netbuilder.weights.model import read_blob

__all__ = ["READERS", "check_mean_of_fed", "shapes_in_data"]

_LEVELDB, _LMDB = 0, 1
_MAX_LINE = 2**16
# Formats that Pillow and Caffe's OpenCV both read.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF")
_MEANS = (
    "`netbuilder data` writes the mean of a database, uncropped; or give mean_value for each channel instead"
)
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


class _Unread(Exception):
    """Why the shape is not known."""


def shapes_in_data(layer: LayerParameter, folder: Path) -> tuple[list[Shape] | None, str]:
    """The shapes of a data layer's tops, or None and why they are not known.

    `folder` is the prototxt's. Raises ShapeError if the data exists and Caffe would abort on it.
    """
    if field := resized_by_fork(layer.transform_param):
        return None, f"{field}, which forks have, changes the size of its images"
    try:
        return READERS[layer.type](layer, folder), ""
    except (_Unread, DamagedDatabase) as reason:
        return None, str(reason)
    except OSError as error:
        return None, f"it cannot be read: {(error.strerror or str(error)).lower()}"


def _find(name: str, folder: Path, what: str = "it") -> Path:
    if "\0" not in name:
        for path in (Path(name), folder / name):
            if name and path.exists():
                return path
    raise _Unread(f"{what} is not there")


def _find_file(name: str, folder: Path, what: str = "it") -> Path:
    path = _find(name, folder, what)
    if not path.is_file():  # a folder, or a pipe, which would never end
        raise _Unread(f"{what} is not a file")
    return path


def _import(package: str, name: str, install: str = "'caffe-netbuilder[data]'") -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise _Unread(
            f"reading it needs {package}: pip install {install}, or give the shape by --input"
        ) from None


# ---- Data ------------------------------------------------------------------------------------------------


def _database(layer: LayerParameter, folder: Path) -> list[Shape]:
    """Source: data_layer.cpp, DataLayerSetUp; data_transformer.cpp, InferBlobShape of a Datum."""
    p = layer.data_param
    path = _find(p.source, folder)
    lmdb, leveldb = (path / "data.mdb").is_file(), (path / "CURRENT").is_file()
    if p.backend == _LEVELDB and lmdb and not leveldb:
        raise ShapeError(
            f"'{p.source}' is an LMDB, and backend is LEVELDB, the default", hint="write backend: LMDB"
        )
    if p.backend == _LMDB and leveldb and not lmdb:
        raise ShapeError(f"'{p.source}' is a LevelDB, and backend is LMDB", hint="write backend: LEVELDB")
    if not (lmdb or leveldb):
        raise _Unread("there is no database in this folder" if path.is_dir() else "it is not a folder")
    record = Reader(path / "data.mdb").first() if p.backend == _LMDB else _first_of_leveldb(path)
    datum = message("Datum")()
    try:
        datum.ParseFromString(record)
    except DecodeError:
        raise _Unread("its first record is not a Datum") from None
    shape: Shape
    if not datum.encoded:
        shape = (datum.channels, datum.height, datum.width)
        if datum.channels < 1:
            raise ShapeError(f"the first record of '{p.source}' has no channels")
    else:
        t = layer.transform_param
        if t.force_color and t.force_gray:
            raise ShapeError("force_color and force_gray are both set: choose one")
        colors = 3 if t.force_color else 1 if t.force_gray else None
        shape = _image(io.BytesIO(datum.data), colors, "the image in its first record")
    return _batch(layer, p.batch_size, shape, folder)[: len(layer.top)]


def _first_of_leveldb(path: Path) -> bytes:
    """The first record of a LevelDB."""
    from netbuilder.storage.leveldb import linked

    plyvel = _import("plyvel", "plyvel", "plyvel")
    with linked(path) as place:
        try:
            opened = plyvel.DB(place)
        except plyvel.Error:
            raise _Unread("it is damaged") from None
        try:
            with opened.iterator(include_key=False) as values:
                for value in values:
                    return bytes(value)
        except plyvel.Error:
            raise _Unread("it is damaged") from None
        finally:
            opened.close()
    raise _Unread("it has no records")


# ---- ImageData -------------------------------------------------------------------------------------------


def _image_list(layer: LayerParameter, folder: Path) -> list[Shape] | None:
    """Source: image_data_layer.cpp, DataLayerSetUp; io.cpp, ReadImageToCVMat."""
    p = layer.image_data_param
    channels = 3 if p.is_color else 1
    if p.new_height and p.new_width:  # the file itself has the size
        if layer.transform_param.HasField("mean_file"):
            _find_file(p.source, folder)
            _check_mean(layer, (channels, p.new_height, p.new_width), folder)
        return None
    with _find_file(p.source, folder, f"their list '{p.source}'").open("rb") as file:
        line = file.readline(_MAX_LINE).decode(errors="surrogateescape").removesuffix("\n")
    if not line:
        raise _Unread(f"their list '{p.source}' is empty")
    name = p.root_folder + line.rpartition(" ")[0] if " " in line else p.root_folder + line
    what = f"the first of them, '{_printable(name)}'," if is_file_name(name) else "the first of them"
    with _find_file(name, folder, what).open("rb") as image:
        shape = _image(image, channels, what)
    return _batch(layer, p.batch_size, shape, folder)


def _image(file: IO[bytes], colors: int | None, what: str) -> Shape:
    """(channels, height, width) of an image; `colors` is how many channels Caffe asks for, None for its own.

    If Caffe asks for a number of channels, OpenCV (since 3.1) also rotates the image by its EXIF data.
    """
    import warnings

    pillow = _import("Pillow", "PIL.Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for decompression bombs
            with pillow.open(file, formats=_FORMATS) as image:
                width, height = image.size
                if colors is None:
                    colors = _own_channels(image)
                elif image.format == "JPEG" and image.getexif().get(_EXIF_ORIENTATION) in _TURNED:
                    width, height = height, width
                image.load()  # a header alone does not make an image
    except _Unread:
        raise
    except Exception as error:  # Pillow raises errors of many kinds on damaged files
        raise _Unread(f"{what} cannot be read: {type(error).__name__}") from None
    return colors, height, width


def _own_channels(image: Any) -> int:
    """How many channels OpenCV gives an image that it decodes as it is stored."""
    if image.format == "JPEG":
        return 1 if image.mode == "L" else 3
    if image.format == "PNG":
        alpha = image.mode in ("LA", "RGBA", "PA")
        if image.mode in ("1", "L", "I", "I;16"):
            return 1
        return 4 if alpha or "transparency" in image.info else 3
    raise _Unread(f"how many channels a {image.format} image has depends on Caffe's OpenCV")


def _batch(layer: LayerParameter, batch: int, shape: Shape, folder: Path) -> list[Shape]:
    """Images and labels. Source: data_transformer.cpp, InferBlobShape."""
    _check_mean(layer, shape, folder)
    channels, height, width = shape
    transform = layer.transform_param
    crop = transform.crop_size
    # A fork may enlarge the images before it crops them.
    if crop > min(height, width) and not any(f.number >= FORK for f, _ in transform.ListFields()):
        raise ShapeError(f"crop_size {crop} is larger than the images, {height}x{width}")
    return [(batch, channels, crop or height, crop or width), (batch,)]


def _check_mean(layer: LayerParameter, shape: Shape, folder: Path) -> None:
    """Check the mean image against images (channels, height, width), before they are cropped.

    Raises ShapeError. Source: data_transformer.cpp, Transform.
    """
    transform = layer.transform_param
    mean = _mean_shape(layer, folder)
    if mean is None:
        return
    if layer.type == "WindowData":  # it does not check the size, and subtracts the middle of the mean
        crop = transform.crop_size
        fits = mean[0] == shape[0] and min(mean[1:]) >= crop
        what = f"the windows are {shape[0]}x{crop}x{crop}"
    else:
        fits = mean == shape
        what = f"the images are {'x'.join(map(str, shape))}"
    if not fits:
        raise ShapeError(
            f"mean_file '{_printable(transform.mean_file)}' is {'x'.join(map(str, mean))}, and {what} "
            "(channels x height x width)",
            hint=_MEANS,
        )


def check_mean_of_fed(layer: LayerParameter, folder: Path) -> None:
    """Check the mean_file of a layer whose images are fed, if the file exists. Raises ShapeError."""
    try:
        _find_file(layer.transform_param.mean_file, folder)
    except _Unread:
        return
    _mean_shape(layer, folder)


def _mean_shape(layer: LayerParameter, folder: Path) -> Shape | None:
    """(channels, height, width) of a data layer's mean_file; None if it has none.

    Raises ShapeError if the file is missing, or holds something else. Source: data_transformer.cpp, the
    constructor.
    """
    transform = layer.transform_param
    if not transform.HasField("mean_file") or transform.mean_value:  # both are refused, whatever they hold
        return None
    name = _printable(transform.mean_file)
    try:
        path = _find_file(transform.mean_file, folder, f"mean_file '{name}'")
    except _Unread as reason:
        raise ShapeError(str(reason), hint=_MEANS) from None
    try:
        return legacy_shape(read_blob(path), f"mean_file '{name}'")[1:]
    except NetBuilderError as error:
        raise ShapeError(f"mean_file '{name}' is not a mean image: {error.text}", hint=_MEANS) from None


# ---- HDF5Data --------------------------------------------------------------------------------------------


def _hdf5(layer: LayerParameter, folder: Path) -> list[Shape]:
    """Source: hdf5_data_layer.cpp, LoadHDF5FileData; hdf5.cpp, hdf5_load_nd_dataset_helper."""
    p = layer.hdf5_data_param
    with _find_file(p.source, folder).open("rb") as file:
        words = file.read(_MAX_LINE).decode(errors="surrogateescape").split()
    if not words:
        raise _Unread("it lists no file")
    what = f"its first file, '{_printable(words[0])}'," if is_file_name(words[0]) else "its first file"
    path = _find_file(words[0], folder, what)
    h5py = _import("h5py", "h5py")
    try:
        with h5py.File(path, "r") as file:
            shapes = [_dataset(file, top, words[0], h5py) for top in layer.top]
    except (OSError, RuntimeError, KeyError, ValueError):
        raise _Unread(f"{what} is not an HDF5 file, or damaged") from None
    for top, shape in zip(layer.top, shapes, strict=True):
        if shape[0] != shapes[0][0]:
            rows = f"{shape[0]} rows, and '{layer.top[0]}' has {shapes[0][0]}"
            raise ShapeError(f"dataset '{top}' of '{words[0]}' has {rows}")
    return [(p.batch_size, *shape[1:]) for shape in shapes]


def _dataset(file: Any, top: str, name: str, h5py: Any) -> Shape:
    found = file[top] if top in file.keys() else None  # noqa: SIM118 (not `in file`, which follows paths)
    if not isinstance(found, h5py.Dataset):
        there = ", ".join(f"'{key}'" for key in list(file.keys())[:8]) or "none"
        raise ShapeError(f"'{name}' has no dataset '{top}'; it has {there}")
    kind = found.id.get_type().get_class()
    if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or not found.shape:
        raise ShapeError(f"dataset '{top}' of '{name}' must be an array of numbers, got {found.dtype}")
    return tuple(int(n) for n in found.shape)


# ---- WindowData ------------------------------------------------------------------------------------------


def _windows(layer: LayerParameter, folder: Path) -> list[Shape]:
    """The channels are those of the last image in the file.

    Source: window_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.window_data_param
    path = _find_file(p.source, folder)
    if not path.stat().st_size:
        raise _Unread("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = text.rfind(b"\n#") + 1
        words = text[at : at + _MAX_LINE].split(None, 6)
    if len(words) < 6 or words[0] != b"#" or not words[3].isdigit():
        raise _Unread("it is not a window file: it needs '# index', path, channels, height, width")
    crop = layer.transform_param.crop_size
    _check_mean(layer, (int(words[3]), crop, crop), folder)
    return [(p.batch_size, int(words[3]), crop, crop), (p.batch_size,)]


def _printable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="replace")


READERS: Coverage[Callable[[LayerParameter, Path], list[Shape] | None]] = Coverage(
    "netbuilder.prototxt.data_shapes.READERS",
    {
        "Data": _database,
        "ImageData": _image_list,
        "HDF5Data": _hdf5,
        "WindowData": _windows,
    },
    {
        "AnnotatedData": "each batch has another number of boxes",
        "BoxData": "its records have boxes in a form of their own",
        "DenseImageData": "the size of its images is read by its fork alone",
        "ImageSegData": "the size of its images is read by its fork alone",
        "VideoData": "reading videos needs OpenCV",
    },
    has_files,
)
