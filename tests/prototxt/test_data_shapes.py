"""Shapes read from data: real Caffe opens the same database, list or file, and must see the same shapes."""

from __future__ import annotations

from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.engines import caffe
from netbuilder.errors import ShapeError
from tests.layers.test_layer_cases import CASES, NEED_DATA, assert_shapes
from tests.prototxt.data_files import (
    SMALL,
    TURNED,
    WINDOW_DATA,
    Make,
    data,
    database,
    datum,
    encoded,
    files,
    hdf5,
    hdf5_data,
    image_data,
    images,
    leveldb,
    picture,
    tops,
    windows,
)

# The maker of the data, the net, and the shapes of its tops.
ACCEPTED: dict[str, tuple[Make, str, list[tuple[int, ...]]]] = {
    "raw": (database(datum(3, 10, 12)), data(), [(4, 3, 10, 12), (4,)]),
    "raw, no label": (database(datum(3, 10, 12)), data(tops='top: "data"'), [(4, 3, 10, 12)]),
    "raw, cropped": (database(datum(3, 10, 12)), data("", "crop_size: 7 mirror: true"), [(4, 3, 7, 7), (4,)]),
    "force_gray is for encoded images only": (
        database(datum(3, 10, 12)), data("", "force_gray: true"), [(4, 3, 10, 12), (4,)],
    ),
    "a record larger than a page": (database(datum(3, 64, 96)), data(), [(4, 3, 64, 96), (4,)]),
    "many records": (database(*[datum(1, 28, 28)] * 500), data(), [(4, 1, 28, 28), (4,)]),
    "color png": (database(encoded("RGB", (12, 10))), data(), [(4, 3, 10, 12), (4,)]),
    "gray png": (database(encoded("L", (12, 10))), data(), [(4, 1, 10, 12), (4,)]),
    "png with alpha": (database(encoded("RGBA", (12, 10))), data(), [(4, 4, 10, 12), (4,)]),
    "gray png with alpha": (database(encoded("LA", (12, 10))), data(), [(4, 4, 10, 12), (4,)]),
    "png with palette": (database(encoded("P", (12, 10))), data(), [(4, 3, 10, 12), (4,)]),
    "transparent palette": (
        database(encoded("P", (12, 10), transparency=0)), data(), [(4, 4, 10, 12), (4,)],
    ),
    "one color that is transparent": (
        database(encoded("RGB", (12, 10), transparency=(1, 2, 3))), data(), [(4, 4, 10, 12), (4,)],
    ),
    "gray jpeg": (database(encoded("L", (12, 10), "JPEG")), data(), [(4, 1, 10, 12), (4,)]),
    "color jpeg": (database(encoded("RGB", (12, 10), "JPEG")), data(), [(4, 3, 10, 12), (4,)]),
    "jpeg for print": (database(encoded("CMYK", (12, 10), "JPEG")), data(), [(4, 3, 10, 12), (4,)]),
    "forced gray": (
        database(encoded("RGB", (12, 10))), data("", "force_gray: true crop_size: 5"), [(4, 1, 5, 5), (4,)],
    ),
    "forced color": (
        database(encoded("L", (12, 10))), data("", "force_color: true"), [(4, 3, 10, 12), (4,)],
    ),
    "a turned jpeg as it is stored": (
        database(encoded("RGB", (12, 10), "JPEG", exif=TURNED)), data(), [(4, 3, 10, 12), (4,)],
    ),
    "a turned jpeg in color": (
        database(encoded("RGB", (12, 10), "JPEG", exif=TURNED)),
        data("", "force_color: true"),
        [(4, 3, 12, 10), (4,)],
    ),
    "images": (images("a.png 0\n", **{"a.png": SMALL}), image_data(), [(1, 3, 10, 12), (1,)]),
    "images, cropped": (
        images("a.png 0\n", **{"a.png": SMALL}),
        image_data("batch_size: 2", "crop_size: 4"),
        [(2, 3, 4, 4), (2,)],
    ),
    "images in gray": (
        images("a.png 0\n", **{"a.png": SMALL}), image_data("is_color: false"), [(1, 1, 10, 12), (1,)],
    ),
    "force_gray is not for listed images": (
        images("a.png 0\n", **{"a.png": SMALL}), image_data("", "force_gray: true"), [(1, 3, 10, 12), (1,)],
    ),
    "images of a new size": (
        images("a.png 0\n", **{"a.png": SMALL}),
        image_data("new_height: 9 new_width: 6", "crop_size: 5 force_gray: true"),
        [(1, 3, 5, 5), (1,)],
    ),
    "names with spaces": (
        images("a b.png 0\n", **{"a b.png": SMALL}), image_data(), [(1, 3, 10, 12), (1,)],
    ),
    "a turned photograph": (
        images("a.jpg 0\n", **{"a.jpg": picture("RGB", (12, 10), "JPEG", exif=TURNED)}),
        image_data(),
        [(1, 3, 12, 10), (1,)],
    ),
    "hdf5": (
        hdf5(data=np.zeros((7, 3, 2, 2), "f4"), label=np.zeros(7, "i8")),
        hdf5_data("data", "label"),
        [(5, 3, 2, 2), (5,)],
    ),
    "hdf5 of doubles, shuffled": (
        hdf5(x=np.zeros((7, 2), "f8")), hdf5_data("x", options="batch_size: 9 shuffle: true"), [(9, 2)],
    ),
    "windows": (windows(3, 3), WINDOW_DATA, [(6, 3, 7, 7), (6,)]),
    "the last image's channels count": (windows(3, 1), WINDOW_DATA, [(6, 1, 7, 7), (6,)]),
}  # fmt: skip

