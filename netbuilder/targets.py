"""Who can load a net: what each consumer of Caffe's format refuses, or reads otherwise than Caffe.

A target is a list of `Limit`s. Those of OpenCV and MNN were found by running both against real Caffe, layer
by layer, and `tests/test_targets.py` runs them again; what is not listed there computes what Caffe computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from netbuilder.checks import Finding
from netbuilder.dialects import DIALECTS, Dialect
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Layer, Net

__all__ = ["TARGETS", "Limit", "Target", "check"]


@dataclass(frozen=True)
class Limit:
    """Something that a consumer cannot do: layer types, and the condition under which they fail."""

    code: str
    types: frozenset[str]
    text: str
    fix: str
    when: Callable[[Layer], bool] | None = None


@dataclass(frozen=True)
class Target:
    """A consumer of Caffe files; `about` says which version, `limits` what it cannot do."""

    name: str
    about: str
    limits: tuple[Limit, ...]
    dialect: Dialect | None = None


def check(net: Net, target: str) -> list[Finding]:
    """What this target would refuse or misread, in the order of the layers; all findings are errors.

    Raises ConfigError for an unknown target.
    """
    if target not in TARGETS:
        raise ConfigError(
            f"unknown target '{target}': there are {', '.join(TARGETS)}",
            key="target",
            hint=did_you_mean(target, TARGETS),
        )
    found = TARGETS[target]
    return [f for layer in net for f in (*_limits(layer, found), *_dialect(layer, found))]


def _limits(layer: Layer, target: Target) -> Iterator[Finding]:
    for limit in target.limits:
        if layer.type in limit.types and (limit.when is None or limit.when(layer)):
            text = f"{target.name}: {limit.text.format(type=layer.type)}"
            yield Finding("error", limit.code, layer.name, text, limit.fix)


def _dialect(layer: Layer, target: Target) -> Iterator[Finding]:
    if target.dialect is None:
        return
    if layer.type not in target.dialect.types:
        text = f"{target.name}: there is no layer type {layer.type}"
        yield Finding("error", "no-such-type", layer.name, text, "express it by other layers")
    for path in target.dialect.lacks.get(layer.type, ()):
        message, field = path.split(".")
        if getattr(layer.proto, message).HasField(field):
            text = f"{target.name}: {layer.type} has no field {field}; the whole file is refused"
            yield Finding("error", "no-such-field", layer.name, text, f"leave {field} out")


_DATA = {"Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData"}
_LOSSES = {
    "Accuracy",
    "ContrastiveLoss",
    "EuclideanLoss",
    "HDF5Output",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
}
_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})


def _types(*names: str) -> frozenset[str]:
    return frozenset(names)


def _half_pair(layer: Layer) -> bool:
    p = layer.proto.convolution_param
    return any(p.HasField(f"{stem}_h") != p.HasField(f"{stem}_w") for stem in ("kernel", "stride", "pad"))


def _uneven_window(layer: Layer) -> bool:
    p = layer.proto.convolution_param
    return any(len(set(values)) > 1 for values in (p.kernel_size, p.stride, p.pad, p.dilation))


def _nearly_one(value: float) -> bool:
    return abs(value - 1) < 1e-6


_NO_INPUT_OR_LOSS = Limit(
    "not-deploy",
    frozenset(_DATA | _LOSSES),
    "{type} is for training and testing in Caffe",
    "give it the deploy net: Input instead of data, no loss",
)

_LOG = Limit(
    "log",
    _types("Log"),
    "base, scale and shift are ignored",
    "put a Power before it",
    lambda layer: (
        layer.proto.log_param.base != -1 or layer.proto.log_param.shift != 0
    ) or not _nearly_one(layer.proto.log_param.scale),
)  # fmt: skip

_OPENCV = (
    _NO_INPUT_OR_LOSS,
    Limit(
        "no-such-type",
        _types("ArgMax", "BatchReindex", "Bias", "Clip", "Embed", "Filter", "Im2col", "LSTMUnit", "RNN")
        | _types("Reduction", "SPP", "Threshold"),
        "there is no layer type {type}",
        "express it by other layers",
    ),
    Limit("other-tile", _types("Tile"), "Tile has another interface", "use Concat of the blob with itself"),
    Limit(
        "round-mode",
        _types("Pooling"),
        "round_mode makes it lose the kernel",
        "leave round_mode out, and crop what is too much",
        lambda layer: layer.proto.pooling_param.HasField("round_mode"),
    ),
    Limit(
        "lone-pair",
        _CONVOLUTIONS,
        "half of an _h/_w pair is ignored",
        "write both halves",
        _half_pair,
    ),
    Limit(
        "transpose",
        _types("InnerProduct"),
        "transpose is ignored, so that it computes something else",
        "store the weights untransposed",
        lambda layer: layer.proto.inner_product_param.transpose,
    ),
    Limit(
        "scale-scalar",
        _types("Scale"),
        "num_axes: 0 fails",
        "scale by Power",
        lambda layer: layer.proto.scale_param.num_axes == 0 and len(layer.bottoms) == 1,
    ),
    Limit(
        "scale-bias",
        _types("Scale"),
        "two bottoms with a bias compute something else",
        "add a separate layer for the bias",
        lambda layer: layer.proto.scale_param.bias_term and len(layer.bottoms) == 2,
    ),
    Limit(
        "prelu-shared",
        _types("PReLU"),
        "channel_shared fails",
        "give one slope per channel",
        lambda layer: layer.proto.prelu_param.channel_shared,
    ),
    Limit(
        "swish-beta",
        _types("Swish"),
        "beta is taken for 1",
        "multiply by Sigmoid of the scaled blob",
        lambda layer: not _nearly_one(layer.proto.swish_param.beta),
    ),
    _LOG,
)  # fmt: skip

_MNN = (
    _NO_INPUT_OR_LOSS,
    Limit(
        "no-such-type",
        _types("Clip", "Swish", "Tile"),
        "the converter knows no layer type {type}",
        "express it by other layers (Tile: Concat of the blob with itself)",
    ),
    Limit(
        "scale-two-bottoms",
        _types("Scale"),
        "the converter wants weights in every Scale, so one of two bottoms is refused",
        "spread the factor by Concat and multiply by Eltwise PROD",
        lambda layer: len(layer.bottoms) == 2,
    ),
    Limit(
        "scale-scalar",
        _types("Scale"),
        "num_axes: 0 scales the first channel only",
        "scale by Power",
        lambda layer: layer.proto.scale_param.num_axes == 0 and len(layer.bottoms) == 1,
    ),
    Limit(
        "uneven-window",
        _CONVOLUTIONS,
        "of repeated kernel_size, stride or pad not all values are read",
        "write the _h/_w pairs",
        _uneven_window,
    ),
    Limit(
        "several-bottoms",
        _CONVOLUTIONS,
        "several bottoms in one layer fail",
        "use one layer per bottom",
        lambda layer: len(layer.bottoms) > 1,
    ),
    Limit(
        "round-mode",
        _types("Pooling"),
        "round_mode is ignored: sizes are rounded up",
        "leave round_mode out, and crop what is too much",
        lambda layer: layer.proto.pooling_param.round_mode == 1,
    ),
    Limit(
        "coeff",
        _types("Eltwise"),
        "coeff gives wrong values",
        "scale the bottoms by Power before",
        lambda layer: bool(layer.proto.eltwise_param.coeff),
    ),
    Limit(
        "slice-equal",
        _types("Slice"),
        "without slice_point the net cannot be run",
        "write slice_point",
        lambda layer: not layer.proto.slice_param.slice_point and len(layer.tops) > 1,
    ),
    _LOG,
    Limit("argmax", _types("ArgMax"), "ArgMax gives other values", "take the maximum outside the net"),
    Limit("mvn", _types("MVN"), "MVN gives other values", "leave MVN out"),
)  # fmt: skip

TARGETS = {
    t.name: t
    for t in (
        *(Target(d.name, d.about, (), d) for d in DIALECTS.values()),
        Target("opencv", "OpenCV 4.14, dnn.readNetFromCaffe (OpenCV 5 reads no Caffe files)", _OPENCV),
        Target("mnn", "MNN 3.6, mnnconvert -f CAFFE", _MNN),
    )
}
