"""The same net for another batch: as if the file had said so."""

from __future__ import annotations

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.transforms.rebatch import rebatched

CONV = (
    'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
    "convolution_param { num_output: 2 kernel_size: 3 } }\n"
    'layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" '
    "inner_product_param { num_output: 5 } }\n"
)
SHAPE = "shape { dim: %d dim: 3 dim: 8 dim: 8 }"
SOURCES = {
    "Input": f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {SHAPE} }} }}\n',
    "input_shape": 'input: "data" input_shape { dim: %d dim: 3 dim: 8 dim: 8 }\n',
    "DummyData": f'layer {{ name: "data" type: "DummyData" top: "data" dummy_data_param {{ {SHAPE} }} }}\n',
    "legacy": 'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { num: %d channels: 3 '
    "height: 8 width: 8 } }\n",
    "MemoryData": 'layer { name: "data" type: "MemoryData" top: "data" top: "label" memory_data_param { '
    "batch_size: %d channels: 3 height: 8 width: 8 } }\n",
    "ImageData": 'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { '
    'source: "list" batch_size: %d new_height: 8 new_width: 8 } }\n',
    "Data": 'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" '
    "batch_size: %d } }\n",
    "fork": 'layer { name: "data" type: "OwnData" top: "data" own_param { batch_size: %d } }\n',
}


def read(kind: str, batch: int, more: str = CONV) -> Net:
    given = {"data": (batch, 3, 8, 8)} if kind in ("Data", "fork") else None
    return prototxt.parse(SOURCES[kind] % batch + more, inputs=given, unknown="keep")


@pytest.mark.parametrize("kind", SOURCES)
def test_a_net_of_another_batch_is_that_of_a_file_that_says_so(kind: str) -> None:
    changed, expected = rebatched(read(kind, 2), 6), read(kind, 6)
    assert {n: b.shape for n, b in changed.blobs.items()} == {n: b.shape for n, b in expected.blobs.items()}
    assert counts.totals(counts.count(changed)) == counts.totals(counts.count(expected))
    assert counts.count(changed).batch == 6
    assert [layer.unknown for layer in changed] == [layer.unknown for layer in expected]


@pytest.mark.parametrize("kind", SOURCES)
def test_figures_per_image_stay_and_memory_grows(kind: str) -> None:
    one, many = counts.count(read(kind, 2)), counts.count(rebatched(read(kind, 2), 6))
    for figure in ("learnable_params", "stored_params", "macs", "total_flops", "activations"):
        assert getattr(many, figure) == getattr(one, figure), figure
    for figure in ("activation_bytes", "peak_bytes", "caffe_data_bytes"):
        assert getattr(many, figure) == 3 * getattr(one, figure), figure


def test_an_input_that_has_another_first_axis_keeps_it() -> None:
    more = 'layer { name: "grid" type: "Input" top: "grid" input_param { shape { dim: 7 dim: 2 } } }\n'
    net = rebatched(read("Input", 2, more), 5)
    assert (net.blobs["data"].shape, net.blobs["grid"].shape) == ((5, 3, 8, 8), (7, 2))


def test_what_is_unknown_stays_unknown_for_the_same_reason() -> None:
    more = 'layer { name: "w" type: "Warp" bottom: "data" top: "w" }\n'
    net = read("Input", 1, more + CONV.replace('"data"', '"w"'))
    assert [layer.unknown for layer in rebatched(net, 4)] == [layer.unknown for layer in net]
    assert rebatched(net, 4).blobs["w"].shape is None


def test_the_net_itself_is_left_alone() -> None:
    net = read("MemoryData", 1)
    before = prototxt.dumps(net)
    rebatched(net, 9)
    assert prototxt.dumps(net) == before


RESHAPE = (
    'layer { name: "flat" type: "Reshape" bottom: "data" top: "conv" '
    "reshape_param { shape { dim: 1 dim: -1 } } }\n" + CONV[CONV.index('layer { name: "fc"') :]
)


def test_a_batch_that_would_change_weights_is_refused() -> None:
    with pytest.raises(NetBuilderError) as caught:
        rebatched(prototxt.parse(SOURCES["Input"] % 1 + RESHAPE, path="net.prototxt"), 4)
    assert str(caught.value) == (
        "batch 4 would change the weights of InnerProduct 'fc': parameter 0 from (5,192) to (5,768)\n"
        "  where:   net.prototxt:3\n"
        "  hint:    a layer before it has the batch written into its fields, as a Reshape may: write 0 "
        "there, which copies the bottom's"
    )


def test_a_batch_that_does_not_fit_a_layer_is_refused_there() -> None:
    fixed = RESHAPE.replace("dim: 1 dim: -1", "dim: 1 dim: 192")
    with pytest.raises(NetBuilderError) as caught:
        rebatched(prototxt.parse(SOURCES["Input"] % 1 + fixed, path="net.prototxt"), 4)
    assert str(caught.value).startswith(
        "batch 4 does not go through this net: Reshape 'flat': (4,3,8,8) has 768 elements, (1,192) 192\n"
        "  where:   net.prototxt:2\n"
    )


def test_a_batch_without_known_inputs_is_refused() -> None:
    net = prototxt.parse(SOURCES["Data"] % 1 + CONV)
    with pytest.raises(
        NetBuilderError, match=r"^cannot count batch 4: no input of the net has a known shape$"
    ):
        rebatched(net, 4)
    with pytest.raises(NetBuilderError, match=r"^a batch is 1 or more, got 0$"):
        rebatched(net, 0)
