"""Labels without a score, found before Caffe reads outside its arrays."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.errors import FileError
from netbuilder.prototxt import reader
from netbuilder.schema import message
from netbuilder.training import labels
from netbuilder.training.labels import check_labels
from netbuilder.training.plan import plan_net, plan_training
from tests.databases import noise, write_lmdb

NET = """layer {{ name: "data" type: "{type}" top: "data" top: "label" {data} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {{ num_output: 5 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" {loss} }}
"""
LMDB = 'data_param { source: "db" backend: LMDB batch_size: 2 }'
LIST = 'image_data_param { source: "list.txt" batch_size: 2 new_height: 4 new_width: 4 }'
HDF5 = 'hdf5_data_param { source: "files.txt" batch_size: 2 }'


def database(values: list[int], place: str = "db") -> None:
    write_lmdb(place, noise(len(values), 1, 2, 2), values)


def check(type: str, data: str, loss: str = "", more: str = "") -> None:
    text = NET.format(type=type, data=data, loss=loss) + more
    check_labels(reader.parse(text, "TRAIN"), "net.prototxt")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_record_with_a_label_too_large_is_named() -> None:
    database([0, 4, 5, 9])
    with pytest.raises(FileError) as caught:
        check("Data", LMDB)
    assert str(caught.value) == (
        "label 5 of record '00002' of 'db' is out of range: "
        "SoftmaxWithLoss 'loss' takes 0 to 4, for the 5 classes of 'fc'\n"
        "  where:   net.prototxt, layer 'data'; Caffe does not check it, and would read past its scores\n"
        "  hint:    give 'fc' 6 outputs or more, or fix the labels: they count from 0"
    )


def test_a_negative_label_is_one_unless_it_is_ignored() -> None:
    database([0, -1, 4])
    with pytest.raises(FileError, match="label -1 of record '00001' of 'db'") as caught:
        check("Data", LMDB)
    assert caught.value.hint == "fix the labels, or leave such records out: ignore_label: -1"
    check("Data", LMDB, "loss_param { ignore_label: -1 }")
    # Each user has its own.
    accuracy = 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }'
    with pytest.raises(FileError, match="Accuracy 'acc' takes 0 to 4"):
        check("Data", LMDB, "loss_param { ignore_label: -1 }", accuracy)


def test_classes_lie_along_the_axis_of_the_loss() -> None:
    database([0, 4])
    check("Data", LMDB, "softmax_param { axis: -1 }")
    # Scores (2, 2), two labels: along axis 0 too there are two classes.
    text = NET.format(type="Data", data=LMDB, loss="softmax_param { axis: 0 }")
    net = reader.parse(text.replace("num_output: 5", "num_output: 2"), "TRAIN")
    with pytest.raises(FileError, match="takes 0 to 1, for the 2 classes of 'fc'"):
        check_labels(net, "net.prototxt")


def test_a_large_database_is_looked_at_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "RECORDS", 10)
    database([0] * 90 + [7] * 10)
    with pytest.raises(FileError, match="label 7 of record '00090'"):
        check("Data", LMDB)
    database([0] * 99 + [7], "other")
    check("Data", LMDB.replace("db", "other"))  # one in a hundred is missed


def test_a_database_of_netbuilders_tells_its_classes(tmp_path: Path) -> None:
    database([0, 1], "set/train_lmdb")
    (tmp_path / "set/netbuilder.json").write_text(json.dumps({"classes": list("abcdefg")}))
    with pytest.raises(FileError, match=r"label 6 of 'set/train_lmdb', by its netbuilder\.json, is out"):
        check("Data", LMDB.replace("db", "set/train_lmdb"))
    (tmp_path / "set/netbuilder.json").write_text(json.dumps({"classes": ["a", "b"]}))
    check("Data", LMDB.replace("db", "set/train_lmdb"))


def test_every_line_of_a_list_of_images_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a b.png 4\nc.png 0\nd.png 5\n")
    with pytest.raises(FileError, match=r"label 5 of line 3 of 'list\.txt' is out of range"):
        check("ImageData", LIST)
    (tmp_path / "list.txt").write_text("a.png 4\nb.png +1\n\nc.png 0 \n")
    check("ImageData", LIST)


@pytest.mark.parametrize(("written", "read"), [("0.6", 0), ("-0.7", 0), ("1e1", 1), ("+1x", 1), ("cat", 0)])
@pytest.mark.parametrize("loss", ["SoftmaxWithLoss", "EuclideanLoss", "HingeLoss"])
def test_a_label_of_a_list_that_caffe_cuts_is_named(
    written: str, read: int, loss: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(f"a.png 0\nb.png {written}\n")
    text = NET.format(type="ImageData", data=LIST, loss="").replace("SoftmaxWithLoss", loss)
    net = reader.parse(
        text.replace("num_output: 5", "num_output: 1" if loss[0] == "E" else "num_output: 5"), "TRAIN"
    )
    with pytest.raises(FileError) as caught:
        check_labels(net, "net.prototxt")
    assert caught.value.text == f"label {written} of line 2 of 'list.txt' is read as {read}"


def test_labels_that_nobody_reads_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png 0.6\n")
    text = NET.format(type="ImageData", data=LIST, loss="").split("\n")[:2]
    check_labels(reader.parse("\n".join(text), "TRAIN"), "net.prototxt")


def test_rows_of_hdf5_are_read(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((4, 3), np.float32)
        file["label"] = np.array([0, 4, 5, 0], np.float32)
        file["cut"] = np.array([0, 4.9, 0, 0], np.float32)
    (tmp_path / "files.txt").write_text("a.h5\n")
    with pytest.raises(FileError, match=r"label 5 of row 2 of dataset 'label' of 'a\.h5'"):
        check("HDF5Data", HDF5)
    text = NET.format(type="HDF5Data", data=HDF5, loss="").replace('"label"', '"cut"')
    with pytest.raises(FileError, match=r"label 4\.9 of row 1 of dataset 'cut' of 'a\.h5' is read as 4"):
        check_labels(reader.parse(text, "TRAIN"), "net.prototxt")


def test_what_cannot_be_read_and_other_losses_are_left_to_caffe(tmp_path: Path) -> None:
    check("Data", LMDB)  # no such database
    (tmp_path / "db").mkdir()
    (tmp_path / "db/data.mdb").write_bytes(b"no database")
    check("Data", LMDB)
    check("HDF5Data", HDF5)
    database([7], "other")
    text = NET.format(type="Data", data=LMDB.replace("db", "other"), loss="")
    target = text.replace("SoftmaxWithLoss", "EuclideanLoss").replace("num_output: 5", "num_output: 1")
    check_labels(reader.parse(target, "TRAIN"), "net.prototxt")


@pytest.mark.parametrize("loss", ["InfogainLoss", "MultinomialLogisticLoss", "HingeLoss"])
def test_every_loss_that_reads_classes_is_checked(loss: str) -> None:
    database([0, 5])
    infogain = 'infogain_loss_param { source: "matrix.binaryproto" }' if loss == "InfogainLoss" else ""
    text = NET.format(type="Data", data=LMDB, loss=infogain).replace("SoftmaxWithLoss", loss)
    with pytest.raises(FileError, match=f"label 5 of record '00001'.*{loss} 'loss' takes 0 to 4"):
        check_labels(reader.parse(text, "TRAIN"), "net.prototxt")


MAPS = """layer { name: "image" type: "Input" top: "image"
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 } } }
layer { name: "map" type: "Data" top: "map" data_param { source: "db" backend: LMDB batch_size: 2 } }
layer { name: "classes" type: "Convolution" bottom: "image" top: "classes"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "classes" bottom: "map" top: "loss"
  loss_param { ignore_label: 255 } }
"""
COPIES = """layer { name: "flat" type: "Flatten" bottom: "map" top: "flat" }
layer { name: "back" type: "Reshape" bottom: "flat" top: "back"
  reshape_param { shape { dim: 2 dim: 1 dim: 4 dim: 6 } } }
layer { name: "loss" """


def label_maps(bad: int) -> np.ndarray[Any, Any]:
    maps = np.random.default_rng(0).integers(0, 4, (3, 1, 4, 6), dtype=np.uint8)
    maps[0, 0, 1] = 255
    maps[2, 0, 3, 5] = bad
    return maps


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_label_map_with_a_class_too_many_is_named(encode: bool, copied: bool) -> None:
    text = MAPS
    if copied:
        text = text.replace('layer { name: "loss" ', COPIES).replace(
            'bottom: "map" top: "loss"', 'bottom: "back" top: "loss"'
        )
    for bad, named in ((94, True), (3, False), (4, True)):
        write_maps(label_maps(bad), encode)
        net = reader.parse(text, "TRAIN")
        if not named:
            check_labels(net, "net.prototxt")
            continue
        with pytest.raises(
            FileError, match=f"label {bad} of a pixel of record '00002' of 'db' is out of range"
        ):
            check_labels(net, "net.prototxt")


def write_maps(maps: np.ndarray[Any, Any], encode: bool) -> None:
    shutil.rmtree("db", ignore_errors=True)
    if not encode:
        return write_lmdb("db", maps, range(len(maps)))
    with lmdb.open("db", map_size=1 << 24) as env, env.begin(write=True) as records:
        for i, image in enumerate(maps):
            out = io.BytesIO()
            Image.fromarray(image[0], "L").save(out, "PNG")
            datum = message("Datum")(data=out.getvalue(), encoded=True, label=i)
            records.put(b"%05d" % i, datum.SerializeToString())
    return None


def test_a_scaled_label_map_is_cut() -> None:
    write_maps(label_maps(3), False)
    text = MAPS.replace("batch_size: 2 }", "batch_size: 2 } transform_param { scale: 0.00390625 }")
    with pytest.raises(
        FileError, match=r"label 0\.00390625 \(1 in the file\) of a pixel of record '00000'.* read as 0"
    ):
        check_labels(reader.parse(text, "TRAIN"), "net.prototxt")


def test_listed_label_maps_are_named(tmp_path: Path) -> None:
    text = MAPS.replace('type: "Data" top: "map"', 'type: "ImageData" top: "map" top: "none"').replace(
        'data_param { source: "db" backend: LMDB batch_size: 2 }',
        'image_data_param { source: "list.txt" is_color: false batch_size: 2 }',
    )
    names = []
    for i, image in enumerate(label_maps(94)):
        Image.fromarray(image[0], "L").save(tmp_path / f"{i}.png")
        names.append(f"{i}.png 0\n")
    (tmp_path / "list.txt").write_text("".join(names))
    with pytest.raises(FileError, match=r"label 94 of a pixel of '2\.png' is out of range"):
        check_labels(reader.parse(text, "TRAIN"), "net.prototxt")


def test_a_training_and_a_test_do_not_begin_with_such_labels(tmp_path: Path) -> None:
    database([0, 5])
    (tmp_path / "net.prototxt").write_text(NET.format(type="Data", data=LMDB, loss=""))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "out/x"'
    )
    with pytest.raises(FileError, match="label 5"):
        plan_training("solver.prototxt", CaffeEngine.snapshots)
    net = reader.read("net.prototxt", "TEST")
    with pytest.raises(FileError, match="label 5"):
        plan_net("net.prototxt", net, iterations=1)
    assert not (tmp_path / "out").exists()
