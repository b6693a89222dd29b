"""Data layers: the fields that Caffe and CaffeOnSpark need, and the images that real Caffe then gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legos import (
    SOURCES,
    DataFrameLego,
    HDF5DataLego,
    ImageListLego,
    LevelDBLego,
    LMDBLego,
    SparkImageFrameLego,
    SparkLMDBLego,
    SparkSequenceFileLego,
    Transform,
)
from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import FieldError
from tests.databases import Images, noise, write_lmdb

SHAPE = (4, 3, 8, 8)
CROP = Transform(crop_size=8, mirror=True, mean_value=(1, 2, 3), scale=0.5)
CROP_TEXT = "{ scale: 0.5 mirror: true crop_size: 8 mean_value: 1 mean_value: 2 mean_value: 3 }"


def layer_text(lego: Any, dialect: str = "caffe-1.0") -> str:
    """The lines of the one layer that a source adds, behind its name and tops."""
    net = Net("n", "TRAIN", dialect=dialect)
    data, label = lego.attach(net, [])
    assert (data.name, data.shape, label.name, label.shape) == ("data", SHAPE, "label", SHAPE[:1])
    head, _, rest = prototxt.dumps(net).partition('  top: "data"\n  top: "label"\n')
    assert 'name: "data"' in head
    return head.partition("type: ")[2] + rest


def test_an_lmdb_names_its_backend_for_the_default_is_leveldb() -> None:
    assert layer_text(LMDBLego(name="data", shape=SHAPE, source="db", transform=CROP)) == (
        f'"Data"\n  transform_param {CROP_TEXT}\n'
        '  data_param { source: "db" batch_size: 4 backend: LMDB }\n}\n'
    )
    assert "backend: LEVELDB" in layer_text(LevelDBLego(name="data", shape=SHAPE, source="db"))


def test_a_transformation_that_does_nothing_is_left_out() -> None:
    assert Transform().fields() is None
    assert layer_text(LMDBLego(name="data", shape=SHAPE, source="db")) == (
        '"Data"\n  data_param { source: "db" batch_size: 4 backend: LMDB }\n}\n'
    )


def test_a_list_of_images_is_resized_before_the_crop() -> None:
    lego = ImageListLego(
        name="data", shape=SHAPE, source="l.txt", transform=Transform(crop_size=8), resize=(9, 10),
        root_folder="images/", shuffle=True,
    )  # fmt: skip
    assert layer_text(lego) == (
        '"ImageData"\n  transform_param { crop_size: 8 }\n'
        '  image_data_param { source: "l.txt" batch_size: 4 shuffle: true new_height: 9 new_width: 10 '
        'root_folder: "images/" }\n}\n'
    )


def test_hdf5_takes_no_transformation() -> None:
    assert layer_text(HDF5DataLego(name="data", shape=SHAPE, source="l.txt")) == (
        '"HDF5Data"\n  hdf5_data_param { source: "l.txt" batch_size: 4 }\n}\n'
    )
    assert "transform" not in HDF5DataLego.__dataclass_fields__


@pytest.mark.parametrize(
    ("lego", "source_class"), [(SparkLMDBLego, "LMDB"), (SparkSequenceFileLego, "SeqImageDataSource")]
)
def test_caffeonspark_reads_through_memory_data(lego: Any, source_class: str) -> None:
    # batch, channels and the size after the crop; not shared between threads: the project's own examples.
    assert layer_text(lego(name="data", shape=SHAPE, source="file:/d", transform=CROP), "caffeonspark") == (
        f'"MemoryData"\n  transform_param {CROP_TEXT}\n'
        "  memory_data_param { batch_size: 4 channels: 3 height: 8 width: 8 share_in_parallel: false "
        'source: "file:/d" }\n'
        f'  source_class: "com.yahoo.ml.caffe.{source_class}"\n}}\n'
    )


def test_a_frame_of_images_gets_the_columns_that_its_class_wants() -> None:
    text = layer_text(SparkImageFrameLego(name="data", shape=SHAPE, source="hdfs:///f"), "caffeonspark")
    # The class casts the label to a string, and a missing `encoded` to null; a selection drops the rest.
    selected = [line.partition('"')[2].rstrip('"') for line in text.splitlines() if "column_select" in line]
    assert selected == ["data", "cast(label as string) as label", "true as encoded"]


def test_a_data_frame_has_a_block_for_each_top() -> None:
    lego = DataFrameLego(
        name="data", shape=SHAPE, source="hdfs:///f", transform=Transform(crop_size=8), stored_size=(10, 12)
    )
    net = Net("n", "TRAIN", dialect="caffeonspark")
    lego.attach(net, [])
    p = net["data"].proto.cos_data_param
    assert [(t.name, t.type, t.sample_num_axes) for t in p.top] == [("data", 5, 3), ("label", 1, 0)]
    image = p.top[0]
    assert (image.channels, image.height, image.width) == (3, 10, 12)
    assert (image.out_channels, image.out_height, image.out_width) == (3, 8, 8)
    assert image.transform_param.crop_size == 8
    assert not p.top[1].HasField("transform_param")  # its driver refuses one on a number


def test_an_image_of_a_data_frame_always_has_a_transformation() -> None:
    net = Net("n", "TRAIN", dialect="caffeonspark")
    DataFrameLego(name="data", shape=SHAPE, source="hdfs:///f").attach(net, [])
    assert net["data"].proto.cos_data_param.top[0].HasField("transform_param")


@pytest.mark.parametrize("kind", [k for k, lego in SOURCES.items() if hasattr(lego, "dialect")])
def test_other_caffes_refuse_the_fields_of_caffeonspark(kind: str) -> None:
    lego: Any = SOURCES[kind]
    with pytest.raises(FieldError, match=r"dialect caffe-1\.0"):
        lego(name="data", shape=SHAPE, source="s").attach(Net("n", "TRAIN"), [])


# ---- in real Caffe -----------------------------------------------------------------------------------------


def pixels() -> Images:
    """Six images, B, G, R."""
    return noise(6, 3, 10, 10)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """The same images as an LMDB, as files with a list, and (cropped) as HDF5 with a list."""
    import h5py
    from PIL import Image

    write_lmdb(tmp_path / "db", pixels(), range(6))
    found = {f"db/{name}": (tmp_path / "db" / name).read_bytes() for name in ("data.mdb", "lock.mdb")}
    for i, image in enumerate(pixels()):
        png = io.BytesIO()
        Image.fromarray(image[::-1].transpose(1, 2, 0)).save(png, "PNG")
        found[f"images/{i}.png"] = png.getvalue()
    found["list.txt"] = "".join(f"{i}.png {i}\n" for i in range(6)).encode()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = pixels()[:, :, 1:9, 1:9].astype(np.float32)
        file["label"] = np.arange(6, dtype=np.float32)
    found |= {"a.h5": (tmp_path / "a.h5").read_bytes(), "h5.txt": b"a.h5\n"}
    return found


MIDDLE = Transform(crop_size=8, mean_value=(10, 20, 30), scale=0.5)
SOURCE_OF = {
    "lmdb": LMDBLego(name="data", shape=SHAPE, source="db", transform=MIDDLE),
    "image": ImageListLego(
        name="data", shape=SHAPE, source="list.txt", transform=MIDDLE, root_folder="images/"
    ),
    "hdf5": HDF5DataLego(name="data", shape=SHAPE, source="h5.txt"),
}


@pytest.mark.parametrize("kind", SOURCE_OF)
def test_real_caffe_gives_the_middle_less_the_means_of_b_g_r(
    kind: str, files: dict[str, bytes], real_caffe: Caffe
) -> None:
    net = Net("n", "TEST")
    SOURCE_OF[kind].attach(net, [])
    ran = real_caffe.run(prototxt.dumps(net), files=files, outputs=["data", "label"])
    middle = pixels()[:4, :, 1:9, 1:9].astype(np.float32)
    mean = np.array([10, 20, 30], np.float32).reshape(1, 3, 1, 1)
    expected = middle if kind == "hdf5" else (middle - mean) * 0.5
    assert ran.outputs["data"].shape == SHAPE
    assert np.array_equal(ran.outputs["data"], expected)
    assert list(ran.outputs["label"].ravel()) == [0, 1, 2, 3]
