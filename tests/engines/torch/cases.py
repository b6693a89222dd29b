"""The numeric cases: nets, inputs and parameters, and what real Caffe 1.0 computed, forward and backward."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule, Outputs

__all__ = ["CASES", "arrays", "backward", "build", "difference", "inputs_of"]

_FOLDER = Path(__file__).parents[2] / "ground_truth"
CASES: list[dict[str, Any]] = json.loads((_FOLDER / "numeric-cases.json").read_text())["cases"]


@cache
def arrays() -> Any:
    """All arrays by key."""
    return np.load(_FOLDER / "numeric-cases.npz")


def tensor(key: str) -> torch.Tensor:
    return torch.from_numpy(np.array(arrays()[key], np.float32))


def build(case: dict[str, Any]) -> NetModule:
    """The module of a case, with its parameters."""
    m = module(prototxt.parse(case["prototxt"], case["phase"], dialect="caffe-master"))
    with torch.no_grad():
        for layer, keys in case.get("params", {}).items():
            for blob, key in zip(m.params[layer], keys, strict=True):
                blob.copy_(tensor(key))
    return m


def inputs_of(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Its inputs, ready for gradients."""
    return {name: tensor(key).requires_grad_() for name, key in case["inputs"].items()}


def difference(ours: torch.Tensor, theirs: np.ndarray[Any, Any]) -> float:
    """The smaller of the largest element-wise relative error and the error on the scale of the tensor."""
    a, b = ours.detach().double().numpy(), theirs.astype(np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    if not a.size:
        return 0.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    error = np.where(same, 0, np.abs(a - b))
    relative = np.where(same, 0, error / np.maximum(np.abs(b), 1e-30)).max()
    finite = np.abs(b[np.isfinite(b)])
    return float(min(relative, error.max() / max(finite.max() if finite.size else 0.0, 1e-30)))


def backward(case: dict[str, Any], out: Outputs) -> None:
    """Let each top's diff be what the case says, as Caffe was given it, and go back."""
    roots, grads = [], []
    for name, key in case.get("top_diffs", {}).items():
        blob = out[name]
        if blob.requires_grad:
            roots.append(blob)
            grads.append(tensor(key).view(blob.shape).to(blob.device))
    if roots:
        torch.autograd.backward(roots, grads)
