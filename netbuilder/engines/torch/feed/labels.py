"""Labels that a loss has no score for, found before they reach the device.

PyTorch ends a process on a GPU for them; Caffe does not look. `netbuilder.training.labels` reads as many as
it can before the training; these are those of each pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netbuilder.layers import RULES
from netbuilder.layers.traits import Shares

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.network import NetModule

__all__ = ["Scores", "scores_of"]


class Scores(NamedTuple):
    """The labels that a loss or metric accepts: 0 to `classes` - 1, and one that it ignores."""

    reader: str
    classes: int
    ignored: int | None

    def wrong(self, labels: npt.NDArray[np.int64]) -> int | None:
        """The place of the first label without a score."""
        bad = (labels < 0) | (labels >= self.classes)
        if self.ignored is not None:
            bad &= labels != self.ignored
        return int(bad.argmax()) if bad.any() else None


def scores_of(net: NetModule, blob: str) -> list[Scores]:
    """Who reads the labels in a blob, also through layers that only reshape it."""
    found, names = [], {blob}
    for operator in net.operators().values():
        proto, rule = operator.proto, RULES[operator.proto.type]
        bottoms = list(proto.bottom)
        if rule.traits.shares is Shares.ALWAYS and bottoms[:1] and bottoms[0] in names:
            names.update(proto.top)
        elif callable(rule.traits.scores) and len(bottoms) > 1 and bottoms[1] in names:
            shape, (axis, ignored) = operator.bottom_shapes[0], rule.traits.scores(operator.layer_message())
            if shape is not None and -len(shape) <= axis < len(shape):
                found.append(Scores(f"{proto.type} '{operator.name}'", shape[axis], ignored))
    return found
