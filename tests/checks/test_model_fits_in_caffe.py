"""What real Caffe takes of a model, and on what it aborts, beside what `fit` says."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.checks.weights import fit
from netbuilder.engines.caffe import Caffe, Install
from netbuilder.engines.caffe.install import environment
from netbuilder.schema import NetParameter
from netbuilder.weights.model import joined, read_model

# Each case runs in a process of its own, since Caffe aborts. All fillers of the nets are 0, all numbers of
# the models 1: the layers that hold nothing else are those that were taken.
RUN = """
import base64, json, os, sys, tempfile
import caffe
os.chdir(tempfile.mkdtemp())
for given in json.load(sys.stdin):
    with open("net", "w") as file:
        file.write(given["net"])
    for i, content in enumerate(given["models"]):
        with open("model%d" % i, "wb") as file:
            file.write(base64.b64decode(content))
    read, write = os.pipe()
    if not os.fork():
        net = caffe.Net("net", caffe.TEST)
        for i in range(len(given["models"])):
            net.copy_from("model%d" % i)
        taken = [all((blob.data == 1).all() for blob in layer.blobs) for layer in net.layers]
        names = [x for x, layer, t in zip(net._layer_names, net.layers, taken) if t and len(layer.blobs)]
        os.write(write, json.dumps(names).encode())
        os._exit(0)
    os.close(write)
    print("case", os.read(read, 65536).decode() if os.wait()[1] == 0 else "null")
