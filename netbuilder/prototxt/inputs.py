"""Shapes that the user gives for the tops of data layers: for those that live in data, or instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from netbuilder.errors import FieldError, did_you_mean, shape_text
from netbuilder.layers import RULES, Shape
from netbuilder.net import Net, Origin

__all__ = ["apply", "checked", "how_to_give"]

# Their first top is a batch of images, (n, c, h, w), and the second, if any, the labels, (n,).
_IMAGES = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
_IMAGE_AXES = 4


def checked(given: Mapping[str, Sequence[int]], layers: Iterable[Any], path: str) -> dict[str, Shape]:
    """The shapes by top name as tuples.

    Raises FieldError for a name that no data layer gives, and for what is no shape.
    """
    known = [top for layer in layers if _is_source(layer) for top in layer.top]
    for name, shape in given.items():
        if name not in known:
            there = "; it has none" if not known else f": they are {', '.join(repr(k) for k in known)}"
            error = FieldError(f"'{name}' is not an input of this net{there}", hint=did_you_mean(name, known))
            error.where = path
            raise error
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise FieldError(f"the shape of input '{name}' must be positive whole numbers, got {shape!r}")
    return {name: tuple(shape) for name, shape in given.items()}


def apply(layer: Any, shapes: Mapping[str, Shape], origin: Origin) -> list[Shape] | None:
    """Put the shapes of its tops into an Input layer; of another data layer, return them, None without any.

    Raises FieldError for a wrong number of axes, located at `origin`.
    """
    if not _is_source(layer) or not any(top in shapes for top in layer.top):
        return None
    try:
        if layer.type == "Input":
            _reshape(layer, shapes)
            return None
        return _top_shapes(layer, shapes)
    except FieldError as error:
        error.where = str(origin)
        raise


def _is_source(layer: Any) -> bool:
    return not layer.bottom and layer.type != "Parameter"


def _reshape(layer: Any, shapes: Mapping[str, Shape]) -> None:
    old = [tuple(s.dim) for s in layer.input_param.shape] or [()]
    if len(old) == 1:
        old *= len(layer.top)
    if len(old) != len(layer.top):
        return  # which is an error of the file, and found by the rule
    layer.input_param.ClearField("shape")
    for top, shape in zip(layer.top, old, strict=True):
        new = shapes.get(top, shape)
        if shape and len(new) != len(shape):
            raise FieldError(
                f"input '{top}' has {len(shape)} axes, {shape_text(shape)} in the file, got {shape_text(new)}"
            )
        layer.input_param.shape.add(dim=new)


def _top_shapes(layer: Any, shapes: Mapping[str, Shape]) -> list[Shape]:
    """The shapes of as many tops as are known, from the first on."""
    first, *others = layer.top
    images = layer.type in _IMAGES
    if first not in shapes:
        raise FieldError(f"the shape of '{first}', the first top of '{layer.name}', must be given too")
    shape = shapes[first]
    if images and len(shape) != _IMAGE_AXES:
        raise FieldError(f"input '{first}' has 4 axes, (n, channels, height, width), got {shape_text(shape)}")
    crop = layer.transform_param.crop_size
    if images and crop and shape[2:] != (crop, crop):
        raise FieldError(
            f"input '{first}' is cropped to {crop} x {crop} by crop_size, got {shape_text(shape)}"
        )
    known = [shape]
    for top in others:
        if top in shapes:
            known.append(shapes[top])
        elif images:
            known.append(shape[:1])
        elif layer.type in RULES:
            raise FieldError(f"the shape of '{top}', which '{layer.name}' gives too, must be given as well")
        else:
            break
    left = [top for top in others[len(known) - 1 :] if top in shapes]
    if left:
        missing = others[len(known) - 1]
        raise FieldError(f"the shape of '{missing}' must be given too, as it comes before '{left[0]}'")
    return known


def how_to_give(net: Net) -> list[str]:
    """For each data layer whose shape is unknown: `data=256,C,227,227`, with what the file says filled in."""
    out = []
    for layer in net.layers:
        if layer.bottoms or not layer.tops or layer.tops[0].shape is not None:
            continue
        own = getattr(layer.proto, _IMAGES.get(layer.type, ""), None)
        batch = str(getattr(own, "batch_size", "") or "N")
        crop = str(layer.proto.transform_param.crop_size or "")
        out.append(f"{layer.tops[0].name}={batch},C,{crop or 'H'},{crop or 'W'}")
    return out
