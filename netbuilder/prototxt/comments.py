"""The comments above layers in files that netbuilder wrote: each names the block that begins there."""

from __future__ import annotations

from collections.abc import Iterable

from netbuilder.storage.files import MARK

__all__ = ["above_layers"]


def above_layers(text: str, lines: Iterable[int]) -> dict[int, str]:
    """The comments that end just before one of `lines` (counted from 1), by that line.

    Empty for a file that netbuilder did not write, whose comments may mean anything. The header, which begins
    on line 1, is not the comment of a layer.
    """
    if not text.startswith(MARK):
        return {}
    rows = text.split("\n")
    found = {}
    for line in dict.fromkeys(lines):  # several layers may stand on one
        first = line - 1
        while first > 0 and rows[first - 1].startswith("#"):
            first -= 1
        if 0 < first < line - 1:
            found[line] = "\n".join(row[1:].strip() for row in rows[first : line - 1])
    return found
