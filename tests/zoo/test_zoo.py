"""Nets in the styles of files that people have, in three formats, against real Caffe and published counts.

The files beside this one were written for these tests, after well-known nets. Data is made on disk, so that
Caffe loads each file as it stands.
"""

from __future__ import annotations

import json
import re
from math import prod
from pathlib import Path
from typing import NamedTuple

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from netbuilder import Net, checks, counts, prototxt
from netbuilder.cli.main import main
from netbuilder.engines import caffe
from netbuilder.errors import StaleBlob
from netbuilder.measure import diff
from netbuilder.schema import message

HERE = Path(__file__).parent
Printed = pytest.CaptureFixture[str]


class Zoo(NamedTuple):
    """What a net has, by its publication or by the sum of its layers."""

    learnable: int
    stored: int
    macs: int  # of one image
    phases: tuple[str, ...] = ("TEST",)
    stages: tuple[str, ...] = ()


LENET = 288_000 + 1_600_000 + 400_000 + 5_000
ALEXNET = 60_965_224  # BVLC's, and CaffeNet
CAFFENET = 724_406_816  # as bvlc_alexnet, which has the same convolutions
BOTH = ("TRAIN", "TEST")
NETS = {
    "lenet_v2": Zoo(431_080, 431_080, LENET, BOTH),  # Caffe's MNIST example
    "lenet_v1": Zoo(431_080, 431_080, LENET, BOTH),
    "caffenet_v0": Zoo(ALEXNET, ALEXNET, CAFFENET, ("TRAIN",)),  # BVLC's model zoo
    "caffenet_v1": Zoo(ALEXNET, ALEXNET, CAFFENET, BOTH),
    # As many classes fewer, each with 4096 weights and a bias.
    "rcnn_deploy_v1": Zoo(ALEXNET - 800 * 4097, ALEXNET - 800 * 4097, CAFFENET - 800 * 4096),
    "rcnn_windows_v1": Zoo(ALEXNET - 979 * 4097, ALEXNET - 979 * 4097, CAFFENET - 979 * 4096, BOTH),
    "flickr_style": Zoo(ALEXNET - 980 * 4097, ALEXNET - 980 * 4097, CAFFENET - 980 * 4096, BOTH),
    "cifar10_quick": Zoo(145_578, 145_578, 2_457_600 + 6_553_600 + 3_276_800 + 65_536 + 640, BOTH),
    "cifar10_full": Zoo(89_578, 89_578, 2_457_600 + 6_553_600 + 3_276_800 + 10_240, BOTH),
    # The second tower shares all of the first one's numbers and repeats its work.
    "siamese": Zoo(431_080 + 22, 431_080 + 22, 2 * (LENET + 20), BOTH),
    "autoencoder": Zoo(2_833_000 + 4_314, 2_833_000 + 4_314, 2_833_000, ("TEST",), ("test-on-test",)),
    # conv1 to conv5 of AlexNet, fc6, fc7, 21 scores; frozen upsampling of 3 x 4 scores, whose weights come
    # from a model (its publication's `surgery.interp`): no filler makes them a fixed filter.
    "fcn_alexnet": Zoo(
        2_334_080 + 37_752_832 + 16_781_312 + 86_037,
        2_334_080 + 37_752_832 + 16_781_312 + 86_037 + 21 * 21 * 63 * 63,
        1_907_923_584 + 3 * 4 * 21 * 21 * 63 * 63,
        BOTH,
        ("deploy",),
    ),
    # 8801 words; 4 gates of 1000 from words, memory and picture (64), with biases; 8801 scores a step.
    "caption_lstm": Zoo(
        8_801_000 + 8_004_000 + 256_000 + 8_809_801,
        8_801_000 + 8_004_000 + 256_000 + 8_809_801,
        20 * (8_000_000 + 8_801_000) + 256_000,
        BOTH,
    ),
    "nin": Zoo(7_595_176, 7_595_176, 1_100_188_800),
    "squeezenet_v1.1": Zoo(1_235_496, 1_235_496, 387_747_520),  # torchvision's documentation
    # Keras' documentation: 4,253,864, of which 21,888 are statistics; Caffe has one more in each BatchNorm.
    "mobilenet": Zoo(4_231_976, 4_231_976 + 21_888 + 27, 568_740_352),
    # Convolutions, gates, scales of the two blocks; seven BatchNorms of 1024 channels together.
    "se_blocks": Zoo(
        73_728 + 69_632 + 2 * 8_464 + 2 * 1024,
        73_728 + 69_632 + 2 * 8_464 + 2 * 1024 + 2 * 1024 + 7,
        14 * 14 * (73_728 + 69_632) + 2 * 8_192,
    ),
}


