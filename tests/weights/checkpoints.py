"""Checkpoints for the tests, as .npz: of nets of ours under other names, and of the official files."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from netbuilder import Net, prototxt
from netbuilder.weights.tensors import Checkpoint, Tensor
from netbuilder.weights.units import Unit, units_of

__all__ = ["chain", "fed", "held", "saved", "state_of"]

CHAIN = """
name: "chain"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "one" type: "Convolution" bottom: "data" top: "one"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false %s } }
layer { name: "one_bn" type: "BatchNorm" bottom: "one" top: "one" }
layer { name: "one_scale" type: "Scale" bottom: "one" top: "one" scale_param { bias_term: true } }
layer { name: "act" type: "PReLU" bottom: "one" top: "one" }
layer { name: "two" type: "Convolution" bottom: "one" top: "two"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "two" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def fed(channels: int, size: int, layers: str) -> Net:
    """A net of these layers, which read the blob `data`."""
    shape = " ".join(f"dim: {n}" for n in (1, channels, size, size))
    head = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}'
    return prototxt.parse(f"{head}\n{layers}")


def chain(first: str = "") -> Net:
    """A small net with every kind of unit; `first` are more fields of its first convolution."""
    return prototxt.parse(CHAIN % first)


def state_of(net: Net, seed: int = 1) -> dict[str, Any]:
    """Random tensors for the units of a net, under the names of its layers, in PyTorch's layout."""
    draw = np.random.default_rng(seed)
    return {
        f"{unit.name}.{slot.role}": _numbers(draw, unit, slot.role, slot.shape)
        for unit in units_of(net)
        for slot in unit.slots
    }


def _numbers(draw: np.random.Generator, unit: Unit, role: str, shape: tuple[int, ...]) -> Any:
    if unit.is_norm and role != "bias":
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    return (draw.standard_normal(shape) / max(1, math.prod(shape[1:])) ** 0.5).astype(np.float32)


def saved(path: Path, state: dict[str, Any]) -> Path:
    """The state as an .npz."""
    np.savez(path, **state)
    return path


def held(state: dict[str, Any]) -> Checkpoint:
    """The state as a checkpoint without a file."""
    tensors = {
        name: Tensor(name, array.shape, array.dtype.name, partial(np.asarray, array))
        for name, array in state.items()
    }
    return Checkpoint("held", tensors)
