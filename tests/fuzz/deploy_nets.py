"""Random deploy nets of the layer types that OpenCV or MNN have, all of them accepted by Caffe.

A net grows layer by layer. Each layer is drawn with the fields that change what it computes, written in all
forms that Caffe takes: axes from both ends, windows once, repeated or as pairs, shapes with 0 and -1. Half
of the nets are one or two layers, which shows a layer's own limits; the others are chains as they occur in
published nets, which consumers fuse. The same seed gives the same net.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format

from netbuilder.errors import NetBuilderError
from netbuilder.layers import RULES, elements
from netbuilder.schema import LayerParameter, NetParameter
from tests.fuzz.deploy_choices import Choices
from tests.fuzz.deploy_layers import DRAW, TYPES

CHAINS = (
    ("Convolution", "BatchNorm", "Scale", "ReLU"),
    ("Convolution", "BatchNorm", "Scale", "PReLU", "Pooling"),
    ("Convolution", "Scale", "Eltwise", "ReLU"),
    ("Convolution", "ReLU", "LRN", "Pooling"),
    ("Convolution", "Power", "TanH"),
    ("Deconvolution", "BatchNorm", "Scale", "Crop"),
    ("Deconvolution", "Crop", "Softmax"),
    ("InnerProduct", "BatchNorm", "Scale", "ReLU"),
    ("InnerProduct", "Dropout", "InnerProduct", "Softmax"),
    ("Pooling", "Flatten", "InnerProduct", "Sigmoid"),
    ("Pooling", "Reshape", "Scale"),
    ("BatchNorm", "Scale", "ReLU", "Convolution"),
    ("MVN", "Scale", "Convolution"),
    ("Concat", "Convolution", "Slice", "Eltwise"),
    ("Split", "Convolution", "Concat"),
    ("Slice", "Eltwise", "Pooling"),
)


@dataclass
class Case:
    """A drawn net: its seed and its message."""

    seed: str
    proto: Any = field(repr=False)

    @property
    def text(self) -> str:
        """The net as prototxt."""
        return str(text_format.MessageToString(self.proto))

    @property
    def types(self) -> list[str]:
        """The layer types in order, without the inputs."""
        return [layer.type for layer in self.proto.layer if layer.type != "Input"]


def case(seed: str) -> Case:
    """The net of a seed."""
    return Case(seed, _Maker(random.Random(seed)).proto())


class _Maker(Choices):
    def proto(self) -> Any:
        """The net; without the inputs that only a refused layer would have read."""
        for type in self.types():
            self.add(type)
        proto = NetParameter(name="fuzz")
        read = {b for layer in self.layers for b in layer.bottom}
        proto.layer.extend(x for x in self.layers if x.type != "Input" or read.intersection(x.top))
        return proto

    def types(self) -> tuple[str, ...]:
        if self.chance(0.25):
            return self.rng.choice(CHAINS)
        return tuple(self.rng.choice(TYPES) for _ in range(self.pick(1, 1, 1, 1, 2, 2, 3, 4)))

    def add(self, type: str) -> None:
        """Add a layer of the type, unless what is drawn is refused ten times."""
        for _ in range(10):
            layer = LayerParameter(type=type)
            tops = DRAW[type](self, layer)
            layer.name = f"l{len(self.layers)}"
            in_place = 0.25 if RULES[type].in_place == "exact" else 0.03
            for i in range(1 if tops is None else tops):
                same = i < len(layer.bottom) and self.chance(in_place)
                layer.top.append(layer.bottom[i] if same else f"t{len(self.layers)}_{i}")
            if self.chance(0.02):
                layer.phase = self.pick(0, 1)
            if self.chance(0.05):
                layer.param.add(lr_mult=self.pick(0, 1))
            try:
                if self.is_empty(layer):
                    continue
                self.append(layer)
            except NetBuilderError:
                continue
            return

    def is_empty(self, layer: Any) -> bool:
        """Whether a top has no elements, which Caffe takes until somebody reads them."""
        facts = RULES[layer.type].infer(layer, [self.net.blobs[b].known_shape for b in layer.bottom])
        return any(top is None or elements(top) == 0 for top in facts.tops)
