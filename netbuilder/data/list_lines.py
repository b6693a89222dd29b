"""Why a name in a list leads to no file, where its line shows it."""

from __future__ import annotations

import os
import re

__all__ = ["MARK", "why_missing"]

MARK = "\ufeff"  # a byte order mark, which some editors write at the beginning
_LABELS = re.compile(r"(.*?)(?: +[-+]?\d*\.?\d+)+")


def why_missing(name: str) -> str:
    """What to do about a line whose name leads to no file; "" if the line does not show it."""
    if MARK in name:
        return "the list begins with a byte order mark, which counts as a part of the name: save it without"
    if "\r" in name:
        return "the lines of the list end in CR alone: save it with LF"
    if not name.strip():
        return "a line is `path label`, with a space between them"
    labels = _LABELS.fullmatch(name)
    if labels and os.path.isfile(labels[1]):
        return (
            "the line has several labels, and one is read: `netbuilder data lmdb --labels DB` stores several"
        )
    if "\t" in name:
        return "separate path and label by a space, not by a tab"
    return ""
