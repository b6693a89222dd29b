"""The values a net consists of: `Layer`, `Blob`, `Param`, and `Origin`, the place where a layer was added.

`Net` creates them; `netbuilder.net` exports them too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from netbuilder.errors import FieldError, NameClash, NetBuilderError, ShapeError, shape_text
from netbuilder.layers import RULES, Facts, Rule, Shape, Unshaped, elements
from netbuilder.layers.common import check_number
from netbuilder.schema import LayerParameter

if TYPE_CHECKING:
    from netbuilder.net import Net

__all__ = [
    "PHASES",
    "Blob",
    "Kind",
    "Layer",
    "Origin",
    "Param",
    "Part",
    "Phase",
    "as_phase",
    "caller",
    "check_numbers",
    "check_split",
    "check_tops",
    "located",
    "one_of_each",
    "producer",
    "writes_over",
]

Phase = Literal["TRAIN", "TEST"]
# In the order of Caffe's enum: the index of a phase is its number in a file.
PHASES: tuple[Phase, Phase] = ("TRAIN", "TEST")

_OWN = ("netbuilder.", "legos.")
_RECIPES = "netbuilder.networks."  # in errors, the recipes count as the caller's code


class Origin(NamedTuple):
    """Where a layer comes from: the user's file and line, and the legos around it, outermost first.

    `column` counts from 1; 0 if it is not known.
    """

    file: str
    line: int
    scope: tuple[str, ...]
    column: int = 0

    def __str__(self) -> str:
        file = _relative(self.file, os.getcwd()) if os.path.isabs(self.file) else self.file
        return ", ".join(
            [f"{file}:{self.line}" if self.line else file, *(["/".join(self.scope)] if self.scope else [])]
        )


@lru_cache(maxsize=64)  # a file may have thousands of errors
def _relative(file: str, folder: str) -> str:
    """A path as seen from a folder, if it is inside it."""
    relative = os.path.relpath(file, folder)
    return file if relative.startswith("..") else relative


class Blob:
    """One version of a named array: `shape` is a tuple of ints, or None where it depends on unseen data.

    `layer` produced it; an in-place layer makes the next `version` and leaves this one stale.
    """

    __slots__ = ("_net", "layer", "name", "shape", "version")

    def __init__(self, net: Net, name: str, shape: Shape | None, layer: Layer, version: int) -> None:
        self._net = net
        self.name = name
        self.shape = shape
        self.layer = layer
        self.version = version

    def __repr__(self) -> str:
        shape = "unknown shape" if self.shape is None else shape_text(self.shape)
        return f"Blob({self.name!r} {shape} of {self.layer.name!r})"

    @property
    def in_loss(self) -> bool:
        """Whether the file gives this top a loss weight, which Caffe treats as one more reader."""
        proto = self.layer.proto
        weights = proto.loss_weight
        return bool(weights) and any(
            w and top == self.name for w, top in zip(weights, proto.top, strict=False)
        )

    @property
    def known_shape(self) -> Shape:
        """The shape, for code that needs it; raises ShapeError if it is unknown."""
        if self.shape is None:
            raise ShapeError(f"the shape of blob '{self.name}' is unknown", where=str(self.layer.origin))
        return self.shape


class Param(NamedTuple):
    """One parameter blob of a layer.

    `role` is "weight", "bias" or "statistic". `learnable`: the solver may change it. `fixed_filter`: the
    frozen weight of a filter that its filler makes (bilinear, or a constant other than 0), as in upsampling
    by a fixed kernel. `shared_with` names the layer that owns a shared parameter, unless it is this one.
    """

    shape: Shape
    role: str
    learnable: bool
    fixed_filter: bool = False
    shared_with: str | None = None

    @property
    def size(self) -> int:
        """The number of values it holds."""
        return elements(self.shape)


class Kind(NamedTuple):
    """What is known of all layers of one type and fields on bottoms of the same shapes.

    `params` is None where layers share parameters by name: each then has its own.
    """

    facts: Facts
    params: tuple[Param, ...] | None


class Layer:
    """A layer of a net; `proto` holds its fields; do not edit it.

    `macs` and `ops` are for the whole batch. `unknown` is empty, or says why they (or the shapes of the tops)
    are not known. `comment` is written above the layer in the prototxt. Layers of one `kind` (the object)
    differ in nothing but their names, their place and their blobs; None: nothing is known of others like it.
    """

    __slots__ = (
        "bottoms", "comment", "in_place", "kind", "macs", "name", "ops", "origin", "params", "proto", "tops",
        "type", "unknown",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: str,
        proto: LayerParameter,
        bottoms: tuple[Blob, ...],
        tops: tuple[Blob, ...],
        params: tuple[Param, ...],
        macs: int,
        ops: int,
        in_place: bool,
        unknown: str,
        origin: Origin,
        comment: str = "",
        kind: Kind | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.proto = proto
        self.bottoms = bottoms
        self.tops = tops
        self.params = params
        self.macs = macs
        self.ops = ops
        self.in_place = in_place
        self.unknown = unknown
        self.origin = origin
        self.comment = comment
        self.kind = kind

    def __repr__(self) -> str:
        blobs = (", ".join(b.name for b in blobs) or "-" for blobs in (self.bottoms, self.tops))
        return f"Layer({self.type} {self.name!r}: {' -> '.join(blobs)})"


class Part(Protocol):
    """A lego, as `Net.attach` takes it."""

    @property
    def name(self) -> str:
        """The base of its layers' names."""

    def build(self, net: Net, *bottoms: Blob) -> Blob | tuple[Blob, ...]:
        """Add the layers and return the top or tops."""


