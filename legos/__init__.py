"""Building blocks that emit Caffe layers; see `legos.base` for what a lego is.

Nothing is imported until `from legos import X` asks: each lego costs a fraction of a millisecond to define,
and a command that takes five of them from their own modules should not wait for fifty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legos.attention import SE_GATES, ConcatSELego, SELego
    from legos.base import Lego, SequenceLego
    from legos.big_little import BigLittleLego, BigLittleStemLego, BlockLego, BlockStyle, ScaledBranch
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
    from legos.pool_shortcut import PoolProjectionLego
    from legos.resample import (
        DOWNSAMPLINGS,
        UPSAMPLINGS,
        AverageDownLego,
        BilinearUpLego,
        CropAverageDownLego,
        DepthwiseAverageDownLego,
        FloorAverageDownLego,
        NearestUpLego,
        UpLego,
    )
    from legos.shortcut import ProjectionLego, ShortcutLego
    from legos.stem import ImageNetStemLego

__all__ = [
    "BRANCHES",
    "DOWNSAMPLINGS",
    "SE_GATES",
    "UPSAMPLINGS",
    "AverageDownLego",
    "BigLittleLego",
    "BigLittleStemLego",
    "BilinearUpLego",
    "BlockLego",
    "BlockStyle",
    "BottleneckBranch",
    "ClassifierLego",
    "ConcatSELego",
    "ConvBNLego",
    "ConvBNReLULego",
    "CropAverageDownLego",
    "DepthwiseAverageDownLego",
    "EltwiseReLULego",
    "FCStageLego",
    "FloorAverageDownLego",
    "ImageNetStemLego",
    "InceptionTrickBottleneckBranch",
    "InceptionTrickBranch",
    "InputLego",
    "Lego",
    "LossLego",
    "MainBranch",
    "MemoryDataLego",
    "NearestUpLego",
    "NormalBranch",
    "PoolProjectionLego",
    "ProbabilityLego",
    "ProjectionLego",
    "SELego",
    "ScaledBranch",
    "SequenceLego",
    "ShortcutLego",
    "UpLego",
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
