"""Kernel, stride and padding: how Caffe reads them, and the output sizes that follow.

Convolution and Pooling read fields of the same names by different rules; both sets of rules are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import ShapeError

if TYPE_CHECKING:
    from netbuilder.schema.messages import ConvolutionParameter, PoolingParameter

__all__ = [
    "Window",
    "check_stride",
    "conv_extent",
    "conv_window",
    "deconv_extent",
    "pool_extent",
    "pool_window",
    "sides",
]


INT_MAX = 2**31 - 1


class Window(NamedTuple):
    """Kernel, stride, padding and dilation, one number per spatial axis (height first)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]


def conv_window(p: ConvolutionParameter, axes: int) -> Window:
    """The window of a `ConvolutionParameter` over `axes` spatial axes.

    Each of kernel, stride and pad is given once for all axes, once per axis, or (2-D only) as an _h/_w
    pair whose missing half counts as 0. Dilation has no pair. Like Caffe, this refuses a stride of 0 only
    outside a pair; the caller must check pairs (`check_stride`).
    Forks pad the four sides differently (`sides`); the pad is then that of the top and the left.
    Raises ShapeError. Source: base_conv_layer.cpp, LayerSetUp.
    """
    kernel = _conv_field(p, "kernel_size", "kernel", axes, None)
    stride = _conv_field(p, "stride", "stride", axes, 1)
    pad = sides(p)[0] if _has_sides(p, axes) else _conv_field(p, "pad", "pad", axes, 0)
    dilation = _repeated(p.dilation, "dilation", axes, 1)
    if 0 in kernel:
        raise ShapeError(f"kernel must be at least 1 on every axis, got {_text(kernel)}")
    if 0 in p.stride:
        check_stride(stride)
    return _checked(Window(kernel, stride, pad, dilation))


def sides(p: ConvolutionParameter | PoolingParameter) -> tuple[tuple[int, int], tuple[int, int]]:
    """The pads before and after the image, (top, left) and (bottom, right), by fields of Synopsys' fork."""
    return (p.pad_t, p.pad_l), (p.pad_b, p.pad_r)


def _has_sides(p: ConvolutionParameter | PoolingParameter, axes: int) -> bool:
    """Whether the four sides are padded one by one; raises ShapeError if they are in another way as well."""
    if sides(p) == ((0, 0), (0, 0)):
        return False
    if axes != 2:
        raise ShapeError(f"pad_l, pad_r, pad_t and pad_b need two spatial axes, the bottom has {axes}")
    # A convolution's `pad` is repeated, a pooling's is not.
    given = p.HasField("pad") if isinstance(p.pad, int) else bool(p.pad)
    if given or p.HasField("pad_h") or p.HasField("pad_w"):
        raise ShapeError("pad and pad_l, pad_r, pad_t, pad_b are both given: give one of them")
    return True


def check_stride(stride: tuple[int, ...]) -> None:
    """Raise ShapeError for a stride of 0, because Caffe would divide by it."""
    if 0 in stride:
        raise ShapeError(f"stride must be at least 1 on every axis, got {_text(stride)}")


def _checked(window: Window) -> Window:
    """Refuse values that overflow a C int: Caffe reads them as negative and may continue."""
    kernel, stride, pad, dilation = window
    if max(kernel + stride + pad + dilation, default=0) > INT_MAX:
        pairs = zip(window._fields, map(max, window), strict=True)
        name, value = next(pair for pair in pairs if pair[1] > INT_MAX)
        raise ShapeError(f"{name} {value} is more than {INT_MAX}, and Caffe reads {value - 2**32}")
    return window


def _conv_field(
    p: ConvolutionParameter, name: str, stem: str, axes: int, default: int | None
) -> tuple[int, ...]:
    values = getattr(p, name)
    h, w = stem + "_h", stem + "_w"
    if not (p.HasField(h) or p.HasField(w)):
        return _repeated(values, name, axes, default)
    if axes != 2:
        raise ShapeError(f"{h} and {w} need two spatial axes, the bottom has {axes}: use {name}")
    if values:
        raise ShapeError(f"{name} and {h}/{w} are both given: give one of them")
    return getattr(p, h), getattr(p, w)


def _repeated(values: Sequence[int], name: str, axes: int, default: int | None) -> tuple[int, ...]:
    if not values and default is not None:
        return (default,) * axes
    if len(values) == 1:
        return (values[0],) * axes
    if len(values) != axes:
        wanted = "once" if axes < 2 else f"once or {axes} times"
        given = "is missing" if not values else f"is given {len(values)} times"
        raise ShapeError(f"{name} {given}: {axes} spatial axes need it {wanted}")
    return tuple(values)


