"""What a layer rule is, and the registry of rules.

A rule states everything that netbuilder knows about one Caffe layer type. Its function gets the
`LayerParameter` and the shapes of its bottoms and returns `Facts` (shapes of the tops, parameter blobs,
multiply-accumulates, other operations), or raises `ShapeError` where real Caffe would abort. One function
computes all of them, so shapes, parameters and counts cannot disagree. Everything else is in its `Traits`.

Counting: one MAC is one multiplication and one addition. `ops` counts all other elementary operations
(addition, multiplication, division, comparison, exponential, logarithm, power) as one each. Both are for the
whole batch. The facts of a layer without a rule are *unknown*, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.traits import Source, Traits, completed

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter, LayerParameter

__all__ = [
    "RULES",
    "Facts",
    "ParamFacts",
    "Rule",
    "Shape",
    "Unshaped",
    "canonical_axis",
    "check_not_empty",
    "elements",
    "has_files",
    "is_source",
    "legacy_shape",
    "replayed_types",
    "rule",
    "source_of",
    "variant",
    "writes_over",
]

Shape = tuple[int, ...]


class Unshaped(tuple[int, ...]):
    """The shape of an Input that states none: no axes, as a scalar, but no number either. Source: Blob()."""

    __slots__ = ()


class ParamFacts(NamedTuple):
    """One parameter blob of a layer: its shape, its role ("weight", "bias" or "statistic") and its filler.

    `filler` is the `FillerParameter` message, or None for a blob that Caffe initialises itself.
    A "statistic" (BatchNorm) is stored in a .caffemodel but never changed by the solver. Only a blob that is
    not `filled` may be empty, because Caffe's fillers refuse empty blobs. `lr_mult` is the value that the
    layer forces, whatever the file says.
    """

    shape: Shape
    role: str
    filler: FillerParameter | None = None
    filled: bool = True
    lr_mult: float | None = None


class Facts(NamedTuple):
    """What a rule infers for one layer; counts are for the whole batch."""

    tops: tuple[Shape, ...]
    params: tuple[ParamFacts, ...] = ()
    macs: int = 0
    ops: int = 0


NO_TRAITS = Traits()
Infer: TypeAlias = "Callable[[LayerParameter, Sequence[Shape]], Facts]"


class Rule(NamedTuple):
    """A layer type: the sub-messages that hold its fields, its numbers of bottoms and tops, facts, traits.

    `bottoms` and `tops` are (minimum, maximum); a maximum of None means no limit. `in_place` says what
    happens when a top is written over its bottom: "exact", "wrong" (Caffe accepts it and computes something
    else, in the forward or the backward pass) or "refused". `auto_top` is set for losses: Caffe adds a top
    that the file omits. `same` is set if the numbers of bottoms and tops must be equal. `variants` has the
    functions of Caffes that compute other facts than BVLC's, by dialect.
    """

    type: str
    params: tuple[str, ...]
    bottoms: tuple[int, int | None]
    tops: tuple[int, int | None]
    infer: Infer
    in_place: str = "wrong"
    auto_top: bool = False
    same: bool = False
    traits: Traits = NO_TRAITS
    variants: Mapping[str, Infer] = MappingProxyType({})


RULES: dict[str, Rule] = {}


def rule(
    type: str,
    *params: str,
    bottoms: int | tuple[int, int | None] = 1,
    tops: int | tuple[int, int | None] = 1,
    in_place: str = "wrong",
    auto_top: bool = False,
    same: bool = False,
    traits: Traits = NO_TRAITS,
) -> Callable[[Infer], Infer]:
    """Register a function as the rule of a Caffe layer type; see `Rule` for the arguments."""

    takes = (bottoms, bottoms) if isinstance(bottoms, int) else bottoms
    gives = (tops, tops) if isinstance(tops, int) else tops
    traits = completed(
        traits, bottoms=takes[1] != 0, tops=gives[1] != 0, may_lack_bottoms=takes[0] == 0, loss=auto_top,
        spoils=in_place == "wrong",
    )  # fmt: skip

    def register(infer: Infer) -> Infer:
        assert type not in RULES, type
        RULES[type] = Rule(type, params, takes, gives, infer, in_place, auto_top, same, traits)
        return infer

    return register


def variant(type: str, *dialects: str) -> Callable[[Infer], Infer]:
    """Register a function as the rule of a layer type in Caffes that compute other facts than BVLC's."""

    def register(infer: Infer) -> Infer:
        rule = RULES[type]
        RULES[type] = rule._replace(variants={**rule.variants, **dict.fromkeys(dialects, infer)})
        return infer

    return register


def elements(shape: Sequence[int]) -> int:
    """How many numbers a blob of this shape holds; 1 for a scalar `()`."""
    if not shape:
        return 0 if isinstance(shape, Unshaped) else 1
    count = 1
    for n in shape:
        count *= n
    return count


def canonical_axis(axis: int, shape: Sequence[int], what: str = "axis") -> int:
    """The axis counted from the front; negative ones count from the end. Source: Blob::CanonicalAxisIndex."""
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"{what} {axis} is out of range for a blob of {len(shape)} axes")
    return axis + len(shape) if axis < 0 else axis


def check_not_empty(shape: Sequence[int], what: str) -> None:
    """Raise ShapeError for an empty blob: Caffe aborts on reading its memory. Source: blob.hpp, data."""
    if not shape and isinstance(shape, Unshaped):
        raise ShapeError(f"{what} has no shape: Caffe cannot process an empty blob")
    if 0 in shape:
        raise ShapeError(f"{what} is empty, {shape_text(shape)}: Caffe cannot process an empty blob")


def legacy_shape(shape: Sequence[int], what: str = "the bottom") -> Shape:
    """The shape padded with ones to 4 axes, as Caffe's num, channels, height and width return it.

    Raises ShapeError for more than 4 axes. Source: blob.hpp, LegacyShape.
    """
    if len(shape) > 4:
        raise ShapeError(f"{what} may have at most 4 axes, got {shape_text(shape)}")
    return (*shape, *(1,) * (4 - len(shape)))


def is_source(layer: LayerParameter) -> bool:
    """Whether a layer feeds data to the net: a data layer, or one without bottoms whose type has no rule."""
    if layer.bottom:
        return False
    rule = RULES.get(layer.type)
    return rule is None or rule.traits.source is not None


def source_of(type: str) -> Source | None:
    """Where layers of a type get their data; None if they are not data layers or the source is unknown."""
    rule = RULES.get(type)
    source = rule.traits.source if rule else None
    return source if isinstance(source, Source) else None


def has_files(rule: Rule) -> bool:
    """Whether the layers of a type read their data from files or a device."""
    source = rule.traits.source
    return isinstance(source, Source) and source.stored


def replayed_types() -> list[str]:
    """The types whose layers must run again to restore the state of a resumed training.

    Their forward passes draw random numbers or advance in the data. STOCHASTIC pooling draws too, but is left
    out: the list is by type, so every pooling layer of the net would have to run.
    """
    return sorted(type for type, rule in RULES.items() if has_files(rule) or _draws(rule))


def _draws(rule: Rule) -> bool:
    draws = rule.traits.draws
    return draws is True or (callable(draws) and rule.bottoms[1] == 0)


def writes_over(layer: LayerParameter) -> bool:
    """Whether any top is written over the bottom at the same index."""
    return any(b == t for b, t in zip(layer.bottom, layer.top, strict=False))
