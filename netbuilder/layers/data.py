"""Sources and sinks of data, and Python layers; none of them has operations to count.

A shape that depends on the data itself (a database, images of their own size) is unknown here: the rule
raises `UnknownShape`, and a caller that knows the shape passes it to `Net.add` as `top_shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, ParamFacts, Shape, Unshaped, elements, rule
from netbuilder.layers.fillers import check_filler, check_filler_type
from netbuilder.layers.traits import COMPUTES, Diff, Form, Source, Tops, Traits, Unknown
from netbuilder.layers.unseen import UnknownShape, possible_images, resized_by_fork

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

_LABELLED = Tops.LABELLED
_BY_CLASS = Unknown("it depends on the Python class")


def random_transform(layer: LayerParameter) -> bool:
    """Whether images are cropped or mirrored at random in TRAIN. Source: data_transformer.cpp, Transform."""
    return bool(layer.transform_param.mirror or layer.transform_param.crop_size)


@rule(
    "Input",
    "input_param",
    bottoms=0,
    tops=(1, None),
    traits=COMPUTES._replace(source=Source(Form.FED, "input_param")),
)
def input_(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A blob that the caller fills; one shape for all tops, or one each; without any, `Unshaped`.

    Raises ShapeError. Source: input_layer.cpp.
    """
    shapes = [tuple(s.dim) for s in layer.input_param.shape]
    tops = len(layer.top)
    if not shapes and any(layer.loss_weight):
        raise ShapeError("a top without a shape cannot have a loss weight")
    if len(shapes) not in (0, 1, tops):
        raise ShapeError(f"{tops} tops need one shape, or one each, got {len(shapes)}")
    return Facts(tuple(shapes) if len(shapes) == tops else tuple(shapes or [Unshaped()]) * tops)


def _dummy_data_draws(layer: LayerParameter) -> bool:
    return any(filler.type != "constant" for filler in layer.dummy_data_param.data_filler)


@rule(
    "DummyData",
    "dummy_data_param",
    bottoms=0,
    tops=(1, None),
    traits=COMPUTES._replace(draws=_dummy_data_draws, source=Source(Form.MADE, "dummy_data_param")),
)
def dummy_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Blobs filled by fillers; shapes once or one each, or the legacy num, channels, height, width.

    Raises ShapeError. Source: dummy_data_layer.cpp, LayerSetUp.
    """
    p = layer.dummy_data_param
    tops = len(layer.top)
    if len(p.data_filler) not in (0, 1, tops):
        raise ShapeError(f"{tops} tops need one data_filler, or one each, got {len(p.data_filler)}")
    legacy = {name: list(getattr(p, name)) for name in ("num", "channels", "height", "width")}
    if any(legacy.values()):
        if p.shape:
            raise ShapeError("shape and the legacy num, channels, height, width are both given: give shape")
        for name, values in legacy.items():
            if len(values) not in (1, tops):
                raise ShapeError(f"{tops} tops need {name} once, or once each, got {len(values)}")
        shapes = [tuple(v[i if len(v) > 1 else 0] for v in legacy.values()) for i in range(tops)]
    else:
        shapes = [tuple(s.dim) for s in p.shape]
        if len(shapes) not in (1, tops):
            raise ShapeError(f"{tops} tops need one shape, or one each, got {len(shapes)}")
        shapes *= tops if len(shapes) == 1 else 1
    for i, shape in enumerate(shapes):
        filler = p.data_filler[i if len(p.data_filler) > 1 else 0] if p.data_filler else None
        if filler is None or filler.type == "constant":
            check_filler(filler, shape, "data_filler")
        else:  # these fill on each forward pass, not when the net is built
            check_filler_type(filler, "data_filler")
    return Facts(tuple(shapes))


# It transforms images when they are added, not in the forward pass.
@rule(
    "MemoryData",
    "memory_data_param",
    bottoms=0,
    tops=2,
    traits=COMPUTES._replace(source=Source(Form.FED, "memory_data_param", tops=_LABELLED, transforms=True)),
)
def memory_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images and labels passed in memory -> (batch_size, channels, height, width), (batch_size,).

    The fields of CaffeOnSpark say where the images come from; they do not change shapes.
    Raises ShapeError. Source: memory_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.memory_data_param
    shape = (p.batch_size, p.channels, p.height, p.width)
    if elements(shape) == 0:
        raise ShapeError("batch_size, channels, height and width must all be given and positive")
    return Facts((shape, (p.batch_size,)))


@rule(
    "ImageData",
    "image_data_param",
    "transform_param",
    bottoms=0,
    tops=2,
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(
            Form.IMAGE_LIST, "image_data_param", "image_data_param.source", _LABELLED, transforms=True
        ),
    ),
)
def image_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images and labels listed in a text file -> (batch_size, c, h, w), (batch_size,).

    h and w are crop_size, else new_height and new_width; with neither they are those of the first image.
    force_gray and force_color are for databases of encoded images and have no effect here.
    Raises ShapeError and UnknownShape. Source: image_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.image_data_param
    t = layer.transform_param
    crop = t.crop_size
    channels = 3 if p.is_color else 1
    unknown = possible_images(layer, p.batch_size, channels), ((p.batch_size,),)
    if p.batch_size < 1:
        raise ShapeError("batch_size must be positive")
    if bool(p.new_height) != bool(p.new_width):
        raise ShapeError("new_height and new_width come in pairs: give both or neither")
    if crop and p.new_height and crop > min(p.new_height, p.new_width):
        raise ShapeError(f"crop_size {crop} is larger than the images, {p.new_height}x{p.new_width}")
    if not (crop or p.new_height):
        raise UnknownShape("the size of the images: give new_height and new_width, or crop_size", *unknown)
    if field := resized_by_fork(t):
        raise UnknownShape(f"the size that {field}, a field of forks, gives the images", *unknown)
    h, w = (crop, crop) if crop else (p.new_height, p.new_width)
    return Facts(((p.batch_size, channels, h, w), (p.batch_size,)))


@rule(
    "Data",
    "data_param",
    "transform_param",
    bottoms=0,
    tops=(1, 2),
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(Form.DATABASE, "data_param", "data_param.source", _LABELLED, transforms=True),
    ),
)
def data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images (and labels) of an LMDB or LevelDB database -> (batch_size, c, h, w)[, (batch_size,)].

    The shape is that of the first record, cropped to crop_size.
    Raises ShapeError and UnknownShape. Source: data_layer.cpp, DataLayerSetUp.
    """
    batch = layer.data_param.batch_size
    if batch < 1:
        raise ShapeError("batch_size is missing or 0")
    raise UnknownShape(
        f"the records of the database '{layer.data_param.source}'", possible_images(layer, batch), ((batch,),)
    )


