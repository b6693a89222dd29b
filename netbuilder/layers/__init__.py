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
from netbuilder.layers.base import (
    RULES,
    Facts,
    ParamFacts,
    Rule,
    Shape,
    canonical_axis,
    elements,
    has_files,
    is_source,
    replayed_types,
    rule,
    source_of,
)
from netbuilder.layers.coverage import Coverage
from netbuilder.layers.fillers import check_filler
from netbuilder.layers.traits import COMPUTES, Traits, Unknown, known, of_layer
from netbuilder.layers.unseen import UnknownShape

__all__ = [
    "COMPUTES",
    "RULES",
    "Coverage",
    "Facts",
    "ParamFacts",
    "Rule",
    "Shape",
    "Traits",
    "Unknown",
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
    "has_files",
    "is_source",
    "known",
    "linear",
    "loss",
    "normalization",
    "of_layer",
    "pooling",
    "recurrent",
    "replayed_types",
    "reshape",
    "rule",
    "source_of",
]
