"""Nets of a few layers with random parameters, and what their ONNX files compute in onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netbuilder import Net, prototxt
from netbuilder.export.onnx import Exported, export

Array = npt.NDArray[np.float32]


def inputs(*shapes: Sequence[int]) -> str:
    """Inputs called a, b, ..."""
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {n}' for n in shape)} }} }} }}\n"
        for name, shape in zip("abcdefg", shapes, strict=False)
    )


def layer(type: str, fields: str = "", bottoms: str = "a", name: str = "t", tops: str = "") -> str:
    """A layer whose top has its name, unless `tops` are given."""
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()]
    blobs += [f'top: "{top}"' for top in (tops or name).split()]
    return f'layer {{ name: "{name}" type: "{type}" {" ".join(blobs)} {fields} }}\n'


def parsed(text: str) -> Net:
    return prototxt.parse(text, "TEST", dialect="any")


def random_arrays(net: Net, seed: int = 1) -> dict[str, list[Array]]:
    """Parameter blobs; variances and scales are positive, statistics of two batches."""
    draw = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {}
    for each in net:
        blobs = []
        for i, param in enumerate(each.params):
            if param.role == "statistic":
                blob = np.full(param.shape, 2.0) if param.size == 1 else draw.uniform(0.5, 1.5, param.shape)
            elif each.type == "Scale" and i == 0:
                blob = draw.uniform(0.2, 0.6, param.shape)  # so that a thousand blocks stay finite
            else:
                fan = np.prod(param.shape[1:]) if i == 0 and len(param.shape) > 1 else 1
                blob = draw.normal(0, fan**-0.5, param.shape)
            blobs.append(np.asarray(blob, np.float32))
        if blobs:
            found[each.name] = blobs
    return found


def exported(net: Net, *, engine: str = "torch", **options: Any) -> Exported:
    """Write a net with random parameters as ONNX, and run both."""
    with tempfile.TemporaryDirectory() as folder:
        return export(
            net, Path(folder, "net.onnx"), weights=random_arrays(net), verify=True, engine=engine, **options
        )


def difference(text: str, **options: Any) -> float:
    """The largest difference to what the PyTorch engine computes, by the largest value."""
    found = exported(parsed(text), **options).difference
    assert found is not None
    return found
