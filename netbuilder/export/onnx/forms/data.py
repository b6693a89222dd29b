"""Sources and sinks of data."""

from __future__ import annotations

from netbuilder.export.onnx.graph import At, Form

__all__ = ["COVERED", "REFUSED"]


def given(at: At) -> list[str]:
    """The inputs of the graph."""
    return [top.name for top in at.tops]


def dummy_data(at: At) -> list[str]:
    """Blobs of one number."""
    import numpy as np

    fillers = list(at.p.data_filler)
    if any(filler.type != "constant" for filler in fillers):
        raise at.refuse(
            "its numbers are drawn for each pass", "`netbuilder deploy` puts an Input in its place"
        )
    values = [filler.value for filler in fillers] or [0.0]
    values *= len(at.tops) if len(values) == 1 else 1
    for top in at.tops:
        at.fixed(top, range(len(top.shape)), "the size of its blobs")
    tops = zip(at.tops, values, strict=True)
    return [at.numbers(np.full(top.shape, value, np.float32)) for top, value in tops]


def parameter(at: At) -> str:
    """A learnt blob."""
    return at.weight(0)


_DATA = "it reads data; `netbuilder deploy` puts an Input in its place"
COVERED: dict[str, Form] = {"Input": Form(given), "DummyData": Form(dummy_data), "Parameter": Form(parameter)}
REFUSED: dict[str, str] = {
    "MemoryData": _DATA,
    "WindowData": _DATA,
    "Data": _DATA,
    "ImageData": _DATA,
    "HDF5Data": _DATA,
    "HDF5Output": "it writes a file",
    "Python": "its class is written for pycaffe, and works on Caffe's blobs",
}