# Each: the data, the net, what we say.
REFUSED: dict[str, tuple[Make, str, str]] = {
    "crop of raw": (
        database(datum(3, 10, 12)),
        data("", "crop_size: 11"),
        "crop_size 11 is larger than the images, 10x12",
    ),
    "crop of encoded": (
        database(encoded("RGB", (12, 10))),
        data("", "crop_size: 11"),
        "crop_size 11 is larger than the images, 10x12",
    ),
    "both forced": (
        database(encoded("RGB", (12, 10))),
        data("", "force_color: true force_gray: true"),
        "force_color and force_gray are both set: choose one",
    ),
    "no channels": (
        database(datum(0, 10, 12)), data(), "the first record of 'db' has no channels",
    ),
    "the backend is LEVELDB unless said": (
        database(datum(3, 10, 12)),
        data("prefetch: 2"),
        "'db' is an LMDB, and backend is LEVELDB, the default",
    ),
    "a LevelDB is no LMDB": (
        leveldb(datum(3, 10, 12)), data(), "'db' is a LevelDB, and backend is LMDB",
    ),
    "crop of listed images": (
        images("a.png 0\n", **{"a.png": SMALL}),
        image_data("", "crop_size: 11"),
        "crop_size 11 is larger than the images, 10x12",
    ),
    "three tops of a database": (
        database(datum(3, 10, 12)), data().replace("type:", 'top: "z" type:'),
        "needs 1 to 2 tops, got 3",
    ),
    "three tops of listed images": (
        images("a.png 0\n", **{"a.png": SMALL}), image_data().replace("type:", 'top: "z" type:'),
        "needs 2 tops, got 3",
    ),
    "no images in a batch": (
        images("a.png 0\n", **{"a.png": SMALL}), image_data("batch_size: 0"), "batch_size must be positive",
    ),
    "no such dataset": (
        hdf5(data=np.zeros((7, 3))),
        hdf5_data("data", "label"),
        "'a.h5' has no dataset 'label'; it has 'data'",
    ),
    "rows": (
        hdf5(data=np.zeros((7, 3)), label=np.zeros(6)),
        hdf5_data("data", "label"),
        "dataset 'label' of 'a.h5' has 6 rows, and 'data' has 7",
    ),
    "a dataset of texts": (
        hdf5(data=np.array([b"a", b"b"])),
        hdf5_data("data"),
        "dataset 'data' of 'a.h5' must be an array of numbers, got |S1",
    ),
    "a dataset of one number": (
        hdf5(data=np.float32(3)),
        hdf5_data("data"),
        "dataset 'data' of 'a.h5' must be an array of numbers, got float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_caffe_sees_the_same_shapes_in_the_data(case: str, here: Path, real_caffe: caffe.Caffe) -> None:
    make, text, expected = ACCEPTED[case]
    make(here)
    assert tops(prototxt.parse(text)) == expected
    assert list(real_caffe.load(text, files=files(here)).layers[0].top_shapes) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_data_on_which_caffe_aborts_is_refused(case: str, here: Path, real_caffe: caffe.Caffe) -> None:
    make, text, said = REFUSED[case]
    make(here)
    with pytest.raises(ShapeError) as caught:
        prototxt.parse(text, path="net.prototxt")
    kind = text.split('type: "')[1].split('"')[0]
    assert (caught.value.text, caught.value.where) == (f"{kind} 'd': {said}", "net.prototxt:1")
    with pytest.raises(caffe.CaffeRefused):
        real_caffe.load(text, files=files(here))


# The data that cases of layer-cases.json need, made as for the recording: three channels of 10 x 12.
def layer_case_data(folder: Path) -> None:
    (folder / "data").mkdir()
    records = {"lmdb_raw": datum(3, 10, 12), "lmdb_enc": encoded("RGB", (12, 10))}
    for name, record in records.items():
        with lmdb.open(str(folder / "data" / name)) as env, env.begin(write=True) as transaction:
            transaction.put(b"00000000", record)
    with h5py.File(folder / "data" / "a.h5", "w") as file:
        file["data"] = np.zeros((7, 3, 2, 2), "f4")
    (folder / "data" / "h5list.txt").write_text("data/a.h5\n")


@pytest.mark.parametrize("id", [c["id"] for c in CASES["accepted"] if c["id"] in NEED_DATA])
def test_a_case_that_needs_data_has_the_shapes_of_real_caffe(id: str, here: Path) -> None:
    layer_case_data(here)
    (case,) = (c for c in CASES["accepted"] if c["id"] == id)
    assert_shapes(prototxt.parse(case["prototxt"], case["phase"]), case)


@pytest.mark.parametrize("id", [c["id"] for c in CASES["refused"] if c["id"] in NEED_DATA])
def test_a_case_with_a_fault_in_its_data_is_refused(id: str, here: Path) -> None:
    layer_case_data(here)
    (case,) = (c for c in CASES["refused"] if c["id"] == id)
    with pytest.raises(ShapeError, match="'data/lmdb_raw' is an LMDB, and backend is LEVELDB, the default"):
        prototxt.parse(case["prototxt"], case["phase"])
