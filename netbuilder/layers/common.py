"""What Caffe checks for layers of every type: numbers of blobs, limits, shared parameters."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from netbuilder.errors import FieldError, ShapeError, shape_text
from netbuilder.layers.arithmetic import INT_MAX
from netbuilder.layers.base import Facts, ParamFacts, Rule, Shape, check_not_empty, elements
from netbuilder.layers.fillers import FILLERS, check_filler
from netbuilder.layers.traits import Source
from netbuilder.schema.dialects import ANY, Dialect, homes

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter, LayerParameter, ParamSpec

__all__ = ["CUDNN", "Owner", "check_dialect", "check_message", "check_number", "check_shape"]

CUDNN = 2  # ConvolutionParameter.Engine
MAX_AXES = 32  # blob.hpp, kMaxBlobAxes


class Owner:
    """The layer and blob that own a shared parameter, and the multipliers given for it so far."""

    def __init__(self, layer: str, fact: ParamFacts) -> None:
        self.layer = layer
        self.fact = fact
        self._multipliers: dict[str, float] = {}

    def join(self, spec: ParamSpec, fact: ParamFacts) -> float:
        """Check one more use and return the lr_mult in force so far. Source: net.cpp, AppendParam."""
        permissive = spec.share_mode == 1
        if permissive and elements(fact.shape) != elements(self.fact.shape):
            raise ShapeError(
                f"parameter '{spec.name}' is shared with layer '{self.layer}' and needs as many numbers: "
                f"{shape_text(self.fact.shape)}, got {shape_text(fact.shape)}"
            )
        if not permissive and fact.shape != self.fact.shape:
            raise ShapeError(
                f"parameter '{spec.name}' is shared with layer '{self.layer}' and needs its shape "
                f"{shape_text(self.fact.shape)}, got {shape_text(fact.shape)}"
            )
        for field in ("lr_mult", "decay_mult"):
            if spec.HasField(field):
                value = getattr(spec, field)
                if self._multipliers.setdefault(field, value) != value:
                    raise ShapeError(
                        f"parameter '{spec.name}' is shared with layer '{self.layer}', where {field} is "
                        f"{self._multipliers[field]:g}, not {value:g}"
                    )
        return self._multipliers.get("lr_mult", 1.0)


def check_number(what: str, got: int, least: int, most: int | None) -> None:
    if got < least or (most is not None and got > most):
        wanted = (
            f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        )
        raise ShapeError(f"needs {wanted} {what}{'' if wanted == '1' else 's'}, got {got}")


@lru_cache(maxsize=4096)  # the blobs of a net have few shapes
def check_shape(shape: Shape) -> None:
    """The limits of any blob. Source: blob.cpp, Reshape."""
    if len(shape) > MAX_AXES:
        raise ShapeError(f"a blob has at most {MAX_AXES} axes, got {len(shape)}")
    if shape and min(shape) < 0:
        raise ShapeError(f"a blob cannot have a negative size, got {shape_text(shape)}")
    count = elements(shape)
    if count > INT_MAX or (count == 0 and max(shape, default=0) > INT_MAX):
        raise ShapeError(f"a blob has at most {INT_MAX} elements, got {shape_text(shape)}")


def check_dialect(proto: LayerParameter, rule: Rule | None, dialect: Dialect) -> None:
    """Check that a Caffe reads the fields of a layer, and has its engine."""
    for path in dialect.lacks.get(proto.type, ()):
        message, field = path.split(".")
        if getattr(proto, message).HasField(field):
            raise FieldError(
                f"dialect {dialect.name} has no field {field}",
                hint=f"leave it out, or use {homes(lambda d: d.has_field(proto.type, path))}",  # noqa: B023
            )
    engines = rule is not None and rule.traits.engine is True and not dialect.cudnn
    if rule and engines and getattr(proto, rule.params[0]).engine == CUDNN:
        raise FieldError(
            "a Caffe without cuDNN aborts on engine: CUDNN",
            hint="leave engine out: Caffe takes cuDNN where it has it; or use dialect caffe-cudnn",
        )


def check_message(
    proto: LayerParameter,
    facts: Facts,
    rule: Rule | None,
    *,
    known: bool = True,
    dialect: Dialect | None = None,
) -> None:
    """Check fields that any layer may have; those of parameters only if the facts are `known`.

    The dialect may have fillers besides BVLC's; `any` takes all (`netbuilder.checks` reports them).

    Source: net.cpp, Init; layer.hpp, SetLossWeights.
    """
    if proto.include and proto.exclude:
        raise FieldError("include and exclude are both given: give one of them")
    if proto.propagate_down and len(proto.propagate_down) != len(proto.bottom):
        raise ShapeError(f"propagate_down must be given once per bottom, {len(proto.bottom)} times")
    if rule is not None and not proto.bottom:
        _check_means(proto, facts, rule)
    if proto.loss_weight:
        _check_loss_weights(proto, facts, rule)
    if rule is None or not known or (not facts.params and not proto.param):
        return
    if len(proto.param) > len(facts.params):
        raise ShapeError(f"param is given {len(proto.param)} times for {len(facts.params)} parameter blobs")
    if proto.blobs:
        rebuilds = rule.traits.rebuilds is True
        _check_inline_blobs(proto, facts, rebuilds)
        if not rebuilds:
            return
    for fact in facts.params:
        check_shape(fact.shape)
        if fact.filled and not _of_fork(fact.filler, dialect):
            check_filler(
                fact.filler, fact.shape, "filler" if len(facts.params) == 1 else f"{fact.role}_filler"
            )


def _check_means(proto: LayerParameter, facts: Facts, rule: Rule) -> None:
    """Check the means that a data layer subtracts. Source: data_transformer.cpp; window_data_layer.cpp.

    MemoryData transforms images that are added to it, and they may have other channels than it gives.
    """
    source = rule.traits.source
    if not isinstance(source, Source) or not source.transforms or not proto.HasField("transform_param"):
        return
    values = len(proto.transform_param.mean_value)
    if values and proto.transform_param.HasField("mean_file"):
        raise FieldError("mean_file and mean_value are both given: give one of them")
    channels = facts.tops[0][1] if source.stored and facts.tops and len(facts.tops[0]) == 4 else values
    if values not in (0, 1, channels):
        raise ShapeError(
            f"mean_value must be given once, or once for each of the {channels} channels, got {values} times"
        )


def _check_loss_weights(proto: LayerParameter, facts: Facts, rule: Rule | None) -> None:
    weights = proto.loss_weight
    tops = max(len(proto.top), rule.tops[0] if rule else 0)
    if len(weights) != tops:
        raise ShapeError(f"loss_weight must be given once per top, {tops} times, got {len(weights)}")
    for i, (weight, shape) in enumerate(zip(weights, facts.tops, strict=False)):
        if weight and elements(shape) == 0:
            raise ShapeError(f"top {i} has a loss weight and is empty, {shape_text(shape)}")


def _of_fork(filler: FillerParameter | None, dialect: Dialect | None) -> bool:
    """Whether a filler is none of BVLC's, and taken nevertheless."""
    if filler is None or dialect is None or filler.type in FILLERS:
        return False
    return dialect is ANY or filler.type in dialect.fillers


