"""`Classifier`: a net that classifies images, with the preparation of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from netbuilder.pycaffe import io
from netbuilder.pycaffe.net import Net

__all__ = ["Classifier", "prepare"]


class Classifier(Net):
    """A deploy net with its weights, and how images are made its input (`io.Transformer`).

    `image_dims` is the size to which images are resized before the crop to the net's input.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, 1, weights=pretrained_file)
        self.transformer = prepare(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else image_dims

    def predict(self, inputs: Sequence[Any], oversample: bool = True) -> Any:
        """The first output for each image (h, w, c): the mean over ten crops, or of the centre's."""
        h, w = (int(n) for n in self.image_dims)
        images: Any = np.stack([io.resize_image(image, (h, w)) for image in inputs])
        if oversample:
            images = io.oversample(images, self.crop_dims)
        else:
            top, left, bottom, right = (
                int(size / 2 + sign * crop / 2)
                for sign in (-1, 1)
                for size, crop in zip((h, w), self.crop_dims, strict=True)
            )
            images = images[:, top:bottom, left:right, :]
        (name, *_) = self.inputs
        given = np.stack([self.transformer.preprocess(name, image) for image in images])
        found = self.forward_all(None, **{name: given})[self.outputs[0]]
        return found.reshape(len(found) // 10, 10, -1).mean(1) if oversample else found


def prepare(net: Net, mean: Any, input_scale: Any, raw_scale: Any, channel_swap: Any) -> io.Transformer:
    """What makes images (h, w, c) the first input of a net."""
    name = net.inputs[0]
    transformer = io.Transformer({name: tuple(net.blobs[name].shape)})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
