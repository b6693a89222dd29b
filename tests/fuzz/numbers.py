"""Random nets with numbers: forward and backward in real Caffe and in PyTorch, from equal weights and inputs.

A net of the generator is prepared: labels and indices become inputs with legal values, what reads memory or
files becomes an Input, and each output that nothing reads gets a gradient of random numbers. Compared are all
blobs, the gradients of inputs and of all parameters, and the parameters after the pass; ours runs twice, once
for all blobs and once for the outputs only, where the engine's passes merge layers.

How it is judged: the error of a result is the smaller of its largest element-wise relative error and its
largest error on the scale of the tensor. Up to 5e-6 is rounding. A larger one must be explained by the net's
own conditioning: ours is run in float64, several times, with every result and every gradient between layers
moved by as much as float32 rounds, and both Caffe and ours must be within 20 times of what that moves; or the
result is 0 in float64, and below 1e-4 in both.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from google.protobuf import text_format

from netbuilder import Net, checks, prototxt
from netbuilder.checks.backward import Step, aborts, backward
from netbuilder.engines.caffe.judge import Caffe, CaffeRefused, RunResult
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import NetBuilderError
from netbuilder.layers import RULES, known
from netbuilder.layers.traits import Shares
from netbuilder.net import Blob, Layer
from netbuilder.schema import NetParameter
from tests.fuzz.generate import Case

__all__ = ["MOST", "Judged", "judge", "minimised"]

Array = np.ndarray[Any, Any]
Results = dict[str, Array]

MOST = 5e-6
EXPLAINED = 20  # times what rounding moves
ROUNDING = 2.0**-24  # half a unit in the last place of float32, relative
SAMPLES = 6
ZERO = 1e-9  # a result that is 0 but for rounding, as the gradient behind a normalisation of two values

# Caffe's results then depend on memory that is overwritten; netbuilder reports it.
OVERWRITTEN = {"in-place", "in-place-gradient", "in-place-chain", "in-place-shared", "gradient-lost"}


# -- a net that can be run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """A net that was run: its text and phase, the errors by result, which of them rounding explains.

    `left_out` says why a net was not compared, `failed` why ours did not run.
    """

    seed: str
    phase: str
    text: str
    errors: dict[str, float] = field(default_factory=dict)
    explained: dict[str, float] = field(default_factory=dict)
    backward: bool = False
    left_out: str = ""
    failed: str = ""

    @property
    def wrong(self) -> dict[str, float]:
        """The errors that nothing explains."""
        return {n: e for n, e in self.errors.items() if not e <= MOST and n not in self.explained}

    @property
    def types(self) -> list[str]:
        """The layer types of the net."""
        net = text_format.Parse(self.text, NetParameter())
        return [layer.type for layer in net.layer if layer.type != "Input"]

    def __str__(self) -> str:
        rule = "-" * 100
        what = self.failed or self.left_out or ", ".join(f"{n} {e:.1e}" for n, e in self.wrong.items())
        return f"{rule}\nseed {self.seed}, {self.phase}: {what}\n{self.text}"


class LeftOut(Exception):
    """A net that is not compared, and why."""


class NotFinite(LeftOut):
    """A net whose results overflow, or are not numbers."""


def judge(case: Case, real: Caffe) -> Judged:
    """Prepare a generated net, run it in both, and compare."""
    proto = NetParameter()
    proto.CopyFrom(case.proto)
    try:
        prepare(proto, case.phase, random.Random(case.seed))
    except LeftOut as reason:
        return Judged(case.seed, case.phase, case.text, left_out=str(reason))
    return judge_prepared(case.seed, case.phase, proto, real)


def judge_prepared(seed: str, phase: str, proto: Any, real: Caffe) -> Judged:
    """Run a prepared net in both, and compare."""
    text = str(text_format.MessageToString(proto))
    try:
        try:
            pair = _Pair(seed, phase, proto, real)
        except NotFinite:
            pair = _Pair(seed, phase, proto, real, positive=True)
        errors = {name: pair.error(name) for name in pair.theirs}
        large = {name: error for name, error in errors.items() if not error <= MOST}
        explained = pair.explained(large) if large else {}
        return Judged(seed, phase, pair.text, errors, explained, backward=pair.backward)
    except LeftOut as reason:
        return Judged(seed, phase, text, left_out=str(reason))
    except Exception as error:
        return Judged(seed, phase, text, failed=f"{type(error).__name__}: {error}")


def minimised(judged: Judged, real: Caffe) -> Judged:
    """The same difference on as few layers as still show it."""
    proto = text_format.Parse(judged.text, NetParameter())
    i = len(proto.layer) - 1
    while i >= 0:
        smaller = NetParameter()
        smaller.CopyFrom(proto)
        del smaller.layer[i]
        found = judge_prepared(judged.seed, judged.phase, smaller, real)
        if found.wrong or (found.failed and found.failed == judged.failed):
            proto, judged = smaller, found
        i -= 1
    return judged


def parsed(proto: Any, phase: str) -> Net:
    return prototxt.parse(str(text_format.MessageToString(proto)), phase, dialect="caffe-master")


def prepare(proto: Any, phase: str, rng: random.Random) -> None:
    """Make a generated net one whose numbers can be compared."""
    try:
        net = parsed(proto, phase)
    except NetBuilderError:
        del proto.layer[-1]  # the generator ends a net with the layer that is refused
        net = _accepted(proto, phase)
    if not len(net.layers):
        raise LeftOut("it has no layer")
    if any(blob.shape is None for layer in net.layers for blob in layer.tops):
        raise LeftOut("a shape is unknown before it runs")
    for layer in proto.layer:
        _replace(layer, net)
    net = _accepted(proto, phase)
    _own_inputs(proto, net)
    net = _accepted(proto, phase)
    proto.force_backward = rng.random() < 0.6
    if proto.force_backward and _dies(proto, phase):
        proto.force_backward = False
    if not any(layer.loss_weight for layer in proto.layer) or rng.random() < 0.7:
        _add_losses(proto, net, phase)


def _accepted(proto: Any, phase: str) -> Net:
    try:
        return parsed(proto, phase)
    except NetBuilderError as error:
        raise LeftOut(f"refused: {error.text}") from None


def _dies(proto: Any, phase: str) -> bool:
    return any(aborts(step) for step in backward(_accepted(proto, phase)))


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
                    values = values * 0.5  # the gradient of a saturated tanh is nothing but rounding
                elif len(shape) > 1:
                    values = values / max(1, math.prod(shape[1:])) ** 0.5
                values = np.abs(values) if positive else values
                blob.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return {name: [b.detach().numpy().copy() for b in blobs] for name, blobs in m.params.items()}


def difference(ours: Array, theirs: Array) -> float:
    """The smaller of the largest element-wise relative error and the error on the scale of the tensor."""
    if ours.shape != theirs.shape:
        return float("inf")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(same, 0, np.abs(a - b))
        relative = np.where(same, 0, error / np.maximum(np.abs(b), 1e-30))
    if not np.isfinite(error).all():
        return float("inf")
    finite = np.abs(b[np.isfinite(b)])
    return float(min(relative.max(), error.max() / max(finite.max() if finite.size else 0.0, 1e-30)))


# -- both runs -----------------------------------------------------------------------------------------------


class _Pair:
    """One net in real Caffe and in ours: the results of both by name."""

    def __init__(self, seed: str, phase: str, proto: Any, real: Caffe, *, positive: bool = False) -> None:
        self.seed, self.phase, self.real = seed, phase, real
        self.text = str(text_format.MessageToString(proto))
        try:
            self.net = prototxt.parse(self.text, phase, dialect="caffe-master")
        except NetBuilderError as error:
            raise LeftOut(f"refused: {error.text}") from None
        # Only nets for TRAIN are checked for what spoils their gradients.
        trained = self.net if phase == "TRAIN" else _accepted(proto, "TRAIN")
        spoilt = {f.code for net in {self.net, trained} for f in checks.check(net)} & OVERWRITTEN
        if spoilt:
            raise LeftOut(f"memory is overwritten: {min(spoilt)}")
        if any(0 in blob.known_shape for blob in self.net.blobs.values()):
            raise LeftOut("a blob is empty: Caffe aborts where its memory is read")
        if any(_spoils(layer) for layer in self.net.layers):
            raise LeftOut("memory is overwritten: a parameter, a loss, or by Crop")
        # An Input without a shape has no memory.
        self.names = [
            name
            for name, blob in self.net.blobs.items()
            if blob.layer.type != "Input" or blob.layer.proto.input_param.shape
        ]
        steps = backward(self.net)
        self.backward = any(step.runs for step in steps) and not any(map(aborts, steps))
        self.inputs = inputs_of(self.net, seed, positive)
        first = module(self.net, seed=1)
        self.params = give_params(first, seed, positive)
        self.graded = _graded(steps) & self.inputs.keys()
        self.masks: dict[str, Array] = {}
        ran = self._caffe()
        self._keep_masks(first, ran)
        if not all(np.isfinite(blob).all() for blob in (*ran.outputs.values(), *ran.diffs.values())):
            raise NotFinite("not finite")
        self.theirs = self._their_results(ran)
        try:
            # Passes leave alone what is asked for, so the second run, for the outputs only, has them.
            self.ours = [self.run(torch.float32), self.run(torch.float32, keep=())]
        except _Ambiguous as dropout:
            for layer in proto.layer:
                if layer.name == str(dropout):
                    layer.phase = 1
            self.__init__(seed, phase, proto, real, positive=positive)  # type: ignore[misc]

    def _caffe(self) -> RunResult:
        try:
            ran = self.real.run(
                self.text, phase=self.phase, inputs=self.inputs, params=self.params, outputs=self.names,
                backward=self.backward, fetch_params=True, timeout=600,
            )  # fmt: skip
        except CaffeRefused as error:
            raise LeftOut(f"Caffe aborts: {error.reason} ({error.site})") from None
        return ran

    def _keep_masks(self, m: NetModule, ran: RunResult) -> None:
        """The masks of Dropouts in training, which show in their tops."""
        for layer in self.net.layers:
            if layer.type == "Dropout" and m.operators()[layer.name].trains:
                top = layer.tops[0]
                if self.net.blobs[top.name] is not top:
                    raise LeftOut("the top of a Dropout is overwritten")
                self.masks[layer.name] = ran.outputs[top.name] != 0

    def _their_results(self, ran: RunResult) -> Results:
        overwritten = _overwritten(self.net)
        found = {f"blob {n}": v for n, v in ran.outputs.items() if n not in overwritten}
        for layer, blobs in ran.params.items():
            found.update({f"param {layer}[{i}]": blob for i, blob in enumerate(blobs)})
        found.update({f"gradient {n}": ran.diffs[n] for n in sorted(self.graded) if n in ran.diffs})
        for layer, blobs in ran.param_diffs.items():
            skipped = self._uncut(layer)
            found.update({f"gradient {layer}[{i}]": blob for i, blob in enumerate(blobs) if i not in skipped})
        return found

    def _uncut(self, name: str) -> set[int]:
        """Parameters whose gradient Caffe computes although the file says that it is not needed.

        Recurrent layers compute those with lr_mult: 0, and some types write over the diff of a Parameter in
        spite of propagate_down: false.
        """
        layer = next(layer for layer in self.net.layers if layer.name == name)
        if layer.type in ("LSTM", "RNN"):
            return {i for i, spec in enumerate(layer.proto.param) if spec.lr_mult == 0}
        read = (
            flag
            for reader in self.net.layers
            for bottom, flag in zip(reader.bottoms, reader.proto.propagate_down, strict=False)
            if bottom.layer is layer
        )
        return {0} if layer.type == "Parameter" and not all(read) else set()

    def error(self, name: str) -> float:
        """The larger error of our two runs."""
        return max(difference(ours[name], self.theirs[name]) for ours in self.ours if name in ours)

    def run(
        self, dtype: torch.dtype, noise: torch.Generator | None = None, keep: Sequence[str] | None = None
    ) -> Results:
        """Our results; with `noise`, each layer's and their gradients are moved as float32 rounds."""
        m = module(self.net, seed=1)
        with torch.no_grad():
            for layer, arrays in self.params.items():
                for blob, array in zip(m.params[layer], arrays, strict=True):
                    blob.copy_(torch.from_numpy(array))
        m.to(dtype)
        for name, mask in self.masks.items():
            _mask(m.operators()[name], mask)
        if noise is not None:
            _shake(m, noise)
        given = {n: torch.tensor(v, dtype=dtype) for n, v in self.inputs.items()}
        if noise is not None:
            given = {n: _moved(x, noise) for n, x in given.items()}
        given = {n: x.requires_grad_(self.backward) for n, x in given.items()}
        shapeless = {n: torch.zeros(()) for n in m.inputs if n not in self.names}
        out = m(**shapeless, **given, keep=self.names if keep is None else keep)
        if self.backward and out.loss is not None and out.loss.requires_grad:
            out.loss.backward()
        found = {f"blob {n}": out[n] for n in self.names if n in out}
        for n, x in given.items():
            found[f"gradient {n}"] = torch.zeros_like(x) if x.grad is None else x.grad
        for layer, blobs in m.params.items():
            for i, blob in enumerate(blobs):
                found[f"param {layer}[{i}]"] = blob
                found[f"gradient {layer}[{i}]"] = torch.zeros_like(blob) if blob.grad is None else blob.grad
        return {n: t.detach().numpy() for n, t in found.items()}

    def explained(self, large: Mapping[str, float]) -> dict[str, float]:
        """The large errors that the conditioning of the net explains, with what rounding moves there."""
        exact = self.run(torch.float64)
        moved = dict.fromkeys(large, 0.0)
        for i in range(SAMPLES):
            other = self.run(torch.float64, torch.Generator().manual_seed(i))
            for name in large:
                moved[name] = max(moved[name], difference(other[name], exact[name]))
        return {
            name: by
            for name, by in moved.items()
            if all(
                difference(found[name], exact[name]) <= max(MOST, EXPLAINED * by)
                or (abs(exact[name]).max() < ZERO and abs(found[name]).max() < 1e-4)
                for found in (*self.ours, self.theirs)
                if name in found
            )
        }


