"""Two small files of layers that other counters get wrong; what they give instead is in the comments.

Other counters: pynetbuilder's own, and netscope.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.engines import caffe

FILES = {name: Path(__file__).parent / f"{name}.prototxt" for name in ("torture", "torture2")}


@pytest.fixture
def net() -> Net:
    return prototxt.read(FILES["torture"])


def shape(net: Net, blob: str) -> tuple[int, ...]:
    return net.blobs[blob].known_shape


def params(net: Net, layer: str) -> list[tuple[int, ...]]:
    return [p.shape for p in net[layer].params]


def test_a_top_need_not_be_called_like_its_layer(net: Net) -> None:
    # pynetbuilder: KeyError. netscope: one more node.
    assert [top.name for top in net["c_rep"].tops] == ["c_rep_out"]
    assert [bottom.layer.name for bottom in net["c_grp"].bottoms] == ["c_rep"]


def test_a_repeated_kernel_is_one_number_for_each_axis(net: Net) -> None:
    # netscope: NaN from there on.
    assert (params(net, "c_rep"), shape(net, "c_rep_out")) == ([(16, 8, 3, 5)], (1, 16, 15, 15))


def test_a_padded_pooling_drops_the_window_that_starts_outside(net: Net) -> None:
    # netscope: 9.
    assert shape(net, "p_clip") == (1, 16, 8, 8)


def test_a_grouped_deconvolution_has_weights_and_work_by_the_group(net: Net) -> None:
    # netscope: 4096 weights, 16 times the MACs. pynetbuilder: no spatial factor.
    assert params(net, "dc") == [(16, 1, 4, 4)]
    assert net["dc"].macs == 16 * 4 * 4 * 8 * 8
    assert shape(net, "dc") == (1, 16, 16, 16)


def test_a_prelu_has_a_slope_for_each_channel(net: Net) -> None:
    # netscope: 0.
    assert params(net, "pr") == [(16,)]


def test_a_bias_layer_has_a_number_for_each_channel_and_keeps_the_shape(net: Net) -> None:
    # netscope: unknown layer, and all sizes after it 0.
    assert (params(net, "bias"), shape(net, "bias")) == ([(16,)], (1, 16, 16, 16))
    assert params(net, "ip") == [(10, 16 * 16 * 16), (10,)]


@pytest.mark.parametrize(("name", "expected"), [("torture2", 43_322), ("torture", 43_322 + 16)])
def test_the_whole_file_has_as_many_numbers_as_caffe_says(name: str, expected: int) -> None:
    # netscope: 58,026 for torture2, which has no Bias layer.
    counted = counts.count(prototxt.read(FILES[name]))
    assert (counted.learnable_params, counted.stored_params) == (expected, expected)
    by_layer = [16 * 8 * 3 * 5 * 15 * 15, 16 * 9 * 15 * 15, 16 * 4 * 4 * 8 * 8, 10 * 16 * 16 * 16]
    assert counted.macs == sum(by_layer)
    assert not counted.uncounted


@pytest.mark.parametrize("name", FILES)
def test_caffe_loads_the_file_with_our_shapes(name: str, real_caffe: caffe.Caffe) -> None:
    ours = prototxt.read(FILES[name])
    loaded = real_caffe.load(FILES[name].read_text())
    assert [(x.name, list(x.top_shapes), list(x.params)) for x in loaded.layers_as_written()] == [
        (x.name, [t.shape for t in x.tops], [p.shape for p in x.params]) for x in ours
    ]
