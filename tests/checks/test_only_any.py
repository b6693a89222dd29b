"""Layer types and fields that no named dialect has: the hint names no Caffe, and says so."""

from __future__ import annotations

import pytest

from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.schema.dialects import ANY, DIALECTS, WRITTEN

NAMED = [DIALECTS[name] for name in WRITTEN]
TYPES = sorted(ANY.types.difference(*(d.types for d in NAMED)))
FIELDS = sorted(ANY.adds.difference(*(d.adds for d in NAMED)))
NOBODY = "no Caffe that netbuilder has a dialect for has it"

INPUT = """\
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
layer { name: "z" type: "Input" top: "z" input_param { shape { dim: 1 dim: 3 } } }
"""
BOTTOMS = {"Proposal": ("x", "y", "z"), "Upsample": ("x", "y")}


# A layer type that holds a message, the message's field, and what else it needs.
HOLDERS = {
    "ConvolutionParameter": ("Convolution", "convolution_param", "num_output: 1 kernel_size: 2"),
    "DropoutParameter": ("Dropout", "dropout_param", ""),
    "ImageDataParameter": ("ImageData", "image_data_param", ""),
    "PoolingParameter": ("Pooling", "pooling_param", "kernel_size: 2"),
}
ENUMS = {"PoolingParameter.PoolMethod": "pool"}
VALUES = {"label_type": "PIXEL", "sample_weights_test": "true", "ceil_mode": "true"}


def layer(type: str, body: str = "") -> str:
    bottoms = " ".join(f'bottom: "{name}"' for name in BOTTOMS.get(type, ("x",)))
    return f'{INPUT}layer {{ name: "t" type: "{type}" {bottoms} top: "t" {body} }}\n'


def with_field(name: str) -> str:
    """A net with the field `Message.field` set, in a layer of any type that holds the message."""
    message, *label, field = name.split(".")
    if message == "LayerParameter":
        return layer("ReLU", f"{field} {{ }}")
    type, own, rest = HOLDERS[message]
    if label:
        return layer(type, f"{own} {{ {rest} {ENUMS['.'.join([message, *label])]}: {field} }}")
    return layer(type, f"{own} {{ {rest} {field}: {VALUES.get(field, '1')} }}")


def hints(text: str, code: str, target: str) -> list[tuple[str, str]]:
    wanted = Wanted(targets=(target,))
    return [(f.text, f.fix) for f in examine_text(text, "n", wanted).findings if f.code == code]


def test_both_kinds_exist() -> None:
    assert "ReLU6" in TYPES
    assert {"PoolingParameter.ceil_mode", "LayerParameter.relu6_param"} <= set(FIELDS)


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_no_caffe_has_is_reported_without_an_empty_list(name: str, target: str) -> None:
    assert hints(with_field(name), "no-such-field", target) == [
        (f"{target}: there is no {name}; the whole file is refused", f"leave it out; {NOBODY}")
    ]


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("type", TYPES)
def test_a_type_that_no_caffe_has_is_reported_without_an_empty_list(type: str, target: str) -> None:
    assert hints(layer(type), "no-such-type", target) == [
        (f"{target}: there is no layer type {type}", f"{NOBODY}; express it by other layers")
    ]


def test_a_layer_type_of_c3d_in_the_old_format_is_reported_as_a_layer_type() -> None:
    text = (
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
        'layers { name: "t" type: CONVOLUTION3D bottom: "x" top: "t" convolution_param { num_output: 4 } }\n'
    )
    assert hints(text, "no-such-type", "caffe-1.0") == [
        ("caffe-1.0: there is no layer type Convolution3D", f"{NOBODY}; express it by other layers")
    ]
