"""Shapes of data layers' tops that the file does not state: given by the user, else read from the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import FieldError, ShapeError, did_you_mean, shape_text
from netbuilder.layers import RULES, Shape, is_source, source_of
from netbuilder.layers.python_layers import is_known
from netbuilder.layers.traits import Source, Tops
from netbuilder.net import Layer, Net, Origin
from netbuilder.schema.fields import has_field

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

__all__ = ["apply", "checked", "complete", "find", "givable", "how_to_give", "unknown_makers"]

_IMAGE_AXES = 4
_GIVEN = "; the shape is given"


def checked(
    given: Mapping[str, Sequence[int]], layers: Iterable[LayerParameter], path: str
) -> dict[str, Shape]:
    """The shapes by top name as tuples.

    Raises FieldError for a name that is not the top of a layer, and for an invalid shape.
    """
    layers = list(layers)
    known = [top for layer in layers for top in layer.top]
    for name, shape in given.items():
        if name not in known:
            inputs = [top for layer in layers if is_source(layer) for top in layer.top]
            there = "; it has none" if not inputs else f": they are {', '.join(repr(k) for k in inputs)}"
            error = FieldError(
                f"'{name}' is not an input of this net{there}", hint=did_you_mean(name, inputs or known)
            )
            error.where = path
            raise error
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise FieldError(f"the shape of input '{name}' must be positive whole numbers, got {shape!r}")
    return {name: tuple(shape) for name, shape in given.items()}


def apply(layer: LayerParameter, shapes: Mapping[str, Shape], origin: Origin) -> list[Shape] | None:
    """Write the given shapes into an Input layer; for other data layers return them, None if none is given.

    Raises FieldError for a wrong number of axes, located at `origin`.
    """
    given = [top for top in layer.top if top in shapes]
    if not given or not is_source(layer) or is_known(layer):
        return None
    if layer.HasField("python_param") and len(given) < len(layer.top):
        return None  # each by itself, in `complete`
    try:
        if layer.type == "Input":
            _reshape(layer, shapes)
            return None
        return _top_shapes(layer, shapes)
    except FieldError as error:
        error.where = str(origin)
        raise


def find(
    layer: LayerParameter, shapes: Mapping[str, Shape], folder: Path | None, origin: Origin
) -> tuple[list[Shape] | None, str]:
    """The shapes of a data layer's tops, given or read from its data; else None, and why not.

    None without a reason means that the layer needs neither. `folder` is the file's; without it no data is
    read. Raises like `apply`, and ShapeError for data on which Caffe would abort.
    """
    given = apply(layer, shapes, origin) if shapes else None
    source = source_of(layer.type)
    if given is not None or folder is None or source is None or layer.bottom:
        return given, ""
    if not (source.stored or (source.transforms and layer.transform_param.mean_file)):
        return None, ""
    from netbuilder.prototxt.data_shapes import READERS, check_mean_of_fed, shapes_in_data

    try:
        if READERS.get(layer.type) is not None:
            return shapes_in_data(layer, folder)
        if not source.stored:
            check_mean_of_fed(layer, folder)
        return None, ""
    except ShapeError as error:
        error.text = f"{layer.type} '{layer.name}': {error.text}"
        error.args = (error.text,)
        error.where = str(origin)
        raise


def complete(layer: Layer, shapes: Mapping[str, Shape]) -> None:
    """Give the tops of a layer of the net the shapes of which nothing else is known, or only a beginning.

    A layer of unknown type, with unknown fields or in Python stays uncounted, and what comes after it is
    counted. The classes of Python that are known by their shapes after loading take other ones.
    Raises FieldError for a shape that is not the one that follows from the layer.
    """
    for top in layer.tops:
        shape = shapes.get(top.name)
        if shape is None or shape == top.shape:
            continue
        if top.shape is not None and not is_known(layer.proto):
            error = FieldError(
                f"the shape of '{top.name}' follows from {layer.type} '{layer.name}': it is "
                f"{shape_text(top.shape)}, got {shape_text(shape)}",
                hint="give the shapes of data, and of layers whose shapes are unknown",
            )
            error.where = str(layer.origin)
            raise error
        if layer.unknown and top.shape is None:
            layer.unknown = f"{layer.unknown.removesuffix(_GIVEN)}{_GIVEN}"
        top.shape = shape


def givable(net: Net) -> set[str]:
    """The names of the tops whose shapes may be given: data, and what no rule infers."""
    return {
        top.name
        for layer in net.layers
        if not layer.bottoms or (layer.kind is None and (layer.unknown or is_known(layer.proto)))
        for top in layer.tops
    }


def _stored(type: str) -> Source | None:
    """The source of a layer type's data, if that is files or a device."""
    source = source_of(type)
    return source if source and source.stored else None


def _reshape(layer: LayerParameter, shapes: Mapping[str, Shape]) -> None:
    old = [tuple(s.dim) for s in layer.input_param.shape] or [()]
    if len(old) == 1:
        old *= len(layer.top)
    if len(old) != len(layer.top):
        return  # an error of the file, which the rule reports
    layer.input_param.ClearField("shape")
    for top, shape in zip(layer.top, old, strict=True):
        new = shapes.get(top, shape)
        if shape and len(new) != len(shape):
            raise FieldError(
                f"input '{top}' has {len(shape)} axes, {shape_text(shape)} in the file, got {shape_text(new)}"
            )
        layer.input_param.shape.add(dim=new)


def _top_shapes(layer: LayerParameter, shapes: Mapping[str, Shape]) -> list[Shape]:
    """The shapes of as many tops as are known, from the first on."""
    first, *others = layer.top
    source = _stored(layer.type)
    images, boxes = bool(source and source.images), bool(source and source.tops is Tops.BOXED)
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
        elif images and not boxes:
            known.append(shape[:1])
        elif layer.type in RULES and not boxes:
            raise FieldError(f"the shape of '{top}', which '{layer.name}' gives too, must be given as well")
        else:
            break
    left = [top for top in others[len(known) - 1 :] if top in shapes]
    if left:
        missing = others[len(known) - 1]
        raise FieldError(f"the shape of '{missing}' must be given too, as it comes before '{left[0]}'")
    return known


def unknown_makers(net: Net) -> list[str]:
    """A template of `--input` for each shape that the layer itself leaves unknown, and that others need."""
    read = {blob for layer in net.layers for blob in layer.bottoms}
    return [
        f"{top.name}=N,..."
        for layer in net.layers
        if layer.bottoms and all(bottom.shape is not None for bottom in layer.bottoms)
        for top in layer.tops
        if top.shape is None and top in read
    ]


def how_to_give(net: Net) -> list[str]:
    """A template of `--input` for each data layer whose shape is unknown, with the file's values filled in.

    `data=256,C,227,227` for images, whose labels follow; `x=20,...` for each top of HDF5Data, which may have
    any number of axes.
    """
    out = []
    for layer in net.layers:
        if layer.bottoms or not layer.tops or layer.tops[0].shape is not None:
            continue
        source = _stored(layer.type)
        own: Any = getattr(layer.proto, source.message, None) if source else None
        batch = getattr(own, "batch_size", 0) or "N"
        if source and not source.images:
            out += [f"{top.name}={batch},..." for top in layer.tops]
            continue
        colors = own is not None and has_field(own, "is_color")
        channels = "C" if not colors else 3 if own.is_color else 1
        crop = layer.proto.transform_param.crop_size
        out.append(f"{layer.tops[0].name}={batch},{channels},{crop or 'H'},{crop or 'W'}")
    return out
