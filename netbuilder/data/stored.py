"""Images and labels by number: the records of a database, or the lines of a list.

A source hands out tasks, which need no open file; `read` does one, here or in another process, to which a
source is sent as its path. Nothing here depends on what runs the net.
"""

from __future__ import annotations

import mmap
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from netbuilder.data import datum, images
from netbuilder.errors import FileError
from netbuilder.schema import message
from netbuilder.storage.files import reason
from netbuilder.storage.leveldb import linked
from netbuilder.storage.lmdb_file import DamagedDatabase, Reader, open_database

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

__all__ = ["BadRecord", "Database", "ImageList", "LevelDatabase", "Pictures"]

Task = Any


class BadRecord(Exception):
    """A record that cannot be read; the text says why."""


class Pictures(Protocol):
    """Images (c, h, w) with a label each."""

    name: str  # of what is read, as the layer has it
    pixels: bool  # stored as pixels, so that reading them again costs little

    def __len__(self) -> int: ...

    def task(self, number: int) -> Task:
        """What `read` needs for this record. Raises BadRecord."""

    def read(self, task: Task) -> tuple[Planes, int]:
        """The image and its label. Raises BadRecord."""

    def called(self, number: int) -> str:
        """How an error names this record."""


class Database:
    """The records of an LMDB in the order of their keys. Source: data_layer.cpp, load_batch.

    `gray` is how encoded images are decoded; None leaves them as they are stored.
    """

    def __init__(self, place: Path, name: str = "", *, gray: bool | None = None) -> None:
        self.name, self.gray = name or str(place), gray
        reader = open_database(place)
        self._path, self._records = reader.path, len(reader)
        self._places: array[int] = array("Q")
        self._ahead: Iterator[tuple[bytes, int, int]] | None = reader.places()
        self._view: memoryview | None = None
        self.pixels = True
        if self._records:
            try:
                self.pixels = not datum.read(memoryview(reader.first())).encoded
            except (DamagedDatabase, datum.BadDatum):
                pass  # named when it is read

    def __len__(self) -> int:
        return self._records

    def __getstate__(self) -> dict[str, Any]:
        """For another process, or a copy: open files stay here."""
        return {**self.__dict__, "_ahead": None, "_view": None, "_places": array("Q")}

    def task(self, number: int) -> tuple[int, int]:
        """The offset and size of a record."""
        self._know(number + 1)
        return self._places[2 * number], self._places[2 * number + 1]

    def _know(self, count: int) -> None:
        """Find the places of the first records."""
        if self._ahead is None:
            self._ahead, self._places = Reader(self._path).places(), array("Q")
        places = self._places
        while len(places) < 2 * count:
            try:
                _, at, size = next(self._ahead)
            except DamagedDatabase as error:
                raise BadRecord(str(error)) from None
            places.append(at)
            places.append(size)

    def places(self) -> Any:
        """The offset and size of every record, (n, 2). Raises BadRecord."""
        import numpy as np

        self._know(self._records)
        return np.frombuffer(self._places, np.uint64).astype(np.int64).reshape(-1, 2)

    def buffer(self) -> memoryview:
        """The file."""
        if self._view is None:
            with self._path.open("rb") as file:
                self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._view

    def read(self, task: tuple[int, int]) -> tuple[Planes, int]:
        at, size = task
        return planes_of(self.buffer()[at : at + size], self.gray)

    def called(self, number: int) -> str:
        return f"record {number} of '{self.name}'"


