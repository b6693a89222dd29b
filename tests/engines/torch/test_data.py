"""Data layers: what real Caffe read from the same databases, lists and files, pass by pass."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.data import images
from netbuilder.data.datum import pack_encoded, pack_planes
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.errors import EngineError
from netbuilder.schema import message
from tests.databases import noise, write_lmdb
from tests.engines.torch.cases import CASES, arrays, difference

MOST = 5e-6
SOURCES = [case for case in CASES if case["group"] == "datalayer"]


def lmdb_of(place: Path, records: list[bytes]) -> None:
    """Records in order."""
    import lmdb

    place.parent.mkdir(exist_ok=True)
    with lmdb.open(str(place), map_size=1 << 24) as env, env.begin(write=True) as opened:
        for i, record in enumerate(records):
            opened.put(b"%08d" % i, record)


def stored(encoded: bool) -> list[bytes]:
    """The records of the cases' six images, which Caffe read untransformed in `src_data_raw`."""
    both = [arrays()[f"src_data_raw/out/data.{i}"] for i in range(2)]
    records = []
    for i, planes in enumerate(np.concatenate(both)[:6].astype(np.uint8)):
        if encoded:
            image = np.ascontiguousarray(planes.transpose(1, 2, 0))
            records.append(pack_encoded(images.encode(image, "png"), i % 4))
        else:
            records.append(pack_planes(planes.shape, planes.tobytes(), i % 4))
    return records


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: str(case["id"]))
def test_a_database_is_read_as_caffe_read_it(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lmdb_of(tmp_path / "data/lmdb_raw", stored(False))
    lmdb_of(tmp_path / "data/lmdb_enc", stored(True))
    torch.manual_seed(0)
    m = module(prototxt.parse(case["prototxt"], case["phase"], dialect="caffe-master"))
    for forward in case["forwards"]:
        passes = [m() for _ in range(600 if case["phase"] == "TRAIN" else 1)]
        for name, key in forward.items():
            theirs = arrays()[key]
            if case["phase"] == "TRAIN" and name == "data":
                # Six images a batch, all of them: what Caffe drew for each must be drawn here too.
                for i, crop in enumerate(theirs):
                    assert min(difference(out[name][i], crop) for out in passes) <= MOST
            else:
                assert difference(passes[0][name], theirs) <= MOST, name


def source(type: str, fields: str, tops: tuple[str, ...] = ("data", "label")) -> str:
    named = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "d" type: "{type}" {named} {fields} }}'


def test_random_crops_and_mirrors_cover_all_places_and_no_others(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(1, 1, 5, 6), [3])
    net = tmp_path / "net.prototxt"
    net.write_text(
        source(
            "Data",
            'data_param { source: "db" backend: LMDB batch_size: 400 } '
            "transform_param { crop_size: 4 mirror: true mean_value: 2 scale: 0.5 }",
        )
    )
    image = (noise(1, 1, 5, 6)[0].astype(np.float32) - 2) * 0.5
    places = [image[:, y : y + 4, x : x + 4] for y in range(2) for x in range(3)]
    possible = {p.tobytes() for p in places} | {p[:, :, ::-1].tobytes() for p in places}
    drawn = {crop.numpy().tobytes() for crop in module(net, phase="TRAIN")()["data"]}
    assert drawn == possible
    middle = module(net)()["data"]  # mirrored in TEST too, but cropped in the middle
    assert {crop.numpy().tobytes() for crop in middle} == {
        places[1].tobytes(),
        places[1][:, :, ::-1].tobytes(),
    }


def test_the_same_seed_draws_the_same_crops(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(3, 3, 9, 9), range(3))
    net = tmp_path / "net.prototxt"
    net.write_text(
        source(
            "Data",
            'data_param { source: "db" backend: LMDB batch_size: 5 } transform_param { crop_size: 4 }',
        )
    )
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(module(net, phase="TRAIN")()["data"])
    assert torch.equal(*runs)


def judged(caffe: Caffe, text: str, files: dict[str, bytes], folder: Path) -> None:
    """Compare the first pass of a net in real Caffe and here, with these files."""
    theirs = caffe.run(text, files=files).outputs
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "net.prototxt").write_text(text)
    ours = module(folder / "net.prototxt")()
    assert set(ours) == set(theirs)
    for name, blob in theirs.items():
        assert difference(ours[name].reshape(blob.shape), blob) <= MOST, name


def mean_of(values: np.ndarray[Any, Any]) -> bytes:
    c, h, w = values.shape
    packed: bytes = message("BlobProto")(
        num=1, channels=c, height=h, width=w, data=values.ravel().tolist()
    ).SerializeToString()
    return packed


