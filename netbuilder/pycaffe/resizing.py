"""Images resized as `caffe.io.resize_image` does it with scikit-image 0.18 and SciPy, which are not needed.

Images of one or three channels are smoothed where they shrink, and then interpolated between the centres of
pixels, with zeros around the image; other arrays are interpolated between their corners. Sources:
skimage.transform.resize with mode "constant", scipy.ndimage.zoom.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["resized", "zoomed"]

Image = Any  # an array of NumPy
Size = tuple[int, int]


def resized(image: Image, size: Size, order: int) -> Image:
    """An image (h, w, c) of numbers from 0 to 1 in another size. Raises NotImplementedError for other orders.

    `order` is 0 for the nearest pixel, 1 for bilinear, 3 for bicubic interpolation.
    """
    if order not in _AT:
        raise NotImplementedError(f"images are resized with interp_order 0, 1 or 3, not {order}")
    factors = [own / wanted for own, wanted in zip(image.shape[:2], size, strict=True)]
    if image.dtype.kind != "f" or image.dtype.itemsize < 4:
        image = image.astype(np.float64)
    for axis, factor in enumerate(factors):
        image = _smoothed(image, axis, max(0.0, (factor - 1) / 2))
    low, high = image.min(), image.max()
    kind = image.dtype
    for axis, (factor, wanted) in enumerate(zip(factors, size, strict=True)):
        if wanted == 1 and size[1 - axis] == 1:
            at = np.array([image.shape[axis] / 2 - 0.5], kind)
        else:
            at = kind.type(factor) * np.arange(wanted, dtype=kind) + kind.type(factor * 0.5 - 0.5)
        if axis == 0:
            rows = at
        else:
            columns = at
    result = _AT[order](image, rows, columns)
    outside = result == 0
    clipped = np.clip(result, low, high)
    if not low <= 0 <= high:
        clipped[outside] = 0
    return clipped


def _smoothed(image: Image, axis: int, sigma: float) -> Image:
    """Convolved with a Gaussian along an axis, with zeros around it. Source: ndimage.gaussian_filter."""
    if sigma <= 1e-15:
        return image
    radius = int(4 * sigma + 0.5)
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 / (sigma * sigma) * x**2)
    kernel /= kernel.sum()
    moved = np.moveaxis(image, axis, 0).astype(np.float64)
    padded = np.pad(moved, [(radius, radius), *[(0, 0)] * (moved.ndim - 1)])
    total = moved * kernel[radius]
    for i in range(1, radius + 1):  # symmetric pairs are added first
        pair = padded[radius - i : len(padded) - radius - i] + padded[radius + i : len(padded) - radius + i]
        total += pair * kernel[radius + i]
    return np.moveaxis(total, 0, axis).astype(image.dtype)


def _pixels(image: Image, rows: Image, columns: Image) -> Image:
    """The pixels in these rows and columns, 0 outside of the image."""
    h, w = image.shape[:2]
    inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None, :]
    found = image[np.clip(rows, 0, h - 1)[:, None], np.clip(columns, 0, w - 1)[None, :]]
    return np.where(inside[:, :, None], found, found.dtype.type(0))


def _nearest(image: Image, rows: Image, columns: Image) -> Image:
    return _pixels(image, *((np.floor(at + 0.5)).astype(int) for at in (rows, columns)))


def _bilinear(image: Image, rows: Image, columns: Image) -> Image:
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    r1, c1 = np.ceil(rows).astype(int), np.ceil(columns).astype(int)
    # scikit-image weighs in float64 here, also where all else is float32.
    dr = (rows - np.floor(rows)).astype(np.float64)[:, None, None]
    dc = (columns - np.floor(columns)).astype(np.float64)[None, :, None]
    top = (1 - dc) * _pixels(image, r0, c0) + dc * _pixels(image, r0, c1)
    bottom = (1 - dc) * _pixels(image, r1, c0) + dc * _pixels(image, r1, c1)
    result: Image = (1 - dr) * top + dr * bottom
    return result.astype(image.dtype)


def _bicubic(image: Image, rows: Image, columns: Image) -> Image:
    """By Catmull and Rom's polynomial through four pixels in each direction."""
    r0, c0 = np.floor(rows).astype(int) - 1, np.floor(columns).astype(int) - 1
    dr = (rows - np.floor(rows)).astype(image.dtype)[:, None, None]
    dc = (columns - np.floor(columns)).astype(image.dtype)[None, :, None]
    lines = [_cubic(dc, [_pixels(image, r0 + i, c0 + j) for j in range(4)]) for i in range(4)]
    return _cubic(dr, lines)


def _cubic(x: Image, f: list[Image]) -> Image:
    inner = x * (2 * f[0] - 5 * f[1] + 4 * f[2] - f[3] + x * (3 * (f[1] - f[2]) + f[3] - f[0]))
    result: Image = f[1] + x.dtype.type(0.5) * x * (f[2] - f[0] + inner)
    return result


_AT = {0: _nearest, 1: _bilinear, 3: _bicubic}


def zoomed(array: Image, size: Size, order: int) -> Image:
    """An array (h, w, c) in another size, its corners staying at the corners."""
    if order not in (0, 1):
        raise NotImplementedError(
            f"arrays that are no images are resized with interp_order 0 or 1, not {order}"
        )
    for axis, wanted in enumerate(size):
        own = array.shape[axis]
        at = np.arange(wanted) * ((own - 1) / (wanted - 1) if wanted > 1 else 0.0)
        low = np.minimum(np.floor(at).astype(int), own - 1)
        if order == 0:
            array = np.take(array, np.minimum(np.floor(at + 0.5).astype(int), own - 1), axis)
            continue
        part = (at - low).reshape(-1, *(1,) * (array.ndim - 1 - axis))
        below = np.take(array, low, axis).astype(np.float64)
        above = np.take(array, np.minimum(low + 1, own - 1), axis)
        array = below * (1 - part) + above * part
    return array
