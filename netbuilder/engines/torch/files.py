"""Files that layers name. Relative names are looked up as `prototxt.data_shapes` does.

First comes the current directory, as in Caffe, then the folder of the prototxt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.operator import Operator

__all__ = ["find"]


def find(name: str, layer: Operator, what: str) -> Path:
    """The file or folder of this name. Raises EngineError if there is none."""
    for path in (Path(name), layer.folder / name):
        if name and "\0" not in name and path.exists():
            return path
    raise EngineError(
        f"{layer.proto.type} '{layer.name}': {what}, '{name}', does not exist",
        hint="relative names start at the current directory or at the folder of the prototxt",
    )
