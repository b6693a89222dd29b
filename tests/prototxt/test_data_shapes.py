"""Shapes read from data: real Caffe opens the same database, list or file, and must see the same."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image

from netbuilder import prototxt
from netbuilder.cli.main import main
from netbuilder.engines import caffe
from netbuilder.errors import NetBuilderError, ShapeError
from netbuilder.schema import message
from tests.layers.test_layer_cases import CASES, NEED_DATA, assert_shapes

Make = Callable[[Path], None]


# ---- making data -----------------------------------------------------------------------------------------


def datum(channels: int, height: int, width: int) -> bytes:
    return bytes(
        message("Datum")(
            channels=channels, height=height, width=width, data=bytes(channels * height * width), label=1
        ).SerializeToString()
    )


def picture(mode: str, size: tuple[int, int], format: str = "PNG", **options: Any) -> bytes:
    """An image of (width, height), encoded."""
    out = io.BytesIO()
    Image.new(mode, size).save(out, format, **options)
    return out.getvalue()


def encoded(*args: Any, **options: Any) -> bytes:
    return bytes(message("Datum")(data=picture(*args, **options), encoded=True, label=1).SerializeToString())


def database(*records: bytes) -> Make:
    def make(folder: Path) -> None:
        with lmdb.open(str(folder / "db"), map_size=2**26) as env, env.begin(write=True) as transaction:
            for i, record in enumerate(records):
                transaction.put(b"%08d" % i, record)

    return make


def leveldb(*records: bytes) -> Make:
    def make(folder: Path) -> None:
        plyvel = pytest.importorskip("plyvel")  # which not every Python has
        opened = plyvel.DB(str(folder / "db"), create_if_missing=True)
        for i, record in enumerate(records):
            opened.put(b"%08d" % i, record)
        opened.close()

    return make


def hdf5(**datasets: Any) -> Make:
    def make(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            for name, values in datasets.items():
                file.create_dataset(name, data=values)
        (folder / "list.txt").write_text("a.h5\n")

    return make


def images(line: str, **files: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / "list.txt").write_text(line)
        for name, content in files.items():
            (folder / "images").mkdir(exist_ok=True)
            (folder / "images" / name).write_bytes(content)

    return make


def windows(*channels: int) -> Make:
    head = "# {i}\n/images/{i}.png\n{c}\n20\n30\n2\n1 0.9 1 1 9 9\n0 0.1 2 2 8 8\n"
    return images("".join(head.format(i=i, c=c) for i, c in enumerate(channels)))


def data(options: str = "", transform: str = "", tops: str = 'top: "data" top: "label"') -> str:
    options = options or "backend: LMDB"
    return (
        f'layer {{ name: "d" type: "Data" {tops} data_param {{ source: "db" batch_size: 4 {options} }} '
        f"transform_param {{ {transform} }} }}"
    )


def image_data(options: str = "", transform: str = "") -> str:
    return (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" '
        f'root_folder: "images/" {options} }} transform_param {{ {transform} }} }}'
    )


def hdf5_data(*tops: str, options: str = "batch_size: 5") -> str:
    return (
        f'layer {{ name: "d" type: "HDF5Data" {" ".join(f"top: {chr(34)}{t}{chr(34)}" for t in tops)} '
        f'hdf5_data_param {{ source: "list.txt" {options} }} }}'
    )


WINDOW_DATA = (
    'layer { name: "d" type: "WindowData" top: "data" top: "label" window_data_param { source: "list.txt" '
    "batch_size: 6 } transform_param { crop_size: 7 } }"
)

TURNED = Image.Exif()
TURNED[0x0112] = 6
SMALL = picture("RGB", (12, 10))  # 10 high, 12 wide

# Each: how the data is made, the net, the shapes of its tops.
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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock.mdb"
    }


def tops(net: Any) -> list[tuple[int, ...] | None]:
    return [top.shape for top in net["d"].tops]


def unknown(text: str) -> str:
    """Why the shapes of the data layer are not known; fails if they are. Labels always are."""
    layer = prototxt.parse(text)["d"]
    assert layer.tops[0].shape is None
    batch = next(((n,) for n in (4, 6) if f"batch_size: {n}" in text), (1,))
    assert layer.type == "HDF5Data" or [top.shape for top in layer.tops[1:]] in ([], [batch])
    return layer.unknown


# ---- against real Caffe ----------------------------------------------------------------------------------


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


# The cases of layer-cases.json that need data, which is made here as they were: three channels of 10 x 12.
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
def test_a_case_that_needs_data_has_the_shapes_that_caffe_gave_it(id: str, here: Path) -> None:
    layer_case_data(here)
    (case,) = (c for c in CASES["accepted"] if c["id"] == id)
    assert_shapes(prototxt.parse(case["prototxt"], case["phase"]), case)


@pytest.mark.parametrize("id", [c["id"] for c in CASES["refused"] if c["id"] in NEED_DATA])
def test_a_case_whose_fault_is_in_the_data_is_refused(id: str, here: Path) -> None:
    layer_case_data(here)
    (case,) = (c for c in CASES["refused"] if c["id"] == id)
    with pytest.raises(ShapeError, match="'data/lmdb_raw' is an LMDB, and backend is LEVELDB, the default"):
        prototxt.parse(case["prototxt"], case["phase"])


# ---- what is not there, or damaged -----------------------------------------------------------------------

DB = "its shape depends on the records of the database 'db' ({})"
LIST = "its shape depends on the size of the images: give new_height and new_width, or crop_size ({})"
H5 = "its shape depends on the HDF5 files listed in 'list.txt' ({})"
WINDOWS = "its shape depends on the images of the window file 'list.txt' ({})"


def write(name: str, content: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "list.txt")


def damaged_leveldb(folder: Path) -> None:
    pytest.importorskip("plyvel")
    write("db/CURRENT", b"")(folder)


UNKNOWN: dict[str, tuple[Make, str, str]] = {
    "no database": (lambda folder: None, data(), DB.format("it is not there")),
    "a file for a database": (write("db", b""), data(), DB.format("it is not a folder")),
    "a folder without a database": (
        write("db/a", b""), data(), DB.format("there is no database in this folder"),
    ),
    "a damaged LevelDB": (
        damaged_leveldb, data("backend: LEVELDB"), DB.format("it is damaged"),
    ),
    "a LevelDB without records": (
        leveldb(), data("backend: LEVELDB"), DB.format("it has no records"),
    ),
    "an empty data.mdb": (write("db/data.mdb", b""), data(), DB.format("it is empty")),
    "another data.mdb": (write("db/data.mdb", b"x" * 9000), data(), DB.format("it is no LMDB database")),
    "a database without records": (database(), data(), DB.format("it has no records")),
    "a record that is no Datum": (
        database(b"\xff" * 40), data(), DB.format("its first record is not a Datum"),
    ),
    "an image that is none": (
        database(message("Datum")(data=b"JPEG", encoded=True).SerializeToString()),
        data(),
        DB.format("the image in its first record cannot be read: UnidentifiedImageError"),
    ),
    "an image cut short": (
        images("a.png 0\n", **{"a.png": picture("RGB", (12, 10), compress_level=0)[:90]}),
        image_data(),
        LIST.format("the first of them, 'images/a.png', cannot be read: OSError"),
    ),
    "no list": (lambda folder: None, image_data(), LIST.format("their list 'list.txt' is not there")),
    "an empty list": (images(""), image_data(), LIST.format("their list 'list.txt' is empty")),
    "a list that is a pipe": (pipe, image_data(), LIST.format("their list 'list.txt' is not a file")),
    "a list of what is not there": (
        images("a.png 0\n"), image_data(), LIST.format("the first of them, 'images/a.png', is not there"),
    ),
    "no HDF5 list": (lambda folder: None, hdf5_data("data"), H5.format("it is not there")),
    "an empty HDF5 list": (images(" \n"), hdf5_data("data"), H5.format("it lists no file")),
    "no HDF5 file": (
        images("a.h5"), hdf5_data("data"), H5.format("its first file, 'a.h5', is not there"),
    ),
    "an HDF5 file that is none": (
        images("a.h5", **{"../a.h5": b"x" * 99}),
        hdf5_data("data"),
        H5.format("its first file, 'a.h5', is not an HDF5 file, or damaged"),
    ),
    "an empty window file": (images(""), WINDOW_DATA, WINDOWS.format("it is empty")),
    "a window file that is none": (
        images("hello"),
        WINDOW_DATA,
        WINDOWS.format(
            "it is not a window file: it needs '# index', path, channels, height, width"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_data_that_cannot_be_read_leaves_the_shape_unknown_with_the_reason(case: str, here: Path) -> None:
    make, text, expected = UNKNOWN[case]
    make(here)
    assert unknown(text) == expected


def test_a_name_that_no_file_can_have_is_not_there(here: Path) -> None:
    assert unknown(data().replace('"db"', r'"d\000b"')).endswith("(it is not there)")
    assert unknown(data().replace('"db"', f'"{"d" * 5000}"')).endswith("file name too long)")


def test_a_database_cut_short_anywhere_or_damaged_is_no_crash(here: Path) -> None:
    """The lmdb package would be killed by SIGBUS here."""
    database(*[datum(3, 40, 40)] * 40)(here)
    path = here / "db" / "data.mdb"
    whole = path.read_bytes()
    for size in range(0, len(whole), 2003):
        path.write_bytes(whole[:size])
        layer = prototxt.parse(data())["d"]
        assert layer.unknown or layer.tops[0].shape == (4, 3, 40, 40)
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 200):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            prototxt.parse(data())
        except NetBuilderError:
            pass


def test_each_package_that_is_missing_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> None:
        raise ImportError(name)

    hdf5(data=np.zeros((7, 3)))(here)
    monkeypatch.setattr(importlib, "import_module", missing)
    advice = "pip install 'caffe-netbuilder[data]', or give the shape by --input"
    assert unknown(hdf5_data("data")) == H5.format(f"reading it needs h5py: {advice}")
    images("a.png 0\n", **{"a.png": SMALL})(here)
    assert unknown(image_data()) == LIST.format(f"reading it needs Pillow: {advice}")
    database(datum(3, 10, 12))(here)
    assert tops(prototxt.parse(data())) == [(4, 3, 10, 12), (4,)]
    (here / "db" / "data.mdb").unlink()
    (here / "db" / "CURRENT").write_bytes(b"")
    advice = "pip install plyvel, or give the shape by --input"
    assert unknown(data("backend: LEVELDB")) == DB.format(f"reading it needs plyvel: {advice}")


# ---- where data is looked for ----------------------------------------------------------------------------


def test_data_is_looked_for_from_here_and_then_beside_the_prototxt(here: Path) -> None:
    (here / "nets").mkdir()
    net = here / "nets" / "net.prototxt"
    net.write_text(image_data())
    images("a.png 0\n", **{"a.png": picture("RGB", (8, 6))})(here / "nets")
    assert tops(prototxt.read(net)) == [(1, 3, 6, 8), (1,)]
    images("a.png 0\n", **{"a.png": SMALL})(here)
    assert tops(prototxt.read(net)) == [(1, 3, 10, 12), (1,)]


def test_a_given_shape_comes_before_the_data(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    assert tops(prototxt.parse(data(), inputs={"data": (1, 3, 5, 5)})) == [(1, 3, 5, 5), (1,)]


def test_what_a_fork_makes_of_the_images_is_not_guessed(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    resized = data("", "resize_param { height: 300 width: 300 }")
    layer = prototxt.parse(resized, dialect="ssd")["d"]
    assert layer.unknown == DB.format("resize_param, which forks have, changes the size of its images")
    cropped = data("", "resize_param { height: 300 width: 300 } crop_size: 200")
    assert tops(prototxt.parse(cropped, dialect="ssd")) == [(4, 3, 200, 200), (4,)]
    layer = prototxt.parse(data("", "my_resize: 300"), unknown="keep")["d"]
    assert layer.unknown == "'my_resize: 300' in transform_param is not known, and may change its shape"


def test_nothing_is_written_beside_the_data(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    (here / "db" / "lock.mdb").unlink()
    prototxt.parse(data())
    assert os.listdir(here / "db") == ["data.mdb"]
    (here / "db" / "data.mdb").unlink()
    leveldb(datum(3, 10, 12))(here)
    before = {path.name: path.read_bytes() for path in (here / "db").iterdir()}
    prototxt.parse(data("backend: LEVELDB"))
    assert {path.name: path.read_bytes() for path in (here / "db").iterdir()} == before


def test_the_command_counts_with_the_data_and_says_why_it_cannot(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "net.prototxt").write_text(
        data() + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 2 } }"
    )
    assert main(["count", "net.prototxt", "--json"]) == 0
    unread = json.loads(capsys.readouterr().out)
    assert unread["uncounted"][0]["reason"] == DB.format("it is not there")
    database(datum(3, 10, 12))(here)
    assert main(["count", "net.prototxt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["uncounted"], found["batch"], found["totals"]["macs"]) == ([], 4, 2 * 360)
