"""Layers that read files, and the transform_param of all data layers."""

from __future__ import annotations

from typing import Any

from netbuilder.layers import Shape
from tests.fuzz.generate import files
from tests.fuzz.generate.maker import Maker, draw


def transform(m: Maker, layer: Any, shape: Shape) -> None:
    """Crops, means and the like, for images of this shape (channels, height, width)."""
    if not m.chance(0.7):
        return
    t = layer.transform_param
    smaller = min(shape[1:])
    m.fields(t, 0.3, scale=(1, 0.5, 0, -1), mirror=(True, False), crop_size=(1, 3, smaller, smaller // 2))
    if m.wrong():
        t.crop_size = m.pick(smaller + 1, max(shape[1:]), 20, 0)
    if m.chance(0.3):
        wrong = m.wrong() or m.wrong()
        count = m.pick(1, 2, 3, 4) if wrong else m.pick(1, shape[0])
        t.mean_value.extend(m.pick(0, 104, 1.5) for _ in range(count))
    if m.chance(0.03 if t.mean_value else 0.3):
        wrong = m.chance(0.25) or shape not in files.MEANS
        t.mean_file = files.mean(m.pick(*files.MEANS) if wrong else shape)
        if m.wrong():
            t.mean_file += files.AS_SHAPE
        if m.chance(0.15):  # where data is fed, a missing file counts as data that is not at hand
            t.mean_file = m.pick(*files.NO_MEANS[layer.type == "MemoryData" :])
    m.fields(t, 0.08, force_color=(True, False), force_gray=(True, False))


@draw("Data")
def _data(m: Maker, layer: Any) -> int:
    p = layer.data_param
    name = m.pick(*files.DATABASES)
    p.source = name
    if not m.chance(0.02):
        p.backend = 1 if not m.chance(0.02) else 0
    if not m.chance(0.02):
        p.batch_size = m.pick(1, 2, 4)
    m.fields(p, 0.1, prefetch=(1, 2), rand_skip=(1, 2))
    shape = files.DATABASES[name]
    transform(m, layer, shape)
    return int(m.pick(1, 2))


@draw("ImageData")
def _image_data(m: Maker, layer: Any) -> int:
    p = layer.image_data_param
    name = m.pick(*files.LISTS)
    p.source = name
    shape = files.LISTS[name]
    m.fields(p, 0.3, shuffle=(True, False), batch_size=(1, 2, 4), is_color=shape[0] == 3)
    if m.chance(0.3):
        p.new_height = m.pick(4, 8, 9)
        if not m.wrong():
            p.new_width = m.pick(4, 8, 9)
    if m.chance(0.02):
        p.batch_size = 0
    sized = (shape[1], shape[2]) if not (p.new_height and p.new_width) else (p.new_height, p.new_width)
    transform(m, layer, (3 if p.is_color else 1, *sized))
    return 2


@draw("HDF5Data")
def _hdf5_data(m: Maker, layer: Any) -> int:
    p = layer.hdf5_data_param
    if not m.wrong():
        p.source = m.pick(*files.HDF5_LISTS)
    if not m.wrong():
        p.batch_size = m.pick(1, 2, 3, 4, 7)
    m.fields(p, 0.2, shuffle=(True, False))
    if m.chance(0.04):
        layer.transform_param.scale = 1
    names = m.rng.sample(list(files.DATASETS), m.rng.randint(1, 3))
    if m.wrong():
        names.append(m.pick(files.ODD_DATASET, files.TEXT_DATASET, "none"))
    layer.top.extend(names)
    return 0
