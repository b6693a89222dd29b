"""Layers without bottoms that need no files."""

from __future__ import annotations

from typing import Any

from tests.fuzz.generate.data import transform
from tests.fuzz.generate.maker import Maker, draw


@draw("Input")
def _input(m: Maker, layer: Any) -> int:
    tops = int(m.pick(1, 1, 2, 3))
    for _ in range(m.pick(0, 1, tops, tops) if not m.wrong() else 2):
        layer.input_param.shape.add(dim=m.shape())
    return tops


@draw("DummyData")
def _dummy_data(m: Maker, layer: Any) -> int:
    p = layer.dummy_data_param
    tops = int(m.pick(1, 1, 2, 3))
    if m.chance(0.3):
        for name in ("num", "channels", "height", "width"):
            times = m.pick(1, tops) if not m.wrong() else m.pick(0, 2)
            getattr(p, name).extend(m.size() for _ in range(times))
    if not (p.num or p.width) or m.wrong():
        for _ in range(m.pick(1, tops) if not m.wrong() else m.pick(0, 2)):
            p.shape.add(dim=m.shape())
    for _ in range(m.pick(0, 1, tops) if not m.wrong() else 2):
        m.filler(p.data_filler.add(), 0.6)
    return tops


@draw("MemoryData")
def _memory_data(m: Maker, layer: Any) -> int:
    p = layer.memory_data_param
    for name in ("batch_size", "channels", "height", "width"):
        if not m.chance(0.02):
            setattr(p, name, m.size())
    transform(m, layer, (p.channels, p.height, p.width))
    return 2


@draw("Parameter")
def _parameter(m: Maker, layer: Any) -> None:
    if not m.wrong():
        layer.parameter_param.shape.dim.extend(m.shape())
