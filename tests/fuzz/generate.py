"""Random small nets over every layer type that needs no data on disk, most of them legal.

A net grows layer by layer. Each layer is drawn with fields that are usually right for its bottoms and
sometimes are not; our own rules then say whether it would be accepted. One that we refuse is mostly drawn
again, and sometimes kept as the last layer: real Caffe must refuse it too.
The same seed gives the same net. The file is long because it is a table of
generators, one for each layer type.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format

from netbuilder.errors import NetBuilderError
from netbuilder.layers import RULES, elements
from netbuilder.layers.fillers import FILLERS
from netbuilder.net import PHASES, Net, Phase
from netbuilder.schema import LayerParameter, NetParameter
from netbuilder.schema.dialects import DIALECTS

Shape = tuple[int, ...]

# Left out: what reads files, and user code. Their rules are tested by hand.
NEEDS_DATA = {"Data", "ImageData", "HDF5Data", "WindowData", "Python"}
TYPES = sorted(DIALECTS["caffe-master"].types - NEEDS_DATA)

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


def case(seed: str) -> Case:
    """The net of a seed."""
    return _Maker(random.Random(seed)).case(seed)


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.phase: Phase = rng.choice(PHASES)
        self.net = Net("fuzz", self.phase, dialect="caffe-master")
        self.layers: list[Any] = []
        self.trained = self.chance(0.6)  # it has a loss, and learns some of the blobs that it starts from

    def case(self, seed: str) -> Case:
        whole = all(self.add(self.rng.choice(TYPES)) for _ in range(self.rng.randint(1, 6)))
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
        if not self.chance(p):
            return
        message.type = "msrra" if self.chance(0.01) else self.pick(*FILLERS, "constant", "xavier", "msra")
        if message.type == "bilinear" and self.chance(0.7):
            message.type = "gaussian"
        if self.chance(0.2):
            message.value = self.pick(0, 1, -0.5)
        if self.chance(0.2):
            message.variance_norm = self.pick(0, 1, 2)
        if self.chance(0.25 if message.type == "gaussian" else 0.02):
            message.sparse = self.pick(0, 1, 2, 5, -1)

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
        self.net.append(layer)
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
        self.common(layer, tops, least)

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
                layer, self.pick("pooling_param", "lrn_param", "concat_param", "hdf5_data_param")
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

Draw = Callable[[_Maker, Any], int | None]
DRAW: dict[str, Draw] = {}


def draw(*types: str) -> Callable[[Draw], Draw]:
    def register(function: Draw) -> Draw:
        DRAW.update(dict.fromkeys(types, function))
        return function

    return register


@draw(
    "ReLU", "Sigmoid", "TanH", "BNLL", "AbsVal", "ELU", "Swish", "Threshold", "Dropout", "Exp", "Log", "Power"
)
def _elementwise(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    p = 0.4
    match layer.type:
        case "ReLU":
            m.fields(layer.relu_param, p, negative_slope=(0, 0.1, -1))
        case "ELU":
            m.fields(layer.elu_param, p, alpha=(0, 1, -1))
        case "Swish":
            m.fields(layer.swish_param, p, beta=(0, 1.5))
        case "Threshold":
            m.fields(layer.threshold_param, p, threshold=(0, 1))
        case "Dropout":
            m.fields(layer.dropout_param, p, dropout_ratio=(0.5, 0.25, 0.5, 0.9, 0.1, 0.7, 0, 1, 1.5, -0.5))
        case "Exp":
            m.fields(layer.exp_param, p, base=(-1, 2, 10, -1, 2, 2, 0, -2, 1), scale=(1, 2, 0), shift=(0, 1))
        case "Log":
            m.fields(layer.log_param, p, base=(-1, 2, 10, -1, 2, 2, 0, -2, 1), scale=(1, 2, 0), shift=(0, 1))
        case "Power":
            m.fields(layer.power_param, p, power=(1, 2, 0, -1, 0.5), scale=(1, 2, 0), shift=(0, 1))
    if layer.type in ("ReLU", "Sigmoid", "TanH"):
        m.fields(getattr(layer, layer.type.lower() + "_param"), 0.05, engine=(0, 1, 1, 2))


@draw("Clip")
def _clip(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    if not m.wrong():
        layer.clip_param.min, layer.clip_param.max = m.pick(0, -1, 5), m.pick(6, 1, 0)


@draw("PReLU")
def _prelu(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 2, 3, 5)[0])
    m.fields(layer.prelu_param, 0.4, channel_shared=(True, False))
    m.filler(layer.prelu_param.filler, 0.3)


@draw("Softmax")
def _softmax(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 2, 3, 1)
    layer.bottom.append(name)
    if m.chance(0.4) or len(shape) < 2:
        layer.softmax_param.axis = m.axis(len(shape))
    m.fields(layer.softmax_param, 0.05, engine=(0, 1, 1, 2))


@draw("Convolution", "Deconvolution", "Im2col")
def _convolution(m: _Maker, layer: Any) -> int | None:
    p = layer.convolution_param
    name, shape = m.any(4, 4, 4, 4, 3, 5)
    rank, axis = len(shape), 1
    if m.chance(0.15) and rank:
        axis = m.axis(rank)
        p.axis = axis
    axis = axis + rank if axis < 0 else axis
    spatial = max(0, rank - axis - 1)
    channels = shape[axis] if 0 <= axis < rank else 1
    if layer.type != "Im2col" or m.chance(0.2):
        group = 1
        if m.chance(0.3):
            group = m.pick(*[g for g in range(1, channels + 1) if channels % g == 0] or [1])
            if m.wrong():
                group = m.pick(0, 2, 3)
            p.group = group
        if not m.wrong():
            p.num_output = max(1, group) * m.pick(1, 2, 3) + (m.pick(0, 1) if m.wrong() else 0)
        m.fields(p, 0.4, bias_term=(True, False))
        m.filler(p.weight_filler)
        m.filler(p.bias_filler, 0.2)
    for stem, values, needed in (
        ("kernel", (1, 1, 2, 3, 3, 4, 5), True),
        ("stride", (1, 1, 2, 2, 3), False),
        ("pad", (0, 0, 1, 1, 2), False),
        ("dilation", (1, 1, 2, 3), False),
    ):
        if m.wrong():
            values = (*values, 0, 0, 7)
        if not needed and m.chance(0.5):
            continue
        if needed and m.chance(0.01):
            continue
        if stem != "dilation" and m.chance(0.25 if spatial == 2 else 0.01):
            setattr(p, f"{stem}_h", m.pick(*values))
            if not m.wrong():
                setattr(p, f"{stem}_w", m.pick(*values))
            if m.chance(0.02):
                getattr(p, "kernel_size" if stem == "kernel" else stem).append(1)
        else:
            times = 1 if m.chance(0.7) else spatial
            if m.wrong():
                times = m.pick(0, 2, 3)
            getattr(p, "kernel_size" if stem == "kernel" else stem).extend(
                m.pick(*values) for _ in range(times)
            )
    if layer.type != "Im2col":
        m.fields(p, 0.02, engine=(0, 1, 1, 2))
    m.fields(p, 0.05, force_nd_im2col=(True, False))
    layer.bottom.append(name)
    if layer.type != "Im2col" and m.chance(0.12):
        layer.bottom.append(m.blob(m.near(shape)))
        return 2
    return None


@draw("Pooling")
def _pooling(m: _Maker, layer: Any) -> int | None:
    p = layer.pooling_param
    layer.bottom.append(m.any(4)[0])
    m.fields(p, 0.6, pool=(0, 0, 1, 1, 2))
    m.fields(p, 0.25, round_mode=(0, 1))
    m.fields(p, 0.02, engine=(0, 1, 1, 2))
    if m.chance(0.15):
        p.global_pooling = m.chance(0.9)
        if p.global_pooling and m.chance(0.9):
            m.fields(p, 0.1, pad=(0, 0, 1), stride=(1, 1, 2))
            return None
    for stem, values, needed in (
        ("kernel", (1, 2, 2, 3, 3, 4, 5), True),
        ("stride", (1, 2, 2, 3), False),
        ("pad", (0, 0, 1, 1, 2), False),
    ):
        if m.wrong():
            values = (*values, 0, 0, 7)
        if (not needed and m.chance(0.5)) or m.chance(0.01):
            continue
        if m.chance(0.3):
            setattr(p, f"{stem}_h", m.pick(*values))
            if not m.wrong():
                setattr(p, f"{stem}_w", m.pick(*values))
            if m.chance(0.02):
                setattr(p, "kernel_size" if stem == "kernel" else stem, 1)
        else:
            setattr(p, "kernel_size" if stem == "kernel" else stem, m.pick(*values))
    return 2 if p.pool == 0 and m.chance(0.2) else None


@draw("SPP")
def _spp(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    if not m.wrong():
        layer.spp_param.pyramid_height = m.pick(1, 2, 2, 3, 4, 0) if m.wrong() else m.pick(1, 2, 2, 3)
    m.fields(layer.spp_param, 0.4, pool=(0, 1, 1, 2))
    m.fields(layer.spp_param, 0.03, engine=(0, 1, 2))


@draw("InnerProduct")
def _inner_product(m: _Maker, layer: Any) -> None:
    p = layer.inner_product_param
    name, shape = m.any(4, 2, 3)
    layer.bottom.append(name)
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3, 5)
    if m.chance(0.25):
        p.axis = m.axis(len(shape))
    m.fields(p, 0.25, bias_term=(True, False), transpose=(True, False))
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.2)


@draw("Embed")
def _embed(m: _Maker, layer: Any) -> None:
    p = layer.embed_param
    layer.bottom.append(m.any(1, 2, 3)[0])
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3, 5)
    if not m.wrong():
        p.input_dim = m.pick(1, 2, 3, 5)
    m.fields(p, 0.3, bias_term=(True, False))
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.2)


@draw("BatchNorm")
def _batch_norm(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 2, 3, 5)[0])
    m.fields(layer.batch_norm_param, 0.2, use_global_stats=(True, False), eps=(1e-3, 0))


@draw("Scale", "Bias")
def _scale(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    rank, axis = len(shape), 1
    layer.bottom.append(name)
    if m.chance(0.4) or rank < 2:
        axis = p.axis = m.axis(rank)
    axis = max(0, axis + rank if axis < 0 else axis)
    run = m.pick(*range(0, rank - axis + 1)) if axis <= rank else 1
    if m.chance(0.35):
        layer.bottom.append(m.blob(m.near(shape[axis : axis + run])))
    if m.chance(0.4):
        p.num_axes = m.pick(-1, run, run, run)
        if m.wrong():
            p.num_axes = m.pick(-2, 5, 0)
    m.filler(p.filler)
    if layer.type == "Scale":
        m.fields(p, 0.5, bias_term=(True, False))
        m.filler(p.bias_filler, 0.3)


@draw("LRN")
def _lrn(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    p = layer.lrn_param
    m.fields(p, 0.6, local_size=(1, 3, 5, 7, 11, 3, 5, 3, 5, 3, 0, 2), norm_region=(0, 1))
    m.fields(p, 0.2, k=(1, 2), alpha=(1, 0.1), beta=(0.75, 0))
    m.fields(p, 0.03, engine=(0, 1, 1, 2))


@draw("MVN")
def _mvn(m: _Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 2, 3, 1, 0)[0])
    m.fields(layer.mvn_param, 0.4, across_channels=(True, False), normalize_variance=(True, False))


@draw("Eltwise")
def _eltwise(m: _Maker, layer: Any) -> None:
    name, shape = m.any()
    p = layer.eltwise_param
    layer.bottom.append(name)
    for _ in range(m.pick(1, 1, 1, 2, 3) if not m.chance(0.02) else 0):
        layer.bottom.append(m.blob(m.near(shape)))
    m.fields(p, 0.6, operation=(0, 1, 1, 2))
    m.fields(p, 0.1, stable_prod_grad=(True, False))
    if m.chance(0.3):
        p.coeff.extend([m.pick(1, -1, 0.5)] * (len(layer.bottom) + (m.pick(-1, 1) if m.wrong() else 0)))


@draw("Concat")
def _concat(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.concat_param
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.5) or len(shape) < 2:
        axis = m.axis(len(shape))
        if axis >= 0 and m.chance(0.3):
            p.concat_dim = axis
            if m.chance(0.03):
                p.axis = axis
        else:
            p.axis = axis
    for _ in range(m.pick(0, 1, 1, 2, 3)):
        other = list(shape)
        if -len(shape) <= axis < len(shape):
            other[axis] = m.size()
        layer.bottom.append(m.blob(m.near(tuple(other))))


@draw("Slice")
def _slice(m: _Maker, layer: Any) -> int:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.slice_param
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.5) or len(shape) < 2:
        axis = m.axis(len(shape))
        if axis >= 0 and m.chance(0.3):
            p.slice_dim = axis
            if m.chance(0.03):
                p.axis = axis
        else:
            p.axis = axis
    size = shape[axis] if -len(shape) <= axis < len(shape) else 2
    if m.chance(0.5):
        tops = int(m.pick(*[k for k in range(1, size + 1) if size % k == 0] or [1]))
        return tops + (1 if m.wrong() else 0)
    tops = min(m.pick(1, 2, 2, 3), max(1, size))
    points = sorted(m.rng.sample(range(1, size + 1), tops - 1)) if size >= tops else [1] * (tops - 1)
    if m.wrong() and points:
        points[m.rng.randrange(len(points))] = m.rng.randint(0, size + 1)
    p.slice_point.extend(points)
    return tops + (m.pick(-1, 1) if m.wrong() else 0)


@draw("Split")
def _split(m: _Maker, layer: Any) -> int:
    layer.bottom.append(m.any()[0])
    return int(m.pick(1, 2, 3))


@draw("Crop")
def _crop(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 3, 5, 2)
    p = layer.crop_param
    axis = 2
    if m.chance(0.5) or len(shape) < 3:
        axis = p.axis = m.axis(len(shape))
    axis = max(0, axis + len(shape) if axis < 0 else axis)
    reference, offsets = list(shape), [0] * max(0, len(shape) - axis)
    for i in range(axis, len(shape)):
        reference[i] = m.rng.randint(min(1, shape[i]), shape[i])
        offsets[i - axis] = m.rng.randint(0, shape[i] - reference[i])
    for i in range(min(axis, len(shape))):
        if m.chance(0.1):
            reference[i] = m.size()
    if m.chance(0.5):
        p.offset.extend(offsets)
    elif m.chance(0.5) and offsets:
        p.offset.append(min(offsets))
    if m.wrong():
        p.offset.append(m.pick(0, 1))
    layer.bottom.extend([name, m.blob(m.near(tuple(reference)))])


@draw("Reshape")
def _reshape(m: _Maker, layer: Any) -> None:
    name, shape = m.any()
    p = layer.reshape_param
    layer.bottom.append(name)
    rank, start, end = len(shape), 0, len(shape)
    if m.chance(0.4):
        start = m.rng.randint(0, rank)
        p.axis = start if m.chance(0.5) else start - rank - 1
        if m.chance(0.5):
            end = m.rng.randint(start, rank)
            p.num_axes = end - start
    if m.wrong():
        m.fields(p, 0.5, axis=m.rng.randint(-rank - 2, rank + 1), num_axes=m.pick(-2, -1, 0, 1, 7))
    total = elements(shape[start:end])
    dims: list[int] = []
    for _ in range(m.rng.randint(0, 4)):
        n = m.pick(*[k for k in range(1, total + 1) if total % k == 0] or [1])
        dims.append(n)
        total //= n
    if total != 1 or m.chance(0.5):
        dims.insert(m.rng.randint(0, len(dims)), total if m.chance(0.4) else -1)
    for i, n in enumerate(dims):
        if start + i < rank and n == shape[start + i] and m.chance(0.5):
            dims[i] = 0
    if m.wrong() and dims:
        dims[m.rng.randrange(len(dims))] = m.pick(-1, 0, 1, 2, -2)
    p.shape.dim.extend(dims)


@draw("Flatten")
def _flatten(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    layer.bottom.append(name)
    rank = len(shape)
    if m.chance(0.5) or rank < 2:
        start = m.axis(rank)
        layer.flatten_param.axis = start
        if m.chance(0.5):
            end = m.rng.randint(max(0, start % max(1, rank)), max(0, rank - 1))
            layer.flatten_param.end_axis = m.axis(rank) if m.wrong() else end - m.pick(0, rank)


@draw("Tile")
def _tile(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    layer.bottom.append(name)
    if m.chance(0.5) or len(shape) < 2:
        layer.tile_param.axis = m.axis(len(shape))
    if not m.wrong():
        layer.tile_param.tiles = m.pick(0, -1) if m.wrong() else m.pick(1, 2, 3)


@draw("Reduction")
def _reduction(m: _Maker, layer: Any) -> None:
    name, shape = m.any()
    layer.bottom.append(name)
    if m.chance(0.6):
        layer.reduction_param.axis = m.axis(len(shape))
    m.fields(layer.reduction_param, 0.5, operation=(1, 2, 3, 4), coeff=(1, 2, 0))


@draw("ArgMax")
def _argmax(m: _Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.argmax_param
    layer.bottom.append(name)
    among = elements(shape[1:])
    if m.chance(0.4):
        axis = p.axis = m.axis(len(shape))
        among = shape[axis] if -len(shape) <= axis < len(shape) else 1
    if m.chance(0.5):
        p.top_k = m.pick(0, among + 1) if m.wrong() else m.rng.randint(1, max(1, among))
    m.fields(p, 0.4, out_max_val=(True, False))


@draw("BatchReindex")
def _batch_reindex(m: _Maker, layer: Any) -> None:
    layer.bottom.extend([m.any()[0], m.blob(m.near((m.size(),)))])


@draw("Filter")
def _filter(m: _Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 3, 1)
    layer.bottom.append(name)
    batch = shape[0] if shape else 2
    more = m.pick(0, 0, 1, 2)
    for _ in range(more):
        layer.bottom.append(m.blob(m.near((batch, *m.shape(0, 1, 3)))))
    layer.bottom.append(m.blob(m.near((batch, *(1,) * m.pick(0, 0, 1, 3)))))
    return 1 + int(more)


@draw("Silence")
def _silence(m: _Maker, layer: Any) -> int:
    layer.bottom.extend(m.any()[0] for _ in range(m.pick(1, 1, 2)))
    return 0


@draw("HDF5Output")
def _hdf5_output(m: _Maker, layer: Any) -> int:
    layer.bottom.extend([m.any()[0], m.any()[0]])
    if not m.wrong():
        layer.hdf5_output_param.file_name = f"{len(m.layers)}.h5"
    return 0


def _scores(m: _Maker, layer: Any, p: Any) -> tuple[Shape, Shape]:
    """Adds a bottom of scores; returns its shape and that of its labels."""
    name, shape = m.any(4, 2, 2, 3)
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.25):
        axis = p.axis = m.axis(len(shape))
    axis += len(shape) if axis < 0 else 0
    labels = (*shape[:axis], *shape[axis + 1 :])
    if m.chance(0.3):
        labels = (*shape[:axis], 1, *shape[axis + 1 :])
    return shape, labels


def _loss(m: _Maker, layer: Any) -> None:
    m.fields(
        layer.loss_param, 0.15, ignore_label=(0, -1), normalize=(True, False), normalization=(0, 1, 2, 3)
    )


@draw("SoftmaxWithLoss")
def _softmax_with_loss(m: _Maker, layer: Any) -> int:
    _, labels = _scores(m, layer, layer.softmax_param)
    layer.bottom.append(m.blob(m.near(labels)))
    _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("InfogainLoss")
def _infogain_loss(m: _Maker, layer: Any) -> int:
    p = layer.infogain_loss_param
    shape, labels = _scores(m, layer, p)
    classes = shape[p.axis] if -len(shape) <= p.axis < len(shape) else 2
    layer.bottom.append(m.blob(m.near(labels)))
    if not m.wrong():
        square = m.pick((classes, classes), (1, 1, classes, classes), (classes, classes, 1))
        layer.bottom.append(m.blob(m.near(square)))
    if m.chance(0.2):
        layer.softmax_param.axis = p.axis
    _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("Accuracy")
def _accuracy(m: _Maker, layer: Any) -> int:
    p = layer.accuracy_param
    shape, labels = _scores(m, layer, p)
    layer.bottom.append(m.blob(m.near(labels)))
    classes = shape[p.axis] if -len(shape) <= p.axis < len(shape) else 2
    if m.chance(0.4):
        p.top_k = m.pick(0, classes + 1, 50) if m.wrong() else max(1, m.rng.randint(1, max(1, classes)))
    m.fields(p, 0.1, ignore_label=(0, 1))
    return 2 if m.chance(0.25) else 1


@draw("SigmoidCrossEntropyLoss", "EuclideanLoss")
def _pairwise_loss(m: _Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 2, 3, 1)
    other = shape
    if m.chance(0.2) and shape:
        other = (shape[0], elements(shape[1:]))
    layer.bottom.extend([name, m.blob(m.near(other))])
    if layer.type != "EuclideanLoss":
        _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("HingeLoss", "MultinomialLogisticLoss")
def _label_loss(m: _Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 2, 3, 1)
    layer.bottom.extend([name, m.blob(m.near((*shape[:1], *(1,) * m.pick(0, 0, 0, 1, 3))))])
    m.fields(layer.hinge_loss_param, 0.4, norm=(1, 2))
    return 1


@draw("ContrastiveLoss")
def _contrastive_loss(m: _Maker, layer: Any) -> int:
    name, shape = m.any(2, 2, 2, 1)
    layer.bottom.append(name)
    other = shape if m.chance(0.8) else (*shape, *(1,) * m.rng.randint(0, max(0, 4 - len(shape))))
    layer.bottom.append(m.blob(m.near(other)))
    layer.bottom.append(m.blob(m.near((*shape[:1], *(1,) * m.pick(0, 0, 0, 1, 3)))))
    m.fields(layer.contrastive_loss_param, 0.3, margin=(0, 1, 2), legacy_version=(True, False))
    return 1


@draw("Input")
def _input(m: _Maker, layer: Any) -> int:
    tops = int(m.pick(1, 1, 2, 3))
    for _ in range(m.pick(0, 1, tops, tops) if not m.wrong() else 2):
        layer.input_param.shape.add(dim=m.shape())
    return tops


@draw("DummyData")
def _dummy_data(m: _Maker, layer: Any) -> int:
    p = layer.dummy_data_param
    tops = int(m.pick(1, 1, 2, 3))
    if m.chance(0.3):
        for name in ("num", "channels", "height", "width"):
            times = m.pick(1, tops) if not m.wrong() else m.pick(0, 2)
            getattr(p, name).extend(m.size() for _ in range(times))
    if not (p.num or p.width) or m.wrong():
        for _ in range(m.pick(1, tops) if not m.wrong() else m.pick(0, 2)):
            p.shape.add(dim=m.shape())
    for _ in range(m.pick(0, 1, tops) if not m.wrong() else 2):
        m.filler(p.data_filler.add(), 0.6)
    return tops


@draw("MemoryData")
def _memory_data(m: _Maker, layer: Any) -> int:
    p = layer.memory_data_param
    for name in ("batch_size", "channels", "height", "width"):
        if not m.chance(0.02):
            setattr(p, name, m.size())
    return 2


@draw("Parameter")
def _parameter(m: _Maker, layer: Any) -> None:
    if not m.wrong():
        layer.parameter_param.shape.dim.extend(m.shape())


@draw("LSTM", "RNN")
def _recurrent(m: _Maker, layer: Any) -> int:
    p = layer.recurrent_param
    steps, streams = m.size(), m.size()
    states = 2 if layer.type == "LSTM" else 1
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3)
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.3)
    m.fields(p, 0.4, expose_hidden=(True, False))
    layer.bottom.append(m.blob(m.near((steps, streams, *m.shape(1, 1, 1, 3)))))
    layer.bottom.append(m.blob(m.near((steps, streams))))
    if m.chance(0.3):
        layer.bottom.append(m.blob(m.near((streams, *m.shape(1, 1, 2)))))
    tops = 1
    if p.expose_hidden:
        for _ in range(states):
            layer.bottom.append(m.blob(m.near((1, streams, p.num_output))))
        tops += states
    return tops


@draw("LSTMUnit")
def _lstm_unit(m: _Maker, layer: Any) -> int:
    one, n, h = 1 if not m.wrong() else 2, m.size(), m.size()
    for shape in ((one, n, h), (one, n, 4 * h), (one, n)):
        layer.bottom.append(m.blob(m.near(shape)))
    return 2


assert set(DRAW) == set(TYPES), set(DRAW) ^ set(TYPES)
