"""Reading and writing of prototxt files."""

from netbuilder.prototxt.reader import parse, read
from netbuilder.prototxt.writer import dumps, write

__all__ = ["dumps", "parse", "read", "write"]
