"""Sources and sinks of data. A pass gives their tops by name; what it does not give is made or read here.

`torch.manual_seed` fixes crops, mirroring, the order of shuffled lists and what DummyData draws. A source
reads in order and goes on with the next pass; `.to(device)` moves what it returns. `Feed` reads ahead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netbuilder.engines.torch.feed.pictures import Place
from netbuilder.engines.torch.feed.rows import h5py
from netbuilder.engines.torch.feed.streams import Stream, stream_of
from netbuilder.engines.torch.fillers import draw
from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.errors import EngineError
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED", "Input", "Source"]


class Source(Operator):
    """A layer without bottoms; its tops go to the device of the module."""

    place: Tensor

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.register_buffer("place", torch.empty(0), persistent=False)

    def error(self, what: str, hint: str = "") -> EngineError:
        """An error that names the layer."""
        return EngineError(f"{self.proto.type} '{self.name}': {what}", hint=hint)


class Input(Source):
    """Blobs that the caller gives."""

    why = ""

    def forward(self) -> Tops:  # type: ignore[override]
        name = self.proto.top[0]
        raise EngineError(
            f"no value for '{name}' of {self.proto.type} '{self.name}'"
            + (f": {self.why}" if self.why else ""),
            hint=f"give it by name: m({name}=...)" if name.isidentifier() else "give it by name",
        )


class Window(Input):
    """Windows that the caller gives."""

    why = "the PyTorch engine does not draw windows, which Caffe chooses at random in both phases"


class DummyData(Source):
    """Blobs of fillers: constants are always the same, others are drawn for each pass."""

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.shapes = [top.known_shape for top in layer.tops]

    def forward(self) -> Tops:  # type: ignore[override]
        from netbuilder.schema import FillerParameter

        fillers = list(self.proto.dummy_data_param.data_filler) or [FillerParameter(type="constant")]
        fillers *= len(self.shapes) if len(fillers) == 1 else 1
        drawn = (draw(s, f, torch.default_generator) for s, f in zip(self.shapes, fillers, strict=True))
        return tuple(blob.to(self.place.device) for blob in drawn)


class Parameter(Operator):
    """A learnt blob as a top."""

    def forward(self) -> Tops:  # type: ignore[override]
        return self.blob(0)


class Reading(Source):
    """A layer that reads its tops from files, record after record, again from the first after the last.

    Everything random follows from a seed that PyTorch draws for the first pass.
    """

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.passes = 0
        self._seed: int | None = None
        self._stream: Stream | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay here; a copy goes on from the same record."""
        return {**super().__getstate__(), "_stream": None}

    def forward(self) -> Tops:  # type: ignore[override]
        if self._stream is None or self._stream.place.device != self.place.device:
            if self._seed is None:
                self._seed = int(torch.randint(1 << 62, ()))
            self._stream = stream_of(self, Place(device=self.place.device, seed=self._seed))
            assert self._stream is not None
        tops = self._stream.finish(self._stream.begin(self.passes))
        self.passes += 1
        return tuple(tops[name] for name in self.proto.top)


class HDF5Output(Operator):
    """Writes its bottoms as the datasets data and label, with four axes, at each pass anew."""

    precise = True

    def forward(self, data: Tensor, label: Tensor) -> Tops:  # type: ignore[override]
        name = self.proto.hdf5_output_param.file_name
        with h5py().File(name, "w") as file:
            for key, blob in (("data", data), ("label", label)):
                values = blob.detach().float().cpu()
                file[key] = values.reshape(tuple(values.shape) + (1,) * (4 - values.dim())).numpy()
        return ()


COVERED: dict[str, type[Operator]] = {
    "Input": Input,
    "MemoryData": Input,
    "WindowData": Window,
    "DummyData": DummyData,
    "Parameter": Parameter,
    "Data": Reading,
    "ImageData": Reading,
    "HDF5Data": Reading,
    "HDF5Output": HDF5Output,
}
REFUSED: dict[str, str] = {
    "Python": "it executes a module of yours: --trust or netbuilder.pycaffe runs it",
}
