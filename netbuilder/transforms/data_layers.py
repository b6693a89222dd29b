"""A net with real data layers in place of its placeholder."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from netbuilder.errors import ConfigError, ShapeError, shape_text
from netbuilder.layers import RULES, known
from netbuilder.net import Layer, Net

if TYPE_CHECKING:
    from netbuilder.net import Part

    class Source(Part, Protocol):
        """A lego of a data layer, as in `legos.sources`."""

        @property
        def shape(self) -> tuple[int, ...]:
            """The shape (n, c, h, w) of its images, after the transformation."""


__all__ = ["check_stored", "with_data"]


def with_data(net: Net, source: Source, *, loss: str = "") -> Net:
    """A net with `source` in place of its MemoryData, and with `loss` in place of SoftmaxWithLoss.

    Another loss leaves out Accuracy, which needs classes, and the source gives as many labels as the net has
    scores.

    If the data exists, its image shape is checked against the source's. Raises ConfigError for a net without
    the placeholder, for data that does not fit, and where a layer does not accept the batch.
    """
    first = next(iter(net), None)
    if first is None or first.type != "MemoryData" or [b.name for b in first.tops] != ["data", "label"]:
        raise ConfigError(
            f"{net.name} does not begin with MemoryData 'data' with the tops data and label, "
            "which --data replaces", key="data",
        )  # fmt: skip
    from netbuilder.transforms.rebatch import rebatched

    others: dict[str, str | None] = {}
    if loss:
        scores = [layer.bottoms[0] for layer in net if layer.type == "SoftmaxWithLoss"]
        if not scores:
            raise ConfigError(f"{net.name} has no SoftmaxWithLoss, which {loss} would replace", key="loss")
        metrics = [layer.type for layer in net if known(RULES[layer.type].traits.metric, False)]
        others = {**dict.fromkeys(metrics), "SoftmaxWithLoss": loss}
        count = math.prod(scores[0].known_shape[1:])
        source = dataclasses.replace(source, label_count=count)  # type: ignore[type-var]
    new = rebatched(net, source.shape[0], source=source, others=others)
    for layer in new.layers[:2]:
        if not layer.bottoms:
            check_stored(new, layer)
    return new


def check_stored(net: Net, layer: Layer) -> None:
    """Raise ConfigError if the data exists, and has another shape than the net takes."""
    from netbuilder.prototxt.data_shapes import READERS, shapes_in_data

    if READERS.get(layer.type) is None:
        return

    wanted = layer.tops[0].known_shape
    try:
        shapes, _ = shapes_in_data(layer.proto, Path())
    except ShapeError as error:
        error.text = f"the data of the {net.phase} net does not fit: {error.text}"
        raise
    if shapes and shapes[0] != wanted and layer.name == "label":
        stored, taken = shape_text(shapes[0][1:]), shape_text(wanted[1:])
        raise ConfigError(
            f"the {net.phase} net gets labels of {stored} for each image, and has scores for {taken}",
            key="classes", hint=f"build it with {shapes[0][1]} classes, or make the database of other labels",
        )  # fmt: skip
    if shapes and shapes[0] != wanted:
        stored, taken = shape_text(shapes[0][1:]), shape_text(wanted[1:])
        raise ConfigError(
            f"the data of the {net.phase} net gives images of {stored}, and the net takes {taken}",
            key="input_size", hint="channels, height, width, after the crop: make the two agree",
        )  # fmt: skip
