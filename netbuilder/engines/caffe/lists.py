"""Lists of images, windows and HDF5 files, with the names in them as a Caffe inside a root sees them.

From inside a root, an absolute name leads into the root, and so does a link to one. So a list that has such
names is sent to the worker as a copy, with names relative to the current directory, which stays reachable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

__all__ = ["FOLDER", "SeenLists"]

# Stands for the folder of the copies, which the worker chooses.
FOLDER = "@netbuilder-folder@"


class SeenLists:
    """The copies of lists that a job needs: `files` has their texts by name; `seen` maps a name."""

    def __init__(self, seen: Callable[[str], str]) -> None:
        self.files: dict[str, str] = {}
        self._seen = seen
        self._folders: dict[str, str] = {}

    def copy(self, message: str, source: str, root_folder: str) -> str:
        """The place of a copy of a data layer's list, whose names have `root_folder` in them.

        `message` is the field that holds the layer's options. "" if no copy is needed: the names in the list
        are seen as they are.
        """
        named = _NAMED.get(message)
        if named is None or not os.path.isfile(source):
            return ""
        with open(source, "rb") as file:
            text = file.read().decode(errors="surrogateescape")
        changed = False

        def mapped(m: re.Match[str]) -> str:
            nonlocal changed
            name = root_folder + m[1]
            seen = self._name(name)
            changed = changed or seen != name
            return m[0][: m.start(1) - m.start()] + seen + m[0][m.end(1) - m.start() :]

        copy = named.sub(mapped, text)
        if not changed:
            return ""
        place = f"{FOLDER}/list{len(self.files)}.txt"
        self.files[place] = copy
        return place

    def _name(self, name: str) -> str:
        """A name as it is, if it leads to its file without an absolute name on the way, else a mapped one."""
        folder, base = os.path.split(name)
        if folder not in self._folders:
            plain = not os.path.isabs(folder) and os.path.realpath(folder) == os.path.normpath(
                os.path.join(os.path.realpath("."), folder)
            )
            self._folders[folder] = folder if plain else self._seen(folder)
        return self._seen(name) if os.path.islink(name) else os.path.join(self._folders[folder], base)


# The names in a list, as the layers read them. Sources: DataLayerSetUp of the three layers.
_NAMED = {
    "image_data_param": re.compile(r"^(.*) [^\n ]*$", re.MULTILINE),
    "hdf5_data_param": re.compile(r"(\S+)"),
    "window_data_param": re.compile(r"^\s*#\s*\d+\s+(\S+)", re.MULTILINE),
}
