"""Checks between the TRAIN and the TEST net of one file: the solver shares weights by layer name."""

from __future__ import annotations

from collections.abc import Iterator

from netbuilder.checks.finding import Finding, found
from netbuilder.errors import did_you_mean, shape_text
from netbuilder.net import Layer, Net

__all__ = ["between"]


def between(train: Net, test: Net) -> list[Finding]:
    """What goes wrong when the TEST net runs with the weights of the TRAIN net.

    Source: net.cpp, ShareTrainedLayersWith.
    """
    return [*_weights(train, test), *_crops(train, test)]


def _weights(train: Net, test: Net) -> Iterator[Finding]:
    by_name = {layer.name: layer for layer in reversed(train.layers)}
    test_names = {layer.name for layer in test}
    orphans = [layer.name for layer in train if layer.params and layer.name not in test_names]
    for layer in test:
        trained = by_name.get(layer.name)
        if not layer.params or (trained is not None and trained.unknown):
            continue
        if trained is None:
            yield found(
                "phase-weights", layer,
                "the TRAIN net has no layer of this name: in TEST it keeps the weights that it starts with",
                did_you_mean(layer.name, orphans) or "give both phases the same layers with parameters",
            )  # fmt: skip
        elif _shapes(trained) != _shapes(layer):
            yield found(
                "phase-shape", layer,
                f"its parameters are {_text(layer)} in TEST and {_text(trained)} in TRAIN: Caffe "
                "aborts when it tests",
                "give both phases the same image size and fields",
            )  # fmt: skip


def _crops(train: Net, test: Net) -> Iterator[Finding]:
    crops = [{t.name: x.proto.transform_param.crop_size for x in net for t in x.tops[:1] if not x.bottoms}
             for net in (train, test)]  # fmt: skip
    for layer in test:
        if layer.bottoms or not layer.tops:
            continue
        name = layer.tops[0].name
        if name in crops[0] and bool(crops[0][name]) != bool(crops[1][name]):
            there, other = ("TRAIN", "TEST") if crops[0][name] else ("TEST", "TRAIN")
            yield found(
                "crop-in-one-phase", layer,
                f"'{name}' is cropped to {max(crops[0][name], crops[1][name])} in {there} and not in {other}",
                f"give {other} the same crop_size",
            )  # fmt: skip


def _shapes(layer: Layer) -> list[tuple[int, ...]]:
    return [p.shape for p in layer.params]


def _text(layer: Layer) -> str:
    return " ".join(shape_text(p.shape) for p in layer.params) or "none"