def _graded(steps: list[Step]) -> set[str]:
    """The blobs whose first version gets a gradient from Caffe."""
    found: set[str] = set()
    overwritten: set[str] = set()
    for step in steps:
        wanted = [name for name, needs in zip(step.bottoms, step.needs, strict=True) if step.runs and needs]
        found.update(set(wanted) - overwritten)
        overwritten.update(set(step.bottoms) & set(step.tops))
    return found


def _is_loss(blob: Blob) -> bool:
    return RULES[blob.layer.type].auto_top and not blob.layer.proto.loss_weight


def _spoils(layer: Layer) -> bool:
    """Whether it works in place where Caffe then reads or writes something else."""
    pairs = list(zip(layer.bottoms, layer.tops, strict=False))
    over = any(b.name == t.name and (b.layer.type == "Parameter" or _is_loss(b)) for b, t in pairs)
    # A Crop in place reads with the shape of its top.
    crop = layer.type == "Crop" and any(b.name == t.name for b, t in pairs)
    # Caffe reads beyond the labels of a ContrastiveLoss that has fewer than pairs.
    few = (
        layer.type == "ContrastiveLoss" and layer.bottoms[2].known_shape[0] < layer.bottoms[0].known_shape[0]
    )
    return over or crop or few or (layer.type == "Parameter" and any(layer.proto.loss_weight))


