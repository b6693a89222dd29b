"""Data layers in place of the placeholder, in a net that no network of ours made."""

from __future__ import annotations

from pathlib import Path

import pytest

from legos.sources import ImageListLego, LMDBLego
from netbuilder import Net, prototxt
from netbuilder.errors import ConfigError
from netbuilder.transforms.data_layers import with_data
from tests.databases import noise, write_lmdb

FC = (
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }'
)


def net(second: str = "label") -> Net:
    head = (
        f'layer {{ name: "data" type: "MemoryData" top: "data" top: "{second}" memory_data_param {{ '
        "batch_size: 1 channels: 3 height: 8 width: 8 } }\n"
    )
    return prototxt.parse(f'name: "mine"\n{head}{FC}', "TRAIN")


def test_the_lego_takes_the_place_of_the_placeholder_and_sets_the_batch() -> None:
    source = ImageListLego(name="data", shape=(4, 3, 8, 8), source="none.txt", resize=(8, 8))
    new = with_data(net(), source)
    assert [layer.type for layer in new] == ["ImageData", "InnerProduct"]
    assert new.layers[0].proto.image_data_param.batch_size == 4
    assert new.blobs["fc"].shape == (4, 5)
    assert new.layers[1].proto == net().layers[1].proto


def test_a_net_without_the_placeholder_is_refused() -> None:
    source = ImageListLego(name="data", shape=(4, 3, 8, 8), source="none.txt", resize=(8, 8))
    with pytest.raises(
        ConfigError, match=r"^mine does not begin with MemoryData 'data' with the tops data and"
    ):
        with_data(net("other"), source)


def test_data_of_another_shape_is_refused(tmp_path: Path) -> None:
    write_lmdb(str(tmp_path / "db"), noise(3, 1, 8, 8), [0, 1, 2])
    source = LMDBLego(name="data", shape=(2, 3, 8, 8), source=str(tmp_path / "db"))
    with pytest.raises(
        ConfigError, match=r"^the data of the TRAIN net gives images of \(1,8,8\), and the net"
    ):
        with_data(net(), source)
