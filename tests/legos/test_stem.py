"""Stems."""

from __future__ import annotations

import pytest

from legos import STEM_ENTRIES, ImageNetStemLego
from netbuilder import Net
from netbuilder.net import Blob


def attached(lego: ImageNetStemLego, height: int, width: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": [1, 3, height, width]}))


def test_the_stem_is_a_7x7_unit_and_a_pooling_under_the_ancestors_names() -> None:
    net, top = attached(ImageNetStemLego(name="1"), 224, 224)
    assert [(layer.name, layer.tops[0].shape) for layer in net.layers[1:]] == [
        ("conv_1", (1, 64, 112, 112)),
        ("bn_1", (1, 64, 112, 112)),
        ("scale_1", (1, 64, 112, 112)),
        ("relu_1", (1, 64, 112, 112)),
        ("pool1", (1, 64, 56, 56)),
    ]
    assert net["conv_1"].params[0].shape == (64, 3, 7, 7)
    assert top.name == "pool1"


@pytest.mark.parametrize(
    ("size", "expected"),
    # The convolution gives ceil(n / 2); the pooling, ceil((n - 3) / 2) + 1.
    [((224, 224), (56, 56)), ((225, 160), (56, 40)), ((227, 321), (57, 80)), ((3, 5), (1, 1))],
)
def test_the_pooling_rounds_up_without_a_pad(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert attached(ImageNetStemLego(name="1"), *size)[1].shape == (1, 64, *expected)


def test_the_pooling_writes_no_pad() -> None:
    p = attached(ImageNetStemLego(name="1"), 224, 224)[0]["pool1"].proto.pooling_param
    assert {f.name: v for f, v in p.ListFields()} == {"pool": 0, "kernel_size": 3, "stride": 2}


def test_the_width_of_the_stem_can_be_chosen() -> None:
    assert attached(ImageNetStemLego(name="1", num_output=32), 224, 224)[1].shape == (1, 32, 56, 56)


def test_the_deep_stem_has_three_3x3_units_of_which_the_first_halves() -> None:
    lego = ImageNetStemLego(name="1", entry=STEM_ENTRIES["deep"])
    net, top = attached(lego, 224, 224)
    units = [x for x in net.layers if x.type == "Convolution"]
    assert [(x.name, x.params[0].shape, x.tops[0].known_shape[2:]) for x in units] == [
        ("conv_1a", (32, 3, 3, 3), (112, 112)),
        ("conv_1b", (32, 32, 3, 3), (112, 112)),
        ("conv_1c", (64, 32, 3, 3), (112, 112)),
    ]
    assert [x.name for x in net.layers[-3:]] == ["scale_1c", "relu_1c", "pool1"]
    assert top.shape == (1, 64, 56, 56)


def test_the_first_convolutions_go_by_these_names() -> None:
    assert list(STEM_ENTRIES) == ["7x7", "deep"]
    plain, named = (
        attached(lego, 64, 64)[0]
        for lego in (ImageNetStemLego(name="1"), ImageNetStemLego(name="1", entry=STEM_ENTRIES["7x7"]))
    )
    assert [x.proto for x in plain.layers] == [x.proto for x in named.layers]
