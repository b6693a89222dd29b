"""Shapes given for data layers: those that live in data, and others than the file's."""

from __future__ import annotations

import pytest

from netbuilder import Net, prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.prototxt.inputs import how_to_give

CONV = (
    'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } '
    "convolution_param { num_output: 2 kernel_size: 3 } }\n"
)
DATA = (
    'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 64 } '
    "transform_param { crop_size: 24 } }\n"
)
INPUT = 'input: "data" input: "more" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } input_shape { dim: 5 }\n'
HDF5 = 'layer { name: "h" type: "HDF5Data" top: "data" top: "y" hdf5_data_param { source: "list" } }\n'
FORK = 'layer { name: "a" type: "AnnotatedData" top: "data" top: "boxes" }\n'


def parse(text: str, unknown: str = "keep", **inputs: tuple[int, ...]) -> Net:
    return prototxt.parse(text, path="net.prototxt", unknown=unknown, inputs=inputs)


def shapes(net: Net) -> dict[str, tuple[int, ...] | None]:
    return {name: blob.shape for name, blob in net.blobs.items()}


@pytest.mark.parametrize("unknown", ["keep", "refuse"])
def test_a_database_gets_the_shape_and_its_labels_follow(unknown: str) -> None:
    net = parse(DATA + CONV, unknown, data=(2, 3, 24, 24))
    assert shapes(net) == {"data": (2, 3, 24, 24), "label": (2,), "conv": (2, 2, 22, 22)}
    assert not any(layer.unknown for layer in net)
    assert how_to_give(net) == []


def test_labels_may_be_given_too() -> None:
    assert shapes(parse(DATA, data=(2, 3, 24, 24), label=(2, 1, 1, 1)))["label"] == (2, 1, 1, 1)


def test_inputs_are_reshaped_and_written_so() -> None:
    net = parse(INPUT + CONV, data=(4, 3, 10, 10))
    assert shapes(net) == {"data": (4, 3, 10, 10), "more": (5,), "conv": (4, 2, 8, 8)}
    assert shapes(prototxt.parse(prototxt.dumps(net))) == shapes(net)
    one = 'layer { name: "i" type: "Input" top: "data" top: "more" input_param { shape { dim: 1 dim: 2 } } }'
    assert shapes(parse(one, more=(3, 4))) == {"data": (1, 2), "more": (3, 4)}
    assert shapes(parse('layer { name: "i" type: "Input" top: "i" }', i=(7,))) == {"i": (7,)}


def test_only_what_is_given_is_known_of_a_layer_type_of_a_fork() -> None:
    net = parse(FORK + CONV, data=(1, 3, 8, 8))
    assert shapes(net) == {"data": (1, 3, 8, 8), "boxes": None, "conv": (1, 2, 6, 6)}
    assert shapes(parse(FORK, data=(1, 3, 8, 8), boxes=(1, 1, 1, 8)))["boxes"] == (1, 1, 1, 8)


def test_missing_data_is_reported_with_what_the_file_says() -> None:
    assert how_to_give(parse(DATA + CONV)) == ["data=64,C,24,24"]
    assert how_to_give(parse(HDF5)) == ["data=N,...", "y=N,..."]
    hdf5 = HDF5.replace('"list"', '"list" batch_size: 7')
    assert how_to_give(parse(hdf5)) == ["data=7,...", "y=7,..."]
    listed = 'layer { name: "i" type: "ImageData" top: "i" top: "y" image_data_param { source: "l" %s } }'
    assert how_to_give(parse(listed % "")) == ["i=1,3,H,W"]
    assert how_to_give(parse(listed % "is_color: false batch_size: 9")) == ["i=9,1,H,W"]
    assert how_to_give(parse(INPUT)) == []


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        (
            DATA + CONV,
            {"date": (1, 3, 24, 24)},
            "'date' is not an input of this net: they are 'data', 'label'\n"
            "  where:   net.prototxt\n"
            "  hint:    did you mean 'data'?",
        ),
        ("", {"x": (1,)}, "'x' is not an input of this net; it has none\n  where:   net.prototxt"),
        (
            INPUT,
            {"data": (1, 3)},
            "input 'data' has 4 axes, (1,3,8,8) in the file, got (1,3)\n  where:   net.prototxt",
        ),
        (
            DATA,
            {"data": (1, 3, 24)},
            "input 'data' has 4 axes, (n, channels, height, width), got (1,3,24)\n  where:   net.prototxt:1",
        ),
        (
            DATA,
            {"data": (1, 3, 32, 32)},
            "input 'data' is cropped to 24 x 24 by crop_size, got (1,3,32,32)\n  where:   net.prototxt:1",
        ),
        (
            DATA,
            {"label": (3,)},
            "the shape of 'data', the first top of 'data', must be given too\n  where:   net.prototxt:1",
        ),
        (
            HDF5,
            {"data": (2, 5)},
            "the shape of 'y', which 'h' gives too, must be given as well\n  where:   net.prototxt:1",
        ),
        (
            INPUT,
            {"data": (1, -3, 8, 8)},
            "the shape of input 'data' must be positive whole numbers, got (1, -3, 8, 8)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(
    text: str, inputs: dict[str, tuple[int, ...]], expected: str
) -> None:
    with pytest.raises(NetBuilderError) as caught:
        parse(text, "refuse", **inputs)
    assert str(caught.value) == expected


def test_a_file_that_knows_better_is_not_overruled() -> None:
    text = (
        'layer { name: "m" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 1 channels: 3 height: 8 width: 8 } }"
    )
    assert shapes(parse(text, data=(1, 3, 8, 8), label=(1,)))["label"] == (1,)
    with pytest.raises(NetBuilderError, match="differ from what the layer gives"):
        parse(text, data=(1, 3, 9, 9), label=(1,))


def test_a_given_shape_does_not_admit_a_type_of_a_fork() -> None:
    with pytest.raises(NetBuilderError, match="dialect caffe-master has no layer type AnnotatedData"):
        parse(FORK, "refuse", data=(1, 3, 8, 8), boxes=(1,))
