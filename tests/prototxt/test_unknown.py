"""What the schema or the dialect lacks: refused, or kept as it stands, and what depends on it unknown."""

from __future__ import annotations

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.errors import FieldError, NetBuilderError, PrototxtError
from netbuilder.prototxt.unknown import keep, kept
from netbuilder.schema import LayerParameter

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
# In the spirit of SSD and of CaffeOnSpark: types, fields and labels that BVLC's schema lacks.
FORK = (
    INPUT
    + """
default_forward_type: FLOAT16
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" param { lr_mult: 1 kind: 3 }
  source_class: "com.example.LMDB"
  convolution_param { num_output: 4 kernel_size: 3 engine: MKLDNN weight_filler { type: "xavier" odd: -3 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "norm" type: "Normalize" bottom: "conv" top: "norm"
  norm_param {
    scale_filler < value: 20 >  # "{"
    words: [ "}", 'a' "b" ]
  }
}
layer { name: "fc" type: "InnerProduct" bottom: "norm" top: "fc" param { lr_mult: 1 }
  inner_product_param { num_output: 3 } }
layer { name: "aside" type: "Pooling" bottom: "conv" top: "aside" pooling_param { kernel_size: 2 } }
"""
)


def lenient(text: str, **more: object) -> Net:
    return prototxt.parse(text, unknown="keep", path="net.prototxt", **more)  # type: ignore[arg-type]


def test_everything_before_and_beside_an_unknown_layer_is_counted() -> None:
    net = lenient(FORK)
    assert {layer.name: layer.unknown for layer in net} == {
        "x": "",
        "conv": "",
        "relu": "",
        "norm": "dialect caffe-master has no layer type Normalize",
        "fc": "the shape of bottom 'norm' is unknown",
        "aside": "",
    }
    assert [b.shape for layer in net for b in layer.tops] == [
        (1, 3, 8, 8), (1, 4, 6, 6), (1, 4, 6, 6), None, None, (1, 4, 5, 5),
    ]  # fmt: skip
    counted = counts.count(net)
    assert counted.macs == 4 * 6 * 6 * 27
    assert [layer.name for layer in counted.uncounted] == ["norm", "fc"]


def test_what_is_unknown_is_written_back_in_its_place() -> None:
    text = prototxt.dumps(lenient(FORK))
    assert 'default_forward_type: FLOAT16\nlayer {\n  name: "x"' in text
    assert (
        "  param { lr_mult: 1 kind: 3 }\n"
        '  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" odd: -3 } '
        "engine: MKLDNN }\n"
        '  source_class: "com.example.LMDB"\n'
    ) in text
    assert (
        '  norm_param {\n    scale_filler < value: 20 >  # "{"\n    words: [ "}", \'a\' "b" ]\n  }\n}\n'
    ) in text
    assert prototxt.dumps(lenient(text)) == text


@pytest.mark.parametrize(
    "field",
    [
        "new: 3",
        "new: -inf",
        "new: \"a\" 'b'",
        "new: [1, 2]",
        "new {}",
        "new: { a < b: [ { c: 1 } ] > }",
        "new: LABEL",
        "new: 3;",
        "new { a: 1 }, ",
        "new # why\n: 3",
        "pool: WEIGHTED",
        "pool # why\n: WEIGHTED",
    ],
)
def test_any_spelling_of_an_unknown_field_is_passed_over_and_kept(field: str) -> None:
    text = f'layer {{ name: "a" type: "New" top: "a" pooling_param {{ {field} kernel_size: 3 }} }}'
    layer = lenient(text)["a"].proto
    assert kept(layer.pooling_param) == [field.rstrip(" ;,")]
    assert layer.pooling_param.kernel_size == 3


def test_an_unknown_field_that_may_change_a_shape_leaves_the_shape_open() -> None:
    net = lenient(
        INPUT + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
        "pooling_param { kernel_size: 3 stride: 2 ceil_mode: false } }"
    )
    assert net["p"].unknown == "'ceil_mode: false' in pooling_param is not known, and may change its shape"
    assert net.blobs["p"].shape is None


