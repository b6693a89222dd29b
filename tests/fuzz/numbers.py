"""Random nets with numbers: forward and backward in real Caffe and in PyTorch, from equal weights and inputs.

A net of the generator is prepared (`prepared.py`). Compared are all blobs, the gradients of inputs and of all
parameters, and the parameters after the pass; ours runs once for all blobs, once for the outputs only, where
the engine's passes merge layers, and in TEST once more without gradients, for which some passes wait.

How it is judged: the error of a result is the smaller of its largest element-wise relative error and its
largest error on the scale of the tensor. Up to 5e-6 is rounding. If the two differ by more, the net is also
computed in float64, and that says how far each of them is off. It is rounding if
- both are within 10 times of what float32's rounding moves in this net: float64 runs again, several times,
  with every result and every gradient between layers moved by as much as float32 rounds (`rounding.py`), and
- ours is no further from float64 than 4 times the larger of Caffe's own error and what rounding moves;
- or the result is 0 in float64, and below 1e-4 in both.
Without the first, a difference in meaning would pass: float64 computes what ours says.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from google.protobuf import text_format

from netbuilder import Net, checks, prototxt
from netbuilder.checks.backward import Step, aborts, backward
from netbuilder.engines.caffe.judge import Caffe, CaffeRefused, RunResult
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.layers import RULES, known, of_layer
from netbuilder.layers.traits import Diff, Shares
from netbuilder.net import PHASES, Blob, Layer
from netbuilder.schema import NetParameter
from tests.fuzz.generate import Case
from tests.fuzz.prepared import LeftOut, accepted, give_params, inputs_of, prepare
from tests.fuzz.rounding import Array, difference, moved, shake

__all__ = ["MOST", "Judged", "judge", "minimised"]

Results = dict[str, Array]

MOST = 5e-6
EXPLAINED = 10  # times what rounding moves
AS_EXACT = 4  # times the larger of Caffe's error and what rounding moves: ours, against float64
SAMPLES = 6
ZERO = 1e-9  # a result that is 0 but for rounding, as the gradient behind a normalisation of two values

# Caffe's results then depend on memory that is overwritten; netbuilder reports it.
OVERWRITTEN = {"in-place", "in-place-gradient", "in-place-chain", "in-place-shared", "gradient-lost"}


# -- a net that can be run -----------------------------------------------------------------------------------


class Rounding(NamedTuple):
    """How far our and Caffe's result are from float64's, and how far float32's rounding moves that one."""

    ours: float
    theirs: float
    moves: float
    zero: bool = False  # 0 in float64, and small in both

    @property
    def explains(self) -> bool:
        """Whether the two differ by rounding only."""
        near = max(self.ours, self.theirs) <= max(MOST, EXPLAINED * self.moves)
        as_exact = self.ours <= max(MOST, AS_EXACT * max(self.theirs, self.moves))
        return self.zero or (near and as_exact)


