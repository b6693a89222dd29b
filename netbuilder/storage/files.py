"""Files are written whole or not at all, and never over a file that netbuilder did not make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from netbuilder.errors import FileError

__all__ = ["MARK", "read_text", "reason", "replacing", "write_files"]

_MAX_TEXT = 2**29
_MAX_LINE = 2**10

# How the first line of every file of netbuilder begins; in a script, the line after `#!`.
MARK = "# Made by netbuilder"


def read_text(path: str | Path) -> str:
    """The unchanged text of a file. Raises FileError if it is unreadable, too long or not UTF-8."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_TEXT + 1)  # a device may never end
        if len(content) > _MAX_TEXT:
            raise FileError(
                f"cannot read '{path}': it has more than {_MAX_TEXT >> 20} MiB, too much for text"
            )
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"cannot read '{path}': it is not text (byte {error.start} is not UTF-8)",
            hint="a .caffemodel is binary: netbuilder count reads it, and so does prototxt.read_model",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None


def write_files(files: Mapping[Path, str | bytes], *, force: bool = False) -> None:
    """Write all of the files, or none of them; missing folders are created.

    An existing file is replaced if netbuilder wrote it (by its first line, or the line after a script's
    `#!`), if the content is the same, or with `force`. Raises FileError before anything is changed.
    """
    for path, text in files.items():
        _check_free(path, text if isinstance(text, bytes) else text.encode(), force)
    for folder in {path.parent for path in files}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = "there is a file of that name" if folder.is_file() else reason(error)
            raise FileError(
                f"cannot make the folder '{folder}': {what}", hint="choose another output folder"
            ) from None
    finished: list[tuple[Path, Path]] = []
    try:
        for path, text in files.items():
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            finished.append((partial, path))
            partial.write_bytes(text if isinstance(text, bytes) else text.encode())
        for partial, path in finished:
            partial.replace(path)
    except OSError as error:
        for partial, _ in finished:
            _remove(partial)
        raise FileError(
            f"cannot write '{path}': {reason(error)}", hint="choose another output folder"
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write; it replaces the file at `path` once complete and on the disk.

    After an error it is removed, and `path` is as it was. Raises FileError for an OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise FileError(f"cannot write '{path}': {reason(error)}", hint="choose another place") from None
    finally:
        _remove(partial)


def _remove(partial: Path) -> None:
    """Remove a file that was begun, if it is there; a folder that takes no file may refuse this, too."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def _check_free(path: Path, content: bytes, force: bool) -> None:
    """Raise FileError if the path is a folder or, without `force`, a different file of somebody else."""
    try:
        with path.open("rb") as file:
            first = file.readline(_MAX_LINE)
            if first.startswith(b"#!"):
                first = file.readline(_MAX_LINE)
            ours = first.startswith(MARK.encode())
            if not ours and not force:  # perhaps the same bytes: a binary file has no first line to tell by
                file.seek(0)
                ours = file.read(len(content) + 1) == content
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:
        raise FileError(
            f"cannot write '{path}': it is a folder", hint="choose another output folder"
        ) from None
    except OSError as error:
        raise FileError(f"cannot write '{path}': {reason(error)}") from None
    if not ours and not force:
        raise FileError(
            f"'{path}' is in the way, and netbuilder did not write it",
            hint="choose another output folder, or use --force to replace it",
        )


def reason(error: OSError | ValueError) -> str:
    """The system's reason for a failure, as the end of a sentence."""
    return (getattr(error, "strerror", "") or str(error)).lower()
