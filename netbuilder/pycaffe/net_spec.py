"""`NetSpec`: a net written in Python, as a NetParameter. `layers` makes its layers, `params` has the enums.

    >>> from netbuilder.pycaffe.net_spec import NetSpec, layers as L, params as P
    >>> n = NetSpec()
    >>> n.data = L.Input(shape={"dim": [1, 3, 8, 8]})
    >>> n.pool = L.Pooling(n.data, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    >>> [layer.name for layer in n.to_proto().layer]
    ['data', 'pool']

`to_proto` builds the net of ours, too, so that shapes which do not fit are an error at the script's own line.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from netbuilder.errors import NetBuilderError, ShapeError
from netbuilder.graph import Origin
from netbuilder.net import Layer
from netbuilder.pycaffe.proto import caffe_pb2
from netbuilder.schema import LayerParameter, NetParameter

if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "Function",
    "Layers",
    "NetSpec",
    "Parameters",
    "Top",
    "assign_proto",
    "layers",
    "params",
    "to_proto",
]

Made = OrderedDict["Function", LayerParameter]
Names = dict[object, str]


class Top:
    """A top of a layer: number `n` of `fn`."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn, self.n = fn, n

    def to_proto(self) -> NetParameter:
        """The net of all layers that it needs, with automatic names."""
        return to_proto(self)

    def _to_proto(self, made: Made, names: Names, numbers: Counter[str]) -> None:
        self.fn._to_proto(made, names, numbers)


class Function:
    """A layer: its type, the tops that it reads, and its fields.

    `ntop` says how many tops it has, `in_place` that they are written over the bottoms.
    """

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: dict[str, Any]) -> None:
        for number, given in enumerate(inputs):
            if not isinstance(given, Top):
                raise TypeError(f"{type_name} input {number} is not a Top (type is {type(given)})")
        self.type_name, self.inputs, self.params = type_name, inputs, dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))
        self.origin = _place()

    def to_proto(self) -> NetParameter:
        """The net of all layers that it needs, with automatic names."""
        return to_proto(self)

    def _name(self, names: Names, numbers: Counter[str]) -> str:
        if self not in names:
            names[self] = self._top_name(self.tops[0], names, numbers) if self.tops else self._next(numbers)
        return names[self]

    def _top_name(self, top: Top, names: Names, numbers: Counter[str]) -> str:
        if top not in names:
            names[top] = self._next(numbers)
        return names[top]

    def _next(self, numbers: Counter[str]) -> str:
        numbers[self.type_name] += 1
        return f"{self.type_name}{numbers[self.type_name]}"

    def _to_proto(self, made: Made, names: Names, numbers: Counter[str]) -> None:
        waiting: list[Function] = [self]  # no recursion: nets may be a thousand layers deep
        while waiting:
            function = waiting[-1]
            missing = [top.fn for top in function.inputs if top.fn not in made]
            if function in made:
                waiting.pop()
            elif missing:
                waiting.append(missing[0])
            else:
                made[function] = function._message(made, names, numbers)

    def _message(self, made: Made, names: Names, numbers: Counter[str]) -> LayerParameter:
        layer = LayerParameter(type=self.type_name)
        layer.bottom.extend(made[top.fn].top[top.n] for top in self.inputs)
        if self.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._top_name(top, names, numbers) for top in self.tops)
        layer.name = self._name(names, numbers)
        own = _own_messages().get(self.type_name)
        for name, value in self.params.items():
            where: Any = layer
            if own is not None and not name.endswith("param") and name in own[1]:
                where = getattr(layer, own[0])
            assign_proto(where, name, value)
        return layer


class NetSpec:
    """A net whose tops are its attributes: a layer is named after its first top."""

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        return self.tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def to_proto(self) -> NetParameter:
        """The NetParameter. Raises ShapeError, with the script's line, for shapes that Caffe refuses."""
        names: Names = {top: name for name, top in self.tops.items()}
        return _net(self.tops.values(), names)


class Layers:
    """Makes layers: `layers.Convolution(bottom, num_output=8, kernel_size=3)` gives the top, or all tops."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer(*inputs: Any, **fields: Any) -> Any:
            made = Function(name, inputs, fields)
            return made if made.ntop == 0 else made.tops[0] if made.ntop == 1 else made.tops

        return layer


class Parameters:
    """The enums of layers: `params.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(caffe_pb2, f"{name}Parameter")


layers = Layers()
params = Parameters()


def to_proto(*tops: Any) -> NetParameter:
    """The net of all layers that these tops need, with automatic names."""
    return _net(tops, {})


def _net(tops: Any, names: Names) -> NetParameter:
    made: Made = OrderedDict()
    numbers: Counter[str] = Counter()
    for top in tops:
        top._to_proto(made, names, numbers)
    net = NetParameter()
    net.layer.extend(made.values())
    _check(net, {layer.name: function.origin for function, layer in made.items()})
    return net


def assign_proto(proto: Any, name: str, value: Any) -> None:
    """Set a field: a dict sets those of a message, a list those that repeat, as does a single value."""
    field = getattr(proto, name)
    if hasattr(field, "extend"):
        values = value if isinstance(value, list) else [value]
        if values and isinstance(values[0], dict):
            for item in values:
                _assign_all(field.add(), item)
        else:
            field.extend(values)
    elif isinstance(value, dict):
        _assign_all(field, value)
    else:
        setattr(proto, name, value)


def _assign_all(proto: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        assign_proto(proto, name, value)


@cache
def _own_messages() -> dict[str, tuple[str, frozenset[str]]]:
    """The field of a layer type's own message, and the fields in it: those of `ReLU` are in `relu_param`."""
    found = {}
    for field in LayerParameter.DESCRIPTOR.fields:
        if field.name.endswith("_param") and field.message_type is not None:
            type_name = field.message_type.name.removesuffix("Parameter")
            found[type_name] = field.name, frozenset(field.message_type.fields_by_name)
    return found


# -- the check of the shapes -------------------------------------------------------------------------------


def _place() -> Origin:
    """The line of the script that makes a layer."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno, ()) if frame is not None else Origin("", 0, ())


def _check(net: NetParameter, origins: Mapping[str, Origin]) -> None:
    """Raise the first ShapeError of the net that Caffe would build of it, in each phase that it has."""
    from netbuilder.prototxt import parse
    from netbuilder.prototxt.text_write import format_fields

    text = format_fields(net)
    ruled = any(layer.include or layer.exclude for layer in net.layer)
    for phase in ("TRAIN", "TEST") if ruled else ("TEST",):
        refused: list[tuple[Layer, NetBuilderError]] = []
        try:
            parse(text, phase, dialect="any", refused=refused)
        except NetBuilderError:
            continue  # of no shape: whatever reads the net reports it
        for layer, error in refused:
            shapes = [blob.shape for blob in layer.bottoms]
            if isinstance(error, ShapeError) and shapes and all(shapes):
                error.where = str(origins.get(layer.name, error.where))
                raise error