@dataclass(frozen=True)
class Judged:
    """A net that was run: its text and phase, the errors by result, which of them rounding explains.

    `left_out` says why a net was not compared, `failed` why ours did not run.
    """

    seed: str
    phase: str
    text: str
    errors: dict[str, float] = field(default_factory=dict)
    explained: dict[str, Rounding] = field(default_factory=dict)
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
        trained = self.net if phase == "TRAIN" else accepted(proto, "TRAIN")
        spoilt = {f.code for net in {self.net, trained} for f in checks.check(net)} & OVERWRITTEN
        if spoilt:
            raise LeftOut(f"memory is overwritten: {min(spoilt)}")
        if any(0 in blob.known_shape for blob in self.net.blobs.values()):
            raise LeftOut("a blob is empty: Caffe aborts where its memory is read")
        if any(_stale(layer, self.net) for layer in self.net.layers):
            raise LeftOut("a recurrent layer shares a parameter that Caffe shares for its first step alone")
        if any(_spoils(layer) for layer in self.net.layers):
            raise LeftOut("memory is overwritten: a parameter, a loss, a state, or by Crop")
        # An Input without a shape has no memory.
        self.names = [
            name
            for name, blob in self.net.blobs.items()
            if blob.layer.type != "Input" or blob.layer.proto.input_param.shape
        ]
        steps = backward(self.net)
        self.backward = any(step.runs for step in steps) and not any(map(aborts, steps))
        self.scribbled = {
            _lender(step.layer.bottoms[0].layer)
            for step in steps
            if step.layer and step.layer.type == "HingeLoss" and not (step.runs and step.needs[0])
        }
        self.inputs = inputs_of(self.net, seed, positive)
        first = self._module()
        self.params = give_params(first, seed, positive)
        self.graded = _graded(steps) & self.inputs.keys()
        self.masks: dict[str, Array] = {}
        ran = self._caffe()
        self._keep_masks(first, ran)
        if not all(np.isfinite(blob).all() for blob in (*ran.outputs.values(), *ran.diffs.values())):
            raise NotFinite("not finite")
        self.theirs = self._their_results(ran)
        try:
            # Passes leave alone what is asked for, so the second run, for the outputs only, has them; and the
            # third those that wait while a gradient is asked for.
            self.ours = [self.run(torch.float32), self.run(torch.float32, keep=())]
            if phase == "TEST":
                with torch.no_grad():
                    self.ours.append(self.run(torch.float32, keep=()))
        except _Ambiguous as dropout:
            for layer in proto.layer:
                if layer.name == str(dropout):
                    layer.phase = 1
            self.__init__(seed, phase, proto, real, positive=positive)  # type: ignore[misc]

    def _module(self) -> NetModule:
        """Ours; it may refuse only what Caffe dies of."""
        try:
            return module(self.net, seed=1)
        except EngineError:
            try:
                self.real.run(self.text, phase=self.phase, inputs=self.inputs, backward=self.backward)
            except CaffeRefused as error:
                raise LeftOut(f"Caffe aborts: {error.reason} ({error.site})") from None
            raise

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
                self.masks[layer.name] = np.asarray(ran.outputs[top.name] != 0)

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

        Recurrent layers compute those with lr_mult: 0, also where another place that shares the parameter
        says so. The forward pass of a HingeLoss has its margins in the diff of a Parameter, where they stay
        if no backward pass follows, or one without that gradient.
        """
        layer = next(layer for layer in self.net.layers if layer.name == name)
        if layer.type in ("LSTM", "RNN"):
            specs = [spec for other in self.net.layers for spec in other.proto.param]
            frozen = {spec.name for spec in specs if spec.name and spec.lr_mult == 0}
            own = enumerate(layer.proto.param)
            return {i for i, spec in own if spec.lr_mult == 0 or spec.name in frozen}
        return {0} if layer in self.scribbled else set()

    def error(self, name: str) -> float:
        """The largest error of our runs."""
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
        for operator in m.operators().values():
            if not operator.proto.bottom:  # constants of the file are float32
                operator.register_forward_hook(lambda _, __, tops: _cast(tops, dtype))
        for name, mask in self.masks.items():
            _mask(m.operators()[name], mask)
        if noise is not None:
            shake(m, noise)
        given = {n: torch.tensor(v, dtype=dtype) for n, v in self.inputs.items()}
        if noise is not None:
            given = {n: moved(x, noise) for n, x in given.items()}
        graded = self.backward and torch.is_grad_enabled()
        given = {n: x.requires_grad_(graded) for n, x in given.items()}
        shapeless = {n: torch.zeros(()) for n in m.inputs if n not in self.names}
        out = m(**shapeless, **given, keep=self.names if keep is None else keep)
        found = {f"blob {n}": out[n] for n in self.names if n in out}
        if self.backward and not graded:
            return {n: t.numpy() for n, t in found.items()}
        if graded and out.loss is not None and out.loss.requires_grad:
            out.loss.backward()
        for n, x in given.items():
            found[f"gradient {n}"] = torch.zeros_like(x) if x.grad is None else x.grad
        for layer, blobs in m.params.items():
            for i, blob in enumerate(blobs):
                found[f"param {layer}[{i}]"] = blob
                found[f"gradient {layer}[{i}]"] = torch.zeros_like(blob) if blob.grad is None else blob.grad
        return {n: t.detach().numpy() for n, t in found.items()}

    def explained(self, large: Mapping[str, float]) -> dict[str, Rounding]:
        """The large errors that rounding explains, and how."""
        exact = self.run(torch.float64)
        moves = dict.fromkeys(large, 0.0)
        for i in range(SAMPLES):
            other = self.run(torch.float64, torch.Generator().manual_seed(i))
            for name in large:
                moves[name] = max(moves[name], difference(other[name], exact[name]))
        judged = {name: self._rounding(name, exact[name], by) for name, by in moves.items()}
        return {name: rounding for name, rounding in judged.items() if rounding.explains}

    def _rounding(self, name: str, exact: Array, moves: float) -> Rounding:
        ours = [ours[name] for ours in self.ours if name in ours]
        theirs = self.theirs[name]
        small = all(abs(found).max() < 1e-4 for found in (*ours, theirs))
        zero = small and abs(exact).max() < ZERO
        return Rounding(max(difference(o, exact) for o in ours), difference(theirs, exact), moves, bool(zero))


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


def _is_state(blob: Blob) -> bool:
    """Whether it is a hidden state of a recurrent layer, or the top of its only step, from its inner net."""
    layer = blob.layer
    one = layer.type in ("LSTM", "RNN") and layer.bottoms[0].known_shape[0] == 1
    return one or (layer.type in ("LSTM", "RNN") and blob.name != layer.tops[0].name)


def _spoils(layer: Layer) -> bool:
    """Whether it works in place where Caffe then reads or writes something else."""
    pairs = list(zip(layer.bottoms, layer.tops, strict=False))
    over = any(
        b.name == t.name and (b.layer.type == "Parameter" or _is_loss(b) or _is_state(b)) for b, t in pairs
    )
    # A Crop in place reads with the shape of its top.
    crop = layer.type == "Crop" and any(b.name == t.name for b, t in pairs)
    # Caffe reads beyond the labels of a ContrastiveLoss that has fewer than pairs.
    few = (
        layer.type == "ContrastiveLoss"
        and math.prod(layer.bottoms[2].known_shape) < layer.bottoms[0].known_shape[0]
    )
    # A Scale keeps the product of its gamma's gradient in the diff of a bottom whose own is not asked for.
    kept = layer.type == "Scale" and len(layer.bottoms) == 1 and list(layer.proto.propagate_down) == [False]
    return over or crop or few or kept or (any(layer.proto.loss_weight) and _lends(layer))


def _lends(layer: Layer) -> bool:
    """Whether its top has the gradient of a Parameter, whose memory is another than at set-up."""
    lender = _lender(layer)
    return not lender.bottoms and _is_lent(lender)


def _lender(layer: Layer) -> Layer:
    """The layer whose gradient's memory the top of this one has."""
    while _is_lent(layer) and layer.bottoms:
        layer = layer.bottoms[0].layer
    return layer