def _check_inline_blobs(proto: LayerParameter, facts: Facts, rebuilds: bool) -> None:
    """Check parameter values stored in the file; with `rebuilds` the layer ignores them.

    If they do not fit, Convolution aborts; some other types continue and read past their end. Both are
    refused. Source: blob.cpp, FromProto.
    """
    shapes = []
    for i, blob in enumerate(proto.blobs):
        legacy = any(blob.HasField(f) for f in ("num", "channels", "height", "width"))
        shape = (blob.num, blob.channels, blob.height, blob.width) if legacy else tuple(blob.shape.dim)
        stored = len(blob.double_data) or len(blob.data)
        if stored != elements(shape):
            raise ShapeError(f"blob {i} in the file has {stored} numbers for the shape {shape_text(shape)}")
        check_not_empty(shape, f"blob {i} in the file")
        shapes.append((shape, legacy))
    if rebuilds:
        return
    if len(proto.blobs) != len(facts.params):
        raise ShapeError(
            f"has {len(facts.params)} parameter blobs, but {len(proto.blobs)} are given in the file"
        )
    for i, ((shape, legacy), fact) in enumerate(zip(shapes, facts.params, strict=True)):
        if (shape[4 - len(fact.shape) :] if legacy else shape) != fact.shape:
            raise ShapeError(
                f"parameter blob {i} must be {shape_text(fact.shape)}, the file has {shape_text(shape)}"
            )
