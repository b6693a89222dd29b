"""The first record of an LMDB database, read as a plain file.

The lmdb package maps the file into memory, and a database that is cut short then kills the process (SIGBUS);
it also takes a lock. Here a damaged database is an error like any other, nothing is written beside it, and no
package is needed. Source: the structures of lmdb's mdb.c (MDB_page, MDB_meta, MDB_db, MDB_node), as a 64-bit
little-endian machine writes them, which is what Caffe's databases are.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["DamagedDatabase", "first_record"]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = 16  # bytes of a page before its contents
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG = 1  # of a node: its value is on pages of its own
_NONE = 2**64 - 1  # the root of an empty tree
_MAX_DEPTH = 32
_MAX_RECORD = 2**28


class DamagedDatabase(Exception):
    """A file that is no LMDB database, or one without its first record; the text says how."""


def first_record(path: Path) -> bytes:
    """The value of the least key; `path` is the file data.mdb. Raises DamagedDatabase and OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        page_size, root = _newest_root(file)
        if root == _NONE:
            raise DamagedDatabase("it has no records")
        number = root
        for _ in range(_MAX_DEPTH):
            page = _read(file, size, number * page_size, page_size)
            flags, lower = struct.unpack_from("<HH", page, 10)
            if lower <= _HEADER:
                raise DamagedDatabase(f"its page {number} is empty")
            (at,) = struct.unpack_from("<H", page, _HEADER)
            if not _HEADER <= at <= page_size - 8:
                raise DamagedDatabase(f"its page {number} is damaged")
            low, high, node_flags, key_size = struct.unpack_from("<HHHH", page, at)
            if flags & _BRANCH:
                number = low | high << 16 | node_flags << 32
                continue
            if not flags & _LEAF or node_flags & ~_BIG:
                raise DamagedDatabase(f"its page {number} is damaged")
            length, at = low | high << 16, at + 8 + key_size
            if length > _MAX_RECORD:
                raise DamagedDatabase(f"its first record has {length} bytes")
            if not node_flags & _BIG:
                return _read(file, size, number * page_size + at, length)
            if at > page_size - 8:
                raise DamagedDatabase(f"its page {number} is damaged")
            (number,) = struct.unpack_from("<Q", page, at)
            (flags,) = struct.unpack_from("<H", _read(file, size, number * page_size, _HEADER), 10)
            if not flags & _OVERFLOW:
                raise DamagedDatabase(f"its page {number} is damaged")
            return _read(file, size, number * page_size + _HEADER, length)
        raise DamagedDatabase("its tree of pages has no end")


def _newest_root(file: BinaryIO) -> tuple[int, int]:
    """The page size, and the root page of the newer of the two states that a database keeps."""
    page_size, states = 0, []
    for i in range(2):
        file.seek(i * page_size)
        meta = file.read(152)
        if len(meta) < 152 or struct.unpack_from("<II", meta, _HEADER) != (_MAGIC, _VERSION):
            raise DamagedDatabase("it is no LMDB database")
        (page_size,) = struct.unpack_from("<I", meta, _HEADER + 24)
        if not 256 <= page_size <= 2**16:
            raise DamagedDatabase(f"it has pages of {page_size} bytes")
        root, _, transaction = struct.unpack_from("<QQQ", meta, 128)
        states.append((transaction, root))
    return page_size, max(states)[1]


def _read(file: BinaryIO, size: int, at: int, length: int) -> bytes:
    if at + length > size:
        raise DamagedDatabase(f"it is cut short: it needs {at + length} bytes and has {size}")
    file.seek(at)
    return file.read(length)