def as_phase(text: str) -> Phase:
    """The phase of this name; raises FieldError unless it is TRAIN or TEST."""
    for phase in PHASES:
        if text == phase:
            return phase
    raise FieldError(f"phase must be TRAIN or TEST, got {text!r}")


def caller(scope: tuple[str, ...]) -> Origin:
    """The nearest line outside netbuilder and legos: the user's own."""
    frame = sys._getframe(1)
    while frame.f_back and _is_own(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno, scope)


@cache
def _is_own(module: str) -> bool:
    return module.startswith(_OWN) and not module.startswith(_RECIPES)


def located(error: NetBuilderError, label: str, origin: Origin, bottoms: Sequence[object]) -> NetBuilderError:
    """The error of a rule or a check, with the layer, the caller's line and the bottoms."""
    error.text = f"{label}: {error.text}"
    error.args = (error.text,)
    error.where = str(origin)
    if isinstance(error, ShapeError):
        error.bottoms = "; ".join(producer(b) for b in bottoms)
    return error


def producer(blob: object) -> str:
    """A bottom as errors show it: its shape and the lego or layer that produced it."""
    if not isinstance(blob, Blob):
        return repr(blob)
    shape = "(unknown)" if blob.shape is None else shape_text(blob.shape)
    return f"{blob.name} {shape} from {'/'.join(blob.layer.origin.scope) or blob.layer.name}"


def writes_over(bottoms: Sequence[Blob], tops: Sequence[str]) -> tuple[int, ...]:
    """The tops, by index, that have the name of the bottom at their place."""
    if not bottoms:
        return ()
    if len(tops) == 1:
        return (0,) if tops[0] == bottoms[0].name else ()
    return tuple([i for i, top in enumerate(tops[: len(bottoms)]) if top == bottoms[i].name])


def one_of_each(layers: Iterable[Layer]) -> list[Layer]:
    """One layer of each kind, and every layer of which none is known, in their order."""
    first: dict[int, Layer] = {}
    for layer in layers:
        first.setdefault(id(layer if layer.kind is None else layer.kind), layer)
    return list(first.values())


def check_numbers(rule: Rule | None, bottoms: Sequence[Blob], tops: Sequence[str]) -> None:
    """Check the numbers of bottoms and tops."""
    if rule:
        check_number("bottom", len(bottoms), *rule.bottoms)
        check_number("top", len(tops), 0 if rule.auto_top else rule.tops[0], rule.tops[1])
        if rule.same and len(bottoms) != len(tops):
            raise ShapeError(f"needs as many tops as bottoms, got {len(bottoms)} and {len(tops)}")


