"""Labels without a score, found before Caffe reads outside its arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.errors import FileError
from netbuilder.prototxt import reader
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
    (tmp_path / "list.txt").write_text("a.png 4\nb.png +1x\nc.png nothing\n")
    check("ImageData", LIST)  # as atoi reads them: 4, 1, 0


def test_rows_of_hdf5_are_read(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((4, 3), np.float32)
        file["label"] = np.array([0, 4.9, 5, -0.5], np.float32)  # cut: 0, 4, 5, 0
    (tmp_path / "files.txt").write_text("a.h5\n")
    with pytest.raises(FileError, match=r"label 5 of row 2 of dataset 'label' of 'a\.h5'"):
        check("HDF5Data", HDF5)


def test_what_cannot_be_read_and_other_losses_are_left_to_caffe(tmp_path: Path) -> None:
    check("Data", LMDB)  # no such database
    (tmp_path / "db").mkdir()
    (tmp_path / "db/data.mdb").write_bytes(b"no database")
    check("Data", LMDB)
    check("HDF5Data", HDF5)
    database([7], "other")
    text = NET.format(type="Data", data=LMDB.replace("db", "other"), loss="")
    hinge = reader.parse(text.replace("SoftmaxWithLoss", "HingeLoss"), "TRAIN")
    check_labels(hinge, "net.prototxt")


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