def _is_lent(layer: Layer) -> bool:
    return of_layer(RULES[layer.type].traits.diff, layer.proto, Diff.OWN) is Diff.LENT


def _stale(layer: Layer, net: Net) -> bool:
    """Whether its later steps read the memory that a parameter had before Caffe shared it.

    A recurrent layer shares its weights between its steps before the net shares them between layers, and
    repeats that in TEST only. Source: recurrent_layer.cpp, Forward_cpu; net.cpp, ShareWeights.
    """
    phase = PHASES[layer.proto.phase] if layer.proto.HasField("phase") else net.phase
    if layer.type not in ("LSTM", "RNN") or phase == "TEST" or layer.bottoms[0].known_shape[0] < 2:
        return False
    once = 2 + (len(layer.params) - (3 if layer.type == "LSTM" else 5))  # parameters that one step reads
    owners: dict[str, tuple[Layer, int]] = {}
    for other in net.layers:
        for i, spec in enumerate(other.proto.param):
            if spec.name:
                owners.setdefault(spec.name, (other, i))
    return any(
        spec.name and i >= once and owners[spec.name] != (layer, i)
        for i, spec in enumerate(layer.proto.param)
    )


def _cast(tops: Any, dtype: torch.dtype) -> Any:
    return tuple(t.to(dtype) for t in tops) if isinstance(tops, tuple) else tops.to(dtype)


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
