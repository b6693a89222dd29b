"""The ONNX graph of a net: each layer's form in turn, with the blobs and layers under their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from netbuilder.errors import ConfigError, NetBuilderError, did_you_mean
from netbuilder.export.onnx.forms import FORMS
from netbuilder.export.onnx.graph import FLOAT16, FLOAT32, At, Graph, Value
from netbuilder.layers import RULES, Shape, is_source, of_layer
from netbuilder.measure.counts import batch_size
from netbuilder.net import Blob, Layer, Net
from netbuilder.transforms.fed import fed
from netbuilder.transforms.rebatch import rebatched

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["VARIES", "Built", "built", "check", "complete", "variants"]

VARIES = ("batch", "size")  # what may be left open


@dataclass
class Built:
    """A graph with its inputs and outputs, and the blobs between.

    `computed` has the blob of the net for each output: a layer in place over an input gives another name.
    """

    graph: Graph
    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    blobs: tuple[Value, ...]
    computed: dict[str, str]

    def dims(self, value: Value) -> list[int | str | None]:
        """The shape of a blob: a number, a letter for what the caller chooses, or None for what follows."""
        letters: dict[tuple[int, ...], str] = {}
        for source in self.inputs:
            for axis in source.free:
                letters.setdefault(source.sizes(axis), "NCHW"[axis])
        return [
            n if axis not in value.free else None if axis in value.loose else letters.get(value.sizes(axis))
            for axis, n in enumerate(value.shape)
        ]


def variants(net: Net, dynamic: Collection[str]) -> tuple[Net, ...]:
    """The net, and for what may vary the net with another one. Raises ConfigError where it fixes that."""
    nets = [net]
    inputs = {top.name: top.known_shape for layer in net if is_source(layer.proto) for top in layer.tops}
    for what in VARIES:
        if what not in dynamic:
            continue
        try:
            if what == "batch":
                others = [rebatched(net, batch_size(net) + 1)]
            else:  # height and width in turn, so that no size follows from both alike
                others = [
                    fed(net, {name: _larger(shape, axis) for name, shape in inputs.items()})
                    for axis in (2, 3)
                ]
        except NetBuilderError as error:
            raise ConfigError(
                f"the {_NAMES[what]} cannot be left open: {error.text}", key="dynamic", path=error.where
            ) from None
        for other in others:
            _check_weights(net, other, what)
        nets += others
    for what in set(dynamic) - set(VARIES):
        raise ConfigError(f"dynamic takes batch and size, got '{what}'", hint=did_you_mean(what, VARIES))
    return tuple(nets)


_NAMES = {"batch": "batch", "size": "image size"}


def _larger(shape: Shape, axis: int) -> Shape:
    """An image of twice the height or width, so that it is still a multiple of what the net halves it by."""
    return tuple(n * (1 + (i == axis)) for i, n in enumerate(shape)) if len(shape) == 4 else shape


def _check_weights(net: Net, other: Net, what: str) -> None:
    params = {layer.name: [p.shape for p in layer.params] for layer in other if layer.params}
    for layer in net:
        if layer.params and params[layer.name] != [p.shape for p in layer.params]:
            raise ConfigError(
                f"the {_NAMES[what]} cannot be left open: the weights of {layer.type} '{layer.name}' fit "
                "only this one", key="dynamic", path=str(layer.origin),
            )  # fmt: skip


def built(
    net: Net,
    arrays: Mapping[str, Sequence[Array]],
    *,
    opset: int = 17,
    dynamic: Collection[str] = (),
    float16: bool = False,
) -> Built:
    """The ONNX graph of a TEST net; `arrays` has the parameter blobs by layer name.

    Raises ConfigError for a net of the phase TRAIN, for a layer that has no ONNX form, and for one without
    its arrays; EngineError without NumPy.
    """
    return _Builder(net, arrays, opset, dynamic, FLOAT16 if float16 else FLOAT32).run()


class _Builder:
    def __init__(
        self,
        net: Net,
        arrays: Mapping[str, Sequence[Array]],
        opset: int,
        dynamic: Collection[str],
        kind: str,
    ) -> None:
        check(net)
        self.net, self.kind = net, kind
        self.nets = variants(net, dynamic)
        self.shapes = _shapes(self.nets)
        self.arrays = complete(net, arrays)
        self.graph = Graph(opset)
        self.values: dict[Blob, Value] = {}
        self.last = {top.name: top for layer in net for top in layer.tops}
        self.outputs = [blob for blob in net.outputs if not is_source(blob.layer.proto)]
        self.graph.names.update(self.last)
        self.given = {top.name for layer in net if layer.type == "Input" for top in layer.tops}
        self.names: dict[Blob, str] = {}  # of the outputs
        self.owners: dict[str, str] = {}  # of shared parameters: the array by the parameter's name

    def run(self) -> Built:
        inputs = []
        for layer in self.net:
            if layer.type == "Input":
                for top in layer.tops:
                    self.values[top] = Value(top.name, self.shapes[top])
                    inputs.append(self.values[top])
            else:
                self._add(layer)
        if not self.outputs:
            raise ConfigError(f"{self.net.name or 'the net'} computes nothing: it has no outputs")
        outputs = [replace(self.values[blob], name=self.names[blob]) for blob in self.outputs]
        named = {value.name for value in (*inputs, *outputs)}
        blobs = [value for value in self.values.values() if value.name not in named]
        return Built(
            self.graph, self.net.name or "net", tuple(inputs), tuple(outputs), tuple(blobs),
            {self.names[blob]: blob.name for blob in self.outputs},
        )  # fmt: skip

    def _add(self, layer: Layer) -> None:
        form = FORMS[layer.type]
        given = [self.values[bottom] for bottom in layer.bottoms]
        kind = FLOAT32 if form.precise else self.kind
        if form.copies and given:
            kind = FLOAT32 if any(value.kind == FLOAT32 for value in given) else FLOAT16
        bottoms = tuple(replace(value, name=self.graph.cast(value, kind), kind=kind) for value in given)
        tops = tuple(Value("", self.shapes[top], kind) for top in layer.tops)
        at = At(self.graph, layer, bottoms, tops, self.arrays.get(layer.name, ()), kind)
        at.shared = self._shared(layer, kind)
        made = form.build(at)
        # A loss has a top that the file may omit.
        names = ([made] if isinstance(made, str) else list(made))[: len(layer.tops)]
        self._own(layer, at)
        renamed: dict[str, str] = {}
        own = {name for node in self.graph.nodes[at.first :] for name in node.outputs}
        for top, name in zip(layer.tops, names, strict=True):
            wanted = self._name(top, kind)
            if name in own and name not in renamed:
                renamed[name] = wanted
            else:  # a bottom, a constant, or one blob under two names
                self.graph.add("Identity", [renamed.get(name, name)], [wanted], f"{layer.name}/{wanted}")
            value = Value(wanted, self.shapes[top], kind, at.loose & set(range(len(self.shapes[top][0]))))
            self.values[top] = value
        self._rename(layer, at.first, renamed)
        for top in layer.tops:
            if top in self.outputs and kind != FLOAT32:
                value = self.values[top]
                self.graph.add("Cast", [value.name], [self.names[top]], f"{value.name}/Cast", to=FLOAT32)

    def _name(self, top: Blob, kind: str) -> str:
        """The blob's name for its last version, unless an input has it; else with the layer's behind it."""
        name = top.name
        if self.last[name] is not top or name in self.given:
            name = self.graph.fresh(f"{name}/{top.layer.name}")
        if top in self.outputs:
            self.names[top] = name
            if kind != FLOAT32:
                return self.graph.fresh(f"{name}/{kind}")
        return name

    def _rename(self, layer: Layer, first: int, renamed: Mapping[str, str]) -> None:
        """Give the tops their names, and the node that makes the first top the layer's."""
        for node in self.graph.nodes[first:]:
            node.inputs = [renamed.get(name, name) for name in node.inputs]
            node.outputs = [renamed.get(name, name) for name in node.outputs]
        if not layer.tops:
            return
        wanted = self.values[layer.tops[0]].name
        for node in self.graph.nodes[first:]:
            if wanted in node.outputs:
                node.name = layer.name

    # -- shared parameters

    def _shared(self, layer: Layer, kind: str) -> dict[int, str]:
        """The arrays in the graph that other layers own, for parameters that it shares in their shape."""
        found = {}
        for i, spec in enumerate(layer.proto.param):
            if spec.name and spec.name in self.owners and i < len(layer.params):
                array = self.graph.arrays[self.owners[spec.name]]
                if array.shape == layer.params[i].shape and array.dtype == kind:
                    found[i] = self.owners[spec.name]
        return found

    def _own(self, layer: Layer, at: At) -> None:
        for i, name in at.stored.items():
            if i < len(layer.proto.param) and layer.proto.param[i].name:
                self.owners.setdefault(layer.proto.param[i].name, name)


