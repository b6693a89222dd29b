"""The official weights, under their official names, become the models whose logits other tests prove.

`tests/networks` bring the same weights into our nets by hand and compare the logits with the official ones;
here the import gives the very same arrays. Assemble-ResNet-50 also runs, from a file as TensorFlow names it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.arrays import read_arrays
from netbuilder.weights.checkpoint import read_checkpoint
from netbuilder.weights.exporting import exported, map_for
from netbuilder.weights.fill import is_fixed
from netbuilder.weights.importing import imported, write_imported
from netbuilder.weights.matching import match
from netbuilder.weights.tensors import Checkpoint
from tests.networks import test_assemble_in_caffe as assemble
from tests.networks import test_bl_logits as big_little
from tests.networks import test_davidnet_reference as davidnet
from tests.weights.checkpoints import held, saved

TENSORFLOW = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def official(file: Path, params: dict[str, list[Any]], tensorflow: bool = False) -> dict[str, Any]:
    """The tensors of a file under the names of its `ops`; drawn weights are those of `params`, in order."""
    with np.load(file) as opened:
        stored = dict(opened)
    drawn = iter([blobs[0] for name, blobs in params.items() if not name.startswith(("bn_", "scale_"))])
    state: dict[str, Any] = {}
    for i, op in enumerate(json.loads(str(stored["ops"]))):
        name = op["name"]
        for role, word in TENSORFLOW.items():
            if op["kind"] == "BatchNorm":
                state[f"{name}/{word}" if tensorflow else f"{name}.{role}"] = stored[f"{i:04d}.{role}"]
        if op["kind"] != "BatchNorm":
            weight = next(drawn).reshape(op["weight_shape"])
            if tensorflow:
                weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
            state[name if tensorflow else f"{name}.weight"] = weight
            if f"{i:04d}.bias" in stored:
                bias = name.replace("kernel", "bias") if tensorflow else f"{name}.bias"
                state[bias] = stored[f"{i:04d}.bias"]
    return state


def assert_same(net: Net, checkpoint: Checkpoint, params: dict[str, list[Any]], map: str) -> None:
    found = match(net, checkpoint)
    assert (found.map.name, found.notes) == (map, [])
    got = {x.name: blobs for x, blobs in imported(net, found) if x and not is_fixed(x)}
    assert set(got) == set(params)
    for name, blobs in params.items():
        for one, other in zip(got[name], blobs, strict=True):
            assert np.array_equal(one, np.asarray(other, np.float32)), name


@pytest.mark.parametrize("name", big_little.NETS)
def test_the_official_big_little_weights_are_imported(name: str) -> None:
    params = big_little.reference(name)[1]
    checkpoint = held(official(big_little.FOLDER / f"{name}.npz", params))
    assert_same(big_little.stitch(name), checkpoint, params, "big_little")


def test_pages_weights_are_imported() -> None:
    params = davidnet.page()[0]
    checkpoint = held(official(davidnet.FILE, params))
    assert_same(davidnet.stitch("davidnet", "deploy"), checkpoint, params, "davidnet")


def test_the_official_assembled_weights_give_the_official_logits(real_caffe: Caffe, tmp_path: Path) -> None:
    params, image, logits = assemble.reference()
    net = assemble.stitch("deploy", classes=1001)
    state = official(assemble.LOGITS, params, tensorflow=True)
    checkpoint = read_checkpoint(saved(tmp_path / "x.npz", state))
    assert_same(net, checkpoint, params, "assembled_bl")
    write_imported(net, match(net, checkpoint), tmp_path / "x.caffemodel")
    written = {x.layer.name: list(x.arrays) for x in read_arrays(tmp_path / "x.caffemodel")}
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": image}, params=written, outputs=["fc1001"])
    assert abs(ran.outputs["fc1001"] - logits).max() <= 1e-5
    # and back, under the official names, without TensorFlow's ":0"
    back = {tensor.name: tensor for tensor in exported(net, tmp_path / "x.caffemodel", map_for(net))}
    assert set(back) == {name.removesuffix(":0") for name in state}
    for name, array in state.items():
        assert back[name.removesuffix(":0")].shape == array.shape
        assert np.array_equal(back[name.removesuffix(":0")].read(), array)
