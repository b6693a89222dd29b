"""Building blocks that emit Caffe layers; see `legos.base` for what a lego is.

Nothing is imported until `from legos import X` asks: each lego costs a fraction of a millisecond to define,
and a command that takes five of them from their own modules should not wait for fifty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    from legos.pooling import HalvingMaxPoolLego
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
    from legos.whitening import WhiteningLego, whitening_filter

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
    "PREACTIVATION_SHORTCUTS",
    "PaddingShortcutLego",
    "PoolProjectionLego",
    "ProbabilityLego",
    "ProjectionLego",
    "ReLULego",
    "ReflectBlurLego",
    "SELego",
    "SHORTCUTS",
    "SKLego",
    "SOURCES",
    "STEM_ENTRIES",
    "ScaleGateLego",
    "ScaledBranch",
    "SequenceLego",
    "ShortcutLego",
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module
        from pkgutil import iter_modules

        for info in iter_modules(__path__):
            module = import_module(f"{__name__}.{info.name}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'legos' has no attribute {name!r}")
