"""The readers of each blob, and what Caffe computes in the backward pass: found once for all checks."""

from __future__ import annotations

from copy import copy
from functools import cached_property

from netbuilder.checks.backward import Step, backward, computes
from netbuilder.graph import has_loss, one_of_each
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form
from netbuilder.net import REFUSED, Blob, Layer, Net
from netbuilder.schema.dialects import Dialect

__all__ = ["Graph"]


class Graph:
    """A net with what the checks need to know about it.

    `layers` are those that Caffe would build, `samples` one of each kind among them. `readers` has the layers
    that read each version of a blob.
    `trained`: the net is for TRAIN and has a loss. `steps` has what each layer does in the backward pass,
    and `backward` the layers that compute a gradient in it; both are empty for a net that nobody runs
    backward.
    `dialects` are the Caffes that the net is meant for.
    """

    def __init__(self, net: Net, dialects: tuple[Dialect, ...] = ()) -> None:
        self.net = net
        self.dialects = dialects
        self.layers = [layer for layer in net if layer.unknown != REFUSED]
        self.samples = one_of_each(self.layers)
        self.readers: dict[Blob, list[Layer]] = {}
        for layer in net.layers:
            for blob in layer.bottoms:
                self.readers.setdefault(blob, []).append(layer)
        self.trained = net.phase == "TRAIN" and any(map(has_loss, one_of_each(net.layers)))
        steps = backward(net) if self.trained or _is_for_gradients(net) else []
        self.steps: dict[Layer, Step] = {step.layer: step for step in steps if step.layer is not None}
        self.backward = {layer for layer, step in self.steps.items() if computes(step)}

    @cached_property
    def places(self) -> dict[Layer, int]:
        """Where each layer stands in the net."""
        return {layer: i for i, layer in enumerate(self.net.layers)}

    @cached_property
    def unforced(self) -> dict[Layer, Step]:
        """What each layer would do in the backward pass without `force_backward`."""
        steps = backward(self.net, forced=False)
        return {step.layer: step for step in steps if step.layer is not None}

    def of_samples(self) -> Graph:
        """This graph with only the samples as its layers, for the checks in OF_KINDS."""
        other = copy(self)
        other.layers = self.samples
        return other


def _is_for_gradients(net: Net) -> bool:
    """Whether a net without training has `force_backward` and fed inputs: for a backward pass of its user."""
    sources = [source_of(layer.type) for layer in net.layers if not layer.bottoms and layer.tops]
    fed = all(source is not None and source.form is Form.FED for source in sources)
    return bool(net.proto.force_backward) and fed and not any(has_loss(layer) for layer in net.layers)