def conv_extent(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """The output size of a convolution along one axis.

    C's integer division truncates toward zero, so a kernel slightly larger than the padded input still
    gives 1. Source: conv_layer.cpp, compute_output_shape.
    """
    room = size + 2 * pad - (dilation * (kernel - 1) + 1)
    return (room // stride if room >= 0 else -(-room // stride)) + 1


def deconv_extent(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """The output size of a deconvolution along one axis. Source: deconv_layer.cpp, compute_output_shape."""
    return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad


def pool_window(p: PoolingParameter, size: Sequence[int]) -> Window:
    """The window of a `PoolingParameter` over an image of `size` (h, w).

    Unlike a convolution, pooling requires both halves of an _h/_w pair. In Intel's fork, an image may have
    three axes, with fields of their own; Synopsys' pads the four sides differently (`sides`).
    Raises ShapeError. Source: pooling_layer.cpp, LayerSetUp.
    """
    if len(size) == 3:
        return _pool_volume(p, size)
    pad = sides(p)[0] if _has_sides(p, 2) else _pool_pair(p, "pad", "pad")
    stride = _pool_pair(p, "stride", "stride")
    pair = p.HasField("kernel_h") and p.HasField("kernel_w")
    kernel: tuple[int, int]
    if p.global_pooling:
        if p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w"):
            raise ShapeError("global_pooling covers the whole image: leave the kernel out")
        if pad != (0, 0) or stride != (1, 1):
            raise ShapeError(f"global_pooling needs pad 0 and stride 1, got {_text(pad)} and {_text(stride)}")
        kernel = size[0], size[1]
    elif p.HasField("kernel_size") == pair:
        raise ShapeError("the kernel must be given as kernel_size, or as both kernel_h and kernel_w")
    else:
        kernel = (p.kernel_h, p.kernel_w) if pair else (p.kernel_size, p.kernel_size)
    return _checked_pooling(Window(kernel, stride, pad, (1, 1)), "both axes", small_pad=not _has_sides(p, 2))


def _pool_volume(p: PoolingParameter, size: Sequence[int]) -> Window:
    """The window over three axes, in Intel's fork. Source: intel/caffe, pooling_layer.cpp, LayerSetUp."""
    pairs = ("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w")
    if any(field.name in pairs for field, _ in p.ListFields()):
        raise ShapeError("_h and _w need two spatial axes, the bottom has 3: use kernel_size_3d and its kin")
    kernel = tuple(size) if p.global_pooling else _repeated(p.kernel_size_3d, "kernel_size_3d", 3, None)
    stride = _repeated(p.stride_3d, "stride_3d", 3, 1)
    pad = _repeated(p.pad_3d, "pad_3d", 3, 0)
    if p.global_pooling and (p.kernel_size_3d or any(pad) or set(stride) != {1}):
        raise ShapeError("global_pooling covers the whole image: leave kernel, stride and pad out")
    return _checked_pooling(Window(kernel, stride, pad, (1, 1, 1)), "all axes")


def _checked_pooling(window: Window, axes: str, *, small_pad: bool = True) -> Window:
    kernel, stride, pad, _ = window
    if 0 in kernel:
        raise ShapeError(f"kernel must be at least 1 on {axes}, got {_text(kernel)}")
    if 0 in stride:
        raise ShapeError(f"stride must be at least 1 on {axes}, got {_text(stride)}")
    if small_pad and any(q >= k for q, k in zip(pad, kernel, strict=True)):
        raise ShapeError(f"pad {_text(pad)} must be smaller than the kernel {_text(kernel)} on {axes}")
    return _checked(window)


def _pool_pair(p: PoolingParameter, name: str, stem: str) -> tuple[int, int]:
    h, w = p.HasField(stem + "_h"), p.HasField(stem + "_w")
    if not (h or w):
        value = getattr(p, name)
        return value, value
    if not (h and w):
        missing = f"{stem}_w" if h else f"{stem}_h"
        raise ShapeError(f"{stem}_h and {stem}_w come in pairs in Pooling: {missing} is missing")
    if p.HasField(name):
        raise ShapeError(f"{name} and {stem}_h/{stem}_w are both given: give one of them")
    return getattr(p, stem + "_h"), getattr(p, stem + "_w")


def pool_extent(
    size: int, kernel: int, stride: int, pad: int, *, floor: bool = False, clip: bool, end: int | None = None
) -> int:
    """The output size of a pooling along one axis: rounded up, or down if `floor`.

    `clip` is true when the layer pads on either axis; a last window that would start beyond the image and
    its leading pad is then dropped. `end` is the pad after the image, if it is another than before it.
    Source: pooling_layer.cpp, Reshape.
    """
    room = size + pad + (pad if end is None else end) - kernel
    out = (room // stride if floor else -(-room // stride)) + 1
    if clip and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def _text(pair: Sequence[int]) -> str:
    return "x".join(str(n) for n in pair)