def test_a_type_in_the_wrong_case_is_kept_with_a_hint() -> None:
    net = lenient(INPUT + 'layer { name: "r" type: "Relu" bottom: "x" top: "r" }')
    assert net["r"].unknown == "dialect caffe-master has no layer type Relu: did you mean ReLU?"


def test_old_formats_keep_what_they_cannot_name() -> None:
    net = lenient('layers { name: "p" type: PERMUTE top: "p" new_param { a: 1 } }')
    assert (net["p"].type, kept(net["p"].proto)) == ("PERMUTE", ["new_param { a: 1 }"])
    net = lenient('layers { layer { name: "q" type: "odd one" new: 2 } top: "q" }')
    assert (net["q"].type, kept(net["q"].proto)) == ("odd_one", ["new: 2"])


def refusal(text: str, unknown: str) -> str:
    with pytest.raises(NetBuilderError) as caught:
        prototxt.parse(text, path="net.prototxt", unknown=unknown)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'layer { name: "a" new_param { b: 1 }',
            "'layer' is opened here and never closed: expected '}' before the end of the file\n"
            "  where:   net.prototxt:1:1",
        ),
        (
            'layer { name: "a" new_param { b: [ 1 }',
            "expected ']', found '}'\n  where:   net.prototxt:1:38",
        ),
        (
            'layer { name: "a" new_param { b: [ 1',
            "'[' is opened here and never closed\n  where:   net.prototxt:1:34",
        ),
        (
            'layer { name: "a" new: "b }',
            "the string that begins here has no closing quote on its line\n  where:   net.prototxt:1:24",
        ),
        ("layer { new }", "expected ':' after 'new', found '}'\n  where:   net.prototxt:1:13"),
        ("layer { new: }", "expected a value for 'new', found '}'\n  where:   net.prototxt:1:14"),
        (
            'layer { pooling_param { kernel_size: 2 }\nlayer { name: "b" }',
            "LayerParameter has no field 'layer'\n"
            "  where:   net.prototxt:2:1\n"
            "  hint:    is a '}' missing? 'layer' of line 1 is still open",
        ),
        (
            'layer { name: "a" name: "b" }',
            "'name' is given a second time in 'layer' of line 1, which takes it once\n"
            "  where:   net.prototxt:1:19",
        ),
    ],
)
def test_what_is_not_a_field_at_all_is_refused_also_when_keeping(text: str, expected: str) -> None:
    assert refusal(text, "keep") == expected


def test_deep_nesting_ends_in_an_error() -> None:
    assert "nested more than 100 deep" in refusal("layer { new " + "{ a " * 100_000, "keep")


def test_the_default_refuses_what_caffe_refuses() -> None:
    assert "has no field 'default_forward_type'" in refusal(FORK, "refuse")
    assert "unknown layer type 'New'" in refusal('layer { name: "a" type: "New" top: "a" }', "refuse")
    with pytest.raises(FieldError, match=r"unknown must be 'refuse' or 'keep', got 'maybe'"):
        prototxt.parse("", unknown="maybe")


@pytest.mark.parametrize("size", [1, 127, 128, 20_000])
def test_a_text_of_any_length_survives_a_copy(size: int) -> None:
    layer, copy = LayerParameter(name="a"), LayerParameter()
    keep(layer, "é" * size)
    keep(layer, "b: 1")
    copy.CopyFrom(layer)
    assert kept(copy) == ["é" * size, "b: 1"]


def test_a_near_miss_of_a_field_of_caffes_is_refused_even_when_the_unknown_is_kept() -> None:
    text = 'layer {\n  name: "r"\n  type: "ReLU"\n  botom: "x"\n}'
    with pytest.raises(PrototxtError) as caught:
        prototxt.parse(text, unknown="keep", path="net.prototxt")
    assert str(caught.value) == (
        "LayerParameter has no field 'botom'\n  where:   net.prototxt:4:3\n  hint:    did you mean 'bottom'?"
    )
