"""Prototxt text into a `Net`: parse, keep what the phase keeps, replay every layer through `Net.append`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netbuilder.errors import PrototxtError
from netbuilder.files import read_text
from netbuilder.net import Net, Origin
from netbuilder.proto import LayerParameter, NetParameter
from netbuilder.prototxt import text as text_format

__all__ = ["parse", "read"]

PHASE_NUMBER = {"TRAIN": 0, "TEST": 1}


def read(
    path: str | Path,
    phase: str = "TEST",
    *,
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: str = "caffe-master",
) -> Net:
    """Read a prototxt file as Caffe would for this phase, level and stages.

    Raises FileError (no such file), PrototxtError (line and column), and whatever `Net.append` raises,
    located at the layer's line.
    """
    return parse(read_text(path), phase, level=level, stages=stages, dialect=dialect, path=str(path))


def parse(
    text: str,
    phase: str = "TEST",
    *,
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: str = "caffe-master",
    path: str = "",
) -> Net:
    """Like `read`, from text; `path` is what errors call it."""
    parsed = text_format.parse(text, NetParameter, path=path)
    proto = parsed.message
    if proto.layers:
        line, column = parsed.locations["layers"][0]
        raise PrototxtError(
            "'layers { }' is the format of before 2014, which is not read here",
            path=path, line=line, column=column,
            hint="Caffe's upgrade_net_proto_text rewrites such a file as 'layer { }'",
        )  # fmt: skip
    net = Net(proto.name, phase, dialect=dialect)
    for field in ("force_backward", "debug_info"):
        if proto.HasField(field):
            setattr(net.proto, field, getattr(proto, field))
    file = path or "<text>"
    inputs = _input_layer(proto)
    if inputs is not None:
        net.append(inputs, origin=Origin(file, 0, ()))
    active = {*stages, *proto.state.stage}
    for layer, (line, _) in zip(proto.layer, parsed.locations["layer"], strict=True):
        if layer.include and layer.exclude:
            raise PrototxtError(f"layer '{layer.name}' has both include and exclude", path=path, line=line)
        if _kept(layer, PHASE_NUMBER[phase], level, active):
            net.append(layer, origin=Origin(file, line, ()))
    return net


def _kept(layer: Any, phase: int, level: int, stages: set[str]) -> bool:
    """Whether the layer is part of the net in this state. Source: net.cpp, FilterNet and StateMeetsRule."""
    if layer.include:
        return any(_met(rule, phase, level, stages) for rule in layer.include)
    return not any(_met(rule, phase, level, stages) for rule in layer.exclude)


def _met(rule: Any, phase: int, level: int, stages: set[str]) -> bool:
    return not (
        (rule.HasField("phase") and rule.phase != phase)
        or (rule.HasField("min_level") and level < rule.min_level)
        or (rule.HasField("max_level") and level > rule.max_level)
        or not stages.issuperset(rule.stage)
        or not stages.isdisjoint(rule.not_stage)
    )


def _input_layer(proto: Any) -> Any | None:
    """The Input layer that replaces `input:` fields. Source: upgrade_proto.cpp, UpgradeNetInput.

    Inputs without any shape vanish, as in Caffe; whoever reads them then meets an unknown bottom.
    """
    shapes = [list(s.dim) for s in proto.input_shape]
    if not shapes:
        dims = list(proto.input_dim)
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if not (proto.input and shapes):
        return None
    layer = LayerParameter(name="input", type="Input", top=list(proto.input))
    for shape in shapes:
        layer.input_param.shape.add(dim=shape)
    return layer
