"""One layer in real Caffe and here, from the same inputs, parameters and gradients of its tops."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from netbuilder import prototxt
from netbuilder.engines.caffe.judge import Caffe
from netbuilder.engines.torch import module
from tests.engines.torch.cases import difference

__all__ = ["Layer", "differences"]

Array = np.ndarray[Any, Any]


class Layer(NamedTuple):
    """A layer `t` by its type and fields, the shapes of its bottoms, its number of tops, its phase.

    `bottoms` may also be arrays. `graded` are the tops that get a gradient; `positive` bottoms are above 0.
    `to_inputs` makes Caffe compute the gradients of the inputs too, which Embed refuses.
    """

    type: str
    fields: str
    bottoms: Sequence[tuple[int, ...] | Array]
    tops: int = 1
    phase: str = "TEST"
    graded: tuple[int, ...] | None = None
    positive: bool = False
    params: Sequence[Array] | None = None
    to_inputs: bool = True
    scale: float = 1  # of the parameters that are drawn

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [b.shape if isinstance(b, np.ndarray) else b for b in self.bottoms]

    def net(self) -> str:
        """The layer with its inputs."""
        bottoms = "".join(f' bottom: "x{i}"' for i in range(len(self.bottoms)))
        tops = "".join(f' top: "y{i}"' for i in range(self.tops))
        return (
            ("force_backward: true\n" if self.to_inputs else "")
            + "".join(_input(f"x{i}", shape) for i, shape in enumerate(self.shapes))
            + f'layer {{ name: "t" type: "{self.type}"{bottoms}{tops} {self.fields} }}\n'
        )

    def arrays(self, rng: np.random.Generator) -> dict[str, Array]:
        values = {}
        for i, bottom in enumerate(self.bottoms):
            if isinstance(bottom, np.ndarray):
                values[f"x{i}"] = bottom.astype(np.float32)
            else:
                drawn = rng.normal(0, 1, bottom).astype(np.float32)
                values[f"x{i}"] = np.abs(drawn) + np.float32(0.1) if self.positive else drawn
        return values


def _input(name: str, shape: Sequence[int]) -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def differences(caffe: Caffe, layer: Layer, seed: int = 0) -> dict[str, float]:
    """How far tops, gradients and parameters (after the pass) are from real Caffe's, by name."""
    rng = np.random.default_rng(seed)
    built = module(prototxt.parse(layer.net(), layer.phase, dialect="caffe-master"))
    inputs = layer.arrays(rng)
    ours = built.params.get("t", [])
    params = layer.params or [
        rng.normal(0, layer.scale, tuple(blob.shape)).astype(np.float32) for blob in ours
    ]
    # A top's gradient is `r`: that of the sum of y * r, which Caffe computes by Eltwise and Reduction.
    graded = range(layer.tops) if layer.graded is None else layer.graded
    text = layer.net()
    tops = module_shapes(text, layer.phase)
    for i in graded:
        inputs[f"r{i}"] = rng.normal(0, 1, tops[f"y{i}"]).astype(np.float32)
        text += _input(f"r{i}", tops[f"y{i}"])
        text += f'layer {{ name: "p{i}" type: "Eltwise" bottom: "y{i}" bottom: "r{i}" top: "p{i}" '
        if tops[f"y{i}"]:
            text += "eltwise_param { operation: PROD } }\n"
            text += f'layer {{ name: "s{i}" type: "Reduction" bottom: "p{i}" top: "s{i}" loss_weight: 1 }}\n'
        else:  # Reduction refuses a scalar
            text += "eltwise_param { operation: PROD } loss_weight: 1 }\n"
    wanted = [f"y{i}" for i in range(layer.tops)] + [f"x{i}" for i in range(len(layer.bottoms))]
    theirs = caffe.run(
        text, phase=layer.phase, inputs=inputs, params={"t": params} if params else {}, outputs=wanted,
        backward=bool(graded), fetch_params=True,
    )  # fmt: skip

    with torch.no_grad():
        for blob, values in zip(ours, params, strict=True):
            blob.copy_(torch.from_numpy(values))
    given = {name: torch.from_numpy(inputs[name]).requires_grad_() for name in inputs if name[0] == "x"}
    results = [name for name in wanted if name[0] == "y"]
    out = built(**given, keep=results)
    found = {name: difference(out[name], theirs.outputs[name]) for name in results}
    if layer.phase == "TEST":  # some passes wait while a gradient is asked for
        with torch.no_grad():
            again = copy.deepcopy(built)(**given, keep=results)
        found |= {name: max(found[name], difference(again[name], theirs.outputs[name])) for name in results}
    roots = [i for i in graded if out[f"y{i}"].requires_grad]
    if roots:
        torch.autograd.backward(
            [out[f"y{i}"] for i in roots], [torch.from_numpy(inputs[f"r{i}"]) for i in roots]
        )
    for name, x in given.items() if graded and layer.to_inputs else ():
        found[f"d{name}"] = difference(torch.zeros_like(x) if x.grad is None else x.grad, theirs.diffs[name])
    for i, blob in enumerate(ours):
        found[f"blob {i}"] = difference(blob, theirs.params["t"][i])
        if graded and blob.requires_grad:
            grad = torch.zeros_like(blob) if blob.grad is None else blob.grad
            found[f"dblob {i}"] = difference(grad, theirs.param_diffs["t"][i])
    return found


def module_shapes(text: str, phase: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the blobs of a net."""
    net = prototxt.parse(text, phase, dialect="caffe-master")
    return {top.name: top.known_shape for layer in net for top in layer.tops}
