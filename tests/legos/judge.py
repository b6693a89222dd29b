"""A lego in real Caffe: what it computes, and what it makes of a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.net import Blob


def drawn(*shape: int, seed: int = 1) -> Any:
    """Normal random numbers in single precision."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def forward_backward(
    caffe: Caffe,
    net: Net,
    top: Blob,
    inputs: dict[str, Any],
    diff: Any,
    params: dict[str, list[Any]] | None = None,
) -> RunResult:
    """Run the net, and backward from a loss that is the sum of the top's elements times `diff`.

    The result's `outputs` and `diffs` hold all blobs.
    """
    names = list(net.blobs)
    net.proto.force_backward = True
    weights = net.add("Input", name="top_diff", shape={"dim": list(top.known_shape)})
    product = net.add("Eltwise", top, weights, name="product", operation="PROD")
    net.add("Reduction", product, name="total", operation="SUM", loss_weight=[1])
    return caffe.run(
        prototxt.dumps(net),
        phase=net.phase,
        inputs={**inputs, "top_diff": diff},
        params=params,
        outputs=names,
        backward=True,
    )
