"""`Detector`: a net that classifies windows of images, as R-CNN does."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from netbuilder.pycaffe import io
from netbuilder.pycaffe.classifier import prepare
from netbuilder.pycaffe.net import Net

__all__ = ["Detector"]

_PROPOSALS = "selective_search_ijcv_with_python"


class Detector(Net):
    """A deploy net with its weights, and how windows are made its input.

    `context_pad` is the border around a window that is cropped with it, in pixels of the net's input.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: Any = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, 1, weights=pretrained_file)
        self.transformer = prepare(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """The first output for each window (ymin, xmin, ymax, xmax) of each image file.

        A list of dicts with `window`, `prediction` and `filename`.
        """
        pairs = [(file, window) for file, windows in images_windows for window in windows]
        images = {file: io.load_image(file).astype(np.float32) for file in dict.fromkeys(f for f, _ in pairs)}
        name = self.inputs[0]
        crops = [self.crop(images[file], window) for file, window in pairs]
        given = np.stack([self.transformer.preprocess(name, crop.copy()) for crop in crops])
        found = self.forward_all(None, **{name: given})[self.outputs[0]]
        return [
            {"window": window, "prediction": prediction, "filename": file}
            for (file, window), prediction in zip(pairs, found, strict=True)
        ]

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """`detect_windows` of the proposals of selective search, a program in Matlab of its own."""
        try:
            search = importlib.import_module(_PROPOSALS)
        except ImportError:
            raise ImportError(
                f"selective search needs the package {_PROPOSALS} and Matlab; give windows of your own to "
                "detect_windows instead",
                name=_PROPOSALS,
            ) from None
        paths = [os.path.abspath(name) for name in image_fnames]
        windows = search.get_windows(paths, cmd="selective_search_rcnn")
        return self.detect_windows(zip(image_fnames, windows, strict=True))

    def crop(self, im: Any, window: Any) -> Any:
        """The part of an image in a window, with its border if `context_pad` is set."""
        if not self.context_pad:
            top, left, bottom, right = (int(n) for n in window)
            return im[top:bottom, left:right]
        size = self.blobs[self.inputs[0]].width
        scale = size / (size - 2 * self.context_pad)
        corners = np.asarray(window, float)
        half = (corners[2:] - corners[:2] + 1) / 2
        centre = corners[:2] + half
        box = np.round(np.concatenate([centre - scale * half, centre + scale * half]))
        zoom = size / (box[2:] - box[:2] + 1)
        pad = np.round(np.maximum(0, -box[:2]) * zoom).astype(int)
        box = np.clip(box, 0, np.tile(im.shape[:2], 2)).astype(int)
        inner = np.round((box[2:] - box[:2] + 1) * zoom).astype(int)
        inner = np.minimum(inner, size - pad)
        part = io.resize_image(im[box[0] : box[2], box[1] : box[3]], inner)
        crop = np.ones(self.crop_dims, np.float32) * self.crop_mean
        crop[pad[0] : pad[0] + inner[0], pad[1] : pad[1] + inner[1]] = part
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the border around windows; outside of the image it is filled with the mean."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].shape[1:]
        self.crop_dims = np.array((height, width, channels))
        self.context_pad = context_pad
        mean = self.transformer.mean.get(name)
        self.crop_mean: Any = np.zeros(self.crop_dims, np.float32)
        if context_pad and mean is not None:
            filling = np.broadcast_to(mean, (channels, height, width)).transpose((1, 2, 0))
            if (swap := self.transformer.channel_swap.get(name)) is not None:
                filling = filling[:, :, np.argsort(swap)]
            if (raw_scale := self.transformer.raw_scale.get(name)) is not None:
                filling = filling / raw_scale
            self.crop_mean = filling
