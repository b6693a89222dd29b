"""Images in Parquet, in the columns of CaffeOnSpark's frames: an image file and its label a row.

Spark reads and writes the same folders. Records have the order of the files' names, and of the rows in
them. A row group is read as a whole and kept, so reading in order costs one read of each.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.data import images
from netbuilder.data.lists import Listing
from netbuilder.data.stored import BadRecord, Database
from netbuilder.errors import FileError
from netbuilder.storage.files import reason, replacing_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

__all__ = ["Frame", "Row", "of_database", "of_listing", "write"]

Row = tuple[bytes, int]  # an image file, and its label


def pyarrow() -> Any:
    """pyarrow.parquet; raises FileError if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise FileError(
            "reading Parquet needs pyarrow, which is not installed",
            hint="pip install 'caffe-netbuilder[spark]'",
        ) from None
    return pyarrow.parquet


class Frame:
    """The images of a Parquet file, or of the files of a folder; `gray` is how they are decoded."""

    pixels = False

    def __init__(self, place: Path, name: str, *, image: str, label: str, gray: bool = False) -> None:
        self.name, self.gray, self._columns = name, gray, (image, label)
        self._files = _files(place)
        self._groups: list[tuple[int, int, int]] = []  # file, row group, and the number of its first row
        self._rows = 0
        for i, path in enumerate(self._files):
            metadata = self._metadata(path)
            for group in range(metadata.num_row_groups):
                self._groups.append((i, group, self._rows))
                self._rows += metadata.row_group(group).num_rows
        self._kept: tuple[tuple[int, int], Any] | None = None

    def _metadata(self, path: Path) -> Any:
        library = pyarrow()
        with _reading(path):
            file = library.ParquetFile(path)
        with file:
            names = file.schema_arrow.names
            if missing := [name for name in self._columns if name not in names]:
                raise FileError(
                    f"'{path}' has no column '{missing[0]}'", hint=f"its columns are {', '.join(names)}"
                )
            return file.metadata

    def __len__(self) -> int:
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        """For another process: rows that were read stay here."""
        return {**self.__dict__, "_kept": None}

    def task(self, number: int) -> tuple[int, int, int]:
        """The file, the row group, and the row in it."""
        from bisect import bisect_right

        at = bisect_right(self._groups, number, key=lambda group: group[2]) - 1
        file, group, first = self._groups[at]
        return file, group, number - first

    def read(self, task: tuple[int, int, int]) -> tuple[Planes, int]:
        file, group, row = task
        columns = self._group(file, group)
        with _reading(self._files[file]):
            image, label = (column[row].as_py() for column in columns)
        if not isinstance(image, bytes):
            raise BadRecord(f"its column '{self._columns[0]}' is not an image file")
        try:
            number = int(label)
        except (TypeError, ValueError):
            raise BadRecord(f"its label is not a whole number: {label!r}") from None
        try:
            pixels = images.decode_bytes(image, gray=self.gray)
        except images.Unreadable as error:
            raise BadRecord(str(error)) from None
        return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), number

    def _group(self, file: int, group: int) -> list[Any]:
        """The two columns of a row group; the last one is kept."""
        if self._kept is None or self._kept[0] != (file, group):
            path = self._files[file]
            with _reading(path), pyarrow().ParquetFile(path) as opened:
                table = opened.read_row_group(group, columns=list(self._columns))
            self._kept = (file, group), [table.column(name) for name in self._columns]
        return self._kept[1]

    def called(self, number: int) -> str:
        file, _, _ = self.task(number)
        first = next(first for of, _, first in self._groups if of == file)
        return f"row {number - first} of '{self._files[file]}'"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise FileError for what pyarrow raises about a damaged file."""
    import pyarrow as arrow

    try:
        yield
    except (OSError, ValueError, OverflowError, arrow.ArrowException) as error:
        why = reason(error) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0]
        raise FileError(f"cannot read '{path}' as Parquet: {why}") from None


def _files(place: Path) -> list[Path]:
    """The files of a frame, without those that Spark hides: _SUCCESS, .crc."""
    if not place.is_dir():
        return [place]
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(place)
        for name in names
        if not name.startswith(("_", "."))
    ]
    if not found:
        raise FileError(f"the folder '{place}' has no Parquet files")
    return sorted(found)


# -- writing -------------------------------------------------------------------------------------------------


def of_listing(listing: Listing) -> Iterator[Row]:
    """The images of a list as their files are. Raises FileError for one that cannot be read."""
    for source in listing.sources:
        path = listing.root / source.path
        try:
            content = path.read_bytes()
            images.decode(io.BytesIO(content))
        except OSError as error:
            raise FileError(f"cannot read '{path}': {reason(error)}") from None
        except images.Unreadable as error:
            raise FileError(f"cannot read '{path}': {error}") from None
        yield content, source.label


def of_database(place: Path) -> Iterator[Row]:
    """The records of an LMDB: pixels as PNG, which keeps them, image files as they are."""
    from netbuilder.data import datum

    database = Database(place)
    for number in range(len(database)):
        at, size = database.task(number)
        try:
            record = datum.read(database.buffer()[at : at + size])
            if record.encoded:
                yield bytes(record.data), record.label
                continue
            planes, label = database.read((at, size))
        except (BadRecord, datum.BadDatum) as error:
            raise FileError(f"{database.called(number)}: {error}") from None
        if planes.dtype != "uint8" or planes.shape[0] not in (1, 3):
            raise FileError(f"{database.called(number)} is not an image of 1 or 3 channels")
        yield images.encode(planes[0] if planes.shape[0] == 1 else planes.transpose(1, 2, 0), "png"), label


def write(
    rows: Iterable[Row], folder: Path, *, per_file: int = 1000, image: str = "data", label: str = "label",
    force: bool = False, progress: Callable[[int], None] = lambda count: None,
) -> tuple[int, int]:  # fmt: skip
    """Write rows into a folder of Parquet files; returns the numbers of rows and files.

    All of it is written or nothing. A file is one row group, small enough for a partition of Spark.
    """
    import pyarrow as arrow

    library = pyarrow()
    if folder.exists() and not force:
        raise FileError(f"'{folder}' exists already", hint="choose another name, or --force to replace it")
    schema = arrow.schema([(image, arrow.binary()), (label, arrow.int32())])
    total = files = 0
    with replacing_folder(folder) as partial:
        remaining = iter(rows)
        while part := list(islice(remaining, per_file)):
            table = arrow.table([[r[0] for r in part], [r[1] for r in part]], schema=schema)
            library.write_table(table, partial / f"part-{files:05d}.parquet", row_group_size=per_file)
            total, files = total + len(part), files + 1
            progress(total)
        if not total:
            raise FileError("there are no images to write")
    return total, files