@pytest.mark.parametrize(
    "transform",
    [
        "",
        'crop_size: 4 mean_file: "mean.binaryproto" scale: 0.25',
        "crop_size: 5 mean_value: 3 mean_value: 100 mean_value: 7.5",
        "force_gray: true crop_size: 3",
        "force_color: true",
    ],
)
@pytest.mark.parametrize("kind", ["raw", "float", "png", "gray"])
def test_records_of_every_kind(real_caffe: Caffe, tmp_path: Path, transform: str, kind: str) -> None:
    if kind == "gray":  # its mean has one channel
        transform = re.sub(r"mean_file: \S+|mean_value: (100|7.5)", "", transform)
    pixels = noise(3, 3, 7, 8)
    records = []
    for i, planes in enumerate(pixels):
        if kind == "raw":
            records.append(pack_planes((3, 7, 8), planes.tobytes(), i))
        elif kind == "float":
            values = (planes.ravel() / np.float32(7)).tolist()
            record = message("Datum")(channels=3, height=7, width=8, float_data=values, label=i)
            records.append(record.SerializeToString())
        else:
            image = planes.transpose(1, 2, 0) if kind == "png" else planes[0]
            records.append(pack_encoded(images.encode(np.ascontiguousarray(image), "png"), i))
    lmdb_of(tmp_path / "db", records)
    files = {
        "db/data.mdb": (tmp_path / "db/data.mdb").read_bytes(),
        "mean.binaryproto": mean_of(np.random.default_rng(3).random((3, 7, 8)) * 200),
    }
    text = source(
        "Data",
        f'data_param {{ source: "db" backend: LMDB batch_size: 5 }} transform_param {{ {transform} }}',
    )
    judged(real_caffe, text, files, tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "new_height: 9 new_width: 5",
        "new_height: 4 new_width: 4 is_color: false",
    ],
)
@pytest.mark.parametrize("transform", ["", "crop_size: 4 mean_value: 9 scale: 0.5"])
def test_listed_images(real_caffe: Caffe, tmp_path: Path, fields: str, transform: str) -> None:
    files = {"list.txt": b"in/a b.png 3\nin/1.png -2\nin/2.png 7x\n"}
    for name, planes in zip(("a b", "1", "2"), noise(3, 3, 8, 8), strict=True):
        image = np.ascontiguousarray(planes.transpose(1, 2, 0))
        files[f"in/{name}.png"] = images.encode(image, "png")
    text = source(
        "ImageData",
        f'image_data_param {{ source: "list.txt" batch_size: 5 {fields} }} transform_param {{ {transform} }}',
    )
    judged(real_caffe, text, files, tmp_path)


def hdf5(**sets: np.ndarray[Any, Any]) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        for name, values in sets.items():
            file[name] = values
    return held.getvalue()


