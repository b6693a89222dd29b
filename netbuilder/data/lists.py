"""Which images go into a database, in which order, with which labels: from a folder or a list file."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from netbuilder.data.list_lines import MARK
from netbuilder.errors import FileError
from netbuilder.storage.files import reason

__all__ = ["Listing", "Source", "digest", "folder_listing", "labels_listing", "list_listing", "shuffled"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff")
_MAX_LABEL = 2**31 - 1

T = TypeVar("T")


class Source(NamedTuple):
    """An image: its path below the root, with /, and its label; `line` of the list, 0 for a folder.

    `values` are its labels where it has several, or where they are not whole numbers; its label then is 0.
    """

    path: str
    label: int
    line: int = 0
    values: tuple[float, ...] = ()


class Listing(NamedTuple):
    """The images, the folder that their paths are relative to, and the names of the classes if known."""

    root: Path
    sources: list[Source]
    classes: tuple[str, ...] = ()
    ignored: int = 0  # files that are not images, or are outside the class folders


def folder_listing(root: Path) -> Listing:
    """A folder for each class: labels 0, 1, ... in the order of the folders' names.

    The images of a class are all those below its folder, in the order of their paths.
    """
    try:
        entries = sorted(os.scandir(root), key=lambda e: e.name)
    except OSError as error:
        raise FileError(f"cannot read the folder '{root}': {reason(error)}") from None
    classes = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    if not classes:
        raise FileError(
            f"'{root}' has no folders; it needs one for each class",
            hint="or give a list file with lines 'path label'",
        )
    sources: list[Source] = []
    ignored = sum(e.is_file() and not e.name.startswith(".") for e in entries)
    for label, name in enumerate(classes):
        found = [path.relative_to(root).as_posix() for path in _files_below(root / name)]
        images = sorted(path for path in found if path.lower().endswith(SUFFIXES))
        ignored += len(found) - len(images)
        if not images:
            raise FileError(
                f"the folder of class {label}, '{root / name}', has no images",
                hint=f"images are {' '.join(SUFFIXES)}; remove the folder if it is not a class",
            )
        sources += [Source(path, label) for path in images]
    return Listing(root, sources, tuple(classes), ignored)


def _files_below(top: Path) -> Iterator[Path]:
    """The files in a folder and those below it, through links too.

    Raises FileError for a folder that cannot be read, and for a link to a folder above itself: the files
    would be found again and again.
    """

    def fail(error: OSError) -> NoReturn:
        raise FileError(f"cannot read the folder '{error.filename}': {reason(error)}")

    above = {str(top): frozenset({_identity(top.parent), _identity(top)})}
    for folder, folders, files in os.walk(top, followlinks=True, onerror=fail):
        known = above.pop(folder)
        for name in folders:
            path = os.path.join(folder, name)
            identity = _identity(path)
            if identity in known:
                raise FileError(
                    f"'{path}' is a link to a folder above it, so its images would be found again and again",
                    hint="remove the link",
                )
            above[path] = known | {identity}
        yield from (Path(folder, name) for name in files)


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def list_listing(file: Path, root: Path | None = None, classes: int | None = None) -> Listing:
    """A list file: lines `path label`, split at the last space; `root` (default: its folder) holds the paths.

    Source: convert_imageset.cpp, which accepts any text as a label; here it must be a number.
    """
    sources = []
    for number, line in _lines(file):
        path, space, label = line.rstrip(" ").rpartition(" ")
        where = f"{file}:{number}"
        if not space or not path.strip():
            raise FileError(
                f"a line must be 'path label', got {_quoted(line)}",
                where=where,
                hint="separate them by a space" if "\t" in line else "",
            )
        if not re.fullmatch(r"[+-]?[0-9]+", label):
            raise FileError(
                f"the label of '{_shown(path)}' is not a number: {_quoted(label)}",
                where=where,
                hint="--labels DB takes several labels, and ones that are not whole"
                if _number(label)
                else "",
            )
        top = (classes or _MAX_LABEL + 1) - 1
        if not 0 <= int(label) <= top:
            raise FileError(
                f"the label of '{_shown(path)}' is out of range: {label}, not in 0..{top}",
                where=where,
                hint="Caffe's labels begin at 0" if classes and int(label) == classes else "",
            )
        sources.append(Source(path, int(label), number))
    if not sources:
        raise FileError(f"the list '{file}' has no lines 'path label'")
    return Listing(file.parent if root is None else root, sources)


def labels_listing(file: Path, root: Path | None = None) -> Listing:
    """A list file with several labels, or ones that are not whole: lines `path number number ...`.

    The first line has as many as it ends in numbers, and all others must have as many.
    """
    sources: list[Source] = []
    count = 0
    for number, line in _lines(file):
        words = line.rstrip(" ").split(" ")
        where = f"{file}:{number}"
        if not sources:
            count = next((i for i, word in enumerate(reversed(words)) if _number(word) is None), len(words))
            if not 0 < count < len(words):
                raise FileError(f"a line must be 'path number number ...', got {_quoted(line)}", where=where)
        values = [_number(word) for word in words[-count:]]
        path = " ".join(words[:-count])
        if not path.strip() or None in values:
            raise FileError(
                f"a line must be a path and {count} numbers, as the first is, got {_quoted(line)}",
                where=where,
            )
        sources.append(Source(path, 0, number, tuple(value for value in values if value is not None)))
    if not sources:
        raise FileError(f"the list '{file}' has no lines 'path number number ...'")
    return Listing(file.parent if root is None else root, sources)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, numbered from 1."""
    try:
        text = file.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise FileError(f"cannot read the list '{file}': {reason(error)}") from None
    text = text.removeprefix(MARK)
    for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1):
        line = line.removesuffix("\r")
        if line.strip():
            yield number, line


def _number(word: str) -> float | None:
    """A number that is finite, None for any other word."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word):
        return None
    return float(word)


def shuffled(sources: Sequence[T], seed: int) -> list[T]:
    """The items in an order that depends only on the seed."""
    # Only random() is guaranteed to give the same numbers in every version of Python.
    draw = random.Random(seed).random
    mixed = list(sources)
    for i in range(len(mixed) - 1, 0, -1):
        j = int(draw() * (i + 1))
        mixed[i], mixed[j] = mixed[j], mixed[i]
    return mixed


def digest(sources: Sequence[Source]) -> str:
    """A checksum of the paths and labels, in order."""
    total = sha256()
    for source in sources:
        labels = " ".join(map(repr, source.values)) or str(source.label)
        total.update(f"{source.path} {labels}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _shown(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _quoted(text: str) -> str:
    return repr(_shown(text))