@rule(
    "HDF5Data",
    "hdf5_data_param",
    bottoms=0,
    tops=(1, None),
    traits=COMPUTES._replace(source=Source(Form.HDF5_LIST, "hdf5_data_param", "hdf5_data_param.source")),
)
def hdf5_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Datasets of HDF5 files, each named like its top -> (batch_size, ...).

    `source` is a text file that lists the .h5 files; the other axes are those of the first of them.
    Raises ShapeError and UnknownShape. Source: hdf5_data_layer.cpp, LayerSetUp.
    """
    if layer.HasField("transform_param"):
        raise ShapeError("cannot transform data: leave transform_param out")
    if not layer.hdf5_data_param.source:
        raise ShapeError("source, the list of HDF5 files, is missing")
    raise UnknownShape(f"the HDF5 files listed in '{layer.hdf5_data_param.source}'")


def _hdf5_output_stops(layer: LayerParameter, bottoms: Sequence[Shape], phase: str) -> str:
    """Source: hdf5_output_layer.cpp, Forward_cpu."""
    first = []
    for i, shape in enumerate(bottoms):
        if len(shape) > 4:
            return f"bottom {i} may have at most 4 axes, got {shape_text(shape)}"
        first.append(shape[0] if shape else 1)
    if first[0] != first[1]:
        return f"it writes as many labels as images, and its bottoms have {first[0]} and {first[1]}"
    return ""


@rule(
    "HDF5Output",
    "hdf5_output_param",
    bottoms=2,
    tops=0,
    traits=COMPUTES._replace(
        no_forward=_hdf5_output_stops, writes=lambda layer: (layer.hdf5_output_param.file_name,)
    ),
)
def hdf5_output(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Writes its two bottoms as the datasets data and label of a file, at each forward pass.

    Raises ShapeError. Source: hdf5_output_layer.cpp, LayerSetUp.
    """
    if not layer.hdf5_output_param.file_name:
        raise ShapeError("file_name is missing")
    return Facts(())


@rule(
    "WindowData",
    "window_data_param",
    "transform_param",
    bottoms=0,
    tops=2,
    traits=COMPUTES._replace(
        draws=True,  # which windows make the batch
        source=Source(
            Form.WINDOW_FILE, "window_data_param", "window_data_param.source", _LABELLED, transforms=True
        ),
    ),
)
def window_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Windows of images for detection -> (batch_size, c, crop_size, crop_size), (batch_size,).

    c is that of the images in the window file, `source`.
    Raises ShapeError and UnknownShape. Source: window_data_layer.cpp, DataLayerSetUp.
    """
    if not layer.window_data_param.source:
        raise ShapeError("source, the window file, is missing")
    if layer.transform_param.crop_size < 1:
        raise ShapeError("crop_size, the size of the warped windows, is missing from transform_param")
    batch = layer.window_data_param.batch_size
    certain = (possible_images(layer, batch), ((batch,),)) if batch else ()
    raise UnknownShape(f"the images of the window file '{layer.window_data_param.source}'", *certain)


@rule(
    "Parameter", "parameter_param", bottoms=0, traits=COMPUTES._replace(source=None, diff=Diff.LENT, learns=1)
)
def parameter(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A learnt blob as a top: the net's own variable. Without `shape` it is a scalar.

    Parameters: one weight of that shape, which starts as zeros and has no filler.
    Raises ShapeError. Source: parameter_layer.hpp.
    """
    shape = tuple(layer.parameter_param.shape.dim)
    return Facts((shape,), (ParamFacts(shape, "weight", filled=False),))


@rule(
    "Python",
    "python_param",
    bottoms=(0, None),
    tops=(0, None),
    traits=Traits(**dict.fromkeys(Traits._fields, _BY_CLASS))._replace(
        code=lambda layer: f"{layer.python_param.module}.{layer.python_param.layer}"
    ),
)
def python(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A layer written in Python: its class determines its shapes, parameters and operations.

    Those of published classes are known (`netbuilder.layers.python_layers`).
    Raises ShapeError, and UnknownShape for any other class. Source: python_layer.hpp.
    """
    from netbuilder.layers.python_layers import PYTHON_LAYERS

    p = layer.python_param
    known = PYTHON_LAYERS.get((p.module, p.layer))
    if known:
        tops = known(layer, bottoms)
        if len(layer.top) <= len(tops):
            return Facts(tops[: len(layer.top)])
    raise UnknownShape(f"the Python class {p.module}.{p.layer}")
