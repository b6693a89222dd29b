"""The memory of a whole training: parameters, solver, the net that trains and those that test.

Caffe's is what its process has resident on the CPU, by arithmetic; PyTorch's is an estimate of what autograd
keeps. docs/counting.md has measured figures of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from netbuilder.checks.backward import Step, backward
from netbuilder.engines.caffe.buffers import BUFFERS, Use
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.graph import has_loss
from netbuilder.layers import RULES
from netbuilder.layers.traits import Diff, GradientReads, Kernel, of_layer
from netbuilder.measure.counts import FLOAT_BYTES, batch_size, count, shares_memory
from netbuilder.measure.memory import memory
from netbuilder.net import Blob, Layer, Net
from netbuilder.transforms.rebatch import rebatched

__all__ = [
    "PARTS",
    "SOLVERS",
    "Fitting",
    "Nets",
    "TrainingMemory",
    "largest_batch",
    "net_in_caffe",
    "training_memory",
]

_MOST = 1 << 20  # the largest batch that is tried
# The parts of the memory of a training, in the order of a table.
PARTS = {
    "weights": "weights",
    "gradients": "their gradients",
    "history": "solver's history",
    "update": "temporaries of the update",
    "train_blobs": "blobs of the train net",
    "train_gradients": "gradients of its blobs",
    "train_buffers": "buffers of its layers",
    "test_blobs": "blobs of the test nets",
    "test_buffers": "buffers of their layers",
}


class _Solver(NamedTuple):
    """How many numbers a solver keeps per parameter: its history, and what Caffe's update needs on the CPU.

    `sign`: the update has the temporary that L1 regularisation needs. Source: Caffe's *_solver.cpp.
    """

    history: int
    update: int = 0
    sign: bool = False


SOLVERS = {
    "SGD": _Solver(1),
    "Nesterov": _Solver(1, 1),
    "AdaGrad": _Solver(1, 1),
    "RMSProp": _Solver(1, 1),
    "AdaDelta": _Solver(2, 2, sign=True),
    "Adam": _Solver(2, 1, sign=True),
}


class Nets(NamedTuple):
    """The nets of a solver, its type, and whether its regularisation is L1 with a weight decay."""

    train: Net
    tests: tuple[Net, ...] = ()
    solver: str = "SGD"
    l1: bool = False

    def with_batch(self, batch: int) -> Nets:
        """With another batch to train; the nets to test keep theirs."""
        return self if batch == batch_size(self.train) else self._replace(train=rebatched(self.train, batch))


class TrainingMemory(NamedTuple):
    """Bytes by the keys of PARTS, and the layers of which something is not counted."""

    parts: Mapping[str, int]
    uncounted: Mapping[str, str]

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


class Fitting(NamedTuple):
    """The largest batch that fits, its memory, and that of the next one."""

    batch: int
    total: int
    next: int


def training_memory(nets: Nets, engine: str, width: int = FLOAT_BYTES) -> TrainingMemory:
    """The memory of a training by an engine, at so many bytes per number.

    Raises ConfigError for an unknown type of solver, and for a net without a loss.
    """
    if nets.solver not in SOLVERS:
        hint = did_you_mean(nets.solver, SOLVERS) or f"one of {', '.join(SOLVERS)}"
        raise ConfigError(f"unknown solver type '{nets.solver}'", key="type", hint=hint)
    if not any(map(has_loss, nets.train.layers)):
        raise ConfigError(
            f"{nets.train.name or 'the net'} has no loss in TRAIN, so nothing trains it",
            hint="give the file with the loss, a solver, or the name of a config",
        )
    found = {"caffe": _of_caffe, "torch": _of_torch}[engine](nets)
    return found._replace(parts={key: size // FLOAT_BYTES * width for key, size in found.parts.items()})


def largest_batch(nets: Nets, engine: str, limit: int | float, width: int = FLOAT_BYTES) -> Fitting:
    """The largest batch to train within so many bytes; the next one was counted, too, and does not fit.

    Raises ConfigError if no batch fits, or if a batch of a million does.
    """
    found: dict[int, int] = {}

    def total(batch: int) -> int:
        if batch not in found:
            found[batch] = training_memory(nets.with_batch(batch), engine, width).total
        return found[batch]

    if total(1) > limit:
        parts = training_memory(nets.with_batch(1), engine, width).parts
        fixed = sum(parts[key] for key in ("weights", "gradients", "history", "update"))
        raise ConfigError(
            f"not even batch 1 fits into {limit:,} bytes: it takes {total(1):,}, of which weights, gradients "
            f"and solver are {fixed:,} and the test nets {parts['test_blobs'] + parts['test_buffers']:,}",
            key="fit-memory",
        )
    growth = total(2) - total(1)  # memory is affine in the batch, but for what does not divide
    low, high = 1, _MOST
    guess = 1 + int((limit - total(1)) // growth) if growth > 0 else _MOST
    for probe in (guess, guess + 1):
        if low < probe < high:
            low, high = (probe, high) if total(probe) <= limit else (low, probe)
    if high == _MOST and total(_MOST) <= limit:
        raise ConfigError(f"batches up to {_MOST:,} stay within {limit:,} bytes", key="fit-memory")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(middle) <= limit else (low, middle)
    return Fitting(low, total(low), total(high))


def _stored(net: Net) -> int:
    return count(net).stored_params


# ---- Caffe -----------------------------------------------------------------------------------------------


def _of_caffe(nets: Nets) -> TrainingMemory:
    params, solver = FLOAT_BYTES * _stored(nets.train), SOLVERS[nets.solver]
    uncounted: dict[str, str] = {}
    blobs, diffs, buffers = net_in_caffe(nets.train, uncounted)
    tested = [net_in_caffe(net, uncounted) for net in nets.tests]
    return TrainingMemory(
        {
            "weights": params,
            "gradients": params,
            "history": solver.history * params,
            "update": (solver.update + (nets.l1 and not solver.sign)) * params,
            "train_blobs": blobs,
            "train_gradients": diffs,
            "train_buffers": buffers,
            "test_blobs": sum(blobs for blobs, _, _ in tested),
            "test_buffers": sum(diffs + buffers for _, diffs, buffers in tested),
        },
        uncounted,
    )


def net_in_caffe(net: Net, uncounted: dict[str, str]) -> tuple[int, int, int]:
    """The bytes of a net's blobs, of their gradients, and of the buffers of its layers."""
    steps = backward(net)
    train = net.phase == "TRAIN"
    buffers = 0
    for step in steps:
        layer = step.layer
        if layer is None:
            continue
        buffer = BUFFERS.get(layer.type)
        if layer.unknown or buffer is None:
            uncounted[layer.name] = layer.unknown or f"{layer.type}: {_why_not(layer.type)}"
            continue
        use = Use(layer, train, step.runs and train, any(step.needs[:1]), any(step.learns))
        buffers += buffer(use)
    data = _elements(
        top for layer in net.layers for i, top in enumerate(layer.tops) if not shares_memory(layer, i)
    )
    return FLOAT_BYTES * data, FLOAT_BYTES * _gradients(steps, train), FLOAT_BYTES * buffers


