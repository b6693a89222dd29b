"""Random deploy nets: what OpenCV and MNN compute of them, against real Caffe, and what `check` reports.

The nets consist of layer types that real Caffe has, and get random weights and inputs. We must report no
error for a consumer that computes Caffe's outputs, and one for a consumer that does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netbuilder import Net, prototxt
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.engines import caffe
from netbuilder.errors import EngineError
from netbuilder.graph import Blob
from netbuilder.layers import Shape
from netbuilder.schema import NetParameter
from tests import consumers
from tests.fuzz.deploy_nets import Case

CONSUMERS = ("opencv", "mnn")
# The shapes of other inputs, with which a net on which a consumer agrees against a finding is tried again.
OTHERS = ((2, 3, 4, 5), (7, 9), (1, 5, 3, 3))
VERDICTS = ("agrees", "reported", "unreported", "false alarm")


@dataclass
class Judged:
    """A net, and by consumer the verdict, why it fails ("" if it agrees) and the codes of our errors."""

    case: Case
    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def wrong(self) -> list[str]:
        """The consumers of which we are wrong."""
        return [name for name, verdict in self.verdicts.items() if verdict in VERDICTS[2:]]

    def __str__(self) -> str:
        rule = "-" * 100
        lines = [
            f"{name}: {self.verdicts[name]}; it {self.reasons[name] or 'agrees'}; "
            f"we say {', '.join(self.codes[name]) or 'nothing'}"
            for name in self.wrong()
        ]
        return "\n".join([rule, f"seed {self.case.seed}", *lines, self.case.text])


# -- values ----------------------------------------------------------------------------------------------


def weights(net: Net, draw: np.random.Generator) -> dict[str, list[Any]]:
    """Random parameters of all layers; a name that layers share has one value."""
    values: dict[str, list[Any]] = {}
    shared: dict[str, Any] = {}
    for layer in net:
        own = []
        for i, param in enumerate(layer.params):
            array = draw.standard_normal(param.shape) * 0.5
            if layer.type == "BatchNorm":
                array = (array, draw.random(param.shape) + 0.5, np.ones(param.shape))[i]
            name = layer.proto.param[i].name if i < len(layer.proto.param) else ""
            if name:
                array = shared.setdefault(name, array).reshape(param.shape)
            own.append(array)
        if own:
            values[layer.name] = own
    return values


def inputs(net: Net, draw: np.random.Generator, low: float | None = None) -> dict[str, Any]:
    """Random inputs, normal or from `low` upward; whole numbers where Embed or a mark of LSTM reads them."""
    values = {}
    for blob in net.inputs:
        shape = blob.known_shape
        array: Any = draw.standard_normal(shape) if low is None else low + draw.random(shape)
        for layer in net:
            if blob.name in layer.proto.bottom:
                if layer.type == "Embed":
                    array = draw.integers(0, max(1, layer.proto.embed_param.input_dim), shape)
                elif layer.type in ("LSTM", "RNN") and layer.proto.bottom[1] == blob.name:
                    array = draw.integers(0, 2, shape)
        values[blob.name] = np.asarray(array, np.float32)
    return values


def _reference(case: Case, net: Net, real: caffe.Caffe, values: Any, draw: np.random.Generator) -> Any:
    """Inputs, and the outputs that real Caffe computes of them; None where it computes no numbers."""
    wanted = [blob.name for blob in outputs(net)]
    for low in (None, 0.5, 0.01):
        given = inputs(net, draw, low)
        try:
            found = real.run(case.text, inputs=given, params=values, outputs=wanted).outputs
        except EngineError:
            return None
        if all(np.isfinite(a).all() and np.abs(a).max(initial=0) < 1e6 for a in found.values()):
            return given, found
    return None


def outputs(net: Net) -> tuple[Blob, ...]:
    """The blobs that layers compute and no layer reads."""
    return tuple(b for b in net.outputs if b.layer.type != "Input")


# -- verdicts --------------------------------------------------------------------------------------------


def judge(case: Case, real: caffe.Caffe, names: tuple[str, ...] = CONSUMERS) -> Judged | None:
    """What each consumer computes against what we say; None if real Caffe gives nothing to compare with."""
    net = prototxt.parse(case.text, "TEST")
    if not outputs(net) or any(x.type == "Embed" and x.bottoms[0].layer.type != "Input" for x in net):
        return None
    draw = np.random.default_rng(list(case.seed.encode()))
    values = weights(net, draw)
    reference = _reference(case, net, real, values, draw)
    if reference is None:
        return None
    judged = Judged(case)
    for name in names:
        why = compared(name, net, values, *reference)
        told, alarms = reported(case.text, name)
        if bool(why) != told:  # by chance, perhaps: other numbers decide
            others = weights(net, draw)
            other = _reference(case, net, real, others, draw)
            why = compared(name, net, others, *other) if other else why
        if alarms and not why:  # by chance, perhaps: what it reads beyond an array is other in another net
            why = next(filter(None, (_among_others(i, case, real, name) for i in range(len(OTHERS)))), "")
        judged.reasons[name], judged.codes[name] = why, alarms
        judged.verdicts[name] = VERDICTS[(1 if told else 2) if why else (3 if alarms else 0)]
    return judged


def _among_others(number: int, case: Case, real: caffe.Caffe, name: str) -> str:
    """Why a consumer's outputs are not Caffe's behind layers of another input; "" if they are."""
    before = Net("before", "TEST", dialect="caffe-master")
    x = before.add("Input", name="other_input", shape={"dim": OTHERS[number]})
    before.add("TanH", x, name="other_output")
    proto = NetParameter(name=case.proto.name)
    proto.layer.extend(layer.proto for layer in before)
    proto.layer.extend(case.proto.layer)
    among = Case(f"{case.seed}:{number}", proto)
    net = prototxt.parse(among.text, "TEST")
    draw = np.random.default_rng(list(among.seed.encode()))
    values = weights(net, draw)
    reference = _reference(among, net, real, values, draw)
    return compared(name, net, values, *reference) if reference else ""


def reported(text: str, name: str) -> tuple[bool, tuple[str, ...]]:
    """Whether `check --target` reports an error or a warning about the consumer; its errors about it."""
    examined = examine_text(text, "net.prototxt", Wanted(phases=("TEST",), targets=(name,)))
    told = any(f.severity == "error" or f.target == name for f in examined.findings)
    return told, tuple(f.code for f in examined.findings if f.severity == "error" and f.target == name)


def compared(name: str, net: Net, values: Any, given: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Why a consumer's outputs are not Caffe's; "" if they are."""
    wanted = [(b.layer.name, list(b.layer.tops).index(b), b.name, *_before(b)) for b in outputs(net)]
    with tempfile.TemporaryDirectory(prefix="netbuilder-fuzz-") as folder:
        consumers.write_model(net, values, Path(folder))
        try:
            found = consumers.computed(name, Path(folder), given, wanted)
        except AssertionError as error:
            return f"fails: {_last(str(error))}"
    for blob, array in zip(outputs(net), found, strict=True):
        own = expected[blob.name]
        if not same_shape(array.shape, own.shape):
            return f"gives {array.shape} for {own.shape}"
        scale = max(1.0, float(np.abs(own).max(initial=0)))
        if not np.allclose(array.reshape(own.shape), own, 1e-3, 1e-4 * scale):
            return f"differs by {np.abs(array.reshape(own.shape) - own).max():.3g} of {scale:.3g}"
    return ""


