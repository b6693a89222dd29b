"""Building blocks that emit Caffe layers; see `legos.base` for what a lego is."""

from legos.base import Lego
from legos.conv import ConvBNLego, ConvBNReLULego
from legos.data import InputLego, LossLego, MemoryDataLego, ProbabilityLego
from legos.head import ClassifierLego, FCStageLego
from legos.main_branch import (
    BRANCHES,
    BottleneckBranch,
    InceptionTrickBottleneckBranch,
    InceptionTrickBranch,
    MainBranch,
    NormalBranch,
)
from legos.merge import EltwiseReLULego
from legos.shortcut import ProjectionLego, ShortcutLego
from legos.stem import ImageNetStemLego

__all__ = [
    "BRANCHES",
    "BottleneckBranch",
    "ClassifierLego",
    "ConvBNLego",
    "ConvBNReLULego",
    "EltwiseReLULego",
    "FCStageLego",
    "ImageNetStemLego",
    "InceptionTrickBottleneckBranch",
    "InceptionTrickBranch",
    "InputLego",
    "Lego",
    "LossLego",
    "MainBranch",
    "MemoryDataLego",
    "NormalBranch",
    "ProbabilityLego",
    "ProjectionLego",
    "ShortcutLego",
]
