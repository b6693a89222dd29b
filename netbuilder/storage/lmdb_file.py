"""The records of an LMDB database, read as a plain file: no lmdb package, no lock file.

The lmdb package trusts what it maps: a truncated or damaged file kills the process. Here every offset is
checked first, so damage is an error like any other.
Source: the structures of lmdb's mdb.c (MDB_page, MDB_meta, MDB_db, MDB_node), as a 64-bit little-endian
machine writes them, which is what Caffe's databases are.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from netbuilder.errors import FileError
from netbuilder.storage.files import reason

__all__ = ["DamagedDatabase", "Reader", "open_database"]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = 16  # bytes at the start of each page
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG = 1  # flag of a node whose value has its own pages
_NONE = 2**64 - 1  # the root of an empty tree
_NODE = struct.Struct("<HHHH")  # the size of the value, in two halves; flags; the size of the key


class DamagedDatabase(Exception):
    """A file that is not an LMDB database, or a truncated or damaged one; the text says which."""


def open_database(place: Path) -> Reader:
    """The database in this folder, or this data.mdb. Raises FileError if none can be read."""
    path = place / "data.mdb" if place.is_dir() else place
    try:
        return Reader(path)
    except DamagedDatabase as error:
        raise FileError(f"cannot read '{place}': {error}") from None
    except FileNotFoundError:
        what = hint = ""
        if (place / "CURRENT").is_file():
            what, hint = "it is a LevelDB", "`netbuilder data show` reads it; all else reads LMDB databases"
        elif place.is_dir():
            what = "there is no data.mdb in this folder"
        raise FileError(f"cannot read '{place}': {what or 'it is not there'}", hint=hint) from None
    except OSError as error:
        raise FileError(f"cannot read '{place}': {reason(error)}") from None


class Reader:
    """The records of a database in the order of their keys; len() is their number.

    Raises DamagedDatabase: at once if the header is wrong, later for a wrong page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:  # an empty file cannot be mapped
                raise DamagedDatabase("it is empty") from None
        self._view = memoryview(self._map)
        self.size = len(self._map)
        states = []
        self._page_size = 0
        for i in range(2):
            at = i * self._page_size + _HEADER
            if at + 136 > self.size or struct.unpack_from("<II", self._view, at) != (_MAGIC, _VERSION):
                raise DamagedDatabase("it is no LMDB database")
            (self._page_size,) = struct.unpack_from("<I", self._view, at + 24)
            if not 256 <= self._page_size <= 2**16:
                raise DamagedDatabase(f"it has pages of {self._page_size} bytes")
            entries, root, last, transaction = struct.unpack_from("<QQQQ", self._view, at + 104)
            states.append((transaction, entries, root, last))
        _, self._entries, self._root, last = max(states)
        self._pages = last + 1
        if self._pages * self._page_size > self.size:
            needed = self._pages * self._page_size
            raise DamagedDatabase(f"it is cut short: it needs {needed} bytes and has {self.size}")

    def __len__(self) -> int:
        return int(self._entries)

    def first(self) -> bytes:
        """The value of the least key."""
        for _, value in self:
            return bytes(value)
        raise DamagedDatabase("it has no records")

    def __iter__(self) -> Iterator[tuple[bytes, memoryview]]:
        return self.every(1)

    def every(self, step: int) -> Iterator[tuple[bytes, memoryview]]:
        """(key, value) of each `step`-th record; a value is a view of the file, to release before it."""
        view = self._view
        return ((key, view[at : at + size]) for key, at, size in self.places(step))

    def places(self, step: int = 1) -> Iterator[tuple[bytes, int, int]]:
        """The key of every record, the offset of its value in the file, and the value's size in bytes.

        Of every `step`-th record only, where that is given: the others are counted, not looked at.
        """
        unpack, view = _NODE.unpack_from, self._view
        stack = [] if self._root == _NONE else [self._root]
        seen = found = 0
        last, begins = b"", True
        try:
            while stack:
                page = stack.pop()
                seen += 1
                if seen > self._pages:
                    raise DamagedDatabase("its tree of pages has no end")
                flags, nodes = self._nodes(page)
                if flags & _BRANCH:
                    stack += [self._child(node) for node in reversed(nodes)]
                    continue
                end = (page + 1) * self._page_size
                for node in nodes[-found % step :: step]:
                    low, high, flags, key_size = unpack(view, node)
                    at, size = node + 8 + key_size, low | high << 16
                    if flags:
                        at = self._large(node, flags, at, size)
                    elif at + size > end:
                        raise DamagedDatabase(f"its page {page} is damaged")
                    key = bytes(view[node + 8 : node + 8 + key_size])
                    if not begins and key <= last:
                        raise DamagedDatabase(f"its page {page} is damaged: keys out of order")
                    last, begins = key, False
                    yield key, at, size
                found += len(nodes)
        except (struct.error, IndexError):
            raise DamagedDatabase(f"its page {page} is damaged") from None
        if found != self._entries:
            raise DamagedDatabase(f"it should have {self._entries} records, and has {found}")

    def _nodes(self, page: int) -> tuple[int, list[int]]:
        """The flags of a page, and the offsets of its nodes in the file."""
        at = page * self._page_size
        if not 2 <= page < self._pages:
            raise DamagedDatabase(f"it points to page {page}, and has {self._pages}")
        flags, lower = struct.unpack_from("<HH", self._view, at + 10)
        if flags & 0xF not in (_BRANCH, _LEAF) or not _HEADER < lower <= self._page_size:
            raise DamagedDatabase(f"its page {page} is damaged")
        pointers = struct.unpack_from(f"<{(lower - _HEADER) // 2}H", self._view, at + _HEADER)
        if pointers and not _HEADER <= min(pointers) <= max(pointers) <= self._page_size - 8:
            raise DamagedDatabase(f"its page {page} is damaged")
        return flags, [at + p for p in pointers]

    def _child(self, node: int) -> int:
        low, high, top = struct.unpack_from("<HHH", self._view, node)
        return int(low | high << 16 | top << 32)

    def _large(self, node: int, flags: int, at: int, size: int) -> int:
        """The offset of a value that has pages of its own; at `at` in its node is the first one's number."""
        page = node // self._page_size
        if flags & ~_BIG:
            raise DamagedDatabase("it holds other databases, or several values for one key")
        if at + 8 > (page + 1) * self._page_size:
            raise DamagedDatabase(f"its page {page} is damaged")
        (first,) = struct.unpack_from("<Q", self._view, at)
        begin = int(first) * self._page_size + _HEADER
        if not 2 <= first < self._pages or not self._view[begin - 6] & _OVERFLOW:
            raise DamagedDatabase(f"its record {bytes(self._view[node + 8 : at])!r} is damaged")
        if begin + size > self.size:
            raise DamagedDatabase(f"its page {first} is damaged")
        return begin
