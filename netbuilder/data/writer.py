"""Write records to an LMDB in the order of their keys, so that the last key marks the progress."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from netbuilder.errors import FileError
from netbuilder.storage.lmdb_file import DamagedDatabase, Reader

__all__ = ["Writer"]

_BATCH, _BATCH_BYTES = 1000, 2**26  # records and bytes for one transaction; Caffe's tools take 1000 records
_MAP = 2**28  # initial bytes, doubled when full
_MAX_KEY = 511


class Writer:
    """A database to write to; a context manager.

    A killed process loses only the records since the last transaction. Disk errors raise FileError.
    """

    def __init__(self, folder: Path, *, map_size: int = _MAP) -> None:
        try:
            import lmdb
        except ImportError:
            raise FileError(
                "writing an LMDB needs the package lmdb, which is not installed",
                hint="pip install 'caffe-netbuilder[data]'",
            ) from None
        self._lmdb: Any = lmdb
        self.folder = folder
        self._batch: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            existing = (folder / "data.mdb").stat().st_size if (folder / "data.mdb").exists() else 0
            if existing:
                Reader(folder / "data.mdb")  # a truncated file would kill the process in lmdb
            size = max(map_size, 2 * existing)
            self._env: Any = lmdb.open(str(folder), map_size=size, mode=0o664)
        except DamagedDatabase as error:
            raise FileError(
                f"cannot continue the database '{folder}': {error}", hint="remove it to start again"
            ) from None
        except (OSError, lmdb.Error) as error:
            raise self._failed(error) from None

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or issubclass(kind, (FileError, KeyboardInterrupt)):
                self.commit()  # keep what came before the fault for the next run
        finally:
            self._env.close()

    def count(self) -> int:
        """The number of stored records."""
        return int(self._env.stat()["entries"])

    def last_key(self) -> bytes | None:
        """The greatest stored key, or None."""
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            return bytes(cursor.key()) if cursor.last() else None

    def first_key(self) -> bytes | None:
        """The smallest stored key, or None."""
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            return bytes(cursor.key()) if cursor.first() else None

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record; its key must be greater than all before it."""
        if len(key) > _MAX_KEY:
            raise FileError(
                f"a key may have {_MAX_KEY} bytes, but one has {len(key)}: '{key.decode(errors='replace')}'",
                hint="shorten the folders below the root",
            )
        self._batch.append((key, value))
        self._bytes += len(value)
        if len(self._batch) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write all records put so far, safely to the disk."""
        batch, self._batch, self._bytes = self._batch, [], 0
        while batch:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in batch:
                        if not transaction.put(key, value, append=True):
                            raise AssertionError(f"key {key!r} is not greater than the one before")
                return
            except self._lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except self._lmdb.Error as error:
                raise self._failed(error) from None

    def _failed(self, error: Exception) -> FileError:
        # lmdb reports "function: reason"; an incomplete write, for example on a full disk, is an "I/O error".
        why = str(getattr(error, "strerror", "") or error).rpartition(": ")[2].lower()
        return FileError(
            f"cannot write the database '{self.folder}': {why}",
            hint="is the disk full? Free some space; then the same command resumes where this one stopped",
        )
