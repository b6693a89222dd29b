"""One rule per Caffe layer type, by family; importing this package fills the registry `RULES`."""

from netbuilder.layers import (
    activation,
    combine,
    convolution,
    data,
    detection,
    forks,
    linear,
    loss,
    normalization,
    pooling,
    recurrent,
    reshape,
)
from netbuilder.layers.base import RULES, Facts, ParamFacts, Rule, Shape, canonical_axis, elements, rule
from netbuilder.layers.data import UnknownShape
from netbuilder.layers.fillers import check_filler

__all__ = [
    "RULES",
    "Facts",
    "ParamFacts",
    "Rule",
    "Shape",
    "UnknownShape",
    "activation",
    "canonical_axis",
    "check_filler",
    "combine",
    "convolution",
    "data",
    "detection",
    "elements",
    "forks",
    "linear",
    "loss",
    "normalization",
    "pooling",
    "recurrent",
    "reshape",
    "rule",
]
