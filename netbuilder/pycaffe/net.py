"""`Net`: pycaffe's net. Its passes are in `running.py`, how it is made of a file in `building.py`."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from netbuilder import prototxt
from netbuilder.engines.torch.snapshots import save_model
from netbuilder.errors import EngineError, shape_text
from netbuilder.graph import PHASES
from netbuilder.pycaffe.blob import Blob, BlobVec, IntVec, StringVec, Vector
from netbuilder.pycaffe.building import Graph, build
from netbuilder.pycaffe.entries import Python, Rows
from netbuilder.pycaffe.layer import Layer
from netbuilder.pycaffe.memory import Array, Memory
from netbuilder.pycaffe.running import Runner

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.net import Net as BuiltNet

__all__ = ["LayerVec", "Net", "check_file"]

Named = dict[str, Array]


class LayerVec(Vector[Layer]):
    """The layers of a net."""


class Net:
    """A net of a prototxt file in a phase, TRAIN or TEST, with parameters from its fillers or from `weights`.

    `Net(file, weights, phase)` is the older form. Layers and blobs are those of Caffe, with the Splits that
    it inserts. Raises RuntimeError if a file cannot be opened, and NetBuilderError for a net that Caffe
    refuses or PyTorch does not compute.
    """

    def __init__(self, network_file: Any, *args: Any, **named: Any) -> None:
        phase, level, stages, weights = _arguments(args, named)
        path = os.fspath(network_file)
        for file in (path, *([weights] if weights is not None else [])):
            check_file(file)
        net = prototxt.read(path, PHASES[phase], level=level, stages=stages, dialect="any")
        self._make(build(net))
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def of(cls, net: BuiltNet) -> Net:
        """A net of one that is built or read already."""
        made = cls.__new__(cls)
        made._make(build(net))
        return made

    def _make(self, graph: Graph) -> None:
        self._graph = graph
        self._runner = Runner(graph)
        layers: list[Any] = [
            entry.operator.instance if isinstance(entry, Python) else Layer.of(entry.type, entry.blobs)
            for entry in graph.entries
        ]
        self._layers = LayerVec(layers)
        self._by_name = OrderedDict(zip(graph.names, graph.blobs, strict=True))

    # -- what it consists of -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The net's name in the prototxt."""
        return self._graph.net.name

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """The blobs by name, in the order in which they are made."""
        return self._by_name

    @property
    def params(self) -> OrderedDict[str, BlobVec]:
        """The parameter blobs of each layer that has any, by layer name."""
        found = zip(self._layer_names, self._layers, strict=True)
        return OrderedDict((name, layer.blobs) for name, layer in found if len(layer.blobs))

    @property
    def layers(self) -> LayerVec:
        """The layers in the order in which they run."""
        return self._layers

    @property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """The layers by name."""
        return OrderedDict(zip(self._layer_names, self._layers, strict=True))

    @property
    def inputs(self) -> list[str]:
        """The names of the blobs that the program fills: the tops of Input layers."""
        return [self._graph.names[i] for i in self._graph.inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer reads, sorted."""
        return [self._graph.names[i] for i in self._graph.outputs]

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The weight of each blob in the loss."""
        return OrderedDict(zip(self._graph.names, self._graph.weights, strict=True))

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """The names of the bottoms of each layer."""
        return self._names_of(self._graph.bottom_ids)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """The names of the tops of each layer."""
        return self._names_of(self._graph.top_ids)

    def _names_of(self, ids: Iterable[Sequence[int]]) -> OrderedDict[str, list[str]]:
        names = self._graph.names
        return OrderedDict(
            (layer, [names[i] for i in own]) for layer, own in zip(self._layer_names, ids, strict=True)
        )

    # What pycaffe's own Python reads of the compiled net; scripts do, too.

    @property
    def _layer_names(self) -> StringVec:
        return StringVec(entry.name for entry in self._graph.entries)

    @property
    def _blob_names(self) -> StringVec:
        return StringVec(self._graph.names)

    @property
    def _blobs(self) -> BlobVec:
        return BlobVec(self._graph.blobs)

    @property
    def _inputs(self) -> IntVec:
        return IntVec(self._graph.inputs)

    @property
    def _outputs(self) -> IntVec:
        return IntVec(self._graph.outputs)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self._graph.weights)

    def _bottom_ids(self, layer: int) -> IntVec:
        return IntVec(self._graph.bottom_ids[layer])

    def _top_ids(self, layer: int) -> IntVec:
        return IntVec(self._graph.top_ids[layer])

    # -- passes --------------------------------------------------------------------------------------------

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> Named:
        """Run the layers from `start` to `end`, by name and both included; by default all.

        `kwargs` are the values of all inputs by name. Returns the outputs of the net, or the tops of `end`,
        and the `blobs` that are asked for.
        """
        first, last = self._range(start, end)
        wanted = self.outputs if end is None else self.top_names[end]
        self._fill(kwargs, self.inputs, "data", "Input blob arguments do not match net inputs.", "Input")
        self._runner.forward(first, last)
        return {name: self.blobs[name].data for name in dict.fromkeys([*wanted, *(blobs or ())])}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> Named:
        """Run the backward pass of the layers from `start` back to `end`, by name and both included.

        `kwargs` are the diffs of all outputs by name; the loss has its own. Returns the diffs of the inputs,
        or of the bottoms of `end`, and the `diffs` that are asked for.
        """
        last, first = self._range(end, start)
        wanted = self.inputs if end is None else self.bottom_names[end]
        self._fill(kwargs, self.outputs, "diff", "Top diff arguments do not match net outputs.", "Diff")
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in dict.fromkeys([*wanted, *(diffs or ())])}

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        names = list(self._layer_names)
        return 0 if start is None else names.index(start), len(names) - 1 if end is None else names.index(end)

    def _fill(
        self, given: dict[str, Any], expected: list[str], where: str, otherwise: str, what: str
    ) -> None:
        if not given:
            return
        if set(given) != set(expected):
            raise Exception(otherwise)
        for name, values in given.items():
            array = getattr(self.blobs[name], where)
            if values.shape[0] != self.blobs[name].shape[0]:
                raise Exception(f"{what} is not batch sized")
            array[...] = values

    def _forward(self, start: int, end: int) -> float:
        self._runner.forward(start, end)
        return sum(entry.loss() for entry in self._graph.entries[start : end + 1])

    def _backward(self, start: int, end: int) -> None:
        self._runner.backward(start, end)

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: Any) -> Named:
        """Run `forward` over lists of any length, in batches of the net's size.

        The last batch is filled up with zeros, whose results are left out.
        """
        found: dict[str, list[Array]] = {name: [] for name in {*self.outputs, *(blobs or ())}}
        for batch in self._batches(kwargs):
            for name, values in self.forward(blobs, None, None, **batch).items():
                found[name].extend(values.copy())
        return _without_padding(found, kwargs)

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **kwargs: Any
    ) -> tuple[Named, Named]:
        """Run `forward` and `backward` over lists of any length, in batches of the net's size.

        `kwargs` are the values of inputs and the diffs of outputs by name.
        """
        data: dict[str, list[Array]] = {name: [] for name in {*self.outputs, *(blobs or ())}}
        found: dict[str, list[Array]] = {name: [] for name in {*self.inputs, *(diffs or ())}}
        forward = self._batches({name: kwargs[name] for name in self.inputs if name in kwargs})
        backward = self._batches({name: kwargs[name] for name in self.outputs if name in kwargs})
        nothing: dict[str, Array] = {}
        for inputs, tops in zip_longest(forward, backward, fillvalue=nothing):
            for name, values in self.forward(blobs, None, None, **inputs).items():
                data[name].extend(values.copy())
            for name, values in self.backward(diffs, None, None, **tops).items():
                found[name].extend(values.copy())
        return _without_padding(data, kwargs), _without_padding(found, kwargs)

    def _batches(self, given: dict[str, Any]) -> Iterator[dict[str, Array]]:
        """The lists, cut to the batch size of the net."""
        if not given:
            return
        length = len(next(iter(given.values())))
        size = next(iter(self.blobs.values())).num
        for at in range(0, length, size):
            batch = {}
            for name, values in given.items():
                part = np.asarray(values[at : at + size])
                missing = size - len(part)
                batch[name] = (
                    np.concatenate([part, np.zeros((missing, *part.shape[1:]))]) if missing else part
                )
            yield batch

    def reshape(self) -> None:
        """Give all blobs the shapes that follow from those of the inputs."""
        self._runner.finish()
        self._runner.reshape()

    def before_forward(self, function: Callable[[int], object]) -> None:
        """Call a function with the number of each layer before its forward pass."""
        self._runner.hooks["before_forward"].append(function)

    def after_forward(self, function: Callable[[int], object]) -> None:
        """Call a function with the number of each layer after its forward pass."""
        self._runner.hooks["after_forward"].append(function)

    def before_backward(self, function: Callable[[int], object]) -> None:
        """Call a function with the number of each layer before its backward pass."""
        self._runner.hooks["before_backward"].append(function)

    def after_backward(self, function: Callable[[int], object]) -> None:
        """Call a function with the number of each layer after its backward pass."""
        self._runner.hooks["after_backward"].append(function)

    def set_input_arrays(self, data: Any, labels: Any) -> None:
        """Give MemoryData, the first layer, its rows, of four axes, and a label for each of them."""
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        entry = self._graph.entries[0]
        if not isinstance(entry, Rows):
            raise RuntimeError("set_input_arrays may only be called if the first layer is a MemoryDataLayer")
        shape = entry.tops[0].axes
        for what, array, axes in (("data", data, shape[1:]), ("labels", labels, (1, 1, 1))):
            if not (isinstance(array, np.ndarray) and array.flags.c_contiguous):
                raise RuntimeError(f"{what} must be C contiguous")
            if array.ndim != 4:
                raise RuntimeError(f"{what} must be 4-d")
            if array.dtype != np.float32:
                raise RuntimeError(f"{what} must be float32")
            for number, (size, wanted) in enumerate(zip(array.shape[1:], axes, strict=True)):
                if size != wanted:
                    axis = ("channels", "height", "width")[number]
                    raise RuntimeError(f"{what} has wrong {axis}: {size}, and the layer takes {wanted}")
        if len(data) != len(labels):
            raise RuntimeError("data and labels must have the same first dimension")
        if len(data) % shape[0]:
            raise RuntimeError("first dimensions of input arrays must be a multiple of batch size")
        entry.give(data, labels)

    _set_input_arrays = set_input_arrays

    # -- parameters ----------------------------------------------------------------------------------------

    def copy_from(self, path: Any) -> None:
        """Copy the parameters of a model (binary or HDF5) into the layers of the same name.

        Raises RuntimeError if it cannot be opened, EngineError if the shapes differ.
        """
        check_file(path)
        self._runner.change()
        self._graph.module.load_caffemodel(os.fspath(path))

    def load_hdf5(self, path: Any) -> None:
        """As `copy_from`, of a model in HDF5."""
        self.copy_from(path)

    def save(self, path: Any, write_diff: bool = False) -> None:
        """Write the parameters as a .caffemodel. Diffs are not written: raises EngineError if asked for."""
        if write_diff:
            raise EngineError("netbuilder.pycaffe saves no diffs")
        self._runner.change()
        save_model(self._graph.module, os.fspath(path), force=True)

    def save_hdf5(self, path: Any, write_diff: bool = False) -> None:
        """Write the parameters as an HDF5 model. Diffs are not written: raises EngineError if asked for."""
        if write_diff:
            raise EngineError("netbuilder.pycaffe saves no diffs")
        self._runner.change()
        save_model(self._graph.module, os.fspath(path), hdf5=True)

    def share_with(self, other: Net) -> None:
        """Use the parameters of the other net's layers of the same name, as one's own from now on.

        Raises EngineError if the shapes differ.
        """
        own = {entry.name: entry for entry in reversed(self._graph.entries)}
        self._runner.change()
        for source in other._graph.entries:
            target = own.get(source.name)
            if target is None or not len(source.blobs):
                continue
            theirs, ours = ([blob.axes for blob in entry.blobs] for entry in (source, target))
            if theirs != ours:
                shapes = (" ".join(map(shape_text, each)) or "none" for each in (ours, theirs))
                raise EngineError(
                    "layer '{}' has other parameters: {}, and {} in the other net".format(
                        source.name, *shapes
                    )
                )
            target.operator.use(source.operator)
            for blob, shared in zip(target.blobs, source.blobs, strict=True):
                blob.data_memory = shared.data_memory
        self._runner.use_params()

    # -- what a solver needs -------------------------------------------------------------------------------

    @property
    def module(self) -> NetModule:
        """The engine's net, with the same parameters."""
        return self._graph.module

    def forward_backward(self) -> float:
        """A forward and a backward pass, and the loss."""
        last = len(self._graph.entries) - 1
        loss = self._forward(0, last)
        self._backward(last, 0)
        return loss

    def change_params(self) -> None:
        """Get ready for the parameters to change."""
        self._runner.change()

    def param_diffs(self) -> dict[int, Memory]:
        """The diffs of the parameters by the id of their tensors."""
        return self._graph.diffs

    def output_blobs(self) -> dict[str, Blob]:
        """The outputs by name."""
        return {name: self.blobs[name] for name in self.outputs}

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        for entry in self._graph.entries:
            for blob in entry.blobs:
                blob.diff_memory.fill(0.0, blob.axes)