def check_tops(
    proto: LayerParameter,
    tops: tuple[str, ...],
    rule: Rule | None,
    bottoms: tuple[Blob, ...],
    blobs: Mapping[str, Blob],
    readers: Mapping[Blob, Layer],
) -> None:
    """Check the names of the tops. Source: net.cpp, AppendTop.

    `blobs` has the newest version of each name, `readers` the first reader of each version.
    """
    if len(tops) == 1 and tops[0] not in blobs:
        return
    given: set[str] = set()  # a set, since a layer may have a hundred thousand tops
    twice = _repeated(bottoms) if len(bottoms) > 1 else ()
    for i, name in enumerate(tops):
        if i < len(bottoms) and bottoms[i].name == name:
            if rule and rule.in_place == "refused":
                raise ShapeError(
                    f"cannot write over its bottom '{name}'", hint="give the top a name of its own"
                )
            reader = readers.get(bottoms[i])
            if reader or bottoms[i] in twice or bottoms[i].in_loss:
                other = f"layer '{reader.name}' reads it too" if reader else "it is used twice"
                raise ShapeError(
                    f"cannot write over blob '{name}' in place: {other}",
                    hint="Caffe splits a blob with two readers, and then refuses the in-place layer: "
                    "give the top a name of its own",
                )
        elif name in blobs or name in given:
            by = blobs[name].layer.name if name in blobs else proto.name
            raise NameClash(f"top '{name}' is already produced by layer '{by}'")
        given.add(name)


def _repeated(bottoms: tuple[Blob, ...]) -> set[Blob]:
    """The blobs that are several of these bottoms."""
    once: set[Blob] = set()
    twice: set[Blob] = set()
    for blob in bottoms:
        (twice if blob in once else once).add(blob)
    return twice


def has_loss(layer: Layer) -> bool:
    """Whether one of its tops counts in the loss."""
    return any(loss_weights(layer))


def loss_weights(layer: Layer) -> list[float]:
    """The loss weight of each top, also of one that the file omits. Source: layer.hpp, SetLossWeights."""
    weights = layer.proto.loss_weight
    tops = len(layer.tops) or 1
    if not weights:
        return [1.0 if is_loss(layer) else 0.0] + [0.0] * (tops - 1)
    return [*weights, *[0.0] * (tops - len(weights))]


def is_loss(layer: Layer) -> bool:
    """Whether the type is a loss; layers of forks are recognised by name."""
    rule = RULES.get(layer.type)
    return rule.auto_top if rule else layer.type.endswith("Loss")


def check_split(bottoms: Sequence[Blob], readers: Mapping[Blob, Layer]) -> None:
    """Raise ShapeError if another reader makes Caffe split a blob that it cannot split.

    Those are an Input that has no shape, and a weighted top of a loss with two: the Split takes over its
    weight, and the weights of both are then missing. Source: insert_splits.cpp; split_layer.cpp, Reshape;
    loss_layer.cpp, LayerSetUp.
    """
    unshaped: set[Blob] = set()
    for blob in bottoms:
        rule = RULES.get(blob.layer.type)
        if rule and rule.auto_top and len(blob.layer.tops) > 1 and blob.in_loss:
            raise ShapeError(
                f"bottom '{blob.name}' is one of the two tops of loss '{blob.layer.name}', and has a loss "
                "weight: for a reader Caffe takes the weights of both tops away, and then refuses the loss",
                hint=f"write loss_weight 0 for '{blob.name}'",
            )
        if blob.shape or not isinstance(blob.shape, Unshaped):
            continue
        if blob in readers or blob in unshaped:
            who = f"layer '{readers[blob].name}' reads it too" if blob in readers else "it is used twice"
            raise ShapeError(
                f"bottom '{blob.name}' has no shape, and {who}: Caffe cannot split such a blob",
                hint=f"give Input '{blob.layer.name}' a shape: input_param {{ shape {{ dim: 1 ... }} }}",
            )
        unshaped.add(blob)
