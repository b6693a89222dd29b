"""Reading and writing of prototxt files, and the structure of binary models."""

from netbuilder.prototxt.binary import Model, ModelLayer, read_model
from netbuilder.prototxt.reader import parse, read
from netbuilder.prototxt.writer import dumps, write

__all__ = ["Model", "ModelLayer", "dumps", "parse", "read", "read_model", "write"]