def _arguments(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[int, int, tuple[str, ...], str | None]:
    """Phase, level, stages and weights of a call: (phase, level, stages, weights), or (weights, phase)."""
    if len(args) == 2 and isinstance(args[0], (str, bytes, os.PathLike)) and not named:
        weights, phase = args
        print("DEPRECATED WARNING - deprecated use of Python interface", file=sys.stderr)
        print('Use this instead (with the named "weights" parameter):', file=sys.stderr)
        print(f"Net('...', {phase}, weights='{os.fspath(weights)!s}')", file=sys.stderr)
        args, named = (phase,), {"weights": weights}
    names = ("phase", "level", "stages", "weights")
    if len(args) > len(names) or set(named) - set(names[len(args) :]):
        raise TypeError(f"Net takes network_file, {', '.join(names)}; got {args!r} {named!r}")
    values = {**dict(zip(names, args, strict=False)), **named}
    phase, level = values.get("phase"), values.get("level", 0)
    stages, weights = values.get("stages"), values.get("weights")
    if isinstance(phase, bool) or not isinstance(phase, int) or phase not in (0, 1):
        raise TypeError(f"phase must be TRAIN or TEST, got {phase!r}")
    if not isinstance(level, int):
        raise TypeError(f"level must be a number, got {level!r}")
    if stages is not None and (
        isinstance(stages, str) or not all(isinstance(stage, str) for stage in stages)
    ):
        raise TypeError(f"stages must be a list of strings, got {stages!r}")
    return phase, level, tuple(stages or ()), None if weights is None else os.fspath(weights)


def check_file(path: Any) -> None:
    """Raise RuntimeError unless a file can be opened."""
    try:
        with open(path, "rb"):
            pass
    except OSError:
        raise RuntimeError(f"Could not open file {os.fspath(path)}") from None


def _without_padding(found: dict[str, list[Array]], given: dict[str, Any]) -> Named:
    length = len(next(iter(given.values()))) if given else None
    return {name: np.asarray(values[:length]) for name, values in found.items()}
