"""The backward pass as Caffe plans it: which layers run in it, and which gradients each of them computes.

`backward` repeats what Caffe does when it builds a net, layer by layer and with the Split layers that it
inserts, so that every check that asks about gradients gets Caffe's own answer.
Source: net.cpp, Init, AppendTop and AppendBottom; insert_splits.cpp; AllowForceBackward of each layer type.
"""

from __future__ import annotations

from collections.abc import Sequence

from netbuilder.graph import is_loss, loss_weights
from netbuilder.layers import RULES, Rule, known, of_layer
from netbuilder.layers.traits import Unknown
from netbuilder.net import Blob, Layer, Net

__all__ = ["Step", "aborts", "backward", "computes", "lacking"]

_AUTOMATIC = "(automatic)"  # what Caffe calls every top that it adds to a loss


class Step:
    """A layer in Caffe's backward pass.

    `name`, `bottoms` and `tops` are Caffe's. `layer` is None for a Split that Caffe inserts. `runs`: its
    backward pass is called. `needs` says for each bottom, and `learns` for each parameter, whether its
    gradient is asked for; neither counts unless the layer `runs`. `under_loss`: the loss depends on one of
    its tops.
    """

    __slots__ = ("bottoms", "layer", "learns", "losses", "name", "needs", "runs", "tops", "under_loss")

    def __init__(
        self, name: str, layer: Layer | None, bottoms: list[str], tops: list[str], losses: list[float]
    ) -> None:
        self.name = name
        self.layer = layer
        self.bottoms = bottoms
        self.tops = tops
        self.losses = losses
        self.needs: list[bool] = []
        self.learns: list[bool] = []
        self.runs = False
        self.under_loss = False


def backward(net: Net, *, forced: bool = True) -> list[Step]:
    """The layers of a net in Caffe's order, with what each does in the backward pass.

    Without `forced` the net's `force_backward` is left out, as in what Caffe logs of each layer.
    """
    steps = _with_splits(net)
    _forward_sweep(steps)
    _backward_sweep(steps)
    if forced and net.proto.force_backward:
        for step in steps:
            _force(step)
    return steps


def computes(step: Step) -> bool:
    """Whether a layer computes the gradient of any bottom or parameter."""
    return step.runs and (any(step.needs) or any(step.learns))


def lacking(step: Step) -> list[int]:
    """The bottoms whose gradient is asked for although the layer has none for them: Caffe aborts."""
    rule = _rule(step.layer) if step.layer else None
    trait = rule.traits.no_gradient if rule and step.runs else ()
    if step.layer is None or isinstance(trait, Unknown):
        return []
    without = trait([b.shape or () for b in step.layer.bottoms]) if callable(trait) else trait
    last = len(step.needs)
    return sorted({i % last for i in without if -last <= i < last and step.needs[i]})


def aborts(step: Step) -> bool:
    """Whether Caffe aborts in the backward pass of this layer."""
    rule = _rule(step.layer) if step.layer else None
    return step.runs and ((rule is not None and rule.traits.no_backward is True) or bool(lacking(step)))


def _rule(layer: Layer) -> Rule | None:
    return RULES.get(layer.type)


# -- the layers that Caffe makes of those in the file --------------------------------------------------------


def _with_splits(net: Net) -> list[Step]:
    """The layers, and a Split after each one for each of its tops that has several readers."""
    readers: dict[Blob, int] = {}
    for layer in net.layers:
        for blob in layer.bottoms:
            readers[blob] = readers.get(blob, 0) + 1
        if weights := layer.proto.loss_weight:
            for blob, weight in zip(layer.tops, weights, strict=False):
                readers[blob] = readers.get(blob, 0) + (weight != 0)
    split: dict[Blob, str] = {}  # the name of the Split of a blob
    used: dict[Blob, int] = {}
    steps = []
    for layer in net.layers:
        bottoms = []
        for blob in layer.bottoms:
            if blob in split:
                bottoms.append(f"{split[blob]}_{used[blob]}")
                used[blob] += 1
            else:
                bottoms.append(blob.name)
        tops, losses = [top.name for top in layer.tops], loss_weights(layer)
        step = Step(layer.name, layer, bottoms, tops or [_AUTOMATIC] * is_loss(layer), losses)
        steps.append(step)
        given = [*layer.proto.loss_weight, *(0.0 for _ in layer.tops)]
        for i, top in enumerate(layer.tops):
            times = readers.get(top, 0)
            if times < 2:
                continue
            split[top] = name = f"{top.name}_{layer.name}_{i}_split"
            used[top] = 1 if given[i] else 0
            names = [f"{name}_{k}" for k in range(times)]
            steps.append(Step(name, None, [top.name], names, [given[i]] + [0.0] * (times - 1)))
            if given[i]:  # the Split takes it over; a loss then has its own weight again, 1
                step.losses = [1.0 if is_loss(layer) else 0.0] + [0.0] * (len(losses) - 1)
    return steps


# -- Net::Init -----------------------------------------------------------------------------------------------


def _forward_sweep(steps: Sequence[Step]) -> None:
    """Which layers depend on what is learnt, whether or not a loss depends on them."""
    needed: set[str] = set()
    for step in steps:
        depends = [name in needed for name in step.bottoms]
        given = step.layer.proto.propagate_down if step.layer else ()
        step.needs = list(given) if given and len(given) == len(depends) else depends
        step.learns = _rates(step.layer)
        step.runs = True in depends or True in step.learns
        if step.runs:
            needed.update(name for name in step.tops if name != _AUTOMATIC)


def _rates(layer: Layer | None) -> list[bool]:
    """Whether each parameter has a learning rate: as the file says it, even for statistics."""
    if layer is None:
        return []
    count = len(layer.params)
    if layer.unknown and (rule := _rule(layer)):
        count = of_layer(rule.traits.learns, layer.proto, 0)
    if not count:
        return []
    specs = layer.proto.param
    return [i >= len(specs) or specs[i].lr_mult != 0 for i in range(count)]


def _backward_sweep(steps: Sequence[Step]) -> None:
    """Leave out what no loss depends on, and what has all its gradients cut off."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for step in reversed(steps):
        step.under_loss = any(step.losses) or not under_loss.isdisjoint(step.tops)
        if step.runs and all(top in skipped for top in step.tops):
            step.runs = False
            step.needs = [False] * len(step.needs)
        if step.under_loss:
            under_loss.update(step.bottoms)
        else:
            step.runs = False
            step.needs = [False] * len(step.needs)
        skipped.update(name for name, need in zip(step.bottoms, step.needs, strict=True) if not need)


def _force(step: Step) -> None:
    """`force_backward: true`: every layer runs, for all bottoms that it lets be forced and all parameters."""
    rule = _rule(step.layer) if step.layer else None
    unforced = known(rule.traits.unforced, ()) if rule else ()
    step.runs = True
    step.needs = [need or i not in unforced for i, need in enumerate(step.needs)]
    step.learns = [True] * len(step.learns)
