"""Building blocks that emit Caffe layers; see `legos.base` for what a lego is.

`from legos import X` imports the module that defines X and no other: commands start faster that way.
A new lego goes into three lists here: the imports (for type checkers), `__all__` and `_MODULES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from legos.activation import CELULego, ReLULego
    from legos.antialias import BLURS, BlurLego, DepthwiseBlurLego, ReflectBlurLego, ZeroBlurLego
    from legos.attention import (
        ATTENTIONS,
        GATES,
        Attention,
        ConcatGateLego,
        ScaleGateLego,
        SELego,
        SKLego,
        selective_kernel,
    )
    from legos.base import Lego, SequenceLego
    from legos.big_little import BigLittleLego, BigLittleStemLego, ScaledBranch
    from legos.block import BlockLego, BlockStyle
    from legos.conv import ConvBNLego, ConvBNReLULego, ConvLego
    from legos.data import InputLego, LossLego, MemoryDataLego, ProbabilityLego
    from legos.dropblock import DropBlockLego
    from legos.head import (
        ClassifierLego,
        ConcatPoolLego,
        FCStageLego,
        GlobalPoolLego,
        MaxPoolLego,
    )
    from legos.loss import (
        InfogainLossLego,
        LabelSmoothingLossLego,
        LogitsScaleLego,
        SoftTargetLossLego,
        smoothing_matrix,
    )
    from legos.main_branch import (
        BRANCHES,
        BottleneckBranch,
        InceptionTrickBottleneckBranch,
        InceptionTrickBranch,
        MainBranch,
        NormalBranch,
    )
    from legos.merge import EltwiseBNReLULego, EltwiseReLULego
    from legos.normalization import BNLego, BNReLULego, GhostBNLego
    from legos.padding_shortcut import PREACTIVATION_SHORTCUTS, SHORTCUTS, PaddingShortcutLego
    from legos.pool_shortcut import PoolProjectionLego
    from legos.pooling import HalvingMaxPoolLego, OverlappingMaxPoolLego, PaddedMaxPoolLego
    from legos.resample import (
        AVERAGES,
        DOWNSAMPLINGS,
        UPSAMPLINGS,
        AverageDownLego,
        BilinearUpLego,
        CropAverageDownLego,
        DepthwiseAverageDownLego,
        EdgeAverageLego,
        FloorAverageDownLego,
        NearestUpLego,
        RoundedUpAverageDownLego,
        SquareAverageDownLego,
        UpLego,
    )
    from legos.shortcut import ProjectionLego, ShortcutLego
    from legos.sources import (
        SOURCES,
        DataFrameLego,
        HDF5DataLego,
        ImageListLego,
        LevelDBLego,
        LMDBLego,
        SparkImageFrameLego,
        SparkLMDBLego,
        SparkSequenceFileLego,
        Transform,
    )
    from legos.stem import STEM_ENTRIES, ImageNetStemLego, seven_by_seven, three_of_three_by_three
    from legos.unit import Unit, blurred, factored, followed, square
    from legos.whitening import SignedWhiteningLego, WhiteningLego, whitening_filter

__all__ = [
    "ATTENTIONS",
    "AVERAGES",
    "Attention",
    "AverageDownLego",
    "BLURS",
    "BNLego",
    "BNReLULego",
    "BRANCHES",
    "BigLittleLego",
    "BigLittleStemLego",
    "BilinearUpLego",
    "BlockLego",
    "BlockStyle",
    "BlurLego",
    "BottleneckBranch",
    "CELULego",
    "ClassifierLego",
    "ConcatGateLego",
    "ConcatPoolLego",
    "ConvBNLego",
    "ConvBNReLULego",
    "ConvLego",
    "CropAverageDownLego",
    "DOWNSAMPLINGS",
    "DataFrameLego",
    "DepthwiseAverageDownLego",
    "DepthwiseBlurLego",
    "DropBlockLego",
    "EdgeAverageLego",
    "EltwiseBNReLULego",
    "EltwiseReLULego",
    "FCStageLego",
    "FloorAverageDownLego",
    "GATES",
    "GhostBNLego",
    "GlobalPoolLego",
    "HDF5DataLego",
    "HalvingMaxPoolLego",
    "ImageListLego",
    "ImageNetStemLego",
    "InceptionTrickBottleneckBranch",
    "InceptionTrickBranch",
    "InfogainLossLego",
    "InputLego",
    "LMDBLego",
    "LabelSmoothingLossLego",
    "Lego",
    "LevelDBLego",
    "LogitsScaleLego",
    "LossLego",
    "MainBranch",
    "MaxPoolLego",
    "MemoryDataLego",
    "NearestUpLego",
    "NormalBranch",
    "OverlappingMaxPoolLego",
    "PREACTIVATION_SHORTCUTS",
    "PaddedMaxPoolLego",
    "PaddingShortcutLego",
    "PoolProjectionLego",
    "ProbabilityLego",
    "ProjectionLego",
    "ReLULego",
    "ReflectBlurLego",
    "RoundedUpAverageDownLego",
    "SELego",
    "SHORTCUTS",
    "SKLego",
    "SOURCES",
    "STEM_ENTRIES",
    "ScaleGateLego",
    "ScaledBranch",
    "SequenceLego",
    "ShortcutLego",
    "SignedWhiteningLego",
    "SoftTargetLossLego",
    "SparkImageFrameLego",
    "SparkLMDBLego",
    "SparkSequenceFileLego",
    "SquareAverageDownLego",
    "Transform",
    "UPSAMPLINGS",
    "Unit",
    "UpLego",
    "WhiteningLego",
    "ZeroBlurLego",
    "blurred",
    "factored",
    "followed",
    "selective_kernel",
    "seven_by_seven",
    "smoothing_matrix",
    "square",
    "three_of_three_by_three",
    "whitening_filter",
]

# The names of each module that `legos` exports.
_MODULES: dict[str, tuple[str, ...]] = {
    "activation": ("CELULego", "ReLULego"),
    "antialias": ("BLURS", "BlurLego", "DepthwiseBlurLego", "ReflectBlurLego", "ZeroBlurLego"),
    "attention": (
        "ATTENTIONS",
        "Attention",
        "ConcatGateLego",
        "GATES",
        "SELego",
        "SKLego",
        "ScaleGateLego",
        "selective_kernel",
    ),
    "base": ("Lego", "SequenceLego"),
    "big_little": ("BigLittleLego", "BigLittleStemLego", "ScaledBranch"),
    "block": ("BlockLego", "BlockStyle"),
    "conv": ("ConvBNLego", "ConvBNReLULego", "ConvLego"),
    "data": ("InputLego", "LossLego", "MemoryDataLego", "ProbabilityLego"),
    "dropblock": ("DropBlockLego",),
    "head": ("ClassifierLego", "ConcatPoolLego", "FCStageLego", "GlobalPoolLego", "MaxPoolLego"),
    "loss": (
        "InfogainLossLego",
        "LabelSmoothingLossLego",
        "LogitsScaleLego",
        "SoftTargetLossLego",
        "smoothing_matrix",
    ),
    "main_branch": (
        "BRANCHES",
        "BottleneckBranch",
        "InceptionTrickBottleneckBranch",
        "InceptionTrickBranch",
        "MainBranch",
        "NormalBranch",
    ),
    "merge": ("EltwiseBNReLULego", "EltwiseReLULego"),
    "normalization": ("BNLego", "BNReLULego", "GhostBNLego"),
    "padding_shortcut": ("PREACTIVATION_SHORTCUTS", "PaddingShortcutLego", "SHORTCUTS"),
    "pool_shortcut": ("PoolProjectionLego",),
    "pooling": ("HalvingMaxPoolLego", "OverlappingMaxPoolLego", "PaddedMaxPoolLego"),
    "resample": (
        "AVERAGES",
        "AverageDownLego",
        "BilinearUpLego",
        "CropAverageDownLego",
        "DOWNSAMPLINGS",
        "DepthwiseAverageDownLego",
        "EdgeAverageLego",
        "FloorAverageDownLego",
        "NearestUpLego",
        "RoundedUpAverageDownLego",
        "SquareAverageDownLego",
        "UPSAMPLINGS",
        "UpLego",
    ),
    "shortcut": ("ProjectionLego", "ShortcutLego"),
    "sources": (
        "DataFrameLego",
        "HDF5DataLego",
        "ImageListLego",
        "LMDBLego",
        "LevelDBLego",
        "SOURCES",
        "SparkImageFrameLego",
        "SparkLMDBLego",
        "SparkSequenceFileLego",
        "Transform",
    ),
    "stem": ("ImageNetStemLego", "STEM_ENTRIES", "seven_by_seven", "three_of_three_by_three"),
    "unit": ("Unit", "blurred", "factored", "followed", "square"),
    "whitening": ("SignedWhiteningLego", "WhiteningLego", "whitening_filter"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'legos' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"legos.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
