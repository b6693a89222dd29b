"""Windows, groups and receptive fields of the layers of a net.

The traits `kernel` and `sees` of each layer type define its window and what its tops see; this module walks
the net with them. The receptive field of a blob is the size of the smallest window of the net's image that
holds everything an element may depend on, by the structure of the net alone; the jump is how far the window
moves from one element to the next. `netbuilder.layers.views` has the algebra and its source;
`docs/counting.md` describes what is reported if neither applies.
"""

from __future__ import annotations

from netbuilder.errors import ShapeError
from netbuilder.layers import RULES
from netbuilder.layers.arithmetic import Window
from netbuilder.layers.convolution import conv_kernel
from netbuilder.layers.convolution import group as conv_group
from netbuilder.layers.traits import Kernel, Traits, Unknown
from netbuilder.layers.views import Blobs, ReceptiveField, Seen, View, image, is_image, union
from netbuilder.net import Blob, Layer, Net

__all__ = ["ReceptiveField", "group", "receptive_fields", "window"]

_CONVOLUTION = Kernel(conv_kernel, conv_group)


def window(layer: Layer) -> Window | None:
    """Kernel, stride, pad and dilation of a convolution or pooling, (h, w); None if it has none.

    If the bottom's shape is unknown, two spatial axes are assumed.
    """
    kernel = _kernel(layer)
    try:
        return kernel and kernel.window(layer.proto, layer.bottoms[0].shape if layer.bottoms else None)
    except (ShapeError, IndexError):
        return None  # only for a layer that is kept although unknown: a fork's, with different rules


def group(layer: Layer) -> int:
    """The number of groups of a convolution; 1 for other layers."""
    kernel = _kernel(layer)
    return kernel.group(layer.proto, layer.params[0].shape if layer.params else ()) if kernel else 1


def _kernel(layer: Layer) -> Kernel | None:
    """The kernel of the layer's type; without a rule, the layer's fields decide."""
    rule = RULES.get(layer.type)
    if rule is None:
        return _CONVOLUTION if layer.proto.HasField("convolution_param") else None
    kernel = rule.traits.kernel
    return kernel if isinstance(kernel, Kernel) else None


def receptive_fields(net: Net) -> dict[Blob, ReceptiveField]:
    """The field of each blob that depends on an image: on a data layer's top of three axes or more.

    Blobs without an entry depend on no image, on images of different sizes, or on an image in an unknown way
    (an unknown layer type, a recurrent layer, a piece of a reshaped image).
    """
    views: dict[Blob, View | None] = {}
    for layer in net.layers:
        for top, view in _step(layer, views).items():
            views[top] = view and view.on(top.shape)
    return {blob: field for blob, view in views.items() if view and (field := view.field()) is not None}


def _step(layer: Layer, views: dict[Blob, View | None]) -> dict[Blob, View | None]:
    """What the tops of a layer see; tops without an entry depend on no image."""
    tops = layer.tops
    if not layer.bottoms:
        return {top: image(top.shape) for top in tops if top.shape is None or is_image(top.shape)}
    rule = RULES.get(layer.type)
    traits = rule.traits if rule else Traits()
    skipped = () if isinstance(traits.sizes_only, Unknown) else traits.sizes_only
    seen = [views[b] for i, b in enumerate(layer.bottoms) if i not in skipped and b in views]
    if not seen:
        return {}
    known = [view for view in seen if view is not None]
    if len(known) < len(seen) or layer.unknown or any(top.shape is None for top in tops):
        return dict.fromkeys(tops)
    if all(view.whole for view in known):
        return dict.fromkeys(tops, union(known))
    shapes = [bottom.shape or () for bottom in layer.bottoms]
    blobs = Blobs(shapes, [top.known_shape for top in tops], known)
    found = _seen(traits, layer, blobs)
    return dict(zip(tops, found, strict=True)) if isinstance(found, list) else dict.fromkeys(tops, found)


def _seen(traits: Traits, layer: Layer, blobs: Blobs) -> Seen:
    if isinstance(traits.sees, Unknown):
        return None
    try:
        return traits.sees(layer.proto, blobs)
    except (ShapeError, IndexError):
        return None  # its shapes were given, not inferred
