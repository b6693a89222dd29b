"""Layers of every type with drawn fields against real Caffe, forward and backward.

One layer of each type, or as many as NETBUILDER_DRAWN says.
"""

from __future__ import annotations

import os

import pytest

from netbuilder.engines.caffe import Caffe
from tests.engines.torch.differential import differences
from tests.engines.torch.drawn import DRAWN, draw
from tests.fuzz.generate import TYPES

MOST = 5e-6
EACH = int(os.environ.get("NETBUILDER_DRAWN", "1"))


@pytest.mark.parametrize("type", DRAWN)
def test_a_layer_computes_what_caffe_computes(real_caffe: Caffe, type: str) -> None:
    for seed in range(EACH):
        layer = draw(type, seed)
        found = differences(real_caffe, layer, seed)
        assert found
        wrong = {name: error for name, error in found.items() if not error <= MOST}
        assert not wrong, (seed, layer)


def test_every_type_that_computes_is_drawn() -> None:
    assert set(TYPES) - set(DRAWN) == {
        "Data",
        "DummyData",
        "HDF5Data",
        "HDF5Output",
        "ImageData",
        "Input",
        "MemoryData",
        "Parameter",
        "Silence",
    }