def file(name: str) -> Path:
    return HERE / f"{name}.prototxt"


# ---- data ------------------------------------------------------------------------------------------------


def datum(channels: int, size: int) -> bytes:
    return bytes(
        message("Datum")(
            channels=channels, height=size, width=size, data=bytes(channels * size * size)
        ).SerializeToString()
    )


def mean(size: int) -> bytes:
    blob = message("BlobProto")(num=1, channels=3, height=size, width=size)
    blob.data.extend([0.0] * (3 * size * size))
    return bytes(blob.SerializeToString())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the nets name."""
    folder = tmp_path_factory.mktemp("zoo")
    try:
        import plyvel
    except ImportError:  # not every Python has it
        plyvel = None
    images = {"mnist": (1, 28), "ilsvrc12": (3, 256), "cifar10": (3, 32), "siamese": (2, 28)}
    for name, (channels, size) in images.items():
        for part in ("train", "test", "val"):
            with lmdb.open(str(folder / f"{name}_{part}_lmdb")) as env, env.begin(write=True) as transaction:
                transaction.put(b"0", datum(channels, size))
            if plyvel is not None:
                opened = plyvel.DB(str(folder / f"{name}_{part}_leveldb"), create_if_missing=True)
                opened.put(b"0", datum(channels, size))
                opened.close()
    (folder / "imagenet_mean.binaryproto").write_bytes(mean(256))
    (folder / "mean.binaryproto").write_bytes(mean(32))
    Image.new("RGB", (90, 80)).save(folder / "a.png")
    for name in ("flickr_train.txt", "flickr_test.txt"):
        (folder / name).write_text("a.png 3\n")
    for name in ("window_file_2007_trainval.txt", "window_file_2007_test.txt"):
        (folder / name).write_text("# 0\na.png\n3\n80\n90\n2\n1 0.9 1 1 9 9\n0 0.1 2 2 8 8\n")
    with h5py.File(folder / "captions.h5", "w") as out:
        for name in ("cont_sentence", "input_sentence", "target_sentence"):
            out[name] = np.zeros((40, 20), "f4")
        out["image"] = np.zeros((40, 64), "f4")
    for name in ("captions_train.txt", "captions_val.txt"):
        (folder / name).write_text("captions.h5\n")
    return folder


def named_files(text: str, folder: Path) -> dict[str, bytes]:
    """The files of a folder that a net needs, by relative name."""
    named = set(re.findall(r'(?:source|mean_?file): "([^"]*)"', text)) | {"a.png", "captions.h5"}
    paths = [path for name in named for path in (folder / name, *(folder / name).glob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name not in ("lock.mdb", "LOCK")}


# ---- against Caffe and the published counts --------------------------------------------------------------


def macs_by_caffe(loaded: caffe.LoadedNet) -> int:
    """Multiply-accumulates of a batch, from the shapes that Caffe reports."""
    total = 0
    for layer in loaded.layers_as_written():
        params = [prod(shape) for shape in layer.params]
        if layer.type == "Convolution":
            n, _, *image = layer.top_shapes[0]
            total += params[0] * n * prod(image)
        elif layer.type == "Deconvolution":
            n, _, *image = loaded.blobs[layer.bottoms[0]]
            total += params[0] * n * prod(image)
        elif layer.type == "InnerProduct":
            total += params[0] * prod(layer.top_shapes[0][:-1])
        elif layer.type == "LSTM":
            steps, n, _ = layer.top_shapes[0]
            total += steps * n * (params[0] + params[3]) + n * params[2]
    return total


CASES = [(name, phase) for name, zoo in NETS.items() for phase in zoo.phases]


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_a_net_counts_as_published_and_as_caffe_sees_it(
    name: str, phase: str, data: Path, real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    zoo, text = NETS[name], file(name).read_text()
    if "leveldb" in text:
        pytest.importorskip("plyvel")
    net = prototxt.parse(text, phase, stages=zoo.stages)
    loaded = real_caffe.load(
        without_random_weights(text), phase=phase, stages=zoo.stages, files=named_files(text, data)
    )
    assert shapes(net) == caffes_shapes(loaded)
    counted = counts.count(net)
    found = (counted.learnable_params, counted.stored_params, counted.macs)
    assert found == (zoo.learnable, zoo.stored, zoo.macs)
    assert counted.macs * counted.batch == macs_by_caffe(loaded)
    assert not counted.uncounted


def shapes(net: Net) -> list[object]:
    """Of each layer: name, type, shapes of tops and parameters. A blob has the shape it ends with."""
    return [
        (x.name, x.type, [net.blobs[t.name].shape for t in x.tops], [p.shape for p in x.params]) for x in net
    ]


def caffes_shapes(loaded: caffe.LoadedNet) -> list[object]:
    found: list[object] = []
    for x in loaded.layers_as_written():
        named = [shape for top, shape in zip(x.tops, x.top_shapes, strict=True) if top != "(automatic)"]
        found.append((x.name, x.type, named, list(x.params)))
    return found


def without_random_weights(text: str) -> str:
    """Random numbers would cost Caffe most of its time, and say nothing of shapes."""
    return re.sub(r'type: "(?:gaussian|xavier|uniform)"', 'type: "constant"', text).replace("sparse: 15", "")


def test_layers_that_a_phase_leaves_out_are_named_in_the_hint() -> None:
    with pytest.raises(StaleBlob) as caught:
        prototxt.read(file("autoencoder"), "TEST")
    assert caught.value.hint == (
        "left out in this phase, at this level and with these stages: 'data' (include { phase: TRAIN }), "
        "'data' (include { phase: TEST stage: \"test-on-train\" }), "
        "'data' (include { phase: TEST stage: \"test-on-test\" })"
    )


def test_the_two_losses_have_the_weights_of_the_file(
    data: Path, real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    text = file("autoencoder").read_text()
    loaded = real_caffe.load(without_random_weights(text), phase="TRAIN", files=named_files(text, data))
    assert loaded.loss_weights == {"cross_entropy_loss": 1.0}
    net = prototxt.parse(text, "TRAIN")
    given = {t.name: w for layer in net for t, w in zip(layer.tops, layer.proto.loss_weight, strict=False)}
    assert given == {"cross_entropy_loss": 1.0, "l2_error": 0.0}


# ---- the commands ----------------------------------------------------------------------------------------

HINTS = {
    "lenet_v2": "--input data=100,C,H,W",
    "caffenet_v0": "--input data=2,C,227,227",
    "caffenet_v1": "--input data=1,C,227,227",
    "rcnn_windows_v1": "--input data=4,C,227,227",
    "siamese": "--input pair_data=100,C,H,W",
    "caption_lstm": "--input cont_sentence=20,... --input input_sentence=20,... "
    "--input target_sentence=20,... --input image=20,...",
}
GIVEN = {
    "lenet_v2": ["data=1,1,28,28"],
    "caffenet_v0": ["data=1,3,227,227"],
    "caffenet_v1": ["data=1,3,227,227"],
    "rcnn_windows_v1": ["data=1,3,227,227"],
    "siamese": ["pair_data=1,2,28,28"],
    "caption_lstm": ["cont_sentence=20,20", "input_sentence=20,20", "target_sentence=20,20", "image=20,64"],
}


@pytest.mark.parametrize("name", HINTS)
def test_count_asks_for_the_shape_of_missing_data_and_counts_with_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["count", str(file(name)), "--json"]) == 0
    assert capsys.readouterr().err == (
        f"the shapes of its data are not in the file: give them, as in {HINTS[name]}\n"
    )
    given = [word for text in GIVEN[name] for word in ("--input", text)]
    assert main(["count", str(file(name)), "--json", *given]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    zoo = NETS[name]
    totals = [found["totals"][key] for key in ("learnable_params", "stored_params", "macs")]
    assert (totals, found["uncounted"], printed.err) == ([zoo.learnable, zoo.stored, zoo.macs], [], "")


def test_the_formats_of_2013_and_2014_are_the_same_net(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plyvel")
    monkeypatch.chdir(data)
    pairs = {("lenet_v1", "lenet_v2"): {"mnist"}, ("caffenet_v0", "caffenet_v1"): {"data", "fc8"}}
    for (first, second), expected in pairs.items():  # where the files name other data, or fill otherwise
        found = diff.diff(prototxt.read(file(first), "TRAIN"), prototxt.read(file(second), "TRAIN"))
        assert (found.added, found.removed, found.costs, found.weights_fit) == ((), (), {}, True)
        assert {change.layer for change in found.changed} == expected


@pytest.mark.parametrize("name", ["nin", "squeezenet_v1.1", "mobilenet", "se_blocks", "rcnn_deploy_v1"])
def test_a_net_that_people_deploy_has_no_errors(name: str) -> None:
    found = checks.check(prototxt.read(file(name)))
    assert [str(f) for f in found if f.severity == "error"] == []