class LevelDatabase:
    """The records of a LevelDB in the order of their keys, by the package plyvel; they are counted at first.

    Opening one locks it and writes beside its files, so links to them in a temporary folder are opened.
    """

    pixels = False  # reading a record again means finding it again

    def __init__(self, place: Path, name: str = "", *, gray: bool | None = None) -> None:
        self.name, self.gray, self._place = name or str(place), gray, place
        self._database, self._folder = self._opened()
        try:
            with self._database.iterator(include_value=False) as keys:
                self._keys = list(keys)
        except Exception as error:  # plyvel's, and those of what it reads
            raise FileError(f"cannot read '{place}': it is damaged: {error}") from None

    def _opened(self) -> tuple[Any, Any]:
        try:
            import plyvel
        except ImportError:
            raise FileError(
                f"reading the LevelDB '{self.name}' needs the package plyvel, which is not installed",
                hint="pip install plyvel (Python 3.12 or older), or make an LMDB by `netbuilder data lmdb`",
            ) from None
        folder = linked(self._place)
        try:
            return plyvel.DB(folder.name), folder
        except (plyvel.Error, OSError) as error:
            raise FileError(
                f"cannot read '{self._place}': it is not a LevelDB, or damaged: {error}"
            ) from None

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[tuple[bytes, memoryview]]:
        """The keys and records. Raises FileError if the database is damaged."""
        try:
            for key, value in self._database:
                yield key, memoryview(value)
        except (OSError, ValueError, RuntimeError) as error:
            raise FileError(f"cannot read '{self._place}': it is damaged: {error}") from None

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return sum(file.stat().st_size for file in self._place.iterdir() if file.is_file())

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the records by its tasks; a copy opens the database again."""
        return {**self.__dict__, "_database": None, "_folder": None}

    def task(self, number: int) -> bytes:
        """The record."""
        if self._database is None:
            self._database, self._folder = self._opened()
        record: bytes = self._database.get(self._keys[number])
        return record

    def read(self, task: bytes) -> tuple[Planes, int]:
        return planes_of(memoryview(task), self.gray)

    def called(self, number: int) -> str:
        return f"record {number} of '{self.name}'"


def planes_of(record: memoryview, gray: bool | None) -> tuple[Planes, int]:
    """The image and label of a Datum. Source: data_transformer.cpp, Transform of a Datum."""
    import numpy as np

    try:
        found = datum.read(record)
        if found.encoded:
            return _channels_first(images.decode_bytes(found.data, gray=gray)), found.label
    except (datum.BadDatum, images.Unreadable) as error:
        raise BadRecord(str(error)) from None
    shape = found.channels, found.height, found.width
    if found.floats:
        values = message("Datum").FromString(bytes(record)).float_data
        return np.array(values, np.float32).reshape(shape), found.label
    return np.frombuffer(found.data, np.uint8).reshape(shape), found.label


class ImageList:
    """The images of a list of lines `path label`. Source: image_data_layer.cpp, DataLayerSetUp.

    A line is split at its last space, and its label read as atoi reads it. Images are resized to `size` if it
    is given. Names are relative to the current directory, or to `folder`.
    """

    pixels = False

    def __init__(
        self,
        place: Path,
        name: str = "",
        *,
        root: str = "",
        folder: Path = Path(),
        gray: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.name, self._root, self._folder = name or str(place), root, folder
        self._gray, self._size = gray, size
        try:
            text = place.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise FileError(f"cannot read the list '{place}': {reason(error)}") from None
        self._lines = []
        for line in text.removesuffix("\n").split("\n") if text else ():
            path, _, label = line.rpartition(" ")
            self._lines.append((path, _leading_integer(label)) if path else (line, 0))

    def __len__(self) -> int:
        return len(self._lines)

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the lines by its tasks."""
        return {**self.__dict__, "_lines": []}

    def task(self, number: int) -> tuple[str, int]:
        """The name of an image and its label."""
        return self._lines[number]

    def read(self, task: tuple[str, int]) -> tuple[Planes, int]:
        name, label = self._root + task[0], task[1]
        path = next((p for p in (Path(name), self._folder / name) if "\0" not in name and p.is_file()), None)
        if path is None:
            raise BadRecord("it is not there: names are relative to the current directory, after root_folder")
        try:
            pixels = images.decode_bytes(path.read_bytes(), gray=self._gray)
        except OSError as error:
            raise BadRecord(reason(error)) from None
        except images.Unreadable as error:
            raise BadRecord(str(error)) from None
        if self._size:
            pixels = images.resize(pixels, *self._size)
        return _channels_first(pixels), label

    def called(self, number: int) -> str:
        name = self._root + self._lines[number][0]
        shown = name.encode(errors="surrogateescape").decode(errors="replace")
        return f"image '{shown}' (line {number + 1} of '{self.name}')"


def _channels_first(pixels: images.Image) -> images.Image:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _leading_integer(text: str) -> int:
    """As atoi reads a label: 0 without digits."""
    found = re.match(r"\s*[+-]?\d+", text)
    return int(found[0]) if found else 0