def _before(blob: Blob) -> list[str]:
    """The names that MNN may give a blob, which leaves out what computes nothing."""
    names = []
    while blob.layer.type in ("Dropout", "Split", "Concat", "Slice", "Crop") and blob.layer.bottoms:
        blob = blob.layer.bottoms[0]
        names += [blob.name, blob.layer.name]
    return names


def same_shape(one: Shape, other: Shape) -> bool:
    """Whether two shapes are equal but for axes of size 1, which consumers drop and add."""
    return [n for n in one if n != 1] == [n for n in other if n != 1]


def _last(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing said"


def minimised(judged: Judged, real: caffe.Caffe) -> Judged:
    """The net on as few layers as still show that we are wrong."""
    names = tuple(judged.wrong())
    i = len(judged.case.proto.layer) - 1
    while i >= 0:
        smaller = NetParameter()
        smaller.CopyFrom(judged.case.proto)
        del smaller.layer[i]
        read = {b for layer in smaller.layer for b in layer.bottom}
        for j in reversed(range(len(smaller.layer))):
            if smaller.layer[j].type == "Input" and not read.intersection(smaller.layer[j].top):
                del smaller.layer[j]
        try:
            found = judge(Case(judged.case.seed, smaller), real, names)
        except Exception:
            found = None
        if found and all(found.verdicts.get(n) == judged.verdicts[n] for n in names):
            judged = found
        i = min(i, len(judged.case.proto.layer)) - 1
    return judged
