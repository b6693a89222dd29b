"""A generated net made one whose numbers can be compared, with its inputs and its parameters.

Labels and indices become inputs with legal values, what reads memory or files becomes an Input, and each
output that nothing reads gets a gradient of random numbers.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format

from netbuilder import Net, prototxt
from netbuilder.checks.backward import aborts, backward
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import NetBuilderError
from netbuilder.net import Blob, Layer
from tests.fuzz.rounding import Array

__all__ = ["LeftOut", "accepted", "give_params", "inputs_of", "prepare"]


class LeftOut(Exception):
    """A net that is not compared, and why."""


def parsed(proto: Any, phase: str) -> Net:
    return prototxt.parse(str(text_format.MessageToString(proto)), phase, dialect="caffe-master")


def prepare(proto: Any, phase: str, rng: random.Random) -> None:
    """Make a generated net one whose numbers can be compared."""
    try:
        net = parsed(proto, phase)
    except NetBuilderError:
        del proto.layer[-1]  # the generator ends a net with the layer that is refused
        net = accepted(proto, phase)
    if not len(net.layers):
        raise LeftOut("it has no layer")
    if any(blob.shape is None for layer in net.layers for blob in layer.tops):
        raise LeftOut("a shape is unknown before it runs")
    for layer in proto.layer:
        _replace(layer, net)
    net = accepted(proto, phase)
    _own_inputs(proto, net)
    net = accepted(proto, phase)
    proto.force_backward = rng.random() < 0.6
    if proto.force_backward and _dies(proto, phase):
        proto.force_backward = False
    if not any(layer.loss_weight for layer in proto.layer) or rng.random() < 0.7:
        _add_losses(proto, net, phase)


def accepted(proto: Any, phase: str) -> Net:
    try:
        return parsed(proto, phase)
    except NetBuilderError as error:
        raise LeftOut(f"refused: {error.text}") from None


def _dies(proto: Any, phase: str) -> bool:
    return any(aborts(step) for step in backward(accepted(proto, phase)))


def _replace(layer: Any, net: Net) -> None:
    """What has no numbers that both could have: memory, files, draws."""
    match layer.type:
        case "MemoryData":
            shapes = [net.blobs[top].known_shape for top in layer.top]
            layer.type = "Input"
            layer.ClearField("memory_data_param")
            for shape in shapes:
                layer.input_param.shape.add(dim=shape)
        case "HDF5Output":
            layer.type = "Silence"
            layer.ClearField("hdf5_output_param")
        case "DummyData":
            for i, filler in enumerate(layer.dummy_data_param.data_filler):
                filler.Clear()
                filler.value = (0.7, -1, 0)[i % 3]
        case "Pooling" if layer.pooling_param.pool == 2:  # Caffe has it on the GPU alone
            layer.pooling_param.pool = 1
        case "SPP" if layer.spp_param.pool == 2:
            layer.spp_param.pool = 1
        case "Log" if layer.log_param.scale == 0:  # of 0, in a blob that is written over
            layer.log_param.scale = 1
        case "Dropout" if layer.bottom[:1] == layer.top[:1] or not 0 < layer.dropout_param.dropout_ratio < 1:
            layer.phase = 1


# -- labels, indices and other bottoms that cannot hold just any number --------------------------------------

# From a layer to the highest value that may stand in a bottom: a whole number from 0; None: any number.
Limit = Callable[[Layer], int]


def _classes(layer: Layer) -> int:
    message = {"SoftmaxWithLoss": "softmax_param", "Accuracy": "accuracy_param"}.get(layer.type)
    axis = layer.proto.infogain_loss_param.axis if message is None else getattr(layer.proto, message).axis
    return int(layer.bottoms[0].known_shape[axis]) - 1


def _columns(layer: Layer) -> int:
    shape = layer.bottoms[0].known_shape
    return math.prod(shape[1:]) - 1


LIMITED: dict[str, tuple[int, Limit]] = {
    "SoftmaxWithLoss": (1, _classes),
    "InfogainLoss": (1, _classes),
    "Accuracy": (1, _classes),
    "HingeLoss": (1, _columns),
    "MultinomialLogisticLoss": (1, _columns),
    "ContrastiveLoss": (2, lambda layer: 1),
    "SigmoidCrossEntropyLoss": (1, lambda layer: 1),
    "Embed": (0, lambda layer: int(layer.proto.embed_param.input_dim) - 1),
    "BatchReindex": (1, lambda layer: int((*layer.bottoms[0].known_shape, 1)[0]) - 1),
    "Filter": (-1, lambda layer: 1),
    "LSTM": (1, lambda layer: 1),
    "RNN": (1, lambda layer: 1),
    "LSTMUnit": (2, lambda layer: 1),
}


def _limited(net: Net) -> Iterator[tuple[Layer, Blob, int]]:
    for layer in net.layers:
        if layer.type in LIMITED and layer.bottoms:
            i, limit = LIMITED[layer.type]
            yield layer, layer.bottoms[i], limit(layer)


def _own_inputs(proto: Any, net: Net) -> None:
    """Limited bottoms that a layer computes become inputs."""
    by_name = {layer.name: layer for layer in proto.layer}
    for layer, blob, _ in _limited(net):
        if blob.layer.type == "Input":
            continue
        written = by_name[layer.name]
        i = LIMITED[layer.type][0] % len(written.bottom)
        if written.bottom[i] in written.top:
            raise LeftOut("a layer works in place on its labels")
        name = f"for_{layer.name}"
        written.bottom[i] = name
        own = type(written)(name=name, type="Input", top=[name])
        own.input_param.shape.add(dim=blob.known_shape)
        proto.layer.insert(0, own)


def _add_losses(proto: Any, net: Net, phase: str) -> None:
    """Give each output that nothing reads a gradient of random numbers: the sum of y * r is a loss."""
    outputs = [
        blob
        for blob in net.outputs
        if 0 not in blob.known_shape and blob.layer.type != "Input" and not blob.in_loss
    ]
    before = type(proto)()
    before.CopyFrom(proto)
    for blob in outputs:
        _add_loss(proto, blob)
    if not _dies(proto, phase):
        return
    proto.CopyFrom(before)
    for blob in outputs:
        before.CopyFrom(proto)
        _add_loss(proto, blob)
        if _dies(proto, phase):
            proto.CopyFrom(before)


def _add_loss(proto: Any, blob: Blob) -> None:
    name, shape = blob.name, blob.known_shape
    r = proto.layer.add(name=f"r_{name}", type="Input", top=[f"r_{name}"])
    r.input_param.shape.add(dim=shape)
    p = proto.layer.add(name=f"p_{name}", type="Eltwise", bottom=[name, r.name], top=[f"p_{name}"])
    p.eltwise_param.operation = 0
    if shape:  # Reduction refuses a scalar
        p = proto.layer.add(name=f"s_{name}", type="Reduction", bottom=[p.name], top=[f"s_{name}"])
    p.loss_weight.append(1)


# -- the numbers ---------------------------------------------------------------------------------------------


def _draw(seed: str, name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode()))


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], positive: bool) -> Array:
    """Normal numbers, often above 0, and often rounded, so that some are equal."""
    values = rng.normal(0, 1, shape)
    if positive:
        return np.asarray(np.abs(values) * 0.3 + 0.6, np.float32)
    kind = rng.random()
    if kind < 0.2:
        values = np.abs(values) + 0.1
    elif kind < 0.4:
        values = np.round(values * 2) / 2
    return values.astype(np.float32)


def inputs_of(net: Net, seed: str, positive: bool) -> dict[str, Array]:
    """An array for each input of a net."""
    limits: dict[str, int] = {}
    selectors = set()
    for layer, blob, limit in _limited(net):
        limits[blob.name] = min(limit, limits.get(blob.name, limit))
        if layer.type == "Filter":
            selectors.add(blob.name)
    found = {}
    for layer in net.layers:
        for top in layer.tops if layer.type == "Input" else ():
            if not layer.proto.input_param.shape:
                continue
            rng, shape = _draw(seed, top.name), top.known_shape
            if top.name in selectors:  # shapes after a Filter are known if it passes everything
                if limits[top.name] < 1:
                    raise LeftOut("a selector is also a label, of one class")
                values = np.ones(shape)
            elif top.name in limits:
                values = rng.integers(0, max(0, limits[top.name]) + 1, shape).astype(float)
            else:
                values = _numbers(rng, shape, positive)
            found[top.name] = np.asarray(values, np.float32)
    return found


def give_params(m: NetModule, seed: str, positive: bool) -> dict[str, list[Array]]:
    """Draw the parameters of a module, and return them."""
    with torch.no_grad():
        for name, blobs in m.params.items():
            rng = _draw(seed, f"params of {name}")
            type = m.operators()[name].proto.type
            for i, blob in enumerate(blobs):
                shape = tuple(blob.shape)
                values = rng.normal(0, 1, shape)
                if type == "BatchNorm":
                    values = [values, np.abs(values) + 0.2, np.full(shape, rng.choice([1, 2.5, 0.25]))][i]
                elif type == "Parameter":
                    values = _numbers(rng, shape, positive)
                elif type in ("LSTM", "RNN"):
                    values = values * 0.2  # the gradient of a saturated tanh is nothing but rounding
                elif len(shape) > 1:
                    values = values / max(1, math.prod(shape[1:])) ** 0.5
                values = np.abs(values) if positive else values
                blob.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return {name: [b.detach().numpy().copy() for b in blobs] for name, blobs in m.params.items()}
