"""What a target is: a consumer of Caffe files, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netbuilder.checks.consumers.conditions import old_axis, trains
from netbuilder.checks.graph import Graph
from netbuilder.net import Layer
from netbuilder.schema.dialects import DIALECTS, Dialect

__all__ = [
    "COMPUTING",
    "CONVOLUTIONS",
    "CROP_IN_PLACE",
    "DEPLOYED",
    "INLINE_BLOBS",
    "LRN_K",
    "NOT_DEPLOY",
    "OLD_AXIS",
    "SECOND_TOP",
    "TRAINS",
    "Limit",
    "Target",
    "types",
    "uneven_window",
]

_ACROSS = 0


@dataclass(frozen=True)
class Limit:
    """Something that a consumer cannot do: layer types (none: all), and the condition under which they fail.

    `when` is about the layer alone, `where` about its place in the net; both must hold. `{type}` and `{name}`
    in the texts are the layer's.
    """

    code: str
    types: frozenset[str]
    text: str
    fix: str
    when: Callable[[Layer], bool] | None = None
    where: Callable[[Layer, Graph], bool] | None = None
    severity: str = "error"


@dataclass(frozen=True)
class Target:
    """A consumer of Caffe files; `about` says which version, `limits` what it cannot do.

    `dialect` is set for a Caffe. `types` are the layer types of another consumer, empty if unknown.
    `refuses` says whether it refuses or misreads a fork's field or label, named as in `Dialect.adds`; None
    if that is not known. `old_format` and `old_input` describe how it fails on Caffe's older formats and on
    `input:` fields, "" if it reads them. `sources` are the cited pages; without any, the limits were found by
    running the consumer.
    """

    name: str
    about: str
    limits: tuple[Limit, ...] = ()
    dialect: Dialect | None = None
    types: frozenset[str] = frozenset()
    refuses: Callable[[str], bool] | None = None
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


# Fields of forks that change what a layer computes.
COMPUTING = frozenset(
    {
        *(
            "BatchNormParameter." + name
            for name in ("bias_filler", "bias_term", "filler", "relu", "scale_bias")
        ),
        *("BatchNormParameter." + name for name in ("scale_filler", "use_weight_bias")),
        *("ConvolutionParameter." + name for name in ("negative_slope", "relu")),
        *("PoolingParameter." + name for name in ("avg_include_pad", "ceil_mode", "torch_pooling")),
        "DropoutParameter.sample_weights_test",
        "ELUParameter.lambda",
        "ReLUParameter.fuse",
    }
)
LRN_K = Limit(
    "lrn",
    types("LRN"),
    "k is taken for 1",
    "keep k at 1",
    lambda layer: (p := layer.proto.lrn_param).k != 1 and p.beta != 0 and p.norm_region == _ACROSS,
)
OLD_AXIS = Limit(
    "old-axis",
    types("Concat", "Slice"),
    "concat_dim and slice_dim are ignored",
    "write axis",
    old_axis,
)
INLINE_BLOBS = Limit(
    "inline-blobs",
    frozenset(),
    "blobs in the text add to those of the model, or take their place",
    "leave the blobs out of the text",
    lambda layer: len(layer.proto.blobs) > 0,
)
TRAINS = Limit(
    "phase-field",
    types("BatchNorm", "Dropout"),
    "phase: TRAIN in the layer is ignored, which makes Caffe compute as in training",
    "leave phase out",
    trains,
)
CROP_IN_PLACE = Limit(
    "in-place",
    types("Crop"),
    "Crop in place fails, or computes other values",
    "give the top a name of its own",
    lambda layer: layer.in_place,
)
SECOND_TOP = Limit(
    "pooling-mask",
    types("Pooling"),
    "the second top, where the maxima were, fails or has other values",
    "leave the second top out",
    lambda layer: len(layer.tops) > 1,
)


def uneven_window(layer: Layer, fields: Iterable[str] = ("kernel_size", "stride", "pad", "dilation")) -> bool:
    """Whether a repeated field of a convolution has values that differ."""
    p = layer.proto.convolution_param
    return any(len(set(getattr(p, name))) > 1 for name in fields)