def test_hdf5_batches_go_on_across_files(real_caffe: Caffe, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((7, 2, 3)).astype(np.float32)
    files = {
        "list.txt": b"a.h5\nb.h5\n",
        "a.h5": hdf5(x=values[:4], y=np.arange(4)),
        "b.h5": hdf5(x=values[4:], y=np.arange(4.0, 7)),
    }
    text = source("HDF5Data", 'hdf5_data_param { source: "list.txt" batch_size: 9 }', ("x", "y"))
    # Names in the list are relative to the current directory, as in Caffe, or to the folder of the net.
    judged(real_caffe, text, files, tmp_path)
    m = module(tmp_path / "net.prototxt")
    assert m()["y"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert m()["y"].tolist() == [2, 3, 4, 5, 6, 0, 1, 2, 3]


def test_shuffled_hdf5_gives_each_row_once_a_round(tmp_path: Path) -> None:
    for name, rows in (("a.h5", range(4)), ("b.h5", range(4, 9))):
        (tmp_path / name).write_bytes(hdf5(y=np.array(rows, np.float32)))
    (tmp_path / "list.txt").write_text("a.h5 b.h5")
    (tmp_path / "net.prototxt").write_text(
        source("HDF5Data", 'hdf5_data_param { source: "list.txt" batch_size: 9 shuffle: true }', ("y",))
    )
    torch.manual_seed(1)
    m = module(tmp_path / "net.prototxt")
    rounds = [m()["y"].tolist() for _ in range(4)]
    assert all(sorted(r) == list(range(9)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 4
    # A file is used up before the next one starts.
    assert all({0, 1, 2, 3} in (set(r[:4]), set(r[5:])) for r in rounds)


def test_shuffled_lists_give_each_image_once_a_round(tmp_path: Path) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(images.encode(np.full((2, 2), i, np.uint8), "png"))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(6)))
    (tmp_path / "net.prototxt").write_text(
        source("ImageData", 'image_data_param { source: "list.txt" batch_size: 6 shuffle: true }')
    )
    torch.manual_seed(1)
    m = module(tmp_path / "net.prototxt")
    rounds = [m() for _ in range(3)]
    assert all(sorted(out["label"].tolist()) == list(range(6)) for out in rounds)
    assert all(torch.equal(out["data"][:, 0, 0, 0], out["label"]) for out in rounds)
    assert len({tuple(out["label"].tolist()) for out in rounds}) == 3


def test_a_copy_of_a_module_goes_on_from_the_same_record(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(7, 1, 2, 2), range(7))
    net = tmp_path / "net.prototxt"
    net.write_text(source("Data", 'data_param { source: "db" backend: LMDB batch_size: 3 }'))
    m = module(net)
    assert m()["label"].tolist() == [0, 1, 2]
    twin = copy.deepcopy(m)
    assert m()["label"].tolist() == twin()["label"].tolist() == [3, 4, 5]
    assert m()["label"].tolist() == [6, 0, 1]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"\xff\xff", "record 0 of 'db': it is cut short"),
        (pack_planes((1, 2, 2), b"123", 0), "record 0 of 'db': it states 1x2x2 but has 3 values"),
        (pack_encoded(b"none", 0), "record 0 of 'db': it is not a JPEG"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, record: bytes, why: str) -> None:
    lmdb_of(tmp_path / "db", [record])
    net = tmp_path / "net.prototxt"
    net.write_text(source("Data", 'data_param { source: "db" backend: LMDB batch_size: 3 }'))
    m = module(prototxt.read(net, inputs={"data": (3, 1, 2, 2), "label": (3,)}))
    with pytest.raises(EngineError, match=why):
        m()


def test_tops_that_are_given_are_not_read(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(source("Data", 'data_param { source: "nowhere" backend: LMDB batch_size: 3 }'))
    m = module(net)
    x = torch.ones(2, 3, 4, 4)
    assert torch.equal(m(data=x, label=torch.zeros(2))["data"], x)
    with pytest.raises(EngineError, match=r"Data 'd': its database, 'nowhere', does not exist"):
        m()


def test_dummy_data_repeats_constants_and_draws_the_rest() -> None:
    text = source(
        "DummyData",
        "dummy_data_param { shape { dim: 50 dim: 40 } shape { dim: 3 } "
        "data_filler { type: 'gaussian' mean: 2 } data_filler { value: 4 } }",
        ("x", "y"),
    )
    m = module(prototxt.parse(text))
    torch.manual_seed(0)
    first, second = m(), m()
    assert not torch.equal(first["x"], second["x"])
    assert float(first["x"].mean()) == pytest.approx(2, abs=0.1)
    assert first["y"].tolist() == second["y"].tolist() == [4, 4, 4]
    torch.manual_seed(0)
    assert torch.equal(m()["x"], first["x"])


def test_a_parameter_is_a_top_that_learns() -> None:
    text = (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } loss_weight: 3 }'
    )
    m = module(prototxt.parse(text))
    with torch.no_grad():
        m.params["p"][0].copy_(torch.tensor([1.0, 2.0]))
    out = m()
    assert out.loss is not None
    assert float(out.loss.detach()) == 9
    out.loss.backward()
    assert m.params["p"][0].grad is not None
    assert m.params["p"][0].grad.tolist() == [3, 3]


def test_hdf5_output_writes_what_caffe_writes(tmp_path: Path) -> None:
    text = (
        source("Input", "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }", ("x", "y"))
        + f'layer {{ name: "o" type: "HDF5Output" bottom: "x" bottom: "y" '
        f'hdf5_output_param {{ file_name: "{tmp_path}/o.h5" }} }}'
    )
    m = module(prototxt.parse(text))
    for value in (1.0, 2.0):
        m(x=torch.full((2, 3), value), y=torch.arange(2.0))
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["data"].shape == (2, 3, 1, 1)
        assert file["label"].shape == (2, 1, 1, 1)
        assert (file["data"][()] == 2).all()


def test_python_layers_are_refused_with_the_reason() -> None:
    text = source("Python", 'python_param { module: "m" layer: "L" }', ("x",))
    with pytest.raises(EngineError, match="does not compute Python 'd': it executes a module of yours"):
        module(prototxt.parse(text))


def test_what_is_not_given_to_memory_data_is_named() -> None:
    text = source("MemoryData", "memory_data_param { batch_size: 1 channels: 1 height: 2 width: 2 }")
    m = module(prototxt.parse(text))
    x = torch.ones(1, 1, 2, 2)
    assert torch.equal(m(data=x, label=torch.zeros(1))["data"], x)
    with pytest.raises(EngineError, match="no value for 'data' of MemoryData 'd'"):
        m()
