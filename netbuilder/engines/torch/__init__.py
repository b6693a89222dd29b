"""Nets in PyTorch, with Caffe's numerics: `module(net)` makes an `nn.Module` of a Net or a prototxt file.

PyTorch is imported when `module` is called, so that everything else works without it. See docs/pytorch.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import EngineError
from netbuilder.net import Net

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule

__all__ = ["module"]


def module(
    net: Net | str | Path,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    seed: int | None = None,
    passes: Iterable[str] | None = None,
    dtype: str = "float32",
) -> NetModule:
    """The net as an `nn.Module` that computes what Caffe computes.

    `net` is a Net, or the path of a prototxt or solver file, read for `phase`, `level` and `stages`; the
    phase of a Net is its own. Parameters are filled by the net's fillers, from `seed` if it is given.
    `passes` names what makes it fast (`netbuilder.engines.torch.passes.PASSES`; None stands for the default,
    () for none); with `dtype` "bfloat16" or "float16" it computes in that precision, by PyTorch's autocast.
    Raises EngineError if PyTorch is missing or a layer has no operator, and whatever `prototxt.read` raises.
    """
    try:
        from netbuilder.engines.torch.network import NetModule
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise EngineError(
            "PyTorch is not installed", hint="pip install 'caffe-netbuilder[torch]', or use --engine caffe"
        ) from None
    if not isinstance(net, Net):
        from netbuilder.prototxt import read

        net = read(net, phase, level=level, stages=stages, dialect="any")
    return NetModule(net, seed=seed, passes=passes, dtype=dtype)