def _why_not(type: str) -> str:
    return BUFFERS.refused.get(type, "Caffe's forks may hold more beside its blobs")


def _gradients(steps: Sequence[Step], train: bool) -> int:
    """The elements of the diffs that are written: of bottoms in a backward pass, and of losses."""
    sizes: dict[str, int] = {}  # by Caffe's names
    home: dict[str, str] = {}  # where a blob's diff lies
    written: set[str] = set()
    for step in steps:
        layer = step.layer
        tops = [sizes[step.bottoms[0]]] * len(step.tops) if layer is None else _sizes(layer, step)
        sizes.update(zip(step.tops, tops, strict=True))
        rule = RULES.get(layer.type) if layer else None
        if layer and rule and step.bottoms and of_layer(rule.traits.diff, layer.proto, Diff.OWN) != Diff.OWN:
            home.update({top: home.get(step.bottoms[0], step.bottoms[0]) for top in step.tops})
        written.update(top for top, weight in zip(step.tops, step.losses, strict=False) if weight)
        if train and step.runs:
            written.update(name for name, need in zip(step.bottoms, step.needs, strict=True) if need)
    return sum(sizes[name] for name in {home.get(name, name) for name in written})


def _sizes(layer: Layer, step: Step) -> list[int]:
    """The elements of each of Caffe's tops: a loss that names none has one."""
    return [0 if top.shape is None else prod(top.shape) for top in layer.tops] or [1] * len(step.tops)


