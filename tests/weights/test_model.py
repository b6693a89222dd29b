"""The structure of .caffemodel files, of all formats and sizes, and what a broken one is told."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder import counts, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import FileError, PrototxtError
from netbuilder.prototxt import Model, ModelLayer, read_model
from netbuilder.schema import NetParameter

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 bias_term: false } }
"""
SAVE = """
import base64, sys, tempfile
import caffe
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/net", "w").write(sys.argv[1])
    caffe.Net(folder + "/net", caffe.TEST).save(folder + "/model")
    print("model", base64.b64encode(open(folder + "/model", "rb").read()).decode())
"""


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    return path


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(n: int) -> bytes:
    return bytes((n,)) if n < 128 else bytes((n & 127 | 128,)) + varint(n >> 7)


def fill(blob: Any, *shape: int, legacy: bool = False) -> None:
    count = 1
    for n in shape:
        count *= n
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = shape
    else:
        blob.shape.dim.extend(shape)
    blob.data.extend([0.5] * count)


def test_a_model_that_real_caffe_saved_has_the_blobs_of_our_net(real_caffe: Caffe, tmp_path: Path) -> None:
    done = subprocess.run([*real_caffe.install.command, "-c", SAVE, NET], capture_output=True, text=True)
    line = next(x for x in done.stdout.splitlines() if x.startswith("model "))
    model = read_model(saved(tmp_path, base64.b64decode(line.split()[1])))
    net = prototxt.parse(NET)
    assert model.name == "small"
    assert [(x.name, x.type, x.blobs) for x in model.layers] == [
        (x.name, x.type, tuple(p.shape for p in x.params)) for x in net
    ]
    assert model.stored_params == counts.count(net).stored_params


def current() -> bytes:
    proto = NetParameter(name="new", debug_info=True)
    proto.input.append("unused")
    layer = proto.layer.add(name="conv", type="Convolution", bottom=["x"])
    layer.convolution_param.num_output = 3
    fill(layer.blobs.add(), 3, 2, 1, 1)
    fill(layer.blobs.add(), 3)
    layer.blobs[0].diff.extend([1.0] * 6)
    scalar = proto.layer.add(name="factor", type="Scale").blobs.add()
    scalar.shape.SetInParent()
    scalar.double_data.append(2)
    proto.layer.add(name="relu", type="ReLU")
    return bytes(proto.SerializeToString())


def test_a_current_model_gives_names_types_and_shapes(tmp_path: Path) -> None:
    assert read_model(saved(tmp_path, current())) == Model(
        "new",
        (
            ModelLayer("conv", "Convolution", ((3, 2, 1, 1), (3,))),
            ModelLayer("factor", "Scale", ((),)),
            ModelLayer("relu", "ReLU", ()),
        ),
    )
    assert read_model(tmp_path / "net.caffemodel").stored_params == 10


def test_models_of_the_older_formats_are_read(tmp_path: Path) -> None:
    proto = NetParameter(name="old")
    v1 = proto.layers.add(name="ip", type=14, blobs_lr=[1, 2])
    fill(v1.blobs.add(), 1, 1, 2, 3, legacy=True)
    v0 = proto.layers.add(bottom=["a"]).layer
    v0.name, v0.type, v0.num_output = "conv1", "conv", 2
    fill(v0.blobs.add(), 2, 1, 1, 1, legacy=True)
    model = read_model(saved(tmp_path, proto.SerializeToString()))
    assert model == Model(
        "old",
        (
            ModelLayer("ip", "InnerProduct", ((1, 1, 2, 3),), legacy=frozenset({0})),
            ModelLayer("conv1", "Convolution", ((2, 1, 1, 1),), legacy=frozenset({0})),
        ),
    )


@pytest.mark.parametrize("count", [1, 3, 70_000])
def test_numbers_may_stand_one_by_one(tmp_path: Path, count: int) -> None:
    singles = b"\x2d\x00\x00\x80\x3f" * count  # field 5, four bytes
    diffs = b"\x35\x00\x00\x00\x00" * count
    shape = field(7, b"\x08" + varint(count))  # nor is the shape packed
    blob = field(7, singles + diffs + shape)
    content = field(100, field(1, b"a") + blob + blob)
    model = read_model(saved(tmp_path, content))
    assert model.layers == (ModelLayer("a", "", ((count,), (count,))),)


