"""`netbuilder build ... --data KIND`: files that one can train from, in every dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, checks, prototxt
from netbuilder.engines.caffe import Caffe
from tests.command import Command
from tests.databases import noise, write_lmdb

NET = ["cifar_resnet", "-m", "normal", "-n", "1"]
SOURCES = ["--train_source", "train", "--test_source", "test"]
LMDB = ["--data", "lmdb", *SOURCES, "--batch", "4", "--test_batch", "2"]
FOUR = ["deploy.prototxt", "test.prototxt", "train.prototxt", "train_val.prototxt"]


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys, "build")


def database(folder: str, size: int = 40, channels: int = 3) -> None:
    """Five random images."""
    write_lmdb(folder, noise(5, channels, size, size), range(5))


def data_layers(path: str) -> dict[str, Any]:
    """The data layer of each phase of a file."""
    return {p: prototxt.read(path, p, dialect="any").layers[0].proto for p in ("TRAIN", "TEST")}


# ---- what is written ---------------------------------------------------------------------------------------


def test_there_is_a_fourth_file_with_both_phases(build: Command) -> None:
    ran = build(*NET, *LMDB, "-o", "out")
    assert ran.code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == FOUR
    layers = data_layers("out/train_val.prototxt")
    assert [(x.type, x.data_param.source, x.data_param.batch_size) for x in layers.values()] == [
        ("Data", "train", 4), ("Data", "test", 2),
    ]  # fmt: skip
    # Cropped in both phases, to the size of the net; mirrored in training only.
    assert [(x.transform_param.crop_size, x.transform_param.mirror) for x in layers.values()] == [
        (32, True), (32, False),
    ]  # fmt: skip
    deploy = prototxt.read("out/deploy.prototxt")
    assert deploy.layers[0].type == "Input"
    header = Path("out/train_val.prototxt").read_text().partition("name:")[0]
    assert "# data layers:\n#   data: lmdb\n#   train_source: train\n" in header


def test_without_data_the_files_are_as_they_were(build: Command) -> None:
    assert build(*NET, "-o", "out").code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == FOUR[:3]
    assert prototxt.read("out/train.prototxt", "TRAIN").layers[0].type == "MemoryData"


def test_a_file_of_an_earlier_build_is_not_taken_for_this_one_s(build: Command) -> None:
    build(*NET, *LMDB, "-o", "out")
    ran = build(*NET, "-o", "out")
    assert ran.err.startswith(
        "note: out/train_val.prototxt is from an earlier build; --data writes a new one\n"
    )


def test_counts_are_those_of_one_image(build: Command) -> None:
    plain = json.loads(build(*NET, "-o", "a", "--json").out)
    ours = json.loads(build(*NET, *LMDB, "-o", "b", "--json").out)
    assert ours["counts"] == plain["counts"]
    assert ours["files"]["train_val"] == "b/train_val.prototxt"
    assert ours["data"] == {
        "kind": "lmdb",
        "train": {
            "source": "train", "batch": "4", "crop": "32x32 at random", "mirror": "every other image",
            "mean": "none", "scale": "1",
        },
        "test": {
            "source": "test", "batch": "2", "crop": "32x32 in the middle", "mirror": "no", "mean": "none",
            "scale": "1",
        },
    }  # fmt: skip


def test_the_report_says_what_each_phase_reads_and_the_order_of_channels(build: Command) -> None:
    ran = build(*NET, *LMDB, "--mean_value", "114", "123", "125", "--no-mirror", "-o", "out")
    assert ran.out.endswith(
        "data: lmdb  TRAIN            TEST\n"
        "----------  ---------------  -------------------\n"
        "source      train            test\n"
        "batch       4                2\n"
        "crop        32x32 at random  32x32 in the middle\n"
        "mirror      no               no\n"
        "mean        114 123 125      114 123 125\n"
        "scale       1                1\n"
    )
    assert ran.err.startswith("note: channels are in the order B, G, R, and so are means\n")


def test_the_order_of_channels_is_that_of_the_database(build: Command) -> None:
    database("set/train")
    Path("set/netbuilder.json").write_text('{"channels": "RGB"}')
    ran = build(*NET, *LMDB, "--train_source", "set/train", "-o", "out")
    assert ran.err.startswith("note: channels are in the order R, G, B, and so are means\n")


def test_devices_that_would_read_the_same_images_are_warned_of(build: Command) -> None:
    words = ["--data", "image", *SOURCES, "--batch", "4", "--gpus", "2", "-o", "out"]
    assert "without shuffle" not in build(*NET, *words).err
    assert build(*NET, *words, "--no-shuffle").err.splitlines()[1] == (
        "note: without shuffle all devices read the same images: ImageData does not distribute them"
    )


def test_nvcaffe_divides_the_batch_of_training_by_the_gpus(build: Command) -> None:
    ran = build(*NET, "--dialect", "nvcaffe", *LMDB, "--gpus", "8", "-o", "out")
    assert [x.data_param.batch_size for x in data_layers("out/train_val.prototxt").values()] == [32, 2]
    assert "32 for 8 devices, 4 each (NVCaffe divides)" in ran.out
    build(*NET, *LMDB, "--gpus", "8", "-o", "bvlc")
    assert [x.data_param.batch_size for x in data_layers("bvlc/train_val.prototxt").values()] == [4, 2]


def test_caffeonspark_s_data_brings_its_dialect(build: Command) -> None:
    kind = ["--data", "cos_lmdb", *SOURCES, "--batch", "4"]
    assert build(*NET, *kind, "-o", "out").code == 0
    net = prototxt.read("out/train_val.prototxt", "TRAIN", dialect="caffeonspark")
    assert net.layers[0].proto.source_class == "com.yahoo.ml.caffe.LMDB"
    assert "#   dialect: caffeonspark\n" in Path("out/train_val.prototxt").read_text()
    assert build(*NET, "--dialect", "caffeonspark", *kind, "-o", "out").code == 0


def test_the_nets_of_two_kinds_differ_in_their_data_alone(build: Command) -> None:
    build(*NET, *LMDB, "-o", "a")
    build(*NET, "--data", "cos_df", *SOURCES, "--batch", "4", "-o", "b")

    def bodies(folder: str) -> list[bytes]:
        net = prototxt.read(f"{folder}/train_val.prototxt", "TEST", dialect="any")
        return [x.proto.SerializeToString(deterministic=True) for x in net.layers[1:]]

    assert bodies("a") == bodies("b")
    assert len(bodies("a")) > 20


def test_a_config_takes_data_too(build: Command) -> None:
    assert build("cifar_resnet_20_a", *LMDB, "-o", "out").code == 0
    assert "# config: cifar_resnet_20_a, sha256" in Path("out/train_val.prototxt").read_text()


# ---- mistakes ----------------------------------------------------------------------------------------------

MISTAKES = {
    "no kind": (
        ["--batch", "4"],
        "ConfigError: --batch is about the data layers, which --data asks for\n"
        "  hint:    as in --data lmdb --train_source train_lmdb --test_source test_lmdb --batch 32\n",
    ),
    "unknown kind": (
        ["--data", "lmbd"],
        "ConfigError: data must be one of lmdb, leveldb, image, hdf5, memory, cos_lmdb, cos_seq, "
        "cos_image_df, cos_df, got 'lmbd'\n  hint:    did you mean 'lmdb'?\n",
    ),
    "no batch": (
        ["--data", "lmdb", *SOURCES],
        "ConfigError: --data lmdb needs batch\n  hint:    give --batch\n",
    ),
    "no source": (
        ["--data", "lmdb", "--batch", "4", "--train_source", "train"],
        "ConfigError: --data lmdb needs test_source\n  hint:    give --test_source\n",
    ),
    "an option of another kind": (
        [*LMDB, "--resize", "40"],
        "ConfigError: --data lmdb takes no resize\n  hint:    leave it out; it is for image\n",
    ),
    "transformed HDF5": (
        ["--data", "hdf5", *SOURCES, "--batch", "4", "--scale", "0.1"],
        "ConfigError: --data hdf5 takes no scale; HDF5 files hold the numbers that the net gets\n"
        "  hint:    leave it out; it is for lmdb, leveldb, image, cos_lmdb, cos_seq, cos_image_df, cos_df\n",
    ),
    "batch 0": (
        [*LMDB, "--batch", "0"],
        "ConfigError: batch must be at least 1, got 0\n",
    ),
    "two means": (
        [*LMDB, "--mean_file", "m", "--mean_value", "1"],
        "ConfigError: mean_file and mean_value exclude each other\n",
    ),
    "means of two channels": (
        [*LMDB, "--mean_value", "1", "2"],
        "ConfigError: mean_value takes one number, or one for each of 3 channels, got 2\n"
        "  hint:    in the channel order of the stored images, which is B G R\n",
    ),
    "another crop": (
        [*LMDB, "--crop_size", "28"],
        "ConfigError: crop_size 28 makes images of 28x28, and the net takes 32x32\n"
        "  hint:    give input_size 28, or leave crop_size out\n",
    ),
    "a crop larger than the images": (
        ["--data", "image", *SOURCES, "--batch", "4", "--resize", "30"],
        "ConfigError: a crop of 32x32 does not fit into resize 30x30\n",
    ),
    "a size that nothing crops": (
        ["--data", "image", *SOURCES, "--batch", "4", "--resize", "40", "--crop_size", "0"],
        "ConfigError: resize 40x40 without a crop, and the net takes 32x32\n"
        "  hint:    give both the same size, or a square input_size to crop to\n",
    ),
    "another dialect": (
        ["--dialect", "caffe-master", "--data", "cos_seq", *SOURCES, "--batch", "4"],
        "ConfigError: --data cos_seq needs dialect caffeonspark, got caffe-master\n"
        "  hint:    leave dialect out\n",
    ),
    "CaffeOnSpark without its data": (
        ["--dialect", "caffeonspark", *LMDB],
        "ConfigError: CaffeOnSpark does not read through --data lmdb\n"
        "  hint:    it has cos_lmdb, cos_seq, cos_image_df, cos_df\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported_and_nothing_written(name: str, build: Command) -> None:
    words, error = MISTAKES[name]
    ran = build(*NET, *words, "-o", "out")
    assert (ran.code, ran.out, ran.err) == (2, "", error)
    assert not Path("out").exists()


def test_a_database_that_does_not_fit_is_reported(build: Command) -> None:
    database("train", size=28)
    ran = build(*NET, *LMDB, "-o", "out")
    assert ran.err == (
        "ShapeError: the data of the TRAIN net does not fit: crop_size 32 is larger than the images, 28x28\n"
    )
    database("gray", channels=1)
    ran = build(*NET, *LMDB, "--train_source", "gray", "-o", "out")
    assert ran.err == (
        "ConfigError: the data of the TRAIN net gives images of (1,32,32), and the net takes (3,32,32)\n"
        "  hint:    channels, height, width, after the crop: make the two agree\n"
    )
    assert not Path("out").exists()


def test_a_batch_that_the_net_cannot_take_is_reported(build: Command) -> None:
    ran = build("davidnet", "--ghost", "4", *LMDB, "--batch", "6", "-o", "out")
    assert ran.code == 2
    assert ran.err.startswith("ShapeError: batch 6 does not go through this net: Reshape 'split_prep': ")
    assert not Path("out").exists()


# ---- in real Caffe -----------------------------------------------------------------------------------------


def files_of(*folders: str) -> dict[str, bytes]:
    return {f"{f}/{n}": Path(f, n).read_bytes() for f in folders for n in ("data.mdb", "lock.mdb")}


@pytest.mark.parametrize(
    "net",
    [
        NET,
        ["davidnet"],
        ["davidnet", "--ghost", "2"],
        ["dawnnet"],
        ["cifar_resnet_20_a", "--set", "conv_bias=true"],
    ],
    ids=" ".join,
)
def test_real_caffe_loads_both_phases_from_a_database(
    net: list[str], build: Command, real_caffe: Caffe
) -> None:
    for folder in ("train", "test"):
        database(folder)
    assert build(*net, *LMDB, "-o", "out").code == 0
    text = Path("out/train_val.prototxt").read_text()
    for phase in ("TRAIN", "TEST"):
        ours: Net = prototxt.read("out/train_val.prototxt", phase)
        assert not [f for f in checks.check(ours) if f.severity == "error"]
        loaded = real_caffe.load(text, phase=phase, files=files_of("train", "test")).layers_as_written()
        assert [(x.name, x.top_shapes, x.params) for x in loaded] == [
            (x.name, tuple(t.shape for t in x.tops), tuple(p.shape for p in x.params)) for x in ours
        ]


# ---- several labels ----------------------------------------------------------------------------------------

LABELS = ["--train_labels", "train_labels", "--test_labels", "test_labels"]


def several_labels(place: str, count: int) -> None:
    """Labels of five images, none of which is a whole number."""
    import lmdb

    from netbuilder.data.datum import pack_values

    with lmdb.open(place, map_size=1 << 20) as env, env.begin(write=True) as records:
        for i in range(5):
            records.put(b"%05d" % i, pack_values([(i + 1) / (j + 7) for j in range(count)]))


@pytest.mark.parametrize(
    ("loss", "type"), [("sigmoid", "SigmoidCrossEntropyLoss"), ("euclidean", "EuclideanLoss")]
)
def test_several_labels_are_read_by_a_second_data_layer(
    build: Command, real_caffe: Caffe, loss: str, type: str
) -> None:
    for name in ("train", "test"):
        database(name)
        several_labels(f"{name}_labels", 3)
    ran = build(*NET, *LMDB, *LABELS, "--loss", loss, "--classes", "3", "-o", "out")
    assert ran.code == 0, ran.err
    for phase in ("TRAIN", "TEST"):
        net = prototxt.read("out/train_val.prototxt", phase)
        assert [layer.type for layer in net.layers[:2]] == ["Data", "Data"]
        assert net.layers[-1].type == type
        assert "Accuracy" not in {layer.type for layer in net}
        assert not [f for f in checks.check(net) if f.severity == "error"]
    files = {
        f"{name}/data.mdb": Path(name, "data.mdb").read_bytes()
        for name in ("train", "test", "train_labels", "test_labels")
    }
    text = Path("out/test.prototxt").read_text()
    labels = real_caffe.run(text, files=files, outputs=["label", "loss"]).outputs["label"]
    expected = np.array([[(i + 1) / (j + 7) for j in range(3)] for i in range(2)], np.float32)
    np.testing.assert_array_equal(labels[:, :, 0, 0], expected)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--train_labels", "a"], "train_labels, test_labels, loss go together, and test_labels is missing"),
        (["--loss", "sigmoid"], "train_labels, test_labels, loss go together, and train_labels is missing"),
        (
            [*LABELS, "--loss", "sigmoid", "--classes", "4"],
            "the train net gets labels of (3,1,1) for each image",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(build: Command, arguments: list[str], why: str) -> None:
    several_labels("train_labels", 3)
    ran = build(*NET, *LMDB, *arguments, "-o", "out")
    assert ran.code == 2
    assert why.lower() in ran.err.lower()
    assert not Path("out").exists()
