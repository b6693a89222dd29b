"""A LevelDB that is read without being changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.storage import temporary

if TYPE_CHECKING:
    import tempfile

__all__ = ["linked"]

_WRITTEN = ("LOCK", "LOG", "LOG.old")  # when a database is opened


def linked(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder of links to the files of a LevelDB.

    Opening a LevelDB locks it and writes next to its files; opening these links writes here.
    """
    folder = temporary.scratch()
    for file in path.absolute().iterdir():
        if file.name not in _WRITTEN:
            os.symlink(file, os.path.join(folder.name, file.name))
    return folder
