"""What a target is: a consumer of Caffe files, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netbuilder.net import Layer
from netbuilder.schema.dialects import DIALECTS, Dialect

__all__ = ["CONVOLUTIONS", "DEPLOYED", "NOT_DEPLOY", "Limit", "Target", "types", "uneven_window"]


@dataclass(frozen=True)
class Limit:
    """Something that a consumer cannot do: layer types (none: all), and the condition under which they fail.

    `unread`: only if no layer reads one of the tops. `{type}` and `{name}` in the texts are the layer's.
    """

    code: str
    types: frozenset[str]
    text: str
    fix: str
    when: Callable[[Layer], bool] | None = None
    unread: bool = False


@dataclass(frozen=True)
class Target:
    """A consumer of Caffe files; `about` says which version, `limits` what it cannot do.

    `dialect` is set for a Caffe. `types` are the layer types of another consumer, empty if unknown.
    `old_format` and `old_input` describe how it fails on Caffe's older formats and on `input:` fields, "" if
    it reads them. `sources` are the cited pages; without any, the limits were found by running the consumer.
    """

    name: str
    about: str
    limits: tuple[Limit, ...] = ()
    dialect: Dialect | None = None
    types: frozenset[str] = frozenset()
    old_format: str = ""
    old_input: str = ""
    sources: tuple[str, ...] = ()


def types(*names: str) -> frozenset[str]:
    """A set of layer types."""
    return frozenset(names)


_DATA = types("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData")
_LOSSES = types(
    "Accuracy",
    "ContrastiveLoss",
    "EuclideanLoss",
    "HDF5Output",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
)
CONVOLUTIONS = types("Convolution", "Deconvolution")
# The layer types that a deploy net of Caffe may have.
DEPLOYED: frozenset[str] = DIALECTS["caffe-master"].types - _DATA - _LOSSES

NOT_DEPLOY = Limit(
    "not-deploy",
    _DATA | _LOSSES,
    "{type} is for training and testing in Caffe",
    "give it the deploy net: Input instead of data, no loss",
)


def uneven_window(layer: Layer, fields: Iterable[str] = ("kernel_size", "stride", "pad", "dilation")) -> bool:
    """Whether a repeated field of a convolution has values that differ."""
    p = layer.proto.convolution_param
    return any(len(set(getattr(p, name))) > 1 for name in fields)
