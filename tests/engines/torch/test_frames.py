"""CaffeOnSpark's nets train in PyTorch as they are: the same updates as over the same images in an LMDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from netbuilder import prototxt
from netbuilder.data import parquet
from netbuilder.engines.torch import module
from netbuilder.engines.torch.feed import Feed
from netbuilder.errors import EngineError
from tests.databases import noise, write_lmdb

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")

SPARK = "com.yahoo.ml.caffe."
TRANSFORM = "transform_param { mirror: true crop_size: 4 mean_value: 100 scale: 0.5 }"
HEAD = 'layer { name: "data" top: "data" top: "label" include { phase: TRAIN } '
TAIL = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
PLAIN = 'type: "Data" data_param { source: "db" batch_size: 3 backend: LMDB } ' + TRANSFORM
LMDB = (
    f'type: "MemoryData" source_class: "{SPARK}LMDB" {TRANSFORM} memory_data_param {{ '
    'source: "file:PLACE/db" batch_size: 3 channels: 3 height: 4 width: 4 }'
)
COLUMNS = (
    f'type: "CoSData" source_class: "{SPARK}DataFrameSource" cos_data_param {{ source: "frame" batch_size: 3 '
    'top { name: "data" type: ENCODED_IMAGE channels: 3 height: 6 width: 6 out_height: 4 out_width: 4 '
    f'{TRANSFORM} }} top {{ name: "label" type: INT channels: 1 sample_num_axes: 0 }} }}'
)
FRAME = LMDB.replace(f"{SPARK}LMDB", f"{SPARK}ImageDataFrame").replace("PLACE/db", "PLACE/frame")
SELECTED = FRAME.replace(
    "batch_size",
    'dataframe_column_select: "data" dataframe_column_select: "cast(label as string) as label" '
    'dataframe_column_select: "true as encoded" batch_size',
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an LMDB and a frame of the same images, which the test is in."""
    monkeypatch.chdir(tmp_path)
    write_lmdb("db", noise(10, 3, 6, 6), [n % 3 for n in range(10)])
    parquet.write(parquet.of_database(Path("db")), Path("frame"), per_file=4)
    return tmp_path


def batches(head: str, place: Path, count: int = 5) -> list[dict[str, Any]]:
    net = prototxt.parse(HEAD + head.replace("PLACE", str(place)) + "}" + TAIL, "TRAIN", dialect="any")
    made = module(net, seed=1)
    with Feed(made, seed=5) as feed:
        found = [next(feed) for _ in range(count)]
        made(**found[0])  # the net takes it
        assert feed.records == 10
        assert feed.batch == 3
    return [dict(batch) for batch in found]


@pytest.mark.parametrize("head", [LMDB, COLUMNS, FRAME, SELECTED])
def test_a_net_of_caffeonspark_gets_the_same_batches_as_over_an_lmdb(head: str, place: Path) -> None:
    for batch, wanted in zip(batches(head, place), batches(PLAIN, place), strict=True):
        assert sorted(batch) == ["data", "label"]
        assert batch["data"].shape == (3, 3, 4, 4)
        for name in batch:
            torch.testing.assert_close(batch[name], wanted[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (LMDB.replace("LMDB", "SeqImageDataSource"), "does not read source_class"),
        (LMDB.replace("file:PLACE", "hdfs://h"), "its data is at hdfs://h/db"),
        (LMDB.replace("PLACE/db", "PLACE/gone"), "gone', does not exist"),
        (COLUMNS.replace("type: INT", "type: FLOAT_ARRAY"), "reads one ENCODED_IMAGE and one INT label"),
        (COLUMNS.replace('name: "data" type', 'name: "other" type'), "has no column"),
        (COLUMNS.replace("batch_size", 'dataframe_format: "json" batch_size'), "this one is in json"),
        (SELECTED.replace('"data"', '"decode(x, y) as data"'), "does not compute 'decode(x, y) as data'"),
    ],
)
def test_what_only_caffeonspark_reads_is_refused_with_a_way_out(head: str, text: str, place: Path) -> None:
    with pytest.raises(EngineError) as caught:
        batches(head, place, 1)
    assert text in caught.value.text
