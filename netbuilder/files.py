"""Files written whole or not at all, and never over somebody else's work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from netbuilder.errors import FileError

__all__ = ["MARK", "read_text", "write_files"]

# The first line of every file that netbuilder writes begins with this.
MARK = "# Made by netbuilder"


def read_text(path: str | Path) -> str:
    """The text of a file; raises FileError if it cannot be read or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"cannot read '{path}': {_reason(error)}") from None
    except UnicodeDecodeError as error:
        raise FileError(
            f"cannot read '{path}': it is not text (byte {error.start} is not UTF-8)",
            hint="a .caffemodel is binary: netbuilder count reads it, and so does prototxt.read_model",
        ) from None


def write_files(files: Mapping[Path, str], *, force: bool = False) -> None:
    """Write all of the files, or none of them; folders are made as needed.

    A file that is there already is replaced if netbuilder wrote it (its first line says so), or if `force`.
    Raises FileError before anything is changed.
    """
    for path in files:
        _check_free(path, force)
    for folder in {path.parent for path in files}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = "there is a file of that name" if folder.is_file() else _reason(error)
            raise FileError(
                f"cannot make the folder '{folder}': {what}", hint="choose another output folder"
            ) from None
    finished: list[tuple[Path, Path]] = []
    try:
        for path, text in files.items():
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            finished.append((partial, path))
            partial.write_text(text, encoding="utf-8", newline="\n")
        for partial, path in finished:
            partial.replace(path)
    except OSError as error:
        for partial, _ in finished:
            if partial.parent.is_dir():
                partial.unlink(missing_ok=True)
        raise FileError(
            f"cannot write '{path}': {_reason(error)}", hint="choose another output folder"
        ) from None


def _check_free(path: Path, force: bool) -> None:
    """Raise FileError if the path is a folder, or (unless forced) a file that netbuilder did not write."""
    try:
        with path.open("rb") as file:
            first = file.read(len(MARK))
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:
        raise FileError(
            f"cannot write '{path}': it is a folder", hint="choose another output folder"
        ) from None
    except OSError as error:
        raise FileError(f"cannot write '{path}': {_reason(error)}") from None
    if first != MARK.encode() and not force:
        raise FileError(
            f"'{path}' is in the way, and netbuilder did not write it",
            hint="choose another output folder, or give --force to replace it",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
