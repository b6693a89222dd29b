"""Where `propagate_down: false` cuts a gradient off, which in Caffe depends on the layer that is asked.

Most layers leave the gradient of such a bottom alone. Some compute it nevertheless (`Operator.insists`), or
have it in the same memory as that of their top; it counts if the layer before runs in the backward pass for
other reasons, as one with several tops, or the Split of a blob with several readers. Flatten gives its bottom
other memory, which a layer before does not see that has put the gradient elsewhere, as Parameter in its blob.
Source: net.cpp, Init and BackwardFromTo; Backward_cpu of each layer type.
"""

from __future__ import annotations

from collections.abc import Sequence

from netbuilder.checks.backward import Step
from netbuilder.engines.torch.operators import OPERATORS
from netbuilder.layers import RULES, of_layer
from netbuilder.layers.traits import Diff
from netbuilder.net import Layer

__all__ = ["cut_bottoms", "lends"]


def cut_bottoms(plan: Sequence[Step]) -> dict[Layer, tuple[int, ...]]:
    """The bottoms of each layer that get no gradient, by number."""
    taken: dict[str, bool] = {}  # whether what is written into the gradient of a blob counts
    lent: set[str] = set()  # blobs whose gradient lies in other memory
    found: dict[Layer, tuple[int, ...]] = {}
    for step in plan:
        layer = step.layer
        if layer is not None:
            down = layer.proto.propagate_down
            found[layer] = tuple(
                i
                for i, (flag, name) in enumerate(zip(down, step.bottoms, strict=False))
                # `force_backward` asks for gradients that propagate_down cuts off.
                if not flag and not step.needs[i] and not (_writes(step, layer, name in lent) and taken[name])
            )
        passed = layer is not None and _shares(layer) and all(taken[name] for name in step.bottoms[:1])
        taken.update(dict.fromkeys(step.tops, step.runs or passed))
        if layer is not None and lends(layer):
            lent.update(step.tops)
    return found


def _writes(step: Step, layer: Layer, lent: bool) -> bool:
    """Whether its backward pass gives a bottom a gradient that was not asked for.

    `lent`: the gradient of the bottom lies in other memory.
    """
    replaces = _diff(layer) is Diff.REPLACES and not lent
    return _shares(layer) or (step.runs and (_insists(layer) or replaces))


def _shares(layer: Layer) -> bool:
    """Whether the gradient of its top lies in that of its bottom, not in an inner net."""
    return lends(layer) and not _insists(layer)


def _insists(layer: Layer) -> bool:
    operator = OPERATORS.get(layer.type)
    return operator is not None and of_layer(operator.insists, layer.proto, False)


def lends(layer: Layer) -> bool:
    """Whether the gradient of its top lies in another memory: of its bottom, a parameter, or an inner net."""
    return _diff(layer) is Diff.LENT


def _diff(layer: Layer) -> object:
    rule = RULES.get(layer.type)
    return None if rule is None else of_layer(rule.traits.diff, layer.proto, Diff.OWN)