def test_half_a_gigabyte_takes_a_few_megabytes_of_memory(tmp_path: Path) -> None:
    count = 125_000_000
    path = tmp_path / "big.caffemodel"
    head = varint(5 << 3 | 2) + varint(4 * count)
    shape = field(7, field(1, varint(count)))
    size = len(shape) + len(head) + 4 * count
    with path.open("wb") as file:  # which is sparse: nothing is written in between
        blob = varint(7 << 3 | 2) + varint(size)
        file.write(varint(100 << 3 | 2) + varint(len(blob) + size) + blob + shape + head)
        file.truncate(file.tell() + 4 * count)
    script = (
        "import resource, sys\n"
        "from netbuilder.prototxt import read_model\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(read_model(sys.argv[1]).stored_params)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=root, capture_output=True, text=True, check=True
    )
    params, kibibytes = map(int, done.stdout.split())
    assert params == count
    assert kibibytes < 4096


def refusal(path: Path) -> str:
    with pytest.raises(PrototxtError) as caught:
        read_model(path)
    return caught.value.text.replace(str(path), "FILE") + (caught.value.hint and f" [{caught.value.hint}]")


def test_a_model_cut_anywhere_is_refused_with_the_place(tmp_path: Path) -> None:
    content = current()
    whole = read_model(saved(tmp_path, content))
    read, refusals = [], []
    for end in range(1, len(content)):
        try:
            read.append(read_model(saved(tmp_path, content[:end])).layers)
        except PrototxtError as error:
            refusals.append(error.text)
    # Cut between two fields of the net it is a shorter model, as for Caffe.
    assert read == [whole.layers[:1], whole.layers[:2]]
    assert [text for text in refusals if "(byte " not in text] == []


BLOB = field(7, field(7, field(1, b"\x02\x03")) + field(5, bytes(20)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "'FILE' is empty (byte 0)"),
        (
            current()[:60],
            "'FILE' is cut short or damaged in a layer: it needs 110 bytes, and there are 42 (byte 15)",
        ),
        (
            b'name: "net"\nlayer { name: "a" }\n',
            "'FILE' is not a .caffemodel: what stands here is not a field of a protobuf message (byte 0) "
            "[it looks like text: give a .caffemodel, or read it as a .prototxt]",
        ),
        (
            b"\x89HDF\r\n\x1a\n",
            "'FILE' is an HDF5 file without the group 'data' of a .caffemodel.h5 (byte 0)",
        ),
        (
            b"\x08\x07\x12\x03onn",
            "'FILE' is not a .caffemodel: the net's name should stand here, and something else does (byte 0)",
        ),
        (field(1, b"only a name"), "'FILE' holds no layers: it is not a .caffemodel (byte 13)"),
        (
            field(100, field(1, b"a") + BLOB),
            "'FILE' holds 5 numbers for a blob (2,3) of layer 'a', which takes 6 (byte 8)",
        ),
        (
            field(100, field(7, field(7, field(1, b"\x01" * 40)))),
            "'FILE' holds a blob of more than 32 axes (byte 7)",
        ),
        (
            field(100, field(7, field(5, bytes(7)))),
            "'FILE' holds 7 bytes of numbers of 4 bytes (byte 5)",
        ),
        (
            field(100, b"\x3a\x09\x0a") + field(1, b"x"),
            "'FILE' is damaged: a blob is longer than what holds it (byte 3)",
        ),
        (b"\xa2\x06" + b"\xff" * 12, "'FILE' is not a .caffemodel: a number here has no end (byte 2)"),
    ],
)
def test_a_file_that_is_not_a_model_is_refused_with_the_byte(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    assert refusal(saved(tmp_path, content)) == expected


def test_no_bytes_crash_the_scan(tmp_path: Path) -> None:
    import random

    rng = random.Random(4)
    content = current()
    for _ in range(1500):
        broken = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            read_model(saved(tmp_path, bytes(broken)))
        except PrototxtError:
            pass


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read 'no\.caffemodel': no such file or directory"):
        read_model("no.caffemodel")
    with pytest.raises(FileError, match="is a directory"):
        read_model(tmp_path)
