"""Images and arrays for nets, and Caffe's messages that hold arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netbuilder.pycaffe.proto import caffe_pb2
from netbuilder.pycaffe.resizing import resized, zoomed

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

Array = Any  # of NumPy, of any type


# -- messages ----------------------------------------------------------------------------------------------


def blobproto_to_array(blob: Any, return_diff: bool = False) -> Array:
    """The data of a BlobProto, or its diff, in its shape. Raises ValueError if it has another size."""
    values = np.array(blob.diff if return_diff else blob.data)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return values.reshape(blob.num, blob.channels, blob.height, blob.width)
    return values.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Any:
    """A BlobProto of an array."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[Array]) -> bytes:
    """Arrays as the bytes of a BlobProtoVector."""
    vector = caffe_pb2.BlobProtoVector()
    vector.blobs.extend(array_to_blobproto(array) for array in arraylist)
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:
    """The arrays in the bytes of a BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Any:
    """A Datum of an array (c, h, w): bytes of one of uint8, else float_data."""
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> Array:
    """The array (c, h, w) of a Datum; its image must not be encoded."""
    shape = datum.channels, datum.height, datum.width
    if len(datum.data):
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)


# -- images ------------------------------------------------------------------------------------------------


class Transformer:
    """Makes net inputs of images (h, w, c), and images of inputs; `inputs` are the shapes of inputs by name.

    `preprocess` resizes, transposes, swaps channels, multiplies by `raw_scale`, subtracts the mean, and
    multiplies by `input_scale`, in this order; what is not set is left out.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Any] = {}
        self.channel_swap: dict[str, Any] = {}
        self.raw_scale: dict[str, Any] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, Any] = {}

    def _check(self, name: str) -> None:
        if name not in self.inputs:
            raise Exception(f"{name} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_: str, data: Array) -> Array:
        """An image as the input of this name. Without resizing or swaps, float32 is changed where it is."""
        self._check(in_)
        found: Array = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if found.shape[:2] != size:
            found = resize_image(found, size)
        if (transpose := self.transpose.get(in_)) is not None:
            found = found.transpose(transpose)
        if (channel_swap := self.channel_swap.get(in_)) is not None:
            found = found[channel_swap, :, :]
        if (raw_scale := self.raw_scale.get(in_)) is not None:
            found *= _scalar(raw_scale)
        if (mean := self.mean.get(in_)) is not None:
            found -= mean
        if (input_scale := self.input_scale.get(in_)) is not None:
            found *= _scalar(input_scale)
        return found

    def deprocess(self, in_: str, data: Array) -> Array:
        """The image of an input: `preprocess` backwards, but for the size."""
        self._check(in_)
        found = data.copy().squeeze()
        if (input_scale := self.input_scale.get(in_)) is not None:
            found /= _scalar(input_scale)
        if (mean := self.mean.get(in_)) is not None:
            found += mean
        if (raw_scale := self.raw_scale.get(in_)) is not None:
            found /= _scalar(raw_scale)
        if (channel_swap := self.channel_swap.get(in_)) is not None:
            found = found[np.argsort(channel_swap), :, :]
        if (transpose := self.transpose.get(in_)) is not None:
            found = found.transpose(np.argsort(transpose))
        return found

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """The order of the axes, (2, 0, 1) for (h, w, c) to (c, h, w)."""
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """The order of the channels, (2, 1, 0) for RGB to BGR."""
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """A factor before the mean, 255 for images from 0 to 1."""
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """A mean by channel, or one of the input's size; an image of another size is resized."""
        self._check(in_)
        shape: tuple[int, ...] = mean.shape
        own = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if shape[0] != own[0]:
                raise ValueError("Mean channels incompatible with input.")
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            shape = (1, *shape) if len(shape) == 2 else shape
            if len(shape) != 3:
                raise ValueError("Mean shape invalid")
            if shape != own:
                low, high = mean.min(), mean.max()
                unit = (mean - low) / (high - low)
                mean = resize_image(unit.transpose((1, 2, 0)), own[1:]).transpose((2, 0, 1))
                mean = mean * (high - low) + low
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """A factor after the mean."""
        self._check(in_)
        self.input_scale[in_] = scale


def _scalar(value: Any) -> Any:
    """A number of NumPy's as one of Python's, which leaves float32 what it is."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else value


def load_image(filename: Any, color: bool = True) -> Array:
    """The image of a file, float32 from 0 to 1, (h, w, 3) in RGB, or (h, w, 1) without `color`.

    Raises ImportError without Pillow, and OSError for what is not an image.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("caffe.io.load_image needs Pillow: pip install Pillow", name="PIL") from None
    with Image.open(filename) as file:
        values = _pixels(file)
    if values.ndim == 3 and not color:
        values = values[:, :, :3] @ np.array([0.2125, 0.7154, 0.0721])
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
        values = np.tile(values, (1, 1, 3)) if color else values
    return values[:, :, :3].astype(np.float32)


def _pixels(file: Any) -> Array:
    """The pixels of an open image from 0 to 1, float64: gray, RGB or RGBA."""
    if file.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        file = file.convert("RGBA" if "transparency" in file.info else "RGB")
    elif file.mode in ("1", "LA"):
        file = file.convert("L")
    values = np.asarray(file)
    if values.dtype == np.uint8:
        return values / 255.0
    if file.mode.startswith("I"):  # 16 bits, which Pillow may give as 32
        return values / 65535.0
    return values.astype(float)


def resize_image(im: Array, new_dims: Any, interp_order: int = 1) -> Array:
    """An image or array (h, w, c) in the size (height, width), float32.

    `interp_order` is 0 for the nearest pixel, 1 for linear and, for one or three channels, 3 for cubic
    interpolation.
    """
    size = int(new_dims[0]), int(new_dims[1])
    if im.shape[-1] not in (1, 3):
        return zoomed(im, size, interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if high <= low:  # all the same
        return np.full((*size, im.shape[-1]), low, np.float32)
    result: Array = resized((im - low) / (high - low), size, interp_order) * (high - low) + low
    return result.astype(np.float32)


def oversample(images: Sequence[Array], crop_dims: Any) -> Array:
    """Ten crops of each image (h, w, c): the corners, the centre, and all of these mirrored."""
    height, width = images[0].shape[:2]
    h, w = int(crop_dims[0]), int(crop_dims[1])
    corners = [(y, x) for y in (0, height - h) for x in (0, width - w)]
    # Each end of the centre's crop is rounded on its own, toward zero.
    ends = [int(n) for n in (height / 2 - h / 2, width / 2 - w / 2, height / 2 + h / 2, width / 2 + w / 2)]
    boxes = [*((y, x, y + h, x + w) for y, x in corners), tuple(ends)]
    crops = np.empty((10 * len(images), h, w, images[0].shape[-1]), np.float32)
    for number, image in enumerate(images):
        for i, (top, left, bottom, right) in enumerate(boxes):
            crop = image[top:bottom, left:right, :]
            crops[10 * number + i] = crop
            crops[10 * number + 5 + i] = crop[:, ::-1]
    return crops
