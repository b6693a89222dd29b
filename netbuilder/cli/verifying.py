"""`weights import --verify`: the written model run on a random input, in PyTorch, Caffe and its source."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netbuilder.errors import ConfigError, EngineError
from netbuilder.net import Net
from netbuilder.training.trust import require_trust

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.weights.inputs import InputChange
    from netbuilder.weights.tensors import Tensor

    Array = npt.NDArray[np.float32]

__all__ = ["verify"]

_SOURCE = "the published model"


def verify(
    net: Net, model: str, source: str | None, state: Mapping[str, Tensor], change: InputChange | None
) -> dict[str, float | str]:
    """How far the scores are from one another, by the largest score; or why a program gives none.

    `source` is MODULE:FUNCTION, and `state` its state_dict. With a `change` of the input, the net is fed the
    new kind of image, and the published model the same image as it takes it.
    """
    import numpy as np

    if not net.inputs:
        raise ConfigError("the net has no input to feed", key="verify")
    require_trust([("net", net)], hint="leave --verify out; docs/security.md explains it")
    image = np.random.default_rng(1).standard_normal(net.inputs[0].known_shape).astype(np.float32)
    given = image if change is None else change.undone(image)
    found: dict[str, Array | str] = {}
    if source is not None:
        found[_SOURCE] = _of_source(source, state, image)
    found["Caffe"] = _in_caffe(net, model, given)
    found["PyTorch"] = _in_torch(net, model, given)
    compared: dict[str, float | str] = {name: x for name, x in found.items() if isinstance(x, str)}
    ran = {name: x.reshape(-1) for name, x in found.items() if not isinstance(x, str)}
    first = next(iter(ran), "")
    for name in list(ran)[1:]:
        compared[f"{name} against {first}"] = _difference(ran[first], ran[name])
    return compared


def _difference(expected: Array, got: Array) -> float | str:
    import numpy as np

    if expected.shape != got.shape:
        return f"{got.size} scores, where {expected.size} are expected"
    largest = float(np.abs(expected).max())
    difference = float(np.abs(expected - got).max())
    return difference / largest if largest else difference


def _score(net: Net) -> str:
    """The blob of the scores: before a Softmax at the end, else the first output."""
    output = net.outputs[0]
    return output.layer.bottoms[0].name if output.layer.type == "Softmax" else output.name


def _in_torch(net: Net, model: str, image: Array) -> Array | str:
    if importlib.util.find_spec("torch") is None:
        return "not installed"
    import torch

    from netbuilder.engines.torch import module

    run = module(net)
    run.load_caffemodel(model)
    with torch.no_grad():
        scores: Array = run(torch.from_numpy(image), keep=[_score(net)])[_score(net)].numpy()
    return scores


def _in_caffe(net: Net, model: str, image: Array) -> Array | str:
    from netbuilder.engines.caffe import Caffe
    from netbuilder.prototxt import dumps
    from netbuilder.weights.arrays import read_arrays

    params = {stored.layer.name: list(stored.arrays) for stored in read_arrays(model)}
    try:
        with Caffe() as caffe:
            name = _score(net)
            ran = caffe.run(dumps(net), inputs={net.inputs[0].name: image}, params=params, outputs=[name])
    except EngineError as error:
        return f"not run: {error.text}"
    scores: Array = ran.outputs[name]
    return scores


def _of_source(source: str, state: Mapping[str, Tensor], image: Array) -> Array:
    """The scores of the published model. Raises ConfigError if it cannot be made, or refuses the weights."""
    import torch

    where, colon, function = source.partition(":")
    if not colon:
        raise ConfigError("--source takes MODULE:FUNCTION", key="source", hint="torchvision.models:resnet50")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a module of one's own
    try:
        made: Any = getattr(importlib.import_module(where), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"--source {source}: {error}", key="source", hint="a function without arguments that makes it"
        ) from None
    tensors = {name: torch.from_numpy(tensor.read().copy()) for name, tensor in state.items()}
    own = made.state_dict()
    try:
        made.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own})
    except RuntimeError as error:
        raise ConfigError(f"--source {source}: {str(error).splitlines()[-1].strip()}", key="source") from None
    made.eval()
    with torch.no_grad():
        result = made(torch.from_numpy(image))
    result = result[0] if isinstance(result, tuple | list) else result
    scores: Array = result.numpy()
    return scores
