"""The files that the scripts find in their folder."""

from __future__ import annotations

__all__ = ["files"]


def files() -> dict[str, bytes]:
    """The files by name."""
    return {"README": b"made by tests/pycaffe/data.py\n"}
