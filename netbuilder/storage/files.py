"""Files are written whole or not at all, and never over a file that netbuilder did not make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from netbuilder.errors import FileError

__all__ = ["MARK", "read_text", "reason", "replacing", "write_files"]

_MAX_TEXT = 2**29
_MAX_LINE = 2**10
_MAX_NAME = 50  # characters of a name that its temporary one repeats: all may have 255 bytes
_PARTIAL = ".partial"

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
    begun: list[_Begun] = []
    try:
        for path, text in files.items():
            begun.append(_Begun(path))
            begun[-1].partial.write_bytes(text if isinstance(text, bytes) else text.encode())
        for file in begun:
            file.partial.replace(file.path)
    except OSError as error:
        raise FileError(
            f"cannot write '{path}': {reason(error)}", hint="choose another output folder"
        ) from None
    finally:
        for file in begun:
            file.close()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write; it replaces the file at `path` once complete and on the disk.

    After an error it is removed, and `path` is as it was. Raises FileError for an OSError.
    """
    begun = None
    try:
        begun = _Begun(path)
        yield begun.partial
        with open(begun.partial, "rb") as file:
            os.fsync(file.fileno())
        begun.partial.replace(path)
    except OSError as error:
        raise FileError(f"cannot write '{path}': {reason(error)}", hint="choose another place") from None
    finally:
        if begun:
            begun.close()


class _Begun:
    """An empty file `partial` beside `path`, to be renamed to it, under a name that nobody can foresee.

    The name says which process of which machine writes it, so that the next one can tell and remove what a
    killed one left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        start = f".{path.name[:_MAX_NAME]}.{_machine()}-"
        _remove_left(path.parent, start)
        self.partial = path.with_name(f"{start}{os.getpid()}.{os.urandom(8).hex()}{_PARTIAL}")
        os.close(os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # follows no link

    def close(self) -> None:
        """Remove the file, unless it has its name; a folder that takes no file may refuse this, too."""
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)


def _machine() -> str:
    return f"{crc32(os.uname().nodename.encode()):08x}" if hasattr(os, "uname") else "0"


def _remove_left(folder: Path, start: str) -> None:
    """Remove what processes of this machine left that are gone; nothing on Windows, where one cannot ask."""
    with suppress(OSError):
        for name in os.listdir(folder) if os.name == "posix" else ():
            if name.startswith(start) and name.endswith(_PARTIAL):
                pid = name[len(start) :].partition(".")[0]
                if pid.isdecimal() and not _is_running(int(pid)):
                    with suppress(OSError):
                        os.unlink(folder / name)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


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
