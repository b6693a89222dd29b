"""Files are written whole or not at all, and never over a file that netbuilder did not make."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netbuilder.errors import FileError, NetBuilderError
from netbuilder.storage import temporary

__all__ = [
    "HELD",
    "MARK",
    "cache_folder",
    "is_file_name",
    "is_outside",
    "read_record",
    "read_text",
    "reason",
    "rename_folder",
    "replacing",
    "replacing_folder",
    "write_files",
]

_MAX_TEXT = 2**29
_MAX_LINE = 2**10

# How the first line of every file of netbuilder begins; in a script, the line after `#!`.
MARK = "# Made by netbuilder"

# Texts that are no files, such as that of stdin, by the name under which they are read; or why there is none.
HELD: dict[str, str | NetBuilderError] = {}


def read_text(path: str | Path) -> str:
    """The unchanged text of a file, or the one in HELD.

    Raises FileError if it is unreadable, too long or not UTF-8.
    """
    if HELD and (held := HELD.get(str(path))) is not None:
        if isinstance(held, NetBuilderError):
            raise held
        return held
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


def read_record(path: str | Path) -> dict[str, Any]:
    """The content of a JSON file of netbuilder's own; {} if it is missing or is not one."""
    import json

    try:
        data = json.loads(read_text(path))
    except (FileError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


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


def cache_folder() -> Path:
    """The folder of the user for what netbuilder can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netbuilder"


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to write in; it replaces the folder at `path` once complete. An error removes it.

    Raises FileError for an OSError.
    """
    folder = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = temporary.new_folder(str(path.parent), path.name)
        yield Path(folder)
        rename_folder(folder, path)
    except OSError as error:
        raise FileError(f"cannot write '{path}': {reason(error)}", hint="choose another place") from None
    finally:
        if folder:
            temporary.remove(folder)


def rename_folder(folder: str | Path, path: Path) -> None:
    """Give a folder its name; only then is the one that had it removed, with all in it."""
    if not os.path.lexists(path):
        os.rename(folder, path)
        return
    old = temporary.new_folder(str(path.parent), path.name)
    try:
        os.rename(path, os.path.join(old, "old"))
        try:
            os.rename(folder, path)
        except OSError:
            os.rename(os.path.join(old, "old"), path)
            raise
    finally:
        temporary.remove(old)


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
    """An empty file `partial` beside `path`, to be renamed to it, under a name that nobody can foresee."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = Path(temporary.new_file(str(path.parent), path.name))

    def close(self) -> None:
        """Remove the file, unless it has its name; a folder that takes no file may refuse this, too."""
        temporary.remove(str(self.partial))


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


def is_outside(name: str, file: str) -> bool:
    """Whether a name, which `file` gives, leads out of the current folder and of the folder of that file."""
    target = os.path.realpath(name)
    folders = (os.path.realpath("."), os.path.dirname(os.path.realpath(file)))
    return not any(folder != os.sep and target.startswith(folder + os.sep) for folder in folders)


def is_file_name(text: str) -> bool:
    """Whether a line of a list looks like the name of a data file, so that a message may quote it.

    A net by a stranger may name any file as its list; what is in that one is shown to nobody.
    """
    return re.fullmatch(r".*\.\w{1,5}", text, re.DOTALL) is not None


def reason(error: OSError | ValueError) -> str:
    """The system's reason for a failure, as the end of a sentence."""
    return (getattr(error, "strerror", "") or str(error)).lower()