"""

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }\n'


def conv(name: str, fields: str = "", bottom: str = "x", top: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top or name}" {fields} '
        "convolution_param { num_output: 3 kernel_size: 1 } }\n"
    )


def fc(name: str, bottom: str = "x") -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        "inner_product_param { num_output: 2 } }\n"
    )


NET = (
    INPUT
    + conv("conv")
    + 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
    + fc("fc", "conv")
)
BN = INPUT + 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "bn" }\n' + fc("fc", "bn")
SCALAR = INPUT + 'layer { name: "s" type: "Bias" bottom: "x" top: "s" bias_param { num_axes: 0 } }\n'
DEEP = (
    INPUT.replace("{ dim: 1 dim: 3 dim: 4 dim: 4 }", "{ dim: 1 dim: 2 dim: 2 dim: 2 dim: 2 }")
    + 'layer { name: "s" type: "Scale" bottom: "x" top: "s" scale_param { axis: 0 num_axes: -1 } }\n'
)
TWICE = INPUT + conv("conv") + conv("conv", bottom="conv", top="other")
SHARED = (
    INPUT
    + conv("one", 'param { name: "w" } param { name: "b" }')
    + conv("two", 'param { name: "w" } param { name: "b" }', bottom="one")
    + conv("half", 'param { name: "w" }', bottom="two")
)
PYTHON = INPUT + conv("conv") + 'layer { name: "conv2" type: "Split" bottom: "conv" top: "a" top: "b" }\n'

CONV, CONV_BIAS, FC, FC_BIAS = (3, 3, 1, 1), (3,), (2, 48), (2,)


class Stored(NamedTuple):
    """A layer of a binary model; `legacy` are the blobs with num, channels, height and width."""

    name: str
    blobs: Sequence[tuple[int, ...]]
    legacy: Sequence[int] = ()
    old: str = ""


CONV_LAYER = Stored("conv", (CONV, CONV_BIAS))
FC_LAYER = Stored("fc", (FC, FC_BIAS))


def binary(*layers: Stored) -> bytes:
    proto = NetParameter(name="m")
    for stored in layers:
        if stored.old == "V0":
            layer: Any = proto.layers.add().layer
            layer.type = "conv"
        else:
            layer = proto.layers.add() if stored.old else proto.layer.add()
        layer.name = stored.name
        for i, shape in enumerate(stored.blobs):
            blob = layer.blobs.add()
            if i in stored.legacy:
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(shape)
            blob.data.extend([1.0] * int(np.prod(shape)))
    return bytes(proto.SerializeToString())


def hdf5(**layers: dict[str, tuple[int, ...]]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        data = file.create_group("data")
        for name, blobs in layers.items():
            group = data.create_group(name)
            for number, shape in blobs.items():
                group[number] = np.ones(shape, np.float32)
    return content.getvalue()


class Case(NamedTuple):
    net: str
    models: tuple[bytes, ...]


WHOLE = {"0": CONV, "1": CONV_BIAS}
WHOLE_FC = {"0": FC, "1": FC_BIAS}
CASES = {
    "all": Case(NET, (binary(CONV_LAYER, FC_LAYER),)),
    "some": Case(NET, (binary(Stored("relu", ()), FC_LAYER, Stored("fc8", (FC,))),)),
    "none": Case(NET, (binary(Stored("conv1", (CONV, CONV_BIAS))),)),
    "empty layers": Case(NET, (binary(Stored("x", ()), Stored("relu", ()), Stored("drop", ())),)),
    "no blobs for a layer with some": Case(NET, (binary(Stored("conv", ())),)),
    "blobs for a layer without": Case(NET, (binary(Stored("relu", (CONV_BIAS,))),)),
    "too few blobs": Case(NET, (binary(Stored("conv", (CONV,))),)),
    "too many blobs": Case(NET, (binary(Stored("conv", (CONV, CONV_BIAS, CONV_BIAS))),)),
    "another shape": Case(NET, (binary(Stored("fc", ((2, 47), FC_BIAS))),)),
    "as many numbers": Case(NET, (binary(Stored("fc", ((48, 2), FC_BIAS))),)),
    "new four axes": Case(NET, (binary(Stored("fc", ((1, 1, 2, 48), FC_BIAS))),)),
    "new four axes of a bias": Case(NET, (binary(Stored("conv", (CONV, (1, 1, 1, 3)))),)),
    "new two axes of a bias": Case(NET, (binary(Stored("fc", (FC, (1, 2)))),)),
    "legacy": Case(NET, (binary(Stored("fc", ((1, 1, 2, 48), (1, 1, 1, 2)), (0, 1))),)),
    "legacy and new": Case(NET, (binary(Stored("fc", ((1, 1, 2, 48), FC_BIAS), (0,))),)),
    "legacy of ones behind": Case(NET, (binary(Stored("fc", ((2, 48, 1, 1), (2, 1, 1, 1)), (0, 1))),)),
    "legacy of a convolution": Case(NET, (binary(Stored("conv", (CONV, (1, 1, 1, 3)), (0, 1))),)),
    "legacy V1": Case(NET, (binary(Stored("fc", ((1, 1, 2, 48), (1, 1, 1, 2)), (0, 1), "V1")),)),
    "legacy V0": Case(NET, (binary(Stored("conv", (CONV, (1, 1, 1, 3)), (0, 1), "V0")),)),
    "new four axes V1": Case(NET, (binary(Stored("fc", ((1, 1, 2, 48), FC_BIAS), (), "V1")),)),
    "legacy statistics": Case(BN, (binary(Stored("bn", [(1, 1, 1, n) for n in (3, 3, 1)], (0, 1, 2))),)),
    "new statistics": Case(BN, (binary(Stored("bn", ((3,), (3,), (1,)))),)),
    "new statistics of four axes": Case(BN, (binary(Stored("bn", ((1, 3, 1, 1), (1, 3, 1, 1), (1,)))),)),
    "legacy scalar": Case(SCALAR, (binary(Stored("s", ((1, 1, 1, 1),), (0,))),)),
    "scalar of one axis": Case(SCALAR, (binary(Stored("s", ((1,),))),)),
    "legacy of five axes": Case(DEEP, (binary(Stored("s", ((2, 2, 2, 2),), (0,))),)),
    "five axes": Case(DEEP, (binary(Stored("s", ((1, 2, 2, 2, 2),))),)),
    "twice in the net": Case(TWICE, (binary(CONV_LAYER),)),
    "twice in the model": Case(NET, (binary(*[CONV_LAYER] * 2),)),
    "twice, the first of another shape": Case(
        NET, (binary(Stored("conv", (CONV,)), CONV_LAYER),)
    ),
    "twice, the last of another shape": Case(
        NET, (binary(CONV_LAYER, Stored("conv", ((3, 3, 1, 2), CONV_BIAS))),)
    ),
    "two models": Case(
        NET, (binary(CONV_LAYER), binary(FC_LAYER, Stored("d", (FC,))))
    ),
    "two models, one refused": Case(NET, (binary(CONV_LAYER), binary(Stored("fc", (FC,))))),
    "shared, both stored": Case(SHARED, (binary(*[Stored(x, (CONV, CONV_BIAS)) for x in ("one", "two")]),)),
    "shared, the owner stored": Case(SHARED, (binary(Stored("one", (CONV, CONV_BIAS))),)),
    "shared, a reader stored": Case(SHARED, (binary(Stored("two", (CONV, CONV_BIAS))),)),
    "shared, one blob each": Case(SHARED, (binary(Stored("half", (CONV, CONV_BIAS))),)),
    "a Split of the file": Case(PYTHON, (binary(Stored("conv2", (CONV,))),)),
    "HDF5": Case(NET, (hdf5(conv=WHOLE, relu={}, fc=WHOLE_FC, more={"0": FC}),)),
    "HDF5, none": Case(NET, (hdf5(conv1=WHOLE),)),
    "HDF5, another shape": Case(NET, (hdf5(fc={"0": (2, 47), "1": FC_BIAS}),)),
    "HDF5, four axes": Case(NET, (hdf5(fc={"0": (1, 1, 2, 48), "1": FC_BIAS}),)),
    "HDF5, too few": Case(NET, (hdf5(conv={"0": CONV}),)),
    "HDF5, the second only": Case(NET, (hdf5(conv={"1": CONV_BIAS}),)),
    "HDF5, too many": Case(NET, (hdf5(conv={**WHOLE, "2": CONV_BIAS}),)),
    "HDF5, for a layer without": Case(NET, (hdf5(relu={"0": CONV_BIAS}),)),
    "HDF5, no blobs for a layer with some": Case(NET, (hdf5(conv={}),)),
    "HDF5, another number": Case(NET, (hdf5(conv={"0": CONV, "5": CONV_BIAS}),)),
    "HDF5, twice in the net": Case(TWICE, (hdf5(conv=WHOLE),)),
    "HDF5, shared": Case(SHARED, (hdf5(one=WHOLE, two={}, half={"1": CONV_BIAS}),)),
    "HDF5, shared, the owner empty": Case(SHARED, (hdf5(one={}, two=WHOLE),)),
    "HDF5 after a binary model": Case(NET, (binary(CONV_LAYER), hdf5(fc=WHOLE_FC))),
}  # fmt: skip


@cache
def in_caffe(install: Install) -> dict[str, list[str] | None]:
    """The layers that Caffe takes of each case, None where it aborts."""
    given = [
        {"net": case.net, "models": [base64.b64encode(model).decode() for model in case.models]}
        for case in CASES.values()
    ]
    done = subprocess.run(
        [*install.command, "-c", RUN], input=json.dumps(given), env=environment(install), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    answers = [line.removeprefix("case ") for line in done.stdout.splitlines() if line.startswith("case ")]
    return dict(zip(CASES, map(json.loads, answers), strict=True))


def files(folder: Path, models: tuple[bytes, ...]) -> Iterator[str]:
    for i, content in enumerate(models):
        (folder / f"model{i}").write_bytes(content)
        yield str(folder / f"model{i}")


@pytest.mark.parametrize("name", CASES)
def test_real_caffe_takes_what_is_said(name: str, real_caffe: Caffe, tmp_path: Path) -> None:
    case = CASES[name]
    net = prototxt.parse(case.net)
    told = fit([net], joined([read_model(file) for file in files(tmp_path, case.models)]))
    taken = in_caffe(real_caffe.install)[name]
    assert (taken is None) == bool(told.refused)
    if taken is not None:
        assert list(told.taken) == taken
        assert {*told.taken, *told.new} == {layer.name for layer in net if layer.params}