def _elements(blobs: Iterable[Blob]) -> int:
    return sum(prod(blob.shape) for blob in blobs if blob.shape is not None)


# ---- PyTorch ---------------------------------------------------------------------------------------------


def _of_torch(nets: Nets) -> TrainingMemory:
    """An estimate: autograd keeps what a backward pass reads, and frees it as the pass goes back."""
    params = FLOAT_BYTES * _stored(nets.train)
    uncounted = {layer.name: layer.unknown for layer in nets.train.layers if layer.unknown}
    working = max((row.working or 0) - (row.weights or 0) for row in memory(nets.train))
    kept = FLOAT_BYTES * _kept(nets.train)
    tested = max((max(row.alive for row in memory(net)) for net in nets.tests), default=0)
    parts = {
        "weights": params,
        "gradients": params,
        "history": SOLVERS[nets.solver].history * params,
        "update": 0,
        "train_blobs": kept,
        "train_gradients": working,
        "train_buffers": 0,
        "test_blobs": max(0, tested - kept - working),  # a test has the memory of the passes before it
        "test_buffers": 0,
    }
    return TrainingMemory(parts, uncounted)


def _kept(net: Net) -> int:
    """The elements that the backward pass reads: each version of a blob that a layer computes with."""
    readers = Counter(blob for layer in net.layers for blob in layer.bottoms)
    kept: set[Blob] = set()
    masks = 0
    for step in backward(net):
        layer = step.layer
        rule = RULES.get(layer.type) if layer else None
        if layer is None or rule is None or not (step.runs and layer.bottoms):
            continue
        traits = rule.traits
        slides = isinstance(traits.kernel, Kernel)
        if of_layer(traits.gradient_reads, layer.proto, GradientReads.NOTHING) != GradientReads.NOTHING:
            kept.update(layer.tops)
        if callable(traits.normalises) or slides or (layer.params and not _merged(layer, readers)):
            kept.add(layer.bottoms[0])
        if slides and layer.proto.pooling_param.pool == layer.proto.pooling_param.MAX and not layer.params:
            masks += 2 * _elements(layer.tops)  # where the maxima were, in 8 bytes each
        if of_layer(traits.draws, layer.proto, False):
            masks += _elements(layer.tops) // 4  # in one byte each
    return _elements({_source(blob) for blob in kept}) + masks


def _merged(layer: Layer, readers: Mapping[Blob, int]) -> bool:
    """Whether it scales what a BatchNorm before it has made, so that the two are one function."""
    before, own = layer.bottoms[0].layer, RULES[layer.type].traits
    rule = RULES.get(before.type)
    normalised = rule is not None and callable(rule.traits.normalises)
    return normalised and own.linear is False and readers[layer.bottoms[0]] == 1


def _source(blob: Blob) -> Blob:
    """The blob in whose memory one lies that a layer only gives another shape."""
    while blob.layer.bottoms and not blob.layer.in_place and shares_memory(blob.layer, 0):
        blob = blob.layer.bottoms[0]
    return blob
