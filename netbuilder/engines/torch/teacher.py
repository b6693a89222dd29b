"""`Teacher`: a trained net whose scores are targets beside the labels (knowledge distillation).

Source: Hinton 2015; Lee 2020 (Assemble-ResNet), which adds the cross-entropy with the teacher to the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netbuilder.engines.torch import module
from netbuilder.engines.torch.feed.soft import SoftLoss, softened
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import ConfigError, shape_text
from netbuilder.layers import RULES, is_source
from netbuilder.net import Blob, Net
from netbuilder.transforms.fed import fed, image_input

if TYPE_CHECKING:
    from netbuilder.engines.torch.recipe_extras import TrainingExtras

__all__ = ["Teacher"]


class Teacher:
    """It sees the images of each pass as the net that learns sees them. Its parameters stay as they are."""

    def __init__(self, extras: TrainingExtras, student: Net, net: NetModule, device: torch.device) -> None:
        from netbuilder.prototxt.reader import nets_of, read_net

        own = read_net(nets_of(extras.teacher, "TEST")[0], dialect="any", unknown="keep")
        image, scores = image_input(student), _scores(own, f"the teacher '{extras.teacher}'")
        theirs = _scores(student, "the net")
        shape = image.known_shape
        self._image, self._input, self._blob = image.name, image_input(own).name, scores.name
        tops = [top.name for layer in own if is_source(layer.proto) for top in layer.tops]
        own = fed(own, {name: shape if name == self._input else shape[:1] for name in tops})
        found = next(top for layer in reversed(list(own)) for top in layer.tops if top.name == scores.name)
        if found.known_shape[1:2] != theirs.known_shape[1:2]:
            raise ConfigError(
                f"the teacher '{extras.teacher}' gives scores {shape_text(found.known_shape)}, and the net "
                f"{shape_text(theirs.known_shape)}: they need as many classes", key="teacher",
            )  # fmt: skip
        self._others = [name for name in tops if name != self._input]
        self._net = module(own, dtype=net.dtype).to(device)
        self._net.load_caffemodel(extras.teacher_weights)
        self._loss = self._softened(student, net)
        self._loss.temperature, self._loss.part = extras.teacher_temperature, extras.teacher_share

    @staticmethod
    def _softened(student: Net, net: NetModule) -> SoftLoss:
        source = next(op for op in net.operators().values() if image_input(student).name in op.proto.top)
        return softened(net, source, None)[-1]  # type: ignore[arg-type]

    def look(self, batch: Mapping[str, Tensor]) -> None:
        """Give the loss of the net the scores for the images of its next pass."""
        images = batch[self._image]
        zeros = {name: images.new_zeros(len(images)) for name in self._others}
        with torch.no_grad():
            out = self._net(keep=[self._blob], **{self._input: images}, **zeros)
        self._loss.taught = out[self._blob].float()


def _scores(net: Net, what: str) -> Blob:
    """What the last softmax of a net reads, be it a layer of its own or that of a loss."""
    for layer in reversed(list(net)):
        rule = RULES.get(layer.type)
        if rule and layer.bottoms and (layer.type == "Softmax" or rule.traits.applies == "Softmax"):
            return layer.bottoms[0]
    raise ConfigError(f"{what} has no softmax, whose scores a teacher gives", key="teacher")
