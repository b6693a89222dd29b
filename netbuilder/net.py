"""`Net`: shapes, parameters and counts are known as soon as a layer is added.

A `Net` is a list of layers in execution order, for one phase. It grows by `add` (from Python) and
`append` (a finished `LayerParameter`: reading a file, replaying another net), and nothing in it is edited
afterwards. Each call checks everything that Caffe checks when it builds that layer, at the caller's line.

What it consists of (`Layer`, `Blob`, `Param`, `Origin`) is in `netbuilder.graph` and exported here too.
Writing, counting and checking build on this module; it imports only `layers`, `schema` and `errors`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from types import MappingProxyType
from typing import TypeVar, cast

from netbuilder.errors import (
    FieldError,
    NameClash,
    NetBuilderError,
    ShapeError,
    StaleBlob,
    counted,
    did_you_mean,
    shape_text,
)
from netbuilder.graph import PHASES, Blob, Kind, Layer, Origin, Param, Part, Phase

from netbuilder.graph import as_phase, caller, check_numbers, check_split, check_tops, located, writes_over  # isort: skip
from netbuilder.layers import RULES, Facts, Rule, Shape
from netbuilder.layers.common import Owner, check_dialect, check_message, check_shape
from netbuilder.layers.fillers import makes_a_filter
from netbuilder.layers.traits import known as known_trait
from netbuilder.layers.unseen import Possible, UnknownShape, certain, possible_tops
from netbuilder.schema import LayerParameter, NetParameter
from netbuilder.schema.dialects import ANY, DIALECTS, homes
from netbuilder.schema.dialects import dialect as find_dialect
from netbuilder.schema.fields import Unnamed, fill, fork_names, refuse_fork

__all__ = [
    "PHASES", "PROJECT_DEFAULTS", "REFUSED", "Blob", "Layer", "Net", "Origin", "Param", "Part",
    "Phase", "as_phase",
]  # fmt: skip

REFUSED = "Caffe refuses it"

# The kinds of layers met, by their fields and the shapes of their bottoms: blocks repeat each other.
_KINDS: dict[Hashable, Kind] = {}
_MOST_KINDS = 4096

T = TypeVar("T")

# What `add` fills in where neither the call nor the net's own defaults say anything. Caffe's own default
# filler is all zeros, with which a net learns nothing; before 2017 its BatchNorm trains the statistics
# unless lr_mult is 0.
PROJECT_DEFAULTS: dict[str, Mapping[str, object]] = {
    type: defaults for type, rule in RULES.items() if (defaults := known_trait(rule.traits.defaults, {}))
}


class Net:
    """A network for one phase, "TRAIN" or "TEST".

    >>> net = Net("tiny", phase="TEST")
    >>> x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    >>> net.add("Convolution", x, name="conv", num_output=4, kernel_size=3)
    Blob('conv' (1,4,6,6) of 'conv')

    `dialect` names the Caffe that must load it (see `schema.dialects`). `defaults` maps layer types to
    fields that `add` fills in where the call leaves them out; they in turn come before the project's own
    (msra weights for Convolution and InnerProduct, three frozen statistics for BatchNorm).
    `computes` names the Caffe whose shapes the net has, if that is not the dialect.
    `proto` is a NetParameter that holds the fields of the net itself (name, force_backward, ...), no layers.
    """

    def __init__(
        self,
        name: str = "",
        phase: Phase = "TEST",
        *,
        dialect: str = "caffe-1.0",
        defaults: Mapping[str, Mapping[str, object]] | None = None,
        computes: str = "",
    ) -> None:
        self.proto = NetParameter(name=name or None)
        self.phase: Phase = as_phase(phase)
        self.dialect = find_dialect(dialect)
        self.computes = find_dialect(computes or dialect).name
        self.defaults = defaults or {}
        self._layers: list[Layer] = []
        self._view: tuple[Layer, ...] = ()
        self._by_name: dict[str, Layer] = {}
        self._blobs: dict[str, Blob] = {}  # the newest version of each name
        self._possible: dict[Blob, tuple[Shape, ...]] = {}  # shapes that a blob of unknown shape may have
        self._readers: dict[Blob, Layer] = {}  # the first layer that reads each version
        self._shared: dict[str, Owner] = {}
        self._scope: tuple[str, ...] = ()
        self._comment = ""

    @property
    def name(self) -> str:
        """The net's name in the prototxt."""
        return str(self.proto.name)

    def __repr__(self) -> str:
        return f"Net({self.name!r}, {self.phase}, {counted(len(self._layers), 'layer')})"

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Layer:
        """The layer of this name; raises StaleBlob with the nearest name if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise StaleBlob(
                f"no layer '{name}' in {self!r}", hint=did_you_mean(name, self._by_name)
            ) from None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in execution order; a tuple, made again only after a layer was added."""
        if len(self._view) != len(self._layers):
            self._view = tuple(self._layers)
        return self._view

    @property
    def blobs(self) -> Mapping[str, Blob]:
        """The newest version of each blob, by name (read only)."""
        return MappingProxyType(self._blobs)

    @property
    def inputs(self) -> tuple[Blob, ...]:
        """The tops of the layers that take no bottom: Input and data layers."""
        return tuple(top for layer in self._layers if not layer.bottoms for top in layer.tops)

    @property
    def outputs(self) -> tuple[Blob, ...]:
        """The blobs that no layer reads, in the order of their creation."""
        return tuple(b for b in self._blobs.values() if b not in self._readers)

    @contextmanager
    def scope(self, label: str, comment: str = "") -> Iterator[None]:
        """Name the origin of all layers added inside; `comment` is written above the first of them."""
        outer = self._scope
        self._scope = (*outer, label)
        if comment:
            self._comment = f"{self._comment}\n{comment}" if self._comment else comment
        try:
            yield
        finally:
            self._scope = outer

    def attach(self, part: Part, bottoms: tuple[Blob, ...]) -> Blob | tuple[Blob, ...]:
        """Let a lego add its layers on these blobs, under its name; this is what `Lego.attach` calls.

        Every lego comes through here: a cost-only net can return a cached result for an equal lego.
        """
        with self.scope(f"{type(part).__name__}({part.name})"):
            return part.build(self, *bottoms)

    def in_phase(self, phase: str) -> Net:
        """The same layers as a net for another phase; neither is to be added to."""
        other = copy(self)
        other.phase = as_phase(phase)
        return other

    def default(self, type: str, field: str, fallback: T) -> T:
        """The field's value in this net's `defaults`, else `fallback`, a lego's own default."""
        return cast("T", self.defaults.get(type, {}).get(field, fallback))

    def add(
        self,
        type: str,
        /,
        *bottoms: Blob,
        name: str,
        in_place: bool = False,
        tops: Sequence[str] | None = None,
        top_shapes: Sequence[Sequence[int]] | None = None,
        **fields: object,
    ) -> Blob:
        """Append a layer and return its top.

        For a layer with several tops, or none, it returns a tuple, so that `data, label = net.add(...)`
        works; use `add_many` for that in typed code.

        `fields` are those of the layer's own parameter message by their short names (`num_output=64`), a
        whole message (`convolution_param=dict(...)`), or fields of LayerParameter (`param`, `loss_weight`).
        None overrides any default and leaves the field to Caffe.
        The top is named after the layer, or after the bottom if `in_place`; `tops` gives other names.
        `top_shapes` gives the shapes that netbuilder cannot infer: those of a custom layer type, or of a
        database.
        Raises FieldError (unknown type or field, wrong value), ShapeError, NameClash, StaleBlob.
        """
        origin = caller(self._scope)
        try:
            rule = self._rule(type, top_shapes is not None)
            if name in self._by_name:
                raise NameClash(
                    f"there is already a layer '{name}' (from {self._by_name[name].origin})",
                    hint="layer names must differ: trained weights are stored by layer name",
                )
            for bottom in bottoms:
                self._check_handle(bottom)
            if in_place and (not bottoms or tops is not None):
                raise FieldError("in_place writes over the first bottom: give a bottom, and no tops")
            if tops is None:
                own = () if rule and rule.tops[1] == 0 else (name,)
                tops = (bottoms[0].name,) if in_place else own
            proto = LayerParameter(name=name, type=type, bottom=[b.name for b in bottoms], top=tops)
            if rule and rule.in_place == "wrong" and writes_over(bottoms, tops):
                raise FieldError(f"{type} computes wrong values in place: give the top a name of its own")
            alike = self._assign(proto, rule, fields)
        except NetBuilderError as error:
            raise located(error, f"{type} '{name}'", origin, bottoms) from None
        made = self._append(proto, rule, bottoms, tuple(tops), origin, top_shapes, "", alike).tops
        return made[0] if len(made) == 1 else cast("Blob", made)

    def add_many(
        self,
        type: str,
        /,
        *bottoms: Blob,
        name: str,
        in_place: bool = False,
        tops: Sequence[str] | None = None,
        top_shapes: Sequence[Sequence[int]] | None = None,
        **fields: object,
    ) -> tuple[Blob, ...]:
        """As `add`, for a layer with any number of tops: always a tuple."""
        self.add(type, *bottoms, name=name, in_place=in_place, tops=tops, top_shapes=top_shapes, **fields)
        return self._layers[-1].tops

    def append(
        self,
        proto: LayerParameter,
        *,
        origin: Origin | None = None,
        top_shapes: Sequence[Sequence[int]] | None = None,
        unknown: str = "",
        of_dialect: bool = False,
        alike: Unnamed | None = None,
    ) -> Layer:
        """Append a finished LayerParameter as it stands; its bottoms are found by blob name.

        Reading a file and replaying a net use this. Names may repeat, as in Caffe (`net[name]` then returns
        the last). `unknown` says why nothing can be known of the layer besides the first of its
        `top_shapes`: its type and fields are then not checked. `of_dialect` says that it has no field
        or label of a fork that the dialect lacks: the reader lets none through. `alike` is the
        proto without its names, if layers like it may have been there. Raises like `add`.
        """
        origin = origin or caller(self._scope)
        try:
            if not (of_dialect or unknown or self.dialect is ANY):
                for name in fork_names(proto):
                    refuse_fork(name, self.dialect)
            rule = None if unknown else self._rule(proto.type, top_shapes is not None)
            names = proto.bottom if alike is None else alike.bottoms
            blobs = self._blobs
            bottoms = tuple([blobs[name] if name in blobs else self._find(name) for name in names])
        except NetBuilderError as error:
            raise located(error, f"{proto.type} '{proto.name}'", origin, ()) from None
        tops, fields = (tuple(proto.top), None) if alike is None else (alike.tops, alike.fields)
        return self._append(proto, rule, bottoms, tops, origin, top_shapes, unknown, fields)

    def _append(
        self,
        proto: LayerParameter,
        rule: Rule | None,
        bottoms: tuple[Blob, ...],
        tops: tuple[str, ...],
        origin: Origin,
        top_shapes: Sequence[Sequence[int]] | None,
        unknown: str,
        alike: Hashable = None,
    ) -> Layer:
        try:
            over, key = writes_over(bottoms, tops), None
            if alike is not None and top_shapes is None and rule and rule.traits.code is None:
                caffes = self.dialect.name, self.computes
                key = alike, rule.infer, caffes, tuple([b.shape for b in bottoms]), len(tops), over
            kind = _KINDS.get(key)
            if kind is None:
                check_numbers(rule, bottoms, tops)
            check_tops(proto, tops, rule, bottoms, self._blobs, self._readers)
            check_split(bottoms, self._readers)
            possible: Possible = ()
            if kind is None:
                facts, unknown, possible = self._checked(proto, rule, bottoms, len(tops), top_shapes, unknown)
                params = self._params(proto, facts)
                if key and not unknown:
                    named = any(spec.name for spec in proto.param)
                    kind = self._remember(key, Kind(facts, None if named else params))
            else:
                facts, params = kind.facts, kind.params or self._params(proto, kind.facts)
        except NetBuilderError as error:
            raise located(error, f"{proto.type} '{proto.name}'", origin, bottoms) from None
        if kind and kind.params is None:
            kind = None  # its parameters are its own
        return self._attach(proto, bottoms, tops, facts, params, unknown, origin, bool(over), possible, kind)

    def _checked(
        self,
        proto: LayerParameter,
        rule: Rule | None,
        bottoms: tuple[Blob, ...],
        tops: int,
        top_shapes: Sequence[Sequence[int]] | None,
        unknown: str,
    ) -> tuple[Facts, str, Possible]:
        """What `_infer` returns, after the checks that depend on fields and shapes alone."""
        check_dialect(proto, rule, self.dialect)
        possible: Possible = ()
        if unknown:
            facts = Facts(tuple(tuple(shape) for shape in top_shapes or ()))
            unknown = "" if top_shapes and not bottoms and len(top_shapes) == tops else unknown
        else:
            facts, unknown, possible = self._infer(proto, rule, bottoms, tops, top_shapes)
        for shape in facts.tops:
            check_shape(shape)
        check_message(proto, facts, rule, known=not unknown, dialect=self.dialect)
        return facts, unknown, possible

    def _remember(self, key: Hashable, kind: Kind) -> Kind:
        """Keep what is known of layers of a kind for the next of them."""
        if len(_KINDS) >= _MOST_KINDS:
            _KINDS.clear()
        _KINDS[key] = kind
        return kind

    def keep(self, proto: LayerParameter, origin: Origin) -> Layer:
        """Append a layer that `append` refused, so that the following layers can still be checked.

        It is not checked; missing bottoms are left out, and its tops have unknown shapes.
        Its `unknown` is REFUSED.
        """
        bottoms = tuple(self._blobs[name] for name in proto.bottom if name in self._blobs)
        over = bool(writes_over(bottoms, proto.top))
        return self._attach(proto, bottoms, tuple(proto.top), Facts(()), (), REFUSED, origin, over)

    # -- the steps of add and append -----------------------------------------------------------------

    def _attach(
        self,
        proto: LayerParameter,
        bottoms: tuple[Blob, ...],
        names: tuple[str, ...],
        facts: Facts,
        params: tuple[Param, ...],
        unknown: str,
        origin: Origin,
        in_place: bool,
        possible: Possible = (),
        kind: Kind | None = None,
    ) -> Layer:
        layer = Layer(
            proto.name, proto.type, proto, bottoms, (), params, facts.macs, facts.ops,
            in_place, unknown, origin, self._comment, kind,
        )  # fmt: skip
        self._comment = ""
        blobs, shapes, tops = self._blobs, facts.tops, []
        for i, name in enumerate(names):
            old = blobs.get(name)
            shape = shapes[i] if i < len(shapes) else certain(possible[i : i + 1])
            tops.append(Blob(self, name, shape, layer, old.version + 1 if old else 0))
        if possible:
            self._possible.update(zip(tops, possible, strict=False))
        for blob in bottoms:
            self._readers.setdefault(blob, layer)
        for blob in tops:
            blobs[blob.name] = blob
        layer.tops = tuple(tops)
        self._layers.append(layer)
        self._by_name[layer.name] = layer
        return layer

    def _rule(self, type: str, custom: bool) -> Rule | None:
        """The rule of a type that the dialect has; None for one without a rule, or of the user's own."""
        if type in self.dialect.types:
            return RULES.get(type)
        if custom:  # a fork's type of the same name may differ
            return RULES.get(type) if type in DIALECTS["caffe-master"].types else None
        if type in ANY.types:
            raise FieldError(
                f"dialect {self.dialect.name} has no layer type {type}",
                hint=f"it is in {homes(lambda d: type in d.types)}",
            )
        raise FieldError(
            f"unknown layer type '{type}'",
            hint=did_you_mean(type, self.dialect.types) or "a layer type of your own needs top_shapes",
        )

    def _check_handle(self, blob: Blob) -> None:
        if not isinstance(blob, Blob):
            raise FieldError(f"bottoms must be blobs, got {blob!r}")
        if blob._net is not self:
            raise StaleBlob(f"blob '{blob.name}' belongs to another net, {blob._net!r}")
        newest = self._blobs[blob.name]
        if newest is not blob:
            raise StaleBlob(
                f"blob '{blob.name}' was overwritten in place by '{newest.layer.name}'",
                hint=f"use the blob that '{newest.layer.name}' returned, or make that layer without in_place",
            )

    def _find(self, name: str) -> Blob:
        if name not in self._blobs:
            raise StaleBlob(
                f"bottom '{name}' is not the top of any layer before", hint=did_you_mean(name, self._blobs)
            )
        return self._blobs[name]

    def _infer(
        self,
        proto: LayerParameter,
        rule: Rule | None,
        bottoms: tuple[Blob, ...],
        tops: int,
        top_shapes: Sequence[Sequence[int]] | None,
    ) -> tuple[Facts, str, Possible]:
        """The facts of the layer, why they are incomplete ("" if they are not), and what its tops may be."""
        given = None if top_shapes is None else tuple(tuple(int(n) for n in s) for s in top_shapes)
        if given is not None and len(given) != tops:
            raise ShapeError(f"{tops} tops need {tops} top_shapes, got {len(given)}")
        shapes = [b.shape for b in bottoms if b.shape is not None]
        if rule is None:
            return Facts(given or ()), f"no rule for layer type {proto.type}", ()
        if len(shapes) < len(bottoms):
            unseen = next(b.name for b in bottoms if b.shape is None)
            options = [self._possible.get(b, ()) if b.shape is None else (b.shape,) for b in bottoms]
            why = f"the shape of bottom '{unseen}' is unknown"
            return Facts(given or ()), why, possible_tops(rule, proto, options)
        try:
            facts = rule.variants.get(self.computes, rule.infer)(proto, shapes)
            if () in shapes:  # of an `Unshaped` bottom Caffe makes a scalar
                facts = facts._replace(tops=tuple(map(tuple, facts.tops)))
        except UnknownShape as reason:
            return Facts(given or ()), "" if given else f"its shape depends on {reason}", reason.tops
        if given is not None and given != facts.tops:
            raise ShapeError(
                f"top_shapes {_shapes(given)} differ from what the layer gives, {_shapes(facts.tops)}"
            )
        return facts, "", ()

    def _assign(self, proto: LayerParameter, rule: Rule | None, fields: dict[str, object]) -> Hashable:
        """Set the fields as `fill`: those of the call, else the net's defaults, else the project's."""
        names = rule.params if rule else ()
        own = names[0] if names else ""
        if own in fields:
            whole = fields.pop(own)
            if not isinstance(whole, Mapping):
                raise FieldError(f"{own} takes a dict of fields, got {whole!r}")
            fields = {**whole, **fields}
        usual = known_trait(rule.traits.defaults, {}) if rule else {}
        fields = {**usual, **self.defaults.get(proto.type, {}), **fields}
        return fill(proto, names, fields, self.dialect)

    def _params(self, proto: LayerParameter, facts: Facts) -> tuple[Param, ...]:
        """The parameter blobs with their multipliers, and their owners if they are shared by name."""
        specs = proto.param
        params = []
        for i, fact in enumerate(facts.params):
            spec = specs[i] if i < len(specs) else None
            lr_mult = 1.0 if spec is None else spec.lr_mult
            if fact.lr_mult is not None:
                lr_mult = fact.lr_mult
            owner = None
            if spec is not None and spec.name:
                owner = self._shared.get(spec.name)
                first = self._shared.setdefault(spec.name, owner or Owner(proto.name, fact))
                lr_mult = first.join(spec, fact)
            params.append(
                Param(
                    fact.shape,
                    fact.role,
                    learnable=fact.role != "statistic" and lr_mult != 0,
                    fixed_filter=lr_mult == 0
                    and facts.macs > 0
                    and fact.role == "weight"
                    and makes_a_filter(fact.filler),
                    shared_with=owner.layer if owner else None,
                )
            )
        return tuple(params)


def _shapes(shapes: Sequence[Shape]) -> str:
    return ", ".join(shape_text(s) for s in shapes)