class _Ambiguous(Exception):
    """A Dropout whose mask does not follow from its top, because its bottom has zeros."""


def _mask(operator: Any, mask: Array) -> None:
    """Let a Dropout use the mask that Caffe drew."""
    scale = 1 / (1 - operator.proto.dropout_param.dropout_ratio)

    def forward(x: torch.Tensor) -> torch.Tensor:
        if bool((x == 0).any()):
            raise _Ambiguous(operator.name)
        return x * torch.from_numpy(mask).to(x.dtype) * scale

    operator.forward = forward


# Copies, whose elements must stay equal.
COPIES = {
    "Split", "Concat", "Slice", "Crop", "Reshape", "Flatten", "Tile", "BatchReindex", "Filter", "Silence",
    "Input", "Parameter", "DummyData", "ArgMax", "Accuracy", "Threshold", "Dropout", "ReLU",
}  # fmt: skip


def _moved(t: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    return t * (1 + ROUNDING * torch.randn(t.shape, generator=noise, dtype=t.dtype))


def _shake(m: NetModule, noise: torch.Generator) -> None:
    def moved(t: torch.Tensor) -> torch.Tensor:
        return _moved(t, noise)

    def move(operator: Any, bottoms: Any, tops: Any) -> Any:
        if operator.proto.type in COPIES:
            return tops
        several = isinstance(tops, tuple)
        new = [moved(t) for t in (tops if several else (tops,))]
        for t in new:
            if t.requires_grad:
                t.register_hook(moved)
        return tuple(new) if several else new[0]

    with torch.no_grad():
        for blob in m.parameters():
            blob.copy_(_moved(blob, noise))
    for operator in m.operators().values():
        operator.register_forward_hook(move)


def _overwritten(net: Net) -> set[str]:
    """Blobs whose memory a layer in place writes over by way of another blob."""
    root: dict[str, str] = {}
    names: dict[str, set[str]] = {}
    written = set()
    for layer in net.layers:
        shares = known(RULES[layer.type].traits.shares, Shares.NEVER)
        alone = len(layer.bottoms) == len(layer.tops) == 1
        by_reference = shares is Shares.ALWAYS or (shares is Shares.ALONE and alone)
        before = {b.name for b in layer.bottoms}
        for top in layer.tops:
            if by_reference and top.name not in before:
                root[top.name] = root.get(layer.bottoms[0].name, layer.bottoms[0].name)
            of = root.get(top.name, top.name)
            names.setdefault(of, {of}).add(top.name)
            if top.name in before:
                written.add(of)
    return {n for of in written if len(names[of]) > 1 for n in names[of]}