def check(net: Net) -> None:
    """Raise ConfigError unless all layers of a TEST net have an ONNX form."""
    if net.phase != "TEST":
        raise ConfigError(f"an ONNX model is made of a TEST net, got {net.phase}")
    seen: set[str] = set()
    for layer in net:
        if layer.name in seen:
            raise ConfigError(f"two layers are called '{layer.name}', and weights are stored by name")
        seen.add(layer.name)
        where = str(layer.origin)
        why = FORMS.refused.get(layer.type) or layer.unknown
        if why:
            raise ConfigError(f"{layer.type} '{layer.name}' has no ONNX form: {why}", path=where)
        trains = layer.proto.HasField("phase") and layer.proto.phase == 0
        if trains and (layer.type == "BN" or of_layer(RULES[layer.type].traits.draws, layer.proto, False)):
            raise ConfigError(
                f"{layer.type} '{layer.name}' has no ONNX form: it always runs in TRAIN",
                path=where, hint="leave out its field `phase`",
            )  # fmt: skip


def _shapes(nets: Sequence[Net]) -> dict[Blob, tuple[Shape, ...]]:
    """The shapes of each blob of the first net in all of them."""
    found: dict[Blob, tuple[Shape, ...]] = {}
    sources = [{t.name: t for layer in net if is_source(layer.proto) for t in layer.tops} for net in nets]
    others = [[layer for layer in net if not is_source(layer.proto)] for net in nets]
    for name, top in sources[0].items():
        found[top] = tuple(each[name].known_shape for each in sources)
    for layers in zip(*others, strict=True):
        for tops in zip(*(layer.tops for layer in layers), strict=True):
            found[tops[0]] = tuple(top.known_shape for top in tops)
    return found


def complete(net: Net, arrays: Mapping[str, Sequence[Array]]) -> dict[str, list[Array]]:
    """The arrays of each layer in the shapes of its parameters; of a shared one the last, as in Caffe.

    Raises ConfigError for a layer without arrays, or with those of another one.
    """
    import numpy as np

    shared = {
        spec.name: array
        for layer in net
        for spec, array in zip(layer.proto.param, arrays.get(layer.name, ()), strict=False)
        if spec.name
    }
    found: dict[str, list[Array]] = {}
    for layer in net:
        own: list[Array] = []
        stored = arrays.get(layer.name, ())
        for i, param in enumerate(layer.params):
            name = layer.proto.param[i].name if i < len(layer.proto.param) else ""
            array = shared.get(name, stored[i] if i < len(stored) else None)
            if array is None or array.size != param.size:
                what = "no weights" if array is None else "weights of another shape"
                raise ConfigError(
                    f"the model has {what} for {layer.type} '{layer.name}'", key="weights",
                    path=str(layer.origin), hint="give the model that was trained with this net",
                )  # fmt: skip
            own.append(np.asarray(array, np.float32).reshape(param.shape))
        if own:
            found[layer.name] = own
    return found
