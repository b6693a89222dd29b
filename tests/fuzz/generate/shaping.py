"""Layers that join, cut, reshape, choose and swallow blobs."""

from __future__ import annotations

from typing import Any

from netbuilder.layers import elements
from tests.fuzz.generate.maker import Maker, draw


@draw("Eltwise")
def _eltwise(m: Maker, layer: Any) -> None:
    name, shape = m.any()
    p = layer.eltwise_param
    layer.bottom.append(name)
    for _ in range(m.pick(1, 1, 1, 2, 3) if not m.chance(0.02) else 0):
        layer.bottom.append(m.blob(m.near(shape)))
    m.fields(p, 0.6, operation=(0, 1, 1, 2))
    m.fields(p, 0.1, stable_prod_grad=(True, False))
    if m.chance(0.3):
        p.coeff.extend([m.pick(1, -1, 0.5)] * (len(layer.bottom) + (m.pick(-1, 1) if m.wrong() else 0)))


@draw("Concat")
def _concat(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.concat_param
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.5) or len(shape) < 2:
        axis = m.axis(len(shape))
        if axis >= 0 and m.chance(0.3):
            p.concat_dim = axis
            if m.chance(0.03):
                p.axis = axis
        else:
            p.axis = axis
    for _ in range(m.pick(0, 1, 1, 2, 3)):
        other = list(shape)
        if -len(shape) <= axis < len(shape):
            other[axis] = m.size()
        layer.bottom.append(m.blob(m.near(tuple(other))))


@draw("Slice")
def _slice(m: Maker, layer: Any) -> int:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.slice_param
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.5) or len(shape) < 2:
        axis = m.axis(len(shape))
        if axis >= 0 and m.chance(0.3):
            p.slice_dim = axis
            if m.chance(0.03):
                p.axis = axis
        else:
            p.axis = axis
    size = shape[axis] if -len(shape) <= axis < len(shape) else 2
    if m.chance(0.5):
        tops = int(m.pick(*[k for k in range(1, size + 1) if size % k == 0] or [1]))
        return tops + (1 if m.wrong() else 0)
    tops = min(m.pick(1, 2, 2, 3), max(1, size))
    points = sorted(m.rng.sample(range(1, size + 1), tops - 1)) if size >= tops else [1] * (tops - 1)
    if m.wrong() and points:
        points[m.rng.randrange(len(points))] = m.rng.randint(0, size + 1)
    p.slice_point.extend(points)
    return tops + (m.pick(-1, 1) if m.wrong() else 0)


@draw("Split")
def _split(m: Maker, layer: Any) -> int:
    layer.bottom.append(m.any()[0])
    return int(m.pick(1, 2, 3))


@draw("Crop")
def _crop(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 3, 5, 2)
    p = layer.crop_param
    axis = 2
    if m.chance(0.5) or len(shape) < 3:
        axis = p.axis = m.axis(len(shape))
    axis = max(0, axis + len(shape) if axis < 0 else axis)
    reference, offsets = list(shape), [0] * max(0, len(shape) - axis)
    for i in range(axis, len(shape)):
        reference[i] = m.rng.randint(min(1, shape[i]), shape[i])
        offsets[i - axis] = m.rng.randint(0, shape[i] - reference[i])
    for i in range(min(axis, len(shape))):
        if m.chance(0.1):
            reference[i] = m.size()
    if m.chance(0.5):
        p.offset.extend(offsets)
    elif m.chance(0.5) and offsets:
        p.offset.append(min(offsets))
    if m.wrong():
        p.offset.append(m.pick(0, 1))
    layer.bottom.extend([name, m.blob(m.near(tuple(reference)))])


@draw("Reshape")
def _reshape(m: Maker, layer: Any) -> None:
    name, shape = m.any()
    p = layer.reshape_param
    layer.bottom.append(name)
    rank, start, end = len(shape), 0, len(shape)
    if m.chance(0.4):
        start = m.rng.randint(0, rank)
        p.axis = start if m.chance(0.5) else start - rank - 1
        if m.chance(0.5):
            end = m.rng.randint(start, rank)
            p.num_axes = end - start
    if m.wrong():
        m.fields(p, 0.5, axis=m.rng.randint(-rank - 2, rank + 1), num_axes=m.pick(-2, -1, 0, 1, 7))
    total = elements(shape[start:end])
    dims: list[int] = []
    for _ in range(m.rng.randint(0, 4)):
        n = m.pick(*[k for k in range(1, total + 1) if total % k == 0] or [1])
        dims.append(n)
        total //= n
    if total != 1 or m.chance(0.5):
        dims.insert(m.rng.randint(0, len(dims)), total if m.chance(0.4) else -1)
    for i, n in enumerate(dims):
        if start + i < rank and n == shape[start + i] and m.chance(0.5):
            dims[i] = 0
    if m.wrong() and dims:
        dims[m.rng.randrange(len(dims))] = m.pick(-1, 0, 1, 2, -2)
    p.shape.dim.extend(dims)


@draw("Flatten")
def _flatten(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    layer.bottom.append(name)
    rank = len(shape)
    if m.chance(0.5) or rank < 2:
        start = m.axis(rank)
        layer.flatten_param.axis = start
        if m.chance(0.5):
            end = m.rng.randint(max(0, start % max(1, rank)), max(0, rank - 1))
            layer.flatten_param.end_axis = m.axis(rank) if m.wrong() else end - m.pick(0, rank)


@draw("Tile")
def _tile(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    layer.bottom.append(name)
    if m.chance(0.5) or len(shape) < 2:
        layer.tile_param.axis = m.axis(len(shape))
    if not m.wrong():
        layer.tile_param.tiles = m.pick(0, -1) if m.wrong() else m.pick(1, 2, 3)


@draw("Reduction")
def _reduction(m: Maker, layer: Any) -> None:
    name, shape = m.any()
    layer.bottom.append(name)
    if m.chance(0.6):
        layer.reduction_param.axis = m.axis(len(shape))
    m.fields(layer.reduction_param, 0.5, operation=(1, 2, 3, 4), coeff=(1, 2, 0))


@draw("ArgMax")
def _argmax(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.argmax_param
    layer.bottom.append(name)
    among = elements(shape[1:])
    if m.chance(0.4):
        axis = p.axis = m.axis(len(shape))
        among = shape[axis] if -len(shape) <= axis < len(shape) else 1
    if m.chance(0.5):
        p.top_k = m.pick(0, among + 1) if m.wrong() else m.rng.randint(1, max(1, among))
    m.fields(p, 0.4, out_max_val=(True, False))


@draw("BatchReindex")
def _batch_reindex(m: Maker, layer: Any) -> None:
    layer.bottom.extend([m.any()[0], m.blob(m.near((m.size(),)))])


@draw("Filter")
def _filter(m: Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 3, 1)
    layer.bottom.append(name)
    batch = shape[0] if shape else 2
    more = m.pick(0, 0, 1, 2)
    for _ in range(more):
        layer.bottom.append(m.blob(m.near((batch, *m.shape(0, 1, 3)))))
    layer.bottom.append(m.blob(m.near((batch, *(1,) * m.pick(0, 0, 1, 3)))))
    return 1 + int(more)


@draw("Silence")
def _silence(m: Maker, layer: Any) -> int:
    layer.bottom.extend(m.any()[0] for _ in range(m.pick(1, 1, 2)))
    return 0


@draw("HDF5Output")
def _hdf5_output(m: Maker, layer: Any) -> int:
    layer.bottom.extend([m.any()[0], m.any()[0]])
    if not m.wrong():
        layer.hdf5_output_param.file_name = f"{len(m.layers)}.h5"
    return 0
