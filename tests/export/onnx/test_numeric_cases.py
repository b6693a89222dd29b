"""Every numeric case that real Caffe computed in TEST, as an ONNX file in onnxruntime: within 1e-5.

Losses were computed in TRAIN, and are the same in TEST.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.errors import ConfigError
from netbuilder.export.onnx import export
from netbuilder.export.onnx.verify import run
from tests.export.onnx.nets import Array

MOST = 1e-5
FOLDER = Path(__file__).parents[2] / "ground_truth"
ALL: list[dict[str, Any]] = json.loads((FOLDER / "numeric-cases.json").read_text())["cases"]
CASES = [case for case in ALL if case["group"] not in ("bn", "datalayer") or case["phase"] == "TEST"]


@cache
def arrays() -> Any:
    return np.load(FOLDER / "numeric-cases.npz")


def array(key: str) -> Array:
    return np.asarray(arrays()[key], np.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_onnxruntime_computes_what_caffe_computed(case: dict[str, Any], tmp_path: Path) -> None:
    net = prototxt.parse(case["prototxt"], "TEST", dialect="caffe-master")
    weights = {layer: [array(key) for key in keys] for layer, keys in case.get("params", {}).items()}
    file = tmp_path / "net.onnx"
    if case["group"] == "datalayer":
        with pytest.raises(ConfigError, match="it reads data"):
            export(net, file, weights=weights, verify=False)
        return
    export(net, file, weights=weights, verify=False)
    found = run(file, {name: array(key) for name, key in case["inputs"].items()})
    for name, key in case["outputs"].items():
        ours, theirs = found[name], array(key)
        assert ours.shape == theirs.shape
        # Not a number, and infinite, where Caffe is.
        scale = np.abs(theirs[np.isfinite(theirs)]).max(initial=1e-30)
        np.testing.assert_allclose(ours, theirs, rtol=MOST, atol=MOST * float(scale), err_msg=name)
