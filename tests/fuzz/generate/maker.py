"""How a random net grows: what every layer may have, and the choices that all drawers share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format

from netbuilder.errors import NetBuilderError
from netbuilder.layers import RULES, elements
from netbuilder.net import PHASES, Net, Phase
from netbuilder.prototxt import parse
from netbuilder.prototxt.data_shapes import shapes_in_data
from netbuilder.schema import LayerParameter, NetParameter
from netbuilder.schema.dialects import DIALECTS
from tests.fuzz.generate import files
from tests.fuzz.generate.fillers import fill

Shape = tuple[int, ...]

NEEDS_DATA = {"Data", "ImageData", "HDF5Data", "WindowData", "Python"}
# Left out: windows of images, and user code. Their rules are tested by hand.
TYPES = sorted(DIALECTS["caffe-master"].types - {"WindowData", "Python"})
# These have fillers or files, which differ in more ways than a single layer shows.
OFTEN = (
    "Convolution", "Deconvolution", "InnerProduct", "Embed", "Scale", "Bias", "PReLU", "LSTM", "RNN",
    "DummyData", "MemoryData", "Data", "Data", "ImageData", "ImageData",
)  # fmt: skip

KEEP_REFUSED = 0.45  # of the layers that we refuse
WRONG = 0.05  # of the choices that are made against the rule


@dataclass
class Case:
    """A generated net: its message, and the phase to load it for."""

    seed: str
    phase: str
    proto: Any = field(repr=False)

    @property
    def text(self) -> str:
        """The net as prototxt."""
        return str(text_format.MessageToString(self.proto))

    @property
    def types(self) -> list[str]:
        """The layer types in order, without the inputs."""
        return [layer.type for layer in self.proto.layer if layer.type != "Input"]

    @property
    def files(self) -> dict[str, bytes]:
        """The files that its layers may read, by relative name; none where no layer reads one."""
        reads = any(x.type in NEEDS_DATA or x.transform_param.mean_file for x in self.proto.layer)
        return files.contents() if reads else {}

    @property
    def path(self) -> str:
        """Where the net would lie, beside its files."""
        return str(files.folder() / "net.prototxt") if self.files else ""

    def parsed(self, refused: list[Any] | None = None) -> Net:
        """The net as we read it. Raises NetBuilderError."""
        return parse(self.text, self.phase, path=self.path, refused=refused)


class Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.phase: Phase = rng.choice(PHASES)
        self.net = Net("fuzz", self.phase, dialect="caffe-master")
        self.layers: list[Any] = []
        self.trained = self.chance(0.6)  # it has a loss, and learns some of the blobs that it starts from

    def case(self, seed: str) -> Case:
        whole = all(self.add(self.rng.choice((*TYPES, *OFTEN))) for _ in range(self.rng.randint(1, 6)))
        if whole and self.trained:
            self.add_losses()
        proto = NetParameter(name="fuzz")
        if self.chance(0.15):
            proto.force_backward = True
        proto.layer.extend(self.layers)
        return Case(seed, self.phase, proto)

    def add_losses(self) -> None:
        """A loss over some of the blobs that nothing reads."""
        unread = set(self.net.outputs)
        for blob in [b for b in self.readable() if b in unread and b.shape]:
            if blob.known_shape.count(0) == 0 and self.chance(0.7):
                name = f"l{len(self.layers)}"
                layer = LayerParameter(type="Reduction", name=name, bottom=[blob.name], top=[name])
                layer.loss_weight.append(1)
                self.append(layer)

    # -- choices -------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def wrong(self) -> bool:
        return self.chance(WRONG)

    def pick(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def size(self) -> int:
        return 0 if self.chance(0.015) else self.pick(1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9)

    def shape(self, *ranks: int) -> Shape:
        rank = self.pick(*(ranks or (4, 4, 4, 4, 2, 2, 3, 1, 5, 0)))
        if self.wrong():
            rank = self.pick(0, 1, 2, 3, 4, 5, 6)
        return tuple(self.size() for _ in range(rank))

    def near(self, shape: Shape) -> Shape:
        """The shape, or seldom one that differs a little."""
        if not self.wrong():
            return shape
        other = list(shape)
        if other and self.chance(0.6):
            i = self.rng.randrange(len(other))
            other[i] = max(0, other[i] + self.pick(-1, 1, 2))
        elif other and self.chance(0.5):
            other.pop()
        else:
            other.insert(self.rng.randint(0, len(other)), self.pick(1, 1, 2))
        return tuple(other)

    def axis(self, rank: int) -> int:
        """An axis of a blob, from either end."""
        if rank == 0 or self.wrong():
            return int(self.rng.randint(-rank - 2, rank + 1))
        return int(self.rng.randint(-rank, rank - 1))

    def filler(self, message: Any, p: float = 0.4) -> None:
        if self.chance(p):
            fill(self, message)

    def fields(self, message: Any, p: float, **values: Any) -> None:
        """Set each field with probability p, to a value or to one of a tuple of values."""
        for name, value in values.items():
            if self.chance(p):
                setattr(message, name, self.pick(*value) if isinstance(value, tuple) else value)

    # -- blobs ---------------------------------------------------------------------------------------

    def blob(self, shape: Shape) -> str:
        """A blob of this shape: one that is there, else a new input."""
        there = [b.name for b in self.readable() if b.shape == shape]
        if there and self.chance(0.4):
            return str(self.rng.choice(there))
        name = f"in{len(self.layers)}"
        layer = LayerParameter(name=name, type="Input", top=[name])
        if self.trained and self.chance(0.3):
            layer.type = "Parameter"
            layer.parameter_param.shape.dim.extend(shape)
        else:
            layer.input_param.shape.add(dim=shape)
        self.append(layer)
        return name

    def readable(self) -> list[Any]:
        """The blobs of known shape, but for inputs without any: reading those is another thing in Caffe."""
        return [
            b
            for b in self.net.blobs.values()
            if b.shape is not None and (b.shape or b.layer.type != "Input" or b.layer.proto.input_param.shape)
        ]

    def any(self, *ranks: int) -> tuple[str, Shape]:
        """Some blob, most likely one that nothing reads yet, of one of these ranks."""
        there = self.readable()
        fitting = [b for b in there if not ranks or len(b.shape or ()) in ranks]
        fresh = [b for b in fitting if b in self.net.outputs]
        if there and self.wrong():
            fitting = fresh = there
        if fitting and self.chance(0.7):
            found = self.rng.choice(fresh if fresh and self.chance(0.8) else fitting)
            return found.name, found.shape or ()
        shape = self.shape(*ranks)
        return self.blob(shape), shape

    # -- layers --------------------------------------------------------------------------------------

    def append(self, layer: Any) -> None:
        shapes = shapes_in_data(layer, files.folder())[0] if layer.type in NEEDS_DATA else None
        self.net.append(layer, top_shapes=shapes)
        self.layers.append(layer)

    def add(self, type: str) -> bool:
        """Add a layer of the type; false if we refuse the last one, which ends the net."""
        for _ in range(12):
            layer = LayerParameter(type=type, name=f"l{len(self.layers)}")
            try:
                self.draw(layer)
                layer.name = f"l{len(self.layers)}"
                self.append(layer)
            except NetBuilderError:
                if self.chance(KEEP_REFUSED):
                    self.layers.append(layer)
                    return False
                continue
            return True
        return True

    def draw(self, layer: Any) -> None:
        rule = RULES[layer.type]
        tops = DRAW[layer.type](self, layer)
        if tops is None:
            tops = 1
        least, _ = rule.tops
        if self.chance(0.02):
            tops = max(0, tops + self.pick(-1, 1))
        elif rule.auto_top and self.chance(0.4):
            tops = 0
        if self.chance(0.01) and layer.bottom:
            self.pick(lambda: layer.bottom.pop(), lambda: layer.bottom.append(layer.bottom[0]))()
        for i in range(tops):
            in_place = 0.2 if rule.in_place == "exact" else 0.04
            if i < len(layer.bottom) and self.chance(in_place):
                layer.top.append(layer.bottom[i])
            elif self.chance(0.005) and self.net.blobs:
                layer.top.append(self.rng.choice(list(self.net.blobs)))
            else:
                layer.top.append(f"t{len(self.layers)}_{i}")
        self.common(layer, len(layer.top), least)

    def common(self, layer: Any, tops: int, least: int) -> None:
        """Fields that every layer has."""
        if self.chance(0.08):
            count = max(tops, least) + (self.pick(-1, 1) if self.wrong() else 0)
            layer.loss_weight.extend([self.pick(0, 1, 1, 0.5) for _ in range(max(0, count))])
        blobs = PARAMS.get(layer.type, 0)
        if self.chance(0.25 if blobs else 0.01):
            for i in range(self.rng.randint(0, blobs) + (1 if self.wrong() else 0)):
                spec = layer.param.add()
                self.fields(
                    spec, 0.25, lr_mult=(0, 1, 2) if layer.type != "BatchNorm" else 0, decay_mult=(0, 1)
                )
                if self.chance(0.3):
                    spec.name = f"{self.pick('u', 'v')}{'b' if i else 'w'}"
                    self.fields(spec, 0.4, share_mode=(0, 1))
        if self.chance(0.15 if self.trained else 0.03):
            count = len(layer.bottom) + (self.pick(-1, 1) if self.wrong() else 0)
            layer.propagate_down.extend([self.chance(0.5) for _ in range(max(0, count))])
        if self.chance(0.03):
            layer.phase = self.pick(0, 1)
        if self.chance(0.02):
            self.inline_blobs(layer)
        if self.chance(0.005):
            layer.include.add(phase=0 if self.phase == "TRAIN" else 1)
            if self.chance(0.3):
                layer.exclude.add()
        if self.chance(0.02):  # fields of another type are ignored
            getattr(
                layer,
                self.pick("pooling_param", "lrn_param", "concat_param", "hdf5_data_param", "transform_param"),
            ).SetInParent()

    def inline_blobs(self, layer: Any) -> None:
        probe = LayerParameter()
        probe.CopyFrom(layer)
        del probe.param[:]
        try:
            facts = RULES[layer.type].infer(probe, [self.net.blobs[b].shape or () for b in layer.bottom])
        except Exception:
            return
        for fact in facts.params:
            # Where they do not fit, other types read beyond them: we refuse, Caffe does not.
            shape = self.near(fact.shape) if layer.type in ("Convolution", "Deconvolution") else fact.shape
            if elements(shape) > 200:
                del layer.blobs[:]
                return
            blob = layer.blobs.add()
            blob.data.extend([0.5] * elements(shape))
            if len(shape) == 4 and self.chance(0.3):
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(shape)
                blob.shape.SetInParent()
        if layer.type in ("LSTM", "RNN") and self.chance(0.3) and layer.blobs:
            layer.blobs.pop()


# How many parameter blobs a type can have.
PARAMS = {
    "Convolution": 2, "Deconvolution": 2, "InnerProduct": 2, "Embed": 2, "BatchNorm": 3, "Scale": 2,
    "Bias": 1, "PReLU": 1, "LSTM": 4, "RNN": 6, "Parameter": 1,
}  # fmt: skip

Draw = Callable[[Maker, Any], int | None]
DRAW: dict[str, Draw] = {}


def draw(*types: str) -> Callable[[Draw], Draw]:
    def register(function: Draw) -> Draw:
        DRAW.update(dict.fromkeys(types, function))
        return function

    return register
